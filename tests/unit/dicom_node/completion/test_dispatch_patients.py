"""A study whose series name two patients: which jobs are made, and what an operator's choice makes of a refused one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian
from typer.testing import CliRunner

from dicom_node.audit import trail as audit
from dicom_node.commands.jobs import app
from dicom_node.completion.dispatch import Dispatch
from dicom_node.completion.rules import CompleteSeries
from dicom_node.deliver.deidentified import copies, source_images
from dicom_node.inference.runner import SeriesRunner
from dicom_node.inference.study_folder import Pick, pick_series
from dicom_node.jobs.client import JobsClient
from dicom_node.jobs.engine import prepare
from dicom_node.jobs.identity_choice import chosen
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import SeriesResult
from dicom_node.jobs.status import JobDetail, JobState, Tries
from dicom_node.settings.tree import Settings, load
from dicom_node.store.header import read_header
from dicom_node.store.instance_store import AETitles, InstanceStore
from dicom_node.store.manifest import read_manifest
from dicom_node.store.series_index import Arrival, SeriesIndex
from pipeline import phantom
from pipeline.errors import MixedPatients
from pipeline.export.deidentify import Pseudonyms
from pipeline.findings.model import Outcome
from pipeline.report.withdrawal import FILENAME as WITHDRAWAL
from pipeline.report.withdrawal import Reason, Withdrawal
from tests.peers.study import Series, series, uid_of
from tests.shapes import as_file

OTHER = {"PatientID": "OTHER", "PatientName": "Roe^Joan"}


class Node:
    """A store and its index as the receiver keeps them, and the jobs that are dispatched."""

    def __init__(self, folder: Path, **rule: object) -> None:
        self.config = folder / "candela.toml"
        per_study = "per_study = true" if rule.get("per_study") else ""
        self.config.write_text(
            f'data_dir = "{folder}/data"\n'
            f'[[rules]]\nname = "brain"\nmodel = "brain_mri_tumor"\n{per_study}\ndestinations = ["out"]\n'
            f'[destinations.out]\nkind = "folder"\npath = "{folder}/out"\nrefusals = true\n'
        )
        self.settings = load(self.config)
        self.store = InstanceStore(self.settings.store_dir)
        self.index = SeriesIndex(self.settings.data_dir / "index.sqlite")
        self.jobs: list[SeriesJob] = []
        self.dispatch = Dispatch(self.settings, lambda job: not self.jobs.append(job))

    def close(self) -> None:
        self.index.close()
        self.store.close()

    def run(self, *arguments: str) -> str:
        """What `candela jobs` prints, or the error that it ends with."""
        done = CliRunner().invoke(app, [*arguments, "--config", str(self.config)])
        return f"{done.output}{done.exception or ''}"

    def receive(self, datasets: Series, *, own: bool = False) -> None:
        for ds in datasets:
            encoded = as_file(ds)
            encoded = encoded[144 + int.from_bytes(encoded[140:144], "little") :]
            header = read_header(encoded, ExplicitVRLittleEndian)
            stored = self.store.put(encoded, header, ExplicitVRLittleEndian, AETitles("MODALITY", "CANDELA"))
            self.index.add([Arrival(stored, own)])

    def complete(self, datasets: Series, revision: int = 1) -> list[SeriesJob]:
        """Receive ``datasets`` and hand them over; the jobs that came of it."""
        self.receive(datasets)
        before = len(self.jobs)
        self.dispatch(
            CompleteSeries(
                series_instance_uid=uid_of(datasets),
                study_instance_uid=str(datasets[0].StudyInstanceUID),
                revision=revision,
                instances=self.index.instances(uid_of(datasets), self.store.folder),
                calling_ae="MODALITY",
                reason="quiet",
                completed_at=datetime(2026, 1, 5, 10, 15, tzinfo=UTC),
            )
        )
        return self.jobs[before:]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.close()


def one(name: str, number: int = 1, **values: object) -> Series:
    return series("two patients", name, "T1 AX POST", number=number, slices=4, matrix=16, **values)


def test_a_later_series_of_another_patient_is_refused_and_names_the_other(node: Node) -> None:
    """The first keeps its job. The refusal keeps rule, model and destinations for an operator's choice."""
    first, second = one("first"), one("second", 2, **OTHER)
    assert [job.refusal_code for job in node.complete(first)] == [None]
    (refused,) = node.complete(second)
    assert (refused.refusal_code, refused.model, refused.destinations) == (
        "MIXED_PATIENTS",
        "brain_mri_tumor",
        ("out",),
    )
    assert f"PatientID differs): series {uid_of(first)}" in str(refused.refusal)
    assert "OTHER" not in str(refused.refusal)
    result = SeriesRunner(node.settings)(refused)
    assert (result.refusal_code, result.results) == ("MIXED_PATIENTS", ())


