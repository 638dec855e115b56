"""The pictures of the printed page, and their captions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from pipeline.report import sentences
from pipeline.results.drawing.canvas import Box, Canvas, Pixels
from pipeline.results.drawing.heat_colours import TISSUE, blend
from pipeline.results.drawing.listing import distinct_colours
from pipeline.results.drawing.multiplanar import trimmed
from pipeline.results.drawing.page_parts import MOST_SAMPLED
from pipeline.results.drawing.pages import Story, draw_across, draw_key_slice, draw_three
from pipeline.results.drawing.picture import draw_reformat
from pipeline.results.pdf.sheet import INNER, LEFT, RIGHT, SOFT, WHITE, Sheet, printed

PIXELS_PER_MM = 8
GAP = 1
"""mm between pictures."""
PAIR = (INNER - GAP) / 2
"""mm that each of two pictures is wide."""
CAPTIONS = 9.2
"""mm that two lines of captions take below the pictures."""
SMALL_PAIR = 70
"""mm that each of two pictures is wide where the planes across stand beside them."""
HEIGHT = SMALL_PAIR + 1.6 + CAPTIONS
"""mm that pictures and captions take at least where two are compared."""
LEAST_STRIP = 24
"""mm of a strip of planes across below the pair: what is lower shows too little."""
CALM = (INNER - GAP) * 2 / 3
"""mm of the one large picture of a page that compares nothing, at most."""


@dataclass(frozen=True)
class Layout:
    """Places on a strip of pictures, in mm from its left upper corner.

    ``key``: the key slice, once or twice; ``across``: the planes across it. ``beside``: captions stand at the left of
    those planes, else below all pictures.
    """

    wide: float
    high: float
    key: tuple[Box, ...]
    across: tuple[Box, ...] = ()
    beside: bool = False


def layout(story: Story, room: float) -> Layout:
    """The places of the pictures on ``room`` mm of height, captions included."""
    across = bool(story.across)
    if not story.compares:
        side = min(CALM, room - CAPTIONS)
        half = (side - GAP) / 2
        planes = tuple(_box(side + GAP, y, half, half) for y in (0, half + GAP) if across)
        return Layout(side + GAP + half if across else side, side, (_box(0, 0, side, side),), planes)
    pair = (_box(0, 0, PAIR, PAIR), _box(PAIR + GAP, 0, PAIR, PAIR))
    half, below = (PAIR - GAP) / 2, PAIR + GAP
    if across and room - below >= LEAST_STRIP:
        strip = min(room - below, max(LEAST_STRIP, _height_at(story, half)))
        planes = tuple(_box(x, below, half, strip) for x in (PAIR + GAP, PAIR + GAP + half + GAP))
        return Layout(INNER, below + strip, pair, planes, beside=True)
    if not across and room >= PAIR + 1.6 + CAPTIONS:
        return Layout(INNER, PAIR, pair)
    side, half = SMALL_PAIR, (SMALL_PAIR - GAP) / 2
    pair = (_box(0, 0, side, side), _box(side + GAP, 0, side, side))
    x = 2 * (side + GAP)
    planes = tuple(_box(x, y, half, half) for y in (0, half + GAP) if across)
    return Layout(x + half if across else x - GAP, side, pair, planes)


def _height_at(story: Story, wide: float) -> float:
    """How high (mm) the planes across are where they are ``wide`` mm wide, at most as much."""
    planes = [trimmed(plane, story.window) for plane in story.across]
    return wide * min(
        1.0, max(plane.shape[0] * plane.spacing[0] / (plane.shape[1] * plane.spacing[1]) for plane in planes)
    )


def _box(x: float, y: float, wide: float, high: float) -> Box:
    """A box in pixels of places in mm."""
    left, top, right, bottom = (round(value * PIXELS_PER_MM) for value in (x, y, x + wide, y + high))
    return Box(left, top, right - left, bottom - top)


def pictures(sheet: Sheet, story: Story, y: float, numbers: Collection[int], room: float) -> float:
    """The key slice, twice where something is drawn upon it, the planes across it, and their captions, on at most
    ``room`` mm, but no less than `HEIGHT`. Returns the y below.
    """
    places = layout(story, max(room, HEIGHT))
    x = LEFT + (INNER - places.wide) / 2
    below = sheet.picture(picture_strip(story, places, numbers), x, y, places.wide) + 1.6
    if not places.beside:
        return _captions(sheet, story, x, below)
    top = y + (places.across[0].y / PIXELS_PER_MM)
    _captions(sheet, story, x, top + 1.6, wide=PAIR - 2)
    return below - 1.6


def picture_strip(story: Story, places: Layout, numbers: Collection[int]) -> Pixels:
    """The pictures of the report, on black; captions that stand beside them have white ground."""
    canvas = Canvas(round(places.wide * PIXELS_PER_MM), round(places.high * PIXELS_PER_MM))
    if len(places.key) == 2:
        draw_key_slice(canvas, story, (places.key[0], places.key[1]), numbers)
        if len(places.across) == 2:
            draw_across(canvas, story, (places.across[0], places.across[1]))
    elif len(places.across) == 2:
        draw_three(canvas, story, (places.key[0], places.across[0], places.across[1]))
    else:
        draw_reformat(canvas, trimmed(story.key, story.window), story.window, places.key[0], heat=False)
    pixels = canvas.pixels()
    if places.beside:
        first = places.across[0]
        pixels[first.y - GAP * PIXELS_PER_MM :, : first.x] = WHITE
    return pixels


def _captions(sheet: Sheet, story: Story, x: float, y: float, *, wide: float | None = None) -> float:
    """What the pictures show, from ``x``; in a column ``wide`` mm, where it is given. Returns the y below."""
    findings, compared = story.findings, story.compares
    said = f"{slice_name(sheet, story)}."
    if compared:
        said = f"{said} {sheet.label('sides')}"
    most = RIGHT - x if wide is None else wide
    y = sheet.paragraph(x, y, said, wide=most, lines=2 if wide else 1, size=8.5, colour=SOFT) + 0.5
    if not compared or not (story.heat or findings.regions):
        return y
    at = x
    if story.heat:
        at = _heat_legend(sheet, story, x, y, most) + 6
        if wide is not None:
            at, y = x, y + 4.6
    if findings.regions:
        _outline_legend(sheet, story, at, y, most - (at - x))
    return y + 4


def _heat_legend(sheet: Sheet, story: Story, x: float, y: float, most: float) -> float:
    """What the colours of the heat map mean. Returns the x at its end."""
    findings = story.findings
    explained = findings.explained or findings.predicted_class
    words = sheet.label("activation_alone")
    if explained:
        name = printed(sentences.title(findings.model, explained, sheet.language), "")
        words = sheet.label("activation", name=sentences.within(name, sheet.language))
    x += sheet.text(x, y, words, size=8.5, colour=SOFT, most=min(110, most - 24)) + 1.5
    ramp = np.tile(np.linspace(0, 1, 160, dtype=np.float32), (16, 1))
    sheet.picture(blend(np.full((16, 160, 3), TISSUE, np.uint8), ramp), x, y + 0.5, 20)
    return x + 21.5 + sheet.text(x + 21.5, y, "1", size=8.5, colour=SOFT)


def _outline_legend(sheet: Sheet, story: Story, x: float, y: float, most: float) -> None:
    colours = distinct_colours(story.findings)[:MOST_SAMPLED]
    for part, colour in enumerate(colours):
        sheet.box(x + 6 * part / len(colours), y + 1.6, 6 / len(colours), 0.7, colour)
    called = sheet.label("box" if story.findings.regions[0].boxed else "outline")
    sheet.text(x + 7.5, y, called, size=8.5, colour=SOFT, most=most - 7.5)


def slice_name(sheet: Sheet, story: Story) -> str:
    """As `page_parts.slice_name`."""
    index, volume = story.findings.key_slice, story.volume
    parts = [] if volume.projection else [sheet.label("slice", number=f"{index + 1}", all=f"{volume.shape[0]}")]
    for name, number in (("image", volume.sources[index].get("InstanceNumber")), ("frame", volume.frame(index))):
        if number is not None:
            parts.append(sheet.label(name, number=f"{number}"))
    name = " · ".join(parts)
    return name[:1].upper() + name[1:]
