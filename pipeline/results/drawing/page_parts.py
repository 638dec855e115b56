"""The parts of a page beside its pictures: frame, probabilities, table of lesions, legend, caveats."""

from __future__ import annotations

from dataclasses import replace

from pipeline.findings.model import Findings, ModelIdentity, Outcome, Region
from pipeline.geometry.volume import Volume
from pipeline.report import sentences
from pipeline.results.colours import OUTLINE_RGB
from pipeline.results.drawing.canvas import DIM, FAINT, SIDE, TEXT, WARNING, Box, Canvas
from pipeline.results.drawing.fonts import Face, can_draw, cut, width, wrap
from pipeline.results.drawing.picture import draw_colour_bar
from pipeline.results.wording import DISCLAIMER, ascii_text, headline

MARGIN = 24
INNER = SIDE - 2 * MARGIN
HEAD, FOOT = 104, 945
"""What stands near the left and right edges of a page lies between these. Viewers write over the corners of every
picture, three lines at the top and one at the bottom as a rule: there pages use only the middle.
"""
MIDDLE = 560
"""Width of the foot line, between what viewers write into the lower corners."""
BASE = HEAD + 36
"""The line that the answer stands on."""
PROBABILITY = "Model probability"
"""Not called calibrated: a temperature, where the bundle has one, was fitted on single slices, and the figure of a
series is made of many.
"""
STANDING = "Computed, not read by anyone: compare with the original images."


def frame(canvas: Canvas, model: ModelIdentity, *, page: int, pages: int) -> None:
    """The notice that the page is unverified, and the algorithm that made it; on every page."""
    middle = SIDE / 2
    canvas.text((middle, 12), DISCLAIMER, size=21, colour=WARNING, face=Face.BOLD, anchor="ma")
    canvas.text((middle, 41), f"for review · page {page} of {pages}", size=17, colour=DIM, anchor="ma")
    version = f"version {model.version} · digest {model.digest[:12]}"
    made = cut(shown(f"{model.manufacturer} · {model.title} ·", f"{model.name} ·"), MIDDLE - width(version, 16) - 5, 16)
    canvas.text((middle, FOOT + 9), f"{made} {version}", size=16, colour=DIM, anchor="ma")


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
    """Counted along the normal, and by the number under which a PACS lists the image, or by its frame."""
    number, frame_number = volume.sources[index].get("InstanceNumber"), volume.frame(index)
    image = f" · image {number}" if number is not None else ""
    image += f" · frame {frame_number}" if frame_number is not None else ""
    return f"Slice {index + 1} of {volume.shape[0]}{image}"


def answer_row(canvas: Canvas, findings: Findings) -> None:
    """The answer and the predicted class's probability, large; where the answer is not reliable no figure claims that
    it is.
    """
    probability = findings.probability(findings.predicted_class)
    right = SIDE - MARGIN
    if findings.outcome is Outcome.INDETERMINATE:
        name = in_sentence(class_title(findings, findings.predicted_class))
        leads = probability >= max(item.probability for item in findings.probabilities)
        said = f"most probable {'class' if leads else 'kind of lesion'}: {name}, {probability:.2f}"
        wide = canvas.text((right, BASE), said, size=20, least=16, colour=DIM, anchor="rs", most=INNER / 2)
    else:
        wide = canvas.text((right, BASE), f"{probability:.2f}", size=40, anchor="rs") + 12
        wide += canvas.text((right - wide, BASE), PROBABILITY.lower(), size=20, colour=DIM, anchor="rs")
    text = shown(headline(findings), str(findings.outcome))
    text += ": no reliable answer" if findings.outcome is Outcome.INDETERMINATE else ""
    canvas.text((MARGIN, BASE), text, size=40, least=26, anchor="ls", most=INNER - wide - 24)


def probabilities(canvas: Canvas, findings: Findings, box: Box) -> None:
    """A line with a bar for each class (below its name where there is little room), the most probable first."""
    canvas.text((box.x, box.y), PROBABILITY, size=17, colour=DIM)
    ordered = sorted(findings.probabilities, key=lambda item: -item.probability)
    beside = box.width >= 320
    pitch, drop = (25, 8) if beside else (38, 25)
    room = (box.height - 27) // pitch
    most = room if len(ordered) <= room else room - 1
    bar = Box(box.x + round(box.width * 0.42), 0, round(box.width * 0.44), 6) if beside else replace(box, height=5)
    name_width = bar.x - box.x - 10 if beside else box.width - 56
    for row, item in enumerate(ordered[:most]):
        y = box.y + 27 + row * pitch
        chosen = item.name == findings.predicted_class
        colour, face = (TEXT, Face.MEDIUM) if chosen else (DIM, Face.REGULAR)
        name = class_title(findings, item.name)
        canvas.text((box.x, y), name, colour=colour, face=face, most=name_width)
        canvas.text((box.right, y), f"{item.probability:.2f}", colour=colour, face=face, anchor="ra")
        canvas.rectangle(Box(bar.x, y + drop, bar.width, bar.height), FAINT)
        length = round(bar.width * item.probability)
        if length:
            canvas.rectangle(Box(bar.x, y + drop, length, bar.height), colour)
    if len(ordered) > most:
        rest = f"and {len(ordered) - most} less probable classes"
        canvas.text((box.x, box.y + 27 + most * pitch), rest, size=16, colour=DIM)


