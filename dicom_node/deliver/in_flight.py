"""A bound on the requests that this machine has in flight to one server, over all threads and processes.

portalocker's bounded semaphore does the same (and frees the slot of a killed process): for these lines, filelock, which
torch brings along, saves the dependency.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from pipeline.errors import PeerBusy

LOOK_EVERY: Final = 0.05


@contextmanager
def slot(folder: Path, server: str, most: int, wait: float) -> Iterator[None]:
    """Hold one of ``most`` slots for ``server`` (any text that names it), waiting up to ``wait`` seconds for one.

    A slot is a lock on a file in ``folder``; the kernel frees the slots of a process that dies.

    Raises
    ------
    PeerBusy
        where no slot became free in that time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(server.encode()).hexdigest()[:16]
    slots = [FileLock(folder / f"{name}-{number}", mode=0o600, fallback_to_soft=False) for number in range(most)]
    held = _take(slots, server, time.monotonic() + wait)
    try:
        yield
    finally:
        held.release()


def _take(slots: list[FileLock], server: str, deadline: float) -> FileLock:
    """Lock the first of ``slots`` that is free."""
    while True:
        for one in slots:
            try:
                one.acquire(blocking=False)
            except Timeout:
                continue
            return one
        if time.monotonic() >= deadline:
            raise PeerBusy(
                f"{len(slots)} of our own requests are in flight to this server already.",
                where=server,
                todo="It is tried again; raise maximum_in_flight where the server can take more.",
            )
        time.sleep(LOOK_EVERY)
