"""The pictures of the printed page, and their captions."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from pipeline.report import sentences
from pipeline.results.drawing.canvas import Box, Canvas, Pixels
from pipeline.results.drawing.heat_colours import TISSUE, blend
from pipeline.results.drawing.listing import distinct_colours
from pipeline.results.drawing.multiplanar import trimmed
from pipeline.results.drawing.page_parts import MOST_SAMPLED
from pipeline.results.drawing.pages import Story, draw_across, draw_key_slice
from pipeline.results.drawing.picture import draw_reformat
from pipeline.results.pdf.sheet import INNER, LEFT, RIGHT, SOFT, Sheet, printed

PIXELS_PER_MM = 8
HEIGHT = 80.2
"""mm that pictures and captions take where two are compared."""


def pictures(sheet: Sheet, story: Story, y: float, numbers: Collection[int]) -> float:
    """The key slice, twice where something is drawn upon it, and the planes across it; then their captions."""
    pixels, wide = picture_strip(story, numbers)
    x = LEFT + (INNER - wide) / 2
    below = sheet.picture(pixels, x, y, wide) + 1.6
    said, findings = f"{slice_name(sheet, story)}.", story.findings
    compared = story.compares
    sheet.text(x, below, f"{said} {sheet.label('sides')}" if compared else said, size=8.5, colour=SOFT, most=RIGHT - x)
    if not compared or not (story.heat or findings.regions):
        return below + 4
    below, at = below + 4.6, x
    if story.heat:
        explained = findings.explained or findings.predicted_class
        name = printed(sentences.title(findings.model, explained, sheet.language), "")
        words = sheet.label("activation_alone")
        if explained:
            words = sheet.label("activation", name=sentences.within(name, sheet.language))
        at += sheet.text(at, below, words, size=8.5, colour=SOFT, most=110) + 1.5
        ramp = np.tile(np.linspace(0, 1, 160, dtype=np.float32), (16, 1))
        sheet.picture(blend(np.full((16, 160, 3), TISSUE, np.uint8), ramp), at, below + 0.5, 20)
        at += 21.5
        at += sheet.text(at, below, "1", size=8.5, colour=SOFT) + 6
    if findings.regions:
        colours = distinct_colours(findings)[:MOST_SAMPLED]
        for part, colour in enumerate(colours):
            sheet.box(at + 6 * part / len(colours), below + 1.6, 6 / len(colours), 0.7, colour)
        called = sheet.label("box" if findings.regions[0].boxed else "outline")
        sheet.text(at + 7.5, below, called, size=8.5, colour=SOFT, most=RIGHT - at - 7.5)
    return below + 4


def picture_strip(story: Story, numbers: Collection[int]) -> tuple[Pixels, float]:
    """The pictures of the report on black, and their printed width in mm."""
    side, gap = 70 * PIXELS_PER_MM, PIXELS_PER_MM
    if not story.compares:
        side = 92 * PIXELS_PER_MM
        canvas = Canvas(side, side)
        draw_reformat(canvas, trimmed(story.key, story.window), story.window, Box(0, 0, side, side), heat=False)
        return canvas.pixels(), side / PIXELS_PER_MM
    half = (side - gap) // 2
    canvas = Canvas(2 * side + gap + (half + gap if story.across else 0), side)
    draw_key_slice(canvas, story, (Box(0, 0, side, side), Box(side + gap, 0, side, side)), numbers)
    x = 2 * (side + gap)
    draw_across(canvas, story, (Box(x, 0, half, half), Box(x, half + gap, half, half)))
    return canvas.pixels(), canvas.size[0] / PIXELS_PER_MM


def slice_name(sheet: Sheet, story: Story) -> str:
    """As `page_parts.slice_name`."""
    index, volume = story.findings.key_slice, story.volume
    parts = [] if volume.projection else [sheet.label("slice", number=f"{index + 1}", all=f"{volume.shape[0]}")]
    for name, number in (("image", volume.sources[index].get("InstanceNumber")), ("frame", volume.frame(index))):
        if number is not None:
            parts.append(sheet.label(name, number=f"{number}"))
    name = " · ".join(parts)
    return name[:1].upper() + name[1:]
