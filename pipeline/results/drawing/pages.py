"""The pages of the overlay series: a summary to read at a glance, then the slices of what was found.

Designed for a dark reading room: black ground, few grey tones, colour only where it means something (heat map, outline,
warning). No page holds the patient's name or identifier.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from pipeline.findings.model import AnswerKind, Findings, Outcome
from pipeline.geometry.volume import Volume
from pipeline.results.drawing import caveat_lines
from pipeline.results.drawing.answer_rows import answer_note, answer_row, answer_title
from pipeline.results.drawing.canvas import DIM, SIDE, Box, Canvas, Pixels, Placement
from pipeline.results.drawing.fonts import width
from pipeline.results.drawing.listing import numbers_drawn
from pipeline.results.drawing.multiplanar import GreyRange, Reformat, reformats_across, source_plane, trimmed
from pipeline.results.drawing.page_parts import (
    BASE,
    FOOT,
    INNER,
    MARGIN,
    frame,
    legend,
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
from pipeline.results.drawing.region_notes import noted, region_notes
from pipeline.results.drawing.tables import Aside, calm_tables, lists, tables_beside
from pipeline.results.wording import conclusion

TOP = 150
"""Below the answer."""
PAIR = (Box(MARGIN, TOP, 484, 466), Box(SIDE - MARGIN - 484, TOP, 484, 466))
"""The key slice twice on a summary that compares: as it was acquired, and with what the algorithm says."""
LOWER = 660
ACROSS = (Box(MARGIN, LOWER, 238, 234), Box(MARGIN + 246, LOWER, 238, 234))
"""The planes across it, below."""
ASIDE = Aside(
    upper=Box(PAIR[1].x + 8, LOWER, 476, 128),
    lower=Box(PAIR[1].x + 8, LOWER + 135, 476, 99),
    whole=Box(PAIR[1].x + 8, LOWER, 476, 234),
)
"""Where the tables lie beside the planes across."""
BELOW = Aside(
    upper=Box(MARGIN, LOWER + 34, 468, 128),
    lower=Box(PAIR[1].x, LOWER + 34, 484, 200),
    whole=Box(MARGIN, LOWER + 34, INNER, 200),
)
"""Where they lie without those planes."""
CALM = Box(MARGIN, TOP, 684, 684)
"""The one picture of a summary without a finding, where there are no planes across."""
CALM_PLANES = (Box(MARGIN, TOP, 684, 410), Box(MARGIN, TOP + 418, 338, 266), Box(MARGIN + 346, TOP + 418, 338, 266))
"""The key slice and the planes across it on such a summary."""
SINGLE = Box(MARGIN, 144, 884, 770)
"""The one picture of a slice page."""
BAND = SINGLE.right + 16


@dataclass(frozen=True)
class Page:
    """A drawn page. ``placement`` says where ``plane``, source plane ``slice_index`` as it is shown, lies on it; both
    are None where the page has more than one picture, so that no geometry is true of the whole.
    """

    pixels: Pixels
    slice_index: int
    placement: Placement | None = None
    plane: Reformat | None = None


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

    @property
    def compares(self) -> bool:
        """Whether something is drawn upon the key slice, so that it stands beside the original."""
        if self.findings.model.kind is AnswerKind.LESION:
            return self.findings.outcome is not Outcome.NO_FINDING
        return self.heat or bool(self.findings.regions)


def shows_heatmap(findings: Findings) -> bool:
    """Whether the pages show the class activation: not for "no tumor", which nothing in the picture speaks for."""
    return (
        findings.outcome is not Outcome.NO_FINDING and findings.heatmap is not None and bool(findings.heatmap.max() > 0)
    )


def summary_page(story: Story, *, pages: int) -> Page:
    """The first page: the answer, the key slice, how sure, how large, and what to beware of."""
    if not story.compares:
        return _calm_page(story, pages)
    canvas, findings = Canvas(), story.findings
    frame(canvas, findings.model, page=1, pages=pages)
    answer_row(canvas, findings)
    left, right = PAIR
    aside = ASIDE if story.across else BELOW
    draw_key_slice(canvas, story, PAIR, numbers_drawn(findings, lists(findings, aside.whole).numbers))
    below = left.bottom + 6
    place = _small(slice_name(story.volume, findings.key_slice))
    canvas.text((left.x, below), f"Original · {place}", size=17, colour=DIM, most=left.width - 8)
    legend(canvas, findings, right.x, below, heat=story.heat)
    draw_across(canvas, story, ACROSS)
    tables_beside(canvas, findings, aside)
    caveat_lines.below(canvas, findings, *caveat_place(story), page=pages)
    return Page(canvas.pixels(), findings.key_slice)


def caveat_place(story: Story) -> tuple[Box, int]:
    """Where the summary lists its caveats, and in which size."""
    if story.compares:
        return Box(MARGIN, FOOT - 45, INNER, 44), 16
    below = CALM.bottom + 12
    return Box(MARGIN, below, INNER, FOOT - below), 18


def caveat_page(story: Story, *, page: int, pages: int) -> Page | None:
    """Every caveat on a page of its own; None where the summary has room for all."""
    if caveat_lines.fit(story.findings, *caveat_place(story)):
        return None
    canvas = Canvas()
    caveat_lines.draw_page(canvas, story.findings, page=page, pages=pages)
    return Page(canvas.pixels(), story.findings.key_slice)


def draw_key_slice(canvas: Canvas, story: Story, boxes: tuple[Box, Box], numbers: Collection[int]) -> None:
    """The key slice twice: original, and with heat map, outlines, diameters and the ``numbers`` of regions."""
    original, marked = boxes
    reformat = trimmed(story.key, story.window)
    draw_reformat(canvas, reformat, story.window, original, heat=False)
    placement = draw_reformat(canvas, reformat, story.window, marked, heat=story.heat, cut_by=story.across)
    draw_outlines(canvas, story.findings, reformat, placement, numbers=numbers)
    draw_axes(canvas, story.findings, reformat, placement)


def draw_across(canvas: Canvas, story: Story, boxes: tuple[Box, Box]) -> None:
    """The planes across the key slice, where there are any, with what the algorithm says."""
    for whole, box in zip(story.across, boxes, strict=False):
        reformat = trimmed(whole, story.window)
        # No heat map: a dozen planes at most are explained, which would be stripes here.
        placement = draw_reformat(canvas, reformat, story.window, box, heat=False, cut_by=[story.key], top=True)
        draw_outlines(canvas, story.findings, reformat, placement, numbers=())


def slice_page(story: Story, index: int, *, page: int, pages: int) -> Page:
    """Plane ``index`` large, with heat map, outline and, where it is measured, the diameters."""
    canvas, findings = Canvas(), story.findings
    frame(canvas, findings.model, page=page, pages=pages)
    reformat = source_plane(story.volume, findings, index)
    placement = draw_reformat(canvas, reformat, story.window, SINGLE, heat=story.heat)
    draw_outlines(canvas, findings, reformat, placement, numbers=numbers_drawn(findings, noted(findings, index)))
    draw_axes(canvas, findings, reformat, placement)
    base = BASE - 6
    place, _, image = slice_name(story.volume, index).partition(" · ")
    wide = canvas.text((SIDE - MARGIN, base), image, colour=DIM, anchor="rs") + 12 if image else 0
    wide += canvas.text((SIDE - MARGIN - wide, base), place, size=28, anchor="rs") + 32
    said = answer_note(findings)
    room = INNER - wide - width(said, 18) - 12
    title = answer_title(findings)
    begun = canvas.text((MARGIN, base), title, size=28, least=20, anchor="ls", most=room)
    canvas.text((MARGIN + begun + 12, base), said, colour=DIM, anchor="ls")
    if story.heat:
        for row, word in enumerate(("Class", "activation,", "relative")):
            canvas.text((BAND, SINGLE.y + 20 * row), word, size=16, colour=DIM)
        draw_colour_bar(canvas, Box(BAND, SINGLE.y + 76, 18, 240), vertical=True)
    region_notes(canvas, findings, index, SINGLE.bottom + 6)
    return Page(canvas.pixels(), index, placement, reformat)


def _calm_page(story: Story, pages: int) -> Page:
    """The answer, how sure, and the planes of the body: where nothing is suggested nothing is coloured."""
    canvas, findings = Canvas(), story.findings
    frame(canvas, findings.model, page=1, pages=pages)
    answer_row(canvas, findings)
    placement = None if story.across else draw_reformat(canvas, story.key, story.window, CALM, heat=False)
    draw_three(canvas, story, CALM_PLANES)
    x = CALM.right + 24
    wide = SIDE - MARGIN - x
    name = slice_name(story.volume, findings.key_slice)
    canvas.text((x, CALM.y), name, size=17, colour=DIM, most=wide)
    y = canvas.paragraph((x, CALM.y + 36), shown(conclusion(findings), ""), most=wide, lines=8, size=19)
    calm_tables(canvas, findings, Box(x, round(y) + 28, wide, CALM.bottom - round(y) - 28))
    caveat_lines.below(canvas, findings, *caveat_place(story), page=pages)
    return Page(canvas.pixels(), findings.key_slice, placement, story.key if placement else None)


def draw_three(canvas: Canvas, story: Story, boxes: tuple[Box, Box, Box]) -> None:
    """The key slice and the planes across it, each with the cuts of the others; nothing where there are none across."""
    planes = [trimmed(plane, story.window) for plane in (story.key, *story.across)] if story.across else []
    for plane, box in zip(planes, boxes, strict=False):
        others = [other for other in planes if other is not plane]
        draw_reformat(canvas, plane, story.window, box, heat=False, cut_by=others)


def _small(name: str) -> str:
    """A slice's name within a line."""
    return name[:1].lower() + name[1:]
