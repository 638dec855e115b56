"""Drawing on a page: text, smooth lines, and a flat picture enlarged so that its geometry is known on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from pipeline.results.drawing.fonts import Face, cut, font, runs, width, wrap

RGB = tuple[int, int, int]
Point = tuple[float, float]
Pixels = npt.NDArray[np.uint8]
FloatImage = npt.NDArray[np.float32]

SIDE = 1024
"""Rows and columns of every page: square as most viewports are, and as high as a common screen, so seen unscaled."""
FINE = 3
"""Lines are drawn so many times larger and averaged down: smooth edges, which Pillow's own lines lack."""

BLACK: RGB = (0, 0, 0)
TEXT: RGB = (220, 223, 228)
DIM: RGB = (152, 158, 167)
FAINT: RGB = (58, 62, 68)
WARNING: RGB = (255, 184, 92)
"""Nothing is brighter than it must be: the page is read in a dark room beside the images."""


@dataclass(frozen=True)
class Box:
    """A rectangle of the page in pixels, from its left upper corner."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height


@dataclass(frozen=True)
class Placement:
    """Where a flat picture lies on the page, in square pixels of ``1 / pixels_per_mm`` mm.

    ``x``, ``y`` are the page coordinates of the picture's left upper corner (the outer edge of its first pixel).
    """

    x: int
    y: int
    width: int
    height: int
    pixels_per_row: float
    pixels_per_column: float
    pixels_per_mm: float

    def to_page(self, row: float, column: float) -> Point:
        """Page coordinates (x, y), pixel edges at integers, of a place in the picture, pixel centres at integers."""
        return self.x + (column + 0.5) * self.pixels_per_column, self.y + (row + 0.5) * self.pixels_per_row

    def to_plane(self, x: float, y: float) -> Point:
        """The inverse of `to_page`: (row, column)."""
        return (y - self.y) / self.pixels_per_row - 0.5, (x - self.x) / self.pixels_per_column - 0.5


def place(shape: tuple[int, int], spacing: tuple[float, float], box: Box) -> Placement:
    """The largest true-to-scale placement, in the middle of ``box``, of a picture of ``shape`` (rows, columns) whose
    pixels are ``spacing`` mm apart along (rows, columns).
    """
    (rows, columns), (row_mm, column_mm) = shape, spacing
    scale = min(box.width / (columns * column_mm), box.height / (rows * row_mm))
    wide, high = columns * column_mm * scale, rows * row_mm * scale
    return Placement(
        x=box.x + round((box.width - wide) / 2),
        y=box.y + round((box.height - high) / 2),
        width=max(1, round(wide)),
        height=max(1, round(high)),
        pixels_per_row=row_mm * scale,
        pixels_per_column=column_mm * scale,
        pixels_per_mm=scale,
    )


def resize(plane: FloatImage, placement: Placement, *, smooth: bool) -> FloatImage:
    """``plane`` on the page's pixels, float32 (placement.height, placement.width); averaged where it gets smaller.

    ``smooth``: by bicubic interpolation, which shows edges best and overshoots a little; else bilinear.
    """
    way = Image.Resampling.BICUBIC if smooth else Image.Resampling.BILINEAR
    image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(image.resize((placement.width, placement.height), way), dtype=np.float32)


class Canvas:
    """A page being drawn. Coordinates are (x, y) in pixels from the left upper corner."""

    def __init__(self, wide: int = SIDE, high: int = SIDE, ground: RGB = BLACK) -> None:
        self._image = Image.new("RGB", (wide, high), ground)
        self._draw = ImageDraw.Draw(self._image)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        return self._image.size

    def pixels(self) -> Pixels:
        """The page, uint8 (rows, columns, 3)."""
        return np.asarray(self._image, dtype=np.uint8).copy()

    def paste(self, picture: Pixels, x: int, y: int) -> None:
        self._image.paste(Image.fromarray(picture), (x, y))

    def rectangle(self, box: Box, colour: RGB) -> None:
        self._draw.rectangle((box.x, box.y, box.right - 1, box.bottom - 1), fill=colour)

    def text(
        self,
        at: Point,
        text: str,
        *,
        size: int = 18,
        colour: RGB = TEXT,
        face: Face = Face.REGULAR,
        anchor: str = "la",
        cased: bool = False,
        most: float | None = None,
        least: int | None = None,
    ) -> float:
        """Draw ``text``; returns its width.

        ``anchor`` as Pillow names it (left, middle, right; ascender, middle, descender, baseline "s"); ``cased`` puts a
        dark edge around the letters, for text upon a picture; ``most`` is the width that it is cut to, after it was set
        smaller down to the size ``least``.
        """
        if most is not None:
            while least is not None and size > least and width(text, size, face) > most:
                size -= 1
            text = cut(text, most, size, face)
        x, y = at
        wide = width(text, size, face)
        left = x - wide if anchor[0] == "r" else x - wide / 2 if anchor[0] == "m" else x
        ascent, descent = font(size, face).getmetrics()
        base = y + {"a": ascent, "d": -descent, "m": (ascent - descent) / 2, "s": 0}[anchor[1]]
        edge = max(1, round(size / 9)) if cased else 0
        for piece, piece_face in runs(text, face):
            self._draw.text(
                (left, base),
                piece,
                font=font(size, piece_face),
                fill=colour,
                anchor="ls",
                stroke_width=edge,
                stroke_fill=BLACK,
            )
            left += width(piece, size, piece_face)
        return wide

    def paragraph(
        self, at: Point, text: str, *, most: float, lines: int, size: int = 18, colour: RGB = TEXT, lead: float = 1.35
    ) -> float:
        """``text`` broken to ``most`` pixels, at most ``lines`` lines, the last cut with an ellipsis. Returns the y
        below it.
        """
        x, y = at
        for line in wrap(text, most, lines, size):
            self.text((x, y), line, size=size, colour=colour)
            y += round(size * lead)
        return y

    def lines(self, paths: Sequence[Sequence[Point]], colour: RGB, thick: float, *, within: Placement) -> None:
        """Smooth polylines with a dark edge that keeps them visible on bright tissue, clipped to ``within``."""
        points = [point for path in paths for point in path]
        if not points:
            return
        reach = int(thick) + 3
        left = max(within.x, int(min(x for x, _ in points)) - reach)
        top = max(within.y, int(min(y for _, y in points)) - reach)
        right = min(within.x + within.width, int(max(x for x, _ in points)) + reach)
        bottom = min(within.y + within.height, int(max(y for _, y in points)) + reach)
        if right <= left or bottom <= top:
            return
        for line_colour, line_width in ((BLACK, thick + 1.6), (colour, thick)):
            fine = Image.new("L", ((right - left) * FINE, (bottom - top) * FINE), 0)
            draw = ImageDraw.Draw(fine)
            for path in paths:
                moved = [((x - left) * FINE, (y - top) * FINE) for x, y in path]
                draw.line(moved, fill=255, width=max(1, round(line_width * FINE)), joint="curve")
            mask = fine.resize((right - left, bottom - top), Image.Resampling.BOX)
            if line_colour == BLACK:
                mask = mask.point(lambda value: value * 0.6)
            self._image.paste(line_colour, (left, top), mask)
