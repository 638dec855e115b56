"""Measuring regions: volume and diameters in the patient's millimetres."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.findings.identity import RunIdentity
from pipeline.findings.measure import measure_lesions
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import Volume
from tests.unit.watched import watched_labels

RUN = RunIdentity("1.2.3", "instances", "model")


def volume_of(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    return Volume(np.ones(shape, np.float32), np.diag([*spacing, 1.0]), ())


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_phantoms_ball_measures_as_a_ball(plane: phantom.Plane) -> None:
    """A ball of 14 mm radius: volume 11,494 mm³ and both axes 28 mm, to the accuracy of the voxels."""
    volume = build_volume(phantom.head_phantom(plane=plane))
    (lesion,) = measure_lesions(phantom.lesion_mask(volume.sources), volume, "glioma", RUN)
    assert lesion.value("volume") == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.03)
    assert lesion.long_axis.length_mm == pytest.approx(28, abs=1)
    assert lesion.short_axis.length_mm == pytest.approx(28, abs=1)
    assert lesion.key_slice in lesion.slices


def test_axes_are_measured_in_millimetres_of_either_direction() -> None:
    """A bar 4 rows high and 20 columns wide, with pixels of 2 × 0.5 mm: 10 mm by 8 mm, ends on the outline."""
    mask = np.zeros((3, 40, 40), bool)
    mask[1, 10:14, 10:30] = True
    (lesion,) = measure_lesions(mask, volume_of((3, 40, 40), (5, 2, 0.5)), "x", RUN)
    assert lesion.value("volume") == pytest.approx(80 * 5)
    assert lesion.long_axis.length_mm == pytest.approx(np.hypot(10, 8), rel=0.1)
    assert 6 < lesion.short_axis.length_mm < 11
    long_mm = (np.subtract(lesion.long_axis.end, lesion.long_axis.start)) * (2, 0.5)
    short_mm = (np.subtract(lesion.short_axis.end, lesion.short_axis.start)) * (2, 0.5)
    assert long_mm @ short_mm == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(long_mm) == pytest.approx(lesion.long_axis.length_mm)


def test_a_single_voxel_measures_one_pixel() -> None:
    mask = np.zeros((3, 8, 8), bool)
    mask[0, 0, 0] = True
    (lesion,) = measure_lesions(mask, volume_of((3, 8, 8), (3, 1, 1)), "x", RUN)
    assert lesion.value("volume") == pytest.approx(3)
    assert lesion.long_axis.length_mm == pytest.approx(1)
    assert lesion.short_axis.length_mm == pytest.approx(1)


def test_regions_are_named_largest_first_with_stable_tracking_uids() -> None:
    """Forty regions keep their names and UIDs however often they are measured; touching corners join."""
    mask = np.zeros((5, 64, 64), bool)
    for index in range(40):
        row, column = divmod(index, 8)
        mask[2, row * 8 : row * 8 + 1 + index % 3, column * 8] = True
    mask[0, 60:62, 60:64] = mask[1, 62:64, 60:64] = True  # corner to corner across planes
    volume = volume_of(mask.shape, (1, 1, 1))
    lesions = measure_lesions(mask, volume, "x", RUN)
    assert len(lesions) == 41
    assert [item.value("volume") for item in lesions] == sorted(
        (item.value("volume") for item in lesions), reverse=True
    )
    assert lesions[0].slices == (0, 1)
    assert len({item.tracking_uid for item in lesions}) == 41
    again = measure_lesions(mask, volume, "x", RUN)
    assert [item.tracking_uid for item in again] == [item.tracking_uid for item in lesions]


def test_an_empty_mask_has_no_regions() -> None:
    assert measure_lesions(np.zeros((3, 4, 4), bool), volume_of((3, 4, 4), (1, 1, 1)), "x", RUN) == ()


def test_many_regions_cost_no_scan_of_the_volume_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """400 regions are measured right by reading their own boxes: all together fewer voxels than the volume has."""
    mask = np.zeros((6, 80, 80), bool)
    mask[1:3, 1::4, 1::4] = mask[1, 2::4, 1::4] = True
    shape = (6, 80, 80)
    header = Dataset()
    header.Modality = "MR"
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    volume = Volume(values, np.diag([2, 1, 1, 1.0]), (header,) * len(values))
    seen = watched_labels(monkeypatch, "pipeline.findings.measure")
    lesions = measure_lesions(mask, volume, "x", RUN)
    assert len(lesions) == 400
    assert seen.elements < mask.size
    assert {lesion.value("volume") for lesion in lesions} == {6.0}
    assert np.array_equal(np.sum([lesion.mask for lesion in lesions], axis=0), mask)
    for lesion in lesions[::57]:
        assert lesion.value("mean_intensity") == pytest.approx(volume.array[lesion.mask].mean())
        assert lesion.key_slice == 1
        assert lesion.long_axis.slice_index == 1
        row, column = np.argwhere(lesion.mask[1]).mean(axis=0)
        assert np.mean([lesion.long_axis.start, lesion.long_axis.end], axis=0) == pytest.approx((row, column), abs=0.3)
