"""The Image Library of a report: the images that its findings are seen and measured on (PS3.16 TID 1600, 1601, 1602).

The other images that were read are in the evidence alone (Current Requested Procedure Evidence): viewers that show a
report as text write a line for each entry here, before the measurements.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import highdicom as hd
from pydicom.sr.codedict import codes as standard

from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.reading.validation import is_uid
from pipeline.results.provenance import ResultContext
from pipeline.results.seg.segmentation import coded
from pipeline.results.source_images import image_reference
from pipeline.results.sr.image_item import image_item

CONTAINS = hd.sr.RelationshipTypeValues.CONTAINS
HAS_ACQ_CONTEXT = hd.sr.RelationshipTypeValues.HAS_ACQ_CONTEXT


def image_library(context: ResultContext) -> hd.sr.ContainerContentItem:
    """TID 1600: the key slice, and the plane in which each region is measured, once, in the volume's order."""
    findings = context.findings
    planes = sorted({findings.key_slice, *(region.measured_slice for region in findings.regions)})
    group = _container(codes.IMAGE_LIBRARY_GROUP)
    group.ContentSequence.extend(_shared(context))
    group.ContentSequence.extend(_entry(context, index) for index in planes)
    library = _container(codes.IMAGE_LIBRARY)
    library.ContentSequence.append(group)
    return library


def _container(name: Code) -> hd.sr.ContainerContentItem:
    made = hd.sr.ContainerContentItem(name=coded(name), relationship_type=CONTAINS)
    made.ContentSequence = hd.sr.ContentSequence()
    return made


def _shared(context: ResultContext) -> Iterator[hd.sr.ContentItem]:
    """TID 1602: modality and frame of reference of the series."""
    if modality := modality_code(context.volume.modality):
        yield hd.sr.CodeContentItem(
            name=coded(codes.MODALITY), value=coded(modality), relationship_type=HAS_ACQ_CONTEXT
        )
    if is_uid(frame := str(context.volume.sources[0].get("FrameOfReferenceUID") or "")):
        yield hd.sr.UIDRefContentItem(
            name=coded(codes.FRAME_OF_REFERENCE_UID), value=frame, relationship_type=HAS_ACQ_CONTEXT
        )


def _entry(context: ResultContext, index: int) -> hd.sr.ImageContentItem:
    """TID 1601: the image, or the frame, of plane ``index``."""
    return image_item(image_reference(context.volume, index))


@functools.cache
def modality_code(value: str) -> Code | None:
    """The code of a value of Modality (PS3.16 CID 33); None for a value that it does not list."""
    for name in dir(standard.cid33):
        known = getattr(standard.cid33, name)
        if known.value == value:
            return Code(known.value, known.scheme_designator, known.meaning)
    return None
