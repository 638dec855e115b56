"""The index's list of studies, and how what an earlier version indexed is found by patient."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from dicom_node.settings.tree import Settings
from dicom_node.store.data_version import DataVersion
from dicom_node.store.identifier_keys import IdentifierKeys
from dicom_node.store.series_index import SeriesIndex, SeriesState
from dicom_node.store.study_series import INDEX
from dicom_node.store.worklist import StudyFilter, StudyList
from pipeline.errors import OutOfResources
from tests.peers.dashboard import Dashboard


@pytest.fixture
def board(tmp_path: Path):
    made = Dashboard(tmp_path / "node")
    yield made
    made.close()


def change(board: Dashboard, statement: str) -> None:
    with closing(sqlite3.connect(board.settings.data_dir / INDEX)) as database, database:
        database.execute(statement)


def test_a_study_stands_where_its_last_series_stands(board: Dashboard) -> None:
    first, second = board.series("first"), board.series("second")
    late = board.series("late", complete=False)
    for ds in late:
        ds.StudyInstanceUID = first[0].StudyInstanceUID
    change(
        board,
        f"update series set study_instance_uid = '{first[0].StudyInstanceUID}'"
        f" where series_instance_uid = '{late[0].SeriesInstanceUID}'",
    )
    studies = StudyList(board.settings)
    found = studies.page(StudyFilter())
    assert [item.study_instance_uid for item in found] == [first[0].StudyInstanceUID, second[0].StudyInstanceUID]
    assert len(found[0].series) == 2
    assert [item.record.state for item in found[0].series] == [SeriesState.DISPATCHED, SeriesState.RECEIVING]
    assert studies.page(StudyFilter(), after=found[0].place) == found[1:]
    assert studies.page(StudyFilter(state=SeriesState.RECEIVING)) == found[:1]


def test_series_of_an_earlier_version_are_found_after_the_next_start(board: Dashboard) -> None:
    series = board.series("old", patient_id="PID-80001", accession_number="ACC-80001", modality="CT")
    change(board, "update series set modality = null, patient_key = null, accession_key = null")
    studies = StudyList(board.settings)
    assert studies.found_by("PID-80001") == ()
    board.index.reconcile(board.store, lambda _: False)
    assert studies.found_by("pid-80001") == studies.found_by("ACC-80001") == (series[0].StudyInstanceUID,)
    assert studies.modalities() == ("CT",)


def test_a_lost_key_is_made_again_and_the_digests_with_it(board: Dashboard) -> None:
    board.series("keyed", patient_id="PID-80002")
    (board.settings.data_dir / "index.key").unlink()
    again = SeriesIndex(board.settings.data_dir / INDEX)
    studies = StudyList(board.settings)
    assert studies.found_by("PID-80002") == ()
    again.reconcile(board.store, lambda _: False)
    again.close()
    assert len(studies.found_by("PID-80002")) == 1


def test_digests_differ_by_key_and_not_by_case(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = IdentifierKeys.open(tmp_path / "a"), IdentifierKeys.open(tmp_path / "b")
    assert one.of("Pid-1 ") == one.of("PID-1")
    assert one.of("PID-1") != other.of("PID-1")
    assert one.of("PID-1") != one.of("PID-2")
    assert (one.of(" "), one.of(None)) == (None, None)
    again = IdentifierKeys.read(tmp_path / "a")
    assert again is not None
    assert again.of("PID-1") == one.of("PID-1")


def test_without_an_index_there_are_no_studies_and_a_broken_one_is_said(tmp_path: Path) -> None:
    studies = StudyList(Settings(data_dir=tmp_path))
    assert studies.page(StudyFilter()) == ()
    assert studies.count() == 0
    (tmp_path / INDEX).write_bytes(b"no database" * 100)
    with pytest.raises(OutOfResources, match="index of the store"):
        studies.page(StudyFilter())


def test_the_data_version_follows_each_commit_and_each_file(tmp_path: Path) -> None:
    path = tmp_path / "some.sqlite"
    version = DataVersion(path)
    assert version.mark() == ""
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table t (x)")
        first = version.mark()
        assert first
        assert version.mark() == first
        with database:
            database.execute("insert into t values (1)")
        assert version.mark() != first
    version.close()


def test_a_hundred_thousand_series_take_no_longer(board: Dashboard) -> None:
    """No time is asserted but one that reading the whole table would exceed many times."""
    board.series("seed")
    with closing(sqlite3.connect(board.settings.data_dir / INDEX)) as database, database:
        columns = [row[1] for row in database.execute("pragma table_info(series)")]
        values = {"series_instance_uid": "'2.25.' || n", "study_instance_uid": "'2.25.9' || (n / 3)"}
        values |= {"last_received": "1000000.0 + n", "state": "'handed_over'", "modality": "'MR'"}
        chosen = ", ".join(values.get(column, column) for column in columns)
        database.execute(
            "insert into series with recursive numbers(n) as"
            " (select 1 union all select n + 1 from numbers where n < 100000)"
            f" select {chosen} from series, numbers limit 100000"
        )
    studies = StudyList(board.settings)
    begin = time.perf_counter()
    page = studies.page(StudyFilter(), limit=50)
    for _ in range(5):
        page = studies.page(StudyFilter(modality="MR"), after=page[-1].place, limit=50)
    assert time.perf_counter() - begin < 1.0
    assert len(page) == 50
