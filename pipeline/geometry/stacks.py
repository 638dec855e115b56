"""Which planes of a series belong together, and which of its stacks is read.

A series may hold more than one stack: a localiser inside, two echoes, time points, b-values, a second orientation.
Rules tell them apart and never mix them. If more than one stack could be read, the series is refused.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadGeometry, DuplicateSlices, MixedGeometry, UnsupportedProtocol
from pipeline.geometry.image_plane import ImagePlane, Vector
from pipeline.geometry.slice_spacing import LEAST_SLICES, SAME_POSITION_MM, is_regular
from pipeline.geometry.stack_attributes import CONTRAST, REPETITION, StackAttribute, Value, values_of
from pipeline.pixels.values import pixel_values
from pipeline.reading.weighting import is_further_gradient_echo

Flags = npt.NDArray[np.bool_]
Prefer = Callable[[Dataset], float]
"""Scores a stack by its header: higher is better, minus infinity means that the model does not read it."""

PARALLEL_TOLERANCE = 1e-3
"""Difference allowed in each direction cosine within a stack: 0.06 degrees, or 0.25 mm at the far edge of a 250 mm
field."""
PIXEL_TOLERANCE = 1e-4
"""Share by which the pixel spacing of planes of one stack may differ: 0.03 mm over 256 pixels of 1 mm."""
LOCALISER_SHARE = 0.25
"""A stack in another orientation or matrix with fewer than this share of the main stack's slices counts as its
localiser. A second stack for reading has about as many slices as the first."""
STACKS_NAMED = 6


@dataclass(frozen=True, eq=False)
class Stack:
    """Planes that could make one volume. ``differences`` name what sets them apart from the series' other stacks."""

    planes: tuple[ImagePlane, ...]
    differences: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.planes)

    @property
    def header(self) -> Dataset:
        return self.planes[0].ds

    @property
    def is_localiser(self) -> bool:
        return any("LOCALIZER" in str(self.header.get(keyword) or "").upper() for keyword in ("ImageType", "FrameType"))

    @cached_property
    def extent(self) -> tuple[float, float, float]:
        """First and last position along the normal, and the mean step between them, in mm."""
        positions = _positions(self.planes)
        first, last = float(positions.min()), float(positions.max())
        return first, last, (last - first) / max(1, len(self) - 1)

    def __str__(self) -> str:
        what = " and ".join(self.differences)
        return f"{len(self)} slice{'s' if len(self) > 1 else ''}{f' with {what}' if what else ''}"


@dataclass(frozen=True, eq=False)
class ChosenStack:
    """The stack that is read, and the ``others`` of the series; ``caveats`` say what was left out."""

    stack: Stack
    caveats: tuple[Caveat, ...] = ()
    others: tuple[Stack, ...] = ()

    def __str__(self) -> str:
        """Which stack was read, for an error about it; empty where there is one stack."""
        if not self.others:
            return ""
        return f"Of {len(self.others) + 1} stacks in the series one was read, {self.stack}; not {_listed(self.others)}."


def choose(planes: Sequence[ImagePlane], prefer: Prefer | None = None) -> ChosenStack:
    """The one stack of a series that is read.

    1. A single stack is read.
    2. Stacks that ``prefer`` excludes are dropped, unless it excludes all. A gradient echo is refused where the series
       holds another one a few ms later: a field map, or a fat-water pair.
    3. Localisers are dropped: by Image Type, or a stack in another orientation or matrix with few slices. So are one or
       two slices that could make no volume, where the rest covers their place.
    4. Of the rest, the stack with the highest score is read, if it covers the others' part of the patient.
    5. Otherwise the series is refused.

    Raises
    ------
    MixedGeometry, DuplicateSlices
        naming every stack with its number of slices and one of its instances.
    UnsupportedProtocol
        where the stack is one of two gradient echoes.
    """
    split, caveats = split_stacks(planes)
    if len(split) == 1:
        return ChosenStack(split[0], caveats)
    scores = [prefer(stack.header) if prefer else 0.0 for stack in split]
    taken = [stack for stack, score in zip(split, scores, strict=True) if score > -math.inf]
    if prefer is not None:
        _refuse_echo_pair(taken, split)
    able = taken or list(split)
    able = [stack for stack in able if not stack.is_localiser] or able
    largest = max(able, key=len)
    rivals = [stack for stack in able if not _minor(stack, largest)]
    ranked = {id(stack): score for stack, score in zip(split, scores, strict=True)}
    top = max(ranked[id(stack)] for stack in rivals)
    best = [stack for stack in rivals if ranked[id(stack)] == top]
    if len(best) > 1 or any(_reaches_beyond(stack, best[0]) for stack in able):
        raise _several(split)
    others = tuple(stack for stack in split if stack is not best[0])
    left_out = Caveat(
        CaveatCode.STACKS_LEFT_OUT, {"count": len(split), "read": str(best[0]), "others": tuple(map(str, others))}
    )
    return ChosenStack(best[0], (*caveats, left_out), others)


