"""The pages of the overlay series: a summary to read at a glance, then the lesion's slices.

Designed for a dark reading room: black ground, few grey tones, colour only where it means something (heat map, outline,
warning). No page holds the patient's name or identifier.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.findings import Findings, Lesion, Outcome
from pipeline.results.canvas import (
    DIM,
    FAINT,
    HEIGHT,
    TEXT,
    WARNING,
    WIDTH,
    Box,
    Canvas,
    Pixels,
    Placement,
    place,
    wrap,
)
from pipeline.results.picture import (
    Window,
    draw_axes,
    draw_colour_bar,
    draw_letters,
    draw_outlines,
    draw_scale,
    grey,
    heat,
)
from pipeline.results.segmentation import OUTLINE_RGB
from pipeline.results.wording import DISCLAIMER, conclusion, headline
from pipeline.volume import Volume

MARGIN = 40
PAIR = (Box(MARGIN, 152, 592, 560), Box(WIDTH - MARGIN - 592, 152, 592, 560))
"""The two pictures of a summary that compares."""
SINGLE = Box(MARGIN, 92, 860, 860)
"""The one picture of a slice page and of a summary without a finding."""
ASIDE = SINGLE.x + SINGLE.width + 40
ASIDE_WIDTH = WIDTH - MARGIN - ASIDE
TABLE_ROWS = 4
ASIDE_LESIONS = 5


@dataclass(frozen=True)
class Page:
    """A drawn page. ``placement`` says where source plane ``slice_index`` lies on it; None where the page has more than
    one picture, so that no geometry is true of the whole.
    """

    pixels: Pixels
    slice_index: int
    placement: Placement | None


def shows_heatmap(findings: Findings) -> bool:
    """Whether the pages show the class activation: not for "no tumor", which nothing in the picture speaks for."""
    return findings.outcome is not Outcome.NO_FINDING and bool(findings.heatmap.max() > 0)


def summary_page(volume: Volume, findings: Findings, window: Window, *, pages: int) -> Page:
    """The first page: the answer, the key slice, how sure, how large, and what to beware of.

    ``window`` is what is shown black and white, on every page of a series the same.
    """
    if not shows_heatmap(findings):
        return _calm_page(volume, findings, window, pages)
    canvas = Canvas()
    index = findings.key_slice
    _frame(canvas, findings, page=1, pages=pages)
    canvas.text((MARGIN, 68), headline(findings), size=38)
    canvas.text((MARGIN, 120), _slice_name(volume, index), size=18, colour=DIM)
    _certainty(canvas, findings)
    for number, box in enumerate(PAIR):
        placement = place(volume, box)
        picture = grey(volume, index, window, placement)
        canvas.paste(heat(picture, findings.heatmap[index], placement) if number else picture, placement.x, placement.y)
        if number:
            draw_outlines(canvas, findings, index, placement)
            draw_axes(canvas, findings.lesions, index, placement)
        draw_letters(canvas, volume, placement)
        draw_scale(canvas, placement)
    left, right = PAIR
    below = left.y + left.height + 12
    canvas.text((left.x, below), "Original", size=17, colour=DIM)
    _legend(canvas, findings, right.x, below)
    _probabilities(canvas, findings, Box(MARGIN, 784, 340, 180))
    _lesions(canvas, findings, Box(432, 784, 416, 180))
    _caveats(canvas, findings, Box(900, 784, WIDTH - MARGIN - 900, 180), lines=6)
    return Page(canvas.pixels(), index, None)


def _certainty(canvas: Canvas, findings: Findings) -> None:
    """The predicted class's probability, large; where the answer is not reliable no figure claims that it is."""
    name = findings.model.term(findings.predicted_class).title.lower()
    probability = findings.probability(findings.predicted_class)
    if findings.outcome is Outcome.INDETERMINATE:
        canvas.text((WIDTH - MARGIN, 84), "no reliable answer", size=24, colour=DIM, anchor="ra")
        most = f"most probable class {name}, {probability:.2f}"
        canvas.text((WIDTH - MARGIN, 120), most, size=18, colour=DIM, anchor="ra")
        return
    canvas.text((WIDTH - MARGIN, 68), f"{probability:.2f}", size=38, anchor="ra")
    canvas.text((WIDTH - MARGIN, 120), f"model probability of {name}", size=18, colour=DIM, anchor="ra")


