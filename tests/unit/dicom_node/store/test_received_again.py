"""One SOP Instance UID received more than once: what the job reads, what its results note, what an operator sees."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dicom_node.completion.dispatch import Dispatch
from dicom_node.completion.rules import CompleteSeries
from dicom_node.completion.studies import Assignment, NotedSeries, StudyNotes
from dicom_node.inference.runner import SeriesRunner
from dicom_node.inference.study_folder import find_series
from dicom_node.jobs.job import SeriesJob
from dicom_node.settings.tree import Settings
from dicom_node.store.header import read_header
from dicom_node.store.instance_store import AETitles, InstanceStore
from dicom_node.store.manifest import StoredInstance, manifest_text, read_manifest, read_versions
from dicom_node.store.received_again import received_again
from dicom_node.store.series_header import representative_of
from dicom_node.store.series_index import Arrival, SeriesIndex
from pipeline import phantom
from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import Broken, ConflictingInstances, Refused
from pipeline.routing.rules import Rule
from tests.unit.dicom_node.store.test_header import encode

SENDER = AETitles("SENDER", "CANDELA")


class Node:
    """Store, index, dispatch and worker of one data_dir, with no network and no database."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(data_dir=folder, rules=(Rule(name="brain", model="brain_mri_tumor"),))
        self.store = InstanceStore(folder / "store")
        self.index = SeriesIndex(folder / "index.sqlite")
        self.jobs: list[SeriesJob] = []
        self.revision = 0

    def receive(self, *datasets: Dataset | bytes) -> None:
        for ds in datasets:
            encoded = ds if isinstance(ds, bytes) else encode(ds, ExplicitVRLittleEndian)
            header = read_header(encoded, ExplicitVRLittleEndian)
            self.index.add([Arrival(self.store.put(encoded, header, ExplicitVRLittleEndian, SENDER), own=False)])

    def complete(self, series_instance_uid: str) -> SeriesJob:
        self.revision += 1
        self.dispatch(self.revised(series_instance_uid))
        return self.jobs[-1]

    def revised(self, series_instance_uid: str) -> CompleteSeries:
        return CompleteSeries(
            series_instance_uid,
            "1.2",
            self.revision,
            self.index.instances(series_instance_uid, self.store.folder),
            "SENDER",
            "quiet",
            datetime(2026, 1, 5, tzinfo=UTC),
            earlier=self.index.earlier(series_instance_uid, self.store.folder),
            shared=self.index.shared(series_instance_uid),
        )

    @property
    def dispatch(self) -> Dispatch:
        return Dispatch(self.settings, lambda job: not self.jobs.append(job))

    def caveats(self, job: SeriesJob) -> tuple[Caveat, ...]:
        return SeriesRunner(self.settings)._read(Path(job.manifest)).caveats


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    opened = Node(tmp_path / "data")
    yield opened
    opened.index.close()
    opened.store.close()


@pytest.fixture
def small() -> list[Dataset]:
    return [copy.deepcopy(ds) for ds in phantom.head_phantom(slices=4, matrix=16)]


def changed(ds: Dataset, **values: object) -> Dataset:
    other = copy.deepcopy(ds)
    for keyword, value in values.items():
        setattr(other, keyword, value)
    return other


def blank(ds: Dataset) -> Dataset:
    return changed(ds, PixelData=bytes(len(ds.PixelData)))


def test_other_pixels_before_completion_are_refused_with_the_cause(node: Node, small: list[Dataset]) -> None:
    """The worker gets every version, and the refusal is the job's result: no model is loaded for it."""
    node.receive(*small, blank(small[1]))
    job = node.complete(str(small[0].SeriesInstanceUID))
    result = SeriesRunner(node.settings)(job)
    assert result.refusal_code == "CONFLICTING_INSTANCES"
    assert "1 of 4 SOP Instance UIDs stands for several images" in str(result.refusal)
    assert "differ in their pixels" in str(result.refusal)


def test_one_uid_for_every_image_is_named_as_the_cause(node: Node, small: list[Dataset]) -> None:
    """Received as versions of one instance; the job says so, not that the stack has one slice."""
    node.receive(*(changed(ds, SOPInstanceUID="1.2.3") for ds in small))
    result = SeriesRunner(node.settings)(node.complete(str(small[0].SeriesInstanceUID)))
    assert result.refusal_code == "CONFLICTING_INSTANCES"
    assert "All 4 images have one SOP Instance UID" in str(result.refusal)


def test_a_corrected_header_is_read_and_noted(node: Node, small: list[Dataset]) -> None:
    """The version that came last is the one that is read; a resend of the same bytes is nothing new."""
    node.receive(*small, *(changed(ds, PatientName="Right^Name") for ds in small), small[0])
    job = node.complete(str(small[0].SeriesInstanceUID))
    series = SeriesRunner(node.settings)._read(Path(job.manifest))
    assert {str(ds.PatientName) for ds in series.datasets} == {"Right^Name"}
    assert series.caveats == (Caveat(CaveatCode.INSTANCES_CORRECTED, {"count": 4, "names": ("PatientName",)}),)


def test_a_version_that_cannot_be_read_is_mended_by_the_next(node: Node, small: list[Dataset]) -> None:
    node.receive(encode(small[0], ExplicitVRLittleEndian)[:-100], *small)
    caveats = node.caveats(node.complete(str(small[0].SeriesInstanceUID)))
    assert caveats == (Caveat(CaveatCode.EARLIER_INSTANCES_UNREADABLE, {"count": 1}),)


