"""Scalp and skull around a head are found in every plane, and missed around everything else; no network is asked."""

from __future__ import annotations

import csv
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_fill_holes, distance_transform_edt

from models import registry
from models.layers import Layers, layers
from models.training.data import displayed
from models.training.drawn.imaging import volume as imaged
from models.training.drawn.kinds import KINDS
from models.workflow.volumes.image import as_image
from pipeline.findings.model import FloatArray
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import Volume
from pipeline.phantom import Plane, head_phantom
from pipeline.preprocess.recipe import Recipe
from pipeline.preprocess.slabs import SampleSlabs, sampling_of
from tests.unit.models.small import DATA

RECIPE = Recipe(matrix=160, pixel_mm=1.568, slab_mm=4.0)
CONTRACT = registry.get("brain_mri_tumor").bundle.contract
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")


def around(volume: Volume) -> Layers:
    slabs, filled = cut(volume)
    return layers(slabs, RECIPE.pixel_mm, picture=filled)


def cut(volume: Volume) -> tuple[FloatArray, tuple[slice, slice]]:
    """The slabs of ``volume``, (n, M, M), and what of the matrix its picture fills."""
    stack = SampleSlabs(**vars(RECIPE))(as_image(volume))
    plan, _ = sampling_of(stack)
    return stack[0].numpy(), plan.fit.filled


def of_slabs(slabs: FloatArray) -> Layers:
    return layers(slabs, RECIPE.pixel_mm, picture=(slice(0, RECIPE.matrix), slice(0, RECIPE.matrix)))


def least() -> float:
    assert CONTRACT.anatomy
    return CONTRACT.anatomy.skull


def head(plane: Plane = "axial", **how: int) -> Volume:
    return build_volume(head_phantom(**{"slices": 10, "matrix": 128, **how}, plane=plane))  # type: ignore[arg-type]


def changed(volume: Volume, array: FloatArray) -> Volume:
    return Volume(np.ascontiguousarray(array, dtype=np.float32), volume.affine, ())


def without_skull(volume: Volume) -> Volume:
    """What lies 15 mm below the outline and deeper, as brain extraction leaves it: zero around."""
    array = volume.array.copy()
    for plane in array:
        inside = binary_fill_holes(plane > 0.12 * np.quantile(array, 0.99))
        plane[distance_transform_edt(inside) * volume.spacing[1] < 15] = 0
    return changed(volume, array)


@pytest.mark.parametrize("plane", PLANES)
def test_a_head_has_scalp_and_skull_in_every_plane(plane: Plane) -> None:
    """Also coarse, few slices, brighter, darker, and as small as a child's."""
    for volume in (head(plane), head(plane, matrix=64), head(plane, slices=3), head(plane, slices=24)):
        found = around(volume).share
        assert found is not None
        assert found > 2 * least()
    small = head(plane)
    affine = small.affine.copy()
    affine[:3, :3] *= 0.75
    for other in (Volume(small.array, affine, ()), changed(small, small.array * 40), changed(small, small.array / 90)):
        found = around(other).share
        assert found is not None
        assert found > 2 * least()


def black_skull(slices: int = 4) -> Volume:
    """Ellipses: an even scalp, an even brain with two ventricles, and between them a black skull."""
    rows, columns = np.mgrid[-1:1:128j, -1:1:128j]
    r = np.hypot(columns / 0.72, rows / 0.88)
    plane = np.select([r < 0.86, r < 0.94, r < 1.0], [520.0, 60.0, 900.0], 0.0)
    plane[np.hypot((np.abs(columns) - 0.12) / 0.07, rows / 0.28) < 1] = 150
    affine = np.diag([6.0, 1.8, 1.8, 1.0])[[2, 1, 0, 3]]
    return Volume(np.repeat(plane[None], slices, axis=0).astype(np.float32), affine, ())


def test_a_skull_so_black_that_scalp_and_brain_do_not_touch_is_seen() -> None:
    """The outline is that of the scalp, not that of the brain, which is the larger of the two."""
    share = around(black_skull()).share
    assert share is not None
    assert share > 0.9


