"""A flat picture as a reader sees it: window, heat map, outline, axes, letters, scale bar."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from skimage.measure import find_contours

from pipeline.findings.model import Findings, Outcome
from pipeline.geometry.volume import Volume
from pipeline.results.colours import RGB, region_rgb
from pipeline.results.drawing.canvas import DIM, TEXT, Box, Canvas, Pixels, Placement, Point, place, resize
from pipeline.results.drawing.fonts import Face, width
from pipeline.results.drawing.heat_colours import blend
from pipeline.results.drawing.multiplanar import OPPOSITE, FloatImage, GreyRange, Reformat

LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))
"""Patient directions of +x, -x, +y, -y, +z, -z in LPS (PS3.3 C.7.6.1.1.1)."""
OBLIQUE = 0.35
"""Direction cosine from which a second letter is written: about 20 degrees off the axis."""
SCALE_BARS_MM = (100, 50, 20, 10, 5, 2, 1)
NARROW = 200
LEAST_AXIS = 24
"""Pixels on the page."""
MOST_SAMPLES = 1 << 20
"""Voxels that the window is taken from: a million give its percentiles as well as fifty."""


def display_window(volume: Volume, index: int) -> GreyRange:
    """Values shown black and white: the window of plane ``index``'s header if it fits the voxels, else a computed one.

    Headers carry no window, one of width 0, or one from other pixels: what would show a black, white or flat picture is
    not used. Neither do single voxels that are far off, or not numbers, decide what all others look like.
    """
    step = max(1, int(np.ceil((volume.array.size / MOST_SAMPLES) ** (1 / 3))))
    sample = volume.array[index % step :: step, ::step, ::step]
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 1.0
    bottom, top = (float(value) for value in np.percentile(sample, (0.5, 99.9)))
    head = sample[(sample > bottom + 0.05 * (top - bottom)) & (sample <= top)]
    if not head.size:
        return bottom, bottom + 1
    low, middle, high = (float(value) for value in np.percentile(head, (1, 50, 99.7)))
    own = (min(0.0, low) if low < 0 else 0.0 if low < 0.5 * high else low, max(high, low + 1e-6))
    tags = _header_window(volume, index)
    if tags is None:
        return own
    black, white = tags
    fits = black < middle < white and 0.25 * (high - low) < white - black < 4 * max(high - low, 1e-6)
    return tags if fits else own


def _header_window(volume: Volume, index: int) -> GreyRange | None:
    """Limits of the linear window in the header (PS3.3 C.11.2.1.2)."""
    values = []
    for keyword in ("WindowCenter", "WindowWidth"):
        value = volume.sources[index].get(keyword)
        if value is None or value == "":
            return None
        try:
            values.append(float(value if isinstance(value, str | int | float) else value[0]))
        except (TypeError, ValueError, IndexError):
            return None
    centre, wide = values
    if not (np.isfinite(centre) and np.isfinite(wide)) or wide <= 1:
        return None
    return centre - 0.5 - (wide - 1) / 2, centre - 0.5 + (wide - 1) / 2


def draw_reformat(
    canvas: Canvas,
    reformat: Reformat,
    window: GreyRange,
    box: Box,
    *,
    heat: bool,
    cut_by: Sequence[Reformat] = (),
    top: bool = False,
) -> Placement:
    """The picture as large as ``box`` allows, with letters and scale bar; ``heat``: with the class activation.

    ``cut_by``: planes whose cut is marked at the edges. ``top``: at the upper edge of the box, else in its middle.
    """
    placement = place(reformat.shape, reformat.spacing, box)
    if top:
        placement = replace(placement, y=box.y)
    picture = grey(reformat.grey, window, placement)
    if heat:
        picture = blend(picture, resize(reformat.heat, placement, smooth=False))
    canvas.paste(picture, placement.x, placement.y)
    draw_crossing(canvas, reformat, placement, cut_by)
    size = 20 if min(placement.width, placement.height) > 300 else 16
    draw_letters(canvas, reformat, placement, size=size)
    draw_scale(canvas, placement, size=size - 3, note=reformat.scale_note)
    return placement


def grey(plane: FloatImage, window: GreyRange, placement: Placement) -> Pixels:
    """``plane`` in grey, uint8 (placement.height, placement.width, 3); black where it is not a number."""
    low, high = window
    shown = np.nan_to_num(np.clip((plane - low) / (high - low), 0, 1))
    large = np.clip(resize(shown, placement, smooth=True), 0, 1)
    return np.repeat((large * 255 + 0.5).astype(np.uint8)[..., None], 3, axis=2)


def draw_outlines(
    canvas: Canvas, findings: Findings, reformat: Reformat, placement: Placement, *, numbers: Collection[int]
) -> None:
    """The contour of every region in ``reformat`` in its colour, and beside those of ``numbers`` the number that the
    table gives it.

    Regions may lie within each other: the smaller lies on top, so that both are seen.
    """
    grouped: dict[RGB, list[tuple[int, FloatImage]]] = {}
    for number, mask in sorted(reformat.masks, key=lambda item: -float(item[1].sum())):
        grouped.setdefault(region_rgb(findings, number), []).append((number, mask))
    for colour, masks in grouped.items():
        paths = [path for _, mask in sorted(masks, key=lambda item: item[0]) for path in contours(mask, placement)]
        canvas.lines(paths, colour, 2, within=placement)
    taken: list[Point] = []
    for number, mask in reformat.masks:
        rows, columns = np.nonzero(mask >= 0.5)
        if number not in numbers or not len(rows):
            continue
        x, y = placement.to_page(float(rows.min()), float(columns[rows.argmin()]))
        at = (x, max(y - 5, placement.y + 22))
        if all(abs(at[0] - x) > 16 or abs(at[1] - y) > 22 for x, y in taken):
            colour = region_rgb(findings, number)
            canvas.text(at, f"{number}", size=18, face=Face.BOLD, colour=colour, anchor="md", cased=True)
            taken.append(at)


def contours(mask: npt.NDArray[np.bool_] | FloatImage, placement: Placement) -> list[list[Point]]:
    """The region's border, halfway between pixels inside and outside, in page coordinates."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return []
    top, left = rows.min(), columns.min()
    part = np.pad(mask[top : rows.max() + 1, left : columns.max() + 1].astype(np.float64), 1)
    found = find_contours(part, 0.5)  # type: ignore[no-untyped-call]  # scikit-image has no types
    return [[placement.to_page(row - 1 + top, column - 1 + left) for row, column in path.tolist()] for path in found]


