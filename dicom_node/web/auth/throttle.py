"""How often a login may fail: per account and address, per address, and per account from anywhere."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

WINDOW: Final = 900.0
"""Seconds for which a failure counts."""
MOST: Final = (("pair", 8), ("address", 40), ("account", 100))
"""Failures within `WINDOW` after which further attempts are refused: of one account from one address, of one address,
of one account. The last is high: nobody should be able to lock a colleague out."""
ENTRIES: Final = 20_000
"""Keys that are kept at most; the oldest are forgotten."""


class Throttle:
    """Counts failed logins in memory; threads may share it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[tuple[str, str], deque[float]] = {}
        self._lock = threading.Lock()

    def wait(self, account: str, address: str) -> int:
        """Seconds until this address may try this account again; 0 where it may now."""
        now = self._clock()
        with self._lock:
            waits = [self._wait(key, most, now) for key, most in _keys(account, address)]
        return max(waits)

    def failed(self, account: str, address: str) -> None:
        """Count a failure."""
        now = self._clock()
        with self._lock:
            for key, most in _keys(account, address):
                times = self._failures.pop(key, deque(maxlen=most))
                times.append(now)
                self._failures[key] = times
            while len(self._failures) > ENTRIES:
                self._failures.pop(next(iter(self._failures)))

    def succeeded(self, account: str, address: str) -> None:
        """Forget the failures of this account from this address."""
        with self._lock:
            self._failures.pop(_keys(account, address)[0][0], None)

    def _wait(self, key: tuple[str, str], most: int, now: float) -> int:
        times = self._failures.get(key)
        if not times or len(times) < most or now - times[0] >= WINDOW:
            return 0
        return max(1, round(WINDOW - (now - times[0])))


def _keys(account: str, address: str) -> list[tuple[tuple[str, str], int]]:
    values = {"pair": f"{address}\x1f{account}", "address": address, "account": account}
    return [((kind, values[kind]), most) for kind, most in MOST]
