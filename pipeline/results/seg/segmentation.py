"""Segmentation (SEG): what the model outlined, on the source's own pixels, one segment a region."""

from __future__ import annotations

from copy import deepcopy

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pipeline.errors import BadResult
from pipeline.findings import codes
from pipeline.findings.codes import ClassTerm, Code
from pipeline.findings.diagnosis import Diagnosis, diagnosis
from pipeline.findings.model import AnswerKind, Findings, ModelIdentity, Region
from pipeline.findings.own_results import MANUFACTURER
from pipeline.results.colours import region_rgb
from pipeline.results.profile import SegmentationType
from pipeline.results.provenance import ResultContext, body_part, finish, set_lossy_compression
from pipeline.results.result_object import ResultObject
from pipeline.results.source_images import series_reference
from pipeline.results.wording import DISCLAIMER, ascii_text

KIND = "segmentation"


def build(context: ResultContext) -> tuple[ResultObject, ...]:
    """One Segmentation object (PS3.3 A.51) with a segment for each outlined region; none without.

    A detected object is a box and no outline: it has no segment.

    Type and empty frames are as the context's profile says.

    Raises
    ------
    BadResult
        for regions that overlap where the profile wants a LABELMAP, in which a pixel belongs to one segment.
    """
    regions = outlined(context.findings)
    if not regions:
        return ()
    model, profile = context.findings.model, context.profile
    made = hd.seg.Segmentation(
        source_images=context.references,
        pixel_array=_pixels(regions, profile.segmentation_type),
        segmentation_type=profile.segmentation_type,
        fractional_type=hd.seg.SegmentationFractionalTypeValues.OCCUPANCY,
        segment_descriptions=[_describe(number, region, context) for number, region in enumerate(regions, start=1)],
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
    if context.volume.projection:  # without a place in the patient a picture must say how it lies (PS3.3 C.7.6.1)
        made.PatientOrientation = context.volume.sources[0].get("PatientOrientation")
    _identify_each_frame(made)
    _refer_to_companions(made, context)
    set_lossy_compression(made, context)
    ds = finish(made, context, kind=KIND, number=1, description="segmentation")
    return (ResultObject(role=KIND, filename="segmentation.dcm", dataset=ds),)


def _identify_each_frame(ds: Dataset) -> None:
    """Name the segment in each frame's own functional groups (PS3.3 C.8.20.3.1).

    highdicom (0.28.2) puts the only segment of an object into the shared groups, which is as valid, but readers such as
    dwv look for it in the frames alone.
    """
    (shared,) = ds.SharedFunctionalGroupsSequence
    if "SegmentIdentificationSequence" in shared:
        for frame in ds.PerFrameFunctionalGroupsSequence:
            frame.SegmentIdentificationSequence = deepcopy(shared.SegmentIdentificationSequence)
        del shared.SegmentIdentificationSequence


def _refer_to_companions(ds: Dataset, context: ResultContext) -> None:
    """Name the images of the other channels, those of one series in one item."""
    listed = {str(item.SeriesInstanceUID): item for item in ds.ReferencedSeriesSequence}
    for companion in context.companions:
        reference = series_reference(companion)
        if companion.series_instance_uid in listed:
            instances = listed[companion.series_instance_uid].ReferencedInstanceSequence
            instances.extend(reference.ReferencedInstanceSequence)
        else:
            listed[companion.series_instance_uid] = reference
            ds.ReferencedSeriesSequence.append(reference)


def coded(code: Code) -> hd.sr.CodedConcept:
    """``code`` as highdicom's type."""
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def outlined(findings: Findings) -> tuple[Region, ...]:
    """The regions with an outline, in the order of their segments."""
    return tuple(region for region in findings.regions if not region.boxed)


def _pixels(regions: tuple[Region, ...], kind: SegmentationType) -> npt.NDArray[np.generic]:
    """Region numbers (slices, rows, columns); a mask for each on a fourth axis where they overlap or FRACTIONAL."""
    if kind == "FRACTIONAL":
        return np.stack([region.mask for region in regions], axis=-1).astype(np.float32)
    labels = np.zeros(regions[0].voxels.shape, dtype=np.uint16)
    for number, region in enumerate(regions, start=1):
        part = labels[region.voxels.box]
        if part[region.voxels.inside].any():
            if kind == "LABELMAP":
                raise BadResult(
                    "Regions overlap, and in a LABELMAP segmentation a pixel belongs to one of them.",
                    todo='Set segmentation_type = "BINARY" in the profile.',
                )
            return np.stack([item.mask for item in regions], axis=-1).astype(np.uint8)
        part[region.voxels.inside] = number
    return labels


def property_category(term: ClassTerm, model: ModelIdentity) -> Code:
    """The Segmented Property Category of a region: the bundle's, else by whether the model looks for something."""
    if term.category is not None:
        return term.category
    return codes.ANATOMICAL_STRUCTURE if model.target is None else codes.MORPHOLOGICALLY_ABNORMAL_STRUCTURE


def _label(region: Region, term: ClassTerm, model: ModelIdentity, found: Diagnosis) -> str:
    if model.kind is not AnswerKind.LESION or found.withheld:
        return f"{region.tracking_id} (AI)"
    return f"{region.tracking_id} (AI, {'kind uncertain' if found.suspected else term.title})"


def _describe(number: int, region: Region, context: ResultContext) -> hd.seg.SegmentDescription:
    model = context.findings.model
    term, found = model.term(region.label), diagnosis(context.findings, region.label)
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=ascii_text(_label(region, term, model, found), 64),
        segmented_property_category=coded(property_category(term, model)),
        segmented_property_type=coded(found.code),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=ascii_text(model.name, 64),
            family=coded(codes.ARTIFICIAL_INTELLIGENCE),
            version=ascii_text(model.version, 64),
            source=ascii_text(model.manufacturer, 64),
            parameters=_parameters(model.parameters),
        ),
        tracking_uid=region.tracking_uid,
        tracking_id=ascii_text(region.tracking_id, 64),
        anatomic_regions=[coded(found.site)] if found.site else None,
        display_color=hd.color.CIELabColor.from_rgb(*region_rgb(context.findings, number)),
    )


def _parameters(parameters: tuple[str, ...]) -> dict[str, str] | None:
    """``("threshold=0.5",)`` as the name and value pairs that highdicom joins again."""
    pairs = (item.partition("=") for item in parameters)
    return {ascii_text(name): ascii_text(value) for name, _, value in pairs} or None
