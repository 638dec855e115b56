"""From a complete series to a job: what is routed, what the job is called, what its manifest lists."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.completion.dispatch import Dispatch
from dicom_node.completion.rules import CompleteSeries
from dicom_node.jobs.job import SeriesJob
from dicom_node.settings.tree import Settings
from dicom_node.store.manifest import StoredInstance, read_manifest
from models import registry
from pipeline import phantom
from pipeline.errors import BadModel, PeerUnavailable
from pipeline.findings.identity import job_id
from pipeline.routing.rules import Rule, When
from tests.conftest import ROOT


@pytest.fixture
def series(tmp_path: Path) -> CompleteSeries:
    datasets = phantom.head_phantom(slices=3, matrix=16)
    paths = phantom.save(datasets, tmp_path / "store")
    return CompleteSeries(
        series_instance_uid=str(datasets[0].SeriesInstanceUID),
        study_instance_uid=str(datasets[0].StudyInstanceUID),
        revision=1,
        instances=tuple(
            StoredInstance(str(path), str(ds.SOPInstanceUID), hashlib.sha256(path.read_bytes()).hexdigest())
            for path, ds in zip(paths, datasets, strict=True)
        ),
        calling_ae="MODALITY",
        reason="association released and quiet for 3.0 s (3 instances)",
        completed_at=datetime(2026, 1, 5, 10, 15, tzinfo=UTC),
    )


def settings(tmp_path: Path, **when: tuple[str, ...]) -> Settings:
    rule = Rule(name="brain", when=When(**when), model="brain_mri_tumor", priority="stat")
    return Settings(data_dir=tmp_path / "data", rules=(rule,))


def test_a_series_becomes_a_job_with_its_manifest(tmp_path: Path, series: CompleteSeries) -> None:
    """The job names rule, model and reason; its id is the series, its instances and the model's digest."""
    jobs: list[SeriesJob] = []
    Dispatch(settings(tmp_path), lambda job: not jobs.append(job))(series)
    (job,) = jobs
    digest = registry.get("brain_mri_tumor").digest
    assert job.job_id == job_id(series.series_instance_uid, (i.sop_instance_uid for i in series.instances), digest)
    assert (job.rule, job.model, job.priority, job.completion) == ("brain", "brain_mri_tumor", "stat", series.reason)
    assert job.refusal is None
    assert read_manifest(Path(job.manifest)) == series.instances
    assert SeriesJob.from_dict(job.to_dict()) == job


def test_a_series_that_no_rule_takes_becomes_a_job_that_says_so(tmp_path: Path, series: CompleteSeries) -> None:
    jobs: list[SeriesJob] = []
    Dispatch(settings(tmp_path, modality=("CT",)), lambda job: not jobs.append(job))(series)
    assert jobs[0].model is None
    assert jobs[0].refusal_code == "NOT_ROUTED"
    assert "modality is MR, not CT" in str(jobs[0].refusal)


def test_the_database_being_down_is_told_to_the_caller(tmp_path: Path, series: CompleteSeries) -> None:
    """The receiver keeps the series and calls again; the second time is the same job."""
    jobs: list[SeriesJob] = []

    def submit(job: SeriesJob) -> bool:
        jobs.append(job)
        if len(jobs) == 1:
            raise PeerUnavailable("The database does not answer.")
        return True

    dispatch = Dispatch(settings(tmp_path), submit)
    with pytest.raises(PeerUnavailable):
        dispatch(series)
    dispatch(series)
    assert jobs[0] == jobs[1]


def test_a_rule_with_an_unknown_model_keeps_the_series(tmp_path: Path, series: CompleteSeries) -> None:
    """Nothing is queued; the series is dispatched once the administrator has corrected the rule."""
    wrong = dataclasses.replace(series)
    rules = (Rule(name="chest", model="chest_xray"),)
    with pytest.raises(BadModel, match="chest_xray"):
        Dispatch(Settings(data_dir=tmp_path / "data", rules=rules), pytest.fail)(wrong)


def test_the_receiver_loads_neither_torch_nor_highdicom() -> None:
    """Receiving must start in a second and in little memory; a worker loads the model."""
    code = "import sys, dicom_node.node.roles, dicom_node.completion.dispatch, dicom_node.node.receiver;"
    code += "import dicom_node.jobs.client, pipeline.results.provenance, orthanc.client;"
    code += "print(sorted({'torch', 'monai', 'highdicom', 'scipy', 'matplotlib'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.strip() == "[]"


def test_a_disabled_destination_is_left_out_of_the_job_and_a_disabled_rule_takes_nothing(
    tmp_path: Path, series: CompleteSeries
) -> None:
    """The rule after the disabled one takes the series; of its two destinations one is enabled."""
    known = Settings.model_validate(
        {
            "data_dir": tmp_path / "data",
            "destinations": {
                "old": {"kind": "folder", "path": tmp_path / "old", "enabled": False},
                "new": {"kind": "folder", "path": tmp_path / "new"},
            },
            "rules": [
                {"name": "off", "enabled": False, "model": "gone", "destinations": ["new"]},
                {"name": "on", "model": "brain_mri_tumor", "destinations": ["old", "new"]},
            ],
        }
    )
    jobs: list[SeriesJob] = []
    Dispatch(known, lambda job: not jobs.append(job))(series)
    ((rule, destinations),) = ((job.rule, job.destinations) for job in jobs)
    assert (rule, destinations) == ("on", ("new",))
