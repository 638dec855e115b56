"""One SOP Instance UID for several images; pictures beside the slices of a series."""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels import compress

from dicom_node.inference.study_folder import read_series
from pipeline import phantom
from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import ConflictingInstances, MixedSeries, Refused
from pipeline.geometry.build import build_volume
from pipeline.reading.files import Series, read_parts, read_path
from tests.shapes import as_file, enhanced

Change = Callable[[Dataset], None]


@pytest.fixture(scope="module")
def small() -> tuple[Dataset, ...]:
    return phantom.head_phantom(slices=5, matrix=16)


def changed(ds: Dataset, change: Change) -> Dataset:
    other = copy.deepcopy(ds)
    change(other)
    other.file_meta.MediaStorageSOPInstanceUID = other.SOPInstanceUID
    other.file_meta.MediaStorageSOPClassUID = other.SOPClassUID
    return other


def setting(**values: object) -> Change:
    def change(ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return change


def read(datasets: Sequence[Dataset], earlier: Sequence[Dataset | bytes] = ()) -> Series:
    def named(items: Sequence[Dataset | bytes]) -> list[tuple[str, bytes]]:
        return [(f"{n}.dcm", item if isinstance(item, bytes) else as_file(item)) for n, item in enumerate(items)]

    return read_parts(named(datasets), where="here", earlier=named(earlier))


def other_pixels(ds: Dataset) -> None:
    ds.PixelData = bytes(len(ds.PixelData))
    ds["PixelData"].VR = "OW"


def rescaled(ds: Dataset) -> None:
    """Stored values halved and a slope of 2: other bytes, the same values."""
    stored = np.frombuffer(ds.PixelData, "<u2")
    ds.PixelData = (stored // 2).tobytes()
    ds["PixelData"].VR = "OW"
    ds.RescaleSlope, ds.RescaleIntercept = 2, 0


EQUAL: dict[str, Change] = {
    "byte for byte": lambda _ds: None,
    "another file meta": lambda ds: setattr(ds.file_meta, "SourceApplicationEntityTitle", "ELSEWHERE"),
    "RLE": lambda ds: compress(ds, uid.RLELossless, generate_instance_uid=False),
    "implicit VR": lambda ds: setattr(ds.file_meta, "TransferSyntaxUID", uid.ImplicitVRLittleEndian),
    "empty attributes added": setting(StudyComments="", PregnancyStatus=None),
    "as C-MOVE brings it": setting(RetrieveAETitle="PACS", InstanceAvailability="ONLINE"),
}


@pytest.mark.parametrize("how", EQUAL)
def test_equal_copies_count_once(small: tuple[Dataset, ...], how: str) -> None:
    """Equal in header and pixel values, whatever way they came; nothing is to be said of it."""
    copies = [changed(ds, EQUAL[how]) for ds in small[1:3]]
    for order in ([*small, *copies], [*copies, *small]):
        series = read(order)
        assert (len(series.datasets), series.caveats) == (5, ())
    np.testing.assert_array_equal(build_volume(series.datasets).array, build_volume(small).array)


CONFLICTS: dict[str, tuple[Change, str]] = {
    "pixels": (other_pixels, "their pixels"),
    "one pixel": (lambda ds: setattr(ds, "PixelData", b"\x07" + ds.PixelData[1:]), "their pixels"),
    "rescale": (setting(RescaleSlope=3, RescaleIntercept=0), "their pixels"),
    "place": (setting(ImagePositionPatient=[0, 0, 0]), "ImagePositionPatient"),
    "echo time": (setting(EchoTime=90), "EchoTime"),
    "patient": (setting(PatientID="OTHER", PatientName="Other^One"), "PatientID, PatientName"),
    "study": (setting(StudyInstanceUID="1.2.3"), "StudyInstanceUID"),
    "class": (setting(SOPClassUID=uid.CTImageStorage), "SOPClassUID"),
    "no longer decodable": (lambda ds: setattr(ds, "PixelData", ds.PixelData[:-2]), "their pixels"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("what", CONFLICTS)
def test_copies_that_decide_otherwise_are_refused_with_the_cause(small: tuple[Dataset, ...], what: str) -> None:
    """No order of files says which one is right. The UID, the count and the attributes are named, no value is."""
    change, says = CONFLICTS[what]
    datasets = [*small, changed(small[2], change)]
    random.Random(5).shuffle(datasets)
    with pytest.raises(ConflictingInstances, match=f"differ in {says}") as caught:
        read(datasets)
    said = str(caught.value)
    assert "1 of 5 SOP Instance UIDs stands for several images" in said
    assert f"the first is {small[2].SOPInstanceUID}, whose 2 images" in said
    assert "OTHER" not in said
    assert "Other" not in said


def test_one_identifier_for_every_image_is_named_as_the_cause(small: tuple[Dataset, ...]) -> None:
    one = [changed(ds, setting(SOPInstanceUID="1.2.3")) for ds in small]
    with pytest.raises(ConflictingInstances, match=r"All 5 images have one SOP Instance UID, 1\.2\.3, and differ in "):
        read(one)


def test_another_header_that_decides_nothing_is_noted(small: tuple[Dataset, ...]) -> None:
    """The last one is read; every result says so. A rescale that gives the same values is of that kind."""
    series = read([*small, changed(small[2], setting(StudyDescription="corrected", ReferringPhysicianName="A^B"))])
    names = ("ReferringPhysicianName", "StudyDescription")
    assert series.caveats == (Caveat(CaveatCode.INSTANCES_CORRECTED, {"count": 1, "names": names}),)
    assert [ds.get("StudyDescription") for ds in series.datasets].count("corrected") == 1
    half = [changed(ds, setting(PixelData=(np.frombuffer(ds.PixelData, "<u2") // 2 * 2).tobytes())) for ds in small]
    series = read([*half, *(changed(ds, rescaled) for ds in half[:2])])
    names = ("RescaleIntercept", "RescaleSlope")
    assert series.caveats == (Caveat(CaveatCode.INSTANCES_CORRECTED, {"count": 2, "names": names}),)


def test_one_identifier_in_two_series_is_two_series(small: tuple[Dataset, ...], tmp_path: Path) -> None:
    """Neither vanishes, both are counted, and one can be picked."""
    second = [changed(ds, setting(SeriesInstanceUID="1.2.4", SeriesNumber=9)) for ds in small]
    phantom.save(small, tmp_path / "one")
    phantom.save(second, tmp_path / "two")
    with pytest.raises(MixedSeries, match=r"\(5 instances\), .*\(5 instances\)\. 5 SOP Instance UIDs are in more"):
        read_path(tmp_path)
    picked = read_series(tmp_path, "1.2.4")
    assert {str(ds.SeriesInstanceUID) for ds in picked.datasets} == {"1.2.4"}
    assert len(picked.datasets) == 5
    archive = shutil.make_archive(str(tmp_path / "both"), "zip", tmp_path)
    with pytest.raises(MixedSeries, match="2 series here"):
        read_path(Path(archive))


def test_copies_of_an_enhanced_object_are_compared_too(small: tuple[Dataset, ...]) -> None:
    whole = enhanced(small)
    assert len(read([whole, changed(whole, EQUAL["another file meta"])]).datasets) == 1

    def moved(ds: Dataset) -> None:
        ds.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 0]

    with pytest.raises(ConflictingInstances, match="PerFrameFunctionalGroupsSequence"):
        read([whole, changed(whole, moved)])


def test_what_is_received_again_corrects_what_came_before(small: tuple[Dataset, ...]) -> None:
    """The order of reception says which header is right, also who the patient is; pixels and place have none."""
    corrected = [changed(ds, setting(PatientName="Right^Name", EchoTime=16)) for ds in small]
    series = read(corrected, earlier=small)
    assert {str(ds.PatientName) for ds in series.datasets} == {"Right^Name"}
    names = ("EchoTime", "PatientName")
    assert series.caveats == (Caveat(CaveatCode.INSTANCES_CORRECTED, {"count": 5, "names": names}),)
    assert read(small, earlier=[changed(ds, EQUAL["implicit VR"]) for ds in small]).caveats == ()
    for change in (other_pixels, setting(ImagePositionPatient=[0, 0, 0])):
        with pytest.raises(ConflictingInstances, match="1 of 5"):
            read([*small[:4], changed(small[4], change)], earlier=[small[4]])
    broken = as_file(small[0])[:600]
    assert read(small, earlier=[broken]).caveats == (Caveat(CaveatCode.EARLIER_INSTANCES_UNREADABLE, {"count": 1}),)


def picture(ds: Dataset, sop_class: str, *, colour: bool = False, frames: int = 1, place: bool = False) -> Dataset:
    """A screenshot as workstations put it under the series of the images."""
    made = copy.deepcopy(ds)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = sop_class
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{frames}{int(colour)}"
    made.InstanceNumber = 0
    if not place:
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "PixelSpacing"):
            delattr(made, keyword)
    if frames > 1:
        made.NumberOfFrames = frames
    if colour:
        made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
        made.BitsAllocated = made.BitsStored = 8
        made.HighBit = 7
    made.PixelData = bytes(ds.Rows * ds.Columns * (3 if colour else 2) * frames)
    made["PixelData"].VR = "OB" if colour else "OW"
    return made


PICTURES: dict[str, Callable[[Dataset], Dataset]] = {
    "colour capture": lambda ds: picture(ds, uid.SecondaryCaptureImageStorage, colour=True),
    "grey capture": lambda ds: picture(ds, uid.SecondaryCaptureImageStorage),
    "colour image of the scanner": lambda ds: picture(ds, uid.MRImageStorage, colour=True),
    "colour image at a slice's place": lambda ds: picture(ds, uid.MRImageStorage, colour=True, place=True),
    "screen save": lambda ds: changed(
        picture(ds, uid.MRImageStorage), setting(ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"])
    ),
    "pages": lambda ds: picture(ds, uid.MultiFrameTrueColorSecondaryCaptureImageStorage, colour=True, frames=3),
    "grey pages": lambda ds: picture(ds, uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage, frames=2),
    "photograph": lambda ds: picture(ds, uid.VLPhotographicImageStorage, colour=True),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_beside_the_slices_is_left_out_and_noted(small: tuple[Dataset, ...], kind: str) -> None:
    """Even as the first of the series: neither its header nor its pixels speak for it."""
    series = read([PICTURES[kind](small[2]), *small])
    assert len(build_volume(series.datasets).array) == 5
    assert series.header.SOPInstanceUID == small[0].SOPInstanceUID
    assert series.skipped == ("0.dcm",)
    (caveat,) = series.caveats
    assert (caveat.code, caveat.values["count"]) == (CaveatCode.PICTURES_LEFT_OUT, 1)


SLICES: dict[str, tuple[Change, str]] = {
    "a slice that lost its place": (lambda ds: delattr(ds, "ImagePositionPatient"), "ImagePositionPatient"),
    "a slice in colour": (
        lambda ds: ds.update(picture(ds, uid.MRImageStorage, colour=True, place=True)),
        "RGB",
    ),
}


@pytest.mark.parametrize("kind", SLICES)
def test_a_slice_is_never_left_out(small: tuple[Dataset, ...], kind: str) -> None:
    """An image of the scanner without a place, or in colour at a place of its own, may be a slice: refused."""
    change, says = SLICES[kind]
    with pytest.raises(Refused, match=says):
        build_volume(read([*small[:4], changed(small[4], change)]).datasets)


def test_a_series_of_pictures_alone_is_refused_for_what_it_is(small: tuple[Dataset, ...]) -> None:
    series = read([PICTURES["grey capture"](small[0])])
    assert len(series.datasets) == 1
    with pytest.raises(Refused, match="no known place in the patient"):
        build_volume(series.datasets)
