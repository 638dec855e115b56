"""The report as one PDF page for a referring physician: white, quiet, printable on A4 and Letter.

It names the patient, unlike the overlay pages: a printed sheet leaves its record, and without a name it could be
filed under another patient. The same findings give the same bytes: no clock, no random identifier.
"""

from __future__ import annotations

import functools
import io
import logging
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import cast

import numpy as np
from fpdf import FPDF
from PIL import Image

from pipeline.caveats import Caveat
from pipeline.findings.model import Findings, Outcome
from pipeline.report import sentences
from pipeline.report.patient_study import Issued
from pipeline.report.sentences import Language
from pipeline.results.colours import OUTLINE_RGB
from pipeline.results.drawing.canvas import RGB, Box, Canvas, Pixels
from pipeline.results.drawing.fonts import Face, can_print, face_of, path_of
from pipeline.results.drawing.heat_colours import TISSUE, blend
from pipeline.results.drawing.multiplanar import trimmed
from pipeline.results.drawing.page_parts import region_cells
from pipeline.results.drawing.pages import Story, draw_across, draw_key_slice
from pipeline.results.drawing.picture import draw_reformat
from pipeline.results.provenance import ResultContext
from pipeline.results.wording import ascii_text

LEFT, RIGHT, TOP, BOTTOM = 16.0, 194.0, 11.0, 268.0
"""mm. What is printed lies within both A4 and Letter."""
INNER = RIGHT - LEFT
INK: RGB = (26, 31, 36)
SOFT: RGB = (90, 99, 108)
LINE: RGB = (216, 221, 226)
NOTICE: RGB = (255, 244, 222)
NOTICE_INK: RGB = (122, 56, 6)
LEAST_SIZE = 6.5
"""Points; what is longer at that size is cut."""
MOST_REGIONS, MOST_CLASSES, MOST_CAVEATS = 5, 5, 5
PIXELS_PER_MM = 8
logging.getLogger("fontTools").setLevel(logging.ERROR)  # fpdf2 subsets fonts with it, and it logs each table


def build_page(context: ResultContext, language: Language = Language.ENGLISH) -> bytes:
    """The page of one run in its reader's ``language``, a PDF file."""
    sheet = Sheet(context.instant, language)
    findings, story = context.findings, Story(context.volume, context.findings)
    y = _notice(sheet)
    y = _patient_and_study(sheet, context, y + 5)
    y = _answer(sheet, context, y + 6)
    y = _pictures(sheet, story, y + 3)
    bottom = max(_probabilities(sheet, findings, y + 5), _regions(sheet, findings, y + 5))
    _caveats(sheet, findings, bottom + 4)
    _origin(sheet, context)
    return sheet.output()


