"""pynetdicom's acceptor socket with fast reads and time limits. Relies on names private to pynetdicom 3.0."""

from __future__ import annotations

import select
import socket
import ssl
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import structlog
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.timer import Timer
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from dicom_node.network.tls import ClientCertificate, caller_certificate
from dicom_node.observability.counters import Counters
from dicom_node.receive.bounds import BoundedDimse, Memory
from dicom_node.receive.policy import Cause
from dicom_node.receive.upper_layer import TolerantDul, serve
from dicom_node.settings.access import Limits

log = structlog.get_logger("candela.listener")

LONGEST_PDU = 4 << 20
"""A longer stated PDU length ends the connection: pynetdicom would allocate that length before the first byte
arrives."""
LONGEST_FIRST_PDU = 1 << 20
"""The same before an association exists: 128 presentation contexts with all transfer syntaxes take 400 KB."""
BACKLOG = 128
SPARE_CONNECTIONS = 32
"""Connections beyond the number of associations: callers that are being rejected, or have sent nothing yet."""
ADDRESSES_KNOWN = 4096
"""Number of addresses whose rate is tracked; the one that was silent longest is dropped first."""


class PromptSocket(AssociationSocket):
    """Reads each PDU into one buffer, acknowledges at once, and aborts a PDU that trickles in.

    A PDU may take ``first_patience`` seconds before an association exists, ``patience`` seconds afterwards.

    Senders with Nagle's algorithm, dcmtk's default, wait for the TCP acknowledgement that the kernel delays by 40 ms:
    22 instances a second. The kernel may reset TCP_QUICKACK at any time, so it is set after every read.
    """

    patience: float = 60.0
    first_patience: float = 30.0

    @classmethod
    def adopt(cls, plain: AssociationSocket, patience: float, first_patience: float) -> Self:
        """Convert ``plain``, since a new socket would announce the connection a second time."""
        prompt = cls.__new__(cls)
        prompt.__dict__.update(plain.__dict__)
        prompt.patience, prompt.first_patience = patience, first_patience
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
        known = bool(self.assoc.is_established)
        if nr_bytes > (LONGEST_PDU if known else LONGEST_FIRST_PDU):
            raise OSError(self._fault(f"a PDU of {nr_bytes} bytes"))
        connection = cast(socket.socket, self.socket)
        deadline = time.monotonic() + (self.patience if known else self.first_patience)
        content = bytearray(nr_bytes)
        view, filled = memoryview(content), 0
        try:
            while filled < nr_bytes:
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                count = connection.recv_into(view[filled:])
                if not count:
                    break
                _acknowledge(connection)
                filled += count
                if filled < nr_bytes and time.monotonic() > deadline:
                    raise TimeoutError  # noqa: TRY301  (one place for both)
        except TimeoutError:
            self._fault("a PDU that did not come whole in time")
            raise
        finally:
            view.release()
            connection.settimeout(self.patience)  # sending has its own time limit
        del content[filled:]
        return content

    def _fault(self, reason: str) -> str:
        cast(TolerantDul, self.assoc.dul).fault = reason
        return reason

    @property
    def ready(self) -> bool:
        """Whether there is something to read, by poll, since select refuses file descriptors over 1023.

        While messages wait for their response the answer is no, so that TCP slows down a caller that sends ahead.
        """
        if self.socket is None or not self._is_connected:
            return False
        dimse = self.assoc.dimse
        if isinstance(dimse, BoundedDimse) and dimse.full:
            return False
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True  # decrypted already: poll does not know of it
        try:
            poller = select.poll()
            poller.register(self.socket, select.POLLIN)
            return bool(poller.poll(0))
        except (OSError, ValueError):
            self.event_queue.put("Evt17")  # transport connection closed
            return False


class SteadyTimer(Timer):
    """pynetdicom's timer with a clock that never jumps."""

    @property
    def remaining(self) -> float:
        """Seconds until the timer expires; 1 where it never does."""
        if self.timeout is None:
            return 1
        if self._start_time is None:
            return self.timeout
        return self.timeout - ((self._end_time or time.monotonic()) - self._start_time)

    def start(self) -> None:
        """Start the timer again."""
        self._start_time, self._end_time = time.monotonic(), None

    def stop(self) -> None:
        """Stop the timer."""
        self._end_time = time.monotonic()


