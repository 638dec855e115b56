"""pynetdicom's acceptor socket, made quick and bounded in time. Relies on names private to pynetdicom 3.0."""

from __future__ import annotations

import select
import socket
import time
from typing import Any, Self, cast

from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

MAXIMUM_PDU = 128 << 10
"""What we ask senders to keep to; dcmtk sends no longer ones."""
LONGEST_PDU = 4 << 20
"""A PDU that says it is longer ends the connection: its length would be allocated before a byte of it has come."""
BACKLOG = 128


class PromptSocket(AssociationSocket):
    """Reads each PDU into one buffer, acknowledges at once, and gives up on a PDU that trickles in.

    Senders with Nagle's algorithm on, which is dcmtk's default, wait for the TCP acknowledgement that the kernel
    delays by 40 ms: 22 instances a second. TCP_QUICKACK holds only until the next time the kernel chooses otherwise,
    so it is set after every read.
    """

    patience: float = 60.0
    """Seconds in which a PDU must have come whole."""

    @classmethod
    def adopt(cls, plain: AssociationSocket, patience: float) -> Self:
        """``plain`` as one of these; a new one would announce the connection a second time."""
        prompt = cls.__new__(cls)
        prompt.__dict__.update(plain.__dict__)
        prompt.patience = patience
        connection = cast(socket.socket, prompt.socket)
        connection.settimeout(patience)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _acknowledge(connection)
        return prompt

    def recv(self, nr_bytes: int) -> bytearray:
        """``nr_bytes``, or fewer where the peer closed the connection.

        Raises
        ------
        OSError
            where the PDU is too long or takes too long: pynetdicom then closes the connection.
        """
        if nr_bytes > LONGEST_PDU:
            raise OSError(f"a PDU of {nr_bytes} bytes is not taken")
        connection = cast(socket.socket, self.socket)
        deadline = time.monotonic() + self.patience
        content = bytearray(nr_bytes)
        view, filled = memoryview(content), 0
        while filled < nr_bytes:
            count = connection.recv_into(view[filled:])
            if not count:
                break
            _acknowledge(connection)
            filled += count
            if filled < nr_bytes and time.monotonic() > deadline:
                raise TimeoutError("a PDU did not come whole in time")
        view.release()
        del content[filled:]
        return content

    @property
    def ready(self) -> bool:
        """Whether there is something to read: by poll, since select refuses file descriptors over 1023."""
        if self.socket is None or not self._is_connected:
            return False
        try:
            poller = select.poll()
            poller.register(self.socket, select.POLLIN)
            return bool(poller.poll(0))
        except (OSError, ValueError):
            self.event_queue.put("Evt17")  # transport connection closed
            return False


class PromptRequestHandler(RequestHandler):
    """Gives each association a `PromptSocket`."""

    def _create_association(self) -> Association:
        assoc = super()._create_association()
        plain = cast(AssociationSocket, assoc.dul.socket)
        assoc.dul.socket = PromptSocket.adopt(plain, self.ae.network_timeout or PromptSocket.patience)
        return assoc


class PromptServer(ThreadedAssociationServer):
    """A threaded acceptor with a longer queue of connections than pynetdicom's five."""

    request_queue_size = BACKLOG
    daemon_threads = True


class SharedContexts(list[PresentationContext]):
    """The supported contexts: pynetdicom copies them deeply for each association, 33 ms, and only ever reads them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> list[PresentationContext]:
        return list(self)


def _acknowledge(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
