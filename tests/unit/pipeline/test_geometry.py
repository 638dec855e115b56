"""From instances to a volume: what is taken, what is refused and which instances the reason names."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.errors import BadGeometry, BadPixels, DuplicateSlices, MissingSlices, MixedGeometry, Refused
from pipeline.geometry import build_volume
from pipeline.intake import read_path


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
    with pytest.raises(MissingSlices, match="about 1 slices are missing") as caught:
        build_volume(series)
    assert str(series[3].SOPInstanceUID) in str(caught.value)
    assert str(series[4].SOPInstanceUID) in str(caught.value)
    assert str(gap.SOPInstanceUID) not in str(caught.value)


def test_two_slices_at_one_position_are_refused(series: list[Dataset]) -> None:
    """Two echoes or time points in one series are never mixed into one volume."""
    second = copy.deepcopy(series[2])
    second.SOPInstanceUID = "1.2.3"
    with pytest.raises(DuplicateSlices, match="echoes, time points"):
        build_volume([*series, second])


def test_uneven_spacing_is_refused(series: list[Dataset]) -> None:
    series[5].ImagePositionPatient[2] += 5
    with pytest.raises(BadGeometry, match="spacing varies"):
        build_volume(series)


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, -1], "localiser"),
        ("PixelSpacing", [3, 3], "PixelSpacing"),
        ("FrameOfReferenceUID", "1.2.3", "FrameOfReferenceUID"),
    ],
)
def test_a_slice_unlike_the_others_is_refused(series: list[Dataset], keyword: str, value: object, message: str) -> None:
    setattr(series[6], keyword, value)
    with pytest.raises(MixedGeometry, match=message) as caught:
        build_volume(series)
    assert str(series[6].SOPInstanceUID) in str(caught.value)


def test_another_matrix_is_refused(series: list[Dataset]) -> None:
    other = phantom.head_phantom(slices=8, matrix=16)[0]
    with pytest.raises(MixedGeometry, match="matrix 16×16, others 32×32"):
        build_volume([*series, other])


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_an_image_without_a_place_is_refused(series: list[Dataset], keyword: str) -> None:
    delattr(series[1], keyword)
    with pytest.raises(BadGeometry, match=keyword):
        build_volume(series)


def test_a_sheared_stack_is_refused(series: list[Dataset]) -> None:
    """Gantry tilt: origins drift off the normal; a mask drawn on a straightened grid would be beside the lesion."""
    for index, ds in enumerate(series):
        ds.ImagePositionPatient[1] += 2.0 * index
    with pytest.raises(BadGeometry, match="sheared"):
        build_volume(series)


def test_orientation_that_is_no_rotation_is_refused(series: list[Dataset]) -> None:
    for ds in series:
        ds.ImageOrientationPatient = [1, 0, 0, 0.5, 0.5, 0]
    with pytest.raises(BadGeometry, match="perpendicular"):
        build_volume(series)


def test_two_slices_are_no_volume(series: list[Dataset]) -> None:
    with pytest.raises(BadGeometry, match="2 slices"):
        build_volume(series[:2])


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
