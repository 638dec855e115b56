"""A TCP proxy that harms what passes through it: cuts, stalls, slows and garbles, when it is told to."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final, Self

CHUNK: Final = 16384
SLOW_BYTES_PER_SECOND: Final = 20_000
GARBLE_EVERY: Final = 4
"""Of so many chunks one gets a byte flipped."""


class Harm(StrEnum):
    """What happens to connections: NONE passes, CUT resets them and takes none, STALL holds what comes back and forth,
    SLOW lets 20 kB a second through, GARBLE flips a bit now and then.
    """

    NONE = "none"
    CUT = "cut"
    STALL = "stall"
    SLOW = "slow"
    GARBLE = "garble"


class FaultProxy:
    """Listens on ``port`` of the loopback, passes to ``target``. `harm` may be set at any time, from any thread.

    ``garbled`` counts the bytes that were changed.
    """

    def __init__(self, target: int, *, seed: int = 0) -> None:
        self.target = target
        self.garbled = 0
        self._harm = Harm.NONE
        self._chance = random.Random(seed)
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._server.getsockname()[1])
        self._closed = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name=f"proxy-{self.port}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._reset_all()

    @property
    def harm(self) -> Harm:
        return self._harm

    @harm.setter
    def harm(self, harm: Harm) -> None:
        self._harm = harm
        if harm is Harm.CUT:
            self._reset_all()

    @contextmanager
    def harming(self, harm: Harm) -> Iterator[None]:
        """``harm`` for as long as the block runs."""
        self.harm = harm
        try:
            yield
        finally:
            self.harm = Harm.NONE

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if self._harm is Harm.CUT:
                _reset(near)
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                _reset(near)
                continue
            far.settimeout(None)
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.add((near, far))
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        """Pass bytes both ways until both have ended, then close: thousands of connections may come in a long run."""
        back = threading.Thread(target=self._pump, args=(far, near, (near, far)), daemon=True)
        back.start()
        self._pump(near, far, (near, far))
        back.join()
        self._forget((near, far))

    def _pump(self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                sink.sendall(self._harmed(data))
            if self._harm is not Harm.CUT:
                sink.shutdown(socket.SHUT_WR)
                return
        self._forget(pair)

    def _harmed(self, data: bytes) -> bytes:
        while self._harm is Harm.STALL and not self._closed:
            time.sleep(0.05)
        if self._harm is Harm.SLOW:
            time.sleep(len(data) / SLOW_BYTES_PER_SECOND)
        if self._harm is Harm.GARBLE and self._chance.randrange(GARBLE_EVERY) == 0:
            changed = bytearray(data)
            changed[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)
            self.garbled += 1
            return bytes(changed)
        return data

    def _reset_all(self) -> None:
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._forget(pair)

    def _forget(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            self._pairs.discard(pair)
        for one in pair:
            _reset(one)


class Misspelling(FaultProxy):
    """Changes the last digit of ``uid`` the first time that it passes: in the command of a C-STORE."""

    def __init__(self, target: int, uid: str) -> None:
        super().__init__(target)
        self._uid = uid.encode()

    def _harmed(self, data: bytes) -> bytes:
        if self._uid not in data or self.garbled:
            return data
        self.garbled = 1
        return data.replace(self._uid, self._uid[:-1] + (b"1" if self._uid[-1:] != b"1" else b"2"), 1)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)  # wakes who reads from it, and sends nothing: the close below resets
    with contextlib.suppress(OSError):
        connection.close()
