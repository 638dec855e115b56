"""From arrivals to dispatches, on a clock that the test turns."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.completion.monitor import CountSource, SeriesMonitor
from dicom_node.completion.rules import CompleteSeries
from dicom_node.observability.counters import Counters
from dicom_node.settings.receive import Completion
from dicom_node.store.instance_store import AETitles, InstanceStore
from dicom_node.store.series_index import Arrival, SeriesIndex, SeriesState
from pipeline.errors import OutOfResources, PeerUnavailable
from tests.unit.dicom_node.receive.test_receive_store import content, header

POLICY = Completion(quiet_after_release=3.0, quiet_time=60.0, count_timeout=30.0, plausible_part=1)
SERIES = "1.2.3.5"


@dataclass
class Bench:
    """A monitor without its thread: `turn` advances the clock and steps."""

    folder: Path
    counts: dict[str, CountSource] = field(default_factory=dict)
    now: float = 0.0
    taken: list[CompleteSeries] = field(default_factory=list)
    fail: Callable[[], None] = lambda: None
    policy: Completion = POLICY

    def __post_init__(self) -> None:
        self.counters = Counters()
        self.open()

    def open(self) -> None:
        self.store = InstanceStore(self.folder / "store", lambda: self.now)
        self.index = SeriesIndex(self.folder / "index.sqlite")
        self.missed = self.index.reconcile(self.store, lambda _: False)
        self.monitor = SeriesMonitor(
            self.index,
            self.store,
            self.policy,
            self.submit,
            self.counts,
            self.counters,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )
        self.monitor.resume()

    def close(self) -> None:
        self.monitor.stop()
        self.index.close()
        self.store.close()

    def submit(self, series: CompleteSeries) -> None:
        self.fail()
        self.taken.append(series)

    def send(self, *numbers: int, association: int = 1, own: bool = False, rows: int = 4, ae: str = "MODALITY") -> None:
        for number in numbers:
            stored = self.store.put(
                content(rows, f"1.2.3.4.{number}"),
                header(f"1.2.3.4.{number}"),
                ExplicitVRLittleEndian,
                AETitles(ae, "CANDELA"),
            )
            self.monitor.arrived(Arrival(stored, own, association))

    def end(self, association: int = 1, *, released: bool = True) -> None:
        self.monitor.association_ended(association, released=released)

    def turn(self, seconds: float = 0.0) -> float | None:
        self.monitor.step()
        self.now += seconds
        self.monitor.step()
        return self.monitor.step()  # takes in what a peer answered when it was asked in the step before

    def state(self) -> SeriesState | None:
        record = self.index.series(SERIES)
        return record.state if record else None


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_a_released_series_is_dispatched_after_its_silence(bench: Bench) -> None:
    """Revision 1 with every instance, sender and reason; then the loop has nothing to wait for."""
    bench.send(1, 2, 3)
    bench.end()
    assert bench.turn(2.9) == pytest.approx(0.1)
    assert not bench.taken
    assert bench.turn(0.1) is None
    (series,) = bench.taken
    assert series.reason == "association released and quiet for 3.0 s (3 instances)"
    assert (series.revision, series.calling_ae, series.study_instance_uid) == (1, "MODALITY", "1.2.3")
    assert [item.sop_instance_uid for item in series.instances] == ["1.2.3.4.1", "1.2.3.4.2", "1.2.3.4.3"]
    assert all(Path(item.path).is_file() for item in series.instances)
    assert series.completed_at.utcoffset() is not None
    assert bench.state() == SeriesState.DISPATCHED


def test_an_aborted_association_leaves_the_decision_to_quiet_time(bench: Bench) -> None:
    """The sender may come back: only long silence, or a later release, completes the series."""
    bench.send(1)
    bench.end(released=False)
    bench.turn(59.9)
    assert not bench.taken
    bench.turn(0.1)
    assert bench.taken[0].reason == "quiet for 60.0 s (1 instances)"


def test_a_release_after_an_abort_says_that_the_sender_has_finished(bench: Bench) -> None:
    """A retry on a new association completes the series; a parallel one that began before the abort does not."""
    bench.send(1, association=1)
    bench.send(2, association=2)
    bench.end(1, released=False)
    bench.end(2)
    bench.turn(10)
    assert not bench.taken
    bench.send(1, 3, association=3)
    bench.end(3)
    bench.turn(3)
    assert bench.taken[0].reason == "association released and quiet for 3.0 s (3 instances)"


def test_two_associations_carry_one_series(bench: Bench) -> None:
    """The series waits for the last of them."""
    bench.send(1, association=1)
    bench.send(2, association=2)
    bench.end(1)
    bench.turn(50)
    assert not bench.taken
    bench.end(2)
    bench.turn(3)
    assert len(bench.taken[0].instances) == 2


def test_a_late_instance_makes_a_new_revision(bench: Bench) -> None:
    """Revision 2 holds the old instances and the new one; a release that was wrong once counts no more."""
    bench.send(1, 2)
    bench.end()
    bench.turn(3)
    bench.send(3, association=2)
    bench.end(2)
    bench.turn(119)
    assert bench.state() == SeriesState.RECEIVING
    bench.turn(1)
    assert bench.taken[1].reason == "quiet for 120.0 s (3 instances)"
    assert [(series.revision, len(series.instances)) for series in bench.taken] == [(1, 2), (2, 3)]
    assert bench.counters.series_reopened == 1


def test_a_resend_of_a_complete_series_does_nothing(bench: Bench) -> None:
    """Nor does other content under the same UIDs: the jobs have these instances already."""
    bench.send(1, 2)
    bench.end()
    bench.turn(3)
    bench.send(1, 2, association=2)
    bench.send(1, association=2, rows=8)
    bench.end(2)
    assert bench.turn(100) is None
    assert len(bench.taken) == 1
    assert bench.state() == SeriesState.DISPATCHED


def test_the_newest_version_is_dispatched(bench: Bench) -> None:
    """Corrected before completion: the corrected file goes to the jobs, once, and what it corrects beside it."""
    bench.send(1, 2)
    bench.send(1, rows=8)
    bench.end()
    bench.turn(3)
    assert [Path(item.path).name for item in bench.taken[0].earlier] == ["1.2.3.4.1.dcm"]
    assert bench.taken[0].shared == 0
    assert [Path(item.path).name for item in bench.taken[0].instances] == ["1.2.3.4.1~2.dcm", "1.2.3.4.2.dcm"]


def test_what_candela_made_is_never_dispatched(bench: Bench) -> None:
    """Own results are indexed and stay; with others in the series, only the others go."""
    bench.send(1, own=True)
    bench.end()
    assert bench.turn(1000) is None
    assert not bench.taken
    assert bench.state() == SeriesState.OWN
    bench.send(2, association=2)
    bench.end(2)
    bench.turn(3)
    assert [item.sop_instance_uid for item in bench.taken[0].instances] == ["1.2.3.4.2"]


def test_a_refused_dispatch_is_tried_again_later(bench: Bench) -> None:
    """Backoff 1, 2, 4 seconds; the series stays until it is taken, and then is taken once."""
    failing = True

    def fail() -> None:
        if failing:
            raise OutOfResources("the database is full")

    bench.fail = fail
    bench.send(1)
    bench.end()
    assert [bench.turn(3), bench.turn(1), bench.turn(2)] == pytest.approx([1, 2, 4])
    assert bench.state() == SeriesState.COMPLETE
    assert bench.counters.dispatch_failures == 3
    failing = False
    bench.turn(4)
    assert len(bench.taken) == 1


def test_a_refused_dispatch_survives_a_restart(bench: Bench) -> None:
    """The series is taken up again by the next process."""

    def fail() -> None:
        raise ConnectionError

    bench.fail = fail
    bench.send(1)
    bench.end()
    bench.turn(3)
    bench.close()
    bench.fail = lambda: None
    bench.open()
    bench.turn(3)
    assert len(bench.taken) == 1


def asked(bench: Bench, expected: Callable[[], int | None]) -> None:
    """Give the bench a peer to ask; its answer is in before the next turn."""
    bench.counts["MODALITY"] = CountSource("C-FIND", lambda *_: expected())
    bench.monitor._counting.submit = lambda function, *args: function(*args)  # type: ignore[method-assign]


def test_the_expected_count_completes_a_series_early(bench: Bench) -> None:
    """No silence is waited for once the peer has said how many there are."""
    asked(bench, lambda: 3)
    bench.send(1, 2, 3)
    bench.end()
    bench.turn()
    assert bench.taken[0].reason == "expected count 3 reached (C-FIND)"
    record = bench.index.series(SERIES)
    assert record is not None
    assert record.expected == 3


def test_an_open_association_is_no_hindrance_to_a_count(bench: Bench) -> None:
    """Where one association carries a study, each series completes when it has paused and the count agrees."""
    asked(bench, lambda: 2)
    bench.send(1, 2)
    assert bench.turn(1) == pytest.approx(2)
    bench.turn(2)
    assert bench.taken[0].reason == "expected count 2 reached (C-FIND)"


def test_a_missing_instance_holds_the_series_back(bench: Bench) -> None:
    """Until count_timeout; then silence decides and the reason tells what is missing."""
    asked(bench, lambda: 3)
    bench.send(1, 2)
    bench.end()
    bench.turn(29.9)
    assert not bench.taken
    bench.turn(0.2)
    assert bench.taken[0].reason == "association released and quiet for 3.0 s (2 of 3 expected instances)"


def test_a_peer_that_cannot_be_asked_delays_nothing(bench: Bench) -> None:
    """Silence decides as if nobody had been asked; a peer that does not know the series is no different."""

    def unavailable() -> int | None:
        raise PeerUnavailable("no association")

    asked(bench, unavailable)
    bench.send(1)
    bench.end()
    bench.turn(3)
    assert bench.taken[0].reason == "association released and quiet for 3.0 s (1 instances)"


@pytest.mark.parametrize("harm", ["delete", "garble", "truncate"])
def test_a_lost_index_is_rebuilt_from_the_files(bench: Bench, harm: str) -> None:
    """Deleted or garbled: the series are known again, and what the jobs have is not doubled."""
    bench.send(1, 2)
    bench.end()
    bench.turn(3)
    before = (bench.index.all_series(), bench.index.instances(SERIES, bench.store.folder))
    bench.close()
    path = bench.folder / "index.sqlite"
    if harm == "delete":
        path.unlink()
    elif harm == "garble":
        path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 64)
    else:
        path.write_bytes(path.read_bytes()[:5000])
    bench.open()
    assert bench.missed == 2
    assert bench.turn(1000) is None
    assert len(bench.taken) == 1
    (record,) = bench.index.all_series()
    assert (record.state, record.revision, record.handed_digest) == (
        SeriesState.DISPATCHED,
        1,
        before[0][0].handed_digest,
    )
    assert bench.index.instances(SERIES, bench.store.folder) == before[1]
    bench.send(3)
    bench.end()
    bench.turn(120)
    assert bench.taken[1].revision == 2


def test_what_never_reached_the_index_is_found_at_start(bench: Bench) -> None:
    """Killed between acknowledgement and index: the files tell, and the series completes by quiet time."""
    stored = bench.store.put(
        content(sop="1.2.3.4.1"), header("1.2.3.4.1"), ExplicitVRLittleEndian, AETitles("MODALITY", "CANDELA")
    )
    bench.close()
    bench.open()
    assert bench.missed == 1
    bench.turn(59)
    assert not bench.taken
    bench.turn(1)
    (series,) = bench.taken
    assert series.instances[0].sha256 == stored.sha256
    assert series.calling_ae == "MODALITY"


def test_a_release_is_remembered_over_a_restart(bench: Bench) -> None:
    """A clean stop right after a release does not cost the full quiet time."""
    bench.send(1)
    bench.end()
    bench.turn()
    bench.close()
    bench.open()
    bench.turn(3)
    assert bench.taken[0].reason == "association released and quiet for 3.0 s (1 instances)"


def test_a_full_disk_under_the_index_loses_nothing(bench: Bench) -> None:
    """Arrivals wait until the index can be written again; nothing is dispatched meanwhile."""
    bench.send(1, 2)
    bench.end()
    blocker = sqlite3.connect(bench.folder / "index.sqlite", isolation_level=None)
    with bench.index._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 10")
    blocker.execute("BEGIN IMMEDIATE")
    assert bench.monitor.step() == 1.0
    assert bench.counters.index_failures == 1
    blocker.execute("ROLLBACK")
    blocker.close()
    bench.turn(3)
    assert len(bench.taken[0].instances) == 2


def test_the_number_of_instances_is_counted_along(bench: Bench) -> None:
    """As if counted anew: repeats, other versions, Candela's own, what was purged, a rebuilt index."""
    from sqlalchemy.orm import Session

    from dicom_node.store.series_index import _distinct

    def counts() -> tuple[int, int]:
        with Session(bench.index._engine) as session:
            return bench.index.count(SERIES), _distinct(session, SERIES)

    bench.send(1, 2, 2)
    bench.send(1, rows=8)
    bench.send(9, own=True)
    bench.turn()
    assert counts() == (2, 2)
    bench.send(9, rows=8)
    bench.turn()
    assert counts() == (3, 3)
    bench.index.forget(SERIES, ["1.2.3.5/1.2.3.4.2.dcm", "1.2.3.5/1.2.3.4.1.dcm"])
    assert counts() == (2, 2)
    bench.close()
    (bench.folder / "index.sqlite").unlink()
    bench.open()
    assert counts() == (3, 3)  # version 1 of instance 1, and instance 2, lie in the store
    assert bench.index.count("1.2.3.6") == 0
