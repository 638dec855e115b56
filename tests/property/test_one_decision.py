"""`candela process`, `candela config explain` and the node decide alike about every shape of series."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_node.completion.dispatch import Dispatch
from dicom_node.completion.rules import CompleteSeries
from dicom_node.inference.study_folder import Pick, find_series, pick_series
from dicom_node.jobs.job import SeriesJob
from dicom_node.settings.tree import Settings
from dicom_node.store.header import read_header
from dicom_node.store.instance_store import AETitles, InstanceStore
from dicom_node.store.manifest import StoredInstance
from dicom_node.store.series_header import representative_of
from dicom_node.store.series_index import Arrival, SeriesIndex
from pipeline.errors import NotRouted, Refused
from pipeline.findings.identity import derived_uid
from pipeline.phantom import Header, head_phantom
from pipeline.routing.rules import Rule, When, judge
from tests import shapes

MODEL = "brain_mri_tumor"
RULES = (
    Rule(
        name="many",
        model=MODEL,
        when=When(body_part=["BRAIN"], weighting="T1", number_of_slices={"min": 5}),
    ),
    Rule(name="a few", model=MODEL, when=When(modality="MR", body_part="BRAIN", scanning_sequence="SE")),
)
SLICES = 6
PRIVATE = UID("1.2.826.0.1.3680043.9.1")


def base(key: str = "one decision") -> list[Dataset]:
    return list(head_phantom(slices=SLICES, matrix=16, header=Header(key=key)))


def without_image(source: Dataset, sop_class: UID = uid.RawDataStorage, **values: object) -> Dataset:
    """An object without an image in the series of ``source``; as Philips writes them, with little in its header."""
    made = Dataset()
    made.file_meta = copy.deepcopy(source.file_meta)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "PatientID", "PatientName", "Modality"):
        setattr(made, keyword, getattr(source, keyword))
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = sop_class
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = derived_uid(
        "raw", source.SOPInstanceUID, sop_class
    )
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def without(keyword: str, datasets: Sequence[Dataset], *indices: int) -> list[Dataset]:
    for index in indices or range(len(datasets)):
        delattr(datasets[index], keyword)
    return list(datasets)


def another_class(datasets: list[Dataset], sop_class: str) -> list[Dataset]:
    for ds in datasets:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    return datasets


def screenshot(source: Dataset, sop_class: UID = uid.SecondaryCaptureImageStorage) -> Dataset:
    """A colour picture without a place in the patient, in the series of ``source``."""
    made = shapes.with_pixels(source, np.zeros((8, 8), np.uint8), InstanceNumber=0, SamplesPerPixel=3)
    made.PhotometricInterpretation, made.PlanarConfiguration = "RGB", 0
    made.PixelData = bytes(8 * 8 * 3)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = sop_class
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = derived_uid("picture", source.SOPInstanceUID)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "BodyPartExamined", "ScanningSequence"):
        delattr(made, keyword)
    return made


def two_enhanced(datasets: list[Dataset]) -> list[Dataset]:
    first, second = shapes.enhanced(datasets[:3]), shapes.enhanced(datasets[3:])
    first.InstanceNumber, second.InstanceNumber = 2, 1
    return [first, second]


def mirrored(datasets: list[Dataset]) -> list[Dataset]:
    for ds in datasets:
        ds.PhotometricInterpretation = "MONOCHROME1"
    return datasets


SHAPES: dict[str, Callable[[list[Dataset]], list[Dataset]]] = {
    "classic": list,
    "one slice": lambda series: series[:1],
    "enhanced": lambda series: [shapes.enhanced(series)],
    "enhanced with little": lambda series: [shapes.enhanced(series[:3])],
    "two enhanced": two_enhanced,
    "enhanced CT": lambda series: [shapes.enhanced(series, sop_class=uid.EnhancedCTImageStorage)],
    "legacy converted": lambda series: [shapes.enhanced(series, sop_class=uid.LegacyConvertedEnhancedMRImageStorage)],
    "enhanced and raw data": lambda series: [shapes.enhanced(series), without_image(series[0])],
    "mosaic": lambda series: [shapes.mosaic(series)],
    "mosaic by CSA header": lambda series: [shapes.mosaic(series, tell="csa")],
    "other pixels": lambda series: [shapes.with_pixels(ds, np.zeros((8, 8), np.int16)) for ds in series],
    "mirrored": mirrored,
    "raw data without a number": lambda series: [*series, without_image(series[0])],
    "raw data with the lowest number": lambda series: [without_image(series[0], InstanceNumber=0), *series],
    "several without an image": lambda series: [
        without_image(series[0]),
        without_image(series[0], uid.GrayscaleSoftcopyPresentationStateStorage, Modality="PR"),
        without_image(series[0], uid.EnhancedSRStorage, Modality="SR", InstanceNumber=1),
        *series,
    ],
    "a private class without an image": lambda series: [
        without_image(series[0], PRIVATE),
        *series,
    ],
    "nothing but raw data": lambda series: [without_image(series[0], BodyPartExamined="BRAIN", ScanningSequence="SE")],
    "no numbers": lambda series: without("InstanceNumber", series),
    "some numbers": lambda series: without("InstanceNumber", series, 0, 3),
    "private class": lambda series: another_class(series, PRIVATE),
    "a screenshot with the lowest number": lambda series: [screenshot(series[0]), *series],
    "a colour picture of the scanner's own class": lambda series: [screenshot(series[0], uid.MRImageStorage), *series],
    "secondary captures": lambda series: another_class(series, uid.SecondaryCaptureImageStorage),
}


class Node:
    """A store with its index, and the jobs that come of a series."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(data_dir=folder, rules=RULES)
        self.store, self.index = InstanceStore(folder / "store"), SeriesIndex(folder / "index.sqlite")

    def decide(self, datasets: Sequence[Dataset], *, indexed: bool) -> str:
        for ds in datasets:
            encoded = shapes.as_file(ds)
            encoded = encoded[144 + int.from_bytes(encoded[140:144], "little") :]
            stored = self.store.put(
                encoded, read_header(encoded, ExplicitVRLittleEndian), ExplicitVRLittleEndian, AETitles("A", "B")
            )
            self.index.add([Arrival(stored, own=False)])
        series, study = str(datasets[0].SeriesInstanceUID), str(datasets[0].StudyInstanceUID)
        instances = self.index.instances(series, self.store.folder)
        if not indexed:  # as of an index that an earlier release made
            instances = tuple(StoredInstance(**item.to_dict()) for item in instances)
        jobs: list[SeriesJob] = []
        done = CompleteSeries(series, study, 1, instances, "A", "quiet", datetime(2026, 1, 5, tzinfo=UTC))
        Dispatch(self.settings, lambda job: not jobs.append(job))(done)
        (job,) = jobs
        return job.rule or str(job.refusal_code)

    def close(self) -> None:
        self.index.close()
        self.store.close()


