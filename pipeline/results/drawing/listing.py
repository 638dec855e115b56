"""The layout of a table of regions on a page: the regions that it lists, its blocks side by side, and its cells."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.findings.model import AnswerKind, Findings, Region
from pipeline.report import sentences, tables
from pipeline.report.findings import ReportedFindings, ReportedRegion
from pipeline.report.sentences import Language
from pipeline.results.colours import RGB, region_rgb

NOTHING = "–"
"""A cell of which nothing is known."""
WHERE = ("side", "slices", "images")
"""Columns that say where a region is."""
NUMBERED_LESIONS, NUMBERED_REGIONS = 9, 16
"""As many as a picture has room for."""


@dataclass(frozen=True)
class Listing:
    """Regions ``numbers`` (from 1) with their ``columns`` (`pipeline.report.tables`, and `WHERE`), in ``blocks``
    side by side of at most ``rows`` rows; ``more`` are not listed. ``named``: the title of each has a column too.
    """

    numbers: tuple[int, ...]
    columns: tuple[str, ...]
    blocks: int
    rows: int
    more: int
    named: bool = True


def listing(findings: Findings, *, rows: int, blocks: int) -> Listing:
    """The regions that ``rows`` rows have room for: all columns of each where they suffice, else ``blocks`` columns
    side by side with the first figures of each.

    Where not all have room, those that the key slice shows most of come first, so that picture and table agree.
    """
    columns = tables.columns(ReportedFindings.of(findings))
    count = len(findings.regions)
    if count <= rows or blocks < 2:
        shown = count if count <= rows else max(1, rows - 1)
        return Listing(_foremost(findings, shown), (*columns, *where(findings)), 1, rows, count - shown)
    room = rows * blocks
    shown = count if count <= room else room - 1
    named = len({item.label for item in findings.regions}) > 1
    return Listing(_foremost(findings, shown), columns[: 1 if named else 2], blocks, rows, count - shown, named)


def _foremost(findings: Findings, most: int) -> tuple[int, ...]:
    """At most ``most`` regions, ascending: of likely objects the first, of others those largest in the key slice."""
    every = range(1, len(findings.regions) + 1)
    if findings.model.kind is AnswerKind.DETECTION:
        return tuple(every[:most])
    return tuple(sorted(sorted(every, key=lambda n: -area(findings.regions[n - 1], findings.key_slice))[:most]))


def area(region: Region, index: int) -> int:
    """Pixels of ``region`` in plane ``index``."""
    first = region.voxels.box[0].start
    inside = region.voxels.inside
    return int(np.count_nonzero(inside[index - first])) if 0 <= index - first < len(inside) else 0


def has_numbers(findings: Findings | ReportedFindings) -> bool:
    """Whether regions have numbers in tables: boxes, and where several regions have one colour."""
    return len(distinct_colours(findings)) < len(findings.regions) or findings.model.kind is AnswerKind.DETECTION


def distinct_colours(findings: Findings | ReportedFindings) -> tuple[RGB, ...]:
    """The colours of the regions, each once, in the regions' order."""
    return tuple(dict.fromkeys(region_rgb(findings, number) for number in range(1, len(findings.regions) + 1)))


def row_title(findings: Findings | ReportedFindings, number: int, language: Language = Language.ENGLISH) -> str:
    """What region ``number`` is called beside its number or colour: its class."""
    return sentences.title(findings.model, findings.regions[number - 1].label, language)


def cells(
    findings: Findings, number: int, columns: Sequence[str], language: Language = Language.ENGLISH
) -> tuple[str, ...]:
    """The cells in ``columns`` of the row of region ``number``."""
    region = findings.regions[number - 1]
    reported = ReportedRegion.of(region)
    return tuple(
        place(region, name, language) if name in WHERE else tables.cell(reported, name, language) or NOTHING
        for name in columns
    )


def where(findings: Findings) -> tuple[str, ...]:
    """The columns, of `WHERE`, that say where the regions are."""
    regions = findings.regions
    holds = {
        "side": any(item.side for item in regions),
        "slices": any(item.voxels.shape[0] > 1 for item in regions),
        "images": any(item.images and item.voxels.shape[0] > 1 for item in regions),
    }
    return tuple(name for name in WHERE if holds[name])


def place(region: Region, column: str, language: Language = Language.ENGLISH) -> str:
    """The cell of ``column`` of `WHERE`: slices are counted along the normal from 1, images as a PACS numbers them."""
    if column == "side":
        return sentences.side(region.side, language) if region.side else NOTHING
    return number_range(region.images if column == "images" else [k + 1 for k in region.slices]) or NOTHING


def number_range(numbers: Collection[int]) -> str:
    """``7–10``: the lowest and the highest number."""
    if not numbers:
        return ""
    first, last = min(numbers), max(numbers)
    return f"{first}" if first == last else f"{first}–{last}"


def numbers_drawn(findings: Findings, listed: Collection[int]) -> Collection[int]:
    """The regions whose numbers stand in the picture: of those that are ``listed`` beside or below it."""
    if len(findings.regions) < 2:
        return ()
    if findings.model.kind is AnswerKind.LESION:
        return range(1, NUMBERED_LESIONS + 1)
    if not has_numbers(findings):
        return ()
    return sorted(listed, key=lambda number: -area(findings.regions[number - 1], findings.key_slice))[:NUMBERED_REGIONS]
