"""The Image Plane of one slice: its position and orientation in the patient (PS3.3 C.7.6.2).

Image Position (Patient), Image Orientation (Patient) and Pixel Spacing alone decide. The first two are in LPS, which
turns with the patient, so Patient Position (HFS, FFP, ...), which says how the patient lay in the scanner, is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pipeline.errors import BadGeometry
from pipeline.reading.slices import Slice

Vector = npt.NDArray[np.float64]

ORIENTATION_ROUNDING = 1e-4
"""How far from 1 a length, and from 0 the cosine between rows and columns, may be without a note: scanners write
direction cosines with six decimals or more. 0.006 degrees."""
ORIENTATION_TOLERANCE = 2e-3
"""How far they may be off for the nearest perpendicular pair to be taken, with a note: cosines of three decimals
(worst case 1.7e-3). This moves the far edge of a 250 mm field of view by 0.25 mm at most, under half a pixel."""
INSTEAD = {
    "ImagePositionPatient": ("SliceLocation", "which does not tell where in the patient the slice lies"),
    "PixelSpacing": ("ImagerPixelSpacing", "which is measured at the detector, not in the patient"),
}
"""An attribute that senders sometimes give in place of the right one, and why it is no substitute (PS3.3
C.7.6.2.1.2, 10.7.1.3)."""


@dataclass(frozen=True, eq=False)
class ImagePlane:
    """A slice with its position and orientation in the patient.

    Attributes
    ----------
    source : the slice.
    origin : (3,) mm, LPS, the centre of the first pixel.
    across, down : (3,) perpendicular unit vectors, LPS, of increasing column index and increasing row index.
    spacing : mm between rows and between columns, as in Pixel Spacing (PS3.3 10.7.1.3).
    deviation : how far the stated cosines are from perpendicular unit vectors; 0 where that is within rounding.
    """

    source: Slice
    origin: Vector
    across: Vector
    down: Vector
    spacing: tuple[float, float]
    deviation: float

    @classmethod
    def of(cls, source: Slice) -> Self:
        """The plane that the header of ``source`` describes.

        Raises
        ------
        BadGeometry
            where Image Position, Image Orientation (Patient) or Pixel Spacing is missing, not a number, or impossible.
        """
        origin = _numbers(source, "ImagePositionPatient", 3)
        cosines = _numbers(source, "ImageOrientationPatient", 6)
        spacing = _numbers(source, "PixelSpacing", 2)
        if spacing.min() <= 0:
            raise BadGeometry(
                f"PixelSpacing is {spacing[0]:g} by {spacing[1]:g} mm; both must be above zero.",
                where=source.where,
                todo="Send the original images.",
            )
        across, down, deviation = _perpendicular(cosines, source)
        return cls(source, origin, across, down, (float(spacing[0]), float(spacing[1])), deviation)

    @property
    def ds(self) -> Dataset:
        return self.source.ds

    @property
    def where(self) -> str:
        return self.source.where

    @cached_property
    def normal(self) -> Vector:
        """Unit vector (LPS), across × down, along which the planes of a stack are ordered."""
        return np.cross(self.across, self.down)

    @property
    def orientation(self) -> str:
        """``axial``, ``coronal`` or ``sagittal``: whichever is nearest."""
        return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(self.normal)))]


def _numbers(source: Slice, keyword: str, count: int) -> Vector:
    value = source.ds.get(keyword)
    parts = [] if value is None or isinstance(value, str) else np.atleast_1d(np.array(value, dtype=object)).tolist()
    if len(parts) != count or any(part is None or part == "" for part in parts):
        other, why = INSTEAD.get(keyword, ("", ""))
        aside = f" It has {other}, {why}." if other and source.ds.get(other) not in (None, "") else ""
        raise BadGeometry(
            f"{keyword} is missing or has not {count} values: the image has no known place in the patient.{aside}",
            where=source.where,
            todo="Send the original images rather than a screen capture or a projection image.",
        )
    try:
        numbers = np.array([float(part) for part in parts])
    except (TypeError, ValueError):
        numbers = np.full(count, np.nan)
    if not np.isfinite(numbers).all():
        raise BadGeometry(f"{keyword} holds a value that is not a number.", where=source.where, todo="Send it again.")
    return numbers


def _perpendicular(cosines: Vector, source: Slice) -> tuple[Vector, Vector, float]:
    """The perpendicular unit vectors nearest to the stated ones, and how far those are off (0: within rounding).

    The nearest pair in the least-squares sense is the orthogonal polar factor: neither vector counts as the true one.
    """
    stated = np.stack([cosines[:3], cosines[3:]], axis=1)
    gram = stated.T @ stated
    off = float(max(np.abs(np.sqrt(np.diag(gram)) - 1).max(), abs(gram[0, 1])))
    if off > ORIENTATION_TOLERANCE:
        raise BadGeometry(
            "ImageOrientationPatient is not two perpendicular unit vectors:"
            f" lengths {np.sqrt(gram[0, 0]):.4f} and {np.sqrt(gram[1, 1]):.4f}, scalar product {gram[0, 1]:.4f}.",
            where=source.where,
            todo="Send the original images.",
        )
    left, _, right = np.linalg.svd(stated, full_matrices=False)
    nearest = left @ right
    return nearest[:, 0], nearest[:, 1], off if off > ORIENTATION_ROUNDING else 0.0
