"""A source plane as a reader sees it: window, heat map, outline, axis, letters, scale bar."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import matplotlib as mpl
import numpy as np
from PIL import Image
from skimage.measure import find_contours

from pipeline.findings import BoolArray, Findings, Lesion
from pipeline.results.canvas import DIM, TEXT, Box, Canvas, Pixels, Placement, Plane, Point, enlarge
from pipeline.results.segmentation import OUTLINE_RGB
from pipeline.volume import Volume

COLOUR_MAP = "inferno"
"""Perceptually uniform: an equal step in activation is an equal step to the eye, also in grey."""
FAINTEST, STRONGEST, MOST_OPAQUE = 0.15, 0.85, 0.6
"""Activation below the first is not coloured; from the second on the colour is as opaque as it gets, and anatomy
still shows through."""
LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))
"""Patient directions of +x, -x, +y, -y, +z, -z in LPS (PS3.3 C.7.6.1.1.1)."""
OBLIQUE = 0.35
"""Direction cosine from which a second letter is written: about 20 degrees off the axis."""
SCALE_BARS_MM = (100, 50, 20, 10, 5, 2, 1)
LABELLED_LESIONS = 9
LEAST_AXIS = 36
"""Pixels on the page."""
MOST_SAMPLES = 1 << 20
"""Voxels that the window is taken from: a million tell its percentiles as well as fifty."""

Window = tuple[float, float]
"""Values shown black and white."""


def display_window(volume: Volume, index: int) -> Window:
    """Values shown black and white: the window of plane ``index``'s header where it fits the voxels, else one of ours.

    Headers carry no window, one of width 0, or one from other pixels: what would show a black, white or flat picture is
    not used.
    """
    step = max(1, round((volume.array.size / MOST_SAMPLES) ** (1 / 3)))
    sample = volume.array[index % step :: step, ::step, ::step]
    head = sample[sample > sample.min() + 0.05 * np.ptp(sample)]
    if not head.size:
        return float(sample.min()), float(sample.min()) + 1
    low, middle, high = (float(value) for value in np.percentile(head, (1, 50, 99.7)))
    own = (min(0.0, low) if low < 0 else 0.0 if low < 0.5 * high else low, max(high, low + 1e-6))
    tags = _header_window(volume, index)
    if tags is None:
        return own
    black, white = tags
    fits = black < middle < white and 0.25 * (high - low) < white - black < 4 * max(high - low, 1e-6)
    return tags if fits else own


def _header_window(volume: Volume, index: int) -> Window | None:
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
    centre, width = values
    if not (np.isfinite(centre) and np.isfinite(width)) or width <= 1:
        return None
    return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2


def grey(volume: Volume, index: int, window: Window, placement: Placement) -> Pixels:
    """Plane ``index`` in grey, uint8 (placement.height, placement.width, 3)."""
    low, high = window
    shown = np.clip((volume.array[index] - low) / (high - low), 0, 1)
    large = np.clip(enlarge(shown, placement, Image.Resampling.BICUBIC), 0, 1)
    return np.repeat((large * 255 + 0.5).astype(np.uint8)[..., None], 3, axis=2)


def heat(picture: Pixels, activation: Plane, placement: Placement) -> Pixels:
    """``picture`` with the class activation of one plane (0..1) laid over it."""
    large = np.clip(enlarge(activation, placement, Image.Resampling.BILINEAR), 0, 1)
    return blend(picture, large)


def blend(picture: Pixels, activation: Plane) -> Pixels:
    """Colour by activation, opaque by strength; both (rows, columns[, 3])."""
    opacity = MOST_OPAQUE * np.clip((activation - FAINTEST) / (STRONGEST - FAINTEST), 0, 1)
    coloured = opacity > 0
    result = picture.copy()
    share = opacity[coloured][:, None]
    colours = _palette()[(activation[coloured] * 255 + 0.5).astype(np.uint8)]
    result[coloured] = (picture[coloured] * (1 - share) + colours * share + 0.5).astype(np.uint8)
    return result


@lru_cache(maxsize=1)
def _palette() -> Plane:
    """The colour map, (256, 3), 0..255."""
    return np.asarray(mpl.colormaps[COLOUR_MAP](np.arange(256))[:, :3] * 255, dtype=np.float32)


def draw_outlines(canvas: Canvas, findings: Findings, index: int, placement: Placement) -> None:
    """Every lesion's contour in plane ``index``; where there are several, the number that the table gives it."""
    shown = [(number, item) for number, item in enumerate(findings.lesions, start=1) if item.mask[index].any()]
    paths = [path for _, lesion in shown for path in contours(lesion.mask[index], placement)]
    canvas.lines(paths, OUTLINE_RGB, 2, within=placement)
    if len(findings.lesions) < 2:
        return
    for number, lesion in shown[:LABELLED_LESIONS]:
        rows, columns = np.nonzero(lesion.mask[index])
        x, y = placement.to_page(float(rows.min()), float(columns[rows.argmin()]))
        y = max(y - 6, placement.y + 24)
        canvas.text((x, y), f"{number}", size=18, bold=True, colour=OUTLINE_RGB, anchor="md", cased=True)