def test_a_series_is_refused_while_another_patients_series_is_still_arriving(node: Node) -> None:
    node.receive(one("arriving", 2, **OTHER)[:1])
    assert [job.refusal_code for job in node.complete(one("first"))] == ["MIXED_PATIENTS"]


def test_what_does_not_name_another_patient_holds_nothing_up(node: Node) -> None:
    """Another study, our own results, an absent ID, another spelling, another birth date under one ID and name."""
    node.receive(series("elsewhere", "x", "T1", number=1, slices=3, matrix=16, **OTHER))
    node.receive(one("results", 2, **OTHER), own=True)
    for number, values in enumerate(
        ({"PatientID": ""}, {"PatientName": "PHANTOM^CANDELA"}, {"PatientBirthDate": "19990101"})
    ):
        node.receive(one(f"other {number}", 3 + number, **values))
    assert [job.refusal_code for job in node.complete(one("first"))] == [None]


def test_the_newest_version_of_the_other_series_counts(node: Node) -> None:
    """A PACS has corrected it under the same UIDs (ADR 3)."""
    node.receive(one("other", 2, **OTHER))
    node.receive(one("other", 2))
    assert [job.refusal_code for job in node.complete(one("first"))] == [None]


def test_the_choice_within_a_study_never_mixes_patients(tmp_path: Path) -> None:
    """Both wait for the choice: neither is chosen, each is refused. One that came later is refused at once."""
    node = Node(tmp_path, per_study=True)
    first, second = one("first"), one("second", 2, **OTHER)
    assert node.complete(first) == []
    assert [job.refusal_code for job in node.complete(second)] == ["MIXED_PATIENTS"]
    for study in tuple(node.dispatch.undecided()):
        node.dispatch.decide(study)
    assert {job.series_instance_uid: job.refusal_code for job in node.jobs} == {
        uid_of(first): "MIXED_PATIENTS",
        uid_of(second): "MIXED_PATIENTS",
    }
    assert not node.dispatch.undecided()
    node.close()


def test_a_folder_with_two_patients_in_one_study_is_refused(tmp_path: Path) -> None:
    """`candela process --series` and `--best`; not where the user says whose it is."""
    first, second = one("first"), one("second", 2, **OTHER)
    phantom.save(first, tmp_path / "a")
    phantom.save(second, tmp_path / "b")
    settings = Settings(data_dir=tmp_path / "data")
    for pick in (Pick(uid_of(first)), Pick(best=True)):
        with pytest.raises(MixedPatients, match="Another series of the study"):
            pick_series(tmp_path, settings, "brain_mri_tumor", pick)
    assert len(pick_series(tmp_path, settings, None, Pick(uid_of(first), identity_chosen=True))[0].datasets) == 4


def half(datasets: Series) -> Series:
    for ds in datasets[::2]:
        ds.PatientID, ds.PatientName = OTHER["PatientID"], OTHER["PatientName"]
    return datasets


