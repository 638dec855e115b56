"""From instances to a volume: what is taken, what is refused and which instances the reason names."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from pydicom.dataset import Dataset
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from pipeline import phantom
from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadGeometry, BadPixels, MissingSlices, Refused
from pipeline.geometry.build import build_volume
from pipeline.reading.files import read_path
from pipeline.results.seg import segmentation
from tests.conformance.synthetic import context_of


@pytest.fixture
def series() -> list[Dataset]:
    return [copy.deepcopy(ds) for ds in phantom.head_phantom(slices=8, matrix=32)]


def test_planes_are_sorted_by_position_not_by_number(series: list[Dataset]) -> None:
    """Reversed InstanceNumbers and shuffled files change nothing."""
    for number, ds in enumerate(series):
        ds.InstanceNumber = 100 - number
    volume = build_volume([series[index] for index in (3, 0, 7, 1, 6, 2, 5, 4)])
    assert [ds.SOPInstanceUID for ds in volume.sources] == [ds.SOPInstanceUID for ds in series]
    assert volume.shape == (8, 32, 32)
    np.testing.assert_allclose(volume.spacing, (phantom.COVERAGE["axial"] / 8, 7.5, 7.5), rtol=1e-5)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_phantoms_lesion_is_where_it_was_put(plane: phantom.Plane) -> None:
    """Voxels that the phantom drew come back at their patient coordinates (LPS), in every plane."""
    volume = build_volume(phantom.head_phantom(plane=plane, slices=40, matrix=128))
    mask = phantom.lesion_mask(volume.sources)
    assert volume.array[mask].mean() > 1.5 * volume.array[phantom.lesion_mask(volume.sources) ^ True].mean()
    np.testing.assert_allclose(
        volume.to_patient(np.argwhere(mask)).mean(axis=0), phantom.LESION_CENTRE, atol=max(volume.spacing) / 2
    )


def test_rescale_is_applied(series: list[Dataset]) -> None:
    for ds in series:
        ds.RescaleSlope, ds.RescaleIntercept = "2.5", "-100"
    volume = build_volume(series)
    np.testing.assert_allclose(volume.array[3], series[3].pixel_array * 2.5 - 100, rtol=1e-6)


def test_a_missing_slice_is_refused_and_its_neighbours_named(series: list[Dataset]) -> None:
    gap = series.pop(4)
    with pytest.raises(MissingSlices, match="about 1 slice is missing") as caught:
        build_volume(series)
    assert str(series[3].SOPInstanceUID) in str(caught.value)
    assert str(series[4].SOPInstanceUID) in str(caught.value)
    assert str(gap.SOPInstanceUID) not in str(caught.value)


def test_every_gap_is_named_up_to_three() -> None:
    """Neighbours of each gap and how many slices it lacks; further gaps are counted."""
    series = list(phantom.head_phantom(slices=40, matrix=8))
    kept = [ds for index, ds in enumerate(series) if index not in {5, 6, 12, 20, 30}]
    with pytest.raises(MissingSlices, match=r"about 2 slices are missing.*; and 1 more gaps") as caught:
        build_volume(kept)
    for neighbour in (4, 7, 11, 13, 19, 21):
        assert str(series[neighbour].SOPInstanceUID) in str(caught.value)


@pytest.mark.parametrize(("at", "name"), [(0, "first"), (-1, "last")])
def test_an_odd_slice_far_away_is_named(series: list[Dataset], at: int, name: str) -> None:
    """A lone slice beyond an end: it is not dropped, since what is missing may be the slices between."""
    series[at].ImagePositionPatient[2] += -120 if at == 0 else 120
    with pytest.raises(MissingSlices, match=f"The {name} slice lies alone, 135.00 mm") as caught:
        build_volume(series)
    assert caught.value.where == f"instance {series[at].SOPInstanceUID}"


def test_uneven_spacing_is_refused(series: list[Dataset]) -> None:
    series[5].ImagePositionPatient[2] += 5
    with pytest.raises(BadGeometry, match="spacing varies") as caught:
        build_volume(series)
    assert caught.value.code == "BAD_GEOMETRY"


def test_spacing_that_changes_half_way_is_no_row_of_gaps(series: list[Dataset]) -> None:
    """Thin slices, then thick ones: the reason does not ask for slices that were never made."""
    for index, ds in enumerate(series):
        ds.ImagePositionPatient[2] = 5.0 * index if index < 5 else 20 + 10.0 * (index - 4)
    with pytest.raises(BadGeometry, match=r"spacing varies: 10\.00 mm") as caught:
        build_volume(series)
    assert caught.value.code == "BAD_GEOMETRY"


def test_spacing_that_drifts_is_refused(series: list[Dataset]) -> None:
    """Each step within its tolerance, and yet the middle slices far from where one spacing would put them."""
    made = list(phantom.head_phantom(slices=60, matrix=8))
    place = 0.0
    for index, ds in enumerate(made):
        ds.ImagePositionPatient[2] = place
        place += 5.0 + 0.09 * (index - 30) / 30
    with pytest.raises(BadGeometry, match="off its place"):
        build_volume(made)


def test_positions_rounded_to_a_tenth_are_regular(series: list[Dataset]) -> None:
    """As some scanners write them; the affine puts each slice within 0.25 mm of its header's place."""
    made = list(phantom.head_phantom(slices=20, matrix=16))
    tilt = np.deg2rad(9.3)
    down, normal = np.array([0, np.cos(tilt), np.sin(tilt)]), np.array([0, -np.sin(tilt), np.cos(tilt)])
    for index, ds in enumerate(made):
        ds.ImageOrientationPatient = [1, 0, 0, *(float(value) for value in down)]
        ds.ImagePositionPatient = [round(float(value), 1) for value in np.array([-110, -80, -70]) + normal * 7 * index]
    volume = build_volume(made)
    places = np.array([ds.ImagePositionPatient for ds in volume.sources], dtype=float)
    expected = volume.to_patient([(index, 0, 0) for index in range(20)])
    assert np.abs(places - expected).max() < 0.25
    assert volume.caveats == ()


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
@pytest.mark.parametrize("value", ["absent", "empty", "short", "single", "not a number"])
def test_an_image_without_a_place_is_refused(series: list[Dataset], keyword: str, value: str) -> None:
    """Whatever is wrong with one of the three attributes, the reason names it and the instance."""
    if value == "absent":
        delattr(series[1], keyword)
    elif value == "empty":
        setattr(series[1], keyword, None)
    elif value == "short":
        setattr(series[1], keyword, list(series[1][keyword].value)[:-1])
    elif value == "single":
        setattr(series[1], keyword, "1.5")
    else:
        setattr(series[1], keyword, [float("nan"), *list(series[1][keyword].value)[1:]])
    with pytest.raises(BadGeometry, match=keyword) as caught:
        build_volume(series)
    assert str(series[1].SOPInstanceUID) in str(caught.value)
    assert caught.value.todo