class Sheet:
    """One page being set. Places in mm from the left upper corner, sizes in points."""

    def __init__(self, instant: tuple[str, str], language: Language) -> None:
        self.language = language
        self._pdf = FPDF(format="A4", unit="mm")
        self._pdf.set_auto_page_break(auto=False)
        self._pdf.set_margin(0)
        self._pdf.c_margin = 0
        self._pdf.set_creation_date(_moment(*instant))
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
    ) -> float:
        """One line with its upper edge at ``y``; where it is longer than ``most``, set smaller, but not smaller than
        ``least``, and at last cut.

        ``right``: ``x`` is its right end. Returns its width.
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
            self._pdf.cell(wide + 1, size * 0.45, text)
        return wide

    def paragraph(
        self, x: float, y: float, text: str, *, wide: float, lines: int, size: float = 9.5, colour: RGB = INK
    ) -> float:
        """Lines of at most ``wide`` mm, at most ``lines``, the last ending in an ellipsis. Returns the y below."""
        self._use(text, size, bold=False)
        broken = cast("list[str]", self._pdf.multi_cell(wide, text=text, dry_run=True, output="LINES", align="L"))
        if len(broken) > lines:
            broken = [*broken[: lines - 1], f"{broken[lines - 1].rstrip()}…"]
        for line in broken:
            self.text(x, y, line, size=size, colour=colour, most=wide + 1)
            y += size * 0.48
        return y

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


def _moment(date: str, time: str) -> datetime:
    return datetime.strptime(f"{date}{time[:6]}", "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def _shown(text: str, otherwise: str = "—") -> str:
    return text if text and can_print(text) else ascii_text(text) or otherwise


def _notice(sheet: Sheet) -> float:
    sheet.box(LEFT, TOP, INNER, 9, NOTICE)
    wide = sheet.text(
        LEFT + 3, TOP + 2.2, f"{sentences.disclaimer(sheet.language)}.", size=10.5, bold=True, colour=NOTICE_INK
    )
    sheet.text(
        LEFT + 5 + wide,
        TOP + 2.2,
        sentences.unread(sheet.language),
        size=10.5,
        colour=NOTICE_INK,
        most=INNER - wide - 8,
    )
    return TOP + 9


def _patient_and_study(sheet: Sheet, context: ResultContext, y: float) -> float:
    """Patient and study, as every report of the run names them."""
    patient, study = context.patient, context.study
    groups = [name for name in patient.names if can_print(name)]
    unreadable = sheet.label("script") if patient.names else "—"
    day = functools.partial(_day, language=sheet.language)
    rows = (
        ("patient", "   ".join(groups) or unreadable, "study", _shown(study.description)),
        ("patient_id", _shown(_number(patient.identifier)), "date", day(study.started)),
        ("born", day(patient.birth_date), "accession", _shown(_number(study.accession))),
    )
    middle = LEFT + INNER / 2 + 4
    for name, value, other_name, other_value in rows:
        for x, label, said in ((LEFT, name, value), (middle, other_name, other_value)):
            sheet.text(x, y, sheet.label(label), colour=SOFT, most=25)
            sheet.text(x + 26, y, said, bold=label == "patient", most=INNER / 2 - 30)
        y += 5
    return y


def _number(issued: Issued | None) -> str:
    return issued.value if issued else ""


def _day(iso: str | None, *, language: Language) -> str:
    return sentences.day(date.fromisoformat(iso[:10]), language) if iso else "—"


def _answer(sheet: Sheet, context: ResultContext, y: float) -> float:
    sheet.box(LEFT, y - 3, INNER, 0.25, LINE)
    findings, said = context.findings, context.reported
    called = sentences.title(findings.model, findings.predicted_class, sheet.language)
    name = _shown(called, ascii_text(findings.predicted_class))
    if findings.outcome is Outcome.INDETERMINATE:
        wide = sheet.text(RIGHT, y + 1.5, sheet.label("no_reliable_answer"), size=13, colour=SOFT, right=True)
    else:
        figure = sheet.figure(findings.probability(findings.predicted_class), 2)
        wide = sheet.text(RIGHT, y, figure, size=19, bold=True, right=True)
        what = sheet.label("model_probability")
        within = sentences.within(name, sheet.language)
        label = sheet.label("of_class", what=sentences.within(what, sheet.language), name=within)
        wide = max(wide, sheet.text(RIGHT, y + 9, label, size=8.5, least=8, colour=SOFT, right=True, most=62))
    title = _shown(sentences.headline(said, sheet.language), str(findings.outcome))
    sheet.text(LEFT, y, title, size=19, least=11, bold=True, most=INNER - wide - 6)
    return sheet.paragraph(
        LEFT, y + 10, _shown(sentences.statement(said, sheet.language)), wide=INNER - wide - 8, lines=3, size=10.5
    )


def _pictures(sheet: Sheet, story: Story, y: float) -> float:
    """The key slice, twice unless there is no finding, and the planes across it; then their captions."""
    pixels, wide = picture_strip(story)
    x = LEFT + (INNER - wide) / 2
    below = sheet.picture(pixels, x, y, wide) + 1.6
    said, findings = f"{_slice_name(sheet, story)}.", story.findings
    compared = findings.outcome is not Outcome.NO_FINDING
    sheet.text(x, below, f"{said} {sheet.label('sides')}" if compared else said, size=8.5, colour=SOFT, most=RIGHT - x)
    if not compared or not (story.heat or findings.regions):
        return below + 4
    below, at = below + 4.6, x
    if story.heat:
        name = _shown(sentences.title(findings.model, findings.predicted_class, sheet.language), "")
        words = sheet.label("activation", name=sentences.within(name, sheet.language))
        at += sheet.text(at, below, words, size=8.5, colour=SOFT, most=110) + 1.5
        ramp = np.tile(np.linspace(0, 1, 160, dtype=np.float32), (16, 1))
        sheet.picture(blend(np.full((16, 160, 3), TISSUE, np.uint8), ramp), at, below + 0.5, 20)
        at += 21.5
        at += sheet.text(at, below, "1", size=8.5, colour=SOFT) + 6
    if findings.regions:
        sheet.box(at, below + 1.6, 6, 0.7, OUTLINE_RGB)
        sheet.text(at + 7.5, below, sheet.label("outline"), size=8.5, colour=SOFT, most=RIGHT - at - 7.5)
    return below + 4


def picture_strip(story: Story) -> tuple[Pixels, float]:
    """The pictures of the report on black, and their printed width in mm."""
    side, gap = 70 * PIXELS_PER_MM, PIXELS_PER_MM
    if story.findings.outcome is Outcome.NO_FINDING:
        side = 92 * PIXELS_PER_MM
        canvas = Canvas(side, side)
        draw_reformat(canvas, trimmed(story.key, story.window), story.window, Box(0, 0, side, side), heat=False)
        return canvas.pixels(), side / PIXELS_PER_MM
    half = (side - gap) // 2
    canvas = Canvas(2 * side + gap + (half + gap if story.across else 0), side)
    draw_key_slice(canvas, story, (Box(0, 0, side, side), Box(side + gap, 0, side, side)))
    x = 2 * (side + gap)
    draw_across(canvas, story, (Box(x, 0, half, half), Box(x, half + gap, half, half)))
    return canvas.pixels(), canvas.size[0] / PIXELS_PER_MM


def _probabilities(sheet: Sheet, findings: Findings, y: float) -> float:
    wide = INNER / 2 - 8
    sheet.text(LEFT, y, sheet.label("model_probability"), size=8.5, colour=SOFT)
    ordered = sorted(findings.probabilities, key=lambda item: -item.probability)
    most = MOST_CLASSES if len(ordered) <= MOST_CLASSES else MOST_CLASSES - 1
    for item in ordered[:most]:
        y += 5.4
        chosen = item.name == findings.predicted_class
        name = _shown(sentences.title(findings.model, item.name, sheet.language), ascii_text(item.name))
        sheet.text(LEFT, y, name, bold=chosen, least=8, most=32)
        sheet.box(LEFT + 34, y + 1.6, wide - 46, 1.3, LINE)
        sheet.box(LEFT + 34, y + 1.6, max(0.2, (wide - 46) * item.probability), 1.3, INK if chosen else SOFT)
        sheet.text(LEFT + wide, y, sheet.figure(item.probability, 2), bold=chosen, right=True)
    if len(ordered) > most:
        y += 5.4
        sheet.text(LEFT, y, sheet.label("less_probable", count=f"{len(ordered) - most}"), size=8.5, colour=SOFT)
    return y + 5.4


def _slice_name(sheet: Sheet, story: Story) -> str:
    """As `page_parts.slice_name`."""
    index, volume = story.findings.key_slice, story.volume
    parts = [sheet.label("slice", number=f"{index + 1}", all=f"{volume.shape[0]}")]
    for name, number in (("image", volume.sources[index].get("InstanceNumber")), ("frame", volume.frame(index))):
        if number is not None:
            parts.append(sheet.label(name, number=f"{number}"))
    return " · ".join(parts)


def _regions(sheet: Sheet, findings: Findings, y: float) -> float:
    left = LEFT + INNER / 2 + 4
    stops = [left + (RIGHT - left) * share for share in (0.34, 0.58, 0.80, 1.0)]
    sheet.text(left, y, sheet.label("region"), size=8.5, colour=SOFT)
    if not findings.regions:
        sheet.text(left, y + 5.4, sheet.label("none_outlined"))
        return y + 10.8
    for x, name in zip(stops, ("volume", "long_axis", "short_axis", "slices"), strict=True):
        sheet.text(x, y, sheet.label(name), size=8.5, colour=SOFT, right=True)
    most = MOST_REGIONS if len(findings.regions) <= MOST_REGIONS else MOST_REGIONS - 1
    for number, region in enumerate(findings.regions[:most], start=1):
        y += 5.4
        sheet.text(left, y, f"{number}", bold=True)
        figures = region_cells(region)
        cells = tuple(cell.replace(".", sentences.number(0.1, sheet.language, digits=1)[1]) for cell in figures)
        for x, cell in zip(stops, cells, strict=True):
            sheet.text(x, y, cell, right=True)
    if len(findings.regions) > most:
        y += 5.4
        more = sheet.label("more", count=f"{len(findings.regions) - most}")
        sheet.text(left, y, more, size=8.5, colour=SOFT)
    return y + 5.4


def _caveats(sheet: Sheet, findings: Findings, y: float) -> None:
    """The caveats, as many as the page has room for."""
    if not findings.caveats:
        return
    sheet.text(LEFT, y, sheet.label("care"), size=8.5, bold=True, colour=NOTICE_INK)
    y += 4.8
    room = _caveats_that_fit(findings.caveats, y)
    for caveat in findings.caveats[:room]:
        sheet.text(LEFT, y, "•", colour=NOTICE_INK)
        y = (
            sheet.paragraph(LEFT + 4, y, _shown(sentences.caveat(caveat, sheet.language)), wide=INNER - 4, lines=2)
            + 0.6
        )
    if room < len(findings.caveats):
        more = sheet.label("more_caveats", count=f"{len(findings.caveats) - room}")
        sheet.text(LEFT + 4, y, more, size=8.5, colour=SOFT)


def _caveats_that_fit(caveats: Sequence[Caveat], y: float) -> int:
    two_lines = 2 * 9.5 * 0.48 + 0.6
    return min(len(caveats), MOST_CAVEATS, max(1, int((BOTTOM - 16 - y) / two_lines)))


def _origin(sheet: Sheet, context: ResultContext) -> None:
    """Algorithm and source series: the last lines of the page."""
    model = context.findings.model
    y = BOTTOM - 10
    sheet.box(LEFT, y - 1.5, INNER, 0.25, LINE)
    made = f"{_shown(model.manufacturer, 'Candela')}, {_shown(model.title, model.name)} ({model.name})"
    wide = sheet.text(LEFT, y, made, size=8, least=8, colour=SOFT, most=INNER - 62)
    version = f", {sheet.label('version', version=model.version)}, {sheet.label('digest')} {model.digest[:16]}."
    sheet.text(LEFT + wide, y, version, size=8, colour=SOFT, most=62)
    series = context.source.description
    called = f" “{series}”" if series and can_print(series) else ""
    sheet.text(LEFT, y + 4, f"{sheet.label('source')}{called}, {context.source.uid}.", size=8, colour=SOFT)
