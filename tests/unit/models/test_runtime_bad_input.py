"""Odd volumes are answered soundly or refused with a typed error, whatever the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import runtime
from models.runtime import ResidentModel, load_model
from models.series import SlabAnswers, aggregate
from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadPixels, OutOfScope, Refused
from pipeline.findings.model import Outcome, Prediction
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import Volume
from pipeline.phantom import head_phantom
from tests.peers.tiny_bundle import bright_spots
from tests.unit.models.small import volume


@pytest.fixture(scope="module")
def shipped() -> ResidentModel:
    model = load_model("brain_mri_tumor", device="cpu")
    assert isinstance(model, ResidentModel)
    return model


@pytest.fixture(scope="module")
def spots(tmp_path_factory: pytest.TempPathFactory) -> ResidentModel:
    folder = tmp_path_factory.mktemp("bundles")
    bright_spots(folder)
    model = load_model("bright_spots", folders=(folder,), device="cpu")
    assert isinstance(model, ResidentModel)
    return model


@pytest.fixture(scope="module")
def head() -> Volume:
    """Eight planes of 64², 15 mm apart, with a bright lesion in the fourth and fifth."""
    return build_volume(head_phantom(slices=8, matrix=64))


def sound(prediction: Prediction, given: Volume) -> None:
    """What every prediction promises."""
    assert prediction.mask.shape == prediction.heatmap.shape == given.shape
    assert np.isfinite(prediction.heatmap).all()
    assert sum(item.probability for item in prediction.probabilities) == pytest.approx(1)
    assert all(0 <= item.probability <= 1 for item in prediction.probabilities)
    assert 0 <= prediction.key_slice < len(given.array)
    if prediction.outcome is not Outcome.FINDING:
        assert not prediction.mask.any()


NOTHING = {
    "zero": np.zeros((5, 64, 64)),
    "constant": np.full((5, 64, 64), 700.0),
    "constant below zero": np.full((5, 64, 64), -700.0),
    "all NaN": np.full((5, 64, 64), np.nan),
    "all infinite": np.full((5, 64, 64), np.inf),
    "one bright spot": np.pad(np.full((1, 1, 1), 3000.0), ((2, 2), (30, 33), (30, 33))),
    "one bright plane": np.concatenate([np.zeros((4, 64, 64)), np.full((1, 64, 64), 900.0)]),
}


@pytest.mark.parametrize("what", NOTHING)
def test_what_shows_nothing_is_refused(shipped: ResidentModel, spots: ResidentModel, what: str) -> None:
    """Air, even grey, NaN, or a single pixel is no head, and never "no tumour"."""
    for model in (shipped, spots):
        with pytest.raises(OutOfScope):
            model.predict(volume(NOTHING[what], (5.0, 4.0, 4.0)))


@pytest.mark.parametrize("what", ["noise", "inverted"])
def test_noise_and_bright_air_get_no_finding(shipped: ResidentModel, head: Volume, what: str) -> None:
    """Noise as wide as a head, or MONOCHROME1 taken for MONOCHROME2, is refused or at least no finding."""
    noise = np.random.default_rng(0).rayleigh(100, head.shape).astype(np.float32)
    array = noise if what == "noise" else head.array.max() - head.array
    try:
        prediction = shipped.predict(Volume(array, head.affine, head.sources))
    except Refused:
        return
    sound(prediction, head)
    assert prediction.outcome is not Outcome.FINDING


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_plane_that_is_not_numbers_is_a_caveat(spots: ResidentModel, head: Volume, value: float) -> None:
    """One spoilt plane does not spoil the series, and the answer names it."""
    array = head.array.copy()
    array[0] = value
    prediction = spots.predict(Volume(array, head.affine, head.sources))
    sound(prediction, head)
    assert prediction.outcome is Outcome.FINDING
    assert Caveat(CaveatCode.VALUES_NOT_NUMBERS, {"some": 1, "all": 8}) in prediction.caveats


def test_a_constant_plane_does_no_harm(spots: ResidentModel, head: Volume) -> None:
    """A plane of one grey holds nothing; the others answer."""
    array = head.array.copy()
    array[0] = 300
    prediction = spots.predict(Volume(array, head.affine, head.sources))
    sound(prediction, head)
    assert prediction.outcome is Outcome.FINDING


def test_values_below_zero_are_lifted(spots: ResidentModel, head: Volume) -> None:
    """An offset, as float or signed pixels have it, changes nothing."""
    plain = spots.predict(head)
    lifted = spots.predict(Volume(head.array - 500, head.affine, head.sources))
    assert lifted.outcome is plain.outcome is Outcome.FINDING
    assert np.array_equal(lifted.mask, plain.mask)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_float_pixels_of_any_scale_are_read_alike(spots: ResidentModel, head: Volume, scale: float) -> None:
    """Float pixel data between 0 and a millionth, or up to a milliard, give the same mask."""
    scaled = spots.predict(Volume((head.array * scale).astype(np.float32), head.affine, head.sources))
    assert scaled.outcome is Outcome.FINDING
    assert np.array_equal(scaled.mask, spots.predict(head).mask)


def test_values_too_large_to_average_are_refused(spots: ResidentModel, head: Volume) -> None:
    """Where the mean of planes overflows, the pixels are told, not the model."""
    array = np.where(head.array > 0, np.float32(3e38), np.float32(0))
    thin = Volume(array, np.diag([1.0, 4.0, 4.0, 1.0]) @ np.eye(4), head.sources)
    with pytest.raises(BadPixels, match="too large"), np.errstate(over="ignore"):
        spots.predict(volume(thin.array, (1.0, 4.0, 4.0)))


def test_one_slice_is_read_by_itself(spots: ResidentModel, head: Volume) -> None:
    """A series of one slice has no neighbours to bear it out; it is answered from what it shows."""
    one = Volume(head.array[4:5], head.affine, head.sources[4:5])
    prediction = spots.predict(one)
    sound(prediction, one)
    assert prediction.outcome is Outcome.FINDING


@pytest.mark.parametrize("side", [64, 2048])
def test_small_and_large_matrices_are_read(spots: ResidentModel, side: int) -> None:
    """64² and 2048² give the same answer, each on its own pixels."""
    whole = build_volume(head_phantom(slices=8, matrix=64))
    base = Volume(whole.array[3:6], whole.affine, whole.sources[3:6])
    factor = side // 64
    array = base.array.repeat(factor, axis=1).repeat(factor, axis=2)
    affine = base.affine.copy()
    affine[:3, 1:3] /= factor
    given = Volume(array, affine, base.sources)
    prediction = spots.predict(given)
    sound(prediction, given)
    assert prediction.outcome is Outcome.FINDING
    assert prediction.mask.sum() / prediction.mask.size == pytest.approx(
        spots.predict(base).mask.sum() / base.array.size, rel=0.15
    )


def test_many_thin_slices_are_read_as_slabs(spots: ResidentModel) -> None:
    """Hundreds of thin planes are averaged to slabs: time and memory grow with the voxels, not with the network."""
    base = build_volume(head_phantom(slices=8, matrix=64)).array
    array = base.repeat(50, axis=0)
    given = volume(array, (0.25, 4.0, 4.0))
    prediction = spots.predict(given)
    sound(prediction, given)
    assert prediction.outcome is Outcome.FINDING


def test_more_voxels_than_memory_is_made_for_are_refused(
    spots: ResidentModel, head: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A series beyond the limit is refused by name before anything is computed, not killed by the system."""
    monkeypatch.setattr(runtime, "MOST_VOXELS", head.array.size - 1)
    with pytest.raises(OutOfScope, match=r"32,768 voxels"):
        spots.predict(head)