@pytest.mark.parametrize(
    ("keyword", "other", "value", "words"),
    [
        ("ImagePositionPatient", "SliceLocation", "12.5", "does not tell where in the patient"),
        ("PixelSpacing", "ImagerPixelSpacing", ["0.2", "0.2"], "measured at the detector"),
    ],
)
def test_what_stands_in_for_a_place_is_not_taken(
    series: list[Dataset], keyword: str, other: str, value: object, words: str
) -> None:
    for ds in series:
        delattr(ds, keyword)
        setattr(ds, other, value)
    with pytest.raises(BadGeometry, match=words):
        build_volume(series)


@pytest.mark.parametrize("spacing", [[0, 1], [1, -1], [0, 0]])
def test_pixel_spacing_that_cannot_be_is_refused(series: list[Dataset], spacing: list[float]) -> None:
    series[3].PixelSpacing = spacing
    with pytest.raises(BadGeometry, match="above zero"):
        build_volume(series)


@pytest.mark.parametrize("degrees", [-25.0, -12.5, 3.0, 18.0])
def test_a_tilted_gantry_keeps_every_slice_in_its_true_place(degrees: float) -> None:
    """Origins run off the normal on a straight line: the affine is as sheared as they are, and a caveat says so."""
    series = [copy.deepcopy(ds) for ds in phantom.head_phantom(slices=24, matrix=64)]
    for index, ds in enumerate(series):
        ds.ImagePositionPatient[1] += 5.0 * np.tan(np.deg2rad(degrees)) * (index - 12)
    volume = build_volume(list(reversed(series)))
    (caveat,) = volume.caveats
    assert caveat.code is CaveatCode.GANTRY_TILTED
    assert caveat.values["tilt"] == pytest.approx(abs(degrees), abs=0.01)
    for index in (0, 7, 23):
        np.testing.assert_allclose(volume.to_patient((index, 0, 0)), series[index].ImagePositionPatient, atol=1e-4)
    np.testing.assert_allclose(
        volume.voxel_mm3, 5.0 * 3.75**2, rtol=1e-6
    )  # a sheared box has its straight one's volume
    mask = phantom.lesion_mask(volume.sources)
    np.testing.assert_allclose(volume.to_patient(np.argwhere(mask)).mean(axis=0), phantom.LESION_CENTRE, atol=2.5)


