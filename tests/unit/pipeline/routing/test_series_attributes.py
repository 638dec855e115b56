"""What rules can see of a header: the plane, the contrast agent, derived images and localisers; never an exception."""

from __future__ import annotations

import copy

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from pipeline.reading.attributes import number, numbers, text, texts
from pipeline.routing.series_attributes import contrast, describe, orientation


def header(**values: object) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    ("cosines", "plane"),
    [
        ([1, 0, 0, 0, 1, 0], "axial"),
        ([-1, 0, 0, 0, 1, 0], "axial"),  # upside down
        ([1, 0, 0, 0, 0, -1], "coronal"),
        ([0, 1, 0, 0, 0, -1], "sagittal"),
        ([1, 0, 0, 0, 0.906308, 0.422618], "axial"),  # tilted by 25 degrees
        ([1, 0, 0, 0, 0.819152, 0.573576], "oblique"),  # by 35
        ([0.707107, 0.707107, 0, 0, 0, -1], "oblique"),
        ([0, 0, 0, 0, 0, 0], None),
        ([1, 0, 0, 1, 0, 0], None),  # two rows along each other span no plane
        ([1, 0, 0], None),
        ([], None),
    ],
)
def test_the_plane_is_that_of_the_nearest_axis(cosines: list[float], plane: str | None) -> None:
    assert orientation(header(ImageOrientationPatient=cosines)) == plane


@pytest.mark.parametrize(
    ("agent", "description", "found"),
    [
        ("Gadovist", "T1 pre", "stated"),  # the tag outweighs the words
        ("", "T1 AX POST", "described"),
        ("", "t1_se_tra+C", "described"),
        ("", "AX T1 C+", "described"),
        ("", "T1ce", "described"),
        ("", "t1_mprage_KM_sag", "described"),
        ("", "T1 +Gd", "described"),
        ("", "T1 gadolinium", "described"),
        ("NONE", "T1 AX", None),
        ("no", "T1 AX POST", "described"),
        ("", "T1 pre contrast", None),
        ("", "T1 without contrast", None),
        ("", "T1 AX", None),
        ("", "T1 post-op", None),
        ("", "posterior fossa T1", None),
        ("", "ACE inhibitor study", None),
    ],
)
def test_contrast_is_stated_or_described(agent: str, description: str, found: str | None) -> None:
    assert contrast(header(ContrastBolusAgent=agent, SeriesDescription=description)) == found


def test_a_coded_agent_counts_and_the_protocol_name_does_not() -> None:
    agent = header(CodeMeaning="Gadobutrol")
    assert contrast(header(ContrastBolusAgentSequence=Sequence([agent]))) == "stated"
    assert contrast(header(SeriesDescription="T1 AX", ProtocolName="BRAIN W CONTRAST")) is None


@pytest.mark.parametrize(
    ("image_type", "description", "derived", "localizer"),
    [
        (["ORIGINAL", "PRIMARY", "M"], "T1 AX", False, False),
        (["DERIVED", "SECONDARY", "MPR"], "T1 COR", True, False),
        (["ORIGINAL", "PRIMARY", "LOCALIZER"], "", False, True),
        (["ORIGINAL", "PRIMARY", "M"], "3-plane loc", False, True),
        (["ORIGINAL", "PRIMARY", "M"], "AAHead_Scout_MPR", False, True),
        (["ORIGINAL", "PRIMARY", "M"], "Survey", False, True),
        (["ORIGINAL", "PRIMARY", "M"], "T1 block", False, False),
        ("", "", False, False),
    ],
)
def test_derived_images_and_localisers_are_told(image_type, description, derived, localizer) -> None:
    attributes = describe(header(ImageType=image_type, SeriesDescription=description))
    assert (attributes.derived, attributes.localizer) == (derived, localizer)


def test_a_number_must_be_one_number() -> None:
    assert number(header(EchoTime=["15", "15"]), "EchoTime") == 15
    assert number(header(EchoTime=["15", "90"]), "EchoTime") is None
    assert number(header(EchoTime=""), "EchoTime") is None
    assert number(header(DiffusionBValue=float("nan")), "DiffusionBValue") is None
    assert number(header(), "EchoTime") is None
    assert numbers(header(ImageOrientationPatient=[1, 2]), "ImageOrientationPatient", 6) is None


def test_what_cannot_be_parsed_counts_as_absent() -> None:
    """A value that pydicom raises on when it is looked at, as a file from a broken sender holds it."""
    ds = Dataset()
    for keyword, vr, value in (("EchoTime", "DS", b"15 ms "), ("DiffusionBValue", "FD", b"abc")):
        ds._dict[Tag(keyword)] = RawDataElement(Tag(keyword), vr, len(value), value, 0, False, True)
    with pytest.raises(BytesLengthException):
        _ = copy.deepcopy(ds).DiffusionBValue
    assert number(ds, "EchoTime") is None
    assert number(ds, "DiffusionBValue") is None
    assert texts(ds, "DiffusionBValue") == ()


def test_several_values_are_told_as_several() -> None:
    assert text(header(Modality=["MR", "CT"]), "Modality") == "MR\\CT"
    assert describe(header(Modality=["MR", "CT"])).modality == "MR\\CT"


def test_frames_count_as_slices(axial) -> None:
    assert describe(axial[0], instances=24).number_of_slices == 24
    assert describe(header(NumberOfFrames="60"), instances=2).number_of_slices == 120
    assert describe(header(NumberOfFrames="-3"), instances=2).number_of_slices == 2


def test_the_phantom_is_what_it_says(axial) -> None:
    attributes = describe(axial[0], calling_ae="MODALITY ")
    assert (attributes.modality, attributes.body_part, attributes.orientation, attributes.weighting) == (
        "MR",
        "BRAIN",
        "axial",
        "T1",
    )
    assert (attributes.acquisition, attributes.contrast, attributes.calling_ae) == ("2D", "stated", "MODALITY")
    assert (attributes.echo_time, attributes.repetition_time, attributes.flip_angle) == (15, 500, 90)