def test_slabs_that_say_nothing_add_up(spots: ResidentModel) -> None:
    """Even where every class is held impossible in every slab, the answer's probabilities add up."""
    matrix = spots.contract.recipe.matrix
    zero = np.zeros((3, matrix, matrix), dtype=np.float32)
    for tumour in (0.0, 1.0):
        share = np.tile(np.array([tumour, 1 - tumour], dtype=np.float32), (3, 1))
        answer = aggregate(SlabAnswers(share, zero, None), spots.contract, 4.0)
        assert answer.probabilities.sum() == pytest.approx(1)
        assert not answer.region.any()


def test_a_lesion_below_the_smallest_is_none(tmp_path: Path, head: Volume) -> None:
    """The smallest lesion of the contract decides what a segmenting network's mask says of the series."""
    bright_spots(tmp_path)
    model = load_model("bright_spots", folders=(tmp_path,), device="cpu")
    assert isinstance(model, ResidentModel)
    assert model.predict(head).outcome is Outcome.FINDING
    bright_spots(
        tmp_path / "strict",
        thresholds={"mask": 0.5, "finding": 0.7, "no_finding": 0.45, "lesion_mm3": 500_000, "head_mm": [90, 260]},
    )
    strict = load_model("bright_spots", folders=(tmp_path / "strict",), device="cpu")
    prediction = strict.predict(head)
    assert prediction.outcome is Outcome.NO_FINDING
    assert prediction.predicted_class == "no_lesion"


def test_a_head_without_a_lesion_is_no_finding(spots: ResidentModel) -> None:
    """The segmenting network says no where there is nothing bright, and says what its figures are worth."""
    given = build_volume(head_phantom(slices=8, matrix=64, lesion=False))
    prediction = spots.predict(given)
    sound(prediction, given)
    assert prediction.outcome is Outcome.NO_FINDING
    assert Caveat(CaveatCode.PROBABILITIES_NOT_CALIBRATED) in prediction.caveats
    assert Caveat(CaveatCode.HEAD_NOT_CHECKED) in prediction.caveats


def test_a_network_that_does_not_tell_heads_is_not_asked(spots: ResidentModel) -> None:
    """Without a head output there is no head threshold to be below; the width still counts."""
    assert spots.contract.thresholds.head is None
    array = np.zeros((5, 128, 128))
    array[:, 9:119, 45:85] = 700
    with pytest.raises(OutOfScope, match="mm wide"):
        spots.predict(volume(array, (5.0, 1.0, 1.0)))
    assert replace(spots.contract.thresholds, head=0.5) != spots.contract.thresholds
