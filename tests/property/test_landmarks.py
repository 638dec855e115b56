"""A landmark drawn in the source comes back to its pixels through the network's grid, however the series was stored."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd
from pydicom.dataset import Dataset
from scipy.ndimage import center_of_mass

from models.workflow.volumes.image import as_image, to_source
from pipeline import phantom
from pipeline.geometry.build import build_volume
from pipeline.geometry.display import UPRIGHT
from pipeline.geometry.volume import Volume
from pipeline.preprocess.intensity import NormalizeHeadIntensityd
from pipeline.preprocess.recipe import Recipe
from pipeline.preprocess.slabs import SampleSlabsd, sampling_of
from tests.strategies import Landmarked, landmarked_series

BALL = 1000.0
"""Between the head's and the ball's brightness."""


def chain(recipe: Recipe) -> Compose:
    """The transforms of ours that stand in a bundle's ``preprocessing``."""
    return Compose([SampleSlabsd("image", **vars(recipe)), NormalizeHeadIntensityd("image")])


def there_and_back(volume: Volume, mask: np.ndarray, recipe: Recipe) -> tuple[MetaTensor, np.ndarray]:
    """``mask`` (slices, rows, columns) cut as the slabs of ``volume`` are, (1, slabs, M, M), and MONAI's way back."""
    preprocessing = chain(recipe)
    cut = preprocessing({"image": as_image(volume)})["image"]
    plan, _ = sampling_of(cut)
    maps = MetaTensor(plan.resampled(mask.astype(np.float32))[:, 0][None]).copy_meta_from(cut)
    back = Invertd("map", preprocessing, "image", nearest_interp=False)({"map": maps, "image": cut})["map"]
    np.testing.assert_allclose(back.affine, as_image(volume).affine)
    return maps, to_source(back)[0] >= 0.5


@settings(deadline=None)
@given(landmarked_series())
def test_a_landmark_comes_back_onto_its_source_pixels(made: Landmarked) -> None:
    """Within half a network pixel in each plane, and half a slab across them; the header's LPS place is the ball's."""
    volume = build_volume(made.datasets)
    mask = volume.array > BALL
    np.testing.assert_allclose(
        volume.to_patient(np.argwhere(mask)).mean(axis=0), made.centre, atol=max(volume.spacing) * 0.6
    )
    np.testing.assert_allclose(volume.to_index(volume.to_patient([(1, 2, 3)])), [(1, 2, 3)], atol=1e-6)
    maps, back = there_and_back(volume, mask, made.recipe)
    heavy = np.argwhere(maps[0].numpy() >= 0.5) if (maps >= 0.5).any() else np.argwhere(maps[0].numpy() > 0)
    there = maps.affine.numpy()[:3, :3] @ heavy.mean(axis=0) + maps.affine.numpy()[:3, 3]
    across = max(volume.spacing[0], made.recipe.slab_mm)
    assert np.linalg.norm(there * [-1, -1, 1] - made.centre) < across + made.recipe.pixel_mm  # RAS, by MONAI's affine
    scale = np.array(volume.spacing[1:])
    seen = [k for k in range(len(mask)) if min(mask[k].sum(), back[k].sum()) * scale.prod() > 100]
    assert seen
    for k in seen:
        moved = np.subtract(center_of_mass(back[k]), center_of_mass(mask[k])) * scale
        assert np.abs(moved).max() < made.recipe.pixel_mm / 2
    slab_mm = max(volume.spacing[0], made.recipe.slab_mm)
    moved = volume.to_patient(center_of_mass(back)) - volume.to_patient(center_of_mass(mask))
    assert np.linalg.norm(moved) < (slab_mm + made.recipe.pixel_mm) / 2


@settings(deadline=None)
@given(landmarked_series(oblique=False))
def test_the_network_sees_the_landmark_where_the_patient_has_it(made: Landmarked) -> None:
    """On the displayed grid, left is the patient's right and so on: worked out from LPS, without the code's turns."""
    volume = build_volume(made.datasets)
    maps, _ = there_and_back(volume, volume.array > BALL, made.recipe)
    plan, _ = sampling_of(maps)
    _, row, column = center_of_mass(maps[0].numpy())
    axes = UPRIGHT[("sagittal", "coronal", "axial").index(made.plane)]
    middle = volume.to_patient((np.array(volume.shape) - 1) / 2)
    field = [made.recipe.matrix * made.recipe.pixel_mm] * 2
    for place, (axis, sign), width, offset, size in zip(
        (row, column), axes, field, plan.fit.offset, plan.fit.size, strict=True
    ):
        shift = offset + size / 2 - made.recipe.matrix / 2  # the crop follows the head where the field is larger
        from_middle = (place + 0.5 - made.recipe.matrix / 2 - shift) / made.recipe.matrix * width
        assert from_middle == pytest.approx((made.centre - middle)[axis] * sign, abs=made.recipe.pixel_mm)