def slice_page(volume: Volume, findings: Findings, window: Window, index: int, *, page: int, pages: int) -> Page:
    """Plane ``index`` large, with heat map, outline and, where it is measured, the diameter."""
    canvas = Canvas()
    _frame(canvas, findings, page=page, pages=pages)
    placement = place(volume, SINGLE)
    picture = grey(volume, index, window, placement)
    if shows_heatmap(findings):
        picture = heat(picture, findings.heatmap[index], placement)
    canvas.paste(picture, placement.x, placement.y)
    draw_outlines(canvas, findings, index, placement)
    draw_axes(canvas, findings.lesions, index, placement)
    draw_letters(canvas, volume, placement)
    draw_scale(canvas, placement)
    y = canvas.paragraph((ASIDE, SINGLE.y), headline(findings), width=ASIDE_WIDTH, lines=2, size=28)
    probability = findings.probability(findings.predicted_class)
    canvas.text((ASIDE, y + 2), f"model probability {probability:.2f}", size=17, colour=DIM)
    y = canvas.paragraph((ASIDE, y + 48), _slice_name(volume, index), width=ASIDE_WIDTH, lines=2, size=20)
    y += 28
    here = [(number, item) for number, item in enumerate(findings.lesions, start=1) if item.mask[index].any()]
    for number, lesion in here[:ASIDE_LESIONS]:
        y = _lesion_note(canvas, lesion, number, y)
    if len(here) > ASIDE_LESIONS:
        canvas.text((ASIDE, y), f"and {len(here) - ASIDE_LESIONS} more in this slice", size=15, colour=DIM)
    if shows_heatmap(findings):
        canvas.text((ASIDE, 650), "Class activation", size=17)
        canvas.text((ASIDE, 674), "relative, 0–1", size=15, colour=DIM)
        draw_colour_bar(canvas, Box(ASIDE, 708, 22, 200), vertical=True)
    if findings.lesions:
        _outline_sample(canvas, ASIDE, 934)
    return Page(canvas.pixels(), index, placement)


def _calm_page(volume: Volume, findings: Findings, window: Window, pages: int) -> Page:
    """One picture, the answer, how sure: where nothing is suggested nothing is coloured."""
    canvas = Canvas()
    index = findings.key_slice
    _frame(canvas, findings, page=1, pages=pages)
    placement = place(volume, SINGLE)
    canvas.paste(grey(volume, index, window, placement), placement.x, placement.y)
    draw_outlines(canvas, findings, index, placement)
    draw_letters(canvas, volume, placement)
    draw_scale(canvas, placement)
    y = canvas.paragraph((ASIDE, SINGLE.y), headline(findings), width=ASIDE_WIDTH, lines=2, size=30)
    y = canvas.paragraph((ASIDE, y + 14), conclusion(findings), width=ASIDE_WIDTH, lines=6, size=17, colour=DIM)
    canvas.text((ASIDE, y + 22), _slice_name(volume, index), size=17)
    _probabilities(canvas, findings, Box(ASIDE, round(y) + 84, ASIDE_WIDTH, 180))
    _caveats(canvas, findings, Box(ASIDE, round(y) + 320, ASIDE_WIDTH, 260), lines=10)
    return Page(canvas.pixels(), index, placement)


def _frame(canvas: Canvas, findings: Findings, *, page: int, pages: int) -> None:
    """What every page says: that it is not verified, and which algorithm made it."""
    model = findings.model
    canvas.text((MARGIN, 26), DISCLAIMER, size=20, colour=WARNING, bold=True)
    canvas.text((WIDTH - MARGIN, 28), f"for review · page {page} of {pages}", size=17, colour=DIM, anchor="ra")
    canvas.rectangle(Box(MARGIN, HEIGHT - 46, WIDTH - 2 * MARGIN, 1), FAINT)
    made = f"{model.manufacturer} · {model.title} · version {model.version} · digest {model.digest[:12]}"
    canvas.paragraph((MARGIN, HEIGHT - 34), made, width=WIDTH - 2 * MARGIN, lines=1, colour=DIM)


def _slice_name(volume: Volume, index: int) -> str:
    """Counted along the normal, and by the number under which a PACS lists the image, or by its frame."""
    number, frame = volume.sources[index].get("InstanceNumber"), volume.frame(index)
    image = f" · image {number}" if number is not None else ""
    image += f" · frame {frame}" if frame is not None else ""
    return f"Slice {index + 1} of {volume.shape[0]}{image}"


