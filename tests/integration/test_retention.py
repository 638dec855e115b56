"""Retention: what was delivered goes, by age or when the disk is full; what was not delivered never does."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_node.commitment.ledger import Reference
from dicom_node.retention.purge import Purger
from dicom_node.retention.results_aside import ResultsAside
from dicom_node.settings.access import Retention
from dicom_node.store.disk import Disk
from dicom_node.store.series_index import SeriesRecord
from pipeline import phantom
from pipeline.errors import PeerUnavailable
from tests.peers.commitment import Modality
from tests.peers.receiver import Node, running_receiver, send


@dataclass
class Jobs:
    """What the jobs say of a series: the folders of its results, None while something is to come, or an error."""

    says: tuple[Path, ...] | PeerUnavailable | None = ()
    asked: list[str] = field(default_factory=list)

    def __call__(self, series: SeriesRecord, /) -> tuple[Path, ...] | None:
        self.asked.append(series.series_instance_uid)
        if isinstance(self.says, PeerUnavailable):
            raise self.says
        return self.says


class FixedDisk(Disk):
    """A disk that is as full as it is said to be, and emptier by ``each`` after each look at a purge."""

    def __init__(self, retention: Retention, used: float, each: float = 0.0) -> None:
        super().__init__(Path(), retention)
        self._now, self._each = used, each

    @property
    def used(self) -> float:
        now = self._now
        self._now -= self._each
        return now


def purger(node: Node, retention: Retention, jobs: Jobs, *, disk: Disk | None = None, days_on: float = 0) -> Purger:
    """One for the store of a running node, ``days_on`` days later."""
    receiver = node.receiver
    assert receiver._store is not None
    assert receiver._monitor is not None
    return Purger(
        retention,
        disk or Disk(node.settings.data_dir, retention),
        receiver._store,
        receiver.index,
        receiver._monitor,
        jobs,
        ResultsAside(node.settings.results_dir),
        receiver.counters,
        clock=lambda: time.time() + days_on * 86400,
    )


def made(key: str) -> tuple[Dataset, ...]:
    return phantom.head_phantom(slices=3, matrix=32, header=phantom.Header(key=key))


@pytest.fixture
def series() -> tuple[Dataset, ...]:
    return made("retention")


def handed(node: Node, count: int = 1) -> None:
    """Wait until so many series are dispatched and the index knows it."""
    node.wait(count)
    assert node.receiver._monitor is not None
    assert node.receiver._monitor.caught_up(20)


def known(node: Node) -> list[str]:
    assert node.receiver._monitor is not None
    assert node.receiver._monitor.caught_up(20)
    return [record.series_instance_uid for record in node.receiver.index.all_series()]


def test_a_delivered_series_goes_when_it_is_old_enough(tmp_path: Path, series: tuple[Dataset, ...]) -> None:
    """Files, results and index entries; not a day earlier."""
    results = tmp_path / "data" / "results" / "job"
    results.mkdir(parents=True)
    (results / "report.dcm").write_bytes(b"x")
    jobs = Jobs((results,))
    with running_receiver(tmp_path) as node:
        send(node.port, series)
        handed(node)
        assert purger(node, Retention(keep_days=30), jobs, days_on=29).purge() == 0
        assert len(node.stored()) == 3
        assert purger(node, Retention(keep_days=30), jobs, days_on=31).purge() == 1
        assert node.stored() == {}
        assert not results.exists()
        assert known(node) == []
        assert not list((node.settings.store_dir / ".purging").iterdir())


@pytest.mark.parametrize("says", [None, PeerUnavailable("The database is away.")])
def test_what_is_not_delivered_stays_however_old_and_full(
    tmp_path: Path, series: tuple[Dataset, ...], says: PeerUnavailable | None
) -> None:
    retention = Retention(keep_days=0, purge_above=0.5)
    with running_receiver(tmp_path) as node:
        send(node.port, series)
        handed(node)
        assert purger(node, retention, Jobs(says), disk=FixedDisk(retention, 0.99), days_on=999).purge() == 0
        assert len(node.stored()) == 3


def test_a_series_still_arriving_is_not_even_asked_about(tmp_path: Path, series: tuple[Dataset, ...]) -> None:
    """Nor is one to which an instance was added since it was dispatched."""
    jobs = Jobs()
    with running_receiver(tmp_path) as node:
        send(node.port, series[:2])
        handed(node)
        send(node.port, series[2:])
        assert node.receiver._monitor is not None
        assert node.receiver._monitor.caught_up(20)
        assert purger(node, Retention(keep_days=0), jobs, days_on=1).purge() == 0
        assert jobs.asked == []
        handed(node, 2)
        assert purger(node, Retention(keep_days=0), jobs, days_on=1).purge() == 1


def test_an_instance_that_comes_while_the_jobs_are_asked_saves_its_series(
    tmp_path: Path, series: tuple[Dataset, ...]
) -> None:
    """The answer was about what was there before."""
    with running_receiver(tmp_path) as node:
        send(node.port, series[:2])
        handed(node)

        class Meanwhile(Jobs):
            def __call__(self, record: SeriesRecord, /) -> tuple[Path, ...] | None:
                assert send(node.port, series[2:]) == [0]
                return super().__call__(record)

        assert purger(node, Retention(keep_days=0), Meanwhile(), days_on=1).purge() == 0
        assert len(node.stored()) == 3
        assert len(node.wait(2)[1].instances) == 3


def test_a_full_disk_takes_the_oldest_first_and_no_more_than_needed(tmp_path: Path) -> None:
    retention = Retention(purge_above=0.8)
    with running_receiver(tmp_path) as node:
        names = []
        for number, key in enumerate(("oldest", "middle", "newest"), start=1):
            sent = made(key)
            names.append(str(sent[0].SeriesInstanceUID))
            send(node.port, sent)
            handed(node, number)
        assert purger(node, retention, Jobs(), disk=FixedDisk(retention, 0.7)).purge() == 0
        assert purger(node, retention, Jobs(), disk=FixedDisk(retention, 0.85, each=0.06)).purge() == 1
        assert set(known(node)) == set(names[1:])


def test_what_was_committed_stays_as_long_as_was_promised(tmp_path: Path, series: tuple[Dataset, ...]) -> None:
    """Without committed_days for ever: the modality may have deleted its own."""
    modality = Modality()
    with running_receiver(tmp_path) as node:
        send(node.port, series)
        handed(node)
        one = Reference(str(series[0].SOPClassUID), str(series[0].SOPInstanceUID))
        modality.wait(modality.ask(node.port, [one], stay=20))
        assert purger(node, Retention(keep_days=1), Jobs(), days_on=10_000).purge() == 0
        assert purger(node, Retention(keep_days=1, committed_days=90), Jobs(), days_on=89).purge() == 0
        assert purger(node, Retention(keep_days=1, committed_days=90), Jobs(), days_on=91).purge() == 1


def test_a_series_that_was_purged_and_is_sent_again_is_kept_again(tmp_path: Path, series: tuple[Dataset, ...]) -> None:
    """Acknowledged anew, on disk anew, in the index anew, also after a restart."""
    with running_receiver(tmp_path) as node:
        send(node.port, series)
        handed(node)
        assert purger(node, Retention(keep_days=0), Jobs(), days_on=1).purge() == 1
        assert send(node.port, series) == [0, 0, 0]
        assert len(node.wait(2)[1].instances) == 3
        assert len(node.stored()) == 3
    with running_receiver(tmp_path) as node:
        assert len(known(node)) == 1
        assert node.taken == []


def test_a_purge_that_was_cut_off_leaves_nothing(tmp_path: Path, series: tuple[Dataset, ...]) -> None:
    """A series moved away and not yet removed is removed at the next start; the index forgets it."""
    with running_receiver(tmp_path) as node:
        send(node.port, series)
        handed(node)
        name = str(series[0].SeriesInstanceUID)
    store = node.settings.store_dir
    (store / ".purging").mkdir(exist_ok=True)
    (store / name).rename(store / ".purging" / "1-1")
    with running_receiver(tmp_path) as node:
        assert known(node) == []
        assert not (store / ".purging").exists()


def test_the_node_purges_by_itself(tmp_path: Path, series: tuple[Dataset, ...]) -> None:
    retention = Retention(keep_days=0, check_every=0.2)
    with running_receiver(tmp_path, retention=retention, deliveries=Jobs()) as node:
        send(node.port, series)
        handed(node)
        _until(lambda: node.stored() == {} and known(node) == [])
        _until(lambda: node.receiver.counters.series_purged == 1)


def test_watermarks_are_of_the_disk_of_the_data_folder(tmp_path: Path) -> None:
    """A folder that is not there yet lies on the disk of the first one above it that is."""
    used = Disk(tmp_path / "not" / "yet", Retention()).used
    assert 0 < used < 1
    assert not Disk(tmp_path, Retention(refuse_above=used / 2)).has_room
    assert Disk(tmp_path, Retention(purge_above=used / 2)).over_purge_mark()
    assert not Disk(tmp_path, Retention()).over_purge_mark()
    assert not math.isnan(used)


def _until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