@settings(deadline=None)
@given(landmarked_series(oblique=False))
def test_where_nothing_is_resampled_the_way_back_is_exact(made: Landmarked) -> None:
    """With pixels as large as the source's and a slab for each plane, every value returns to its pixel."""
    for ds in made.datasets:
        ds.PixelSpacing = [1.5, 1.5]
    volume = build_volume(made.datasets)
    sample = SampleSlabsd("image", matrix=64, pixel_mm=1.5, slab_mm=0.1)
    back = sample.inverse(sample({"image": as_image(volume)}))["image"]
    np.testing.assert_array_equal(to_source(back)[0], volume.array)
    assert not back.applied_operations


# For each Patient Position (PS3.3 C.7.3.1.1.2) the scanner's x, y and z axes in LPS: z goes into the bore,
# y down to the floor, x to where the left of a supine patient is who lies head first.
LYING = {
    "HFS": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "HFP": ((-1, 0, 0), (0, -1, 0), (0, 0, 1)),
    "HFDR": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
    "HFDL": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "FFS": ((-1, 0, 0), (0, 1, 0), (0, 0, -1)),
    "FFP": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "FFDR": ((0, -1, 0), (-1, 0, 0), (0, 0, -1)),
    "FFDL": ((0, 1, 0), (1, 0, 0), (0, 0, -1)),
}


@pytest.fixture(scope="module")
def head() -> Volume:
    """The phantom with equal voxels, 30 in each direction."""
    datasets = phantom.head_phantom(slices=30, matrix=60)
    volume = build_volume(datasets)
    assert volume.spacing == pytest.approx((4.0, 4.0, 4.0))
    cut = volume.array[:, 15:45, 15:45]
    affine = volume.affine.copy()
    affine[:3, 3] = volume.to_patient((0, 15, 15))
    return Volume(cut, affine, volume.sources)


def acquired(head: Volume, position: str) -> list[Dataset]:
    """``head`` as a scanner's axial slices of a patient who lies in ``position``: rows run along the scanner's axes."""
    x, y, z = (np.array(axis) for axis in LYING[position])
    index = np.stack(np.meshgrid(*[np.arange(30) - 14.5] * 3, indexing="ij"), axis=-1)  # (slice, row, column)
    patient = index @ np.stack([z, y, x])  # in voxels from the middle, LPS
    k, r, c = np.moveaxis((patient[..., ::-1] + 14.5).round().astype(int), -1, 0)
    made = phantom.series_from_arrays(
        head.array[k, r, c], plane="axial", pixel_spacing=4, slice_spacing=4, header=phantom.Header(key=position)
    )
    for number, ds in enumerate(made):
        ds.PatientPosition = position
        ds.ImageOrientationPatient = [float(value) for value in (*x, *y)]
        ds.ImagePositionPatient = [float(value) for value in head.to_patient((14.5,) * 3) + 4 * patient[number, 0, 0]]
    return list(made)


@pytest.mark.parametrize("position", LYING)
def test_the_network_sees_the_same_head_however_the_patient_lay(head: Volume, position: str) -> None:
    """Supine, prone or on a side, head or feet first: rows run differently and the picture is one."""
    volume = build_volume(acquired(head, position))
    recipe = Recipe(matrix=64, pixel_mm=2.0, slab_mm=4.0)
    expected, seen = (chain(recipe)({"image": as_image(one)})["image"].as_tensor() for one in (head, volume))
    if volume.affine[2, 0] < 0:  # counted from head to feet
        seen = seen.flip(1)
    torch.testing.assert_close(seen, expected, atol=2e-2, rtol=0)
    mask = phantom.lesion_mask(volume.sources)
    np.testing.assert_allclose(volume.to_patient(np.argwhere(mask)).mean(axis=0), phantom.LESION_CENTRE, atol=2)
    assert volume.array[mask].mean() > 900


@pytest.mark.parametrize("claimed", [*LYING, "LFP", "", None])
def test_patient_position_is_never_asked(head: Volume, claimed: str | None) -> None:
    """Whatever it claims, orientation and position decide."""
    made = [copy.deepcopy(ds) for ds in acquired(head, "HFP")]
    expected = build_volume(made)
    for ds in made:
        ds.PatientPosition = claimed
    volume = build_volume(made)
    np.testing.assert_array_equal(volume.affine, expected.affine)
    np.testing.assert_array_equal(volume.array, expected.array)
