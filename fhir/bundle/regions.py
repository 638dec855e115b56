"""A BodyStructure for each region, and in R5 an ImagingSelection for each segment and for the explaining picture.

R4 has a BodyStructure too, but its Observation cannot refer to one: the standard extension ``bodySite`` does, on
Observation.bodySite (docs/adr/0020-body-structures-in-r4.md). R5's Observation has an element for it, and R5 has
ImagingSelection: the segment of the SEG, which is the body structure's spatial reference, and the picture.
"""

from __future__ import annotations

from fhir.bundle.coding import concept, dicom_identifier, to
from fhir.bundle.context import ReportContext
from fhir.bundle.entry import Entry
from fhir.bundle.study import sop_class
from fhir.release import Json, Release
from pipeline.findings import codes
from pipeline.findings.model import AnswerKind
from pipeline.report import sentences
from pipeline.report.content import ObjectReference
from pipeline.report.findings import ReportedRegion

BODY_SITE_EXTENSION = "http://hl7.org/fhir/StructureDefinition/bodySite"


def build(context: ReportContext) -> tuple[Entry, ...]:
    """The selections first, since the structures refer to them."""
    numbered = tuple(enumerate(context.findings.regions))
    selections: list[Entry] = []
    if context.release is Release.R5:
        segmentations = context.content.objects_with("segmentation")
        if segmentations:
            selections += [_segment(region, index, segmentations[0], context) for index, region in numbered]
        overlays = context.content.objects_with("overlay")
        if overlays:
            selections.append(_explanation(overlays[0], context))
    return (*selections, *(_structure(region, index, context) for index, region in numbered))


def structure_url(region: ReportedRegion, context: ReportContext) -> str:
    return context.full_url("BodyStructure", region.tracking_id)


def selection_of(region: ReportedRegion, context: ReportContext) -> Json | None:
    """Reference to the region's segment, where the release and the run have one."""
    if context.release is Release.R4 or not context.content.objects_with("segmentation"):
        return None
    return to(context.full_url("ImagingSelection", region.tracking_id), "ImagingSelection")


def _structure(region: ReportedRegion, index: int, context: ReportContext) -> Entry:
    findings = context.findings
    term = findings.model.term(region.label)
    morphology = None if findings.model.target is None else concept(codes.MORPHOLOGICALLY_ABNORMAL_STRUCTURE)
    site = concept(term.code) if findings.model.target is None else context.place(region.label)
    name = sentences.region_name(findings, index, context.language)
    said = context.label("marked_by" if findings.kind is AnswerKind.DETECTION else "outlined_by", region=name)
    fields = {
        "meta": context.meta(),
        "identifier": [dicom_identifier(region.tracking_uid)],
        "active": True,
        "morphology": morphology,
        "description": f"{said}. {context.note()['text']}",
        "patient": context.subject,
    }
    laterality = concept(region.side.laterality) if region.side and region.side.laterality else None
    if context.release is Release.R4:
        fields["location"] = site
        fields["locationQualifier"] = [laterality] if laterality else None
    else:
        included = {"structure": site or {"text": name}, "laterality": laterality}  # R5 asks for a structure
        fields["includedStructure"] = [{**included, "spatialReference": [selection_of(region, context)]}]
    resource = context.release.make("BodyStructure", **fields)
    return Entry(structure_url(region, context), resource)


def _segment(region: ReportedRegion, index: int, segmentation: ObjectReference, context: ReportContext) -> Entry:
    """Segment numbers follow the order of the regions, from 1."""
    name = sentences.region_name(context.findings, index, context.language)
    code = concept(codes.REFERENCED_SEGMENT, context.label("segment_of", region=name))
    return _selection((region.tracking_id,), code, segmentation, context, subset=[f"{index + 1}"])


def _explanation(overlay: ObjectReference, context: ReportContext) -> Entry:
    code = concept(codes.VISUAL_EXPLANATION, context.label("explanation"))
    return _selection(("explanation",), code, overlay, context)


def _selection(
    what: tuple[str, ...], code: Json, item: ObjectReference, context: ReportContext, subset: list[str] | None = None
) -> Entry:
    uid = context.content.run.uid("imaging selection", *what)
    resource = context.release.make(
        "ImagingSelection",
        meta=context.meta(),
        identifier=[dicom_identifier(uid)],
        status="available",
        subject=context.subject,
        issued=context.recorded,
        performer=[{"actor": context.device()}],
        code=code,
        studyUid=context.content.study.uid,
        derivedFrom=[to(context.imaging_study_url, "ImagingStudy")],
        seriesUid=item.series_instance_uid,
        seriesNumber=item.series_number,
        instance=[{"uid": item.sop_instance_uid, "sopClass": sop_class(item), "subset": subset}],
    )
    return Entry(context.full_url("ImagingSelection", *what), resource)
