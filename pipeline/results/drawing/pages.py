"""The pages of the overlay series: a summary to read at a glance, then the lesion's slices.

Designed for a dark reading room: black ground, few grey tones, colour only where it means something (heat map, outline,
warning). No page holds the patient's name or identifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pipeline.findings.model import Findings, Outcome
from pipeline.geometry.volume import Volume
from pipeline.results.drawing.canvas import DIM, SIDE, Box, Canvas, Pixels, Placement
from pipeline.results.drawing.fonts import width
from pipeline.results.drawing.multiplanar import GreyRange, Reformat, reformats_across, source_plane, trimmed
from pipeline.results.drawing.page_parts import (
    BASE,
    FOOT,
    INNER,
    MARGIN,
    PROBABILITY,
    answer_row,
    caveats,
    frame,
    legend,
    outline_sample,
    probabilities,
    region_note,
    regions,
    shown,
    slice_name,
)
from pipeline.results.drawing.picture import (
    display_window,
    draw_axes,
    draw_colour_bar,
    draw_outlines,
    draw_reformat,
    point_of_interest,
)
from pipeline.results.wording import conclusion, headline

TOP = 150
"""Below the answer."""
PAIR = (Box(MARGIN, TOP, 484, 466), Box(SIDE - MARGIN - 484, TOP, 484, 466))
"""The key slice twice on a summary that compares: as it was acquired, and with what the algorithm says."""
LOWER = 660
ACROSS = (Box(MARGIN, LOWER, 238, 234), Box(MARGIN + 246, LOWER, 238, 234))
"""The planes across it, below."""
WIDE = LOWER + 34
"""Where the tables begin that have no planes beside them."""
CALM = Box(MARGIN, TOP, 684, 684)
"""The one picture of a summary without a finding."""
SINGLE = Box(MARGIN, 144, 884, 770)
"""The one picture of a slice page."""
BAND = SINGLE.right + 16


@dataclass(frozen=True)
class Page:
    """A drawn page. ``placement`` says where source plane ``slice_index`` lies on it; None where the page has more than
    one picture, so that no geometry is true of the whole.
    """

    pixels: Pixels
    slice_index: int
    placement: Placement | None


@dataclass(frozen=True)
class Story:
    """The content of the pages of one run, with one window, so that brightness is the same on every page."""

    volume: Volume
    findings: Findings

    @cached_property
    def window(self) -> GreyRange:
        return display_window(self.volume, self.findings.key_slice)

    @cached_property
    def key(self) -> Reformat:
        """The key slice."""
        return source_plane(self.volume, self.findings, self.findings.key_slice)

    @cached_property
    def across(self) -> tuple[Reformat, ...]:
        """The planes across the key slice through what the algorithm points at, where the data allow them."""
        return reformats_across(self.volume, self.findings, point_of_interest(self.volume, self.findings))

    @cached_property
    def heat(self) -> bool:
        return shows_heatmap(self.findings)


def shows_heatmap(findings: Findings) -> bool:
    """Whether the pages show the class activation: not for "no tumor", which nothing in the picture speaks for."""
    return (
        findings.outcome is not Outcome.NO_FINDING and findings.heatmap is not None and bool(findings.heatmap.max() > 0)
    )


def summary_page(story: Story, *, pages: int) -> Page:
    """The first page: the answer, the key slice, how sure, how large, and what to beware of."""
    if story.findings.outcome is Outcome.NO_FINDING:
        return _calm_page(story, pages)
    canvas, findings = Canvas(), story.findings
    frame(canvas, findings.model, page=1, pages=pages)
    answer_row(canvas, findings)
    left, right = PAIR
    draw_key_slice(canvas, story, PAIR)
    below = left.bottom + 6
    place = _small(slice_name(story.volume, findings.key_slice))
    canvas.text((left.x, below), f"Original · {place}", size=17, colour=DIM, most=left.width - 8)
    legend(canvas, findings, right.x, below, heat=story.heat)
    aside = Box(right.x + 8, LOWER, right.width - 8, 234) if story.across else Box(left.x, WIDE, left.width - 16, 200)
    probabilities(canvas, findings, Box(aside.x, aside.y, aside.width, 128))
    draw_across(canvas, story, ACROSS)
    table = Box(aside.x, LOWER + 135, aside.width, 99) if story.across else Box(right.x, WIDE, right.width, 200)
    regions(canvas, findings, table)
    caveats(canvas, findings, Box(MARGIN, FOOT - 45, INNER, 44))
    return Page(canvas.pixels(), findings.key_slice, None)


def draw_key_slice(canvas: Canvas, story: Story, boxes: tuple[Box, Box]) -> None:
    """The key slice twice, side by side: original, and with heat map, outlines and diameters."""
    original, marked = boxes
    reformat = trimmed(story.key, story.window)
    draw_reformat(canvas, reformat, story.window, original, heat=False)
    placement = draw_reformat(canvas, reformat, story.window, marked, heat=story.heat, cut_by=story.across)
    draw_outlines(canvas, reformat, placement, numbered=len(story.findings.regions) > 1)
    draw_axes(canvas, story.findings, reformat, placement)


def draw_across(canvas: Canvas, story: Story, boxes: tuple[Box, Box]) -> None:
    """The planes across the key slice, where there are any, with what the algorithm says."""
    for whole, box in zip(story.across, boxes, strict=False):
        reformat = trimmed(whole, story.window)
        placement = draw_reformat(canvas, reformat, story.window, box, heat=story.heat, cut_by=[story.key], top=True)
        draw_outlines(canvas, reformat, placement, numbered=False)


def slice_page(story: Story, index: int, *, page: int, pages: int) -> Page:
    """Plane ``index`` large, with heat map, outline and, where it is measured, the diameters."""
    canvas, findings = Canvas(), story.findings
    frame(canvas, findings.model, page=page, pages=pages)
    reformat = source_plane(story.volume, findings, index)
    placement = draw_reformat(canvas, reformat, story.window, SINGLE, heat=story.heat)
    draw_outlines(canvas, reformat, placement, numbered=len(findings.regions) > 1)
    draw_axes(canvas, findings, reformat, placement)
    base = BASE - 6
    place, _, image = slice_name(story.volume, index).partition(" · ")
    wide = canvas.text((SIDE - MARGIN, base), image, colour=DIM, anchor="rs") + 12 if image else 0
    wide += canvas.text((SIDE - MARGIN - wide, base), place, size=28, anchor="rs") + 32
    said = f"{PROBABILITY.lower()} {findings.probability(findings.predicted_class):.2f}"
    room = INNER - wide - width(said, 18) - 12
    title = shown(headline(findings), str(findings.outcome))
    begun = canvas.text((MARGIN, base), title, size=28, least=20, anchor="ls", most=room)
    canvas.text((MARGIN + begun + 12, base), said, colour=DIM, anchor="ls")
    if story.heat:
        for row, word in enumerate(("Class", "activation,", "relative")):
            canvas.text((BAND, SINGLE.y + 20 * row), word, size=16, colour=DIM)
        draw_colour_bar(canvas, Box(BAND, SINGLE.y + 76, 18, 240), vertical=True)
    _region_notes(canvas, story, index)
    return Page(canvas.pixels(), index, placement)


def _region_notes(canvas: Canvas, story: Story, index: int) -> None:
    """The lesions of a slice on one line below it, as many as fit."""
    shown_here = [number for number, _ in source_plane(story.volume, story.findings, index).masks]
    if not shown_here:
        return
    y = SINGLE.bottom + 6
    outline_sample(canvas, SIDE - MARGIN - 112, y + 11)
    x = float(MARGIN)
    for count, number in enumerate(shown_here[:2]):
        x += region_note(canvas, story.findings.regions[number - 1], number, x, y) + 32
        if count == 1 and len(shown_here) > 2:
            canvas.text((x, y), f"and {len(shown_here) - 2} more", colour=DIM)


def _calm_page(story: Story, pages: int) -> Page:
    """One picture, the answer, how sure: where nothing is suggested nothing is coloured."""
    canvas, findings = Canvas(), story.findings
    frame(canvas, findings.model, page=1, pages=pages)
    answer_row(canvas, findings)
    placement = draw_reformat(canvas, story.key, story.window, CALM, heat=False)
    draw_outlines(canvas, story.key, placement, numbered=False)
    x = CALM.right + 24
    wide = SIDE - MARGIN - x
    name = slice_name(story.volume, findings.key_slice)
    canvas.text((x, CALM.y), name, size=17, colour=DIM, most=wide)
    y = canvas.paragraph((x, CALM.y + 36), shown(conclusion(findings), ""), most=wide, lines=8, size=19)
    probabilities(canvas, findings, Box(x, round(y) + 28, wide, 220))
    if findings.regions:
        regions(canvas, findings, Box(x, round(y) + 260, wide, 120))
    below = CALM.bottom + 12
    caveats(canvas, findings, Box(MARGIN, below, INNER, FOOT - below), size=18)
    return Page(canvas.pixels(), findings.key_slice, placement)


def _small(name: str) -> str:
    """A slice's name within a line."""
    return name[:1].lower() + name[1:]
