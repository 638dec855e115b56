"""`candela jobs identity` for a study of several series whose images name two patients."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.completion.dispatch import Dispatch
from dicom_node.jobs.client import JobsClient
from dicom_node.jobs.engine import prepare
from dicom_node.jobs.job import SeriesJob
from dicom_node.settings.tree import load
from tests.integration.test_process_channels import bundle
from tests.peers import heads
from tests.peers.study import Series, uid_of
from tests.unit.dicom_node.completion.test_dispatch_patients import OTHER, Node

ORDER = ["t1", "t1c", "t2", "flair"]
PROCESS = "candela process STUDY --out DIR --model four --identity UID"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path, per_study=True)
    bundle(tmp_path / "models")
    text = made.config.read_text().replace("brain_mri_tumor", "four")
    made.config.write_text(f'{text}[models]\nfolders = ["{tmp_path}/models"]\n')
    made.settings = load(made.config)
    prepare(made.settings)
    yield made
    made.close()


def study() -> dict[str, Series]:
    return {name: heads.series(name, shape=(4, 8, 8), spacing=(45.0, 27.0)) for name in ORDER}


def dispatched(node: Node, series: dict[str, Series]) -> dict[str, SeriesJob]:
    """The job of each series, by name."""
    with JobsClient(node.settings) as client:
        node.dispatch = Dispatch(node.settings, client.submit)
        for datasets in series.values():
            node.complete(datasets)
        for waiting in tuple(node.dispatch.undecided()):
            node.dispatch.decide(waiting)
        found = {name: client.of_series(uid_of(datasets)) for name, datasets in series.items()}
    return {name: detail.job for name, (detail,) in found.items()}


def test_a_series_of_another_patient_is_named_and_the_way_on_is_said(node: Node) -> None:
    series = study()
    for ds in series["flair"]:
        ds.PatientID, ds.PatientName = OTHER["PatientID"], OTHER["PatientName"]
    jobs = dispatched(node, series)
    assert {job.refusal_code for job in jobs.values()} == {"MIXED_PATIENTS"}
    shown = node.run("identity", jobs["t1"].job_id)
    assert "4 instance(s), of which 1 group(s)" in shown
    assert f"names another patient (PatientID differs): {uid_of(series['flair'])}" in shown
    assert uid_of(series["t2"]) not in shown
    assert OTHER["PatientID"] not in shown
    for name in ("t1", "flair"):
        right = str(series["t1"][0].SOPInstanceUID)
        assert PROCESS in node.run("identity", jobs[name].job_id, "--right", right)
        assert PROCESS in node.run("identity", jobs[name].job_id, "--again")


def test_an_image_of_another_patient_within_a_companion_is_shown(node: Node) -> None:
    """The receiver compares one image of each series, the worker all: the job reads four series, and so does this."""
    series = study()
    last = max(series["flair"][1:], key=lambda ds: str(ds.SOPInstanceUID))
    last.PatientID, last.PatientName = OTHER["PatientID"], OTHER["PatientName"]
    jobs = dispatched(node, copy.deepcopy(series))
    assert jobs["t1"].refusal_code is None
    assert jobs["flair"].companion_of == jobs["t1"].job_id
    shown = node.run("identity", jobs["t1"].job_id)
    assert "16 instance(s), of which 2 group(s)" in shown
    assert str(last.SOPInstanceUID) in shown
    assert "another series" not in shown
    named = json.loads(node.run("identity", jobs["t1"].job_id, "--values", "--json"))
    assert {group["values"]["PatientID"] for group in named["groups"]} == {"CANDELA-PHANTOM", OTHER["PatientID"]}
    assert PROCESS in node.run("identity", jobs["t1"].job_id, "--right", str(series["t1"][0].SOPInstanceUID))
