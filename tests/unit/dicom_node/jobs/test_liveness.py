from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dicom_node.jobs.liveness import FileLife, LifeLock, LifeLost, PostgresLife, Reaper

Hold = Callable[[str], LifeLock]


@pytest.fixture
def hold(database_url: str | None, tmp_path: Path) -> Iterator[Hold]:
    """Takes the life lock of an executor id, as a worker at its start does."""
    held: list[LifeLock] = []

    def take(name: str) -> LifeLock:
        if database_url is None:
            held.append(FileLife(tmp_path / "alive", name))
        else:
            held.append(PostgresLife(database_url, name, 2.0))
        return held[-1]

    yield take
    for life in held:
        life.release()


def test_who_holds_its_lock_is_alive_and_who_does_not_is_dead(hold: Hold) -> None:
    """An id that nobody ever held counts as dead too."""
    one, two = hold("one"), hold("two")
    assert not one.is_dead("two")
    assert not two.is_dead("one")
    assert one.is_dead("never")
    two.release()
    assert one.is_dead("two")
    one.check()


def test_asking_who_is_dead_does_not_take_a_lock(hold: Hold) -> None:
    """A process may start under an id that somebody just asked about."""
    one = hold("one")
    assert one.is_dead("two")
    two = hold("two")
    two.check()
    assert not one.is_dead("two")


def test_a_killed_process_is_dead_at_once(tmp_path: Path) -> None:
    """kill -9 frees flock, and the next process removes what it left."""
    code = (
        "import sys, time; from pathlib import Path; from dicom_node.jobs.liveness import FileLife;"
        "life = FileLife(Path(sys.argv[1]), 'victim'); print('held', flush=True); time.sleep(60)"
    )
    folder = tmp_path / "alive"
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"held\n"
        with closing(os.fdopen(os.open(folder / "victim", os.O_RDONLY))):
            life = FileLife(folder, "one")
            assert not life.is_dead("victim")
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            assert life.is_dead("victim")
    two = FileLife(folder, "two")
    assert sorted(path.name for path in folder.iterdir()) == ["one", "two"]
    life.release()
    two.release()


def test_a_lock_file_that_was_removed_is_a_lost_life(tmp_path: Path) -> None:
    """Others would count this process as dead, so it must not go on."""
    life = FileLife(tmp_path, "one")
    (tmp_path / "one").unlink()
    with pytest.raises(LifeLost):
        life.check()


class Lives:
    """A lock over a list of the living."""

    def __init__(self, *alive: str, grace: float = 10.0) -> None:
        self.alive = set(alive)
        self.grace = grace

    def check(self) -> None:
        if "me" not in self.alive:
            raise LifeLost

    def is_dead(self, executor_id: str) -> bool:
        return executor_id not in self.alive

    def release(self) -> None:
        self.alive.discard("me")


def reaper(lives: Lives, owners: set[str], now: list[float]) -> tuple[Reaper, list[str]]:
    recovered: list[str] = []
    return Reaper(lives, "me", lambda: owners, recovered.append, clock=lambda: now[0]), recovered


def test_the_jobs_of_the_dead_are_taken_after_the_grace_and_again_until_they_are_gone() -> None:
    """Recovery is never one-shot: a dead owner that still owns jobs is recovered at each look."""
    now, owners = [0.0], {"me", "dead", "alive"}
    item, recovered = reaper(Lives("me", "alive"), owners, now)
    assert item.check() == ()
    now[0] = 9.9
    assert item.check() == ()
    now[0] = 10.0
    assert item.check() == ("dead",)
    now[0] = 11.0
    assert item.check() == ("dead",)
    owners.discard("dead")
    assert item.check() == ()
    assert recovered == ["dead", "dead"]


def test_an_owner_that_comes_back_within_the_grace_keeps_its_jobs() -> None:
    """The time counts from the last disappearance."""
    now = [0.0]
    lives = Lives("me")
    item, recovered = reaper(lives, {"wobbly"}, now)
    item.check()
    now[0] = 8.0
    lives.alive.add("wobbly")
    item.check()
    now[0] = 12.0
    lives.alive.discard("wobbly")
    assert item.check() == ()
    now[0] = 21.0
    assert item.check() == ()
    now[0] = 22.0
    assert item.check() == ("wobbly",)
    assert recovered == ["wobbly"]


def test_who_has_lost_its_own_life_takes_nobodys_jobs() -> None:
    """It cannot tell any more who is alive."""
    item, recovered = reaper(Lives(grace=0.0), {"dead"}, [0.0])
    with pytest.raises(LifeLost):
        item.check()
    assert recovered == []
