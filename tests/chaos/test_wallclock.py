"""The clock that the chaos runs let jump: the wall clock alone, and while a process runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.faults import CannotHappenHere, wallclock

TELLS = """
import sqlite3, sys, time
wall, steady = time.time(), time.monotonic()
for jump in (3600, -86400, 0):
    open(sys.argv[1], "w").write(f"{jump:+d}\\n")
    time.sleep(0.2)
    passed = time.monotonic() - steady
    database = int(sqlite3.connect(":memory:").execute("select strftime('%s', 'now')").fetchone()[0])
    print(round(time.time() - wall - passed), round(database - wall - passed), 0.1 < passed < 60)
"""


def test_only_the_wall_clock_jumps(tmp_path: Path) -> None:
    """By an hour forwards, by a day backwards, and back: Python's and SQLite's; waits go on as long as they were to."""
    try:
        library = wallclock(tmp_path)
    except CannotHappenHere as reason:
        pytest.skip(str(reason))
    clock = tmp_path / "clock"
    told = subprocess.run(
        [sys.executable, "-c", TELLS, str(clock)],
        env={**os.environ, "LD_PRELOAD": str(library), "CHAOS_WALLCLOCK": str(clock)},
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout.splitlines()  # fmt: skip
    for line, jump in zip(told, (3600, -86400, 0), strict=True):
        python, sqlite, waited = line.split()
        assert int(python) == jump
        assert abs(int(sqlite) - jump) <= 1  # whole seconds
        assert waited == "True"
