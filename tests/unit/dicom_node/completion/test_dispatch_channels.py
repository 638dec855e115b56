"""A study for a model that reads several series as channels: one job over all of them, or each series says why not."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.inference.runner import SeriesRunner
from dicom_node.jobs import holding
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import SeriesResult
from dicom_node.settings.destinations import Destination, FhirDestination, FolderDestination
from dicom_node.store.manifest import manifest_text, read_manifest
from models import registry
from pipeline.findings.identity import instances_digest
from pipeline.report.stored import from_json
from pipeline.routing.rules import Rule
from tests.integration.test_process_channels import bundle
from tests.peers import heads
from tests.peers.study import uid_of
from tests.unit.dicom_node.completion.test_dispatch_study import House

Study = dict[str, tuple[Dataset, ...]]
ORDER = ["t1", "t1c", "t2", "flair"]
SMALL = {"shape": (6, 12, 12), "spacing": (30.0, 18.0)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    bundle(folder)
    return folder


@pytest.fixture(scope="module")
def study() -> Study:
    return {name: heads.series(name, **SMALL) for name in ORDER}


@pytest.fixture
def house(tmp_path: Path, models: Path) -> House:
    return House(tmp_path, Rule(name="four", model="four", per_study=True), models=(models,))


def sent(house: House, study: Study, *names: str) -> None:
    for name in names:
        house.complete(study[name])
    house.decide()


def the_job(house: House) -> SeriesJob:
    (job,) = house.read().values()
    return job


def test_the_series_of_a_study_are_one_job_in_whatever_order_they_come(house: House, study: Study) -> None:
    sent(house, study, "flair", "t2", "t1", "t1c")
    job = the_job(house)
    assert (job.series_instance_uid, job.revision, job.rule) == (uid_of(study["t1"]), 1, "four")
    assert [channel for channel, _ in job.companions] == ORDER[1:]
    listed = [{item.sop_instance_uid for item in read_manifest(Path(path))} for path in job.manifests]
    assert listed == [{str(ds.SOPInstanceUID) for ds in study[name]} for name in ORDER]
    every = instances_digest(str(ds.SOPInstanceUID) for made in study.values() for ds in made)
    assert job.job_id.split(":")[1] == every[:16]
    assert f"channel t2 is series {uid_of(study['t2'])}: the only one that fits" in str(job.selection)
    assert SeriesJob.from_dict(job.to_dict()) == job
    hash(job)


def test_each_companion_says_which_channel_of_which_job_it_is(house: House, study: Study) -> None:
    sent(house, study, *ORDER)
    job = the_job(house)
    records = {record.series_instance_uid: record for record in house.jobs.values() if record is not job}
    assert records.keys() == {uid_of(study[name]) for name in ORDER[1:]}
    for name in ORDER[1:]:
        record = records[uid_of(study[name])]
        assert (record.refusal_code, record.companion_of) == ("NOT_CHOSEN", job.job_id)
        assert record.channel == name
        assert f"channel {name} of model four" in str(record.refusal)
        assert job.job_id in str(record.refusal)


def test_a_resend_makes_no_other_job(house: House, study: Study) -> None:
    sent(house, study, *ORDER)
    before = dict(house.jobs)
    house.restart()
    sent(house, study, "t2", "flair", "t1c", "t1")
    assert house.jobs == before


def test_a_missing_series_refuses_the_study_until_it_comes(house: House, study: Study) -> None:
    sent(house, study, *ORDER[:3])
    assert house.read() == {}
    assert house.codes() == {uid_of(study[name]): "MISSING_SERIES" for name in ORDER[:3]}
    assert all("channel flair takes a FLAIR series" in str(record.refusal) for record in house.jobs.values())
    sent(house, study, "flair")
    assert len(the_job(house).companions) == 3


def test_two_candidates_for_one_channel_refuse_the_study(house: House, study: Study) -> None:
    doubled = {**study, "t2 again": heads.series("t2", name="t2 again", **SMALL)}
    sent(house, doubled, *doubled)
    assert house.read() == {}
    assert house.codes() == {uid_of(made): "SEVERAL_CANDIDATES" for made in doubled.values()}


def test_a_series_that_fills_no_channel_is_recorded(house: House, study: Study) -> None:
    other = heads.series("t2", name="elsewhere", frame="another", **SMALL)
    sent(house, {**study, "elsewhere": other}, *ORDER, "elsewhere")
    (record,) = [item for item in house.jobs.values() if item.series_instance_uid == uid_of(other)]
    assert (record.refusal_code, record.companion_of) == ("NOT_CHOSEN", None)
    assert "reads other series" in str(record.refusal)
    assert len(the_job(house).companions) == 3


@pytest.mark.parametrize("late", ORDER)
def test_a_late_slice_in_any_series_makes_a_new_revision_of_the_job(house: House, study: Study, late: str) -> None:
    sent(house, {**study, late: study[late][:-1]}, *ORDER)
    first = the_job(house)
    house.complete(study[late], revision=2)
    house.decide()
    second = next(job for job in house.jobs.values() if job.model and job is not first)
    assert (first.series_instance_uid, first.revision) == (second.series_instance_uid, 1)
    assert second.revision == 2
    assert {Path(job.manifest).parent for job in (first, second)} == {
        house.settings.results_dir / job.job_id.replace(":", "_") for job in (first, second)
    }
    fills = [job for job in house.jobs.values() if job.companion_of == second.job_id]
    assert {job.series_instance_uid for job in fills} == {uid_of(study[name]) for name in ORDER[1:]}


def test_an_answer_is_held_back_where_a_companion_has_grown(house: House, study: Study) -> None:
    sent(house, study, *ORDER)
    job = the_job(house)
    for name, manifest in zip(ORDER, map(Path, job.manifests), strict=True):
        folder = house.settings.store_dir / uid_of(study[name])
        folder.mkdir(parents=True)
        stored = [replace(item, path=str(folder / f"{item.sop_instance_uid}.dcm")) for item in read_manifest(manifest)]
        for item in stored:
            Path(item.path).touch()
        manifest.write_text(manifest_text(tuple(stored)))
    assert not holding.has_grown(job, house.settings)
    (house.settings.store_dir / uid_of(study["flair"]) / "1.2.3.4.dcm").write_bytes(b"a further slice")
    assert holding.has_grown(job, house.settings)


def test_a_companion_of_which_the_archive_has_more_refuses_the_study(house: House, study: Study) -> None:
    for name in ORDER:
        done = house.complete(study[name])
        if name == "t2":
            house.dispatch(replace(done, expected=len(done.instances) + 2))
    house.decide()
    assert house.read() == {}
    (why,) = {str(record.refusal) for record in house.jobs.values()}
    assert "MISSING_SLICES" in set(house.codes().values())
    assert "the archive has 8 images of the series, and 6 were received" in why


def test_a_study_of_two_patients_is_read_under_neither(house: House, study: Study, monkeypatch) -> None:
    """An operator's choice would have one series read."""
    from pipeline.errors import MixedPatients

    monkeypatch.setattr(house.dispatch, "_mixed", lambda *_: MixedPatients("PatientID differs."))
    sent(house, study, *ORDER)
    assert set(house.codes().values()) == {"MIXED_PATIENTS"}
    assert house.read() == {}


