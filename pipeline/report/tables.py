"""The table of regions that pages show: its columns and cells, in the reader's language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pipeline.report import sentences
from pipeline.report.findings import ReportedFindings, ReportedRegion
from pipeline.report.sentences import Language

FEW_MM = 10
"""A length below so many millimetres is written with a decimal."""


def columns(findings: ReportedFindings) -> tuple[str, ...]:
    """The columns, labels of `pipeline.report.phrasebook`, that a region fills."""
    return tuple(name for name in CELLS if any(cell(region, name) for region in findings.regions))


def cell(region: ReportedRegion, column: str, language: Language = Language.ENGLISH) -> str:
    """The text of the cell in ``column``; empty where the region has no such measurement."""
    needed, write = CELLS[column]
    return write(region, language) if any(region.has(name) for name in needed) else ""


def _score(region: ReportedRegion, language: Language) -> str:
    return sentences.number(region.value("score"), language, digits=2)


def _sides(region: ReportedRegion, language: Language) -> str:
    """``52 × 45 × 18 mm``: length and width in the plane, and depth across the slices where there is one."""
    sides = [region.value(name) for name in ("length", "width", "depth") if region.has(name)]
    digits = 0 if max(sides) >= FEW_MM else 1
    return f"{' × '.join(sentences.number(side, language, digits=digits) for side in sides)} mm"


def _area(region: ReportedRegion, language: Language) -> str:
    return sentences.square_centimetres(region.value("area"), language)


def _mean(region: ReportedRegion, language: Language) -> str:
    """In Hounsfield units on CT; the values of MR have no unit."""
    if region.has("mean_attenuation"):
        return f"{sentences.number(region.value('mean_attenuation'), language, digits=0)} HU"
    return sentences.number(region.value("mean_intensity"), language, digits=0)


CELLS: Mapping[str, tuple[tuple[str, ...], Callable[[ReportedRegion, Language], str]]] = MappingProxyType(
    {
        "score": (("score",), _score),
        "volume": (("volume",), sentences.volume),
        "area": (("area",), _area),
        "size": (("length",), _sides),
        "axes": (("long_axis",), sentences.axes),
        "mean": (("mean_attenuation", "mean_intensity"), _mean),
    }
)
"""By column: the measurements of which it needs one, and how it is written. Score and sides are those of detected
objects; volume (on a radiograph area), axes and mean those of outlined regions."""
