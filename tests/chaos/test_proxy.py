"""The proxy between sender, node and PACS itself: long runs send thousands of associations through it."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

from tests.peers.proxy import FaultProxy


def test_connections_that_ended_leave_no_descriptor() -> None:
    """Forty, one after the other: as many open files afterwards as before."""
    with socket.create_server(("127.0.0.1", 0)) as server, FaultProxy(server.getsockname()[1]) as proxy:

        def answer() -> None:
            for _ in range(40):
                caller, _ = server.accept()
                with caller:
                    caller.sendall(caller.recv(16).upper())

        threading.Thread(target=answer, daemon=True).start()
        before = _open_files()
        for _ in range(40):
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as caller:
                caller.sendall(b"series")
                assert caller.recv(16) == b"SERIES"
        deadline = time.monotonic() + 10
        while _open_files() > before:
            assert time.monotonic() < deadline, f"{_open_files() - before} descriptors are left"
            time.sleep(0.05)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
