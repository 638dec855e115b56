"""Data of a newer version is refused, data that was moved is found."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dicom_node.jobs import engine
from dicom_node.settings.tree import Settings
from dicom_node.store import layout
from pipeline.errors import BadSettings
from tests.peers.receiver import running_receiver


def test_the_receiver_notes_its_layout_once(tmp_path: Path) -> None:
    """At the first start; a later start leaves the note as it is."""
    with running_receiver(tmp_path):
        pass
    note = tmp_path / "data" / layout.FILE
    assert json.loads(note.read_text())["layout"] == layout.LAYOUT
    changed = note.stat().st_mtime_ns
    with running_receiver(tmp_path):
        pass
    assert note.stat().st_mtime_ns == changed


def test_data_of_a_newer_version_is_refused_by_the_receiver(tmp_path: Path) -> None:
    """Which version wrote it and what to do is said; the store is not touched and is let go of."""
    (tmp_path / "data").mkdir()
    note = tmp_path / "data" / layout.FILE
    note.write_text(json.dumps({"layout": layout.LAYOUT + 1, "written_by": "9.1.0"}))
    with pytest.raises(BadSettings, match=r"newer version of Candela \(9\.1\.0"), running_receiver(tmp_path):
        pass
    assert not (tmp_path / "data" / "index.sqlite").exists()
    note.unlink()
    with running_receiver(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"layout": "x", "written_by": "1"}'])
def test_a_note_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / layout.FILE).write_text(text)
    with pytest.raises(BadSettings, match="cannot be read"):
        layout.check(tmp_path)


def test_the_engines_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """DBOS itself would go on with tables that it does not know."""
    settings = Settings(data_dir=tmp_path)
    engine.prepare(settings)
    engine.prepare(settings)
    with closing(sqlite3.connect(tmp_path / "engine.sqlite")) as connection, connection:
        connection.execute("UPDATE dbos_migrations SET version = version + 1")
    with pytest.raises(BadSettings, match="newer version of Candela"):
        engine.prepare(settings)


@pytest.mark.parametrize(
    ("named", "below"),
    [
        ("/old/data/store/1.2/1.2.3.dcm", "store/1.2/1.2.3.dcm"),
        ("/store/candela/store/1.2/1.2.3~2.dcm", "store/1.2/1.2.3~2.dcm"),
        ("/results/x/results/1.2_ab/previews/overlay-1.png", "results/1.2_ab/previews/overlay-1.png"),
        ("results/1.2_ab/report.dcm", "results/1.2_ab/report.dcm"),
        ("/elsewhere/file.dcm", None),
    ],
)
def test_a_file_that_a_job_names_is_found_after_a_move(tmp_path: Path, named: str, below: str | None) -> None:
    """By its place below data_dir; what never lay there keeps its name."""
    assert layout.located(named, tmp_path) == (tmp_path / below if below else Path(named))


def test_a_file_that_is_where_the_job_says_stays_there(tmp_path: Path) -> None:
    """Two nodes' data on one machine do not get mixed up."""
    there = tmp_path / "first" / "store" / "1.2" / "1.dcm"
    there.parent.mkdir(parents=True)
    there.touch()
    assert layout.located(str(there), tmp_path / "second") == there
