"""Reading a stored series: the files are those that were acknowledged, or nothing is read from them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from dicom_node.inference import SeriesRunner
from dicom_node.jobs.job import SeriesJob, StoredInstance, manifest_text
from dicom_node.settings import Settings
from pipeline import phantom
from pipeline.errors import Broken
from pipeline.findings import Outcome


@pytest.fixture
def job(tmp_path: Path) -> SeriesJob:
    """A stored series without one slice in the middle: read, it is refused, with no need of a model's answer."""
    datasets = phantom.head_phantom(slices=6, matrix=32)
    kept = datasets[:2] + datasets[3:]
    paths = phantom.save(kept, tmp_path / "store")
    instances = tuple(
        StoredInstance(str(path), str(ds.SOPInstanceUID), hashlib.sha256(path.read_bytes()).hexdigest())
        for path, ds in zip(paths, kept, strict=True)
    )
    manifest = tmp_path / "results" / "manifest.json"
    manifest.parent.mkdir()
    manifest.write_text(manifest_text(instances))
    return SeriesJob(
        job_id="job",
        series_instance_uid=str(kept[0].SeriesInstanceUID),
        study_instance_uid=str(kept[0].StudyInstanceUID),
        revision=1,
        manifest=str(manifest),
        instances=len(kept),
        calling_ae="MODALITY",
        completion="quiet",
        completed_at="2026-01-05T10:15:00+00:00",
        rule="brain",
        model="brain_mri_tumor",
        destinations=(),
        priority="routine",
    )


def test_a_refusal_is_a_value(job: SeriesJob, tmp_path: Path) -> None:
    result = SeriesRunner(Settings(data_dir=tmp_path))(job)
    assert (result.outcome, result.refusal_code) == (Outcome.REFUSED, "MISSING_SLICES")


def test_a_file_that_the_disk_damaged_is_our_fault_and_never_read(job: SeriesJob, tmp_path: Path) -> None:
    """One flipped bit in a pixel would still decode: the digest of what was acknowledged tells."""
    path = tmp_path / "store" / "IM0004.dcm"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(Broken, match=r"not what was acknowledged.*IM0004\.dcm"):
        SeriesRunner(Settings(data_dir=tmp_path))(job)


def test_a_file_that_is_gone_is_our_fault(job: SeriesJob, tmp_path: Path) -> None:
    (tmp_path / "store" / "IM0001.dcm").unlink()
    with pytest.raises(Broken, match=r"gone from the store.*IM0001\.dcm"):
        SeriesRunner(Settings(data_dir=tmp_path))(job)