def _legend(canvas: Canvas, findings: Findings, x: int, y: int) -> None:
    canvas.text((x, y), "Class activation, relative 0–1", size=17, colour=DIM)
    draw_colour_bar(canvas, Box(x + 280, y + 2, 150, 14), vertical=False)
    if findings.lesions:
        _outline_sample(canvas, x + 462, y + 10)


def _outline_sample(canvas: Canvas, x: int, y: int) -> None:
    canvas.rectangle(Box(x, y - 1, 28, 3), OUTLINE_RGB)
    canvas.text((x + 38, y), "AI outline", size=17, colour=DIM, anchor="lm")


def _probabilities(canvas: Canvas, findings: Findings, box: Box) -> None:
    """A bar for each class, the most probable first."""
    canvas.text((box.x, box.y), "Model probability", size=17, colour=DIM)
    ordered = sorted(findings.probabilities, key=lambda item: -item.probability)
    for row, item in enumerate(ordered[:5]):
        y = box.y + 34 + row * 36
        chosen = item.name == findings.predicted_class
        colour = TEXT if chosen else DIM
        canvas.text((box.x, y), findings.model.term(item.name).title, size=16, colour=colour)
        canvas.text((box.x + box.width, y), f"{item.probability:.2f}", size=16, colour=colour, anchor="ra")
        canvas.rectangle(Box(box.x, y + 23, box.width, 4), FAINT)
        length = round(box.width * item.probability)
        if length:
            canvas.rectangle(Box(box.x, y + 23, length, 4), colour)


def _lesions(canvas: Canvas, findings: Findings, box: Box) -> None:
    """The table of outlined regions, largest first."""
    canvas.text((box.x, box.y), "Outlined regions", size=17, colour=DIM)
    if not findings.lesions:
        canvas.text((box.x, box.y + 36), "none", size=16)
        return
    right = [box.x + round(box.width * share) for share in (0.36, 0.56, 0.76, 1.0)]
    heads = ("volume", "long", "short", "slices")
    for x, head in zip(right, heads, strict=True):
        canvas.text((x, box.y + 34), head, size=15, colour=DIM, anchor="ra")
    for row, lesion in enumerate(findings.lesions[:TABLE_ROWS]):
        y = box.y + 62 + row * 27
        canvas.text((box.x, y), f"{row + 1}", size=16, bold=True, colour=OUTLINE_RGB)
        cells = (
            _volume_text(lesion.volume_mm3),
            f"{lesion.long_axis.length_mm:.0f} mm",
            f"{lesion.short_axis.length_mm:.0f} mm",
            _slice_range(lesion),
        )
        for x, cell in zip(right, cells, strict=True):
            canvas.text((x, y), cell, size=16, anchor="ra")
    more = len(findings.lesions) - TABLE_ROWS
    if more > 0:
        canvas.text((box.x, box.y + 62 + TABLE_ROWS * 27), f"and {more} more in the report", size=15, colour=DIM)


def _lesion_note(canvas: Canvas, lesion: Lesion, number: int, y: float) -> float:
    canvas.text((ASIDE, y), f"{number}", size=17, bold=True, colour=OUTLINE_RGB)
    canvas.text((ASIDE + 28, y), _volume_text(lesion.volume_mm3), size=17)
    size = f"{lesion.long_axis.length_mm:.0f} × {lesion.short_axis.length_mm:.0f} mm"
    canvas.text((ASIDE + 28, y + 24), f"{size}, slice {lesion.long_axis.slice_index + 1}", size=16, colour=DIM)
    return y + 60


def _caveats(canvas: Canvas, findings: Findings, box: Box, *, lines: int) -> None:
    """What limits the answer, as far as it fits; the report holds all of it."""
    canvas.text((box.x, box.y), "Caveats", size=17, colour=DIM)
    standing = "Computed, not read by anyone: compare with the original images."
    y, left, size = float(box.y + 34), lines, 15
    for text in (*findings.caveats, standing):
        needed = len(wrap(text, box.width, lines + 1, size))
        if left < 1 or (text == standing and needed > left):
            break
        y = canvas.paragraph((box.x, y), text, width=box.width, lines=left, size=size) + 6
        left -= needed


def _volume_text(mm3: float) -> str:
    """Volume in millilitres, which readers use, or in mm³ where that would round to nothing."""
    return f"{mm3 / 1000:.1f} ml" if mm3 >= 1000 else f"{mm3:.0f} mm³"


def _slice_range(lesion: Lesion) -> str:
    first, last = lesion.slices[0] + 1, lesion.slices[-1] + 1
    return f"{first}" if first == last else f"{first}–{last}"
