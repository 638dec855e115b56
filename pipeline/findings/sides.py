"""On which side of the head a lesion lies: of the plane about which the head is most like its mirror image.

The headers say which way is left; where the middle is, only the picture tells. Where the images do not show both halves
of the head, or these are not alike, nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_opening, gaussian_filter, label, map_coordinates
from scipy.optimize import minimize

from pipeline.findings.explanation import BRIGHT_PERCENTILE, body_of
from pipeline.findings.model import BoolArray, FloatArray, Side, Voxels
from pipeline.geometry.volume import Volume

Vectors = npt.NDArray[np.float64]
GRID_MM = 5.0
SHIFTS_MM = (-24.0, -12.0, 0.0, 12.0, 24.0)
"""Where the search begins, from the middle of what is shown."""
FIRST_STEPS = ((0.0, 0.0, 0.0), (8.0, 0.0, 0.0), (0.0, 0.12, 0.0), (0.0, 0.0, 0.12))
LEAST_HALF_MM = 50.0
"""The images must reach so far to either side of the plane: a slab through one half of the head has a middle too."""
LEAST_SHARE = 0.6
"""Share of the head whose mirror image must lie within the images."""
LEAST_LIKENESS = 0.7
"""Correlation of the head with its mirror image."""
STEEPEST = 0.5
"""Slope of a head that is turned or tilted by 27 degrees."""
MARGIN_MM = 4.0
"""How far off the plane may be: nearer to it a side is not named."""


@dataclass(frozen=True)
class Midline:
    """The plane whose points are x = ``offset`` + ``slopes`` · ((y, z) - ``origin``), LPS in mm."""

    offset: float
    slopes: tuple[float, float]
    origin: tuple[float, float]

    @property
    def normal(self) -> Vectors:
        """Unit vector to the patient's left."""
        normal = np.array([1.0, -self.slopes[0], -self.slopes[1]])
        return np.asarray(normal / np.linalg.norm(normal))

    def to_the_left(self, points: Vectors) -> Vectors:
        """How far ``points`` (n, 3), LPS in mm, lie to the patient's left of the plane, in mm."""
        return np.asarray((points - [self.offset, *self.origin]) @ self.normal)

    def mirrored(self, points: Vectors) -> Vectors:
        return points - 2 * self.to_the_left(points)[:, None] * self.normal


def side_of(voxels: Voxels, volume: Volume, middle: Midline) -> Side:
    """The side that ``voxels`` lie on: both where they reach clearly beyond the plane on either, the midline where they
    come near it.
    """
    index = np.argwhere(voxels.inside) + [part.start for part in voxels.box]
    left = middle.to_the_left(volume.to_patient(index))
    least, most = float(left.min()), float(left.max())
    if least > MARGIN_MM:
        return Side.LEFT
    if most < -MARGIN_MM:
        return Side.RIGHT
    return Side.BOTH if least < -MARGIN_MM and most > MARGIN_MM else Side.MIDLINE


def midline(volume: Volume) -> Midline | None:
    """The plane between the halves of the head that ``volume`` shows; None where that cannot be told."""
    if volume.projection:
        return None
    grid = _Grid.of(volume)
    if grid is None:
        return None
    middle = grid.centre
    shifts = [Midline(middle[0] + shift, (0.0, 0.0), (middle[1], middle[2])) for shift in SHIFTS_MM]
    begun = max(shifts, key=grid.likeness)

    def plane(at: Vectors) -> Midline:
        return Midline(float(at[0]), (float(at[1]), float(at[2])), begun.origin)

    simplex = np.array([begun.offset, 0.0, 0.0]) + FIRST_STEPS
    options = {"initial_simplex": simplex, "xatol": 0.005, "fatol": 1e-4, "maxfev": 120}
    found = minimize(lambda at: -grid.likeness(plane(at)), simplex[0], method="Nelder-Mead", options=options)
    best = plane(found.x)
    steep = max(abs(slope) for slope in best.slopes) > STEEPEST
    if steep or min(grid.reach(best)) < LEAST_HALF_MM or grid.likeness(best) < LEAST_LIKENESS:
        return None
    return best


@dataclass(frozen=True)
class _Grid:
    """The head on a coarse grid along the patient's axes.

    ``values`` (x, y, z), NaN outside of the images; ``origin`` is the place of the first, LPS in mm. ``points`` (n, 3)
    are the places of the head, and ``signal`` its values there.
    """

    values: FloatArray
    origin: Vectors
    points: Vectors
    signal: Vectors

    @classmethod
    def of(cls, volume: Volume) -> _Grid | None:
        """None where the images show nothing."""
        steps = [max(1, round(GRID_MM / 2 / mm)) for mm in volume.spacing]
        coarse = np.nan_to_num(volume.array[:: steps[0], :: steps[1], :: steps[2]])
        if not np.ptp(coarse) > 0:
            return None
        body = _largest(body_of(coarse))
        bright = float(np.percentile(coarse[body], BRIGHT_PERCENTILE))
        widths = [GRID_MM / 3 / mm / step for mm, step in zip(volume.spacing, steps, strict=True)]
        smooth = gaussian_filter(np.clip(coarse, 0, bright), widths)
        corners = volume.to_patient(
            [[k * (n - 1) for k, n in zip(corner, volume.shape, strict=True)] for corner in np.ndindex(2, 2, 2)]
        )
        low, high = corners.min(axis=0), corners.max(axis=0)
        axes = [np.arange(a, b + GRID_MM, GRID_MM) for a, b in zip(low, high, strict=True)]
        places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        at = np.moveaxis(volume.to_index(places) / steps, -1, 0)
        values = map_coordinates(smooth, at, order=1, cval=np.nan).astype(np.float32)
        inside = map_coordinates(body.astype(np.float32), at, order=1) >= 0.5
        if not inside.any():
            return None
        return cls(values, low, places[inside], values[inside].astype(np.float64))

    @property
    def centre(self) -> Vectors:
        """The middle of the head, LPS in mm."""
        return np.asarray(np.median(self.points, axis=0))

    def likeness(self, plane: Midline) -> float:
        """Correlation of the head with its mirror image about ``plane``; -1 where too little of that is shown."""
        at = (plane.mirrored(self.points) - self.origin).T / GRID_MM
        other = map_coordinates(self.values, at, order=1, cval=np.nan)
        shown = np.isfinite(other)
        if shown.mean() < LEAST_SHARE or not np.ptp(other[shown]) * np.ptp(self.signal[shown]) > 0:
            return -1.0
        return float(np.corrcoef(self.signal[shown], other[shown])[0, 1])

    def reach(self, plane: Midline) -> tuple[float, float]:
        """How far the head reaches to the right and to the left of ``plane``, in mm."""
        left = plane.to_the_left(self.points)
        return -float(left.min()), float(left.max())


def _largest(mask: BoolArray) -> BoolArray:
    """The largest connected part of ``mask`` (slices, rows, columns), without specks and threads."""
    pieces, count = label(binary_opening(mask, np.ones((1, 3, 3), dtype=bool)))
    return np.asarray(pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])) if count else mask
