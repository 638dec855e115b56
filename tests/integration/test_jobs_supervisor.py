"""The supervisor with real child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicom_node.jobs.status import JobState
from tests.peers.engine import Node

ROOT = Path(__file__).parents[2]

SUPERVISOR = """
import sys
from dicom_node.node.supervisor import Policy, Role, supervise
policy = Policy(restart_first=0.1, restart_most=1.0, healthy=5.0, stop_within={stop_within})
commands = [(sys.executable, "-c", code) for code in {codes!r}]
roles = [Role(f"role{{n}}", command, essential=n < {essential}) for n, command in enumerate(commands)]
sys.exit(supervise(roles, policy))
"""

LIVES = """
import os, signal, sys, time
open({pids!r}, "a").write(f"{{os.getpid()}}\\n")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("a child speaks", flush=True)
time.sleep(60)
"""

STUBBORN = LIVES.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")

DIES = """
import os, sys
open({pids!r}, "a").write(f"{{os.getpid()}}\\n")
sys.exit({status})
"""


def alive(pid: int) -> bool:
    """Whether ``pid`` runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait(until: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        time.sleep(0.02)


class Supervised:
    """A supervisor over children that note their process ids; the first ``essential`` of them are."""

    def __init__(self, folder: Path) -> None:
        self._pids = folder / "pids"
        self._log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self, *codes: str, stop_within: float = 5.0, essential: int = 9, **values: object
    ) -> subprocess.Popen[bytes]:
        filled = [code.format(pids=str(self._pids), **values) for code in codes]
        script = SUPERVISOR.format(codes=filled, stop_within=stop_within, essential=essential)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=log, stderr=log)
        return self.process

    @property
    def pids(self) -> list[int]:
        return [int(line) for line in self._pids.read_text().split()] if self._pids.exists() else []

    @property
    def log(self) -> str:
        return self._log.read_text()

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.pids:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    item = Supervised(tmp_path)
    yield item
    item.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_children_cleanly(supervised: Supervised, number: signal.Signals) -> None:
    """SIGTERM and SIGINT reach every child as SIGTERM; status 0; what children print is seen."""
    process = supervised.start(LIVES, LIVES)
    wait(lambda: len(supervised.pids) == 2 and supervised.log.count("a child speaks") == 2)
    begun = time.monotonic()
    process.send_signal(number)
    assert process.wait(5) == 0
    assert time.monotonic() - begun < 2
    assert not any(alive(pid) for pid in supervised.pids)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PR_SET_PDEATHSIG is Linux's")
def test_children_die_with_a_killed_supervisor(supervised: Supervised) -> None:
    """kill -9 of the supervisor leaves no orphan, not even one that ignores SIGTERM."""
    process = supervised.start(LIVES, STUBBORN)
    wait(lambda: len(supervised.pids) == 2 and supervised.log.count("a child speaks") == 2)
    process.kill()
    process.wait()
    wait(lambda: not any(alive(pid) for pid in supervised.pids), 3)


def test_a_killed_child_is_started_again(supervised: Supervised) -> None:
    """kill -9 of one child: a new process takes its place, the other runs on."""
    process = supervised.start(LIVES, LIVES)
    wait(lambda: len(supervised.pids) == 2)
    first, other = supervised.pids
    os.kill(first, signal.SIGKILL)
    wait(lambda: len(supervised.pids) == 3)
    assert alive(other)
    assert process.poll() is None


def test_a_child_that_keeps_dying_is_started_ever_more_slowly(supervised: Supervised) -> None:
    """Pauses double from 0.1 s to 1 s at most: no busy loop, and no giving up."""
    process = supervised.start(DIES, LIVES, status=75)
    wait(lambda: supervised.log.count("restart_in_s=1.0") >= 2, 20)
    lines = supervised.log.splitlines()
    pauses = [float(line.split("restart_in_s=")[1].split()[0]) for line in lines if "restart_in_s=" in line]
    assert pauses[:6] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert process.poll() is None


def test_a_child_with_wrong_settings_stops_everything(supervised: Supervised) -> None:
    """Status 2 says that a restart is no use: all stop, and the supervisor leaves with 2 too."""
    process = supervised.start(LIVES, DIES, status=2)
    assert process.wait(10) == 2
    assert not any(alive(pid) for pid in supervised.pids)


