"""MONAI bundles in a running node: a CT comes by C-STORE, the answers of three kinds stand in Orthanc and the EHR; and
four series of a study, sent one after another, are read as channels by one job.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import httpx
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from torch import nn

from dicom_node.jobs.status import RECORDS, JobDetail, JobState
from pipeline.findings.model import Outcome
from pipeline.phantom import Header
from pipeline.phantom_series import series_of
from tests.conformance.test_dciodvfy import errors
from tests.integration import test_process_channels as channels
from tests.peers import heads
from tests.peers.fhir_server import start_fhir_server
from tests.peers.node import OVER, Node, fhir_destination
from tests.peers.orthanc import OrthancPeer, require_orthanc
from tests.peers.ports import free_port
from tests.peers.workflow_bundle import write_bundle
from tests.unit.models.workflow.placed import landmark
from tests.unit.models.workflow.test_run import DETECTOR

pytestmark = pytest.mark.slow
SIMPLE = {"_target_": "SimpleInferer"}
SPLEEN = {"scheme": "SCT", "value": "78961009", "meaning": "Spleen"}
NODULE = {"scheme": "SCT", "value": "427359005", "meaning": "Solitary nodule of lung"}
ABDOMEN = {"scheme": "LN", "value": "30621-7", "meaning": "CT Abdomen"}
BRIGHT = 100.0
"""Modality value of the landmark: the networks see a tenth of it, less one half."""
SCALE = {
    "_target_": "ScaleIntensityRanged",
    "keys": "image",
    "a_min": -1000.0,
    "a_max": BRIGHT,
    "b_min": -10.0,
    "b_max": 1.0,
}
POOLED = "$torch.nn.Sequential(torch.nn.AdaptiveMaxPool3d(1), torch.nn.Flatten(), torch.nn.Linear(1, 2))"
BODY_PARTS = {"spleen": "ABDOMEN", "nodules": "CHEST", "contrast": "PELVIS"}
"""By model: the body part by which the rules choose it."""


def write_models(folder: Path) -> None:
    """A segmentation, a detector and a classifier, each of the landmark."""

    def scope(name: str) -> dict[str, Any]:
        return {"modalities": ["CT"], "body_parts": [BODY_PARTS[name]]}

    write_bundle(
        folder / "spleen",
        transforms=[SCALE],
        answer={
            "kind": "segmentation",
            "form": "labels",
            "structures": [{"value": 1, "name": "spleen", "code": SPLEEN}],
        },
        contract={"scope": scope("spleen"), "report": {"procedure": ABDOMEN}},
    )
    write_bundle(
        folder / "nodules",
        transforms=[SCALE],
        inferer={"_target_": "scripts.Brightest", "detector": "@detector"},
        post=[],
        scripts={"scripts/__init__.py": DETECTOR},
        answer={"kind": "detection", "score": 0.5, "classes": [{"value": 0, "name": "nodule", "code": NODULE}]},
        config={
            "detector": {"_target_": "scripts.Detector"},
            "detector_ops": ["$setattr(@detector, 'ready', True)"],
            "evaluator": {"_target_": "scripts.Nowhere", "_requires_": "@detector_ops"},
        },
        contract={"scope": scope("nodules")},
    )
    network = nn.Sequential(nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(1, 2))
    network[2].weight.data.copy_(network[2].weight.data.new_tensor([[10.0], [0.0]]))
    network[2].bias.data.copy_(network[2].bias.data.new_tensor([-5.0, 0.0]))
    write_bundle(
        folder / "contrast",
        transforms=[SCALE],
        inferer=SIMPLE,
        post=[],
        network=(
            "$torch.nn.Sequential(torch.nn.AdaptiveMaxPool3d(1), torch.nn.Flatten(), torch.nn.Linear(1, 2))",
            network,
        ),
        answer={
            "kind": "classification",
            "exclusive": True,
            "activation": "softmax",
            "classes": [{"value": 0, "name": "with_contrast"}, {"value": 1, "name": "without"}],
        },
        contract={"scope": scope("contrast")},
    )


@dataclass
class House:
    """``archive`` is the folder that the results of the four series go to."""

    node: Node
    orthanc: OrthancPeer
    fhir: str
    archive: Path

    def results(self, study: str) -> dict[str, list[Dataset]]:
        """The results of a study in Orthanc, by modality."""
        found: dict[str, list[Dataset]] = {}
        with self.orthanc.client() as client:
            for series in client.find_results(study):
                for item in series.instances:
                    ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(client.download(item)))
                    found.setdefault(series.modality, []).append(ds)
        return found

    def report(self, patient: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The report of a patient, and its Observations."""
        answer = httpx.get(f"{self.fhir}/DiagnosticReport", params={"_count": "100"}, trust_env=False).json()
        (report,) = (
            entry["resource"] for entry in answer["entry"] if patient in json.dumps(entry["resource"]["subject"])
        )
        urls = [f"{self.fhir}/{item['reference']}" for item in report["result"]]
        return report, [httpx.get(url, trust_env=False).json() for url in urls]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    require_orthanc()
    folder = tmp_path_factory.mktemp("workflows")
    write_models(folder / "models")
    channels.bundle(folder / "models")
    port, archive = free_port(), folder / "archive"
    rules = "".join(
        f'[[rules]]\nname = "{name}"\nmodel = "{name}"\ndestinations = ["pacs", "ehr"]\n'
        f'when = {{modality = ["CT"], body_part = ["{part}"]}}\n'
        for name, part in BODY_PARTS.items()
    )
    with (
        start_fhir_server() as fhir,
        OrthancPeer(folder / "orthanc", free_port(), free_port(), candela_port=port) as orthanc,
    ):
        peers = f"""
[models]
folders = ["{folder / "models"}"]
[[rules]]
name = "channels"
model = "four"
per_study = true
destinations = ["archive"]
when = {{modality = ["MR"]}}
[peers.orthanc]
ae_title = "{orthanc.ae_title}"
host = "127.0.0.1"
port = {orthanc.dicom_port}
{rules}
"""
        destinations = {
            "pacs": 'kind = "dicom"\npeer = "orthanc"',
            "ehr": fhir_destination(fhir.url),
            "archive": {"kind": "folder", "path": str(archive)},
        }
        hold = "negative_hold = 1\nstudy_quiet = 3"
        with Node(folder / "node", destinations, port=port, peers=peers, completion=hold) as node:
            yield House(node, orthanc, fhir.url, archive)


