"""How the planes of a volume become the slabs that a network reads, and the way back to its pixels.

`sampling` turns each plane of a volume to the display orientation of the training images (axial: patient's left at the
right, front at the top; coronal: left at the right, head up; sagittal: front at the left, head up), averages thin
planes to slabs of about ``slab_mm`` (a network that was trained on thick 2D slices reads thick slices), resamples
in-plane to ``pixel_mm`` and crops or pads to a square matrix around the head. `pipeline.preprocess.slabs` is the MONAI
transform of it, which training, evaluation and inference use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.geometry.display import UPRIGHT, Turn
from pipeline.geometry.volume import Affine, FloatArray
from pipeline.preprocess.recipe import Recipe


@dataclass(frozen=True)
class Fit:
    """Where a (rows, columns) picture lies in the square matrix: resampled to ``size``, then shifted by ``offset``.

    Matrix pixel = resampled pixel + offset, for rows and columns alike; what falls outside is cut off.
    """

    source: tuple[int, int]
    size: tuple[int, int]
    offset: tuple[int, int]
    matrix: int

    @property
    def filled(self) -> tuple[slice, slice]:
        """The rows and columns of the matrix that the picture covers; around it there is padding."""
        rows, columns = (
            slice(max(0, start), min(self.matrix, start + length))
            for start, length in zip(self.offset, self.size, strict=True)
        )
        return rows, columns

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, rows, columns) -> (N, 1, matrix, matrix), padded with zero."""
        small = functional.interpolate(images, self.size, mode="bilinear", antialias=True, align_corners=False)
        return _shifted(small, self.offset, (self.matrix, self.matrix))

    def backward(self, maps: Tensor) -> Tensor:
        """(N, 1, matrix, matrix) -> (N, 1, rows, columns), linear; outside of the matrix it is zero."""
        back = _shifted(maps, (-self.offset[0], -self.offset[1]), self.size)
        return functional.interpolate(back, self.source, mode="bilinear", align_corners=False)


def fit(shape: tuple[int, int], spacing: tuple[float, float], recipe: Recipe, head: FloatArray | None = None) -> Fit:
    """How a picture of ``shape`` (rows, columns) with ``spacing`` (mm) is fitted into the matrix.

    The picture's centre is kept, except that a picture larger than the matrix is centred on ``head``, (rows, columns)
    the brightest values of the series, so that the matrix holds the head.
    """
    size = tuple(max(1, round(n * mm / recipe.pixel_mm)) for n, mm in zip(shape, spacing, strict=True))
    offset = []
    for axis in (0, 1):
        start = (recipe.matrix - size[axis]) // 2
        if head is not None and size[axis] > recipe.matrix:
            profile = head.max(axis=1 - axis)
            inside = np.flatnonzero(profile > 0.25 * profile.max()) if profile.max() > 0 else np.arange(shape[axis])
            centre = (inside[0] + inside[-1] + 1) / 2 * size[axis] / shape[axis]
            start = round(min(0.0, max(float(recipe.matrix - size[axis]), recipe.matrix / 2 - centre)))
        offset.append(start)
    return Fit(shape, (size[0], size[1]), (offset[0], offset[1]), recipe.matrix)


