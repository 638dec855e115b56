"""The colours of regions: the same in pictures, segmentation and presentation state."""

from __future__ import annotations

from pipeline.findings.model import AnswerKind, Findings
from pipeline.report.findings import ReportedFindings

RGB = tuple[int, int, int]
OUTLINE_RGB: RGB = (0, 229, 255)
"""Cyan, for lesions and detected objects: far from every colour of the heat map, also for eyes that confuse red with
green or blue with yellow, since it stays the lighter of the two."""
STRUCTURES: tuple[RGB, ...] = (
    OUTLINE_RGB,
    (255, 176, 59),
    (126, 217, 87),
    (255, 122, 182),
    (150, 160, 255),
    (255, 240, 110),
    (255, 107, 90),
    (64, 196, 170),
    (206, 147, 255),
    (190, 210, 220),
)
"""Light colours that differ in hue and lightness, for structures side by side; they repeat where there are more."""


def region_rgb(findings: Findings | ReportedFindings, number: int) -> RGB:
    """The colour of region ``number`` (from 1): of a segmentation one for each structure, otherwise `OUTLINE_RGB`."""
    return STRUCTURES[colour_index(findings, number)]


def colour_index(findings: Findings | ReportedFindings, number: int) -> int:
    """The place in `STRUCTURES` of the colour of region ``number`` (from 1). Parts of one structure share a colour."""
    if findings.model.kind is not AnswerKind.SEGMENTATION:
        return 0
    names = [term.name for term in findings.model.terms]
    return names.index(findings.regions[number - 1].label) % len(STRUCTURES)