def draw_axes(canvas: Canvas, findings: Findings, reformat: Reformat, placement: Placement) -> None:
    """Long and short axis, with their lengths, of each lesion of ``reformat`` that is longest in that source plane.

    Axes shorter than `LEAST_AXIS` would hide what they measure: the table alone gives their lengths.
    """
    for number, _ in reformat.masks:
        region = findings.regions[number - 1]
        if region.long_axis is None or region.short_axis is None:
            continue
        long_axis = region.long_axis
        if long_axis.slice_index != reformat.index or long_axis.length_mm * placement.pixels_per_mm < LEAST_AXIS:
            continue
        lines = []
        for axis, thick in ((region.short_axis, 1.4), (long_axis, 2.0)):
            start, end = (placement.to_page(*reformat.from_source(place)) for place in (axis.start, axis.end))
            canvas.lines([[start, end], *_ticks(start, end)], TEXT, thick, within=placement)
            lines.append((start, end, f"{axis.length_mm:.0f} mm"))
        for start, end, text in lines:
            _name_length(canvas, (start, end), text, placement)


def _name_length(canvas: Canvas, ends: tuple[Point, Point], text: str, placement: Placement) -> None:
    """``text`` beyond the end of a line that has more room, within the picture."""
    middle = placement.x + placement.width / 2, placement.y + placement.height / 2
    ends = (ends[0], ends[1]) if ends[0] != ends[1] else (ends[0], (ends[0][0] + 1, ends[0][1]))
    end, other = sorted(ends, key=lambda at: abs(at[0] - middle[0]) + abs(at[1] - middle[1]))
    size = 16
    wide = width(text, size)
    length = float(np.hypot(end[0] - other[0], end[1] - other[1]))
    along = (end[0] - other[0]) / length, (end[1] - other[1]) / length
    x = end[0] + along[0] * (14 + wide / 2)
    y = end[1] + along[1] * 18
    x = min(max(x, placement.x + wide / 2 + 6), placement.x + placement.width - wide / 2 - 6)
    y = min(max(y, placement.y + 14), placement.y + placement.height - 14)
    canvas.text((x, y), text, size=size, face=Face.MEDIUM, anchor="mm", cased=True)