def test_an_operator_sees_the_difference_and_chooses(node: Node) -> None:
    """Through the command line and the engine's database: a job of its own, once, in the audit trail."""
    mixed = half(one("mixed"))
    prepare(node.settings)
    with JobsClient(node.settings) as client:
        node.dispatch = Dispatch(node.settings, client.submit)
        node.complete(mixed)
        node.complete(one("second", 2))
        (detail,) = client.of_series(uid_of(mixed))
    job = detail.job

    run = node.run
    shown = run("identity", job.job_id)
    assert "4 instance(s), of which 2 group(s)" in shown
    assert "PatientID, PatientName" in shown
    assert "OTHER" not in shown
    assert f"(PatientID differs): {uid_of(one('second', 2))}" in shown
    named = json.loads(run("identity", job.job_id, "--values", "--json"))
    assert {group["values"]["PatientID"] for group in named["groups"]} == {"CANDELA-PHANTOM", "OTHER"}
    right = str(mixed[0].SOPInstanceUID)
    done = run("identity", job.job_id, "--right", right)
    assert "reading the series again" in done
    assert "already chosen" in run("identity", job.job_id, "--right", right)
    assert "not one of this job" in run("identity", job.job_id, "--right", "2.25.1")
    with JobsClient(node.settings) as client:
        again = next(item.job for item in client.of_series(uid_of(mixed)) if item.job.identity_from)
    assert (again.identity_from, again.refusal_code, again.destinations) == (right, None, ("out",))
    assert again.job_id != job.job_id
    assert again.manifest != job.manifest
    assert read_manifest(Path(again.manifest)) == read_manifest(Path(job.manifest))
    assert right in run("show", again.job_id)
    (file,) = audit.files(node.settings.audit_dir)
    lines = [(line["what"], line.get("instances"), line["job"]) for line in audit.read(file)]
    assert lines[0] == ("identities of a series shown", None, job.job_id)
    assert lines[1] == ("identity of a series chosen", [right], again.job_id)
    assert "OTHER" not in file.read_text()


def test_a_choice_needs_images_and_a_difference(node: Node) -> None:
    """An agreeing series has nothing to choose, no model nobody to read it, and purged images are gone."""
    prepare(node.settings)
    agreeing, unrouted, purged = one("agreeing"), one("unrouted", 2), half(one("purged", 3))
    with JobsClient(node.settings) as client:
        node.dispatch = Dispatch(node.settings, client.submit)
        node.complete(agreeing)
        node.dispatch = Dispatch(node.settings.model_copy(update={"rules": ()}), client.submit)
        node.complete(unrouted)
        node.dispatch = Dispatch(node.settings, client.submit)
        node.complete(purged)
    for instance in node.index.instances(uid_of(purged), node.store.folder)[:1]:
        Path(instance.path).unlink()
    for made, why in (
        (agreeing, "name the same patient"),
        (unrouted, "No model reads"),
        (purged, "no longer in the store"),
    ):
        assert why in node.run("identity", uid_of(made), "--right", str(made[0].SOPInstanceUID))
    assert "4 instance(s), of which 1 group(s)" in node.run("identity", uid_of(agreeing))
    assert "no such job" in node.run("identity", "1.99.1")


def test_a_corrected_series_is_read_again_as_it_is_now(node: Node) -> None:
    """A PACS corrects it under the same UIDs, which alone starts no run. Once, since results have the series' UIDs."""
    prepare(node.settings)
    mixed, second = half(one("mixed")), one("second", 2)
    with JobsClient(node.settings) as client:
        node.dispatch = Dispatch(node.settings, client.submit)
        node.complete(second)
        node.complete(mixed)
        (detail,) = client.of_series(uid_of(mixed))
    job = detail.job.job_id
    assert "not refused for its patient" in node.run("identity", uid_of(second), "--again")
    assert f"still name another patient: {uid_of(second)}" in node.run("identity", job, "--again")
    node.receive(one("mixed"))
    assert "reading the series again" in node.run("identity", job, "--again")
    assert "read before" in node.run("identity", job, "--again")
    with JobsClient(node.settings) as client:
        again = next(item.job for item in client.of_series(uid_of(mixed)) if item.job.job_id != job)
    assert (again.refusal_code, again.identity_from, again.instances) == (None, None, 4)
    read = [pydicom.dcmread(item.path).PatientID for item in read_manifest(Path(again.manifest))]
    assert read == ["CANDELA-PHANTOM"] * 4
    corrected_twice = one("mixed")
    for ds in corrected_twice:
        ds.PatientBirthDate = "19990101"
    node.receive(corrected_twice)
    assert "was read since" in node.run("identity", job, "--again")
    (file,) = audit.files(node.settings.audit_dir)
    assert [line["what"] for line in audit.read(file)] == ["corrected series read again"] * 2


