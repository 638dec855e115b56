"""Several stacks in one series: told apart by rule, never mixed, and refused where no rule says which one to read."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadGeometry, DuplicateSlices, MissingSlices, MixedGeometry
from pipeline.findings.identity import derived_uid
from pipeline.geometry.build import build_volume
from pipeline.geometry.image_plane import ImagePlane
from pipeline.geometry.stacks import split_stacks
from pipeline.reading.slices import slices_of
from pipeline.report.sentences import caveat

SLICES = 8
SPACING = phantom.COVERAGE["axial"] / SLICES


@pytest.fixture(scope="module")
def made() -> tuple[Dataset, ...]:
    return phantom.head_phantom(slices=SLICES, matrix=32)


@pytest.fixture
def series(made: tuple[Dataset, ...]) -> list[Dataset]:
    return [copy.deepcopy(ds) for ds in made]


def another(series: Sequence[Dataset], number: int, **values: object) -> list[Dataset]:
    """The same slices again: other SOP Instance UIDs, other pixels (brighter by ``number``), ``values`` set."""
    result = []
    for ds in series:
        other = copy.deepcopy(ds)
        other.SOPInstanceUID = derived_uid("another", str(ds.SOPInstanceUID), f"{number}")
        other.file_meta.MediaStorageSOPInstanceUID = other.SOPInstanceUID
        other.PixelData = (np.frombuffer(ds.PixelData, "<u2") + number).astype("<u2").tobytes()
        for keyword, value in values.items():
            setattr(other, keyword, value)
        result.append(other)
    return result


def with_values(series: Sequence[Dataset], **values: object) -> list[Dataset]:
    for ds in series:
        for keyword, value in values.items():
            setattr(ds, keyword, value)
    return list(series)


def localiser(count: int, plane: phantom.Plane = "sagittal", **values: object) -> list[Dataset]:
    """Slices in another orientation, of the same series."""
    found = [copy.deepcopy(ds) for ds in phantom.head_phantom(slices=count, matrix=32, plane=plane)]
    main = phantom.head_phantom(slices=SLICES, matrix=32)[0]
    shared = {"SeriesInstanceUID": main.SeriesInstanceUID, "FrameOfReferenceUID": main.FrameOfReferenceUID}
    return with_values(found, **shared, **values)


def uids(datasets: Sequence[Dataset]) -> list[str]:
    return [str(ds.SOPInstanceUID) for ds in datasets]


def stacks_of(datasets: Sequence[Dataset]) -> list[list[str]]:
    split, _ = split_stacks([ImagePlane.of(one) for one in slices_of(datasets)])
    return [sorted(str(plane.ds.SOPInstanceUID) for plane in stack.planes) for stack in split]


def item(**values: object) -> Dataset:
    """An item of a sequence."""
    return with_values([Dataset()], **values)[0]


TOLD_APART: list[tuple[str, dict[str, object], dict[str, object], str]] = [
    ("two echoes", {"EchoTime": "15"}, {"EchoTime": "90"}, "EchoTime 90"),
    ("echo numbers", {"EchoNumbers": 1}, {"EchoNumbers": 2}, "EchoNumbers 2"),
    ("magnitude and phase", {}, {"ImageType": ["ORIGINAL", "PRIMARY", "P", "SE"]}, "ImageType P/SE"),
    ("complex component", {"ComplexImageComponent": "REAL"}, {"ComplexImageComponent": "IMAGINARY"}, "IMAGINARY"),
    ("inversion pair", {"InversionTime": "400"}, {"InversionTime": "2500"}, "InversionTime 2500"),
    ("b-values", {"DiffusionBValue": 0.0}, {"DiffusionBValue": 1000.0}, "DiffusionBValue 1000"),
    (
        "gradient directions",
        {"DiffusionGradientOrientation": [1.0, 0.0, 0.0]},
        {"DiffusionGradientOrientation": [0.0, 1.0, 0.0]},
        "0.000/1.000/0.000",
    ),
    (
        "gradient directions of frames",
        {"DiffusionGradientDirectionSequence": [item(DiffusionGradientOrientation=[1.0, 0.0, 0.0])]},
        {"DiffusionGradientDirectionSequence": [item(DiffusionGradientOrientation=[0.0, 1.0, 0.0])]},
        "0.000/1.000/0.000",
    ),
    (
        "label and control of frames",
        {"MRArterialSpinLabelingSequence": [item(ASLContext="LABEL")]},
        {"MRArterialSpinLabelingSequence": [item(ASLContext="CONTROL")]},
        "CONTROL",
    ),
    ("label and control", {"ASLContext": "LABEL"}, {"ASLContext": "CONTROL"}, "ASLContext CONTROL"),
    ("stacks of an enhanced object", {"StackID": "1"}, {"StackID": "2"}, "StackID 2"),
    ("flip angles", {"FlipAngle": "5"}, {"FlipAngle": "20"}, "FlipAngle 20"),
    ("kernels", {"ConvolutionKernel": "B30f"}, {"ConvolutionKernel": "B70f"}, "ConvolutionKernel B70F"),
    ("time points", {"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}, "Identifier 2"),
    ("time points of frames", {"TemporalPositionIndex": 1}, {"TemporalPositionIndex": 2}, "2"),
    ("acquisitions", {"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, "AcquisitionNumber 2"),
    ("heart phases", {"TriggerTime": "20"}, {"TriggerTime": "60"}, "TriggerTime 60"),
    ("filtered copy", {}, {"ImageType": ["DERIVED", "SECONDARY", "M", "SE"]}, "DERIVED/SECONDARY"),
    ("clock", {"AcquisitionTime": "101500"}, {"AcquisitionTime": "102000"}, "AcquisitionTime in turn 2"),
]


@pytest.mark.parametrize(("what", "one", "two", "words"), TOLD_APART, ids=[case[0] for case in TOLD_APART])
def test_two_stacks_at_the_same_places_are_told_apart_and_refused(
    series: list[Dataset], what: str, one: dict[str, object], two: dict[str, object], words: str
) -> None:
    """Nothing is mixed; the reason names both stacks with their number of slices and an instance of each."""
    second = another(series, 7, **two)
    first = with_values(series, **one)
    assert sorted(stacks_of([*first, *second])) == sorted([sorted(uids(first)), sorted(uids(second))])
    with pytest.raises(DuplicateSlices, match="holds 2 stacks") as caught:
        build_volume([*second, *first])
    reason = str(caught.value)
    assert words in reason
    assert reason.count(f"{SLICES} slices") == 2
    assert sum(uid in reason for uid in uids(first)) == sum(uid in reason for uid in uids(second)) == 1


def test_four_time_points_by_a_clock_of_each_slice(series: list[Dataset]) -> None:
    """Content Time differs by slice: a time point ends where a position comes again."""
    points = [another(series, number) for number in range(1, 5)]
    for index, ds in enumerate(ds for point in points for ds in point):
        ds.ContentTime = f"{101500 + index}"
    shuffled = [ds for point in zip(*points, strict=True) for ds in point]
    assert sorted(stacks_of(shuffled)) == sorted(sorted(uids(point)) for point in points)
    with pytest.raises(DuplicateSlices, match="holds 4 stacks"):
        build_volume(shuffled)


def test_a_time_point_that_was_broken_off_is_refused(series: list[Dataset]) -> None:
    """A second time point with five of eight slices is no reason to guess."""
    second = another(series, 7, AcquisitionNumber=2)[:5]
    with pytest.raises(DuplicateSlices, match=r"8 slices with AcquisitionNumber 1 .*5 slices with AcquisitionNumber 2"):
        build_volume([*series, *second])


def test_slices_numbered_by_acquisition_one_by_one_are_one_stack(series: list[Dataset]) -> None:
    """GE writes another Acquisition Number on each slice: that splits nothing while no position repeats."""
    for index, ds in enumerate(series):
        ds.AcquisitionNumber, ds.AcquisitionTime, ds.TriggerTime = index + 1, f"{101500 + index}", str(40 * index)
    volume = build_volume(series)
    assert uids(volume.sources) == uids(series)
    assert volume.caveats == ()


def test_a_parameter_that_differs_on_every_slice_is_no_stack_of_its_own(series: list[Dataset]) -> None:
    for index, ds in enumerate(series):
        ds.InversionTime = str(300 + 40 * index)
    assert build_volume(series).shape[0] == SLICES


def test_echo_times_as_each_slice_had_them_are_one_echo(series: list[Dataset]) -> None:
    """Within one per cent; two echoes further apart are two stacks."""
    for index, ds in enumerate(series):
        ds.EchoTime = str(15 + 0.02 * (index % 3))
    assert build_volume(series).shape[0] == SLICES


def prefers(**values: object) -> Callable[[Dataset], float]:
    """A reader that takes only stacks whose header has ``values``."""
    return lambda ds: 0.0 if all(ds.get(keyword) == value for keyword, value in values.items()) else -math.inf


def test_the_one_stack_that_the_reader_takes_is_read(series: list[Dataset]) -> None:
    """Dual echo, proton density and T2: the model takes one of them; a caveat names what was left out."""
    second = another(series, 7, EchoTime="90")
    volume = build_volume([*second, *series], prefer=prefers(EchoTime=90))
    assert uids(volume.sources) == uids(second)
    assert volume.caveats == (
        Caveat(
            CaveatCode.STACKS_LEFT_OUT,
            {"count": 2, "read": "8 slices with EchoTime 90", "others": ("8 slices with EchoTime 15",)},
        ),
    )


def test_the_stack_with_contrast_is_read_before_the_one_without(series: list[Dataset]) -> None:
    """T1 before and after contrast in one series: the better suited one wins, not the first; the agent is not named."""
    plain = another(series, 3)
    for ds in plain:
        del ds.ContrastBolusAgent
    volume = build_volume([*plain, *series], prefer=lambda ds: 0.0 if "ContrastBolusAgent" in ds else -1.0)
    assert uids(volume.sources) == uids(series)
    assert "no ContrastBolusAgent" in caveat(volume.caveats[0])
    assert "SIMULATED" not in caveat(volume.caveats[0])


def test_equally_suited_stacks_are_refused(series: list[Dataset]) -> None:
    second = another(series, 7, TemporalPositionIdentifier=2)
    with pytest.raises(DuplicateSlices, match="no rule tells"):
        build_volume([*with_values(series, TemporalPositionIdentifier=1), *second], prefer=lambda _: 1.0)


def test_the_preferred_stack_is_not_read_with_a_gap(series: list[Dataset]) -> None:
    """A whole second echo is no stand-in for the echo that the model takes; the reason tells what was left aside."""
    second = another(series, 7, EchoTime="90")
    with pytest.raises(MissingSlices, match="EchoTime 15"):
        build_volume([*second[:4], *second[5:], *series], prefer=prefers(EchoTime=90))


def test_half_of_the_head_is_not_preferred(series: list[Dataset]) -> None:
    """Contrast recorded in the upper half only: reading that half would leave out half of the patient."""
    for ds in series[:4]:
        del ds.ContrastBolusAgent
    with pytest.raises(MixedGeometry, match="2 stacks"):
        build_volume(series, prefer=lambda ds: 0.0 if "ContrastBolusAgent" in ds else -1.0)


@pytest.mark.parametrize("plane", ["sagittal", "coronal"])
def test_localiser_planes_inside_are_left_out_with_a_caveat(series: list[Dataset], plane: phantom.Plane) -> None:
    volume = build_volume([localiser(1, plane)[0], *series])
    assert uids(volume.sources) == uids(series)
    assert volume.caveats[0].values["others"] == (f"1 slice with {plane} orientation",)


def test_a_three_plane_localiser_that_says_so_is_left_out_whatever_its_size(series: list[Dataset]) -> None:
    scout = localiser(SLICES, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert uids(build_volume([*scout, *series]).sources) == uids(series)


def test_two_orientations_of_a_size_are_refused(series: list[Dataset]) -> None:
    """A quarter as many slices is no localiser any more."""
    with pytest.raises(MixedGeometry, match=r"axial orientation .*sagittal orientation"):
        build_volume([*series, *localiser(2)])
    with pytest.raises(MixedGeometry):
        build_volume([*series, *localiser(8)])


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("PixelSpacing", [3, 3], "PixelSpacing 3 by 3 mm"),
        ("FrameOfReferenceUID", "1.2.3", r"FrameOfReferenceUID \.\.\.1\.2\.3"),
        ("EchoTime", "90", "EchoTime 90"),
    ],
)
def test_a_slice_unlike_the_others_leaves_a_gap(series: list[Dataset], keyword: str, value: object, words: str) -> None:
    """It is not part of the volume, and its place is not filled by guessing; both are told."""
    setattr(series[4], keyword, value)
    with pytest.raises((MissingSlices, MixedGeometry), match=words):
        build_volume(series)


def test_an_end_slice_unlike_the_others_is_not_dropped(series: list[Dataset]) -> None:
    """It shows a part of the patient that no other slice shows."""
    series[-1].EchoTime = "90"
    with pytest.raises(MixedGeometry, match="1 slice with EchoTime 90"):
        build_volume(series)


def test_another_matrix_inside_is_left_out_where_its_place_is_covered(series: list[Dataset]) -> None:
    other = phantom.head_phantom(slices=SLICES, matrix=16)[3]
    other = with_values([copy.deepcopy(other)], FrameOfReferenceUID=series[0].FrameOfReferenceUID)[0]
    volume = build_volume([*series, other])
    assert uids(volume.sources) == uids(series)
    assert "1 slice with matrix 16 x 16" in caveat(volume.caveats[0])


def test_a_frame_of_reference_for_each_file_is_refused(series: list[Dataset]) -> None:
    """As a careless anonymiser leaves it: nothing says that the slices belong together."""
    for index, ds in enumerate(series):
        ds.FrameOfReferenceUID = f"1.2.3.{index}"
    with pytest.raises(MixedGeometry, match=r"8 stacks.*and 2 more"):
        build_volume(series)


def test_copies_under_another_uid_count_once(series: list[Dataset]) -> None:
    """The same slice sent again with a new SOP Instance UID: equal place, equal pixels."""
    copies = [copy.deepcopy(ds) for ds in series[2:5]]
    for index, ds in enumerate(copies):
        ds.SOPInstanceUID = f"1.2.3.{index}"
    volume = build_volume([*copies, *series])
    assert volume.shape[0] == SLICES
    assert volume.caveats == (Caveat(CaveatCode.COPIES_LEFT_OUT, {"count": 3}),)
    assert uids(build_volume([*series, *reversed(copies)]).sources) == uids(volume.sources)


def test_two_pictures_of_one_place_that_nothing_tells_apart_are_refused(series: list[Dataset]) -> None:
    second = another(series[2:3], 7)
    with pytest.raises(DuplicateSlices, match="share their position") as caught:
        build_volume([*series, *second])
    assert uids(second)[0] in str(caught.value)
    assert uids(series)[2] in str(caught.value)


def test_interleaved_halves_of_one_acquisition_are_one_stack(series: list[Dataset]) -> None:
    """Odd and even slices acquired in two passes: regular together."""
    for index, ds in enumerate(series):
        ds.AcquisitionNumber = 1 + index % 2
    assert uids(build_volume(series).sources) == uids(series)


def test_overlapping_stacks_that_are_regular_only_apart_are_refused(series: list[Dataset]) -> None:
    """A second slab 3 mm beside the first: not one uneven stack but two, and both are named."""
    second = another(series, 7, AcquisitionNumber=2)
    for ds in second:
        ds.ImagePositionPatient[2] += 3
    with pytest.raises(BadGeometry, match=r"2 stacks.*AcquisitionNumber 1 .*AcquisitionNumber 2"):
        build_volume([*series, *second])


def test_stacks_do_not_depend_on_the_order_of_files(series: list[Dataset]) -> None:
    second = another(series, 7, EchoTime="90")
    shuffle = random.Random(3)
    first = stacks_of([*series, *second])
    for _ in range(5):
        assert stacks_of(shuffle.sample([*series, *second], 2 * SLICES)) == first


def test_many_directions_are_named_in_part(series: list[Dataset]) -> None:
    """Sixty stacks do not make a message of sixty lines."""
    many = [ds for b in range(12) for ds in another(series[:3], b, DiffusionBValue=100.0 * b)]
    with pytest.raises(DuplicateSlices, match=r"12 stacks.*and 6 more") as caught:
        build_volume(many)
    assert len(str(caught.value)) < 1500
