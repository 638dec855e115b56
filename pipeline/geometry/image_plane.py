"""Where one plane lies in the patient, as its own header says it (PS3.3 C.7.6.2.1.1).

Image Position and Image Orientation (Patient) alone decide. They are in LPS, which turns with the patient: Patient
Position (HFS, FFP, ...) says how the patient lay in the scanner and is of no use here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pipeline.errors import BadGeometry
from pipeline.reading.slices import Plane

Vector = npt.NDArray[np.float64]

ORIENTATION_ROUNDING = 1e-4
"""How far from 1 a length, and from 0 the cosine between rows and columns, may be without a word: scanners write
direction cosines with six decimals or more. 0.006 degrees."""
ORIENTATION_TOLERANCE = 2e-3
"""How far they may be off for the nearest perpendicular pair to be taken, with a note: cosines of three decimals
(worst case 1.7e-3). It moves the far edge of a 250 mm field of view by 0.25 mm at most, under half a pixel."""
INSTEAD = {
    "ImagePositionPatient": ("SliceLocation", "which does not tell where in the patient the slice lies"),
    "PixelSpacing": ("ImagerPixelSpacing", "which is measured at the detector, not in the patient"),
}
"""What is sometimes sent in place of an attribute, and why it is no substitute (PS3.3 C.7.6.2.1.2, 10.7.1.3)."""


@dataclass(frozen=True, eq=False)
class PlacedPlane:
    """A plane and its place.

    Attributes
    ----------
    origin : (3,) mm, LPS, the centre of the first pixel.
    across, down : (3,) perpendicular unit vectors, LPS, of increasing column index and increasing row index.
    spacing : mm between rows and between columns, as in Pixel Spacing (PS3.3 10.7.1.3).
    repaired : by how much the stated cosines missed being perpendicular unit vectors; 0 where that was rounding.
    """

    plane: Plane
    origin: Vector
    across: Vector
    down: Vector
    spacing: tuple[float, float]
    repaired: float

    @property
    def ds(self) -> Dataset:
        return self.plane.ds

    @property
    def where(self) -> str:
        return self.plane.where

    @cached_property
    def normal(self) -> Vector:
        """Unit vector (LPS) from which the planes of a stack are counted: across × down."""
        return np.cross(self.across, self.down)

    @property
    def orientation(self) -> str:
        """``axial``, ``coronal`` or ``sagittal``: the nearest to how the plane lies."""
        return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(self.normal)))]


def placed(plane: Plane) -> PlacedPlane:
    """``plane`` with its place.

    Raises
    ------
    BadGeometry
        where Image Position, Image Orientation (Patient) or Pixel Spacing is missing, no number, or impossible.
    """
    origin = _numbers(plane, "ImagePositionPatient", 3)
    cosines = _numbers(plane, "ImageOrientationPatient", 6)
    spacing = _numbers(plane, "PixelSpacing", 2)
    if spacing.min() <= 0:
        raise BadGeometry(
            f"PixelSpacing is {spacing[0]:g} by {spacing[1]:g} mm; both must be above zero.",
            where=plane.where,
            todo="Send the original images.",
        )
    across, down, missed = _perpendicular(cosines, plane)
    return PlacedPlane(plane, origin, across, down, (float(spacing[0]), float(spacing[1])), missed)


def _numbers(plane: Plane, keyword: str, count: int) -> Vector:
    value = plane.ds.get(keyword)
    parts = [] if value is None or isinstance(value, str) else np.atleast_1d(np.array(value, dtype=object)).tolist()
    if len(parts) != count or any(part is None or part == "" for part in parts):
        other, why = INSTEAD.get(keyword, ("", ""))
        aside = f" It has {other}, {why}." if other and plane.ds.get(other) not in (None, "") else ""
        raise BadGeometry(
            f"{keyword} is missing or has not {count} values: the image has no known place in the patient.{aside}",
            where=plane.where,
            todo="Send the original images rather than a screen capture or a projection image.",
        )
    try:
        numbers = np.array([float(part) for part in parts])
    except (TypeError, ValueError):
        numbers = np.full(count, np.nan)
    if not np.isfinite(numbers).all():
        raise BadGeometry(f"{keyword} holds a value that is no number.", where=plane.where, todo="Send it again.")
    return numbers


def _perpendicular(cosines: Vector, plane: Plane) -> tuple[Vector, Vector, float]:
    """The perpendicular unit vectors nearest to the stated ones, and how far those were off (0: no more than rounding).

    The nearest pair in the least-squares sense is the orthogonal polar factor: neither vector is taken as the true one.
    """
    stated = np.stack([cosines[:3], cosines[3:]], axis=1)
    gram = stated.T @ stated
    off = float(max(np.abs(np.sqrt(np.diag(gram)) - 1).max(), abs(gram[0, 1])))
    if off > ORIENTATION_TOLERANCE:
        raise BadGeometry(
            "ImageOrientationPatient is not two perpendicular unit vectors:"
            f" lengths {np.sqrt(gram[0, 0]):.4f} and {np.sqrt(gram[1, 1]):.4f}, scalar product {gram[0, 1]:.4f}.",
            where=plane.where,
            todo="Send the original images.",
        )
    left, _, right = np.linalg.svd(stated, full_matrices=False)
    nearest = left @ right
    return nearest[:, 0], nearest[:, 1], off if off > ORIENTATION_ROUNDING else 0.0
