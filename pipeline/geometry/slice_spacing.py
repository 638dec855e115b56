"""Parallel planes as one regular slice grid. Order and spacing come from positions, never from numbers or thickness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadGeometry, DuplicateSlices, MissingSlices
from pipeline.geometry.image_plane import ImagePlane, Vector
from pipeline.geometry.volume import Affine

SAME_POSITION_MM = 0.05
"""Planes nearer than this along the normal share one position: half of the 0.1 mm to which some scanners round, and
less than any clinical slice spacing."""
SPACING_TOLERANCE = 0.02
"""Share of the median spacing by which a single step may differ: rounding of positions to 0.1 mm on 5 mm slices."""
SPACING_TOLERANCE_MM = 0.05
OFF_PLACE_MM = 0.25
"""The most that the grid may move a plane's origin from where its header puts it: twice what rounding of two
positions to 0.1 mm can do in one plane (0.14 mm), and a quarter of a usual pixel."""
GAP = 1.5
"""A step longer than this many median steps is a gap; a shorter one is uneven spacing."""
MOST_GAPS = 0.25
"""If a larger share of the steps is wide, they are not gaps: the spacing itself changes along the stack."""
MOST_TILT_DEGREES = 30.0
"""The most that a CT gantry tilts; a steeper stack is something else."""
LEAST_SLICES = 3
"""Two planes have a single step, which is always regular: it cannot show a missing slice or a wrong position."""
GAPS_NAMED = 3


@dataclass(frozen=True, eq=False)
class SliceGrid:
    """Planes in order with one step between neighbours.

    Attributes
    ----------
    planes : ascending along the first plane's normal.
    affine : float64 (4, 4), array index (slice, row, column, 1) to LPS mm at the voxel's centre. The slice column is
        the step from plane to plane: along the normal, or exactly as sheared as the stack is.
    caveats : what is unusual about the grid.
    """

    planes: tuple[ImagePlane, ...]
    affine: Affine
    caveats: tuple[Caveat, ...]


def slice_grid(stack: Sequence[ImagePlane]) -> SliceGrid:
    """The grid of ``stack``, whose planes are parallel and share matrix and pixel spacing.

    Raises
    ------
    DuplicateSlices, MissingSlices, BadGeometry
        naming the instances between which the stack is not regular.
    """
    normal = stack[0].normal
    positions = np.array([plane.origin @ normal for plane in stack])
    order = np.argsort(positions, kind="stable")
    planes = tuple(stack[index] for index in order)
    if len(planes) < LEAST_SLICES:
        raise BadGeometry(
            f"The stack has {len(planes)} slice{'s' if len(planes) > 1 else ''};"
            f" a volume needs at least {LEAST_SLICES}.",
            where=_series(planes),
            todo="Send the whole series.",
        )
    _check_steps(planes, np.diff(positions[order]))
    step, caveats = _step(planes, normal)
    first = planes[0]
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = first.down * first.spacing[0]
    affine[:3, 2] = first.across * first.spacing[1]
    affine[:3, 3] = first.origin
    return SliceGrid(planes, affine, caveats)


def is_regular(stack: Sequence[ImagePlane]) -> bool:
    """Whether `slice_grid` accepts ``stack``."""
    try:
        slice_grid(stack)
    except BadGeometry:
        return False
    return True


def _check_steps(planes: Sequence[ImagePlane], steps: Vector) -> None:
    """Refuse repeated positions, gaps and uneven spacing; ``steps`` in mm along the normal."""
    close = np.flatnonzero(steps < SAME_POSITION_MM)
    if close.size:
        at = int(close[0])
        raise DuplicateSlices(
            f"Slices share their position with others ({close.size} of {len(planes)}), and nothing in the headers tells"
            " them apart (echoes, time points or phases?); the first pair is"
            f" {planes[at].where} and {planes[at + 1].where}.",
            where=_series(planes),
            todo="Send each echo, time point or phase as a series of its own.",
        )
    median = float(np.median(steps))
    uneven = np.flatnonzero(np.abs(steps - median) > max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE * median))
    if not uneven.size:
        return
    gaps = uneven[steps[uneven] > GAP * median]
    if 0 < gaps.size <= max(1.0, MOST_GAPS * steps.size):
        raise _missing(planes, steps, gaps, median)
    at = int(uneven[np.argmax(np.abs(steps[uneven] - median))])
    raise BadGeometry(
        f"The slice spacing varies: {steps[at]:.2f} mm between {planes[at].where} and {planes[at + 1].where}, where the"
        f" median is {median:.2f} mm ({uneven.size} of {steps.size} steps differ).",
        where=_series(planes),
        todo="Send a series of evenly spaced slices.",
    )


def _missing(planes: Sequence[ImagePlane], steps: Vector, gaps: npt.NDArray[np.intp], median: float) -> MissingSlices:
    if gaps.size == 1 and int(gaps[0]) in (0, steps.size - 1):
        lone = planes[0] if gaps[0] == 0 else planes[-1]
        return MissingSlices(
            f"The {'first' if gaps[0] == 0 else 'last'} slice lies alone, {steps[gaps[0]]:.2f} mm from the next where"
            f" slices are {median:.2f} mm apart: about {_count(steps[gaps[0]], median)} missing.",
            where=lone.where,
            todo="Send the missing slices, or the series without this one if it does not belong to it.",
        )
    named = "; ".join(
        f"{steps[at]:.2f} mm between {planes[at].where} and {planes[at + 1].where}, about"
        f" {_count(steps[at], median)} missing"
        for at in gaps[:GAPS_NAMED]
    )
    more = f"; and {gaps.size - GAPS_NAMED} more gaps" if gaps.size > GAPS_NAMED else ""
    return MissingSlices(
        f"Slices are {median:.2f} mm apart, but {named}{more}.",
        where=_series(planes),
        todo="Send the missing slices; the series is then read again.",
    )


def _count(gap: float, median: float) -> str:
    count = max(1, round(gap / median) - 1)
    return f"{count} slice{'s are' if count > 1 else ' is'}"


def _step(planes: Sequence[ImagePlane], normal: Vector) -> tuple[Vector, tuple[Caveat, ...]]:
    """The vector (mm, LPS) from plane to plane that puts every origin within `OFF_PLACE_MM` of its place.

    A step along the normal is tried first, then the straight line that a tilted gantry makes; else the stack is
    refused.
    """
    origins = np.array([plane.origin for plane in planes])
    line = (origins[-1] - origins[0]) / (len(planes) - 1)
    square = normal * float(line @ normal)
    if _off(origins, square).max() <= OFF_PLACE_MM:
        return square, ()
    off = _off(origins, line)
    if off.max() > OFF_PLACE_MM:
        worst = int(np.argmax(off))
        raise BadGeometry(
            f"The slices do not lie on one straight line: a slice lies {off[worst]:.2f} mm off its place between the"
            " first and the last (two stacks, or a table or patient that moved?).",
            where=planes[worst].where,
            todo="Send each stack as a series of its own.",
        )
    tilt = float(np.degrees(np.arccos(np.clip(line @ normal / np.linalg.norm(line), -1, 1))))
    if tilt > MOST_TILT_DEGREES:
        raise BadGeometry(
            f"The slices are stacked {tilt:.0f} degrees off their normal; a tilted gantry reaches"
            f" {MOST_TILT_DEGREES:.0f}.",
            where=_series(planes),
            todo="Send a series whose slices stack squarely, or reformat it.",
        )
    return line, (Caveat(CaveatCode.GANTRY_TILTED, {"tilt": round(tilt, 3)}),)


def _off(origins: Vector, step: Vector) -> Vector:
    """Distance in mm of each origin from where ``step`` puts it."""
    expected = origins[0] + np.arange(len(origins))[:, None] * step
    return np.asarray(np.linalg.norm(origins - expected, axis=1))


def _series(planes: Sequence[ImagePlane]) -> str:
    return f"series {planes[0].ds.SeriesInstanceUID}"