def contours(mask: BoolArray, placement: Placement) -> list[list[Point]]:
    """The region's border, halfway between pixels inside and outside, in page coordinates."""
    padded = np.pad(mask, 1).astype(np.float64)
    found = find_contours(padded, 0.5)  # type: ignore[no-untyped-call]  # scikit-image has no types
    return [[placement.to_page(float(row) - 1, float(column) - 1) for row, column in path] for path in found]


def draw_axes(canvas: Canvas, lesions: Iterable[Lesion], index: int, placement: Placement) -> None:
    """Long and short axis of each lesion that is longest in plane ``index``, the long one with its length.

    Axes shorter than `LEAST_AXIS` would hide what they measure: their lengths stand in the table only.
    """
    for lesion in lesions:
        long_axis = lesion.long_axis
        if long_axis.slice_index != index or long_axis.length_mm * placement.pixels_per_mm < LEAST_AXIS:
            continue
        for axis, width in ((lesion.short_axis, 1.2), (long_axis, 2.0)):
            ends = placement.to_page(*axis.start), placement.to_page(*axis.end)
            canvas.lines([list(ends), *_ticks(*ends)], TEXT, width, within=placement)
        x, y = max(placement.to_page(*long_axis.start), placement.to_page(*long_axis.end))
        x = min(x + 10, placement.x + placement.width - 90)
        canvas.text((x, y), f"{long_axis.length_mm:.0f} mm", size=16, anchor="lm", cased=True)


def _ticks(start: Point, end: Point, half: float = 5) -> list[list[Point]]:
    """Short strokes across both ends of a line."""
    (x0, y0), (x1, y1) = start, end
    length = float(np.hypot(x1 - x0, y1 - y0)) or 1.0
    dx, dy = -(y1 - y0) / length * half, (x1 - x0) / length * half
    return [[(x - dx, y - dy), (x + dx, y + dy)] for x, y in (start, end)]


def direction_letters(vector: Iterable[float]) -> str:
    """Where a direction (LPS) points in the patient: "A", or "AH" where it is oblique."""
    cosines = np.array(tuple(vector), dtype=np.float64)
    cosines /= np.linalg.norm(cosines)
    order = np.argsort(-np.abs(cosines), kind="stable")
    chosen = [axis for place, axis in enumerate(order) if place == 0 or abs(cosines[axis]) > OBLIQUE]
    return "".join(LETTERS[axis][0 if cosines[axis] > 0 else 1] for axis in chosen[:2])


def draw_letters(canvas: Canvas, volume: Volume, placement: Placement, *, size: int = 20) -> None:
    """Where the picture's edges lie in the patient, computed from the affine."""
    down, across = volume.affine[:3, 1], volume.affine[:3, 2]
    left, right = placement.x + 10, placement.x + placement.width - 10
    top, bottom = placement.y + 8, placement.y + placement.height - 8
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    places = (
        ((left, middle_y), -across, "lm"),
        ((right, middle_y), across, "rm"),
        ((middle_x, top), -down, "ma"),
        ((middle_x, bottom), down, "md"),
    )
    for at, direction, anchor in places:
        canvas.text(at, direction_letters(direction), size=size, anchor=anchor, cased=True)


def draw_scale(canvas: Canvas, placement: Placement) -> None:
    """A bar of a round length, at most a third of the picture, in its left lower corner."""
    fitting = [mm for mm in SCALE_BARS_MM if mm * placement.pixels_per_mm <= placement.width / 3]
    if not fitting:
        return
    length = fitting[0] * placement.pixels_per_mm
    x, y = placement.x + 14.0, placement.y + placement.height - 16.0
    ends = ((x, y), (x + length, y))
    canvas.lines([list(ends), *_ticks(*ends)], TEXT, 1.6, within=placement)
    canvas.text((x, y - 10), f"{fitting[0]} mm", size=15, anchor="ld", cased=True)


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
            canvas.rectangle(Box(box.x + box.width, round(y), 5, 1), DIM)
            canvas.text((box.x + box.width + 10, y), name, size=15, colour=DIM, anchor="lm")
        else:
            x = box.x + share * (length - 1)
            canvas.rectangle(Box(round(x), box.y + box.height, 1, 5), DIM)
            canvas.text((x, box.y + box.height + 7), name, size=15, colour=DIM, anchor="ma")
