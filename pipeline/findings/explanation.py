"""Whether a heat map explains an outline: one that points elsewhere must not be shown beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_fill_holes

from pipeline.findings.model import BoolArray, FloatArray, Region
from pipeline.geometry.volume import Volume

OBJECT_SHARE = 0.1
"""Voxels brighter than this share of the way from the darkest to the 99th percentile of a plane show the body."""
BRIGHT_PERCENTILE = 99
MORE_THAN_CHANCE = 1.25
"""Where the body ends is known only roughly (bone and fluid may be as dark as air): so much more than its even share of
the energy must lie in the regions."""


def within_body(heatmap: FloatArray, volume: Volume) -> FloatArray:
    """``heatmap`` (slices, rows, columns) without what lies in the air around the body, its highest value 1 again.

    The networks see a coarse grid, whose interpolation runs over the edge of the head.
    """
    cut = np.nan_to_num(heatmap)
    explained = np.flatnonzero(cut.max(axis=(1, 2)) > 0)
    if not len(explained):
        return cut
    for k, body in zip(explained, body_of(volume.array[explained]), strict=True):
        cut[k][~binary_fill_holes(body)] = 0.0
    top = float(cut.max())
    return cut / top if top > 0 else cut


def middle_of_body(volume: Volume) -> int:
    """The plane in the middle of those that show at least half as much of the body as the fullest one."""
    filled = _filled(volume)
    return int(filled[len(filled) // 2])


def nearest_within_body(volume: Volume, index: int) -> int:
    """The plane nearest to ``index`` that shows at least half as much of the body as the fullest one and, where there
    is another, neither begins nor ends the volume.
    """
    filled = _filled(volume)
    inner = filled[(filled > 0) & (filled < volume.shape[0] - 1)]
    planes = inner if len(inner) else filled
    return int(planes[np.argmin(np.abs(planes - index))])


def _filled(volume: Volume) -> npt.NDArray[np.intp]:
    """The planes that show at least half as much of the body as the fullest one, ascending."""
    shares = body_of(volume.array).mean(axis=(1, 2))
    return np.flatnonzero(shares >= shares.max() / 2)


def points_at(heatmap: FloatArray, regions: Sequence[Region], volume: Volume) -> bool:
    """Whether more of the energy of ``heatmap`` (slices, rows, columns) lies in ``regions`` than by chance.

    By chance it would be spread evenly over the body in the planes that are explained: air is left out, since no model
    has reason to look there. True where there is no energy or no region, so that nothing contradicts.
    """
    explained = np.flatnonzero(heatmap.max(axis=(1, 2)) > 0)
    if not len(explained) or not regions:
        return True
    inside = _union(regions, volume)[explained]
    heat = np.nan_to_num(heatmap[explained]).astype(np.float64)
    body = body_of(volume.array[explained]) | inside
    energy = float(heat[inside].sum() / heat.sum())
    return energy > MORE_THAN_CHANCE * float(inside.sum() / body.sum()) or math.isclose(energy, 1.0)


def _union(regions: Sequence[Region], volume: Volume) -> BoolArray:
    mask = np.zeros(volume.shape, dtype=np.bool_)
    for region in regions:
        mask[region.voxels.box] |= region.voxels.inside
    return mask


def body_of(planes: FloatArray) -> BoolArray:
    """The voxels of ``planes`` (n, rows, columns) that show something."""
    values = np.nan_to_num(planes)
    low = values.min(axis=(1, 2), keepdims=True)
    high = np.percentile(values, BRIGHT_PERCENTILE, axis=(1, 2), keepdims=True)
    return np.asarray(values > low + OBJECT_SHARE * (high - low))
