"""The regions of a slice on one line below its picture."""

from __future__ import annotations

from pipeline.findings.model import AnswerKind, Findings
from pipeline.report import tables
from pipeline.report.findings import ReportedFindings
from pipeline.results.drawing.canvas import DIM, SIDE, Canvas
from pipeline.results.drawing.fonts import width
from pipeline.results.drawing.lesion_table import lesion_note
from pipeline.results.drawing.listing import area, cells
from pipeline.results.drawing.page_parts import INNER, MARGIN, outline_sample
from pipeline.results.drawing.tables import draw_mark, mark_width, region_title

SAMPLE = 112
"""Width of the legend at the end of the line."""
GAP = 28
MOST_LESIONS = 2
LONGEST = 300
"""Width at which a title is cut."""


def noted(findings: Findings, index: int) -> tuple[int, ...]:
    """The regions of plane ``index`` that the line has room for: lesions the largest first, others those that the plane
    shows most of.
    """
    here = [number for number, region in enumerate(findings.regions, start=1) if index in region.slices]
    if findings.model.kind is AnswerKind.LESION:
        return tuple(here[:MOST_LESIONS])
    here.sort(key=lambda number: -area(findings.regions[number - 1], index))
    room = float(INNER - SAMPLE - GAP)
    kept = 0
    for number in here:
        room -= _note_width(findings, number)
        rest = len(here) - kept - 1
        if room < (width(_more(rest), 18) if rest else 0):
            break
        kept += 1
    return tuple(here[: max(1, kept)])


def region_notes(canvas: Canvas, findings: Findings, index: int, y: int) -> None:
    """The line below the picture of plane ``index``: the regions that it shows, as many as fit, and the legend."""
    shown_here = [region for region in findings.regions if index in region.slices]
    if not shown_here:
        return
    outline_sample(canvas, findings, SIDE - MARGIN - SAMPLE, y + 11)
    x = float(MARGIN)
    numbers = noted(findings, index)
    for number in numbers:
        if findings.model.kind is AnswerKind.LESION:
            x += lesion_note(canvas, findings.regions[number - 1], number, x, y) + 32
        else:
            x = _note(canvas, findings, number, x, y) + GAP
    if len(shown_here) > len(numbers):
        canvas.text((x, y), _more(len(shown_here) - len(numbers)), colour=DIM)


def _more(count: int) -> str:
    return f"and {count} more"


def _note(canvas: Canvas, findings: Findings, number: int, x: float, y: float) -> float:
    """Mark, title and first figure of a region; returns where it ends."""
    draw_mark(canvas, findings, number, x, y)
    x += mark_width(findings, (number,))
    x += canvas.text((x, y), region_title(findings, number), most=LONGEST) + 8
    return x + canvas.text((x, y), _figure(findings, number), colour=DIM)


def _note_width(findings: Findings, number: int) -> float:
    mark = max(22.0, width(f"{number}", 18) + 14)
    return (
        mark + min(LONGEST, width(region_title(findings, number), 18)) + 8 + width(_figure(findings, number), 18) + GAP
    )


def _figure(findings: Findings, number: int) -> str:
    return "".join(cells(findings, number, tables.columns(ReportedFindings.of(findings))[:1]))