def processed(folder: Path) -> str:
    """The rule under which `candela process` reads the series: by the name of its own, or the refusal's code."""
    for rule in RULES:
        try:
            pick_series(folder, Settings(rules=(rule,)), None, Pick())
        except NotRouted:
            continue
        except Refused as refusal:
            return refusal.code
        return rule.name
    return NotRouted.code


def explained(folder: Path) -> str:
    (found,) = find_series(folder)
    taken = judge(RULES, found.candidate().attributes).taken
    return taken[0].name if taken else NotRouted.code


def decisions(datasets: list[Dataset], folder: Path) -> dict[str, str]:
    files = folder / "files"
    files.mkdir(parents=True)
    for index, ds in enumerate(datasets):
        (files / f"{index}.dcm").write_bytes(shapes.as_file(ds))
    node = Node(folder / "node")
    try:
        made = {"node": node.decide(datasets, indexed=True), "node, old index": node.decide(datasets, indexed=False)}
    finally:
        node.close()
    return {**made, "explain": explained(files), "process": processed(files)}


EXPECTED = {"one slice": "a few", "enhanced with little": "a few"}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_has_one_decision(name: str, tmp_path: Path) -> None:
    """Whole files, headers without pixels, and the store's index lead to one rule."""
    found = decisions(SHAPES[name](base(name)), tmp_path)
    if name == "nothing but raw data":  # no rule is asked where there is no image to read
        assert found.pop("process") == "NOT_IMAGE"
        assert len(set(found.values())) == 1, found
        return
    assert len(set(found.values())) == 1, found
    if name in EXPECTED or "enhanced" in name or "image" in name or "data" in name or name.startswith("a "):
        assert set(found.values()) == {EXPECTED.get(name, "many")}


@pytest.mark.timeout(120)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.one_of(st.none(), st.integers(-3, 9)), min_size=SLICES, max_size=SLICES),
    echoes=st.lists(st.sampled_from(["15", "90", ""]), min_size=SLICES, max_size=SLICES),
    parts=st.lists(st.sampled_from(["BRAIN", "HEAD", "CHEST"]), min_size=SLICES, max_size=SLICES),
    raw=st.sampled_from([None, -5, 1]),
    order=st.permutations(range(SLICES)),
)
def test_whatever_the_instances_say_there_is_one_decision(
    numbers: list[int | None], echoes: list[str], parts: list[str], raw: int | None, order: list[int], tmp_path_factory
) -> None:
    """Instances of one series that differ in everything that rules ask."""
    series = base("differing")
    for ds, number, echo, part in zip(series, numbers, echoes, parts, strict=True):
        ds.InstanceNumber, ds.EchoTime, ds.BodyPartExamined = number, echo, part
    mixed = [series[index] for index in order]
    found = decisions([*mixed, without_image(series[0], InstanceNumber=raw)], tmp_path_factory.mktemp("series"))
    assert len(set(found.values())) == 1, found


def test_slices_of_a_kept_index_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the file of the instance that speaks is."""
    import dicom_node.store.series_header as module

    opened: list[Path] = []
    read = module.read_header
    monkeypatch.setattr(module, "read_header", lambda path: opened.append(path) or read(path))
    node = Node(tmp_path)
    try:
        series = base("unopened")
        node.decide([without_image(series[0]), *series], indexed=True)
        assert len(opened) == 1
        found = representative_of(node.index.instances(series[0].SeriesInstanceUID, node.store.folder))
    finally:
        node.close()
    assert (found.header.SOPInstanceUID, found.images) == (series[0].SOPInstanceUID, SLICES)
