"""Segmentation (SEG): what the model outlined, on the source's own pixels, one segment a lesion."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import numpy.typing as npt

from pipeline.errors import BadResult
from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.findings.model import Lesion
from pipeline.findings.own_results import MANUFACTURER
from pipeline.results.profile import SegmentationType
from pipeline.results.provenance import ResultContext, body_part, finish, set_lossy_compression
from pipeline.results.result_object import ResultObject
from pipeline.results.wording import DISCLAIMER, ascii_text

KIND = "segmentation"
OUTLINE_RGB = (0, 229, 255)
"""Cyan, in the overlay's contours and as the recommended colour: far from every colour of the heat map, also for eyes
that confuse red with green or blue with yellow, since it stays the lighter of the two."""


def build(context: ResultContext) -> tuple[ResultObject, ...]:
    """One Segmentation object (PS3.3 A.51) with a segment for each lesion; none without lesions.

    Type and empty frames are as the context's profile says.

    Raises
    ------
    BadResult
        for lesions that overlap where the profile wants a LABELMAP, in which a pixel belongs to one segment.
    """
    lesions = context.findings.lesions
    if not lesions:
        return ()
    model, profile = context.findings.model, context.profile
    made = hd.seg.Segmentation(
        source_images=context.references,
        pixel_array=_pixels(lesions, profile.segmentation_type),
        segmentation_type=profile.segmentation_type,
        fractional_type=hd.seg.SegmentationFractionalTypeValues.OCCUPANCY,
        segment_descriptions=[_describe(number, lesion, context) for number, lesion in enumerate(lesions, start=1)],
        series_instance_uid=context.series_uid(KIND),
        series_number=1,
        sop_instance_uid=context.instance_uid(KIND),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=ascii_text(model.title, 64),
        software_versions=ascii_text(model.version, 64),
        device_serial_number=model.digest[:16],
        omit_empty_frames=profile.omit_empty_frames,
        content_label="AI_SEGMENTATION",
        content_description=DISCLAIMER,
        content_creator_name="Candela^AI",
    )
    made.BodyPartExamined = body_part(context)
    set_lossy_compression(made, context)
    ds = finish(made, context, kind=KIND, number=1, description="segmentation")
    return (ResultObject(role=KIND, filename="segmentation.dcm", dataset=ds),)


def coded(code: Code) -> hd.sr.CodedConcept:
    """``code`` as highdicom's type."""
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def _pixels(lesions: tuple[Lesion, ...], kind: SegmentationType) -> npt.NDArray[np.generic]:
    """Lesion numbers (slices, rows, columns); a mask for each on a fourth axis where they overlap or FRACTIONAL."""
    if kind == "FRACTIONAL":
        return np.stack([lesion.mask for lesion in lesions], axis=-1).astype(np.float32)
    labels = np.zeros(lesions[0].mask.shape, dtype=np.uint16)
    for number, lesion in enumerate(lesions, start=1):
        if labels[lesion.mask].any():
            if kind == "LABELMAP":
                raise BadResult(
                    "Lesions overlap, and in a LABELMAP segmentation a pixel belongs to one of them.",
                    todo='Set segmentation_type = "BINARY" in the profile.',
                )
            return np.stack([item.mask for item in lesions], axis=-1).astype(np.uint8)
        labels[lesion.mask] = number
    return labels


def _describe(number: int, lesion: Lesion, context: ResultContext) -> hd.seg.SegmentDescription:
    model = context.findings.model
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=ascii_text(f"{lesion.tracking_id} (AI, {model.term(lesion.label).title})", 64),
        segmented_property_category=coded(codes.MORPHOLOGICALLY_ABNORMAL_STRUCTURE),
        segmented_property_type=coded(model.target),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=ascii_text(model.name, 64),
            family=coded(codes.ARTIFICIAL_INTELLIGENCE),
            version=ascii_text(model.version, 64),
            source=ascii_text(model.manufacturer, 64),
            parameters=_parameters(model.parameters),
        ),
        tracking_uid=lesion.tracking_uid,
        tracking_id=ascii_text(lesion.tracking_id, 64),
        anatomic_regions=[coded(model.term(lesion.label).site)],
        display_color=hd.color.CIELabColor.from_rgb(*OUTLINE_RGB),
    )


def _parameters(parameters: tuple[str, ...]) -> dict[str, str] | None:
    """``("threshold=0.5",)`` as the name and value pairs that highdicom joins again."""
    pairs = (item.partition("=") for item in parameters)
    return {ascii_text(name): ascii_text(value) for name, _, value in pairs} or None
