"""What listens on a port and is no server of any protocol."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def listener(behaviour: str) -> Iterator[int]:
    """The port of a TCP server: ``silent`` never answers, ``rude`` hangs up in the middle of a request."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                if behaviour == "rude":
                    connection.recv(64)
                    connection.close()
                kept.append(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()
