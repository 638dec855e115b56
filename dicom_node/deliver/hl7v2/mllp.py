"""MLLP (HL7 Minimal Lower Layer Protocol, release 1): sends one message and returns its acknowledgement."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from pipeline.errors import PeerUnavailable

START, END, RETURN = b"\x0b", b"\x1c", b"\r"
ANSWER_MOST: Final = 1 << 20
"""Bytes; an acknowledgement is a few hundred."""


@dataclass(frozen=True)
class Mllp:
    """A receiver. ``timeout`` in seconds: for the connection, for each piece sent, and for the whole answer.

    ``tls`` None: in clear text. ``server_name``: the name in the certificate.
    """

    host: str
    port: int
    timeout: float
    tls: ssl.SSLContext | None = None
    server_name: str | None = None

    def reach(self) -> None:
        """Connect, with TLS where set, and disconnect: a receiver acknowledges nothing but messages. Raises as
        `exchange`.
        """
        with self._typed(), self._connected():
            pass

    def exchange(self, message: bytes) -> bytes:
        """Send ``message`` on its own connection; returns the receiver's answer without its frame.

        Raises
        ------
        PeerUnavailable
            where no whole answer came; whether the receiver took the message is then unknown.
        """
        with self._typed(), self._connected() as connection:
            connection.sendall(START + message + END + RETURN)
            return self._answer(connection)

    @contextmanager
    def _typed(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise self._unavailable(f"did not answer within {self.timeout:g} s") from None
        except ssl.SSLCertVerificationError as error:
            raise self._unavailable(f"has a certificate that is not trusted ({error.verify_message})") from None
        except ssl.SSLError as error:
            raise self._unavailable(f"did not complete the TLS handshake ({error.reason})") from None
        except OSError as error:
            raise self._unavailable(f"cannot be reached ({error.strerror or type(error).__name__})") from None

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.create_connection((self.host, self.port), timeout=self.timeout) as plain:
            if self.tls is None:
                yield plain
                return
            with self.tls.wrap_socket(plain, server_hostname=self.server_name or self.host) as secured:
                yield secured

    def _answer(self, connection: socket.socket) -> bytes:
        deadline = time.monotonic() + self.timeout
        received = bytearray()
        while END + RETURN not in received:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            piece = connection.recv(65536)
            if not piece:
                raise self._unavailable("closed the connection before the end of its answer")
            received += piece
            if len(received) > ANSWER_MOST or not received.startswith(START):
                raise self._unavailable("sent something that is not an MLLP answer")
        return bytes(received[1 : received.index(END + RETURN)])

    def _unavailable(self, what: str) -> PeerUnavailable:
        return PeerUnavailable(
            f"The HL7 receiver {what}.",
            where=f"{self.host}:{self.port}",
            todo="It is tried again; check host, port, TLS and the receiver's log.",
        )
