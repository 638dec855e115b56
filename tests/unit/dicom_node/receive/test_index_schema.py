"""The index from release to release: an older one is brought up with its rows, a newer one is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import create_engine

from dicom_node.store import schema
from dicom_node.store.header import read_header
from dicom_node.store.instance_store import AETitles, InstanceStore
from dicom_node.store.manifest import StoredInstance
from dicom_node.store.series_header import representative_of
from dicom_node.store.series_index import Base, SeriesIndex, SeriesState
from pipeline.errors import BadSettings
from pipeline.phantom import Header, head_phantom
from tests.shapes import as_file

AS_0_1_0_MADE_IT = """
CREATE TABLE instances (
    path VARCHAR NOT NULL, series_instance_uid VARCHAR NOT NULL, sop_class_uid VARCHAR NOT NULL,
    sop_instance_uid VARCHAR NOT NULL, version INTEGER NOT NULL, sha256 VARCHAR NOT NULL, calling_ae VARCHAR NOT NULL,
    received_at DOUBLE NOT NULL, own BOOLEAN NOT NULL, PRIMARY KEY (path));
CREATE INDEX ix_instances_series_instance_uid ON instances (series_instance_uid);
CREATE TABLE series (
    series_instance_uid VARCHAR NOT NULL, study_instance_uid VARCHAR NOT NULL, calling_ae VARCHAR NOT NULL,
    state VARCHAR NOT NULL, first_received DOUBLE NOT NULL, last_received DOUBLE NOT NULL,
    associations INTEGER NOT NULL, released BOOLEAN NOT NULL, expected INTEGER, reason VARCHAR, completed_at VARCHAR,
    revision INTEGER NOT NULL, handed_digest VARCHAR, PRIMARY KEY (series_instance_uid));
INSERT INTO instances VALUES ('1.2/1.2.3.dcm', '1.2', '1.2.840.10008.5.1.4.1.1.4', '1.2.3', 1, 'aa', 'CT1', 5.0, 0);
INSERT INTO instances VALUES ('1.2/1.2.3~2.dcm', '1.2', '1.2.840.10008.5.1.4.1.1.4', '1.2.3', 2, 'ab', 'CT1', 5.5, 0);
INSERT INTO instances VALUES ('1.2/1.2.4.dcm', '1.2', '1.2.840.10008.5.1.4.1.1.4', '1.2.4', 1, 'ac', 'CT1', 6.0, 0);
INSERT INTO instances VALUES ('1.2/1.2.5.dcm', '1.2', '1.2.840.10008.5.1.4.1.1.4', '1.2.5', 1, 'ad', 'CT1', 6.0, 1);
INSERT INTO series VALUES ('1.2', '1', 'CT1', 'handed_over', 5.0, 6.0, 1, 1, NULL, 'quiet', '2026-11-25', 1, 'dd');
PRAGMA user_version = 1;
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "index.sqlite"
    with opened(path) as connection:
        connection.executescript(AS_0_1_0_MADE_IT)
    return path


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection, connection:
        yield connection


def names(path: Path, kind: str) -> set[str]:
    with opened(path) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = ? AND sql IS NOT NULL", (kind,))
        return {name for (name,) in rows}


def test_the_index_of_the_first_release_keeps_its_rows(old: Path) -> None:
    """Nothing is put aside or read anew; what later releases added is there."""
    index = SeriesIndex(old)
    (series,) = index.all_series()
    assert (series.series_instance_uid, series.state, series.revision) == ("1.2", SeriesState.DISPATCHED, 1)
    assert index.count("1.2") == 2
    index.close()
    assert "ix_instances_sop_instance_uid" in names(old, "index")
    assert not old.with_name("index.sqlite.broken").exists()


def test_what_an_older_index_did_not_keep_of_headers_is_asked_of_the_files(old: Path, tmp_path: Path) -> None:
    """The columns are empty for it; an index that is built anew from the files has them."""
    series = [*head_phantom(slices=3, matrix=8, header=Header(key="kept"))]
    name, folder = str(series[0].SeriesInstanceUID), tmp_path / "store"
    store = InstanceStore(folder)
    for ds in series:
        encoded = as_file(ds)
        encoded = encoded[144 + int.from_bytes(encoded[140:144], "little") :]
        header = read_header(encoded, ExplicitVRLittleEndian)
        store.put(encoded, header, ExplicitVRLittleEndian, AETitles("CT1", "CANDELA"))
    index = SeriesIndex(old)
    assert {(item.sop_class_uid, item.instance_number) for item in index.instances("1.2", folder)} == {
        ("1.2.840.10008.5.1.4.1.1.4", None)
    }
    index.reconcile(store, lambda _: False)
    instances = index.instances(name, folder)
    assert sorted(item.instance_number or 0 for item in instances) == [1, 2, 3]
    bare = tuple(StoredInstance(item.path, item.sop_instance_uid, item.sha256) for item in instances)
    assert representative_of(bare).path == representative_of(instances).path
    index.close()
    store.close()
    with opened(old) as connection:
        rows = set(connection.execute("SELECT modality, image FROM instances WHERE series_instance_uid = ?", (name,)))
    assert rows == {("MR", 1)}


@pytest.mark.parametrize("which", ["new", "old"])
def test_the_revisions_end_in_the_tables_that_the_code_uses(which: str, tmp_path: Path, old: Path) -> None:
    """A column or index that is in the code and in no revision, or the reverse, is found here."""
    path = old if which == "old" else tmp_path / "new.sqlite"
    SeriesIndex(path).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_opening_twice_changes_nothing(old: Path) -> None:
    SeriesIndex(old).close()
    tables = names(old, "table")
    SeriesIndex(old).close()
    assert names(old, "table") == tables


@pytest.mark.parametrize(
    "newer",
    ["UPDATE alembic_version SET version_num = '9999'", "PRAGMA user_version = 99"],
    ids=["revision", "number"],
)
def test_the_index_of_a_newer_version_is_refused_and_left_alone(old: Path, newer: str) -> None:
    """It is neither put aside nor changed, and the error says what to do."""
    SeriesIndex(old).close()
    with opened(old) as connection:
        connection.execute(newer)
    before = old.read_bytes()
    with pytest.raises(BadSettings, match=r"newer version.*backup from before the upgrade"):
        SeriesIndex(old)
    assert old.read_bytes() == before
    assert not old.with_name("index.sqlite.broken").exists()


def test_an_upgrade_that_fails_halfway_leaves_the_old_index(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between two statements: the next start begins where the last began."""

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        upgrade = schema.command.upgrade

        def upgrade_and_die(*arguments: object) -> None:
            upgrade(*arguments)
            dies()

        patched.setattr(schema.command, "upgrade", upgrade_and_die)
        with pytest.raises(KeyboardInterrupt):
            SeriesIndex(old)
    assert "ix_instances_sop_instance_uid" not in names(old, "index")
    assert "alembic_version" not in names(old, "table")
    index = SeriesIndex(old)
    assert index.count("1.2") == 2
    index.close()