def whole(house: House, series: tuple[Dataset, ...]) -> Any:
    """The finished job over all of ``series``; on a busy machine there may be one over a part, which is superseded."""

    def jobs() -> list[Any]:
        mine = (row for row in house.node.jobs() if row.job.series_instance_uid == series[0].SeriesInstanceUID)
        return [row for row in mine if row.job.instances == len(series) and row.state is JobState.DONE]

    house.node.until(lambda: bool(jobs()), "the whole series is read and delivered", seconds=120)
    return jobs()[0]


def sent(house: House, model: str) -> tuple[tuple[Dataset, ...], Any]:
    """A computed CT for ``model``, sent by C-STORE; its finished job."""
    volume = landmark("oblique")
    header = Header(key=model, patient_id=f"P-{model}", accession_number=f"A-{model}", body_part=BODY_PARTS[model])
    series = series_of(volume.array * (BRIGHT + 900) - 900, volume.affine, "CT", header)
    house.node.send(series)
    job = whole(house, series)
    assert job.outcome is not Outcome.REFUSED, job.result.refusal
    return series, job


def test_a_structure_is_outlined_and_measured(house: House, tmp_path: Path) -> None:
    series, job = sent(house, "spleen")
    assert job.outcome is Outcome.MEASURED
    results = house.results(series[0].StudyInstanceUID)
    assert set(results) == {"OT", "SEG", "SR", "PR", "DOC", "KO"}
    (seg,) = results["SEG"]
    assert seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == SPLEEN["value"]
    volume = hd.seg.Segmentation.from_dataset(seg).get_volume(segment_numbers=[1], combine_segments=True)
    source = landmark("oblique")
    points = volume.map_indices_to_reference(np.argwhere(volume.array))
    true = source.to_patient(np.argwhere(source.array > 0))
    assert np.allclose(points.mean(axis=0), true.mean(axis=0), atol=0.01)
    assert len(points) == len(true)
    report, observations = house.report("P-spleen")
    assert report["code"]["coding"][0]["code"] == ABDOMEN["value"]
    assert "conclusionCode" not in report
    (size,) = (item for item in observations if item["code"]["coding"][0]["code"] == "118565006")
    assert size["valueQuantity"]["value"] == pytest.approx(len(true) * source.voxel_mm3, abs=0.06)
    for ds in (ds for datasets in results.values() for ds in datasets):
        path = tmp_path / f"{ds.SOPInstanceUID}.dcm"
        ds.save_as(path, enforce_file_format=True)
        assert errors(path) == []