def _ticks(start: Point, end: Point, half: float = 5) -> list[list[Point]]:
    """Short strokes across both ends of a line."""
    (x0, y0), (x1, y1) = start, end
    length = float(np.hypot(x1 - x0, y1 - y0)) or 1.0
    dx, dy = -(y1 - y0) / length * half, (x1 - x0) / length * half
    return [[(x - dx, y - dy), (x + dx, y + dy)] for x, y in (start, end)]


def direction_letters(vector: Iterable[float]) -> str:
    """The patient direction of a vector (LPS): "A", or "AH" if oblique."""
    cosines = np.array(tuple(vector), dtype=np.float64)
    cosines /= np.linalg.norm(cosines)
    order = np.argsort(-np.abs(cosines), kind="stable")
    chosen = [axis for rank, axis in enumerate(order) if rank == 0 or abs(cosines[axis]) > OBLIQUE]
    return "".join(LETTERS[axis][0 if cosines[axis] > 0 else 1] for axis in chosen[:2])


def draw_letters(canvas: Canvas, reformat: Reformat, placement: Placement, *, size: int = 20) -> None:
    """Direction letters at the edges of the picture, computed from the affine; of a radiograph those of its header."""
    right_edge, bottom_edge = reformat.edges or (direction_letters(reformat.across), direction_letters(reformat.down))
    left, right = placement.x + 8, placement.x + placement.width - 8
    top, bottom = placement.y + 4, placement.y + placement.height - 4
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    places = (
        ((left, middle_y), opposite(right_edge), "lm"),
        ((right, middle_y), right_edge, "rm"),
        ((middle_x, top), opposite(bottom_edge), "ma"),
        ((middle_x, bottom), bottom_edge, "md"),
    )
    for at, letters, anchor in places:
        if letters:
            canvas.text(at, letters, size=size, face=Face.MEDIUM, anchor=anchor, cased=True)


def opposite(letters: str) -> str:
    """The letters of the opposite direction."""
    return "".join(OPPOSITE[letter] for letter in letters)


def draw_scale(canvas: Canvas, placement: Placement, *, size: int = 16, note: str = "") -> None:
    """A bar of a round length, at most a third of the picture, in its left lower corner; ``note``: of what it is."""
    fitting = [mm for mm in SCALE_BARS_MM if mm * placement.pixels_per_mm <= placement.width / 3]
    if not fitting:
        return
    length = fitting[0] * placement.pixels_per_mm
    x, y = placement.x + 12.0, placement.y + placement.height - 12.0
    if placement.width < NARROW:
        y -= 22  # above the letter at the lower edge
    ends = ((x, y), (x + length, y))
    canvas.lines([list(ends), *_ticks(*ends, half=4)], TEXT, 1.6, within=placement)
    canvas.text((x, y - 6), f"{fitting[0]} mm {note}".rstrip(), size=size, anchor="ld", cased=True)