@pytest.mark.parametrize("plane", PLANES)
def test_a_brain_that_was_cut_out_has_none_and_nothing_around(plane: Plane) -> None:
    """Brain extraction leaves zero around a brain; scalp and skull are gone."""
    found = around(without_skull(head(plane)))
    assert found.share is not None
    assert found.share < least()
    assert found.cut_out


def test_a_head_without_its_face_is_a_head() -> None:
    """Defacing cuts a wedge away in front and below; the vault keeps its layers."""
    whole = head("sagittal", slices=12)
    rows, columns = np.mgrid[0:1:128j, 0:1:128j]
    defaced = np.where((rows > 0.45) & (columns < 0.4), 0, whole.array)
    found = around(changed(whole, defaced)).share
    assert found is not None
    assert found > 1.5 * least()


def test_a_field_of_view_that_cuts_a_head_is_judged_by_what_is_whole() -> None:
    """Where the picture ends there is no outline; a picture that it cuts on all sides cannot be judged."""
    whole = head("axial", matrix=128)
    narrow = Volume(np.ascontiguousarray(whole.array[:, :, 40:]), whole.affine, ())
    found = around(narrow).share
    assert found is not None
    assert found > 1.5 * least()
    within = Volume(np.ascontiguousarray(whole.array[3:7, 45:85, 45:85]), whole.affine, ())
    assert around(within).share is None


@pytest.mark.parametrize("kind", ["bottles", "ACR-like cylinder", "gel", "melon", "spheres"])
def test_what_has_no_such_layers_has_none_whatever_it_is(kind: str) -> None:
    """Four drawn things of each kind, as series."""
    for seed in range(4):
        rng = np.random.default_rng([seed, 99])
        found = around(imaged(KINDS[kind](rng), rng, plane=seed % 3, slices=6, matrix=96))
        assert found.share is None or found.share < least(), (kind, seed)


def test_pixels_as_large_as_the_layers_show_none_and_nothing_is_judged() -> None:
    """A scout of 7.5 mm pixels is left to the other tests."""
    coarse = head(matrix=32)
    slabs, filled = cut(coarse)
    found = layers(slabs, RECIPE.pixel_mm, picture=filled, source_mm=coarse.spacing[1])
    assert found == Layers(None, cut_out=False)


def test_nothing_at_all_cannot_be_judged() -> None:
    """An empty and an even picture have no outline inside."""
    assert of_slabs(np.zeros((2, 160, 160), np.float32)).share is None
    assert of_slabs(np.ones((2, 160, 160), np.float32)).share is None


def test_real_slices_of_tumours_have_layers() -> None:
    """Runs of neighbouring slices in three planes, T1 with contrast, as series."""
    index = DATA / "brain_t1ce" / "index.csv"
    if not index.is_file():
        pytest.skip("../shared/data is not here")
    rows = list(csv.DictReader(index.open(newline="")))
    starts = range(40, len(rows) - 5, 240)
    for first, last in pairwise([*starts, len(rows)]):
        pictures = [_picture(row["image"], "brain_t1ce", 250.88 / 224) for row in rows[first : min(first + 3, last)]]
        found = of_slabs(np.stack(pictures)).share
        assert found is not None
        assert found >= least()


def test_real_brains_without_skull_have_none() -> None:
    """FLAIR slices of 12 people, brain-extracted by their authors."""
    index = DATA / "stroke_flair" / "index.csv"
    if not index.is_file():
        pytest.skip("../shared/data is not here")
    rows = list(csv.DictReader(index.open(newline="")))[::290]
    found = [of_slabs(_picture(row["image"], "stroke_flair", 1.0)[None]) for row in rows]
    assert all(one.share is not None and one.share < least() for one in found)
    assert np.mean([one.cut_out for one in found]) > 0.8


def _picture(name: str, folder: str, pixel_mm: float) -> FloatArray:
    with Image.open(DATA / folder / name) as image:
        return displayed(np.asarray(image.convert("L"), dtype=np.float32), (pixel_mm, pixel_mm), RECIPE)