def test_a_series_whose_results_were_withdrawn_is_read_again_as_it_is_now(node: Node) -> None:
    """A PACS moved it to another patient and study under the same UIDs: a job of its own, of the new study."""
    prepare(node.settings)
    read = one("moved")
    with JobsClient(node.settings) as client:
        node.dispatch = Dispatch(node.settings, client.submit)
        node.complete(read)
        (detail,) = client.of_series(uid_of(read))
    job = detail.job.job_id
    moved = one("moved", PatientID="RIGHT", StudyInstanceUID="1.2.3.44")
    node.receive(moved)
    assert "its results stand" in node.run("identity", job, "--again")
    said = Withdrawal(job, Reason.WRONG_PATIENT, "moved", datetime(2026, 11, 30, tzinfo=UTC), "operator")
    (Path(detail.job.manifest).parent / WITHDRAWAL).write_bytes(said.to_json())
    assert "reading the series again" in node.run("identity", job, "--again")
    assert "read before" in node.run("identity", job, "--again")
    with JobsClient(node.settings) as client:
        again = next(item.job for item in client.of_series(uid_of(read)) if item.job.job_id != job)
    assert again.study_instance_uid == "1.2.3.44"
    assert {pydicom.dcmread(item.path).PatientID for item in read_manifest(Path(again.manifest))} == {"RIGHT"}


def test_withdrawn_results_of_images_that_did_not_change_are_not_made_again(node: Node) -> None:
    prepare(node.settings)
    with JobsClient(node.settings) as client:
        node.dispatch = Dispatch(node.settings, client.submit)
        node.complete(one("same"))
        (detail,) = client.of_series(uid_of(one("same")))
    said = Withdrawal(detail.job.job_id, Reason.QUALITY, "blurred", datetime(2026, 11, 30, tzinfo=UTC), "operator")
    (Path(detail.job.manifest).parent / WITHDRAWAL).write_bytes(said.to_json())
    assert "No image of the series has changed" in node.run("identity", detail.job.job_id, "--again")


def test_the_chosen_job_reads_what_was_refused(node: Node) -> None:
    """The worker refuses the series and sends nothing of it; under the choice it reads it, as far as its geometry."""
    mixed = half(one("mixed"))
    (job,) = node.complete((*mixed[:1], *mixed[2:]))  # a slice is missing: no model needs to run
    runner = SeriesRunner(node.settings)
    refused = runner(job)
    assert (refused.refusal_code, refused.results) == ("MIXED_PATIENTS", ())
    again = chosen(detail_of(job), str(mixed[0].SOPInstanceUID), node.settings)
    got = runner(again)
    assert got.refusal_code == "BAD_GEOMETRY"
    (page,) = (pydicom.dcmread(item.files[0]) for item in got.results)
    assert page.PatientID == "OTHER"
    assert runner(again).results == got.results


def test_images_for_research_get_the_pseudonym_of_the_results(node: Node) -> None:
    """Half without an ID: one patient, one pseudonym. Two patients: nothing leaves."""
    datasets = one("research")
    for ds in datasets[::2]:
        ds.PatientID = ""
    for ds in datasets:
        ds.PatientBirthDate, ds.ImageType, ds.BurnedInAnnotation = "19700131", ["ORIGINAL", "PRIMARY"], "NO"
    (job,) = node.complete(datasets)
    (mixed,) = node.complete(half(one("mixed", 2)))
    key, data_dir = b"k" * 32, node.settings.data_dir
    made = copies(source_images(Path(job.manifest), data_dir), Path(job.manifest), data_dir, key)
    assert {pydicom.dcmread(path).PatientID for path in made} == {Pseudonyms(key).patient("", "CANDELA-PHANTOM")}
    manifest = Path(mixed.manifest)
    with pytest.raises(MixedPatients):
        copies(source_images(manifest, data_dir), manifest, data_dir, key)
    made = copies(source_images(manifest, data_dir), manifest, data_dir, key, datasets_uid(manifest))
    assert len({pydicom.dcmread(path).PatientID for path in made}) == 1


def datasets_uid(manifest: Path) -> str:
    return read_manifest(manifest)[0].sop_instance_uid


def detail_of(job: SeriesJob) -> JobDetail:
    now = datetime(2026, 1, 5, tzinfo=UTC)
    refused = SeriesResult(Outcome.REFUSED, refusal_code="MIXED_PATIENTS")
    return JobDetail(job, JobState.DONE, now, now, refused, Tries(1, None, None, now), ())
