"""From the network's answers for slices to the answer for a series: one odd slice does not make a tumour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import label

from models.bundle import Contract
from pipeline.findings.model import BoolArray, FloatArray, Outcome

CONNECTIVITY = np.ones((3, 3, 3), dtype=int)


@dataclass(frozen=True)
class SlabAnswers:
    """The network's answers for the slabs of one series, in order.

    ``probabilities`` (n, classes), adding up to 1 by row; ``mask`` (n, M, M) probability of lesion by pixel; ``head``
    (n,) probability of a slice through a head, None where the network has no head output.
    """

    probabilities: FloatArray
    mask: FloatArray
    head: FloatArray | None


@dataclass(frozen=True)
class SeriesAnswer:
    """The answer for a series, still on the network's grid.

    ``region`` (n, M, M) is where the lesions are that support it, all False unless there is a finding; ``slab`` the one
    to look at first; ``evidence`` (n,) the tumour probability of each slab as far as a neighbour confirms it.
    """

    outcome: Outcome
    predicted: int
    probabilities: npt.NDArray[np.float64]
    region: BoolArray
    slab: int
    evidence: npt.NDArray[np.float64]


def aggregate(answers: SlabAnswers, contract: Contract, slab_mm: float) -> SeriesAnswer:
    """The answer for a series from those of its slabs; ``slab_mm`` is the distance of neighbouring slabs.

    A region counts when it is connected over at least two slabs (unless there is only one) and has at least
    ``lesion_mm3``. The probability of a tumour is that of the strongest counting region: the mean of the tumour
    probabilities of its slabs, weighted by its area in each. Without such a region it is the probability on which two
    neighbouring slabs agree. The tumour's kind is the area-weighted mean over the region's slabs.
    """
    limits = contract.thresholds
    tumour = 1.0 - answers.probabilities[:, -1].astype(np.float64)
    evidence = _borne_out(tumour)
    regions, count = label(answers.mask >= limits.mask, structure=CONNECTIVITY)
    areas = _areas(regions, count)
    pixel_mm3 = contract.recipe.pixel_mm**2 * slab_mm
    scores = [0.0]
    for number in range(1, count + 1):
        area = areas[number]
        lone = len(tumour) > 1 and np.count_nonzero(area) < 2
        counts = not lone and area.sum() * pixel_mm3 >= limits.lesion_mm3
        scores.append(float(np.average(tumour, weights=area)) if counts else 0.0)
    best = int(np.argmax(scores))
    probability = scores[best] if scores[best] > 0 else float(evidence.max())
    kinds = answers.probabilities[:, :-1].astype(np.float64)
    weights = areas[best] * tumour if scores[best] > 0 else evidence
    mix = np.average(kinds, axis=0, weights=np.maximum(weights, 1e-9))
    probabilities = np.append(probability * mix / max(mix.sum(), 1e-9), 1.0 - probability)
    probabilities /= probabilities.sum()
    is_tumour = probability >= 0.5
    enough = min(scores[best], limits.finding)
    supporting = [k for k, score in enumerate(scores) if score > 0 and score >= enough]
    supported = is_tumour and bool(supporting)
    outcome = _outcome(probability, contract, seen=supported)
    # An outline states a place: an answer without a finding has none, and its heat map shows where the network looked.
    drawn = outcome is Outcome.FINDING
    region = np.isin(regions, supporting) if drawn else np.zeros(regions.shape, dtype=bool)
    return SeriesAnswer(
        outcome=outcome,
        predicted=int(np.argmax(probabilities[:-1])) if is_tumour else len(contract.classes) - 1,
        probabilities=probabilities,
        region=region,
        slab=int(np.argmax(areas[best])) if supported else int(np.argmax(evidence)),
        evidence=evidence,
    )


def _areas(regions: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.int64]:
    """Pixels of each region in each slab, (``count`` + 1, slabs), in one pass; row 0 counts pixels outside of all
    regions.
    """
    slabs = np.arange(len(regions))[:, None, None]
    found = np.bincount((regions.astype(np.int64) + slabs * (count + 1)).ravel(), minlength=len(regions) * (count + 1))
    return found.reshape(len(regions), count + 1).T


def _borne_out(tumour: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Each slab's value, at most that of its stronger neighbour, since a single slab proves nothing."""
    if len(tumour) == 1:
        return tumour
    padded = np.concatenate([[0.0], tumour, [0.0]])
    return np.asarray(np.minimum(tumour, np.maximum(padded[:-2], padded[2:])))


def _outcome(probability: float, contract: Contract, *, seen: bool) -> Outcome:
    if probability < contract.thresholds.no_finding:
        return Outcome.NO_FINDING
    if probability >= contract.thresholds.finding and seen:
        return Outcome.FINDING
    return Outcome.INDETERMINATE
