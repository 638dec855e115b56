"""When a study is chosen from: once, after silence, all its series complete; a failure is tried again."""

from __future__ import annotations

from dataclasses import dataclass, field

from dicom_node.backoff import RETRY_FIRST, RETRY_MOST
from dicom_node.completion.study_watch import StudyWatch
from dicom_node.observability.counters import Counters
from pipeline.errors import PeerUnavailable

QUIET = 60.0


@dataclass
class Bench:
    """A watch on a clock that the test turns."""

    now: float = 100.0
    waiting: set[str] = field(default_factory=set)
    decided: list[str] = field(default_factory=list)
    down: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.counters = Counters()
        self.watch = StudyWatch(self, QUIET, self.counters, lambda: self.now)

    def undecided(self) -> set[str]:
        return set(self.waiting)

    def decide(self, study_instance_uid: str) -> None:
        if study_instance_uid in self.down:
            raise PeerUnavailable("The database does not answer.")
        self.decided.append(study_instance_uid)
        self.waiting.discard(study_instance_uid)

    def at(self, now: float, *receiving: str) -> float | None:
        self.now = now
        return self.watch.step(receiving)


def test_a_quiet_study_is_decided_once() -> None:
    bench = Bench(waiting={"1.1"})
    bench.watch.active("1.1", 100)
    assert bench.at(159.9) == 160
    assert bench.decided == []
    assert bench.at(160) is None
    assert bench.at(500) is None
    assert bench.decided == ["1.1"]


def test_whatever_is_heard_of_the_study_starts_its_silence_anew() -> None:
    bench = Bench(waiting={"1.1"})
    bench.watch.active("1.1", 100)
    bench.watch.active("1.1", 150)
    bench.watch.active("1.1", 120)  # events of several series need not come in order
    assert bench.at(205) == 210
    bench.at(210)
    assert bench.decided == ["1.1"]


def test_a_series_on_its_way_holds_its_study_back_however_long() -> None:
    """Its end will be heard; until then there is nothing to wake up for."""
    bench = Bench(waiting={"1.1"})
    bench.watch.active("1.1", 100)
    assert bench.at(9999, "1.1") is None
    assert bench.decided == []
    bench.watch.active("1.1", 9999)
    assert bench.at(9999) == 9999 + QUIET


def test_a_study_that_an_earlier_process_left_waits_from_the_start() -> None:
    """Its sender must have time to come back."""
    bench = Bench(waiting={"1.1"})
    assert bench.at(110) == 100 + QUIET
    bench.at(160)
    assert bench.decided == ["1.1"]


def test_a_choice_that_fails_is_tried_again_with_growing_pauses_and_holds_up_no_other() -> None:
    bench = Bench(waiting={"1.1", "1.2"}, down={"1.1"})
    assert bench.at(160) == 160 + RETRY_FIRST
    assert bench.decided == ["1.2"]
    assert bench.at(161) == 161 + 2 * RETRY_FIRST
    for _ in range(20):
        wake = bench.at(bench.now + RETRY_MOST)
    assert wake == bench.now + RETRY_MOST
    assert bench.counters.study_decision_failures == 22
    bench.down.clear()
    assert bench.at(wake) is None
    assert bench.decided == ["1.2", "1.1"]


def test_studies_that_await_nothing_are_forgotten() -> None:
    """A node that has no such rule, or whose studies are decided, keeps nothing of them."""
    bench = Bench()
    for number in range(1000):
        bench.watch.active(f"1.{number}", 100)
    bench.at(101, "1.7")
    assert set(bench.watch._waiting) == {"1.7"}
