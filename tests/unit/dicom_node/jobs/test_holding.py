"""The moment in which a held answer leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.jobs import holding
from dicom_node.jobs.job import SeriesJob
from dicom_node.settings.tree import Settings
from dicom_node.store.manifest import StoredInstance, manifest_text

SERIES = "1.2.3"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def job(settings: Settings) -> SeriesJob:
    """A held job of one instance that lies in the store."""
    stored = settings.store_dir / SERIES / "1.2.3.1.dcm"
    manifest = settings.results_dir / "job" / "manifest.json"
    for path in (stored, manifest):
        path.parent.mkdir(parents=True)
    stored.touch()
    manifest.write_text(manifest_text((StoredInstance(str(stored), "1.2.3.1", "0" * 64),)))
    made = SeriesJob(
        job_id="job",
        series_instance_uid=SERIES,
        study_instance_uid="1.2",
        revision=1,
        manifest=str(manifest),
        instances=1,
        calling_ae="SCANNER",
        completion="released",
        completed_at="2026-11-21T08:00:00+00:00",
        rule=None,
        model=None,
        destinations=(),
        priority="routine",
    )
    holding.hold(made, settings)
    return made


def test_an_answer_to_the_whole_leaves_and_that_is_recorded(job: SeriesJob, settings: Settings) -> None:
    assert holding.may_leave(job, settings)
    assert not holding.was_withheld(Path(job.manifest).parent)


def test_an_instance_that_came_before_keeps_it_for_good(job: SeriesJob, settings: Settings) -> None:
    (settings.store_dir / SERIES / "1.2.3.2.dcm").touch()
    assert not holding.may_leave(job, settings)
    assert holding.was_withheld(Path(job.manifest).parent)


def test_an_instance_that_comes_while_the_release_is_recorded_keeps_it(
    job: SeriesJob, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver writes at any moment: after the mark is on disk the store is looked at once more."""
    mark = holding._mark

    def meanwhile(path: Path) -> None:
        mark(path)
        (settings.store_dir / SERIES / "1.2.3.2.dcm").touch()

    monkeypatch.setattr(holding, "_mark", meanwhile)
    assert not holding.may_leave(job, settings)
