"""Where regions are: the numbers of their images in the PACS, and their side of the head."""

from __future__ import annotations

from dataclasses import replace

from pipeline.findings.model import Findings
from pipeline.findings.sides import midline, side_of
from pipeline.geometry.volume import Volume
from pipeline.reading.attributes import texts

HEADS = frozenset({"HEAD", "BRAIN", "SKULL"})
"""Values of Body Part Examined of which a left and a right half are told apart by likeness."""


def with_places(findings: Findings, volume: Volume) -> Findings:
    """``findings`` whose regions on ``volume`` have image numbers and, where the midline can be told, a side.

    A side is that of something that the model looks for in a head; structures have their places by anatomy.
    """
    numbers = image_numbers(volume)
    middle = midline(volume) if findings.regions and _has_sides(findings, volume) else None
    regions = (
        replace(
            item,
            images=tuple(numbers[k] for k in item.slices) if numbers else (),
            side=None if middle is None else side_of(item.voxels, volume, middle),
        )
        for item in findings.regions
    )
    return replace(findings, regions=tuple(regions))


def image_numbers(volume: Volume) -> tuple[int, ...]:
    """By plane, the number under which a PACS lists it: Instance Number, or the frame of the only multi-frame instance.

    Empty where an image has no number, or the planes are frames of several instances.
    """
    frames = [volume.frame(index) for index in range(len(volume.sources))]
    if any(frame is not None for frame in frames):
        single = len({str(ds.SOPInstanceUID) for ds in volume.sources}) == 1
        return tuple(frame for frame in frames if frame is not None) if single else ()
    numbers = [ds.get("InstanceNumber") for ds in volume.sources]
    return () if any(number in (None, "") for number in numbers) else tuple(int(str(number)) for number in numbers)


def _has_sides(findings: Findings, volume: Volume) -> bool:
    stated = next(iter(texts(volume.sources[0], "BodyPartExamined")), "") or findings.model.body_part
    return findings.model.target is not None and stated.upper() in HEADS
