"""A landmark goes through a bundle's transforms and back, and lands where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.peers.workflow_bundle import HALF, INVERT
from tests.unit.models.workflow.placed import ORIENTATIONS, landmark, resident, segmented

HALF_A_VOXEL = 0.5 + 1e-6


def away(found: np.ndarray, expected: np.ndarray) -> float:
    """How far apart the centres of two masks lie, in voxels, along the axis where it is most."""
    return float(np.abs(np.argwhere(found).mean(axis=0) - np.argwhere(expected).mean(axis=0)).max())


def step(target: str, **how: Any) -> dict[str, Any]:
    return {"_target_": target, "keys": "image", **how}


CHAINS = {
    "orientation": [step("Orientationd", axcodes="RAS")],
    "spacing": [
        step("Orientationd", axcodes="RAS"),
        step("Spacingd", pixdim=[1.0, 1.0, 1.5], mode="bilinear"),
    ],
    "flip and rotate": [step("Flipd", spatial_axis=0), step("Rotate90d", k=1, spatial_axes=[0, 1])],
    "crop and pad": [
        step("CropForegroundd", source_key="image", margin=2),
        step("SpatialPadd", spatial_size=[30, 24, 20]),
    ],
    "resize": [step("Orientationd", axcodes="LPS"), step("Resized", spatial_size=[33, 29, 31], mode="trilinear")],
    "all": [
        step("Orientationd", axcodes="PIR"),
        step("Spacingd", pixdim=[1.5, 1.2, 0.8], mode="bilinear"),
        step("Flipd", spatial_axis=2),
        step("Rotate90d", k=3, spatial_axes=[0, 2]),
        step("SpatialPadd", spatial_size=[40, 40, 40]),
        step("CenterSpatialCropd", roi_size=[48, 48, 48]),
    ],
}


@pytest.mark.parametrize("reverse", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("chain", CHAINS)
def test_a_landmark_comes_back_within_half_a_voxel(
    tmp_path: Path, chain: str, orientation: str, *, reverse: bool
) -> None:
    volume = landmark(orientation, reverse=reverse)
    before = volume.array.copy()
    found = segmented(resident(tmp_path, transforms=CHAINS[chain]), volume).mask_of("spot")
    assert found.shape == volume.shape
    assert away(found, before > 0) <= HALF_A_VOXEL
    assert np.array_equal(volume.array, before)
    if chain in ("orientation", "flip and rotate", "crop and pad"):
        assert np.array_equal(found, before > 0)


@pytest.mark.parametrize("chain", CHAINS)
def test_candela_inverts_where_the_bundle_does_not(tmp_path: Path, chain: str) -> None:
    volume = landmark("oblique")
    found = segmented(resident(tmp_path, transforms=CHAINS[chain], post=[HALF]), volume).mask_of("spot")
    assert away(found, volume.array > 0) <= HALF_A_VOXEL


def test_probabilities_are_inverted_before_they_are_cut(tmp_path: Path) -> None:
    """Invertd stands before AsDiscreted in most zoo bundles: then it interpolates, and the answer is a label map."""
    volume = landmark("sagittal")
    found = segmented(resident(tmp_path, transforms=CHAINS["all"], post=[INVERT, HALF]), volume).mask_of("spot")
    assert away(found, volume.array > 0) <= HALF_A_VOXEL


def test_the_landmark_would_be_mirrored_if_the_affine_were_taken_for_ras(tmp_path: Path) -> None:
    """After Orientationd to RAS the first index of X lies at the patient's left, where LPS x is largest."""
    crop = step("SpatialCropd", roi_start=[0, 0, 0], roi_end=[13, 100, 100])  # the half with the smaller x of RAS
    volume = landmark("axial")  # LPS x grows with the column, and the landmark lies in the right half of the columns
    found = segmented(resident(tmp_path, transforms=[step("Orientationd", axcodes="RAS"), crop]), volume)
    assert not found.array[:, :, :13].any(), "the half of the small columns was cut away"
    assert found.mask_of("spot")[:, :, 15:20].any()
