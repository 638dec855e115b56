"""The proxy does what it says: the chaos tests prove nothing otherwise."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.peers.proxy import FaultProxy, Harm


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            pass

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


def there_and_back(port: int, data: bytes, timeout: float = 10) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(data)
        got = b""
        while len(got) < len(data):
            piece = connection.recv(65536)
            if not piece:
                break
            got += piece
        return got


def test_it_passes_and_takes_its_harm_back(echo: int) -> None:
    """Unharmed bytes come back as they were, also after a cut."""
    with FaultProxy(echo) as proxy:
        assert there_and_back(proxy.port, b"x" * 100_000) == b"x" * 100_000
        with proxy.harming(Harm.CUT), pytest.raises(OSError):
            there_and_back(proxy.port, b"hello")
        assert there_and_back(proxy.port, b"hello") == b"hello"


def test_a_cut_resets_what_is_connected(echo: int) -> None:
    """Not only new connections."""
    with FaultProxy(echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        connection.sendall(b"hello")
        assert connection.recv(5) == b"hello"
        proxy.harm = Harm.CUT
        with pytest.raises(ConnectionError):
            connection.recv(5)


def test_a_stall_holds_everything_back_and_loses_nothing(echo: int) -> None:
    """Nothing comes while it lasts, all of it afterwards."""
    with FaultProxy(echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port), timeout=0.5) as connection:
        proxy.harm = Harm.STALL
        connection.sendall(b"hello")
        with pytest.raises(TimeoutError):
            connection.recv(5)
        proxy.harm = Harm.NONE
        connection.settimeout(10)
        assert connection.recv(5) == b"hello"


def test_slow_is_slow_and_garbled_is_garbled_by_single_bits(echo: int) -> None:
    """20 kB there and back take more than a second; of much data some bits are flipped, and none lost."""
    with FaultProxy(echo) as proxy:
        with proxy.harming(Harm.SLOW):
            begun = time.monotonic()
            assert there_and_back(proxy.port, b"y" * 20_000, 30) == b"y" * 20_000
            assert time.monotonic() - begun > 1
        with proxy.harming(Harm.GARBLE):
            got = there_and_back(proxy.port, bytes(2_000_000), 30)
        assert len(got) == 2_000_000
        assert 0 < sum(byte.bit_count() for byte in got) == proxy.garbled
