"""The table of lesions, and a lesion on one line."""

from __future__ import annotations

from pipeline.findings.model import Findings, Region
from pipeline.report import sentences
from pipeline.results.colours import OUTLINE_RGB
from pipeline.results.drawing.canvas import DIM, Box, Canvas
from pipeline.results.drawing.fonts import Face
from pipeline.results.drawing.listing import slice_range


def lesion_table(canvas: Canvas, findings: Findings, box: Box) -> None:
    """The table of lesions, largest first, as many as ``box`` has room for."""
    if not findings.regions:
        canvas.text((box.x, box.y), "Outlined regions", size=17, colour=DIM)
        canvas.text((box.x, box.y + 26), "none")
        return
    right = [box.x + round(box.width * share) for share in (0.36, 0.58, 0.78, 1.0)]
    canvas.text((box.x, box.y), "Regions", size=17, colour=DIM)
    for x, head in zip(right, ("volume", "long", "short", "slices"), strict=True):
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


def lesion_note(canvas: Canvas, region: Region, number: int, x: float, y: float) -> float:
    """Number, volume and axes of a lesion on one line; returns its width."""
    wide = canvas.text((x, y), f"{number}", face=Face.BOLD, colour=OUTLINE_RGB) + 10
    first, *rest = region_cells(region)
    wide += canvas.text((x + wide, y), first) + 10
    if region.long_axis is None:
        return wide
    long, short = rest[:2]
    where = f"{long.removesuffix(' mm')} × {short} in slice {region.long_axis.slice_index + 1}"
    return wide + canvas.text((x + wide, y), where, colour=DIM)


def region_cells(region: Region) -> tuple[str, ...]:
    """Volume and axes of a lesion, then its slices."""
    size = sentences.millilitres(region.value("volume") or 0.0)
    return (size, *axes_text(region), slice_range(region))


def axes_text(region: Region) -> tuple[str, str]:
    """Long and short axis in mm, with a decimal where a whole number would round a small lesion away."""
    if region.long_axis is None or region.short_axis is None:
        return "–", "–"
    digits = 0 if region.long_axis.length_mm >= 10 else 1
    return f"{region.long_axis.length_mm:.{digits}f} mm", f"{region.short_axis.length_mm:.{digits}f} mm"
