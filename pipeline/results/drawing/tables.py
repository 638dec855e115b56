"""The tables beside the pictures, but for that of lesions: regions, probabilities and scores, estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.findings.model import AnswerKind, Findings, Outcome
from pipeline.report import sentences
from pipeline.results.colours import region_rgb
from pipeline.results.drawing.canvas import DIM, FAINT, TEXT, Box, Canvas
from pipeline.results.drawing.fonts import Face, width
from pipeline.results.drawing.lesion_table import lesion_table
from pipeline.results.drawing.listing import Listing, cells, has_numbers, listing, row_title
from pipeline.results.drawing.page_parts import PROBABILITY, class_title, shown
from pipeline.results.wording import ascii_text

PITCH = 25
"""From row to row."""
BLOCK = 220
"""The least width of a column of regions beside another."""
WIDEST = 620
"""The eye loses the row of a wider table."""
GAP = 22
SPARED = (("slices", "images"), ("mean", "volume"))
"""Columns that a narrow table leaves out, and the other one that says the like or more."""


@dataclass(frozen=True)
class Aside:
    """Where the tables of a summary lie: probabilities in ``upper``, lesions in ``lower``, one table in ``whole``."""

    upper: Box
    lower: Box
    whole: Box


def tables_beside(canvas: Canvas, findings: Findings, aside: Aside) -> None:
    """The tables of a page that compares: what was drawn, measured."""
    if findings.model.kind is AnswerKind.LESION:
        probabilities(canvas, findings, aside.upper)
        lesion_table(canvas, findings, aside.lower)
    elif findings.regions:
        region_table(canvas, findings, aside.whole, lists(findings, aside.whole))
    elif findings.quantities:
        quantities(canvas, findings, aside.whole)
    else:
        probabilities(canvas, findings, aside.whole)


def calm_tables(canvas: Canvas, findings: Findings, box: Box) -> None:
    """The tables of a page on whose picture nothing is drawn."""
    if findings.model.kind is AnswerKind.LESION:
        probabilities(canvas, findings, replace(box, height=220))
        if findings.regions:
            lesion_table(canvas, findings, Box(box.x, box.y + 232, box.width, 120))
    elif findings.probabilities:
        probabilities(canvas, findings, box)
    elif findings.quantities:
        quantities(canvas, findings, box)


def lists(findings: Findings, box: Box) -> Listing:
    """The regions that the table of regions has room for in ``box``."""
    return listing(findings, rows=max(1, (box.height - 24) // PITCH), blocks=max(1, (box.width + GAP) // (BLOCK + GAP)))


def region_table(canvas: Canvas, findings: Findings, box: Box, listed: Listing) -> None:
    """The regions of ``listed``: colour or number, title, and what was measured."""
    wide = min(WIDEST, (box.width - (listed.blocks - 1) * GAP) // listed.blocks)
    listed = replace(listed, columns=_columns_that_fit(findings, listed, wide))
    for block in range(listed.blocks):
        numbers = listed.numbers[block * listed.rows : (block + 1) * listed.rows]
        if numbers:
            _block(canvas, findings, Box(box.x + block * (wide + GAP), box.y, wide, box.height), listed, numbers)
    if listed.more:
        row = len(listed.numbers) - (listed.blocks - 1) * listed.rows
        x = box.x + (listed.blocks - 1) * (wide + GAP)
        canvas.text((x, box.y + PITCH * (row + 1)), f"and {listed.more} more in the report", size=16, colour=DIM)


def _columns_that_fit(findings: Findings, listed: Listing, wide: float) -> tuple[str, ...]:
    """The columns of ``listed`` without those of `SPARED` that would cut the title of a region."""
    columns = listed.columns
    titles = max((width(region_title(findings, number), 18) for number in listed.numbers), default=0.0)
    titles += mark_width(findings, listed.numbers)

    def needed(name: str) -> float:
        rows = (cells(findings, number, (name,))[0] for number in listed.numbers)
        return max(width(sentences.label(name).lower(), 17), *(width(text, 18) for text in rows)) + GAP

    for spared, other in SPARED:
        if listed.named and titles + sum(map(needed, columns)) > wide and other in columns:
            columns = tuple(name for name in columns if name != spared)
    return columns


def _block(canvas: Canvas, findings: Findings, box: Box, listed: Listing, numbers: tuple[int, ...]) -> None:
    """One column of regions; its figures take the width that they need, the titles what is left."""
    rows = [cells(findings, number, listed.columns) for number in numbers]
    heads = [sentences.label(name).lower() for name in listed.columns]
    right = float(box.right)
    for place in reversed(range(len(heads))):
        canvas.text((right, box.y), heads[place], size=17, colour=DIM, anchor="ra")
        for row, texts in enumerate(rows, start=1):
            canvas.text((right, box.y + PITCH * row), texts[place], anchor="ra")
        right -= max(width(heads[place], 17), *(width(texts[place], 18) for texts in rows)) + GAP
    if listed.named:
        canvas.text((box.x, box.y), _heading(findings), size=17, colour=DIM, most=right - box.x)
    begun = box.x + mark_width(findings, listed.numbers)
    for row, number in enumerate(numbers, start=1):
        y = box.y + PITCH * row
        draw_mark(canvas, findings, number, box.x, y)
        if listed.named:
            canvas.text((begun, y), region_title(findings, number), most=right - begun)


def _heading(findings: Findings) -> str:
    if findings.model.kind is AnswerKind.DETECTION:
        return "Boxes"
    return "Regions" if findings.outcome is Outcome.FINDING else "Structures"


def region_title(findings: Findings, number: int) -> str:
    """What region ``number`` is called on a page."""
    return shown(row_title(findings, number), ascii_text(findings.regions[number - 1].label) or "region")


def mark_width(findings: Findings, numbers: Sequence[int]) -> float:
    """What the marks of ``numbers`` take before the titles."""
    if not has_numbers(findings):
        return 22
    return max(22, *(width(f"{number}", 18, Face.BOLD) + 10 for number in numbers))


def draw_mark(canvas: Canvas, findings: Findings, number: int, x: float, y: float) -> None:
    """The number of a region in its colour, or its colour alone."""
    colour = region_rgb(findings, number)
    if has_numbers(findings):
        canvas.text((x, y), f"{number}", face=Face.BOLD, colour=colour)
    else:
        canvas.rectangle(Box(round(x), round(y) + 6, 12, 12), colour)


def probabilities(canvas: Canvas, findings: Findings, box: Box) -> None:
    """A line with a bar for each class (below its name where there is little room), the most probable first."""
    calibrated = findings.model.kind is AnswerKind.LESION
    canvas.text((box.x, box.y), PROBABILITY if calibrated else "Score", size=17, colour=DIM)
    ordered = sorted(findings.probabilities, key=lambda item: -item.probability)
    beside = box.width >= 320
    pitch, drop = (25, 8) if beside else (38, 25)
    room = (box.height - 27) // pitch
    most = room if len(ordered) <= room else room - 1
    bar = Box(box.x + round(box.width * 0.42), 0, round(box.width * 0.44), 6) if beside else replace(box, height=5)
    name_width = bar.x - box.x - 10 if beside else box.width - 56
    for row, item in enumerate(ordered[:most]):
        y = box.y + 27 + row * pitch
        chosen = item.name in {findings.predicted_class, *findings.suggested}
        colour, face = (TEXT, Face.MEDIUM) if chosen else (DIM, Face.REGULAR)
        name = class_title(findings, item.name)
        canvas.text((box.x, y), name, colour=colour, face=face, most=name_width)
        canvas.text((box.right, y), f"{item.probability:.2f}", colour=colour, face=face, anchor="ra")
        canvas.rectangle(Box(bar.x, y + drop, bar.width, bar.height), FAINT)
        length = round(bar.width * item.probability)
        if length:
            canvas.rectangle(Box(bar.x, y + drop, length, bar.height), colour)
    if len(ordered) > most:
        rest = f"and {len(ordered) - most} {'less probable classes' if calibrated else 'more with lower scores'}"
        canvas.text((box.x, box.y + 27 + most * pitch), rest, size=16, colour=DIM)


def quantities(canvas: Canvas, findings: Findings, box: Box) -> None:
    """Each estimated number below its name, as many as ``box`` has room for."""
    canvas.text((box.x, box.y), "Estimates", size=17, colour=DIM)
    pitch = 54
    room = max(1, (box.height - 30) // pitch)
    most = room if len(findings.quantities) <= room else room - 1
    for row, item in enumerate(findings.quantities[:most]):
        y = box.y + 30 + row * pitch
        canvas.text((box.x, y), class_title(findings, item.name), colour=DIM, most=box.width)
        canvas.text((box.x, y + 22), shown(sentences.amount(item), f"{item.value:g}"), size=22, most=box.width)
    if len(findings.quantities) > most:
        rest = f"and {len(findings.quantities) - most} more in the report"
        canvas.text((box.x, box.y + 30 + most * pitch), rest, size=16, colour=DIM)