def _refuse_echo_pair(taken: Sequence[Stack], split: Sequence[Stack]) -> None:
    for stack in taken:
        for other in split:
            if _same_grid(stack.planes[0], other.planes[0]) and is_further_gradient_echo(stack.header, other.header):
                raise UnsupportedProtocol(
                    f"The series holds gradient echoes a few ms apart, {stack} and {other}: a field map, or an in-phase"
                    " and out-of-phase pair; the model takes anatomical images.",
                    where=f"series {stack.header.SeriesInstanceUID}",
                    todo="Send an anatomical T1 series; of a fat-water pair, send one image as a series of its own.",
                )


def _minor(stack: Stack, largest: Stack) -> bool:
    if stack is largest:
        return False
    if _same_grid(stack.planes[0], largest.planes[0]):
        return len(stack) < LEAST_SLICES <= len(largest)
    return len(stack) < LOCALISER_SHARE * len(largest)


def _reaches_beyond(other: Stack, winner: Stack) -> bool:
    """Whether ``other`` is parallel to ``winner`` and shows a part of the patient that ``winner`` does not."""
    if other is winner or not _parallel(other.planes[0], winner.planes[0]):
        return False
    first, last, step = winner.extent
    here = _positions(other.planes, winner.planes[0].normal)
    return bool(here.min() < first - step / 2 - SAME_POSITION_MM or here.max() > last + step / 2 + SAME_POSITION_MM)


def _several(split: Sequence[Stack]) -> BadGeometry:
    together = [plane for stack in split for plane in stack.planes]
    one_grid = all(_same_grid(stack.planes[0], split[0].planes[0]) for stack in split)
    kind = DuplicateSlices if one_grid and _repeats(together) else MixedGeometry
    named = "; ".join(f"{stack} (first: {stack.planes[0].where})" for stack in split[:STACKS_NAMED])
    more = f"; and {len(split) - STACKS_NAMED} more" if len(split) > STACKS_NAMED else ""
    return kind(
        f"The series holds {len(split)} stacks of slices and no rule tells which one to read: {named}{more}.",
        where=f"series {split[0].header.SeriesInstanceUID}",
        todo="Send each echo, time point or stack as a series of its own.",
    )


def _listed(stacks: Sequence[Stack]) -> str:
    named = ", ".join(str(stack) for stack in stacks[:STACKS_NAMED])
    return f"{named} and {len(stacks) - STACKS_NAMED} more stacks" if len(stacks) > STACKS_NAMED else named


def split_stacks(planes: Sequence[ImagePlane]) -> tuple[tuple[Stack, ...], tuple[Caveat, ...]]:
    """The stacks of a series, largest first, and what was repaired on the way. The order of ``planes`` does not matter.

    Split by grid (orientation, matrix, pixel spacing, frame of reference), then by what the slices show (`CONTRAST`),
    then, where positions repeat, by time point or acquisition (`REPETITION`), and last by their pixels: copies of one
    slice under several SOP Instance UIDs count once.
    """
    ordered = sorted(planes, key=lambda plane: (str(plane.source.instance.SOPInstanceUID), plane.source.frame or 0))
    caveats: list[Caveat] = []
    parts: list[tuple[list[ImagePlane], list[str]]] = []
    grids = _by_grid(ordered)
    for grid in grids:
        name = _grid_words(grid[0], [other[0] for other in grids]) if len(grids) > 1 else []
        for alike, contrast in _by_contrast(grid):
            for part, repetition in _by_repetition(alike):
                kept, left_out = _without_copies(part)
                caveats += left_out
                parts.append((kept, [*name, *contrast, *repetition]))
    parts.sort(key=lambda part: (-len(part[0]), part[1]))
    return tuple(Stack(tuple(part), tuple(words)) for part, words in parts), tuple(caveats)


