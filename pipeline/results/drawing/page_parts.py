"""The parts of a page beside its pictures and tables: frame, names, legend, caveats."""

from __future__ import annotations

from pipeline.findings.model import Findings, ModelIdentity
from pipeline.geometry.volume import Volume
from pipeline.results.drawing.canvas import DIM, SIDE, WARNING, Box, Canvas
from pipeline.results.drawing.fonts import Face, can_draw, cut, width
from pipeline.results.drawing.listing import distinct_colours
from pipeline.results.drawing.picture import draw_colour_bar
from pipeline.results.wording import DISCLAIMER, ascii_text

MARGIN = 24
INNER = SIDE - 2 * MARGIN
HEAD, FOOT = 104, 945
"""What stands near the left and right edges of a page lies between these. Viewers write over the corners of every
picture, three lines at the top and one at the bottom as a rule: there pages use only the middle. OHIF lays its cine bar
over the middle of the top, 40 to 85 pixels of the screen below the edge: pages are empty between notice and `HEAD`.
"""
MIDDLE = 560
"""Width of the foot line, between what viewers write into the lower corners."""
BASE = HEAD + 36
"""The line that the answer stands on."""
PROBABILITY = "Model probability"
"""Not called calibrated: a temperature, where the bundle has one, was fitted on single slices, and the figure of a
series is made of many.
"""
MOST_SAMPLED = 4
"""Colours in the legend's stroke."""


def frame(canvas: Canvas, model: ModelIdentity, *, page: int, pages: int) -> None:
    """The notice that the page is unverified, and the algorithm that made it; on every page."""
    middle = SIDE / 2
    canvas.text((middle, 8), DISCLAIMER, size=21, colour=WARNING, face=Face.BOLD, anchor="ma")
    canvas.text((middle, FOOT + 3), f"for review · page {page} of {pages}", size=16, colour=DIM, anchor="ma")
    version = f"version {model.version} · digest {model.digest[:12]}"
    made = cut(shown(f"{model.manufacturer} · {model.title} ·", f"{model.name} ·"), MIDDLE - width(version, 16) - 5, 16)
    canvas.text((middle, FOOT + 24), f"{made} {version}", size=16, colour=DIM, anchor="ma")


def shown(text: str, otherwise: str) -> str:
    """``text`` where a page can draw all of it, else its plain spelling, else ``otherwise``."""
    if can_draw(text):
        return text
    return ascii_text(text) or otherwise


def class_title(findings: Findings, name: str) -> str:
    """What class ``name`` is called on a page."""
    return shown(findings.model.term(name).title, ascii_text(name) or "class")


def in_sentence(title: str) -> str:
    """``title`` as it stands within a sentence: "Pituitary tumor" with a small letter, "DNET" as it is."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def slice_name(volume: Volume, index: int) -> str:
    """Counted along the normal, and by the number under which a PACS lists the image, or by its frame; a radiograph by
    that number alone.
    """
    number, frame_number = volume.sources[index].get("InstanceNumber"), volume.frame(index)
    if volume.projection:
        return "Image" if number is None else f"Image {number}"
    image = f" · image {number}" if number is not None else ""
    image += f" · frame {frame_number}" if frame_number is not None else ""
    return f"Slice {index + 1} of {volume.shape[0]}{image}"


def legend(canvas: Canvas, findings: Findings, x: int, y: int, *, heat: bool) -> None:
    """What the colours of the picture above mean."""
    if heat:
        what = "Activation, relative"
        explained = findings.explained or findings.predicted_class
        if explained:
            what += f", for {in_sentence(class_title(findings, explained))}"
        wide = round(canvas.text((x, y), what, size=17, least=14, colour=DIM, most=256))
        draw_colour_bar(canvas, Box(x + wide + 14, y + 4, 326 - wide, 12), vertical=False)
        x += 360
    if findings.regions:
        outline_sample(canvas, findings, x, y + 11)


def outline_sample(canvas: Canvas, findings: Findings, x: int, y: int) -> None:
    """A stroke in the colours of the outlines, and what they are."""
    colours = distinct_colours(findings)[:MOST_SAMPLED]
    for part, colour in enumerate(colours):
        left, right = (x + round(26 * place / len(colours)) for place in (part, part + 1))
        canvas.rectangle(Box(left, y - 1, right - left, 3), colour)
    canvas.text(
        (x + 34, y), f"AI {'box' if findings.regions[0].boxed else 'outline'}", size=17, colour=DIM, anchor="lm"
    )
