"""Measures give what a reader expects on cases whose answer is known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics.average_precision import compute_average_precision
from monai.metrics.rocauc import compute_roc_auc

from models.evaluation.metrics import (
    across,
    bootstrap,
    confusion,
    cross_fitted_temperature,
    curves,
    dice,
    expected_error,
    fit_temperature,
    hausdorff95,
    reliability,
    softmax,
    thirds,
)


def squares(*starts: int, side: int = 8, size: int = 32) -> np.ndarray:
    """Masks with a square each, its corner at (start, start)."""
    masks = np.zeros((len(starts), size, size), dtype=bool)
    for mask, start in zip(masks, starts, strict=True):
        mask[start : start + side, start : start + side] = True
    return masks


def test_dice_of_equal_half_and_no_overlap() -> None:
    """1 for equal masks, the known share for a shifted square, 0 apart, and no number where both are empty."""
    truth = squares(4, 4, 4, 4)
    found = squares(4, 8, 20, 4)
    truth[3] = found[3] = False
    assert dice(found, truth)[:3] == pytest.approx([1, 16 / 64, 0])
    assert math.isnan(dice(found, truth)[3])


def test_hausdorff_is_the_shift_in_mm() -> None:
    """A square moved by four rows and columns is at most four diagonal steps away; a missed lesion has no distance."""
    truth, found = squares(4, 4, 4), squares(4, 8, 4)
    found[2] = False
    distances = hausdorff95(found, truth, 1.5)
    assert distances[0] == 0
    assert 4 * 1.5 <= distances[1] <= 4 * 1.5 * math.sqrt(2)
    assert math.isnan(distances[2])
    assert hausdorff95(found, truth, 3.0)[1] == pytest.approx(2 * distances[1])


def test_confusion_has_truth_by_row() -> None:
    """An answer is counted in the row of its truth and the column of what was said."""
    table = confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert table.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_a_perfect_score_has_area_one_and_a_reversed_one_none() -> None:
    """Scores that sort by truth have area and precision 1; their opposite has area 0; a constant is chance."""
    truth = np.array([True, True, False, False])
    perfect = curves(np.array([0.9, 0.8, 0.2, 0.1]), truth)
    assert (perfect.auc, perfect.average_precision) == (1, 1)
    assert curves(np.array([0.1, 0.2, 0.8, 0.9]), truth).auc == 0
    constant = curves(np.full(4, 0.5), truth)
    assert constant.auc == 0.5
    assert constant.average_precision == 0.5
    assert (perfect.recall[0], perfect.precision[0], perfect.recall[-1]) == (0, 1, 1)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=4, max_size=40))
def test_areas_are_those_of_monai(cases: list[tuple[int, bool]]) -> None:
    """Ties or not, the area under the ROC curve is the one that MONAI computes; so is the average precision."""
    score, truth = np.array([s for s, _ in cases]) / 20, np.array([t for _, t in cases])
    if truth.all() or not truth.any():
        return
    found = curves(score, truth)
    inputs = torch.from_numpy(score), torch.from_numpy(truth.astype(np.int64))
    assert found.auc == pytest.approx(compute_roc_auc(*inputs), abs=1e-6)
    if len(set(score)) == len(score):  # MONAI's average precision depends on the order of ties
        assert found.average_precision == pytest.approx(compute_average_precision(*inputs), abs=1e-6)


def test_an_honest_probability_has_no_calibration_error_and_a_boast_has() -> None:
    """Answers right as often as they say: error near 0. The same sure of themselves: the gap."""
    rng = np.random.default_rng(0)
    truth = (rng.random(20_000) < 0.8).astype(np.int64)
    honest = np.tile(np.log([[0.2, 0.8]]), (len(truth), 1)).astype(np.float32)
    assert expected_error(reliability(softmax(honest), truth)) < 0.01
    sure = np.tile(np.log([[0.001, 0.999]]), (len(truth), 1)).astype(np.float32)
    assert expected_error(reliability(softmax(sure), truth)) == pytest.approx(0.2, abs=0.01)
    assert sum(part.count for part in reliability(softmax(sure), truth)) == len(truth)


def test_temperature_scaling_undoes_sharpening() -> None:
    """Logits that were multiplied by 2.5 are divided by 2.5, and their error is gone."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1.5, (6000, 4)).astype(np.float32)
    truth = np.array([rng.choice(4, p=row) for row in softmax(logits)])
    assert fit_temperature(2.5 * logits, truth) == pytest.approx(2.5, rel=0.07)
    part = np.arange(len(truth)) % 2
    temperature = cross_fitted_temperature(2.5 * logits, truth, part)
    assert temperature == pytest.approx(2.5, rel=0.1)
    assert expected_error(reliability(softmax(2.5 * logits, temperature), truth)) < 0.02


def test_no_part_is_calibrated_on_itself() -> None:
    """A part's temperature does not change with that part's own truth; a single part is left as it is."""
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (400, 3)).astype(np.float32)
    part = np.repeat([1, 2], 200)
    truth = logits.argmax(1)
    spoilt = np.where(part == 1, rng.integers(0, 3, 400), truth)
    first, second = (cross_fitted_temperature(logits, which, part)[part == 1] for which in (truth, spoilt))
    assert (first == second).all()
    assert not np.allclose(
        cross_fitted_temperature(logits, truth, part)[part == 2],
        cross_fitted_temperature(logits, spoilt, part)[part == 2],
    )
    assert (cross_fitted_temperature(logits, truth, np.zeros(400, dtype=int)) == 1).all()


def test_intervals_over_clusters_are_wider_where_members_agree() -> None:
    """Ten copies of each case tell no more than one: the interval over clusters is that of the cases."""
    rng = np.random.default_rng(3)
    once = (rng.random(60) < 0.7).astype(float)
    values, clusters = np.repeat(once, 10), np.repeat(np.arange(60), 10)
    honest = bootstrap(lambda rows: float(values[rows].mean()), clusters, draws=400)
    naive = bootstrap(lambda rows: float(values[rows].mean()), np.arange(600), draws=400)
    alone = bootstrap(lambda rows: float(once[rows].mean()), np.arange(60), draws=400)
    assert honest.value == pytest.approx(once.mean())
    assert honest.high - honest.low > 2 * (naive.high - naive.low)
    assert honest.high - honest.low == pytest.approx(alone.high - alone.low, rel=0.25)
    assert honest.low < honest.value < honest.high


def test_the_interval_over_folds_is_students() -> None:
    """Mean and t interval of four folds as in a table of Student's t; of one fold there is no interval."""
    found = across([0.9, 0.92, 0.94, 0.96])
    assert found.value == pytest.approx(0.93)
    assert found.high - found.value == pytest.approx(3.1824 * 0.02581989 / 2, rel=1e-4)
    assert math.isnan(across([0.9]).low)


def test_thirds_are_equally_large() -> None:
    """Nine sizes make three groups of three, in order."""
    assert thirds(np.arange(9.0)).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
