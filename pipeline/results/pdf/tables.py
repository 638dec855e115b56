"""The tables of the printed page: lesions, other regions, probabilities and scores, estimates."""

from __future__ import annotations

from pipeline.findings.model import AnswerKind, Findings
from pipeline.report import sentences
from pipeline.results.colours import region_rgb
from pipeline.results.drawing.lesion_table import column_stops, region_cells
from pipeline.results.drawing.listing import Listing, cells, distinct_colours, has_numbers, row_title, where
from pipeline.results.pdf.sheet import INK, INNER, LEFT, LINE, RIGHT, SOFT, Sheet, printed
from pipeline.results.wording import ascii_text

MOST_REGIONS, MOST_CLASSES, MOST_SCORES, MOST_QUANTITIES = 5, 5, 10, 10
ROW = 5.4
"""mm from row to row."""
BLOCKS = 3
"""Columns of regions side by side, where there are many."""
MOST_WIDE = 130.0
"""mm: the eye loses the row of a wider table."""
SWATCH, NUMBER = 5.0, 6.5
"""mm for a patch of colour, and for a number of up to three digits."""
GAP = 6.0
"""mm between columns."""


def height(findings: Findings, listed: Listing) -> float:
    """Mm that the tables of a page take: what `probabilities`, `lesion_table` and the like return, less their ``y``."""
    classes, quantities = len(findings.probabilities), len(findings.quantities)
    if findings.model.kind is AnswerKind.LESION:
        return ROW * (1 + max(min(classes, MOST_CLASSES), min(max(len(findings.regions), 1), MOST_REGIONS)))
    if findings.regions:
        rows = min(len(listed.numbers), listed.rows)
        if listed.more:
            rows = max(rows, len(listed.numbers) - (listed.blocks - 1) * listed.rows + 1)
        return ROW * (1 + rows)
    return ROW * (1 + (min(quantities, MOST_QUANTITIES) if quantities else min(classes, MOST_SCORES)))


def probabilities(sheet: Sheet, findings: Findings, y: float) -> float:
    lesions = findings.model.kind is AnswerKind.LESION
    wide, names = (INNER / 2 - 8, 32) if lesions else (MOST_WIDE, 70)
    left, long = LEFT + names + 2, wide - names - 14
    sheet.text(LEFT, y, sheet.label("model_probability" if lesions else "score"), size=8.5, colour=SOFT)
    ordered = sorted(findings.probabilities, key=lambda item: -item.probability)
    room = MOST_CLASSES if lesions else MOST_SCORES
    most = room if len(ordered) <= room else room - 1
    for item in ordered[:most]:
        y += 5.4
        chosen = item.name in {findings.predicted_class, *findings.suggested}
        name = printed(sentences.title(findings.model, item.name, sheet.language), ascii_text(item.name))
        sheet.text(LEFT, y, name, bold=chosen, least=8, most=names)
        sheet.box(left, y + 1.6, long, 1.3, LINE)
        sheet.box(left, y + 1.6, max(0.2, long * item.probability), 1.3, INK if chosen else SOFT)
        sheet.text(LEFT + wide, y, sheet.figure(item.probability, 2), bold=chosen, right=True)
    if len(ordered) > most:
        y += 5.4
        more = sheet.label("less_probable" if lesions else "lower_scores", count=f"{len(ordered) - most}")
        sheet.text(LEFT, y, more, size=8.5, colour=SOFT)
    return y + 5.4


def lesion_table(sheet: Sheet, findings: Findings, y: float) -> float:
    left = LEFT + INNER / 2 - 2
    columns = ("volume", "size", *where(findings))
    stops = column_stops(columns, left, RIGHT - left)
    room = [stop - before - 1.5 for before, stop in zip((left + NUMBER, *stops), stops, strict=False)]
    sheet.text(left, y, sheet.label("region"), size=8.5, colour=SOFT)
    if not findings.regions:
        sheet.text(left, y + 5.4, sheet.label("none_outlined"))
        return y + 10.8
    for x, wide, name in zip(stops, room, columns, strict=True):
        head = sentences.within(sheet.label(name), sheet.language)
        sheet.text(x, y, head, size=8.5, least=7, colour=SOFT, right=True, most=wide)
    most = MOST_REGIONS if len(findings.regions) <= MOST_REGIONS else MOST_REGIONS - 1
    for number, region in enumerate(findings.regions[:most], start=1):
        y += 5.4
        sheet.text(left, y, f"{number}", bold=True)
        for x, wide, cell in zip(stops, room, region_cells(region, columns, sheet.language), strict=True):
            sheet.text(x, y, cell, least=7, right=True, most=wide)
    if len(findings.regions) > most:
        y += 5.4
        more = sheet.label("more", count=f"{len(findings.regions) - most}")
        sheet.text(left, y, more, size=8.5, colour=SOFT)
    return y + 5.4


