"""The side of a lesion is told by a midline that follows the head, and left out where the images do not show it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline import phantom
from pipeline.findings.model import BoolArray, Side, Voxels
from pipeline.findings.sides import MARGIN_MM, midline, side_of
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import Affine, Volume
from tests.peers import heads

POSES = {
    "straight": heads.motion(0, (0, 0, 0)),
    "turned": heads.motion(10, (5, 3, 0), (0, 0, 1)),
    "tilted": heads.motion(10, (-6, 0, 4), (0, 1, 0)),
    "all three": heads.motion(12, (4, -3, 2)),
}
PLACES = {Side.LEFT: (9.0, 30.0), Side.RIGHT: (-30.0, -9.0), Side.BOTH: (-12.0, 20.0), Side.MIDLINE: (-2.0, 20.0)}
"""Extent of a lesion along x of the head, in mm from its true midline."""


def in_head(volume: Volume, pose: Affine) -> np.ndarray:
    """The places of the voxels (slices, rows, columns, 3) in the head's own coordinates, whose midline is x = 0."""
    points = volume.to_patient(np.moveaxis(np.indices(volume.shape), 0, -1))
    back = np.linalg.inv(pose)
    return np.asarray(points @ back[:3, :3].T + back[:3, 3])


def lesion(volume: Volume, pose: Affine, extent: tuple[float, float]) -> BoolArray:
    x, y, z = np.moveaxis(in_head(volume, pose), -1, 0)
    return np.asarray((x > extent[0]) & (x < extent[1]) & (np.abs(y - 10) < 15) & (np.abs(z - 20) < 12))


@pytest.mark.parametrize("name", POSES)
def test_the_side_follows_the_head_however_it_lies(name: str) -> None:
    """Of a head that is turned, tilted and off the centre the plane is within two millimetres; each side is told."""
    volume = heads.volume(seed=2, pose=POSES[name])
    middle = midline(volume)
    assert middle is not None
    own = in_head(volume, POSES[name])
    inside = np.linalg.norm(own / np.array([66, 85, 75]), axis=-1) < 1
    points = volume.to_patient(np.argwhere(inside))
    assert np.abs(middle.to_the_left(points) - own[inside][:, 0]).max() < MARGIN_MM / 2
    for side, extent in PLACES.items():
        assert side_of(Voxels.of(lesion(volume, POSES[name], extent)), volume, middle) is side


@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_left_is_the_patients_left_in_every_plane(plane: phantom.Plane) -> None:
    """The phantom's lesion lies to the left, whichever way planes are stored; in mirrored patients to the right."""
    datasets = phantom.head_phantom(plane=plane, slices=16, matrix=64)
    volume, voxels = build_volume(datasets), Voxels.of(phantom.lesion_mask(datasets))
    middle = midline(volume)
    assert middle is not None
    assert side_of(voxels, volume, middle) is Side.LEFT
    mirrored = replace(volume, affine=np.diag([-1.0, 1.0, 1.0, 1.0]) @ volume.affine)
    turned = midline(mirrored)
    assert turned is not None
    assert side_of(voxels, mirrored, turned) is Side.RIGHT


def test_half_a_head_has_no_midline() -> None:
    """A sagittal slab through one half, a slab through the middle that is too thin, noise, and a radiograph."""
    whole = heads.volume(seed=1)
    columns = whole.shape[2]
    half = replace(whole, array=whole.array[:, :, columns // 2 :].copy())
    thin = build_volume(phantom.head_phantom(plane="sagittal", slices=8, matrix=64))
    noise = replace(whole, array=np.random.default_rng(1).random(whole.shape).astype(np.float32))
    flat = replace(whole, array=np.zeros(whole.shape, np.float32))
    for volume in (half, thin, noise, flat, replace(whole, projection=True)):
        assert midline(volume) is None


def test_a_head_whose_halves_are_unlike_has_no_midline() -> None:
    """As after a large operation, or beside a metal implant: half of it shows nothing."""
    whole = heads.volume(seed=1)
    spoiled = whole.array.copy()
    spoiled[:, :, : whole.shape[2] // 2] = np.random.default_rng(1).random(spoiled[:, :, : whole.shape[2] // 2].shape)
    assert midline(replace(whole, array=spoiled)) is None
