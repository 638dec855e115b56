"""One preprocessing for training and inference, and its way back to the source pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import center_of_mass

from models.training.data import displayed, without_tumour
from models.workflow.volumes.image import as_image, to_source
from pipeline.geometry.volume import Volume
from pipeline.preprocess.intensity import NormalizeHeadIntensity
from pipeline.preprocess.recipe import Recipe
from pipeline.preprocess.sampling import Sampling
from pipeline.preprocess.slabs import SampleSlabs, sampling_of
from tests.unit.models.small import network_input, volume

RECIPE = Recipe(matrix=160, pixel_mm=1.568, slab_mm=4.0)
SAMPLE, NORMALIZE = SampleSlabs(**vars(RECIPE)), NormalizeHeadIntensity()
PLANES = ("axial", "coronal", "sagittal")


def head(shape: tuple[int, int, int]) -> np.ndarray:
    """An ellipsoid of brightness 500 with a brighter, smaller one off its centre."""
    z, y, x = (
        np.linspace(-1, 1, n)[tuple(slice(None) if a == k else None for a in range(3))] for k, n in enumerate(shape)
    )
    body = (z / 0.9) ** 2 + (y / 0.8) ** 2 + (x / 0.6) ** 2 < 1
    spot = ((z - 0.2) / 0.3) ** 2 + ((y + 0.3) / 0.12) ** 2 + ((x - 0.2) / 0.15) ** 2 < 1
    return (500.0 * body + 500.0 * spot).astype(np.float32)


def planned(series: Volume) -> Sampling:
    """How the slabs of ``series`` are cut."""
    plan, _ = sampling_of(SAMPLE(as_image(series)))
    return plan


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("turn", range(8))
def test_a_landmark_comes_back_to_its_source_pixel(plane: str, turn: int) -> None:
    """Whatever way planes are stored (8 turns and mirrors, other pixels than the network's), a mask comes back to
    within a pixel of where it was."""
    array = head((24, 200, 240))
    spot = array > 700
    affine = volume(array, (5.0, 1.2, 1.0), plane).affine
    if turn & 1:
        array, spot, affine = array[:, ::-1], spot[:, ::-1], _flipped(affine, 1, array.shape)
    if turn & 2:
        array, spot, affine = array[:, :, ::-1], spot[:, :, ::-1], _flipped(affine, 2, array.shape)
    if turn & 4:
        array, spot, affine = array.transpose(0, 2, 1), spot.transpose(0, 2, 1), affine[:, [0, 2, 1, 3]]
    stored = Volume(np.ascontiguousarray(array), affine, ())
    maps = SAMPLE(as_image(stored))
    maps[0] = planned(stored).resampled(spot.astype(np.float32))[:, 0]
    back = to_source(SAMPLE.inverse(maps))[0] >= 0.5
    assert np.abs(np.subtract(center_of_mass(back), center_of_mass(spot))).max() < 0.5
    assert 2 * (back & spot).sum() / (back.sum() + spot.sum()) > 0.95


@pytest.mark.parametrize("plane", PLANES)
def test_every_way_of_storing_a_plane_is_displayed_the_same(plane: str) -> None:
    """The network sees one picture, however rows and columns of the series run."""
    array = head((6, 96, 96))
    as_is = volume(array, (5.0, 2.0, 2.0), plane)
    expected = network_input(as_is, RECIPE)
    mirrored = Volume(np.ascontiguousarray(array[:, ::-1]), _flipped(as_is.affine, 1, array.shape), ())
    turned = Volume(np.ascontiguousarray(array.transpose(0, 2, 1)), as_is.affine[:, [0, 2, 1, 3]], ())
    for other in (mirrored, turned):
        assert torch.allclose(network_input(other, RECIPE), expected, atol=1e-4)


def test_training_and_inference_read_a_picture_the_same() -> None:
    """A picture of the training set and the same picture as a one-slice series become equal inputs."""
    picture = head((5, 224, 224))[2] + 20
    mm = 250.88 / 224
    training = NORMALIZE(torch.from_numpy(displayed(picture, (mm, mm), RECIPE))[None, None])
    series = volume(picture[None], (6.0, mm, mm))
    assert training.std() > 0.5
    assert torch.equal(network_input(series, RECIPE), training)


def test_a_training_file_and_the_same_slice_as_a_series_become_equal_inputs(tmp_path: Path) -> None:
    """The whole way: a PNG through the training data's own reader, and its pixels through the runtime's sampling.

    They differ by the training set's rounding to whole grey levels and by nothing else.
    """
    picture = np.clip(head((5, 224, 200))[2] / 5 + 20, 0, 255).round().astype(np.uint8)
    folder = tmp_path / "brain_notumor"
    (folder / "images").mkdir(parents=True)
    Image.fromarray(picture).save(folder / "images" / "0.png")
    (folder / "index.csv").write_text("image,group,fold5\nimages/0.png,0,1\n")
    classes, field_mm = ("glioma", "no_tumor"), 250.88
    read = without_tumour(tmp_path, classes, RECIPE, field_mm, excluded=frozenset())
    training = NORMALIZE(torch.from_numpy(read.images)[:, None].float() / 255)
    spacing = (6.0, field_mm / picture.shape[0], field_mm / picture.shape[1])
    series = volume(picture[None], spacing)
    runtime = network_input(series, RECIPE)
    grey_level = 1 / float(read.images[read.images > 0.1 * read.images.max()].std())
    assert training.shape == runtime.shape == (1, 1, 160, 160)
    assert (training - runtime).abs().max() < grey_level
    assert runtime.std() > 0.5


def test_brightness_and_contrast_scale_do_not_matter() -> None:
    """Intensities times any factor give the same input."""
    images = torch.from_numpy(head((3, 160, 160)))[:, None]
    assert torch.allclose(NORMALIZE(images), NORMALIZE(images * 7.3), atol=1e-3)


def test_thin_planes_are_read_as_slabs_and_thick_ones_one_by_one() -> None:
    """1 mm planes are averaged by four, every plane in exactly one slab; 6 mm planes are read as they are."""
    thin = planned(volume(head((43, 64, 64)), (1.0, 4.0, 4.0)))
    assert [plane for first, last in thin.slabs for plane in range(first, last)] == list(range(43))
    assert {last - first for first, last in thin.slabs} <= {3, 4, 5}
    thick = planned(volume(head((24, 64, 64)), (6.0, 4.0, 4.0)))
    assert thick.slabs == tuple((k, k + 1) for k in range(24))


@pytest.mark.parametrize("side", [64, 2048])
def test_any_matrix_fits(side: int) -> None:
    """64² and 2048² are brought to the network's matrix and back."""
    series = volume(head((3, side, side)), (5.0, 240 / side, 240 / side))
    stack = SAMPLE(as_image(series))
    assert stack.shape == (1, 3, 160, 160)
    assert to_source(SAMPLE.inverse(stack))[0].shape == series.shape


def test_a_head_off_centre_in_a_large_field_is_kept_whole() -> None:
    """In a field of view larger than the network's, the matrix follows the head."""
    array = np.zeros((5, 400, 400), dtype=np.float32)
    array[:, 200:390, 220:390] = 800
    series = volume(array, (5.0, 1.0, 1.0))
    seen = SAMPLE(as_image(series)) > 400
    assert seen.sum() * 1.568**2 == pytest.approx(5 * 190 * 170, rel=0.03)


def test_not_a_number_and_empty_planes_are_taken_as_nothing() -> None:
    """NaN, infinity and constant planes give finite inputs."""
    array = head((5, 64, 64))
    array[0] = np.nan
    array[1, :8] = np.inf
    array[2] = 0
    series = volume(array, (5.0, 4.0, 4.0))
    seen = network_input(series, RECIPE)
    assert torch.isfinite(seen).all()
    assert seen[2].std() == 0
    assert seen[3].std() > 0


def _flipped(affine: np.ndarray, axis: int, shape: tuple[int, ...]) -> np.ndarray:
    """The affine of an array whose ``axis`` was reversed."""
    changed = affine.copy()
    changed[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
    changed[:3, axis] *= -1
    return changed