def _by_grid(planes: Sequence[ImagePlane]) -> list[list[ImagePlane]]:
    """``planes`` by matrix, frame of reference, orientation and pixel spacing, the last two within their tolerance."""
    alike: dict[tuple[str, str], list[ImagePlane]] = defaultdict(list)
    for plane in planes:
        alike[_matrix(plane), _frame_of_reference(plane)].append(plane)
    grids: list[list[ImagePlane]] = []
    for group in alike.values():
        rest = group
        while rest:
            together = _like_first(rest)
            grids.append([plane for plane, same in zip(rest, together, strict=True) if same])
            rest = [plane for plane, same in zip(rest, together, strict=True) if not same]
    return grids


def _like_first(planes: Sequence[ImagePlane]) -> Flags:
    """The planes that are parallel to the first and have its pixel spacing."""
    cosines = np.array([(*plane.across, *plane.down) for plane in planes])
    spacing = np.array([plane.spacing for plane in planes])
    parallel = np.abs(cosines - cosines[0]).max(axis=1) <= PARALLEL_TOLERANCE
    return np.asarray(parallel & (np.abs(spacing / spacing[0] - 1) <= PIXEL_TOLERANCE).all(axis=1))


def _parallel(one: ImagePlane, other: ImagePlane) -> bool:
    """Whether the planes have the same normal; their rows may run in different directions."""
    return float(np.abs(one.normal - other.normal).max()) <= PARALLEL_TOLERANCE


def _same_grid(one: ImagePlane, other: ImagePlane) -> bool:
    return (
        _matrix(one) == _matrix(other)
        and _frame_of_reference(one) == _frame_of_reference(other)
        and bool(_like_first([one, other])[1])
    )


def _matrix(plane: ImagePlane) -> str:
    return f"{plane.ds.get('Rows')} x {plane.ds.get('Columns')}"


def _frame_of_reference(plane: ImagePlane) -> str:
    return str(plane.ds.get("FrameOfReferenceUID") or "")


def _grid_words(plane: ImagePlane, grids: Sequence[ImagePlane]) -> list[str]:
    """The differences of ``plane``'s grid from the others."""
    words = []
    if np.ptp(np.array([(*other.across, *other.down) for other in grids]), axis=0).max() > PARALLEL_TOLERANCE:
        angles = ", ".join(f"{value:.2f}" for value in plane.normal + 0.0)
        unclear = len({other.orientation for other in grids}) < len(grids)
        words.append(f"{plane.orientation} orientation{f' (normal {angles})' if unclear else ''}")
    if len({_matrix(other) for other in grids}) > 1:
        words.append(f"matrix {_matrix(plane)}")
    if any(not np.allclose(other.spacing, grids[0].spacing, rtol=PIXEL_TOLERANCE) for other in grids):
        words.append(f"PixelSpacing {plane.spacing[0]:g} by {plane.spacing[1]:g} mm")
    if len({_frame_of_reference(other) for other in grids}) > 1:
        words.append(f"FrameOfReferenceUID ...{_frame_of_reference(plane)[-8:]}")
    return words


Part = tuple[list[ImagePlane], list[str]]


def _by_contrast(planes: list[ImagePlane]) -> list[Part]:
    """``planes`` grouped by contrast. An attribute that differs from each slice to the next splits nothing."""
    repeated = _repeats(planes)
    telling: list[tuple[StackAttribute, list[Value]]] = []
    for attribute in CONTRAST:
        values = values_of(attribute, planes)
        count = len(set(values))
        if count > 1 and (repeated or count < len(planes)):
            telling.append((attribute, values))
    parts: dict[tuple[Value, ...], list[ImagePlane]] = defaultdict(list)
    for index, plane in enumerate(planes):
        parts[tuple(values[index] for _, values in telling)].append(plane)
    return [
        (part, [attribute.words(value) for (attribute, _), value in zip(telling, key, strict=True)])
        for key, part in parts.items()
    ]


