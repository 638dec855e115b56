"""Outlines of masks as polygons in DICOM's image coordinates, for reports and presentation states."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from skimage.measure import approximate_polygon, find_contours

from pipeline.findings.model import BoolArray

Polygon = npt.NDArray[np.float64]
MOST_POINTS = 8000
"""Graphic Data is FL in an element whose explicit length has 16 bits: 8,191 points of 8 bytes (PS3.5 7.1.2)."""


def outlines(plane: BoolArray) -> tuple[Polygon, ...]:
    """The edges of the region ``plane`` (rows, columns), longest first; holes have edges of their own.

    Each is (points, 2), (column, row) with the origin at the upper left corner of the first pixel, so that a pixel's
    centre is at .5 (PS3.3 C.10.5.1.2, C.18.6.1.2); closed: the last point is the first. An edge runs halfway between
    the pixels inside and outside. Points within straight runs are left out.
    """
    padded = np.pad(plane, 1).astype(np.float64)
    found = find_contours(padded, 0.5, fully_connected="high")  # type: ignore[no-untyped-call]  # no types there
    # -1 for the padding, and half a pixel from its centre to its corner; then (row, column) becomes (column, row).
    polygons = [_without_straight_runs(points - 0.5)[:, ::-1] for points in found]
    return tuple(sorted(polygons, key=lambda points: (-_length(points), *points[0])))


def pieces(polygon: Polygon) -> tuple[Polygon, ...]:
    """``polygon`` in runs of at most `MOST_POINTS`, each beginning where the one before it ends."""
    starts = range(0, max(1, len(polygon) - 1), MOST_POINTS - 1)
    return tuple(polygon[start : start + MOST_POINTS] for start in starts)


def bounded(polygon: Polygon) -> Polygon:
    """``polygon`` itself where it fits into one element, else one with fewer points, as near to it as will fit.

    Tolerance grows from half a pixel; an outline needs it only where it is longer than eight thousand corners.
    """
    tolerance = 0.5
    fitted = polygon
    while len(fitted) > MOST_POINTS:
        fitted = approximate_polygon(polygon, tolerance)  # type: ignore[no-untyped-call]  # no types there
        tolerance *= 2
    return fitted


def _without_straight_runs(points: Polygon) -> Polygon:
    """``points`` of a closed polygon, without those that lie on the line between their neighbours."""
    corners = points[:-1]
    before, after = corners - np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0) - corners
    kept = corners[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
    return np.vstack([kept, kept[:1]])


def _length(points: Polygon) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
