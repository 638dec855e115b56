"""Sensitivity against false alarms: what a limit on the probability of a tumour costs, by class, on held-out slices."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.evaluation.figures import Cases
from models.evaluation.metrics import Floats

SPECIFICITIES = (0.9, 0.95, 0.98)
LIMITS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def tumour_probability(cases: Cases) -> Floats:
    """(N,) 1 less the calibrated probability of the class without a tumour."""
    return np.asarray(1 - cases.probabilities[:, cases.none])


def operating_points(cases: Cases, classes: tuple[str, ...], shipped: dict[str, float]) -> dict[str, Any]:
    """The share of each class's slices at or above limits on the probability of a tumour, JSON-ready.

    ``limits``: at each of `LIMITS`, and at those that are ``shipped`` by name; ``specificity``: at the limit below
    which each of `SPECIFICITIES` of the slices without a tumour lies. Those of them at or above it are false alarms.
    """
    said = tumour_probability(cases)
    free = said[~cases.tumour]

    def point(limit: float) -> dict[str, Any]:
        shares = {name: float((said[cases.truth == k] >= limit).mean()) for k, name in enumerate(classes)}
        every = float((said[cases.tumour] >= limit).mean())
        return {
            "limit": round(limit, 4),
            "false_alarms": round(shares[classes[-1]], 4),
            "sensitivity": round(every, 4),
            "by_class": {name: round(shares[name], 4) for name in classes[:-1]},
        }

    named = {limit: name for name, limit in shipped.items()}
    return {
        "limits": [point(limit) | {"name": named.get(limit, "")} for limit in sorted({*LIMITS, *named})],
        "specificity": {f"{share:g}": point(_above(free, share)) for share in SPECIFICITIES},
    }


def _above(free: Floats, share: float) -> float:
    """The least limit that ``share`` of ``free`` lies below."""
    return float(np.nextafter(np.quantile(free, share, method="inverted_cdf"), 2))


def curve(cases: Cases, of: np.ndarray[Any, Any]) -> tuple[Floats, Floats]:
    """False alarms and sensitivity of the slices that ``of`` (N,) names, over all limits, both rising."""
    said = tumour_probability(cases)
    limits = np.unique(said)[::-1]
    free, found = np.sort(said[~cases.tumour]), np.sort(said[of])
    return (
        1 - np.searchsorted(free, limits) / len(free),
        1 - np.searchsorted(found, limits) / len(found),
    )