def test_wrong_settings_of_a_child_that_is_not_essential_stop_nobody(supervised: Supervised) -> None:
    """The dashboard's port is taken: series come in as ever, and the dashboard is started again later."""
    process = supervised.start(LIVES, DIES, status=2, essential=1)
    wait(lambda: supervised.log.count("restart_in_s=") >= 2 and "a child speaks" in supervised.log)
    assert process.poll() is None
    (lives,) = [pid for pid in supervised.pids if alive(pid) and b"speaks" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert supervised.log.count("a child speaks") == 1, f"{lives} goes on"


def test_a_child_that_does_not_stop_is_killed_in_bounded_time(supervised: Supervised) -> None:
    """Status 1 tells that it had to be killed."""
    process = supervised.start(STUBBORN, stop_within=1.0)
    wait(lambda: "a child speaks" in supervised.log)
    begun = time.monotonic()
    process.terminate()
    assert process.wait(10) == 1
    assert 0.8 < time.monotonic() - begun < 4
    assert not any(alive(pid) for pid in supervised.pids)


def test_a_second_signal_does_not_wait(supervised: Supervised) -> None:
    """An impatient administrator is obeyed."""
    process = supervised.start(STUBBORN, stop_within=60.0)
    wait(lambda: "a child speaks" in supervised.log)
    process.terminate()
    wait(lambda: "stopping" in supervised.log)
    process.terminate()
    assert process.wait(5) == 1


NODE = """
import sys
from dicom_node.node.supervisor import Policy, Role, supervise
worker = (sys.executable, "-m", "tests.peers.engine_worker", sys.argv[1])
sys.exit(supervise([Role(queue, (*worker, queue)) for queue in ("infer", "deliver")], Policy(restart_first=0.1)))
"""


def test_a_killed_node_finishes_its_jobs_once_after_its_restart(tmp_path: Path) -> None:
    """kill -9 of the supervisor takes the workers with it in the middle of a job; the next start does it, once."""
    node = Node(tmp_path)
    job = node.job(rule="slow")
    node.client.submit(job)

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "workers.log").open("ab") as log:
            command = [sys.executable, "-c", NODE, str(node.config)]
            return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    first = start()
    try:
        node.wait(lambda: node.count("begin")[job.job_id] == 1 and node.log.count("worker_started") == 2)
        first.kill()
        first.wait()
        (node.data_dir / "go").touch()
        second = start()
        try:
            node.wait_for(job, JobState.DONE)
            second.terminate()
            assert second.wait(15) == 0
        finally:
            second.kill()
    finally:
        first.kill()
        node.close()
    assert node.count("end") == {job.job_id: 1}
    assert node.log.count(" delivered ") == 3


RELOADS = """
import os, signal, sys, time
signal.signal(signal.SIGHUP, lambda *_: open({hups!r}, "a").write("again\\n"))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
open({pids!r}, "a").write(f"{{os.getpid()}}\\n")
while True:
    time.sleep(0.05)
"""


def test_a_hangup_reaches_the_roles_that_reload_and_stops_nobody(tmp_path: Path) -> None:
    """SIGHUP (systemctl reload) is passed on to the receiver alone: a worker would die of it."""
    pids, hups = tmp_path / "pids", tmp_path / "hups"
    script = f"""
import sys
from dicom_node.node.supervisor import Role, supervise
reloads = {RELOADS.format(pids=str(pids), hups=str(hups))!r}
lives = {LIVES.format(pids=str(pids))!r}
sys.exit(supervise([
    Role("receiver", (sys.executable, "-c", reloads), reloads=True), Role("worker", (sys.executable, "-c", lives)),
]))
"""
    command = [sys.executable, "-c", script]
    supervisor = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait(lambda: pids.exists() and len(pids.read_text().split()) == 2, 60)
        children = [int(pid) for pid in pids.read_text().split()]
        supervisor.send_signal(signal.SIGHUP)
        wait(lambda: hups.exists() and hups.read_text() == "again\n", 60)
        time.sleep(0.3)
        assert all(alive(pid) for pid in children)
        supervisor.terminate()
        assert supervisor.wait(60) == 0
    finally:
        supervisor.kill()
        supervisor.wait()