def test_a_detected_object_is_marked(house: House) -> None:
    series, job = sent(house, "nodules")
    assert job.outcome is Outcome.FINDING
    results = house.results(series[0].StudyInstanceUID)
    assert set(results) == {"OT", "SR", "PR", "DOC", "KO"}
    report, observations = house.report("P-nodules")
    assert report["conclusionCode"][0]["coding"][0]["code"] == "52101004"
    score = next(item for item in observations if item["code"]["coding"][0]["code"] == "122157")
    assert score["valueQuantity"]["value"] == pytest.approx(0.9)


def test_a_class_is_reported(house: House) -> None:
    series, job = sent(house, "contrast")
    assert job.outcome is Outcome.MEASURED
    assert set(house.results(series[0].StudyInstanceUID)) == {"OT", "SR", "DOC", "KO"}
    _, observations = house.report("P-contrast")
    (found,) = (item for item in observations if "valueCodeableConcept" in item)
    assert found["valueCodeableConcept"]["coding"][0]["code"] == "with_contrast"


def of_study(house: House, study: str) -> tuple[JobDetail, ...]:
    return tuple(job for job in house.node.jobs() if job.job.study_instance_uid == study)


def ended(house: House, study: str, count: int) -> tuple[JobDetail, ...]:
    """The study's jobs, once ``count`` of them have ended or are records of series without a job of their own."""
    over = OVER | RECORDS

    def done() -> bool:
        return sum(job.state in over for job in of_study(house, study)) >= count

    house.node.until(done, f"{count} jobs end", seconds=240)
    return of_study(house, study)


@pytest.mark.nightly
def test_one_job_reads_the_four_series_and_its_results_are_delivered(house: House) -> None:
    series = channels.study()
    study = str(series["t1"][0].StudyInstanceUID)
    for name in ("flair", "t2", "t1c", "t1"):
        house.node.send(series[name])
    jobs = ended(house, study, 4)
    assert len(jobs) == 4, [job.job for job in jobs]
    (read,) = [job for job in jobs if job.job.model]
    assert (read.state, read.outcome) == (JobState.DONE, Outcome.MEASURED), house.node.tail()
    records = [job for job in jobs if job is not read]
    assert {job.state for job in records} == {JobState.COMPANION}
    assert {job.job.companion_of for job in records} == {read.job.job_id}
    listed = " ".join(house.node.candela("jobs", "list").stdout.split())
    for job in records:
        shown = house.node.candela("jobs", "show", job.job.job_id).stdout
        assert f"channel {job.job.channel} of job {read.job.job_id}" in shown
        assert f"channel {job.job.channel} of job" in listed
    summary = house.node.summary(read)
    assert [(item["channel"], item["series_instance_uid"]) for item in summary["channels"]] == [
        (name, channels.uid_of(made)) for name, made in series.items()
    ]
    channels.assert_lesion(Path(str(read.result and read.result.summary)).parent, (8.0, 5.5, 5.5))
    delivered = [pydicom.dcmread(path, stop_before_pixels=True) for path in house.archive.rglob("*.dcm")]
    (mask,) = [ds for ds in delivered if ds.Modality == "SEG"]
    of_all = {channels.uid_of(made) for made in series.values()}
    assert {str(item.SeriesInstanceUID) for item in mask.ReferencedSeriesSequence} == of_all
    shown = house.node.candela("jobs", "show", read.job.job_id)
    assert f"channel flair is series {channels.uid_of(series['flair'])}" in shown.stdout
    for name in ("t1", "flair"):
        house.node.send(series[name])
    other = heads.series("t2", name="elsewhere", frame="another")
    house.node.send(other)  # the study is decided once more
    again = ended(house, study, 5)
    assert {job.job.job_id for job in again} - {job.job.job_id for job in jobs} == {
        job.job.job_id for job in again if job.job.series_instance_uid == channels.uid_of(other)
    }
    assert [job.job.job_id for job in again if job.job.model] == [read.job.job_id]
