"""Drawing a page: text, smooth lines, and a source plane enlarged so that its geometry is known on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from pipeline.volume import Volume

RGB = tuple[int, int, int]
Point = tuple[float, float]
Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]

WIDTH, HEIGHT = 1280, 1024
"""Columns and rows of every page: the height of a common viewport, so that it is seen unscaled."""
FINE = 3
"""Lines are drawn so many times larger and averaged down: smooth edges, which Pillow's own lines lack."""

BLACK: RGB = (0, 0, 0)
TEXT: RGB = (214, 217, 222)
DIM: RGB = (141, 147, 156)
FAINT: RGB = (58, 62, 68)
WARNING: RGB = (255, 180, 84)
"""Nothing is brighter than it must be: the page is read in a dark room beside the images."""


@lru_cache(maxsize=64)
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it, ``size`` in pixels."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / name), size)


@dataclass(frozen=True)
class Box:
    """A rectangle of the page in pixels, from its left upper corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Placement:
    """Where a source plane lies on the page, in square pixels of ``1 / pixels_per_mm`` mm.

    ``x``, ``y`` are the page coordinates of the plane's left upper corner (the outer edge of its first pixel).
    """

    x: int
    y: int
    width: int
    height: int
    pixels_per_row: float
    pixels_per_column: float
    pixels_per_mm: float

    def to_page(self, row: float, column: float) -> Point:
        """Page coordinates (x, y), pixel edges at integers, of a place in the plane, pixel centres at integers."""
        return self.x + (column + 0.5) * self.pixels_per_column, self.y + (row + 0.5) * self.pixels_per_row

    def to_plane(self, x: float, y: float) -> Point:
        """The inverse of `to_page`: (row, column)."""
        return (y - self.y) / self.pixels_per_row - 0.5, (x - self.x) / self.pixels_per_column - 0.5


def place(volume: Volume, box: Box) -> Placement:
    """The largest true-to-scale placement of a plane of ``volume`` in the middle of ``box``."""
    _, rows, columns = volume.shape
    _, row_mm, column_mm = volume.spacing
    scale = min(box.width / (columns * column_mm), box.height / (rows * row_mm))
    width, height = columns * column_mm * scale, rows * row_mm * scale
    return Placement(
        x=box.x + round((box.width - width) / 2),
        y=box.y + round((box.height - height) / 2),
        width=max(1, round(width)),
        height=max(1, round(height)),
        pixels_per_row=row_mm * scale,
        pixels_per_column=column_mm * scale,
        pixels_per_mm=scale,
    )


def enlarge(plane: Plane, placement: Placement, resample: Image.Resampling) -> Plane:
    """``plane`` on the page's pixels, float32 (placement.height, placement.width)."""
    image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(image.resize((placement.width, placement.height), resample), dtype=np.float32)


class Canvas:
    """A page being drawn. Coordinates are (x, y) in pixels from the left upper corner."""

    def __init__(self) -> None:
        self._image = Image.new("RGB", (WIDTH, HEIGHT), BLACK)
        self._draw = ImageDraw.Draw(self._image)

    def pixels(self) -> Pixels:
        """The page, uint8 (rows, columns, 3)."""
        return np.asarray(self._image, dtype=np.uint8).copy()

    def paste(self, picture: Pixels, x: int, y: int) -> None:
        self._image.paste(Image.fromarray(picture), (x, y))

    def rectangle(self, box: Box, colour: RGB) -> None:
        self._draw.rectangle((box.x, box.y, box.x + box.width - 1, box.y + box.height - 1), fill=colour)

    def text(
        self,
        at: Point,
        text: str,
        *,
        size: int = 16,
        colour: RGB = TEXT,
        bold: bool = False,
        anchor: str = "la",
        cased: bool = False,
    ) -> None:
        """``anchor`` as Pillow names it ("la": left, ascender); ``cased`` puts a dark edge around the letters."""
        self._draw.text(
            at,
            text,
            font=font(size, bold=bold),
            fill=colour,
            anchor=anchor,
            stroke_width=2 if cased else 0,
            stroke_fill=BLACK,
        )

    def paragraph(
        self, at: Point, text: str, *, width: float, lines: int, size: int = 16, colour: RGB = TEXT, lead: float = 1.4
    ) -> float:
        """``text`` broken to ``width`` pixels, at most ``lines`` lines, the last cut with an ellipsis. Returns the y
        below it.
        """
        x, y = at
        for line in wrap(text, width, lines, size):
            self.text((x, y), line, size=size, colour=colour)
            y += size * lead
        return y

    def lines(self, paths: Sequence[Sequence[Point]], colour: RGB, width: float, *, within: Placement) -> None:
        """Smooth polylines with a dark edge that keeps them visible on bright tissue, clipped to ``within``."""
        points = [point for path in paths for point in path]
        if not points:
            return
        reach = int(width) + 3
        left = max(within.x, int(min(x for x, _ in points)) - reach)
        top = max(within.y, int(min(y for _, y in points)) - reach)
        right = min(within.x + within.width, int(max(x for x, _ in points)) + reach)
        bottom = min(within.y + within.height, int(max(y for _, y in points)) + reach)
        if right <= left or bottom <= top:
            return
        for line_colour, line_width in ((BLACK, width + 1.6), (colour, width)):
            fine = Image.new("L", ((right - left) * FINE, (bottom - top) * FINE), 0)
            draw = ImageDraw.Draw(fine)
            for path in paths:
                moved = [((x - left) * FINE, (y - top) * FINE) for x, y in path]
                draw.line(moved, fill=255, width=max(1, round(line_width * FINE)), joint="curve")
            mask = fine.resize((right - left, bottom - top), Image.Resampling.BOX)
            if line_colour == BLACK:
                mask = mask.point(lambda value: value * 0.5)
            self._image.paste(line_colour, (left, top), mask)


def wrap(text: str, width: float, lines: int, size: int) -> list[str]:
    """``text`` in lines of at most ``width`` pixels; what does not fit into ``lines`` lines is cut with an ellipsis."""
    face = font(size)
    words, result = text.split(), [""]
    for index, word in enumerate(words):
        longer = f"{result[-1]} {word}".strip()
        if face.getlength(longer) <= width or not result[-1]:
            result[-1] = longer
        elif len(result) < lines:
            result.append(word)
        else:
            result[-1] = _cut(f"{result[-1]} {' '.join(words[index:])}", width, size)
            break
    return [_cut(line, width, size) for line in result if line]


def _cut(line: str, width: float, size: int) -> str:
    face = font(size)
    if face.getlength(line) <= width:
        return line
    while line and face.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line.rstrip()}…"
