"""The study of the shortcut finds a source that gives itself away, and none where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.evaluation.shortcut import FEATURES, change, cheat, features, fitted, plot, probe, study, styled
from models.training.data import Pictures
from tests.unit.models.measured import Bright, four_classes, picture_folder, spots


def two_sources(*, marked: bool) -> tuple[Pictures, np.ndarray, np.ndarray]:
    """Forty pictures of noise in four folds, half of them "tumours" that, where ``marked``, have a bright frame."""
    rng = np.random.default_rng(0)
    images = rng.integers(20, 120, (40, 64, 64)).astype(np.uint8)
    positive = np.arange(40) % 2 == 0
    if marked:
        images[positive, :3] = 200
    folds = np.arange(40) // 10
    masks = np.zeros(images.shape, dtype=bool)
    return Pictures(images, masks, positive.astype(int), folds, np.ones(40, dtype=bool)), positive, folds


def test_a_frame_gives_its_source_away() -> None:
    """Pictures that differ by their frame alone are told apart by their rim, over unseen folds."""
    pictures, positive, folds = two_sources(marked=True)
    found = cheat(features(pictures, "rim"), positive, folds, np.arange(40))
    assert found.auc > 0.95
    assert found.low > 0.8
    assert len(found.by_fold) == 4


def test_padding_of_one_value_is_air_too() -> None:
    """A picture whose border is padded evenly has finite features."""
    pictures = spots(2)
    for what in FEATURES:
        assert np.isfinite(features(pictures, what)).all()


@pytest.mark.parametrize("what", list(FEATURES))
def test_noise_gives_nothing_away(what: str) -> None:
    """Without a difference between the sources the answer is chance."""
    pictures, positive, folds = two_sources(marked=False)
    found = cheat(features(pictures, what), positive, folds, np.arange(40))
    assert 0.2 < found.auc < 0.8


def test_logistic_regression_finds_the_line() -> None:
    """The log odds of a feature that decides, with a known slope, come out near it; an idle one gets no weight."""
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, (4000, 2))
    positive = rng.random(4000) < 1 / (1 + np.exp(-(2 * values[:, 0] - 1)))
    found = fitted(values, positive)
    slope = found.weights[:2] / found.scale
    assert slope == pytest.approx([2, 0], abs=0.25)
    assert found.log_odds(np.zeros((1, 2))) == pytest.approx(-1, abs=0.2)


def test_the_look_is_exchanged_and_the_anatomy_kept() -> None:
    """A picture gets the other's brightness distribution; what was brighter than its neighbour still is."""
    pictures = spots(4)
    other = spots(4)
    other = Pictures(
        (255 - other.images // 2).astype(np.uint8), other.masks, other.labels, other.folds, other.symmetric
    )
    changed = styled(pictures, other)
    assert np.abs(changed.images.astype(int) - pictures.images).mean() > 10
    assert changed.images.max() >= 200
    lesion, tissue = pictures.masks[0], ~pictures.masks[0] & (pictures.images[0] > 20)
    assert changed.images[0][lesion].mean() > changed.images[0][tissue].mean()


def test_a_change_is_counted_by_slice() -> None:
    """Two of four slices are called a tumour before, one after; the mean move is the mean of the differences."""
    found = change(np.array([0.9, 0.8, 0.2, 0.1]), np.array([0.9, 0.3, 0.2, 0.1]))
    assert (found.called_before, found.called_after) == (0.5, 0.25)
    assert found.moved == pytest.approx(0.125)


def test_a_network_that_looks_at_the_lesion_lets_go_of_it() -> None:
    """Taking the lesion away lowers the tumour probability of a network that sees brightness."""
    pictures = spots(6)
    both = Pictures(
        np.concatenate([pictures.images, np.minimum(pictures.images, 80)]),
        np.concatenate([pictures.masks, np.zeros_like(pictures.masks)]),
        np.concatenate([pictures.labels, np.full(6, 3)]),
        np.ones(12, dtype=int),
        np.ones(12, dtype=bool),
    )
    network = Bright()
    network.classes.weight.data[:3] *= 40
    network.classes.bias.data[:] = 0
    result = probe(network, both, 3, temperature=1.0)
    assert result["lesion_removed"]["before"] > result["lesion_removed"]["after"] + 0.05
    assert result["auc"]["as_they_are"] == 1


def test_the_whole_study_is_kept_as_json_and_plot(tmp_path: Path) -> None:
    """From a folder of pictures and a bundle to figures without NaN, and a picture of them."""
    four_classes(tmp_path / "bundles")
    result = study("four", picture_folder(tmp_path), folders=(tmp_path / "bundles",))
    assert set(result["without_disease"]) == set(FEATURES)
    json.dumps(result, allow_nan=False)
    plot(result, tmp_path / "shortcut.svg")
    assert (tmp_path / "shortcut.svg").read_text().startswith("<?xml")