def region_table(sheet: Sheet, findings: Findings, y: float, listed: Listing) -> float:
    """The regions of ``listed``: colour or number, title, and what was measured. Returns the y below."""
    wide = min(MOST_WIDE, (INNER - (listed.blocks - 1) * GAP) / listed.blocks)
    longest = 0
    for block in range(listed.blocks):
        numbers = listed.numbers[block * listed.rows : (block + 1) * listed.rows]
        if numbers:
            _block(sheet, findings, (LEFT + block * (wide + GAP), y, wide), listed, numbers)
        longest = max(longest, len(numbers))
    if listed.more:
        row = len(listed.numbers) - (listed.blocks - 1) * listed.rows
        longest = max(longest, row + 1)
        x = LEFT + (listed.blocks - 1) * (wide + GAP)
        sheet.text(
            x, y + ROW * (row + 1), sheet.label("further", count=f"{listed.more}"), size=8.5, colour=SOFT, most=wide
        )
    return y + ROW * (longest + 1)


def _block(
    sheet: Sheet, findings: Findings, at: tuple[float, float, float], listed: Listing, numbers: tuple[int, ...]
) -> None:
    """One column of regions; its figures take the width that they need, the titles what is left."""
    left, y, wide = at
    rows = [cells(findings, number, listed.columns, sheet.language) for number in numbers]
    right = left + wide
    for place in reversed(range(len(listed.columns))):
        head = sheet.label(listed.columns[place])
        head = head[:1].upper() + head[1:]
        widths = [sheet.text(right, y, head, size=8.5, colour=SOFT, right=True)]
        widths += [
            sheet.text(right, y + ROW * row, texts[place], right=True) for row, texts in enumerate(rows, start=1)
        ]
        right -= max(widths) + GAP
    if listed.named:
        called = sheet.label("structure" if findings.model.kind is AnswerKind.SEGMENTATION else "region")
        sheet.text(left, y, called, size=8.5, colour=SOFT, most=right - left)
    numbered, coloured = has_numbers(findings), len(distinct_colours(findings)) > 1
    for row, number in enumerate(numbers, start=1):
        below = y + ROW * row
        begun = left + (SWATCH if coloured else 0)
        if coloured:
            sheet.box(left, below + 0.6, 3, 3, region_rgb(findings, number))
        if numbered:
            sheet.text(begun, below, f"{number}", bold=True)
            begun += NUMBER
        if listed.named:
            name = printed(row_title(findings, number, sheet.language), ascii_text(findings.regions[number - 1].label))
            sheet.text(begun, below, name, least=8, most=right - begun)


def quantities(sheet: Sheet, findings: Findings, y: float) -> float:
    """Each estimated number with its unit. Returns the y below."""
    sheet.text(LEFT, y, sheet.label("quantities"), size=8.5, colour=SOFT)
    most = MOST_QUANTITIES if len(findings.quantities) <= MOST_QUANTITIES else MOST_QUANTITIES - 1
    right = LEFT + MOST_WIDE
    for item in findings.quantities[:most]:
        y += ROW
        wide = sheet.text(right, y, sentences.amount(item, sheet.language), bold=True, right=True)
        name = printed(sentences.title(findings.model, item.name, sheet.language), ascii_text(item.name))
        sheet.text(LEFT, y, name, least=8, most=right - LEFT - wide - GAP)
    if len(findings.quantities) > most:
        y += ROW
        sheet.text(LEFT, y, sheet.label("further", count=f"{len(findings.quantities) - most}"), size=8.5, colour=SOFT)
    return y + ROW
