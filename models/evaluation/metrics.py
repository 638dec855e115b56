"""Measures of an answer against the truth: pure functions over arrays."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from scipy.optimize import minimize_scalar
from scipy.stats import t as student

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]

BINS = 10
DRAWS = 1000
"""Bootstrap samples of an interval: its ends are then stable to about a tenth of its width."""


@dataclass(frozen=True)
class Interval:
    """A figure with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Bin:
    """A bin of a reliability diagram: ``count`` answers, the mean probability they gave, the share that was right."""

    count: int
    probability: float
    right: float


@dataclass(frozen=True)
class Curves:
    """ROC and precision-recall curve of one class against the rest, by falling threshold, and the areas under them.

    ``false_positive``, ``recall`` and ``precision`` (points,) begin at (0, 0, 1), where nothing is called positive.
    ``average_precision`` is the step-wise area (no interpolation, which would flatter).
    """

    false_positive: Floats
    recall: Floats
    precision: Floats
    auc: float
    average_precision: float


def softmax(logits: Logits, temperature: float | Floats = 1.0) -> Floats:
    """Probabilities (N, classes) of logits that are divided by one temperature or by one of each row, (N,)."""
    scaled = logits.astype(np.float64) / np.reshape(temperature, (-1, 1))
    shifted = np.exp(scaled - scaled.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def dice(found: Bools, truth: Bools) -> Floats:
    """Dice by picture, (N,), of masks (N, M, M); NaN where both are empty."""
    total = found.sum((1, 2)) + truth.sum((1, 2))
    return np.asarray(2 * (found & truth).sum((1, 2)) / np.where(total == 0, np.nan, total))


def hausdorff95(found: Bools, truth: Bools, pixel_mm: float) -> Floats:
    """95th percentile of the distance between outlines in mm by picture, (N,), of masks (N, M, M), by MONAI.

    NaN where either mask is empty: a missed lesion has no distance, and must be counted apart.
    """
    distances = np.full(len(found), np.nan)
    both = np.flatnonzero(found.any((1, 2)) & truth.any((1, 2)))
    if len(both):
        first, second = (torch.from_numpy(masks[both][:, None]).float() for masks in (found, truth))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # MONAI passes itself an argument that it has deprecated
            measured = compute_hausdorff_distance(
                first, second, include_background=True, percentile=95, spacing=pixel_mm
            )
        distances[both] = measured[:, 0].numpy()
    return distances


def confusion(truth: Ints, called: Ints, classes: int) -> Ints:
    """How often ``truth`` (rows) was ``called`` so (columns): (classes, classes)."""
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (truth, called), 1)
    return table


def curves(score: Floats, positive: Bools) -> Curves:
    """ROC and precision-recall curves of ``score`` (N,) for telling ``positive`` (N,) from the rest.

    Equal scores make one point. Where all or none are positive, the areas are NaN.
    """
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = np.cumsum(positive[order])[ends]
    alarms = ends + 1 - hits
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.concatenate([[0.0], hits / positive.sum()])
        false_positive = np.concatenate([[0.0], alarms / (~positive).sum()])
    precision = np.concatenate([[1.0], hits / (hits + alarms)])
    return Curves(
        false_positive,
        recall,
        precision,
        auc=float(np.trapezoid(recall, false_positive)),
        average_precision=float((np.diff(recall) * precision[1:]).sum()),
    )


def reliability(probability: Floats, truth: Ints) -> tuple[Bin, ...]:
    """Ten equal bins of the top class's probability, (N, classes); an empty bin has NaN for probability and right."""
    top, right = probability.max(1), probability.argmax(1) == truth
    which = np.minimum((top * BINS).astype(int), BINS - 1)
    return tuple(
        Bin(int((which == b).sum()), float(top[which == b].mean()), float(right[which == b].mean()))
        if (which == b).any()
        else Bin(0, math.nan, math.nan)
        for b in range(BINS)
    )


def expected_error(bins: tuple[Bin, ...]) -> float:
    """Expected calibration error: the mean gap between probability and share of right answers, weighted by count."""
    total = sum(part.count for part in bins)
    return sum(part.count * abs(part.right - part.probability) for part in bins if part.count) / total


def fit_temperature(logits: Logits, truth: Ints) -> float:
    """The temperature with the least cross-entropy."""

    def loss(log_temperature: float) -> float:
        probability = softmax(logits, float(np.exp(log_temperature)))
        return float(-np.log(probability[np.arange(len(truth)), truth] + 1e-9).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-1.5, 1.5), method="bounded").x))


def cross_fitted_temperature(logits: Logits, truth: Ints, part: Ints) -> Floats:
    """A temperature for each row, (N,), fitted on all rows of the other parts: no answer is calibrated on itself.

    ``part`` (N,) is the row's fold, or half. Where all rows are of one part, the temperature is 1.
    """
    temperature = np.ones(len(truth))
    parts = np.unique(part)
    for one in parts if len(parts) > 1 else ():
        temperature[part == one] = fit_temperature(logits[part != one], truth[part != one])
    return temperature


def thirds(values: Floats) -> Ints:
    """0, 1 or 2 for each value, (N,): the lower, middle and upper third of all."""
    return np.searchsorted(np.quantile(values, (1 / 3, 2 / 3)), values, side="left").astype(np.int64)


def bootstrap(statistic: Callable[[Ints], float], clusters: Ints, *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """A figure with its percentile interval when whole ``clusters`` (N,) of rows are drawn, with replacement.

    ``statistic`` takes row numbers, each as often as it was drawn. Rows of one cluster come and go together: slices of
    one patient are no independent cases, and drawing them one by one would make the interval too narrow.
    """
    names, member_of = np.unique(clusters, return_inverse=True)
    rows, rng = np.arange(len(clusters)), np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        drawn.append(statistic(np.repeat(rows, times[member_of])))
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return Interval(statistic(rows), float(low), float(high))


def across(values: list[float]) -> Interval:
    """The mean of one figure of each fold with its 95 % t interval; no interval (NaN) from fewer than two folds."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan)
    half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)
