"""Whether a stack is the whole series, and covers enough of the patient for a negative answer.

A part of a series looks like a whole one: without slices at its end, or regularly between the others, the rest is still
a regular volume. This module collects the signs of a part: the extent of the stack, the distance of its slices, the
number that the images state, and a peer's count. None of them proves that a series is whole; each can only show that it
is not (docs/adr/0048).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from pydicom.dataset import Dataset

from pipeline.caveats import Caveat, CaveatCode
from pipeline.findings.model import Findings, Needs, Outcome
from pipeline.geometry.volume import Volume
from pipeline.reading.attributes import number, texts
from pipeline.reading.files import UNREADABLE

WIDER = 1.5
"""Steps longer than this many stated ones have slices between them; if every second slice is missing the factor is
2."""
WIDER_THAN_THICK = 1.75
"""The same where only Slice Thickness is stated, which does not include the gap: some protocols leave half a slice."""
PRIVATE_COUNTS = (
    (0x0025, "GEMS_SERS_01", 0x07),
    (0x2001, "Philips Imaging DD 001", 0x18),
)
"""Group, private creator and element of Images in Series (GE) and Number of Slices MR (Philips), as their conformance
statements call them."""
MOST_STATED = 100_000
"""A larger stated number counts as nonsense."""


def judged(
    findings: Findings, volume: Volume, datasets: Sequence[Dataset], needs: Needs, expected: int | None = None
) -> Findings:
    """``findings`` with a caveat for each sign that ``volume`` is a part; a negative answer then becomes
    indeterminate.

    ``datasets`` are all instances of the series; ``expected`` is a peer's count of them, if one was asked.
    """
    reasons = tuple(_shortfalls(volume, datasets, needs, expected))
    if not reasons:
        return findings
    if findings.outcome is not Outcome.NO_FINDING:
        return replace(findings, caveats=(*findings.caveats, *reasons))
    caveats = (Caveat(CaveatCode.NEGATIVE_NOT_REPORTED), *reasons, *findings.caveats)
    return replace(findings, outcome=Outcome.INDETERMINATE, caveats=caveats)


def stated_instances(header: Dataset) -> int:
    """The least number of instances in the series of an instance, as it states; 1 where it states nothing.

    Images in Acquisition (0020,1002), In-concatenation Total Number (0020,9163), Number of Series Related Instances
    (0020,1209), and private attributes of GE and Philips. Derived images repeat the number of their originals, and a
    multi-frame object counts its frames.
    """
    counts = [number(header, "InConcatenationTotalNumber"), number(header, "NumberOfSeriesRelatedInstances")]
    if frames(header) == 1 and "DERIVED" not in (text.upper() for text in texts(header, "ImageType")):
        counts += [number(header, "ImagesInAcquisition"), *_private_counts(header)]
    return max((int(count) for count in counts if count is not None and 1 <= count <= MOST_STATED), default=1)


def frames(header: Dataset) -> int:
    """Number of Frames; 1 where it is absent or zero."""
    return max(1, int(number(header, "NumberOfFrames") or 1))


def _shortfalls(volume: Volume, datasets: Sequence[Dataset], needs: Needs, expected: int | None) -> Iterator[Caveat]:
    """The signs that ``volume`` is a part of its series, or covers too little of the patient; a radiograph is whole."""
    if volume.projection:
        return
    step = volume.voxel_mm3 / (volume.spacing[1] * volume.spacing[2])  # along the normal, also of a sheared stack
    covered = step * len(volume.array)
    if needs.coverage_mm is not None and covered < needs.coverage_mm - _rounding(needs.coverage_mm):
        yield Caveat(CaveatCode.COVERAGE_TOO_SMALL, {"covered": round(covered, 3), "needed": needs.coverage_mm})
    if needs.spacing_mm is not None and step > needs.spacing_mm + _rounding(needs.spacing_mm):
        yield Caveat(CaveatCode.SLICES_TOO_FAR_APART, {"step": round(step, 3), "most": needs.spacing_mm})
    yield from _between(volume, datasets, step)
    yield from _counted(volume, datasets, expected)


def _between(volume: Volume, datasets: Sequence[Dataset], step: float) -> Iterator[Caveat]:
    """The sign that slices are missing regularly between the others."""
    stated, most = _stated_step(volume.sources[0])
    if stated is not None:
        if step > most * stated:
            yield Caveat(
                CaveatCode.SLICES_FARTHER_APART_THAN_STATED, {"step": round(step, 3), "stated": round(stated, 3)}
            )
        return
    numbers = _values(datasets, "InstanceNumber")
    gaps = np.diff(sorted(numbers))
    if len(numbers) == len(datasets) and len(gaps) and gaps.min() > 1:
        yield Caveat(CaveatCode.INSTANCE_NUMBERS_SKIPPED)


def _counted(volume: Volume, datasets: Sequence[Dataset], expected: int | None) -> Iterator[Caveat]:
    """The sign that images are missing by their number."""
    there = len({str(ds.SOPInstanceUID) for ds in datasets})
    stated = max(stated_instances(ds) for ds in datasets)
    if stated > there:
        yield Caveat(CaveatCode.FEWER_IMAGES_THAN_STATED, {"stated": stated, "count": there})
    if expected is not None and expected > there:
        yield Caveat(CaveatCode.FEWER_IMAGES_THAN_ARCHIVED, {"expected": expected, "count": there})
    times = _values(datasets, "TemporalPositionIdentifier")
    claimed = max((number(ds, "NumberOfTemporalPositions") or 0.0 for ds in datasets), default=0.0)
    if times and len(times) < claimed <= MOST_STATED:
        yield Caveat(CaveatCode.FEWER_TIMES_THAN_STATED, {"stated": round(claimed), "count": len(times)})
    places = _values(volume.sources, "InStackPositionNumber")
    if len(places) == len(volume.sources) and len(places) < max(places) <= MOST_STATED:
        yield Caveat(CaveatCode.STACK_SHORTER_THAN_STATED, {"stated": round(max(places)), "count": len(places)})


def _stated_step(header: Dataset) -> tuple[float | None, float]:
    """The stated distance in mm from slice to slice, and the factor of it that is too much.

    Spacing Between Slices (0018,0088) is measured from centre to centre; some scanners write only the gap, which is
    less than the slice thickness.
    """
    thick, between = (abs(number(header, name) or 0.0) for name in ("SliceThickness", "SpacingBetweenSlices"))
    if between > 0:
        return (between if between >= thick else between + thick), WIDER
    return (thick, WIDER_THAN_THICK) if thick > 0 else (None, WIDER)


def _values(headers: Sequence[Dataset], keyword: str) -> set[float]:
    return {value for header in headers if (value := number(header, keyword)) is not None}


def _rounding(limit: float) -> float:
    """Compare with a tolerance, since positions are rounded: a stack of exactly the limit is within it."""
    return 1e-3 * limit


def _private_counts(header: Dataset) -> Iterator[float | None]:
    for group, creator, element in PRIVATE_COUNTS:
        try:
            value = header.private_block(group, creator)[element].value
            yield float(value)
        except (*UNREADABLE, KeyError):
            continue