def draw_crossing(canvas: Canvas, reformat: Reformat, placement: Placement, others: Sequence[Reformat]) -> None:
    """Short marks at the edges of the picture where the planes of ``others`` cut through it."""
    for other in others:
        direction = np.cross(np.cross(reformat.across, reformat.down), np.cross(other.across, other.down))
        length = float(np.linalg.norm(direction))
        if length < 1e-3:
            continue
        spot = _common_point(reformat, other)
        row, column = reformat.to_pixel(spot)
        far_row, far_column = reformat.to_pixel(spot + direction / length)
        x, y = placement.to_page(row, column)
        dx, dy = (far_column - column) * placement.pixels_per_column, (far_row - row) * placement.pixels_per_row
        reach = [_edge(x, y, dx * sign, dy * sign, placement) for sign in (1, -1)]
        size = float(np.hypot(dx, dy)) or 1.0
        marks = [
            [(ex, ey), (ex - sign * dx / size * 16, ey - sign * dy / size * 16)]
            for sign, (ex, ey) in zip((1, -1), reach, strict=True)
        ]
        canvas.lines(marks, DIM, 1.6, within=placement)


def _common_point(reformat: Reformat, other: Reformat) -> npt.NDArray[np.float64]:
    """The point of both planes nearest to the middle of ``reformat``."""
    rows, columns = reformat.shape
    middle = (
        reformat.origin
        + reformat.down * reformat.spacing[0] * (rows - 1) / 2
        + reformat.across * reformat.spacing[1] * (columns - 1) / 2
    )
    normals = np.stack([np.cross(plane.across, plane.down) for plane in (reformat, other)])
    missing = np.array([normals[0] @ (reformat.origin - middle), normals[1] @ (other.origin - middle)])
    step: npt.NDArray[np.float64] = np.linalg.lstsq(normals, missing, rcond=None)[0]
    return middle + step


def _edge(x: float, y: float, dx: float, dy: float, placement: Placement) -> Point:
    """The point where the ray from (x, y) along (dx, dy) leaves the picture."""
    ways = []
    for at, step, low, size in ((x, dx, placement.x, placement.width), (y, dy, placement.y, placement.height)):
        if abs(step) > 1e-9:
            ways.append(((low + size if step > 0 else low) - at) / step)
    way = min(ways, default=0.0)
    return x + dx * way, y + dy * way


def draw_colour_bar(canvas: Canvas, box: Box, *, vertical: bool) -> None:
    """The scale of the heat map as it looks over grey tissue, with its ends named."""
    length = box.height if vertical else box.width
    ramp = np.linspace(0, 1, length, dtype=np.float32)
    activation = np.tile(ramp[::-1, None], (1, box.width)) if vertical else np.tile(ramp, (box.height, 1))
    tissue = np.full((*activation.shape, 3), 96, dtype=np.uint8)
    canvas.paste(blend(tissue, activation), box.x, box.y)
    for share in (0.0, 0.5, 1.0):
        name = f"{share:g}"
        if vertical:
            y = box.y + (1 - share) * (length - 1)
            canvas.rectangle(Box(box.right, round(y), 5, 1), DIM)
            canvas.text((box.right + 9, y), name, size=16, colour=DIM, anchor="lm")
        else:
            x = box.x + share * (length - 1)
            canvas.rectangle(Box(round(x), box.bottom, 1, 5), DIM)
            canvas.text((x, box.bottom + 4), name, size=16, colour=DIM, anchor="ma")


def point_of_interest(volume: Volume, findings: Findings) -> npt.NDArray[np.float64]:
    """Patient coordinates (mm, LPS) that planes are laid through: in the largest lesion of the key slice, else where
    the class activation of the key slice is strongest, else in its middle, as for an answer that finds nothing.
    """
    index = findings.key_slice
    masks = [region.voxels.plane(index) for region in findings.regions if index in region.slices]
    if not masks and (findings.heatmap is None or findings.outcome is Outcome.NO_FINDING):
        return volume.to_patient((index, volume.shape[1] / 2, volume.shape[2] / 2))
    if masks:
        pixels = np.argwhere(max(masks, key=np.count_nonzero))
        row, column = pixels[np.argmin(np.linalg.norm(pixels - pixels.mean(axis=0), axis=1))]
    else:
        assert findings.heatmap is not None, "looked at before"
        heat = np.nan_to_num(findings.heatmap[index])
        row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
    return volume.to_patient((index, float(row), float(column)))
