"""Measures the regions that a model outlined: volume in 3D, and diameters in the plane of acquisition."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects, label
from scipy.spatial import ConvexHull, QhullError
from skimage.measure import find_contours

from pipeline.caveats import Caveat, CaveatCode
from pipeline.findings import codes, measurements
from pipeline.findings.explanation import middle_of_body, nearest_within_body, points_at, within_body
from pipeline.findings.identity import RunIdentity
from pipeline.findings.measurements import Measurement
from pipeline.findings.model import (
    BoolArray,
    Diameter,
    Findings,
    ModelIdentity,
    Outcome,
    Part,
    Prediction,
    Region,
    Voxels,
)
from pipeline.geometry.volume import Volume

Points = npt.NDArray[np.float64]
CONNECTIVITY = np.ones((3, 3, 3), dtype=int)
"""Voxels that touch at a corner are connected: with thick slices an oblique lesion may touch only there."""
CHORDS = 201
"""Positions along the long axis at which the perpendicular width is measured."""


def to_findings(prediction: Prediction, volume: Volume, run: RunIdentity, model: ModelIdentity) -> Findings:
    """A model's prediction with its regions measured and named; without a heat map that points elsewhere.

    Of a negative answer no plane is special: the key slice is the middle of the body. An answer that is not reliable
    may point at noise beside the body: its key slice is the nearest that shows the body.
    """
    regions = measure_lesions(prediction.mask, volume, prediction.predicted_class, run)
    shown = points_at(prediction.heatmap, regions, volume)
    key = prediction.key_slice
    if prediction.outcome is Outcome.NO_FINDING:
        key = middle_of_body(volume)
    elif prediction.outcome is Outcome.INDETERMINATE and not regions:
        key = nearest_within_body(volume, key)
    left_out = () if shown else (Caveat(CaveatCode.HEAT_MAP_LEFT_OUT),)
    return Findings(
        outcome=prediction.outcome,
        predicted_class=prediction.predicted_class,
        probabilities=prediction.probabilities,
        regions=regions,
        heatmap=within_body(prediction.heatmap, volume) if shown else None,
        key_slice=key,
        model=model,
        caveats=(*prediction.caveats, *left_out),
    )


def measure_lesions(mask: BoolArray, volume: Volume, name: str, run: RunIdentity) -> tuple[Region, ...]:
    """The connected regions of ``mask`` (slices, rows, columns) as lesions of class ``name``: `separate_regions`."""
    return separate_regions(Voxels.of(mask), volume, name, run, title="Lesion", key="lesion")


def separate_regions(
    voxels: Voxels, volume: Volume, name: str, run: RunIdentity, *, title: str, key: str
) -> tuple[Region, ...]:
    """The connected regions of ``voxels``, largest first, each measured in the patient's mm.

    ``name`` is the class and label of each; ``title`` and a number its tracking identifier; its tracking UID is derived
    from ``key`` and the number. The volume is voxels times voxel volume. The long axis is the longest straight line
    between two points of the outline within one plane, the short axis the longest line perpendicular to it in the same
    plane (bidimensional measurement after RECIST 1.1 and WHO).
    """
    labels, count = label(voxels.inside, structure=CONNECTIVITY)
    if not count:
        return ()
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    boxes = find_objects(labels)
    # Sorting also by position makes the order, and so the names, a function of the mask alone.
    order = sorted(range(count), key=lambda index: (-int(sizes[index]), *(part.start for part in boxes[index])))
    return tuple(
        _measured(
            Voxels(voxels.shape, _within(voxels.box, boxes[index]), labels[boxes[index]] == index + 1),
            volume,
            name,
            tracking_id=f"{title} {number}",
            uid=run.uid(key, f"{number}"),
        )
        for number, index in enumerate(order, start=1)
    )


def _within(outer: Part, inner: Part) -> Part:
    """The part ``inner`` of the part ``outer`` of a volume, as a part of the volume."""
    first, second, third = (slice(a.start + b.start, a.start + b.stop) for a, b in zip(outer, inner, strict=True))
    return first, second, third


def _measured(voxels: Voxels, volume: Volume, name: str, *, tracking_id: str, uid: str) -> Region:
    """The region with its axes; only its box of the volume is read, however large the volume is."""
    top, left = voxels.box[1].start, voxels.box[2].start
    first = voxels.box[0].start
    long_axis, short_axis = max(
        (_diameters(voxels.inside[k - first], (top, left), k, volume.spacing[1:]) for k in voxels.slices),
        key=lambda pair: (pair[0].length_mm, pair[1].length_mm, -pair[0].slice_index),
    )
    size, *mean = basic_measurements(voxels, volume)
    return Region(
        tracking_id=tracking_id,
        tracking_uid=uid,
        label=name,
        voxels=voxels,
        measurements=(
            size,
            measurements.length("long_axis", codes.LONG_AXIS, long_axis.length_mm),
            measurements.length("short_axis", codes.SHORT_AXIS, short_axis.length_mm),
            *mean,
        ),
        key_slice=key_slice(voxels),
        long_axis=long_axis,
        short_axis=short_axis,
    )


def basic_measurements(voxels: Voxels, volume: Volume) -> tuple[Measurement, ...]:
    """Volume, and the mean of the modality values where they have a unit; of a radiograph the area alone."""
    count = float(voxels.inside.sum())
    if volume.projection:
        return (measurements.area(count * volume.spacing[1] * volume.spacing[2]),)
    inside = float(volume.array[voxels.box][voxels.inside].mean())
    return (
        measurements.volume(count * volume.voxel_mm3),
        *measurements.mean_value(volume.modality, inside),
    )


def key_slice(voxels: Voxels) -> int:
    """The plane where the area of ``voxels`` is largest."""
    return int(np.argmax(voxels.inside.sum(axis=(1, 2)))) + int(voxels.box[0].start)


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