def _by_repetition(planes: list[ImagePlane]) -> list[Part]:
    """``planes`` grouped by time point or acquisition, where positions repeat or are uneven before the split."""
    repeated = _repeats(planes)
    if not repeated and (len(planes) < 2 * LEAST_SLICES or is_regular(planes)):
        return [(planes, [])]
    for attribute in REPETITION:
        values = [attribute.value(plane.ds) for plane in planes]
        if "" in values or len({type(value) for value in values}) > 1 or len(set(values)) == 1:
            continue
        parts = _in_turn(planes, values) if repeated else _each_regular(planes, values)
        if parts:
            return [(part, [_nth(attribute, value, number)]) for number, (part, value) in enumerate(parts, start=1)]
    return [(planes, [])]


def _nth(attribute: StackAttribute, value: Value, number: int) -> str:
    return attribute.words(value) if attribute.shown else f"{attribute.name} in turn {number}"


def _in_turn(planes: list[ImagePlane], values: Sequence[Value]) -> list[tuple[list[ImagePlane], Value]]:
    """``planes`` in the order of ``values``, cut where a position repeats; empty where the cut is not clean.

    Clean: no value is on both sides of a cut, and at least one part has every position.
    """
    places = _places(planes)
    order = sorted(range(len(planes)), key=lambda index: (values[index], places[index]))
    parts: list[list[int]] = []
    taken: set[int] = set(places)
    for index in order:
        if places[index] in taken:
            if parts and values[parts[-1][-1]] == values[index]:
                return []
            parts.append([])
            taken = set()
        parts[-1].append(index)
        taken.add(places[index])
    if len(parts) < 2 or max(len(part) for part in parts) < len(set(places)):
        return []
    return [([planes[index] for index in part], values[part[0]]) for part in parts]


def _each_regular(planes: list[ImagePlane], values: Sequence[Value]) -> list[tuple[list[ImagePlane], Value]]:
    """``planes`` grouped by equal ``values``, if each group is a regular stack; empty otherwise."""
    parts: dict[Value, list[ImagePlane]] = defaultdict(list)
    for plane, value in zip(planes, values, strict=True):
        parts[value].append(plane)
    return [(part, value) for value, part in parts.items()] if all(map(is_regular, parts.values())) else []


def _without_copies(planes: list[ImagePlane]) -> tuple[list[ImagePlane], list[Caveat]]:
    """``planes`` with each slice once, where those at one position have equal pixels; a caveat counts the others."""
    if not _repeats(planes):
        return planes, []
    at: dict[int, list[ImagePlane]] = defaultdict(list)
    for plane, place in zip(planes, _places(planes), strict=True):
        at[place].append(plane)
    kept = []
    for group in at.values():
        if len(group) > 1 and not _copies(group):
            return planes, []
        kept.append(group[0])
    count = len(planes) - len(kept)
    return kept, [Caveat(CaveatCode.COPIES_LEFT_OUT, {"count": count})]


def _copies(group: Iterable[ImagePlane]) -> bool:
    """Whether the planes, at one position along the normal, have the same origin and the same modality values."""
    first, *others = group
    values = None
    for other in others:
        if float(np.linalg.norm(first.origin - other.origin)) > SAME_POSITION_MM:
            return False
        values = pixel_values(first.source) if values is None else values
        if not np.array_equal(values, pixel_values(other.source)):
            return False
    return True


def _positions(planes: Sequence[ImagePlane], normal: Vector | None = None) -> Vector:
    """Positions in mm along ``normal``, or the first plane's."""
    along = planes[0].normal if normal is None else normal
    return np.array([float(plane.origin @ along) for plane in planes])


def _places(planes: Sequence[ImagePlane]) -> list[int]:
    """The index of each plane's position among the distinct ones, ascending along the normal."""
    positions = _positions(planes)
    order = np.argsort(positions, kind="stable")
    numbers = np.concatenate([[0], np.cumsum(np.diff(positions[order]) >= SAME_POSITION_MM)])
    places = np.empty(len(planes), dtype=int)
    places[order] = numbers
    return [int(place) for place in places]


def _repeats(planes: Sequence[ImagePlane]) -> bool:
    return len(set(_places(planes))) < len(planes)
