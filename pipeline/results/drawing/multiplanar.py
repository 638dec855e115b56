"""Multiplanar reformats of a volume: its own planes, and planes across them in their true proportions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from scipy.ndimage import map_coordinates

from pipeline.caveats import CaveatCode
from pipeline.findings.model import Findings
from pipeline.geometry.display import Turn, Vector
from pipeline.geometry.volume import Volume

FloatImage = npt.NDArray[np.float32]
GreyRange = tuple[float, float]
"""Values shown black and white."""

MOST_SAMPLES = 320
"""Rows and columns of a plane across; it is shown on fewer pixels of the page."""
OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}
LEAST_PLANES = 8
LEAST_EXTENT = 0.3
"""Planes across are shown for at least so many source planes, that cover at least so much of what one plane is wide:
fewer would show an unrecognisable strip."""

TRIM_BELOW, TRIM_NOISE, TRIM_MM = 0.08, 0.01, 9.0
"""Air is darker than this share of the window, save for this share of a row or column (noise); mm kept around."""


@dataclass(frozen=True)
class Reformat:
    """A plane of a volume, or a multiplanar reformat across its planes.

    Attributes
    ----------
    grey : float32, (rows, columns), modality values; not a number where the volume does not reach.
    heat : float32, (rows, columns), class activation 0..1.
    masks : number of each lesion that it shows, from 1, with its share of each pixel, float32 (rows, columns), 0..1.
    spacing : mm from row to row and from column to column.
    across, down : unit vectors (LPS) of increasing column and row.
    origin : patient coordinates (mm, LPS) of the centre of the first pixel.
    index : the source plane that this is, None for a plane across.
    turn : how the source plane was turned to be shown upright; None for a plane across.
    first : row and column, in the turned source plane, that the first pixel is.
    edges : patient directions of increasing column and row as a radiograph's header states them ("L", "F"), empty where
        it does not; None for planes in the patient, whose directions are those of ``across`` and ``down``.
    scale_note : what lengths on the picture are, where they are not those in the patient.
    """

    grey: FloatImage
    heat: FloatImage
    masks: tuple[tuple[int, FloatImage], ...]
    spacing: tuple[float, float]
    across: Vector
    down: Vector
    origin: Vector
    index: int | None = None
    turn: Turn | None = None
    first: tuple[int, int] = (0, 0)
    edges: tuple[str, str] | None = None
    scale_note: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.grey.shape
        return rows, columns

    def from_source(self, pixel: tuple[float, float]) -> tuple[float, float]:
        """(row, column) here of a (row, column) of the source plane."""
        row, column = pixel if self.turn is None else self.turn.pixel(pixel)
        return row - self.first[0], column - self.first[1]

    def to_pixel(self, point: Vector) -> tuple[float, float]:
        """(row, column), with fractions, of the place in this plane that is nearest to ``point`` (mm, LPS).

        Rows and columns may meet at an angle (a sheared stack seen from the side never does; a source plane may, by
        rounding), so both are solved for at once.
        """
        axes = np.stack([self.down * self.spacing[0], self.across * self.spacing[1]], axis=1)
        (row, column), *_ = np.linalg.lstsq(axes, point - self.origin, rcond=None)
        return float(row), float(column)


def source_plane(volume: Volume, findings: Findings, index: int) -> Reformat:
    """Source plane ``index`` in the usual display (`pipeline.geometry.display`), whatever way it is stored; a
    radiograph as it is stored.
    """
    shape = (volume.shape[1], volume.shape[2])
    down, across = volume.affine[:3, 1] / volume.spacing[1], volume.affine[:3, 2] / volume.spacing[2]
    turn = Turn(shape) if volume.projection else Turn.upright(shape, down, across)
    heat = np.zeros(shape, np.float32) if findings.heatmap is None else findings.heatmap[index]
    shown_down, shown_across = turn.axes(down, across)
    row, column = turn.pixel((0, 0))
    spacing = volume.spacing[:0:-1] if turn.transpose else volume.spacing[1:]
    at_detector = CaveatCode.LENGTHS_AT_DETECTOR in {item.code for item in volume.caveats}
    return Reformat(
        grey=turn.image(volume.array[index]),
        heat=turn.image(heat),
        masks=tuple(
            (number, turn.image(region.voxels.plane(index).astype(np.float32)))
            for number, region in enumerate(findings.regions, start=1)
            if index in region.slices
        ),
        spacing=(spacing[0], spacing[1]),
        across=shown_across,
        down=shown_down,
        origin=volume.to_patient((index, 0, 0)) - shown_down * spacing[0] * row - shown_across * spacing[1] * column,
        index=index,
        turn=turn,
        edges=_stated_edges(volume.sources[index]) if volume.projection else None,
        scale_note="at the detector" if at_detector else "",
    )


def _stated_edges(source: Dataset) -> tuple[str, str]:
    """Patient Orientation (PS3.3 C.7.6.1.1.1) of a radiograph; empty where it is not two directions."""
    stated = source.get("PatientOrientation")
    values = [] if stated is None or isinstance(stated, str) else [str(value) for value in stated]
    sound = len(values) == 2 and all(value and set(value) <= set(OPPOSITE) for value in values)
    return (values[0], values[1]) if sound else ("", "")


def reformats_across(volume: Volume, findings: Findings, point: Vector) -> tuple[Reformat, ...]:
    """The two planes through ``point`` (mm, LPS) that are perpendicular to the source planes and to each other.

    Interpolated linearly between slices, square pixels, upright as readers expect it. None where the source planes are
    too few, or cover too little, for such a picture to show anything.
    """
    planes, rows, columns = volume.shape
    down, across = volume.affine[:3, 1] / volume.spacing[1], volume.affine[:3, 2] / volume.spacing[2]
    normal = np.cross(across, down)
    normal /= np.linalg.norm(normal)
    extent = planes * abs(float(normal @ volume.affine[:3, 0]))
    widest = max(rows * volume.spacing[1], columns * volume.spacing[2])
    if planes < LEAST_PLANES or extent < LEAST_EXTENT * widest:
        return ()
    sides = Turn.upright((rows, columns), down, across).axes(down, across)[::-1]  # in one order however it is stored
    return tuple(_across(volume, findings, point, in_plane, normal) for in_plane in sides)


def trimmed(reformat: Reformat, window: GreyRange) -> Reformat:
    """``reformat`` without the dark air around the body, so that what matters is larger on a page.

    Whatever is outlined or coloured stays, with `TRIM_MM` around it; and never less than a third is left.
    """
    low, high = window
    shown = (np.nan_to_num(reformat.grey, nan=low) > low + TRIM_BELOW * (high - low)) | (reformat.heat > 0.1)
    for _, mask in reformat.masks:
        shown |= mask > 0
    parts = []
    for axis, step in ((1, reformat.spacing[0]), (0, reformat.spacing[1])):
        filled = np.flatnonzero(shown.mean(axis=axis) > TRIM_NOISE)
        count = shown.shape[1 - axis]
        pad = round(TRIM_MM / step)
        first, last = (filled[0] - pad, filled[-1] + pad + 1) if len(filled) else (0, count)
        lacking = max(0, count // 3 - (last - first)) // 2
        parts.append(slice(max(0, first - lacking), min(count, last + lacking)))
    rows, columns = parts
    return replace(
        reformat,
        grey=reformat.grey[rows, columns],
        heat=reformat.heat[rows, columns],
        masks=tuple((number, mask[rows, columns]) for number, mask in reformat.masks),
        origin=reformat.origin
        + reformat.down * reformat.spacing[0] * rows.start
        + reformat.across * reformat.spacing[1] * columns.start,
        first=(rows.start, columns.start),
    )


def _across(volume: Volume, findings: Findings, point: Vector, in_plane: Vector, normal: Vector) -> Reformat:
    """The plane through ``point`` that ``in_plane`` and ``normal`` span, as far as the volume reaches."""
    turn = Turn.upright((1, 1), normal, in_plane)
    down, across = turn.axes(normal, in_plane)
    corners = np.array([[k, r, c] for k in (0, 1) for r in (0, 1) for c in (0, 1)]) * volume.shape - 0.5
    away = volume.to_patient(corners) - point
    reach = [(float((away @ axis).min()), float((away @ axis).max())) for axis in (down, across)]
    step = max(min(volume.spacing[1:]), *((high - low) / MOST_SAMPLES for low, high in reach))
    rows, columns = (max(1, round((high - low) / step)) for low, high in reach)
    origin = point + down * (reach[0][0] + step / 2) + across * (reach[1][0] + step / 2)
    places = volume.to_index(
        origin + np.arange(rows)[:, None, None] * step * down + np.arange(columns)[None, :, None] * step * across
    )
    at = np.moveaxis(places, -1, 0)
    masks = (
        (number, _sample(region.mask, at, 0.0))
        for number, region in enumerate(findings.regions, start=1)
        if _near(region.slices, at[0])
    )
    grey = _sample(volume.array, at, np.nan)
    return Reformat(
        grey=grey,
        heat=np.zeros_like(grey) if findings.heatmap is None else _sample(findings.heatmap, at, 0.0),
        masks=tuple((number, mask) for number, mask in masks if mask.max() >= 0.5),
        spacing=(step, step),
        across=across,
        down=down,
        origin=origin,
    )


def _near(slices: tuple[int, ...], planes: npt.NDArray[np.float64]) -> bool:
    return bool(slices) and slices[0] - 1 <= planes.max() and slices[-1] + 1 >= planes.min()


def _sample(array: npt.NDArray[np.generic], at: npt.NDArray[np.float64], outside: float) -> FloatImage:
    """``array`` (slices, rows, columns) at places (3, ...), linearly; the outermost half voxel is the outermost value.

    Only the part of the array that the places touch is read: a volume may be large, and a plane touches little of it.
    """
    shape = np.array(array.shape)[:, None, None]
    within = ((at > -0.5) & (at < shape - 0.5)).all(axis=0)
    if not within.any():
        return np.full(at.shape[1:], outside, dtype=np.float32)
    inside = np.clip(at, 0, shape - 1)
    low = np.floor(inside[:, within].min(axis=1)).astype(int)
    high = np.ceil(inside[:, within].max(axis=1)).astype(int) + 1
    part = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float32)
    places = np.clip(inside - low[:, None, None], 0, np.array(part.shape)[:, None, None] - 1)
    taken = map_coordinates(part, places, order=1, mode="nearest")
    return np.where(within, taken, np.float32(outside)).astype(np.float32)