@dataclass(frozen=True)
class Sampling:
    """What the network reads of one volume, and the way back to its pixels.

    Attributes
    ----------
    shape : (slices, rows, columns) of the volume.
    transpose, flip : how a source plane becomes a displayed one: transposed first, then flipped along (rows, columns).
    slabs : first and last + 1 source plane of each slab, in order; together they are every plane.
    fit : in-plane fit of a displayed plane.
    """

    shape: tuple[int, int, int]
    transpose: bool
    flip: tuple[bool, bool]
    slabs: tuple[tuple[int, int], ...]
    fit: Fit

    def displayed(self, planes: FloatArray) -> FloatArray:
        """(n, rows, columns) as stored -> as displayed."""
        return np.ascontiguousarray(self._turn.image(planes))

    def stored(self, planes: npt.NDArray[np.float32]) -> FloatArray:
        """Inverse of `displayed`."""
        return np.ascontiguousarray(self._turn.stored(planes))

    @property
    def _turn(self) -> Turn:
        return Turn(self.shape[1:], self.transpose, self.flip)

    @cached_property
    def centres(self) -> npt.NDArray[np.float64]:
        """Position of each slab's centre, in planes."""
        return np.array([(first + last - 1) / 2 for first, last in self.slabs])

    def resampled(self, array: FloatArray) -> Tensor:
        """The volume's (slices, rows, columns) as displayed slabs, (slabs, 1, M, M).

        Where values are negative, all are lifted by the lowest mean over a slab.
        """
        averaged = np.stack([array[first:last].mean(axis=0) for first, last in self.slabs])
        averaged -= np.minimum(averaged.min(), 0.0)
        return self.fit.forward(torch.from_numpy(self.displayed(averaged))[:, None])

    def to_source(self, maps: Tensor) -> FloatArray:
        """Maps of the slabs, (slabs, 1, M, M), on the source pixels, (slices, rows, columns); linear between slabs."""
        planes = self.stored(self.fit.backward(maps.float())[:, 0].numpy())
        position = np.interp(np.arange(self.shape[0]), self.centres, np.arange(len(self.slabs)))
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, len(self.slabs) - 1)
        part = (position - low).astype(np.float32)[:, None, None]
        return np.asarray(planes[low] * (1 - part) + planes[high] * part, dtype=np.float32)

    def slab_of(self, plane: int) -> int:
        """Index of the slab that holds source plane ``plane``."""
        return next(k for k, (first, last) in enumerate(self.slabs) if first <= plane < last)

    def plane_of(self, slab: int) -> int:
        """The source plane in the middle of ``slab``."""
        first, last = self.slabs[slab]
        return (first + last - 1) // 2


def sampling(array: FloatArray, affine: Affine, recipe: Recipe) -> Sampling:
    """How a network with ``recipe`` reads ``array`` (slices, rows, columns), all numbers.

    ``affine`` (4, 4) maps (slice, row, column, 1) to patient coordinates in mm, LPS.
    """
    slices, rows, columns = array.shape
    thickness, row_mm, column_mm = (float(mm) for mm in np.linalg.norm(affine[:3, :3], axis=0))
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    (row_axis, row_sign), (column_axis, column_sign) = UPRIGHT[int(np.argmax(np.abs(directions[:, 0])))]
    down, right = directions[:, 1], directions[:, 2]
    transpose = bool(abs(down[column_axis]) > abs(down[row_axis]))
    if transpose:
        down, right = right, down
    flip = (bool(down[row_axis] * row_sign < 0), bool(right[column_axis] * column_sign < 0))
    per_slab = max(1, round(recipe.slab_mm / thickness)) if thickness > 0 else 1
    count = max(1, round(slices / per_slab))
    edges = np.linspace(0, slices, count + 1).round().astype(int)
    slabs = tuple((int(a), int(b)) for a, b in pairwise(edges))
    shape, spacing = ((columns, rows), (column_mm, row_mm)) if transpose else ((rows, columns), (row_mm, column_mm))
    turned = Sampling((slices, rows, columns), transpose, flip, slabs, fit(shape, spacing, recipe))
    head = turned.displayed(array.max(axis=0)[None])[0]
    return replace(turned, fit=fit(shape, spacing, recipe, head=head))


def _shifted(images: Tensor, offset: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """``images`` (N, C, h, w) laid on a zero canvas of ``size`` with its corner at ``offset``; negative cuts."""
    top, left = offset
    bottom, right = size[0] - images.shape[-2] - top, size[1] - images.shape[-1] - left
    return functional.pad(images, (left, right, top, bottom))
