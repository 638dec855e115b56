"""A printed page being set: places in mm, sizes in points, in its reader's language."""

from __future__ import annotations

import io
import logging
from bisect import bisect_left
from datetime import datetime
from typing import cast

from fpdf import FPDF
from PIL import Image

from pipeline.report import sentences
from pipeline.report.sentences import Language
from pipeline.results.drawing.canvas import RGB, Pixels
from pipeline.results.drawing.fonts import Face, can_print, face_of, path_of
from pipeline.results.wording import ascii_text

LEFT, RIGHT, TOP, BOTTOM = 16.0, 194.0, 11.0, 268.0
"""mm. What is printed lies within both A4 and Letter."""
INNER = RIGHT - LEFT
INK: RGB = (26, 31, 36)
WHITE: RGB = (255, 255, 255)
SOFT: RGB = (90, 99, 108)
LINE: RGB = (216, 221, 226)
LINK: RGB = (11, 92, 173)
NOTICE: RGB = (255, 244, 222)
NOTICE_INK: RGB = (122, 56, 6)
LEADING = 0.48
"""mm from line to line of a paragraph, for each point of its size."""
LEAST_SIZE = 6.5
"""Points; what is longer at that size is cut."""
logging.getLogger("fontTools").setLevel(logging.ERROR)  # fpdf2 subsets fonts with it, and it logs each table


class Sheet:
    """One page being set. Places in mm from the left upper corner, sizes in points."""

    def __init__(self, created: datetime, language: Language) -> None:
        self.language = language
        self._pdf = FPDF(format="A4", unit="mm")
        self._pdf.set_auto_page_break(auto=False)
        self._pdf.set_margin(0)
        self._pdf.c_margin = 0
        self._pdf.set_creation_date(created)
        self._pdf.set_title(sentences.disclaimer(language))
        self._pdf.set_lang(language.value)
        self._pdf.set_text_shaping(use_shaping_engine=True)  # joins Arabic; all or nothing, since glyphs are renumbered
        self._pdf.add_font("page", "", path_of(Face.REGULAR))
        self._pdf.add_font("page", "B", path_of(Face.BOLD))
        self._others: list[str] = []
        self._pdf.add_page()

    def label(self, name: str, /, **values: str) -> str:
        """A text of `pipeline.report.phrasebook` in the page's language."""
        return sentences.label(name, self.language, **values)

    def figure(self, value: float, digits: int) -> str:
        return sentences.number(value, self.language, digits=digits)

    def output(self) -> bytes:
        return bytes(self._pdf.output())

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 9.5,
        bold: bool = False,
        colour: RGB = INK,
        most: float = INNER,
        least: float = LEAST_SIZE,
        right: bool = False,
        link: str = "",
    ) -> float:
        """One line with its upper edge at ``y``; where it is longer than ``most``, set smaller, but not smaller than
        ``least``, and at last cut.

        ``right``: ``x`` is its right end. ``link``: the URL that the line leads to. Returns its width.
        """
        middle = y + size * 0.225
        while self._width(text, size, bold=bold) > most and size > least:
            size -= 0.25
        if self._width(text, size, bold=bold) > most:
            kept = bisect_left(
                range(1, len(text)), True, key=lambda n: self._width(f"{text[:n]}…", size, bold=bold) > most
            )
            text = f"{text[:kept].rstrip()}…"
        wide = self._width(text, size, bold=bold)
        self._pdf.set_text_color(*colour)
        self._pdf.set_xy(x - wide if right else x, middle - size * 0.225)
        with self._pdf.local_context():  # fpdf2 2.8 forgets which typeface is in force once a fallback was used
            self._pdf.cell(wide + 1, size * 0.45, text, link=link)
        return wide

    def paragraph(
        self, x: float, y: float, text: str, *, wide: float, lines: int, size: float = 9.5, colour: RGB = INK
    ) -> float:
        """Lines of at most ``wide`` mm, at most ``lines``, the last ending in an ellipsis. Returns the y below."""
        for line in self._broken(text, wide, lines, size):
            self.text(x, y, line, size=size, colour=colour, most=wide + 1)
            y += size * LEADING
        return y

    def paragraph_height(self, text: str, *, wide: float, lines: int, size: float = 9.5) -> float:
        """Mm that `paragraph` takes."""
        return len(self._broken(text, wide, lines, size)) * size * LEADING

    def _broken(self, text: str, wide: float, lines: int, size: float) -> list[str]:
        self._use(text, size, bold=False)
        broken = cast("list[str]", self._pdf.multi_cell(wide, text=text, dry_run=True, output="LINES", align="L"))
        return broken if len(broken) <= lines else [*broken[: lines - 1], f"{broken[lines - 1].rstrip()}…"]

    def box(self, x: float, y: float, wide: float, high: float, colour: RGB) -> None:
        self._pdf.set_fill_color(*colour)
        self._pdf.rect(x, y, wide, high, style="F")

    def picture(self, pixels: Pixels, x: float, y: float, wide: float) -> float:
        """``pixels`` with the left upper corner at (x, y), ``wide`` mm wide. Returns the y below."""
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=92, subsampling=0)
        rows, columns = len(pixels), len(pixels[0])
        high = wide * rows / columns
        self._pdf.image(stream, x, y, wide, high)
        return y + high

    def _width(self, text: str, size: float, *, bold: bool) -> float:
        self._use(text, size, bold=bold)
        return float(self._pdf.get_string_width(text))

    def _use(self, text: str, size: float, *, bold: bool) -> None:
        """Load the typefaces that ``text`` needs: those for other scripts are large, and seldom needed."""
        self._pdf.set_font("page", "B" if bold else "", size)
        needed = {face_of(character) for character in text} - {None, Face.REGULAR}
        for face in sorted(str(face) for face in needed):
            if face not in self._others:
                self._pdf.add_font(face, "", path_of(Face(face)))
                self._others.append(face)
                self._pdf.set_fallback_fonts(self._others, exact_match=False)


def printed(text: str, otherwise: str = "—") -> str:
    return text if text and can_print(text) else ascii_text(text) or otherwise
