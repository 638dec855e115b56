"""At most so many requests at once to one server, over all threads and processes of this machine."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pipeline.errors import PeerBusy

LOOK_EVERY: Final = 0.05


@contextmanager
def slot(folder: Path, server: str, most: int, wait: float) -> Iterator[None]:
    """Hold one of ``most`` slots for ``server`` (any text that names it), waiting up to ``wait`` seconds for one.

    A slot is a lock on a file in ``folder``; the kernel frees those of a process that dies.

    Raises
    ------
    PeerBusy
        where all were taken all the time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(server.encode()).hexdigest()[:16]
    held = [os.open(folder / f"{name}-{number}", os.O_RDWR | os.O_CREAT, 0o600) for number in range(most)]
    try:
        _take(held, server, time.monotonic() + wait)
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)


def _take(descriptors: list[int], server: str, deadline: float) -> None:
    """Lock one of ``descriptors``."""
    while True:
        for descriptor in descriptors:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            return
        if time.monotonic() >= deadline:
            raise PeerBusy(
                f"{len(descriptors)} of our own requests are in flight to this server already.",
                where=server,
                todo="It is tried again; raise maximum_in_flight where the server can take more.",
            )
        time.sleep(LOOK_EVERY)
