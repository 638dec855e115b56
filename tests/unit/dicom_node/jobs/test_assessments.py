"""Assessments in the engine's database: SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.jobs.assessments import Assessment, AssessmentQuery, Assessments
from dicom_node.jobs.circuits import make_table
from dicom_node.settings.engine import Jobs
from dicom_node.settings.tree import Settings
from pipeline.errors import OutOfResources, PeerUnavailable
from pipeline.findings.model import Outcome
from pipeline.report.assessment import Outline, Verdict

ONE = Assessment(
    job_id="1.2:a:b",
    study_instance_uid="1.1",
    series_instance_uid="1.2",
    model="m",
    model_version="1",
    analysed_at=1000.5,
    outcome=Outcome.FINDING,
    answered="glioma",
    probability=0.9,
    verdict=Verdict.REJECTED,
    correct_class="none",
    present=False,
    outline=Outline.WRONG,
    comment=None,
    reader="anna",
    at=2000.25,
)


@pytest.fixture
def settings(database_url: str | None, tmp_path: Path) -> Settings:
    """Settings of a new database."""
    url = database_url or f"sqlite:///{tmp_path}/engine.sqlite"
    made = Settings(data_dir=tmp_path, jobs=Jobs(database_url=url))
    make_table(made)
    return made


@pytest.fixture
def store(settings: Settings) -> Iterator[Assessments]:
    made = Assessments(settings)
    yield made
    made.close()


def test_what_is_stored_is_what_another_process_finds(store: Assessments, settings: Settings, tmp_path: Path) -> None:
    kept = store.add(ONE, "Größe.\nZwei Zeilen.", tmp_path)
    bare = store.add(replace(ONE, probability=None, correct_class=None, present=None, outcome=Outcome.MEASURED))
    other = Assessments(settings)
    assert list(other.every(AssessmentQuery())) == [bare, kept]
    assert (other.comment_of(kept), other.comment_of(bare)) == ("Größe.\nZwei Zeilen.", "")
    assert other.models() == ("m",)
    assert replace(kept, number=0, comment=None) == ONE
    other.close()


def test_pages_and_the_newest_of_each_job(store: Assessments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.jobs.assessments.CHUNK", 2)
    made = [store.add(replace(ONE, job_id=job)) for job in ("a", "b", "a", "c", "b")]
    assert list(store.every(AssessmentQuery())) == made[::-1]
    assert list(store.every(AssessmentQuery(standing=True))) == [made[4], made[3], made[2]]
    assert store.page(AssessmentQuery(job_id="a"), before=made[2].number) == (made[0],)


def test_what_cannot_be_stored_is_said(store: Assessments, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(OutOfResources):
        store.add(ONE, "No folder.", tmp_path / "purged")
    assert list(store.every(AssessmentQuery())) == []
    gone = f"sqlite:///{tmp_path}/no/engine.sqlite"
    away = Assessments(settings.model_copy(update={"jobs": Jobs(database_url=gone)}))
    with pytest.raises(PeerUnavailable):
        away.add(ONE)