def test_a_job_without_companions_is_refused_by_the_worker(house: House, study: Study) -> None:
    """Never read as one series, whatever made the job."""
    sent(house, study, *ORDER)
    result = SeriesRunner(house.settings)(replace(the_job(house), companions=()))
    assert result.refusal_code == "MISSING_SERIES"


def read_by(house: House, job: SeriesJob, *destinations: Destination) -> SeriesResult:
    """``job`` as a worker reads it where ``destinations`` want refusals."""
    wanted = {f"out {k}": item for k, item in enumerate(destinations)}
    settings = house.settings.model_copy(update={"destinations": {**house.settings.destinations, **wanted}})
    return SeriesRunner(settings)(replace(job, destinations=(*job.destinations, *wanted)))


WANT_REFUSALS = (
    FolderDestination(kind="folder", path=Path("/nowhere"), refusals=True),
    FhirDestination(kind="fhir", url="http://ehr.example", refusals=True),
)


def test_a_refusal_of_the_study_names_every_series_that_was_to_be_read(house: House, study: Study) -> None:
    gap = (*study["flair"][:2], *study["flair"][3:])
    sent(house, {**study, "flair": gap}, *ORDER)
    result = read_by(house, the_job(house), *WANT_REFUSALS)
    assert result.refusal_code == "MISSING_SLICES"
    files = {item.name: item.files[0] for item in result.results}
    page = pydicom.dcmread(files["refusal"])
    assert [str(item.SeriesInstanceUID) for item in page.ReferencedSeriesSequence] == [uid_of(study[n]) for n in ORDER]
    told = from_json(Path(files["fhir-bundle"]).read_bytes())
    assert [item.uid for item in (told.source, *told.companions)] == [uid_of(study[name]) for name in ORDER]
    assert [item.instances for item in (told.source, *told.companions)] == [6, 6, 6, 5]


def test_nothing_is_told_of_a_study_one_of_whose_companions_names_two_patients(house: House, study: Study) -> None:
    """Neither a page nor a report: they would be filed under the first series' patient (ADR 47)."""
    mixed = copy.deepcopy(study["flair"])
    mixed[3].PatientID, mixed[3].PatientName = "OTHER", "Roe^Joan"
    sent(house, {**study, "flair": mixed}, *ORDER)
    result = read_by(house, the_job(house), *WANT_REFUSALS)
    assert (result.refusal_code, result.results) == ("MIXED_PATIENTS", ())


def test_results_after_a_late_slice_in_a_companion_replace_the_first(house: House, study: Study) -> None:
    sent(house, {**study, "flair": study["flair"][:-1]}, *ORDER)
    jobs = [the_job(house)]
    first = json.loads(Path(str(SeriesRunner(house.settings)(jobs[0]).summary)).read_text())
    house.complete(study["flair"], revision=2)
    house.decide()
    (again,) = [job for job in house.jobs.values() if job.model and job not in jobs]
    result = SeriesRunner(house.settings)(again)
    second = json.loads(Path(str(result.summary)).read_text())
    assert (first["predecessors"], second["predecessors"]) == ([], [first["instances_digest"]])
    assert "REPLACES_EARLIER_RESULT" in {item["code"] for item in second["caveats"]}
    report = pydicom.dcmread(Path(str(result.summary)).parent / "report.dcm")
    named = {
        str(item.ReferencedSOPInstanceUID)
        for one in report.PredecessorDocumentsSequence
        for group in one.ReferencedSeriesSequence
        for item in group.ReferencedSOPSequence
    }
    assert named <= {item["sop_instance_uid"] for item in first["objects"]}
    (told,) = [Path(item.files[0]) for item in result.results if item.name == "fhir-bundle"]
    assert from_json(told.read_bytes()).findings.revision == 2


def test_the_digest_of_the_model_ends_the_id(house: House, study: Study, models: Path) -> None:
    """`dicom_node.inference.lineage` finds the job's earlier revisions by it."""
    sent(house, study, *ORDER)
    assert the_job(house).job_id.endswith(registry.get("four", (models,)).digest[:12])
