"""What a backup holds whatever happens meanwhile, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.jobs import dump, engine
from dicom_node.jobs.client import JobsClient
from dicom_node.jobs.job import SeriesJob
from dicom_node.node import backup
from dicom_node.settings.engine import Jobs
from dicom_node.settings.tree import Settings
from dicom_node.store import layout
from dicom_node.store.instance_store import DISPATCH_FILE
from pipeline.errors import BadSettings
from pipeline.findings.identity import derived_uid, job_id
from tests.peers.postgres import shared_server

BACKENDS = ["sqlite", "postgresql"]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Kind of the databases; skipped without PostgreSQL."""
    if request.param == "postgresql":
        request.getfixturevalue("postgres")
    return str(request.param)


def settings_of(folder: Path, backend: str) -> Settings:
    """Settings whose database is new and empty."""
    database = None if backend == "sqlite" else shared_server().new_database()
    return Settings(data_dir=folder / "data", jobs=Jobs(database_url=database))


def dispatch(settings: Settings, name: str) -> SeriesJob:
    """What the receiver does at the end of a series: the instance, the job, the mark that the job has it."""
    series = derived_uid("backup", name)
    folder = settings.store_dir / series
    folder.mkdir(parents=True)
    (folder / "1.2.dcm").write_bytes(name.encode() * 100)
    job = SeriesJob(
        job_id(series, ["1.2"], "0" * 64), series, "1.2.3", 1, str(settings.results_dir / name / "manifest.json"), 1,
        "CT1", "quiet", datetime.now(UTC).isoformat(), "rule", "model", (), "routine",
    )  # fmt: skip
    with JobsClient(settings) as client:
        client.submit(job)
    (folder / DISPATCH_FILE).write_text("{}")
    return job


def node(folder: Path, backend: str) -> Settings:
    settings = settings_of(folder, backend)
    settings.data_dir.mkdir(parents=True)
    engine.prepare(settings)
    layout.stamp(settings.data_dir)
    return settings


def jobs_of(settings: Settings) -> set[str]:
    engine.prepare(settings)
    with JobsClient(settings) as client:
        return {detail.job.job_id for detail in client.list()}


def test_jobs_and_files_come_back_elsewhere(tmp_path: Path, backend: str) -> None:
    """Into another folder and another database; the index is left to be rebuilt, half-written files stay behind."""
    old = node(tmp_path / "old", backend)
    job = dispatch(old, "a")
    (old.data_dir / "index.sqlite").write_text("rebuilt anyway")
    (old.store_dir / ".incoming").mkdir()
    (old.store_dir / ".incoming" / "1-1").write_text("half")
    (old.data_dir / ".note.json.77.tmp").write_text("half")
    (old.uploads_dir / "a").mkdir(parents=True)
    (old.uploads_dir / "a" / "analysis.json").write_text("forgotten after a day")
    made = backup.back_up(old, tmp_path / "backup")
    assert made.database == (dump.SQLITE if backend == "sqlite" else dump.POSTGRES)
    new = settings_of(tmp_path / "new", backend)
    assert backup.restore(new, tmp_path / "backup") == made
    files = {str(path.relative_to(new.data_dir)) for path in new.data_dir.rglob("*") if path.is_file()}
    series = job.series_instance_uid
    wanted = {layout.FILE, f"store/{series}/1.2.dcm", f"store/{series}/{DISPATCH_FILE}"}
    assert files - {"engine.sqlite"} == wanted
    assert jobs_of(new) == {job.job_id}


@pytest.mark.parametrize("moment", ["before the database", "after the database"])
def test_no_mark_is_restored_without_its_job(
    tmp_path: Path, backend: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A series that is dispatched while the backup runs has its job, or counts as not dispatched: never lost."""
    old = node(tmp_path / "old", backend)
    first = dispatch(old, "first")
    real = dump.dump

    def dump_meanwhile(settings: Settings, folder: Path) -> Path:
        if moment == "before the database":
            dispatch(old, "second")
        made = real(settings, folder)
        if moment == "after the database":
            dispatch(old, "second")
        return made

    monkeypatch.setattr(backup.dump, "dump", dump_meanwhile)
    backup.back_up(old, tmp_path / "backup")
    new = settings_of(tmp_path / "new", backend)
    backup.restore(new, tmp_path / "backup")
    marked = {path.parent.name for path in new.store_dir.glob(f"*/{DISPATCH_FILE}")}
    assert marked == {first.series_instance_uid}
    stored = {path.parent.name for path in new.store_dir.glob("*/*.dcm")}
    assert stored == {first.series_instance_uid, derived_uid("backup", "second")}
    assert (len(jobs_of(new)) == 2) == (moment == "before the database")


def test_nothing_is_restored_over_something(tmp_path: Path, backend: str) -> None:
    """Neither into a data_dir with files nor into a database with tables."""
    old = node(tmp_path / "old", backend)
    backup.back_up(old, tmp_path / "backup")
    with pytest.raises(BadSettings, match="not empty"):
        backup.restore(old, tmp_path / "backup")
    database = old.jobs.database_url or f"sqlite:///{old.data_dir / 'engine.sqlite'}"
    new = Settings(data_dir=tmp_path / "new", jobs=Jobs(database_url=database))
    with pytest.raises(BadSettings, match="has tables already"):
        backup.restore(new, tmp_path / "backup")


@pytest.mark.parametrize("harm", ["unfinished", "file lost", "newer", "other database"])
def test_a_backup_that_is_not_whole_or_not_ours_is_refused(tmp_path: Path, harm: str) -> None:
    """With the reason; the database is not made then."""
    old = node(tmp_path / "old", "sqlite")
    dispatch(old, "a")
    source = tmp_path / "backup"
    backup.back_up(old, source)
    new = Settings(data_dir=tmp_path / "new")
    if harm == "unfinished":
        (source / backup.NOTE).unlink()
        reason = "unfinished"
    elif harm == "file lost":
        next(source.rglob("*.dcm")).unlink()
        reason = "damaged"
    elif harm == "newer":
        note = {"layout": layout.LAYOUT + 1, "written_by": "9.0"}
        (source / backup.DATA / layout.FILE).write_text(json.dumps(note))
        reason = "newer version"
    else:
        (source / dump.SQLITE).rename(source / dump.POSTGRES)
        reason = "holds no SQLite database"
    with pytest.raises(BadSettings, match=reason):
        backup.restore(new, source)
    assert not (new.data_dir / "engine.sqlite").exists()


def test_a_backup_goes_into_a_folder_of_its_own(tmp_path: Path) -> None:
    """Not among other files, and not into data_dir, which it would then copy."""
    old = node(tmp_path / "old", "sqlite")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(BadSettings, match="not empty"):
        backup.back_up(old, tmp_path / "full")
    with pytest.raises(BadSettings, match="must not lie in data_dir"):
        backup.back_up(old, old.data_dir / "backup")


def test_a_password_is_not_seen_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's programs get it by their environment; an error does not tell it either."""
    program = tmp_path / "pg_dump"
    program.write_text(
        f'#!/bin/sh\nprintf "%s " "$@" > {tmp_path}/seen\necho "$PGPASSWORD" > {tmp_path}/given\nexit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    settings = Settings(data_dir=tmp_path, jobs=Jobs(database_url="postgresql://candela:geheim@db.example/candela"))
    with pytest.raises(dump.Broken, match="pg_dump failed") as failed:
        dump.dump(settings, tmp_path)
    assert (tmp_path / "given").read_text() == "geheim\n"
    assert "geheim" not in (tmp_path / "seen").read_text() + str(failed.value)
    assert "db.example" in (tmp_path / "seen").read_text()
