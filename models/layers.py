"""A test of anatomy without a network: a head has scalp and skull around it.

In T1-weighted images the fat of the scalp is bright, the skull below it is dark, and the brain is bright again. So from
the outline of a head inwards there is a dark valley between two walls, or, where coil or window make the fat much
brighter than the brain, a bright rim, in every plane. A fruit, a bottle, or a brain that software cut out of its skull
has neither, or only in few places. The layers are searched along rays. Heads with removed faces, or cut by the field of
view, keep the layers where they are whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_fill_holes, binary_opening, find_objects, gaussian_filter, label, map_coordinates

from pipeline.findings.model import BoolArray, FloatArray

RAYS = 120
"""Number of rays in each slab."""
STEP_MM = 0.8
DEEPEST_MM = 26.0
"""Depth below the outline in which the layers are searched: scalp, skull, and the fluid below it, also where they are
oblique to the slab.
"""
FOREGROUND = 0.12
"""Share of a slab's bright end from which a pixel belongs to the object."""
BRIGHT = 0.99
LEAST_SHOWN = 0.03
"""Least share of a slab that the object must fill for a judgement."""
VALLEY = 0.3
"""How much darker than its lower wall a valley is, as a share of the slab's median inside the outline."""
RIM = 2.0
"""Least ratio of a bright rim (the brightest value within `RIM_WITHIN_MM` of the outline) to the mean of what is deeper
than `BELOW_MM`.
"""
RIM_WITHIN_MM, BELOW_MM = 12.8, 16.0
LEAST_BELOW = 0.05
"""Darker values, as a share of the slab's median, are raised to this, so that noise has no rim."""
COARSEST_MM = 5.0
"""Coarsest source pixels in which scalp and skull can be separated."""
MOST_THINGS = 3
"""Number of connected components, by extent, among which the object is chosen."""
LARGE = 0.5
"""Only slabs with at least this share of the largest slab's area are judged: near the rim of a head its layers lie
flat."""
SMOOTH_RAYS, SMOOTH_MM = 1.5, 0.5
LEAST_RAYS = 0.25
"""Share of rays that must end inside the picture for a slab to be judged."""
BORDER_MM = 3.0
"""An outline this close to the border is that of the picture, not of the object."""
EMPTY = 0.9
"""Share of the pixels outside the outline with one same value, from which software has cut away the surroundings."""


@dataclass(frozen=True)
class Layers:
    """The surroundings of the object that a series shows.

    ``share``: share of the outline below which there is a dark layer between two bright ones, or a bright rim; the
    median over the slabs that can be judged, None without such a slab. ``cut_out``: there is nothing around the
    outline, not even noise, as after software has cut the brain out of its skull.
    """

    share: float | None
    cut_out: bool


def layers(slabs: FloatArray, pixel_mm: float, *, picture: tuple[slice, slice], source_mm: float = 1.0) -> Layers:
    """The layers around the object in ``slabs`` (n, M, M); intensities of any scale from 0, pixels of ``pixel_mm``.

    ``picture`` is the part, rows and columns, of the matrix that the source's pixels fill; their size is ``source_mm``.
    Pixels above `COARSEST_MM` show no layers, so that no slab can be judged.
    """
    if source_mm > COARSEST_MM:
        return Layers(None, cut_out=False)
    outlines = [_outline(slab) for slab in slabs]
    sizes = np.array([0 if inside is None else np.count_nonzero(inside) for inside in outlines])
    shares: list[float] = []
    empty: list[float] = []
    for slab, inside, size in zip(slabs, outlines, sizes, strict=True):
        if inside is None or size < LARGE * sizes.max():
            continue
        share = _share(slab, inside, pixel_mm, picture)
        if share is not None:
            shares.append(share)
        outside = slab[picture][~inside[picture]]
        empty.append(float((outside == slab.min()).mean()) if outside.size else 0.0)
    return Layers(
        share=float(np.median(shares)) if shares else None,
        cut_out=bool(empty) and float(np.median(empty)) >= EMPTY,
    )


def _outline(slab: FloatArray) -> BoolArray | None:
    """The largest connected component in ``slab`` with its holes filled; None where the slab is nearly empty.

    Holes are filled before sizes are compared: where the skull is black all around, scalp and brain do not touch, and
    the brain has more pixels of its own than the scalp.
    """
    bright = float(np.quantile(slab, BRIGHT))
    shown = binary_opening(slab > FOREGROUND * bright) if bright > 0 else np.zeros(slab.shape, dtype=bool)
    labels, count = label(shown)
    if not count:
        return None
    boxes = find_objects(labels)
    extent = [math.prod(part.stop - part.start for part in box) for box in boxes]
    largest = np.argsort(extent)[::-1][:MOST_THINGS] + 1
    inside = max((binary_fill_holes(labels == number) for number in largest), key=np.count_nonzero)
    return inside if inside.mean() >= LEAST_SHOWN else None


def _share(slab: FloatArray, inside: BoolArray, pixel_mm: float, picture: tuple[slice, slice]) -> float | None:
    """The share of rays with a valley or a bright rim; None where too few rays end inside of the picture."""
    rows, columns = np.nonzero(inside)
    centre = np.array([rows.mean(), columns.mean()])
    angles = np.linspace(0, 2 * np.pi, RAYS, endpoint=False)
    way = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    ends = _ends(inside, centre, way)
    places = centre + way * ends[:, None]
    low = np.array([part.start for part in picture]) + BORDER_MM / pixel_mm
    high = np.array([part.stop - 1 for part in picture]) - BORDER_MM / pixel_mm
    whole = ((places >= low) & (places <= high)).all(axis=1)
    if whole.mean() < LEAST_RAYS:
        return None
    depth = np.arange(0, DEEPEST_MM, STEP_MM) / pixel_mm
    along = np.maximum(ends[:, None] - depth, 0)
    at = centre[:, None, None] + way.T[:, :, None] * along
    profile = map_coordinates(slab, at, order=1) / max(float(np.median(slab[inside])), 1e-6)
    profile = gaussian_filter(profile, (SMOOTH_RAYS, SMOOTH_MM / STEP_MM), mode=("wrap", "nearest"))
    outer = np.maximum.accumulate(profile, axis=1)
    inner = np.maximum.accumulate(profile[:, ::-1], axis=1)[:, ::-1]
    valley = (np.minimum(outer, inner) - profile).max(axis=1)
    rim = profile[:, : round(RIM_WITHIN_MM / STEP_MM)].max(axis=1)
    below = profile[:, round(BELOW_MM / STEP_MM) :].mean(axis=1)
    found = (valley > VALLEY) | (rim > RIM * np.maximum(below, LEAST_BELOW))
    return float(found[whole].mean())


def _ends(inside: BoolArray, centre: npt.NDArray[np.float64], way: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distance in pixels from ``centre`` to the outermost pixel inside, in each direction ``way`` (rays, 2)."""
    far = np.arange(0, float(np.hypot(*inside.shape)), 0.5)
    at = centre[:, None, None] + way.T[:, :, None] * far
    hit = map_coordinates(inside.astype(np.float32), at, order=1) > 0.5
    return np.asarray(np.where(hit.any(axis=1), far[len(far) - 1 - hit[:, ::-1].argmax(axis=1)], 0.0))