class PromptRequestHandler(RequestHandler):
    """Gives each association a `PromptSocket` and a `BoundedDimse`, after the TLS handshake where there is one.

    It runs in its own thread, so that a slow TLS handshake delays no other caller.
    """

    server: PromptServer

    def handle(self) -> None:
        """Serve one connection."""
        with self.server.shaking_hands():
            secured = self.server.secure is None or self._shake_hands(self.server.secure())
        if secured:
            super().handle()

    def _shake_hands(self, context: ssl.SSLContext) -> bool:
        plain = cast(socket.socket, self.request)
        plain.settimeout(self.server.first_patience)
        watchdog = threading.Timer(self.server.first_patience, _cut, [plain])  # a handshake may also trickle in
        watchdog.daemon = True
        watchdog.start()
        try:
            self.request = context.wrap_socket(plain, server_side=True)
        except (OSError, ValueError) as error:
            self.server.counters.add("tls_handshakes_failed")
            reason = getattr(error, "reason", None) or type(error).__name__
            log.warning("tls_handshake_failed", peer=self.client_address[0], reason=reason)
            self.server.connection_refused(self.client_address[0], Cause.TLS_HANDSHAKE)
            self.server.shutdown_request(plain)
            return False
        finally:
            watchdog.cancel()
        return True

    def _create_association(self) -> Association:
        server, patience = self.server, self.server.patience
        assoc = super()._create_association()
        plain, artim = cast(AssociationSocket, assoc.dul.socket), assoc.dul.artim_timer.timeout
        idle = assoc.dul._idle_timer.timeout  # noqa: SLF001
        dul = TolerantDul.install(assoc, server.aborting)
        dul.socket = PromptSocket.adopt(plain, patience, server.first_patience)
        assoc._serve_request = partial(serve, assoc)  # type: ignore[method-assign]  # noqa: SLF001
        assoc.dimse = BoundedDimse(assoc, server.limits, server.memory, server.folder, patience)
        # pynetdicom's timers use the wall clock: set back by a day, they would keep silent callers for a day.
        dul.artim_timer = SteadyTimer(artim)
        dul._idle_timer = SteadyTimer(idle)  # noqa: SLF001
        # Otherwise the association waits for a request until the ACSE timeout and occupies a place, though the caller
        # has closed the connection: in Sta2 nothing reports that (PS3.8 table 9-10, AA-5).
        _guard(dul, dul, lambda: dul.to_user_queue.put(None))
        _guard(assoc, dul, lambda: server.gone(assoc))
        return assoc


class PromptServer(ThreadedAssociationServer):
    """A threaded acceptor with a longer backlog than pynetdicom's five, and a limit on the number of connections.

    `configure` must be called before it serves.
    """

    request_queue_size = BACKLOG
    daemon_threads = True
    limits: Limits
    secure: Callable[[], ssl.SSLContext] | None

    def configure(
        self,
        *,
        limits: Limits,
        memory: Memory,
        folder: Path,
        counters: Counters,
        patience: float,
        first_patience: float,
        secure: Callable[[], ssl.SSLContext] | None,
        gone: Callable[[Association], None],
        aborting: Callable[[Association, str], None],
        connection_refused: Callable[[str, Cause], None],
    ) -> None:
        """``folder`` is where long data sets are received; ``secure`` gives the TLS context for the next connection.

        ``gone`` is called for each association whose thread has ended, for any reason; ``aborting`` with the reason
        when we end one; ``connection_refused`` with the address and the cause when a connection never becomes an
        association.
        """
        self.gone, self.aborting, self.connection_refused = gone, aborting, connection_refused
        self.limits, self.memory, self.folder, self.counters = limits, memory, folder, counters
        self.patience, self.first_patience, self.secure = patience, first_patience, secure
        self._rates: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._shaking = 0
        self._lock = threading.Lock()

    @contextmanager
    def shaking_hands(self) -> Iterator[None]:
        """Count a connection without an association yet."""
        with self._lock:
            self._shaking += 1
        try:
            yield
        finally:
            with self._lock:
                self._shaking -= 1

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002  (socketserver's signature)
        """Whether to serve a connection: not from an address that connects too often, nor when there are too many."""
        running = len(self.ae.active_associations) + self._shaking
        if running < self.ae.maximum_associations + SPARE_CONNECTIONS and self._seldom(client_address[0]):
            return True
        self.counters.add("connections_refused")
        log.warning("connection_refused", peer=client_address[0], running=running)
        self.connection_refused(client_address[0], Cause.CONNECTIONS)
        return False

    def _seldom(self, address: str) -> bool:
        """Whether ``address`` keeps to ``connections_per_minute``, by a token bucket."""
        most = float(self.limits.connections_per_minute)
        now = time.monotonic()
        left, since = self._rates.pop(address, (most, now))
        left = min(most, left + (now - since) * most / 60)
        self._rates[address] = (left - 1 if left >= 1 else left, now)  # a refused caller may soon come again
        if len(self._rates) > ADDRESSES_KNOWN:
            self._rates.popitem(last=False)
        return left >= 1

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log the error of a connection, without socketserver's trace on stderr."""
        self.counters.add("connections_failed")
        log.warning("connection_failed", peer=client_address[0], reason=type(sys.exc_info()[1]).__name__)


def certificate_of(assoc: Association) -> ClientCertificate | None:
    """The certificate of an accepted association's caller; None without TLS."""
    connection = assoc.dul.socket.socket if assoc.dul.socket is not None else None
    return caller_certificate(connection) if isinstance(connection, ssl.SSLSocket) else None


def came_by_tls(assoc: Association) -> bool:
    """Whether the association runs over TLS."""
    return assoc.dul.socket is not None and isinstance(assoc.dul.socket.socket, ssl.SSLSocket)


def _guard(thread: threading.Thread, dul: TolerantDul, ended: Callable[[], None]) -> None:
    """Call ``ended`` when ``thread`` has ended, even if a hostile PDU made pynetdicom fail in it."""
    run = thread.run

    def guarded() -> None:
        try:
            run()
        except Exception as error:  # noqa: BLE001  (an event that its state machine does not know, and the like)
            dul.fault = f"the upper layer failed ({type(error).__name__})"
            dul.report()
        finally:
            ended()

    thread.run = guarded  # type: ignore[method-assign]


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class SharedContexts(list[PresentationContext]):
    """The supported contexts: pynetdicom copies them deeply for each association, 33 ms, and only ever reads them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> list[PresentationContext]:
        return list(self)


def _acknowledge(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