def test_more_tilt_than_a_gantry_has_is_refused(series: list[Dataset]) -> None:
    for index, ds in enumerate(series):
        ds.ImagePositionPatient[1] += 15.0 * index
    with pytest.raises(BadGeometry, match="45 degrees off their normal"):
        build_volume(series)


def test_a_stack_that_bends_is_refused(series: list[Dataset]) -> None:
    """Drift that is not constant: no affine holds it; the slice that is farthest off is named."""
    series[5].ImagePositionPatient[1] += 2.0
    with pytest.raises(BadGeometry, match=r"one straight line: a slice lies 2\.00 mm off") as caught:
        build_volume(series)
    assert str(series[5].SOPInstanceUID) in str(caught.value)


@pytest.mark.parametrize(
    ("orientation", "words"),
    [
        ([1, 0, 0, 0.5, 0.5, 0], "scalar product 0.5000"),
        ([1, 0, 0, 0, 0, 0], "lengths 1.0000 and 0.0000"),
        ([0, 0, 0, 0, 0, 0], "lengths 0.0000 and 0.0000"),
        ([2, 0, 0, 0, 1, 0], "lengths 2.0000"),
        ([1, 0, 0, 1, 0, 0], "scalar product 1.0000"),
        ([1, 0.003, 0, 0, 1, 0], "scalar product 0.0030"),
    ],
)
def test_orientation_that_is_no_rotation_is_refused(series: list[Dataset], orientation: object, words: str) -> None:
    for ds in series:
        ds.ImageOrientationPatient = orientation
    with pytest.raises(BadGeometry, match=words):
        build_volume(series)


def test_cosines_of_three_decimals_are_made_perpendicular_with_a_caveat() -> None:
    """The affine is a rotation times spacing again, nowhere further from the stated cosines than their rounding."""
    series = [copy.deepcopy(ds) for ds in phantom.head_phantom(slices=6, matrix=16)]
    rotation = Rotation.from_euler("xyz", [22.7, -31.3, 48.1], degrees=True).as_matrix()
    stated = [round(float(value), 3) for value in (*rotation[:, 0], *rotation[:, 1])]
    for index, ds in enumerate(series):
        ds.ImageOrientationPatient = stated
        ds.ImagePositionPatient = [float(value) for value in rotation[:, 2] * 5 * index]
    volume = build_volume(series)
    directions = volume.affine[:3, :3] / volume.spacing
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(directions[:, [2, 1, 0]], rotation, atol=1.5e-3)
    assert volume.caveats[0].code is CaveatCode.ORIENTATION_NOT_PERPENDICULAR


def test_six_decimals_need_no_word(series: list[Dataset]) -> None:
    for ds in series:
        ds.ImageOrientationPatient = [0.999999, 0.000001, 0, -0.000001, 1.000001, 0]
    assert build_volume(series).caveats == ()


