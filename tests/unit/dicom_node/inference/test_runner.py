"""Reading a stored series: the files are those that were acknowledged, or nothing is read from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from dicom_node.inference import reading_time
from dicom_node.inference.reading_time import READING, first_reading
from dicom_node.inference.runner import SeriesRunner
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.workflows import fan_out
from dicom_node.settings.destinations import FhirDestination
from dicom_node.settings.peers import DicomPeer
from dicom_node.settings.tree import Settings
from dicom_node.settings.web import Web
from dicom_node.store.manifest import StoredInstance, manifest_text
from pipeline import phantom
from pipeline.errors import Broken, MissingSlices
from pipeline.findings.model import Outcome
from pipeline.report.stored import from_json


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


WANTS, WANTS_NOT = (
    {"kind": "folder", "path": "/nowhere", "refusals": True},
    {"kind": "dicom", "peer": DicomPeer(ae_title="PACS", host="127.0.0.1", port=104)},
)


def test_a_refusal_is_a_page_only_for_the_destination_that_asks(job: SeriesJob, tmp_path: Path) -> None:
    """The page goes to the archive and not to the PACS; the summary names it, the next run takes it away."""
    settings = Settings(data_dir=tmp_path, destinations={"archive": WANTS, "pacs": WANTS_NOT})
    job = replace(job, destinations=("pacs", "archive"))
    result = SeriesRunner(settings)(job)
    assert result.outcome is Outcome.REFUSED
    sent = [(item.result.name, item.destination) for item in fan_out(job, result, settings)]
    assert sent == [("refusal", "archive")]
    ((file,),) = (item.files for item in result.results)
    page = pydicom.dcmread(file)
    assert "missing" in page.ImageComments
    assert str(page.StudyInstanceUID) == job.study_instance_uid
    summary = json.loads(Path(str(result.summary)).read_text())
    assert [item["file"] for item in summary["objects"]] == ["refusal.dcm"]
    first = Path(file).read_bytes()
    assert SeriesRunner(settings)(job).results == result.results
    assert Path(file).read_bytes() == first
    assert SeriesRunner(Settings(data_dir=tmp_path))(replace(job, destinations=())).results == ()
    assert not Path(file).exists()


def test_nobody_gets_a_refusal_unasked(job: SeriesJob, tmp_path: Path) -> None:
    """Off by default: radiologists are not flooded with pages beside every localiser (ADR 2)."""
    settings = Settings(data_dir=tmp_path, destinations={"pacs": WANTS_NOT})
    assert SeriesRunner(settings)(replace(job, destinations=("pacs",))).results == ()


def test_a_destination_that_wants_refusals_is_told(job: SeriesJob, tmp_path: Path) -> None:
    """Its findings say which model refused whose series, and why; without such a destination there are none."""
    wanted = FhirDestination(kind="fhir", url="http://ehr.example", refusals=True)
    settings = Settings(data_dir=tmp_path, destinations={"ehr": wanted})
    ref, hl7v2 = SeriesRunner(settings)(replace(job, destinations=("ehr",), revision=2)).results
    assert (ref.name, ref.kind) == ("fhir-bundle", "fhir")
    assert (hl7v2.name, hl7v2.kind, hl7v2.files) == ("hl7v2-report", "hl7v2", ref.files)
    told = from_json(Path(ref.files[0]).read_bytes())
    assert told.findings.refusal is not None
    assert (told.findings.outcome, told.findings.refusal.code) == (Outcome.REFUSED, "MISSING_SLICES")
    assert (told.findings.model.name, told.findings.revision) == ("brain_mri_tumor", 2)
    assert told.source.instances == 5
    assert SeriesRunner(settings)(job).results == ()


def at(hour: int) -> Callable[[], datetime]:
    return lambda: datetime(2026, 1, 5, hour, tzinfo=UTC)


def test_another_attempt_tells_of_the_first_reading(job: SeriesJob, tmp_path: Path) -> None:
    """The same report content, so that FHIR and HL7 send the same bytes: the time was stored before it was made."""
    ehr = FhirDestination(kind="fhir", url="https://ehr.example/fhir", refusals=True)
    settings, job = Settings(data_dir=tmp_path, destinations={"ehr": ehr}), replace(job, destinations=("ehr",))
    told = []
    for hour in (10, 12):
        SeriesRunner(settings, clock=at(hour))(job)
        told.append((Path(job.manifest).parent / "report.json").read_bytes())
    assert told[0] == told[1]
    assert from_json(told[0]).recorded == at(10)()


def test_results_of_another_revision_have_a_reading_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert first_reading(tmp_path, at(10)) == first_reading(tmp_path, at(11)) == at(10)()
    monkeypatch.setattr(reading_time, "RESULTS_REVISION", reading_time.RESULTS_REVISION + 1)
    assert first_reading(tmp_path, at(12)) == first_reading(tmp_path, at(13)) == at(12)()
    assert (tmp_path / READING).is_file()


def test_a_file_that_the_disk_damaged_is_our_fault_and_never_read(job: SeriesJob, tmp_path: Path) -> None:
    """One flipped bit in a pixel would still decode: the digest of what was acknowledged tells."""
    path = tmp_path / "store" / "IM0004.dcm"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(Broken, match=r"differs from what was acknowledged.*IM0004\.dcm"):
        SeriesRunner(Settings(data_dir=tmp_path))(job)


def test_a_file_that_is_gone_is_our_fault(job: SeriesJob, tmp_path: Path) -> None:
    (tmp_path / "store" / "IM0001.dcm").unlink()
    with pytest.raises(Broken, match=r"gone from the store.*IM0001\.dcm"):
        SeriesRunner(Settings(data_dir=tmp_path))(job)


@pytest.mark.parametrize(
    ("web", "wanted"),
    [
        (Web(public_url="https://candela.example"), ""),
        (
            Web(public_url="https://candela.example", link_in_reports=True),
            "https://candela.example/jobs/job/assessment",
        ),
    ],
)
def test_a_report_gets_the_link_to_its_assessment_where_the_settings_say_so(
    job: SeriesJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: Web, wanted: str
) -> None:
    told = []

    def heard(*_: object, assess_at: str, **__: object) -> dict[str, str]:
        told.append(assess_at)
        raise MissingSlices("Seen enough.")

    monkeypatch.setattr("dicom_node.inference.runner.run", heard)
    SeriesRunner(Settings(data_dir=tmp_path, web=web))(job)
    assert told == [wanted]
