"""What a viewer drew, held against what it was given. Nothing here asks the viewer where it drew."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset
from scipy.ndimage import binary_dilation, binary_erosion

Picture = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
COLOUR = 40
"""Difference between colour channels from which a pixel is not grey."""


def from_png(data: bytes) -> Picture:
    """(rows, columns, 3), RGB."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def coloured(picture: Picture) -> BoolArray:
    """Where ``picture`` is not grey: an overlay, since the images are grey."""
    channels = picture.astype(np.int16)
    found: BoolArray = (channels.max(axis=-1) - channels.min(axis=-1)) > COLOUR
    return found


@dataclass(frozen=True)
class Placed:
    """An image of (rows, columns) fitted into the middle of a canvas, as viewers show it at first.

    ``canvas`` is (height, width) in pixels, ``spacing`` mm between rows and between columns.
    """

    canvas: tuple[int, int]
    image: tuple[int, int]
    spacing: tuple[float, float]

    @classmethod
    def of(cls, picture: Picture, ds: Dataset) -> Placed:
        """``ds`` fitted into ``picture``."""
        row_mm, column_mm = (float(value) for value in ds.get("PixelSpacing") or (1, 1))
        height, width = picture.shape[:2]
        return cls((height, width), (int(ds.Rows), int(ds.Columns)), (row_mm, column_mm))

    @property
    def pixels_per_mm(self) -> float:
        return min(self.canvas[axis] / (self.image[axis] * self.spacing[axis]) for axis in (0, 1))

    @property
    def source_pixel(self) -> float:
        """Canvas pixels that a pixel of the image is wide."""
        return self.pixels_per_mm * min(self.spacing)

    def enlarged(self, plane: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """``plane`` (rows, columns) as it should lie on the canvas; zero beside it."""
        rows, columns = (self._index(axis) for axis in (0, 1))
        inside = np.ix_((rows >= 0) & (rows < self.image[0]), (columns >= 0) & (columns < self.image[1]))
        whole = np.zeros(self.canvas, plane.dtype)
        taken = np.ix_(rows[(rows >= 0) & (rows < self.image[0])], columns[(columns >= 0) & (columns < self.image[1])])
        whole[inside] = plane[taken]
        return whole

    def _index(self, axis: int) -> npt.NDArray[np.int64]:
        """Index of the image's row or column under each canvas pixel along ``axis``."""
        at = np.arange(self.canvas[axis]) + 0.5 - self.canvas[axis] / 2
        return np.floor(at / (self.pixels_per_mm * self.spacing[axis]) + self.image[axis] / 2).astype(np.int64)


def likeness(picture: Picture, placed: Placed, plane: npt.NDArray[np.generic]) -> float:
    """Correlation, -1 to 1, of the grey of ``picture`` with ``plane`` where it should lie; overlays left out."""
    grey = ~binary_dilation(coloured(picture), iterations=4) & (placed.enlarged(np.ones(placed.image, bool)) != 0)
    shown = picture[..., 1][grey].astype(np.float64)
    meant = placed.enlarged(plane)[grey].astype(np.float64)
    if shown.std() == 0 or meant.std() == 0:
        return 0.0
    return float(np.corrcoef(shown, meant)[0, 1])


def displayed(picture: Picture, placed: Placed, planes: list[npt.NDArray[np.generic]]) -> int | None:
    """Which of ``planes`` the picture shows, upright; None where none of them is like it."""
    found = [likeness(picture, placed, plane) for plane in planes]
    best = int(np.argmax(found))
    return best if found[best] > 0.9 else None


def misfit(overlay: BoolArray, placed: Placed, mask: BoolArray) -> str:
    """What ``overlay`` covers too much or too little of ``mask``, in words; empty where it lies on it.

    An outline has a width, so that nearly half a pixel of the image is allowed either way: a shift by one is seen.
    """
    meant = placed.enlarged(mask) != 0
    allowed = max(1, int(placed.source_pixel * 0.45))
    missing = binary_erosion(meant, iterations=allowed) & ~overlay if meant.any() else meant
    beyond = overlay & ~binary_dilation(meant, iterations=allowed) if meant.any() else overlay
    told = [f"{int(part.sum())} canvas pixels {word}" for part, word in ((missing, "missing"), (beyond, "beyond"))]
    return ", ".join(text for text, part in zip(told, (missing, beyond), strict=True) if part.any())


def colour_likeness(picture: Picture, placed: Placed, page: Picture) -> tuple[float, float]:
    """Correlations of red less green, and of green less blue, of ``picture`` with those of the colour image ``page``.

    A picture shown in grey has none, one with its channels in another order a low or negative one.
    """
    inside = placed.enlarged(np.ones(placed.image, bool)) != 0
    found = []
    for one, other in ((0, 1), (1, 2)):
        meant = placed.enlarged(page[..., one].astype(np.int16) - page[..., other])[inside].astype(np.float64)
        shown = (picture[..., one].astype(np.int16) - picture[..., other])[inside].astype(np.float64)
        found.append(float(np.corrcoef(shown, meant)[0, 1]) if shown.std() and meant.std() else 0.0)
    return found[0], found[1]
