"""Measures the regions that a model outlined: volume in 3D, and diameters in the plane of acquisition."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects, label
from scipy.spatial import ConvexHull, QhullError
from skimage.measure import find_contours

from pipeline.findings.identity import RunIdentity
from pipeline.findings.model import BoolArray, Diameter, Findings, Lesion, ModelIdentity, Prediction
from pipeline.geometry.volume import Volume

Points = npt.NDArray[np.float64]
Box = tuple[slice, slice, slice]
"""The smallest part of the volume that holds a region: slices, rows, columns."""
CONNECTIVITY = np.ones((3, 3, 3), dtype=int)
"""Voxels that touch at a corner are connected: with thick slices an oblique lesion may touch only there."""
CHORDS = 201
"""Positions along the long axis at which the perpendicular width is measured."""


def to_findings(prediction: Prediction, volume: Volume, run: RunIdentity, model: ModelIdentity) -> Findings:
    """A model's prediction with its regions measured and named."""
    return Findings(
        outcome=prediction.outcome,
        predicted_class=prediction.predicted_class,
        probabilities=prediction.probabilities,
        lesions=measure_lesions(prediction.mask, volume, prediction.predicted_class, run),
        heatmap=prediction.heatmap,
        key_slice=prediction.key_slice,
        model=model,
        caveats=prediction.caveats,
    )


def measure_lesions(mask: BoolArray, volume: Volume, name: str, run: RunIdentity) -> tuple[Lesion, ...]:
    """The connected regions of ``mask`` (slices, rows, columns), largest first, each measured in the patient's mm.

    ``name`` is the class and label of each lesion. The volume is voxels times voxel volume. The long axis is
    the longest straight line between two points of the outline within one plane, the short axis the longest line
    perpendicular to it in the same plane (bidimensional measurement after RECIST 1.1 and WHO).
    """
    labels, count = label(mask, structure=CONNECTIVITY)
    if not count:
        return ()
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    boxes = find_objects(labels)
    # Sorting also by position makes the order, and so the names, a function of the mask alone.
    order = sorted(range(count), key=lambda index: (-int(sizes[index]), *(part.start for part in boxes[index])))
    return tuple(
        _measure(
            labels[boxes[index]] == index + 1,
            boxes[index],
            volume,
            name,
            tracking_id=f"Lesion {number}",
            uid=run.uid("lesion", f"{number}"),
        )
        for number, index in enumerate(order, start=1)
    )


def _measure(region: BoolArray, box: Box, volume: Volume, name: str, *, tracking_id: str, uid: str) -> Lesion:
    """The ``region`` that fills ``box`` of the volume; only the box is read, however large the volume is."""
    areas = region.sum(axis=(1, 2))
    top, left = box[1].start, box[2].start
    long_axis, short_axis = max(
        (_diameters(region[k], (top, left), int(k) + box[0].start, volume.spacing[1:]) for k in np.flatnonzero(areas)),
        key=lambda pair: (pair[0].length_mm, pair[1].length_mm, -pair[0].slice_index),
    )
    mask = np.zeros(volume.shape, dtype=bool)  # the operating system allocates memory only for the pages of the box
    mask[box] = region
    return Lesion(
        tracking_id=tracking_id,
        tracking_uid=uid,
        label=name,
        mask=mask,
        volume_mm3=float(region.sum()) * volume.voxel_mm3,
        long_axis=long_axis,
        short_axis=short_axis,
        mean_intensity=float(volume.array[box][region].mean()),
        key_slice=int(np.argmax(areas)) + box[0].start,
    )


def _diameters(
    plane: BoolArray, corner: tuple[int, int], slice_index: int, spacing: tuple[float, float]
) -> tuple[Diameter, Diameter]:
    """Long and short axis of the region in one plane.

    ``plane`` starts at pixel ``corner``, (row, column), of the source plane; ``spacing`` is mm per (row, column).
    """
    scale = np.array(spacing)
    hull = _hull((_outline(plane) + corner) * scale)
    distances = np.linalg.norm(hull[:, None] - hull[None], axis=-1)
    first, last = (int(value) for value in np.unravel_index(int(np.argmax(distances)), distances.shape))
    start, end = hull[first], hull[last]
    short_start, short_end = _widest_across(hull, start, end)

    def diameter(a: Points, b: Points) -> Diameter:
        tail, head = a / scale, b / scale
        return Diameter(
            slice_index=slice_index,
            start=(float(tail[0]), float(tail[1])),
            end=(float(head[0]), float(head[1])),
            length_mm=float(np.linalg.norm(b - a)),
        )

    return diameter(start, end), diameter(short_start, short_end)


def _outline(plane: BoolArray) -> Points:
    """Points (row, column) halfway between the pixels inside and outside of the region."""
    padded = np.pad(plane, 1).astype(np.float64)
    found: Points = np.concatenate(find_contours(padded, 0.5))  # type: ignore[no-untyped-call]  # no types there
    return found - 1  # the padding


def _hull(points: Points) -> Points:
    """The corners of the convex hull of ``points``, in order."""
    try:
        corners: Points = points[ConvexHull(points).vertices]
    except QhullError:  # all on one line, which an outline around a pixel can only be by rounding
        return points
    return corners


def _widest_across(hull: Points, start: Points, end: Points) -> tuple[Points, Points]:
    """Ends of the longest chord of the convex polygon ``hull`` that is perpendicular to the line start–end."""
    length = float(np.linalg.norm(end - start))
    along = (end - start) / length
    across = np.array([-along[1], along[0]])
    closed = np.vstack([hull, hull[:1]])
    u, v = (closed - start) @ along, (closed - start) @ across
    at = np.linspace(0, length, CHORDS)[:, None]
    crossing = (np.minimum(u[:-1], u[1:]) <= at) & (np.maximum(u[:-1], u[1:]) >= at) & (u[:-1] != u[1:])
    run = np.where(u[:-1] != u[1:], u[1:] - u[:-1], 1.0)
    heights = v[:-1] + (at - u[:-1]) / run * (v[1:] - v[:-1])
    low, high = (
        np.where(crossing, heights, np.inf).min(axis=1),
        np.where(crossing, heights, -np.inf).max(axis=1),
    )
    best = int(np.argmax(high - low))
    if not high[best] > low[best]:
        return start, start
    foot = start + at[best] * along
    return foot + low[best] * across, foot + high[best] * across
