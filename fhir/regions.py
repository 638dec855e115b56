"""Where: a BodyStructure for each outlined region, and in R5 the selections of segments and of the explaining picture.

R4 has a BodyStructure too, but its Observation cannot refer to one: the standard extension ``bodySite`` does, on
Observation.bodySite (docs/adr/0020-body-structures-in-r4.md). R5's Observation has an element for it, and R5 has
ImagingSelection: the segment of the SEG, which is the body structure's spatial reference, and the picture.
"""

from __future__ import annotations

from fhir.coding import concept, dicom_identifier, to
from fhir.context import ReportContext
from fhir.entry import Entry
from fhir.release import Json, Release
from fhir.study import sop_class
from pipeline.findings import codes
from pipeline.report import sentences
from pipeline.report.answer import Region
from pipeline.report.content import MadeObject

BODY_SITE_EXTENSION = "http://hl7.org/fhir/StructureDefinition/bodySite"


def build(context: ReportContext) -> tuple[Entry, ...]:
    """The selections first, since the structures refer to them."""
    numbered = tuple(enumerate(context.answer.regions, start=1))
    selections: list[Entry] = []
    if context.release is Release.R5:
        segmentations = context.facts.made("segmentation")
        if segmentations:
            selections += [_segment(region, number, segmentations[0], context) for number, region in numbered]
        overlays = context.facts.made("overlay")
        if overlays:
            selections.append(_explanation(overlays[0], context))
    return (*selections, *(_structure(region, number, context) for number, region in numbered))


def structure_url(region: Region, context: ReportContext) -> str:
    return context.full_url("BodyStructure", region.tracking_id)


def selection_of(region: Region, context: ReportContext) -> Json | None:
    """Reference to the region's segment, where the release and the run have one."""
    if context.release is Release.R4 or not context.facts.made("segmentation"):
        return None
    return to(context.full_url("ImagingSelection", region.tracking_id), "ImagingSelection")


def _structure(region: Region, number: int, context: ReportContext) -> Entry:
    term = context.answer.model.term(region.label)
    morphology = concept(codes.MORPHOLOGICALLY_ABNORMAL_STRUCTURE)
    site = concept(term.site)
    name = sentences.region_name(number, context.language)
    fields = {
        "meta": context.meta(),
        "identifier": [dicom_identifier(region.tracking_uid)],
        "active": True,
        "morphology": morphology,
        "description": f"{context.label('outlined_by', region=name)}. {context.note()['text']}",
        "patient": context.subject,
    }
    if context.release is Release.R4:
        fields["location"] = site
    else:
        fields["includedStructure"] = [{"structure": site, "spatialReference": [selection_of(region, context)]}]
    resource = context.release.make("BodyStructure", **fields)
    return Entry(structure_url(region, context), resource)


def _segment(region: Region, number: int, segmentation: MadeObject, context: ReportContext) -> Entry:
    """Segment numbers follow the order of the regions."""
    name = sentences.region_name(number, context.language)
    code = concept(codes.REFERENCED_SEGMENT, context.label("segment_of", region=name))
    return _selection((region.tracking_id,), code, segmentation, context, subset=[f"{number}"])


def _explanation(overlay: MadeObject, context: ReportContext) -> Entry:
    code = concept(codes.VISUAL_EXPLANATION, context.label("explanation"))
    return _selection(("explanation",), code, overlay, context)


def _selection(
    what: tuple[str, ...], code: Json, item: MadeObject, context: ReportContext, subset: list[str] | None = None
) -> Entry:
    uid = context.facts.run.uid("imaging selection", *what)
    resource = context.release.make(
        "ImagingSelection",
        meta=context.meta(),
        identifier=[dicom_identifier(uid)],
        status="available",
        subject=context.subject,
        issued=context.recorded,
        performer=[{"actor": context.device()}],
        code=code,
        studyUid=context.facts.study.uid,
        derivedFrom=[to(context.imaging_study_url, "ImagingStudy")],
        seriesUid=item.series_instance_uid,
        seriesNumber=item.series_number,
        instance=[{"uid": item.sop_instance_uid, "sopClass": sop_class(item), "subset": subset}],
    )
    return Entry(context.full_url("ImagingSelection", *what), resource)