def test_an_earlier_version_that_is_gone_is_our_fault(node: Node, small: list[Dataset]) -> None:
    """Nothing is read as if the version had never been there."""
    node.receive(*small, blank(small[1]))
    job = node.complete(str(small[0].SeriesInstanceUID))
    (earlier,) = read_versions(Path(job.manifest)).earlier
    Path(earlier.path).unlink()
    with pytest.raises(Broken):
        SeriesRunner(node.settings)(job)


def test_one_uid_in_two_series_is_noted_by_the_later(node: Node, small: list[Dataset]) -> None:
    """Each is a series of its own with all its slices; what refers to an image fits both."""
    first, second = str(small[0].SeriesInstanceUID), "1.2.9"
    node.receive(*small)
    alone = node.complete(first)
    node.receive(*(changed(ds, SeriesInstanceUID=second) for ds in small[1:]))
    job = node.complete(second)
    assert (alone.instances, job.instances) == (4, 3)
    assert node.caveats(alone) == ()
    assert node.caveats(job) == (Caveat(CaveatCode.SOP_INSTANCE_UIDS_SHARED, {"count": 3}),)


CAME_LATER: dict[str, tuple[Callable[[Dataset], Dataset], str]] = {
    "pixels": (blank, "1 of its instances came again later with other pixels;"),
    "a name": (
        lambda ds: changed(ds, PatientName="Right^Name"),
        "1 of its instances came again later with other header values (PatientName);",
    ),
}


@pytest.mark.parametrize("what", CAME_LATER)
def test_what_came_after_the_dispatch_is_told_of_the_job(node: Node, small: list[Dataset], what: str) -> None:
    """The job reads what it was handed; an operator who asks sees what came since, without values."""
    change, says = CAME_LATER[what]
    node.receive(*small)
    job = node.complete(str(small[0].SeriesInstanceUID))
    manifest = Path(job.manifest)
    assert received_again(manifest, node.settings.data_dir) == ()
    node.receive(change(small[2]))
    assert received_again(manifest, node.settings.data_dir) == (f"{says} this job has the version before",)
    assert node.caveats(job) == ()
    assert received_again(manifest.with_name("gone.json"), node.settings.data_dir) == ()


def test_a_manifest_without_versions_is_read_as_before(tmp_path: Path) -> None:
    """And one without earlier versions is written byte for byte as before."""
    item = StoredInstance("/a.dcm", "1.2.3", "0" * 64)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"instances": [item.to_dict()]}, indent=1))
    assert manifest_text((item,)) == path.read_text()
    assert read_manifest(path) == (item,)
    assert read_versions(path).earlier == ()
    path.write_text(manifest_text((item,), (item,), 3))
    assert (read_manifest(path), read_versions(path).earlier, read_versions(path).shared) == ((item,), (item,), 3)


def test_a_note_of_a_series_that_awaits_its_study_keeps_its_versions(node: Node, small: list[Dataset]) -> None:
    """And a note of an earlier release, without them, is read."""
    node.receive(*small, changed(small[0], StudyDescription="corrected"))
    series = replace(node.revised(str(small[0].SeriesInstanceUID)), shared=2)
    notes = StudyNotes(node.settings.studies_dir)
    noted = NotedSeries(
        series, Path(series.instances[0].path), (Assignment("brain", "brain_mri_tumor", (), "routine"),), 4
    )
    notes.keep(noted)
    assert notes.of("1.2") == (noted,)
    (path,) = node.settings.studies_dir.rglob(f"{series.series_instance_uid}.json")
    old = json.loads(path.read_text())
    del old["series"]["earlier"], old["series"]["shared"]
    path.write_text(json.dumps(old))
    assert notes.of("1.2")[0].series == replace(series, earlier=(), shared=0)


def test_a_picture_does_not_speak_for_a_series(node: Node, small: list[Dataset]) -> None:
    """A screenshot that is the first of a series is not what routing and the choice within a study look at."""
    shot = changed(small[0], SOPInstanceUID="1.2.3", SOPClassUID=SecondaryCaptureImageStorage, Modality="OT")
    shot.InstanceNumber = 0
    del shot.ImagePositionPatient, shot.ImageOrientationPatient
    node.receive(shot, *small)
    series = node.revised(str(small[0].SeriesInstanceUID))
    assert representative_of(series.instances).header.SOPInstanceUID == small[0].SOPInstanceUID
    (found,) = find_series(node.store.folder / series.series_instance_uid)
    assert found.header.SOPInstanceUID == small[0].SOPInstanceUID
    assert node.complete(series.series_instance_uid).model == "brain_mri_tumor"
    (caveat,) = node.caveats(node.jobs[-1])
    assert (caveat.code, caveat.values["count"]) == (CaveatCode.PICTURES_LEFT_OUT, 1)


def test_the_refusal_is_the_same_from_a_folder_of_the_store(node: Node, small: list[Dataset]) -> None:
    """`candela process` over a copy of the store's folder meets the same conflict."""
    from pipeline.reading.files import read_path

    node.receive(*small, blank(small[1]))
    with pytest.raises(Refused) as caught:
        read_path(node.store.folder / str(small[0].SeriesInstanceUID))
    assert isinstance(caught.value, ConflictingInstances)