def test_no_frame_of_reference_is_taken_with_a_caveat(series: list[Dataset]) -> None:
    """Absent or empty; the results get one of their own."""
    for index, ds in enumerate(series):
        if index % 2:
            ds.FrameOfReferenceUID = ""
        else:
            del ds.FrameOfReferenceUID
    assert build_volume(series).caveats == (Caveat(CaveatCode.FRAME_OF_REFERENCE_ABSENT),)


@pytest.mark.parametrize(("count", "words"), [(1, "has 1 slice;"), (2, "has 2 slices;")])
def test_one_or_two_slices_are_no_volume(series: list[Dataset], count: int, words: str) -> None:
    with pytest.raises(BadGeometry, match=words):
        build_volume(series[:count])


def test_a_multi_frame_image_is_refused(series: list[Dataset]) -> None:
    series[0].NumberOfFrames = 4
    with pytest.raises(BadGeometry, match="multi-frame"):
        build_volume(series)


def test_pixel_data_shorter_than_claimed_is_refused(series: list[Dataset]) -> None:
    series[2].PixelData = series[2].PixelData[:-10]
    with pytest.raises(BadPixels, match="2038 bytes where the header claims 2048"):
        build_volume(series)


def test_a_claim_of_a_billion_pixels_is_refused_without_the_memory(series: list[Dataset]) -> None:
    for ds in series:
        ds.Rows = ds.Columns = 65535
    with pytest.raises(BadPixels, match="claims"):
        build_volume(series)


def test_colour_is_refused(series: list[Dataset]) -> None:
    series[0].PhotometricInterpretation = "PALETTE COLOR"
    with pytest.raises(BadPixels, match="PALETTE COLOR"):
        build_volume(series)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("uih_umr770_t1_sag", (160, 512, 460)),
        ("siemens_prisma_t1_sag_2d_HFS", (35, 256, 256)),
        ("ge_signa_pd_ax", (20, 256, 256)),
        ("NOTBRAIN_ge_genesis_wrist_cor", (16, 256, 256)),
        ("siemens_trio_t1_sag", "MISSING_SLICES"),
        ("siemens_trio_t2_ax", "MISSING_SLICES"),
        ("mixed_ts_trio_epi", "BAD_GEOMETRY"),
        ("siemens_mosaic_orientation", "MIXED_SERIES"),
        ("philips_enhanced_elition", "MIXED_SERIES"),
    ],
)
def test_real_series_become_volumes_or_are_refused(real_data, name: str, expected: object) -> None:
    """Real scanners' regular stacks are read; a missing slice, mosaics and whole studies are refused."""
    try:
        result: object = build_volume(read_path(real_data / "dicom" / name).datasets).shape
    except Refused as refusal:
        result = refusal.code
    assert result == expected


def test_a_segmentation_on_a_tilted_stack_lies_where_the_lesion_is() -> None:
    """SEG holds a position for each frame: its pixels, placed by its own header, are the mask's patient coordinates."""
    series = [copy.deepcopy(ds) for ds in phantom.head_phantom(slices=24, matrix=64)]
    for index, ds in enumerate(series):
        ds.ImagePositionPatient[1] += 5.0 * np.tan(np.deg2rad(12)) * (index - 12)
    volume = build_volume(series)
    mask = phantom.lesion_mask(volume.sources)
    made = segmentation.build(context_of(series, mask))[0].dataset
    shared = made.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    row_mm, column_mm = (float(mm) for mm in shared.PixelMeasuresSequence[0].PixelSpacing)
    points = [
        np.array(groups.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        + cosines[3:] * row * row_mm
        + cosines[:3] * column * column_mm
        for frame, groups in zip(made.pixel_array, made.PerFrameFunctionalGroupsSequence, strict=True)
        for row, column in np.argwhere(frame)
    ]
    expected = volume.to_patient(np.argwhere(mask))
    assert len(points) == len(expected)
    assert KDTree(expected).query(points)[0].max() < 1e-3
    assert KDTree(points).query(expected)[0].max() < 1e-3