def regions(canvas: Canvas, findings: Findings, box: Box) -> None:
    """The table of outlined regions, largest first, as many as ``box`` has room for."""
    if not findings.regions:
        canvas.text((box.x, box.y), "Outlined regions", size=17, colour=DIM)
        canvas.text((box.x, box.y + 26), "none")
        return
    right = [box.x + round(box.width * share) for share in (0.36, 0.58, 0.78, 1.0)]
    canvas.text((box.x, box.y), "Regions", size=17, colour=DIM)
    for x, head in zip(right, region_columns(findings), strict=True):
        canvas.text((x, box.y), head, size=17, colour=DIM, anchor="ra")
    pitch = 25
    room = max(1, (box.height - 24) // pitch)
    rows = room if len(findings.regions) <= room else room - 1
    for row, region in enumerate(findings.regions[:rows]):
        y = box.y + 25 + row * pitch
        canvas.text((box.x, y), f"{row + 1}", face=Face.BOLD, colour=OUTLINE_RGB)
        cells = region_cells(region)
        for x, cell in zip(right, cells, strict=True):
            canvas.text((x, y), cell, anchor="ra")
    more = len(findings.regions) - rows
    if more > 0:
        canvas.text((box.x, box.y + 25 + rows * pitch), f"and {more} more in the report", size=16, colour=DIM)


def legend(canvas: Canvas, findings: Findings, x: int, y: int, *, heat: bool) -> None:
    """What the colours of the picture above mean."""
    if heat:
        what = f"Activation, relative, for {in_sentence(class_title(findings, findings.predicted_class))}"
        wide = round(canvas.text((x, y), what, size=17, least=14, colour=DIM, most=256))
        draw_colour_bar(canvas, Box(x + wide + 14, y + 4, 326 - wide, 12), vertical=False)
        x += 360
    if findings.regions:
        outline_sample(canvas, x, y + 11)


def outline_sample(canvas: Canvas, x: int, y: int) -> None:
    canvas.rectangle(Box(x, y - 1, 26, 3), OUTLINE_RGB)
    canvas.text((x + 34, y), "AI outline", size=17, colour=DIM, anchor="lm")


def caveats(canvas: Canvas, findings: Findings, box: Box, *, size: int = 16) -> None:
    """What limits the answer, one after the other, as far as it fits; the report holds all of it."""
    said = [
        shown(sentences.caveat(item), "A caveat in another script stands in the report.") for item in findings.caveats
    ]
    text = " ".join(f"{sentence.rstrip('.')}." for sentence in (*said, STANDING))
    lines = max(1, box.height // round(size * 1.35))
    most = box.width
    if len(wrap(text, most, lines + 1, size)) > lines:
        text = " ".join(f"{sentence.rstrip('.')}." for sentence in said)
    wide = canvas.text((box.x, box.y), "Caveats", size=size, colour=WARNING) + 12 if findings.caveats else 0
    canvas.paragraph((box.x + wide, box.y), text, most=most - wide, lines=lines, size=size)


def region_note(canvas: Canvas, region: Region, number: int, x: float, y: float) -> float:
    """Number, volume and axes of a region on one line; returns its width."""
    wide = canvas.text((x, y), f"{number}", face=Face.BOLD, colour=OUTLINE_RGB) + 10
    first, *rest = region_cells(region)
    wide += canvas.text((x + wide, y), first) + 10
    if region.long_axis is None:
        return wide
    long, short = rest[:2]
    where = f"{long.removesuffix(' mm')} × {short} in slice {region.long_axis.slice_index + 1}"
    return wide + canvas.text((x + wide, y), where, colour=DIM)


def region_columns(findings: Findings) -> tuple[str, ...]:
    """The columns of the table of regions, as `region_cells` fills them."""
    if any(region.boxed for region in findings.regions):
        return ("score", "length", "width", "slices")
    return ("volume", "long", "short", "slices")


def region_cells(region: Region) -> tuple[str, ...]:
    """Volume and axes of an outlined region, score and sides of a detected object, then the slices."""
    if region.boxed:
        return (f"{region.value('score'):.2f}", *sides_text(region, "length", "width"), slice_range(region))
    size = volume_text(region.value("volume") or 0.0)
    return (size, *sides_text(region, "long_axis", "short_axis"), slice_range(region))


def sides_text(region: Region, first: str, second: str) -> tuple[str, str]:
    """Two lengths in mm, with a decimal where a whole number would round a small region away; a dash for none."""
    long, short = region.value(first), region.value(second)
    if long is None or short is None:
        return "–", "–"
    digits = 0 if long >= 10 else 1
    return f"{long:.{digits}f} mm", f"{short:.{digits}f} mm"


def volume_text(mm3: float) -> str:
    """Volume in millilitres, which readers use, or in mm³ where that would round to nothing."""
    return f"{mm3 / 1000:.1f} ml" if mm3 >= 1000 else f"{mm3:.0f} mm³" if mm3 >= 1 else f"{mm3:.2g} mm³"


def slice_range(region: Region) -> str:
    first, last = region.slices[0] + 1, region.slices[-1] + 1
    return f"{first}" if first == last else f"{first}–{last}"
