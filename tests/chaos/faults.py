"""The faults, each a function that does its harm to an installation, waits where it must, and takes it back."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.chaos.installation import Installation
from tests.peers.proxy import FaultProxy, Harm

Fault = Callable[[Installation, random.Random], None]

DISK_MB: Final = 192
JUMPS: Final = (3600, -3600, 86400, -86400, 0)
"""Seconds that the clock is set off by."""


def _kill(role: str) -> Fault:
    def fault(house: Installation, chance: random.Random) -> None:
        deadline = time.monotonic() + 20  # its predecessor may not have been replaced yet
        while not house.kill_role(role) and time.monotonic() < deadline:
            time.sleep(0.1)

    return fault


def _supervisor(house: Installation, chance: random.Random) -> None:
    house.kill_supervisor()


def _everything(house: Installation, chance: random.Random) -> None:
    house.kill_everything()
    house.start()


def _postgres(house: Installation, chance: random.Random) -> None:
    house.restart_postgres()


def _network(link: str, harm: Harm) -> Fault:
    def fault(house: Installation, chance: random.Random) -> None:
        proxy: FaultProxy | None = getattr(house, link)
        if proxy is not None:
            with proxy.harming(harm):
                # A stall outlasts the time-outs of 8 s now and then, so that both kinds happen.
                time.sleep(chance.uniform(1, 12 if harm is Harm.STALL else 4))

    return fault


def _full(place: str) -> Fault:
    def fault(house: Installation, chance: random.Random) -> None:
        ballast = house.data / place / "ballast"
        # Unbuffered: closing the file would write what is left in a buffer, and fail.
        with contextlib.suppress(FileNotFoundError), ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError as error:
                assert error.errno == errno.ENOSPC, error  # noqa: PT017
        time.sleep(chance.uniform(2, 6))
        ballast.unlink(missing_ok=True)

    return fault


def _clock(house: Installation, chance: random.Random) -> None:
    """Two jumps while deliveries wait for another try, which is when a jump back would hold them up."""
    with house.to_pacs.harming(Harm.CUT):
        deadline = time.monotonic() + 60  # the first series may not have been read yet
        while not house.waiting_for("pacs") and time.monotonic() < deadline:
            time.sleep(0.5)
        for jump in chance.sample(JUMPS, 2):
            house.clock_jumps(jump)
            time.sleep(chance.uniform(1, 3))


def _second_dies(house: Installation, chance: random.Random) -> None:
    """A worker elsewhere takes work from the same database, dies and does not return."""
    house.start_second()
    time.sleep(chance.uniform(4, 12))
    assert house.second is not None
    house.second.kill()
    house.second.wait()


KILLS: Final[dict[str, Fault]] = {
    "receiver killed": _kill("receiver"),
    "inference worker killed": _kill("infer"),
    "delivery worker killed": _kill("deliver"),
    "supervisor killed": _supervisor,
    "everything killed at once": _everything,
}
POSTGRES: Final[dict[str, Fault]] = {"PostgreSQL restarted": _postgres}
LINKS: Final = {"to_node": "sender – node", "to_pacs": "node – PACS", "to_fhir": "node – FHIR server"}
HARMS: Final = {Harm.CUT: "cut", Harm.STALL: "stalled", Harm.SLOW: "slowed", Harm.GARBLE: "garbled"}
NETWORK: Final[dict[str, Fault]] = {
    f"{LINKS[link]} {HARMS[harm]}": _network(link, harm) for link in LINKS for harm in HARMS
}
DISKS: Final[dict[str, Fault]] = {
    "disk of the store full": _full("store"),
    "disk of the results full": _full("results"),
    "disk of the database full": _full(""),
}
CLOCK: Final[dict[str, Fault]] = {"clock jumped by an hour or a day, PACS cut": _clock}
SECOND: Final[dict[str, Fault]] = {"second node died and did not return": _second_dies}
GROUPS: Final = {
    "kills": KILLS,
    "network": NETWORK,
    "disk": DISKS,
    "clock": CLOCK,
    "nodes": SECOND,
}


class CannotHappenHere(Exception):
    """This machine does not let the fault be made; the message says why."""


def wallclock(folder: Path) -> Path:
    """The library that lets a process's wall clock jump (`wallclock.c`), compiled into ``folder``.

    Not libfaketime: Debian 12's 0.9.10 makes Python's time.sleep, an absolute wait by CLOCK_MONOTONIC, end with EINVAL
    unless CLOCK_MONOTONIC jumps too, which no real one does.

    Raises
    ------
    CannotHappenHere
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise CannotHappenHere("there is no C compiler to make a clock that jumps with (Debian: gcc, libc6-dev)")
    library = folder / "wallclock.so"
    source = Path(__file__).with_name("wallclock.c")
    command = [compiler, "-O2", "-Wall", "-shared", "-fPIC", "-o", str(library), str(source)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise CannotHappenHere(f"the C compiler does not make wallclock.so: {made.stderr.strip()[-200:]}")
    return library


@contextmanager
def small_disks(data: Path) -> Iterator[None]:
    """A small tmpfs of its own under the data folder, and under its store and results.

    Raises
    ------
    CannotHappenHere
    """
    if os.geteuid() != 0:
        raise CannotHappenHere("mounting a small tmpfs needs root")
    mounted: list[Path] = []
    try:
        for place in (data, data / "store", data / "results"):
            place.mkdir(parents=True, exist_ok=True)
            command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "candela-chaos", str(place)]
            if subprocess.run(command, check=False, capture_output=True).returncode != 0:
                raise CannotHappenHere("mounting a tmpfs is not allowed here")
            mounted.append(place)
        yield
    finally:
        for place in reversed(mounted):
            subprocess.run(["umount", "-l", str(place)], check=False)  # lazily: a killed process may not be gone yet
