"""The table of lesions, and a lesion on one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pipeline.findings.model import Findings, Region
from pipeline.report import sentences
from pipeline.report.findings import ReportedRegion
from pipeline.report.sentences import Language
from pipeline.results.colours import OUTLINE_RGB
from pipeline.results.drawing.canvas import DIM, Box, Canvas
from pipeline.results.drawing.fonts import Face
from pipeline.results.drawing.listing import place, where

SHARES: Mapping[str, float] = MappingProxyType({"volume": 122, "size": 104, "side": 80, "slices": 62, "images": 70})
"""Width of each column of a table of lesions beside the others; that of the first holds the number too."""


def lesion_table(canvas: Canvas, findings: Findings, box: Box) -> None:
    """The table of lesions, largest first, as many as ``box`` has room for."""
    if not findings.regions:
        canvas.text((box.x, box.y), "Outlined regions", size=17, colour=DIM)
        canvas.text((box.x, box.y + 26), "none")
        return
    columns = ("volume", "size", *where(findings))
    heads = [sentences.label(name).lower() for name in columns]
    canvas.text((box.x, box.y), "Regions", size=17, colour=DIM)
    pitch = 25
    room = max(1, (box.height - 24) // pitch)
    rows = room if len(findings.regions) <= room else room - 1
    cells = [region_cells(region, columns) for region in findings.regions[:rows]]
    for row in range(len(cells)):
        y = box.y + 25 + row * pitch
        canvas.text((box.x, y), f"{row + 1}", face=Face.BOLD, colour=OUTLINE_RGB)
    for x, head, texts in zip(column_stops(columns, box.x, box.width), heads, zip(*cells, strict=True), strict=True):
        canvas.text((x, box.y), head, size=17, colour=DIM, anchor="ra")
        for row, text in enumerate(texts):
            canvas.text((x, box.y + 25 + row * pitch), text, anchor="ra")
    more = len(findings.regions) - rows
    if more > 0:
        canvas.text((box.x, box.y + 25 + rows * pitch), f"and {more} more in the report", size=16, colour=DIM)


def lesion_note(canvas: Canvas, region: Region, number: int, x: float, y: float) -> float:
    """Number, volume and axes of a lesion on one line; returns its width."""
    wide = canvas.text((x, y), f"{number}", face=Face.BOLD, colour=OUTLINE_RGB) + 10
    size, axes, side = region_cells(region, ("volume", "size", "side"))
    wide += canvas.text((x + wide, y), size) + 10
    if region.long_axis is None:
        return wide
    where = f"{axes} in slice {region.long_axis.slice_index + 1}{f', {side}' if region.side else ''}"
    return wide + canvas.text((x + wide, y), where, colour=DIM)


def region_cells(region: Region, columns: Sequence[str], language: Language = Language.ENGLISH) -> tuple[str, ...]:
    """The cells of a lesion: volume, size (its axes) and those of `pipeline.results.drawing.listing.WHERE`."""
    figures = {"volume": _volume, "size": _axes}
    return tuple(
        figures[name](region, language) if name in figures else place(region, name, language) for name in columns
    )


def _volume(region: Region, language: Language) -> str:
    return sentences.millilitres(region.value("volume") or 0.0, language)


def _axes(region: Region, language: Language) -> str:
    """Long and short axis in mm, with a decimal where a whole number would round a small lesion away."""
    if region.long_axis is None:
        return "–"
    digits = 0 if region.long_axis.length_mm >= 10 else 1
    return sentences.axes(ReportedRegion.of(region), language, digits=digits)


def column_stops(columns: Sequence[str], left: float, wide: float) -> tuple[float, ...]:
    """The right edges of ``columns`` that share a width of ``wide`` from ``left``."""
    room = [SHARES[name] for name in columns]
    total = sum(room)
    return tuple(left + wide * sum(room[: k + 1]) / total for k in range(len(room)))
