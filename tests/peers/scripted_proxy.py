"""A TCP proxy on loopback that fails as a test tells it to: each connection takes the next of its faults."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Fault:
    """What happens to one connection. ``None``: nothing. Bytes are counted from its start.

    ``cut_request`` and ``cut_answer``: reset both sides after so many bytes of that direction have passed.
    ``stall_answer``: pass no more of the answer after so many bytes, and keep the connection open.
    ``pause``: seconds before each piece of the answer.
    """

    cut_request: int | None = None
    cut_answer: int | None = None
    stall_answer: int | None = None
    pause: float = 0.0


class ScriptedProxy:
    """``port`` leads to ``target``; after ``faults`` are used up, every connection passes."""

    def __init__(self, target: int, *faults: Fault) -> None:
        self._target = target
        self._faults = list(faults)
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._listener.close()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            fault = self._faults.pop(0) if self._faults else Fault()
            self.connections += 1
            threading.Thread(target=self._serve, args=(client, fault), daemon=True).start()

    def _serve(self, client: socket.socket, fault: Fault) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=10)
        except OSError:
            _reset(client)
            return
        with client, server, contextlib.suppress(OSError):
            if self._pass_on(client, server, fault):
                _reset(client)
                _reset(server)

    def _pass_on(self, client: socket.socket, server: socket.socket, fault: Fault) -> bool:
        """Pass bytes on until one side ends; True where the fault says to cut."""
        passed = {client: 0, server: 0}
        limits = {client: fault.cut_request, server: fault.cut_answer}
        while not self._stopped.is_set():
            for source in select.select([client, server], [], [], 0.1)[0]:
                data = source.recv(65536)
                if not data:
                    return False
                target = server if source is client else client
                if source is server:
                    time.sleep(fault.pause)
                    if fault.stall_answer is not None:
                        data = data[: max(0, fault.stall_answer - passed[server])]
                limit = limits[source]
                if limit is not None and passed[source] + len(data) >= limit:
                    target.sendall(data[: limit - passed[source]])
                    time.sleep(0.05)  # let the peer read what came before the reset, which would discard it
                    return True
                passed[source] += len(data)
                target.sendall(data)
        return False


def _reset(connection: socket.socket) -> None:
    """Close with RST, as a cut line or a killed process does."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
