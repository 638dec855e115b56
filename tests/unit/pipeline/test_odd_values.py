"""Headers with odd values: read by content, left out with a note, or refused by the step that needs them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from pipeline import phantom
from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import Refused
from pipeline.findings.model import Outcome
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import Volume
from pipeline.reading.files import Series, read_parts
from pipeline.report.sentences import caveat
from pipeline.results.provenance import ResultContext, body_part
from pipeline.routing.protocol import ProtocolContract, check_protocol
from pipeline.routing.series_attributes import describe
from tests.shapes import as_file, enhanced

BRAIN = ProtocolContract("MR", ("BRAIN", "HEAD"), ("T1",), contrast_expected=True)


def left_out(*names: str) -> Caveat:
    return Caveat(CaveatCode.UNREADABLE_VALUES_LEFT_OUT, {"names": names})


@pytest.fixture(scope="module")
def small() -> tuple[Dataset, ...]:
    return phantom.head_phantom(slices=5, matrix=16)


def with_bytes(ds: Dataset, keyword: str, value: bytes, vr: str | None = None) -> Dataset:
    """A copy of ``ds`` in which ``keyword`` holds just these bytes."""
    ds, tag = copy.deepcopy(ds), Tag(keyword)
    value += b" " * (len(value) % 2)
    ds._dict[tag] = RawDataElement(tag, vr or dictionary_VR(tag), len(value), value, 0, False, True, True)
    return ds


def read(datasets: Sequence[Dataset]) -> Series:
    return read_parts([(f"{n}.dcm", as_file(ds)) for n, ds in enumerate(datasets)], where="here")


def whole_way(datasets: Sequence[Dataset]) -> tuple[Series, Volume]:
    series = read(datasets)
    check_protocol(series.header, BRAIN)
    return series, build_volume(series.datasets)


NOT_NEEDED = [
    ("WindowCenter", b"600,5"),
    ("WindowWidth", b"wide"),
    ("InstanceNumber", b"first"),
    ("SeriesNumber", b"three"),
    ("AcquisitionNumber", b"1.5.2"),
    ("SliceThickness", b"6 mm"),
    ("SpacingBetweenSlices", b"inf"),
    ("SliceLocation", b"#"),
    ("FlipAngle", b"ninety"),
    ("EchoTrainLength", b"1\\2"),
    ("MagneticFieldStrength", b"1,5"),
    ("PatientWeight", b"heavy"),
    ("PatientAge", b"047Y\\"),
    ("NumberOfAverages", b"--"),
    ("ImagedNucleus", b"1H\\1H"),
    ("FrameOfReferenceUID", b"1.2.x"),
    ("NumberOfPhaseEncodingSteps", b"many"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("keyword", "value"), NOT_NEEDED)
def test_a_value_that_no_step_needs_refuses_nothing(small: tuple[Dataset, ...], keyword: str, value: bytes) -> None:
    """It is left out of the header, and a note says so; a value that can be read stays."""
    series, volume = whole_way([with_bytes(ds, keyword, value) for ds in small])
    assert len(volume.array) == len(small)
    kept = all(keyword in ds for ds in volume.sources)
    assert kept == (keyword in {"PatientAge", "ImagedNucleus"})
    named = ("WindowCenter", "WindowWidth") if keyword.startswith("Window") else (keyword,)
    assert series.caveats == (() if kept else (left_out(*named),))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_series_with_every_value_odd_is_read_with_one_note(small: tuple[Dataset, ...]) -> None:
    """The note names the first and says that there are more."""
    odd = list(small)
    for keyword, value in NOT_NEEDED:
        odd[2] = with_bytes(odd[2], keyword, value) if keyword not in {"FlipAngle", "FrameOfReferenceUID"} else odd[2]
    series, _ = whole_way(odd)
    (item,) = series.caveats
    assert item.code is CaveatCode.UNREADABLE_VALUES_LEFT_OUT
    assert len(item.values["names"]) > 8  # type: ignore[arg-type]
    assert caveat(item).endswith(", ....")


READ_BY_CONTENT = [
    ("PixelSpacing", b"1.8000\\1.8000", "UT", [1.8, 1.8]),
    ("PixelSpacing", b" 1.8 \\1.8\0", "LO", [1.8, 1.8]),
    ("ImagePositionPatient", b"-10\\-11.5\\1e1", "ST", [-10.0, -11.5, 10.0]),
    ("EchoTime", b"15", "LO", 15.0),
    ("RepetitionTime", b"500\\500", "DS", 500.0),
    ("Rows", b"16", "IS", 16),
    ("RescaleSlope", b"2", "SH", 2.0),
]


@pytest.mark.parametrize(("keyword", "value", "vr", "meant"), READ_BY_CONTENT)
def test_a_number_is_read_whatever_its_vr(
    small: tuple[Dataset, ...], keyword: str, value: bytes, vr: str, meant: object
) -> None:
    """A number under another VR, or several times the same one, is that number. It is no repair, so no note."""
    series = read([with_bytes(small[0], keyword, value, vr)])
    assert series.caveats == ()
    assert series.header[keyword].value == meant


NEEDED = [
    ("PixelSpacing", b"1,8\\1,8", None, "BAD_GEOMETRY", "PixelSpacing"),
    ("PixelSpacing", b"square", "UT", "BAD_GEOMETRY", "PixelSpacing"),
    ("ImagePositionPatient", b"left\\up\\in", None, "BAD_GEOMETRY", "ImagePositionPatient"),
    ("ImageOrientationPatient", b"1\\0\\0", None, "BAD_GEOMETRY", "ImageOrientationPatient"),
    ("RescaleSlope", b"steep", None, "BAD_PIXELS", "RescaleSlope is not one number"),
    ("RescaleIntercept", b"1\\2", None, "BAD_PIXELS", "RescaleIntercept is not one number"),
    ("BitsStored", b"12345", None, "BAD_PIXELS", "BitsStored is not a number"),
    ("Rows", b"abc", None, "BAD_PIXELS", "Rows is not a number"),
    ("PixelPaddingValue", b"none", "LO", "BAD_PIXELS", "PixelPaddingValue is not one number"),
    ("NumberOfFrames", b"one", None, "INVALID_HEADER", "NumberOfFrames is not a whole number"),
    ("SOPInstanceUID", b"1.2.x", None, "INVALID_HEADER", "SOPInstanceUID is not a UID"),
    ("SOPClassUID", b"1.2\\1.3", None, "INVALID_HEADER", "SOPClassUID is not a UID"),
    ("SeriesInstanceUID", b"", None, "INVALID_HEADER", "has no SeriesInstanceUID"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("keyword", "value", "vr", "code", "says"), NEEDED)
def test_the_step_that_needs_a_value_refuses_it(
    small: tuple[Dataset, ...], keyword: str, value: bytes, vr: str | None, code: str, says: str
) -> None:
    """With its own code, naming the attribute; an odd value never counts as an absent one."""
    with pytest.raises(Refused, match=says) as caught:
        whole_way([*small[:2], with_bytes(small[2], keyword, value, vr), *small[3:]])
    assert caught.value.code == code


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_odd_pixel_value_of_another_modality_is_not_what_refuses_it(small: tuple[Dataset, ...]) -> None:
    """The modality is asked first: an ultrasound with odd bits is an ultrasound."""
    other = [with_bytes(with_bytes(ds, "BitsStored", b"12345"), "Modality", b"US") for ds in small]
    with pytest.raises(Refused, match="modality is US"):
        whole_way(other)


def frame_value(keyword: str, value: bytes) -> Dataset:
    return with_bytes(Dataset(), keyword, value)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_odd_value_of_a_frame_is_left_out_and_noted(small: tuple[Dataset, ...]) -> None:
    """In functional groups too; a rescale slope there is never taken for 1."""

    def odd(_index: int, item: Dataset) -> None:
        content = item.FrameContentSequence[0]
        content._dict.update(frame_value("SliceLocation", b"seven").items())

    series = read([enhanced(small, each=odd)])
    assert build_volume(series.datasets).caveats[:1] == (left_out("SliceLocation"),)

    def steep(_index: int, item: Dataset) -> None:
        item.PixelValueTransformationSequence = [frame_value("RescaleSlope", b"steep")]

    with pytest.raises(Refused, match="RescaleSlope is not one number"):
        build_volume(read([enhanced(small, each=steep)]).datasets)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_codes_are_compared_in_capitals(small: tuple[Dataset, ...]) -> None:
    """Modality, body part, image type and sequence in small letters, with a NUL, are what they say."""
    odd = []
    for ds in small:
        for keyword, value in {
            "Modality": b"mr",
            "BodyPartExamined": b"brain\0",
            "ScanningSequence": b"se",
            "ImageType": b"original\\primary\\\\",
            "PhotometricInterpretation": b"monochrome2",
        }.items():
            ds = with_bytes(ds, keyword, value)  # noqa: PLW2901
        odd.append(ds)
    series, volume = whole_way(odd)
    assert volume.array.max() > 0
    assert series.caveats == ()
    findings = SimpleNamespace(outcome=Outcome.FINDING, model=SimpleNamespace(body_part=""))
    context = cast("ResultContext", SimpleNamespace(volume=volume, findings=findings))
    assert body_part(context) == "BRAIN"  # a result writes codes as the standard has them
    attributes = describe(series.header)
    assert (attributes.modality, attributes.body_part, attributes.weighting) == ("MR", "BRAIN", "T1")


def test_a_backslash_in_a_description_is_text(small: tuple[Dataset, ...]) -> None:
    series, _ = whole_way([with_bytes(ds, "SeriesDescription", b"T1 SE\\AX") for ds in small])
    assert series.caveats == ()
    assert describe(series.header).descriptions[0] == "T1 SE\\AX"


@pytest.mark.parametrize(
    "sop_class",
    ["1.3.46.670589.11.0.0.12.1", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.9999"],
)
def test_a_private_retired_or_unknown_class_is_refused_by_its_name(small: tuple[Dataset, ...], sop_class: str) -> None:
    """An image of a class that Candela does not know is no slice of it, whatever its header says."""
    odd = [copy.deepcopy(ds) for ds in small]
    for ds in odd:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    with pytest.raises(Refused, match=r"Ultrasound" if sop_class.endswith(".6") else sop_class) as caught:
        whole_way(odd)
    assert caught.value.code == "NOT_VOLUME"
    for ds in odd:
        del ds.Rows, ds.Columns, ds.PixelData
    with pytest.raises(Refused) as caught:
        read(odd)
    assert caught.value.code in {"NOT_IMAGE", "INVALID_HEADER"}
