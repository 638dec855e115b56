"""The measurement groups of the report: regions in each flavour, probabilities, estimates (TID 1410, 1411, 1501)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from types import MappingProxyType
from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset

from pipeline.findings import codes, measurements
from pipeline.findings.codes import Code
from pipeline.findings.contours import bounded, outlines
from pipeline.findings.diagnosis import diagnosis
from pipeline.findings.measurements import (
    Measurement,
    probability_observation_uid,
    quantity_observation_uid,
    region_observation_uid,
)
from pipeline.findings.model import Region, Side
from pipeline.report.patient_study import acquired
from pipeline.results.drawing.page_parts import in_sentence
from pipeline.results.drawing.pages import shows_heatmap
from pipeline.results.provenance import ResultContext
from pipeline.results.result_object import ResultObject
from pipeline.results.sc.overlay import pages_for
from pipeline.results.seg.segmentation import coded, property_category
from pipeline.results.source_images import image_reference
from pipeline.results.sr.observer import algorithm
from pipeline.results.wording import ascii_text

Group = (
    hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations
    | hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations
    | hd.sr.MeasurementsAndQualitativeEvaluations
)
CONTAINS = hd.sr.RelationshipTypeValues.CONTAINS
HAS_CONCEPT_MOD = hd.sr.RelationshipTypeValues.HAS_CONCEPT_MOD
ALGORITHM_DETAILS = frozenset(
    {codes.ALGORITHM_MANUFACTURER.value, codes.ALGORITHM_PARAMETERS.value, codes.ALGORITHM_FAMILY.value}
)
METHODS: Mapping[str, Code] = MappingProxyType({codes.VOLUME.value: codes.SUM_OF_VOXELS})
"""How a measurement was made, by its code, where PS3.16 has a term for it."""
IN_PLANE = ("long_axis", "short_axis")
"""Measurements that lie in one plane; the others are of the whole region."""


def build(
    context: ResultContext, segmentation: tuple[ResultObject, ...], overlays: tuple[ResultObject, ...]
) -> list[Group]:
    """Each region's groups, as the profile's flavour says, then the probabilities and the estimated quantities."""
    groups: list[Group] = []
    for number, region in enumerate(context.findings.regions, start=1):
        groups += _region_groups(number, region, context, segmentation, overlays)
    if context.findings.probabilities:
        groups += _probability_groups(context, overlays)
    if context.findings.quantities:
        groups.append(_quantity_group(context))
    for group in groups[1:]:
        _shorten_algorithm(group[0])
    return groups


def _shorten_algorithm(group: Dataset) -> None:
    """Leave name and version of the algorithm, which TID 4019 asks for: the first group of a report has all of it."""
    group.ContentSequence = hd.sr.ContentSequence(
        [item for item in group.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue not in ALGORITHM_DETAILS]
    )


def _region_groups(
    number: int,
    region: Region,
    context: ResultContext,
    segmentation: tuple[ResultObject, ...],
    overlays: tuple[ResultObject, ...],
) -> Iterator[Group]:
    """All groups of one region have its tracking identifiers; the first one holds the Visual Explanation.

    A detected object has no segment: whatever the flavour, its box stands in a planar group. A structure without
    diameters has a planar group only where the report refers to no segmentation.
    """
    flavour = context.profile.report_flavour
    made: list[Group] = []
    if region.boxed:
        made.append(_planar(region, context, [item.name for item in region.measurements]))
    else:
        if flavour != "planar":
            made.append(_volumetric(number, region, context, segmentation[0].dataset))
        if flavour == "planar" or (flavour == "both" and region.axes):
            made.append(_planar(region, context, [name for name in IN_PLANE if region.value(name) is not None]))
        if flavour == "planar":
            made.append(_of_no_plane(region, context))
    if overlays and shows_heatmap(context.findings):
        page = _page_of(region, context, overlays)
        made[0][0].ContentSequence.append(visual_explanation(page, context.findings.technique))
    yield from made


def _volumetric(
    number: int, region: Region, context: ResultContext, segment: Dataset
) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """TID 1411: one region, its segment and its measurements. Segment numbers follow the order of the regions."""
    names = [item.name for item in region.measurements]
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(region),
        # highdicom's ReferencedSegment.from_segmentation raises on an object with one segment (0.28.2)
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=segment.SOPClassUID,
            sop_instance_uid=segment.SOPInstanceUID,
            segment_number=number,
            source_series=hd.sr.SourceSeriesForSegmentation(context.volume.series_instance_uid),
        ),
        **_about(region, context),
        measurements=[_of_region(region, name) for name in names],
    )
    _set_observation_uids(group[0], [region_observation_uid(context.run, region, name) for name in names])
    return group


def _planar(
    region: Region, context: ResultContext, names: Sequence[str]
) -> hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    """TID 1410: the region's outline, or its box, on the plane where it is measured, and its measurements ``names``.

    Of several outlines in that plane the group has the longest: the template has one region. Beside a
    volumetric group the diameters are stated twice, so they get observation UIDs of their own here.
    """
    index = region.measured_slice
    reference = image_reference(context.volume, index)
    frame = reference.get("ReferencedFrameNumber")
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(region),
        referenced_region=hd.sr.ImageRegion(
            graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
            graphic_data=bounded(outlines(region.voxels.plane(index))[0]),
            source_image=hd.sr.SourceImageForRegion(
                referenced_sop_class_uid=reference.ReferencedSOPClassUID,
                referenced_sop_instance_uid=reference.ReferencedSOPInstanceUID,
                referenced_frame_numbers=None if frame is None else [int(frame)],
            ),
        ),
        **_about(region, context),
        measurements=[_of_region(region, name) for name in names],
    )
    beside = context.profile.report_flavour == "both" and not region.boxed
    uids = [f"planar {name}" if beside else name for name in names]
    _set_observation_uids(group[0], [region_observation_uid(context.run, region, name) for name in uids])
    return group


def _of_no_plane(region: Region, context: ResultContext) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501: the measurements of the whole region, for a report that refers to no segmentation."""
    names = [item.name for item in region.measurements if item.name not in IN_PLANE]
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(region),
        **_about(region, context),
        measurements=[_of_region(region, name) for name in names],
    )
    _set_observation_uids(group[0], [region_observation_uid(context.run, region, name) for name in names])
    return group


def _about(region: Region, context: ResultContext) -> dict[str, Any]:
    """What a region is and where, and the algorithm that found it: the same in each of its groups."""
    model = context.findings.model
    found = diagnosis(context.findings, region.label)
    suspected = hd.sr.QualitativeEvaluation(name=coded(codes.FINDING_CONTEXT), value=coded(codes.SUSPECTED))
    return {
        "finding_category": coded(property_category(model.term(region.label), model)),
        "finding_type": coded(found.code),
        "finding_sites": _sites(found.site, region.side),
        "time_point_context": _time_point(context),
        "qualitative_evaluations": [suspected] if found.suspected else None,
        "algorithm_id": algorithm(context),
    }


def _sites(site: Code | None, side: Side | None = None) -> list[hd.sr.FindingSite] | None:
    """``site`` with its laterality, or with the modifier that it lies in the middle."""
    if site is None:
        return None
    laterality = side.laterality if side else None
    return [
        hd.sr.FindingSite(
            coded(site),
            laterality=None if laterality is None else coded(laterality),
            topographical_modifier=coded(codes.MEDIAN) if side is Side.MIDLINE else None,
        )
    ]


def _time_point(context: ResultContext) -> hd.sr.TimePointContext | None:
    """TID 1502: the day of acquisition, by which a follow-up tells the measurements of one lesion apart."""
    when = acquired(deepcopy(context.volume.sources[0]))
    return hd.sr.TimePointContext(time_point=when[:10]) if when else None


def _probability_groups(
    context: ResultContext, overlays: tuple[ResultObject, ...]
) -> Iterator[hd.sr.MeasurementsAndQualitativeEvaluations]:
    """TID 1501, a group for the probability of each class, the likeliest first; that of the predicted class has the
    picture that explains it.

    Which class a probability is of stands as a modifier of the measurement, never as the finding of a group: a reader
    that collects findings must not take up a tumour that is held 9 % probable. Viewers that show a report as text leave
    modifiers out: for them the group's tracking identifier names the class.
    """
    findings = context.findings
    names = _classes(context)
    for name in names:
        term = findings.model.term(name)
        measurement = _measurement(measurements.of_probability(findings.probability(name)))
        modifier = hd.sr.CodeContentItem(
            name=coded(codes.FINDING), value=coded(term.code), relationship_type=HAS_CONCEPT_MOD
        )
        measurement[0].ContentSequence = hd.sr.ContentSequence([modifier])
        group = hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(
                uid=context.run.uid("class probability", name),
                identifier=ascii_text(f"Probability of {in_sentence(term.title)}", 64),
            ),
            finding_sites=_sites(diagnosis(findings, findings.predicted_class or names[0]).site),
            algorithm_id=algorithm(context),
            measurements=[measurement],
        )
        _set_observation_uids(group[0], [probability_observation_uid(context.run, name)])
        if name == names[0] and overlays and shows_heatmap(findings):
            group[0].ContentSequence.append(visual_explanation(overlays[0].dataset, findings.technique))
        yield group


def _quantity_group(context: ResultContext) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501: the quantities that the model estimates."""
    quantities = context.findings.quantities
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=context.run.uid("estimates"), identifier="Estimates"),
        finding_sites=_sites(context.findings.model.term(quantities[0].name).site),
        algorithm_id=algorithm(context),
        measurements=[_measurement(item) for item in quantities],
    )
    _set_observation_uids(group[0], [quantity_observation_uid(context.run, item.name) for item in quantities])
    return group


def nothing_measured(context: ResultContext) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """A group without a measurement."""
    tracking = hd.sr.TrackingIdentifier(uid=context.run.uid("nothing measured"), identifier="Nothing measured")
    return hd.sr.MeasurementsAndQualitativeEvaluations(tracking_identifier=tracking)


def _classes(context: ResultContext) -> tuple[str, ...]:
    """The model's classes, the predicted one first, then by falling probability."""
    findings = context.findings
    ordered = sorted(
        findings.probabilities, key=lambda item: (item.name != findings.predicted_class, -item.probability)
    )
    return tuple(item.name for item in ordered)


def _tracking(region: Region) -> hd.sr.TrackingIdentifier:
    return hd.sr.TrackingIdentifier(uid=region.tracking_uid, identifier=ascii_text(region.tracking_id, 64))


def _of_region(region: Region, name: str) -> hd.sr.Measurement:
    (item,) = (found for found in region.measurements if found.name == name)
    return _measurement(item)


def _measurement(item: Measurement) -> hd.sr.Measurement:
    """TID 300."""
    return hd.sr.Measurement(
        name=coded(item.code),
        value=round(item.value, item.digits),
        unit=coded(item.unit),
        derivation=coded(item.derivation) if item.derivation else None,
        method=coded(METHODS[item.code.value]) if item.code.value in METHODS else None,
    )


def _set_observation_uids(group: Dataset, uids: Sequence[str]) -> None:
    """Set the Observation UID of each measurement of ``group``, in order; FHIR uses the same identifiers."""
    items = [item for item in group.ContentSequence if item.ValueType == "NUM"]
    for item, uid in zip(items, uids, strict=True):
        item.ObservationUID = uid


def visual_explanation(page: Dataset, technique_code: Code) -> hd.sr.ImageContentItem:
    """The explaining picture, with the technique that made it (CID 217)."""
    item = hd.sr.ImageContentItem(
        name=coded(codes.VISUAL_EXPLANATION),
        referenced_sop_class_uid=page.SOPClassUID,
        referenced_sop_instance_uid=page.SOPInstanceUID,
        relationship_type=CONTAINS,
    )
    technique = hd.sr.CodeContentItem(
        name=coded(codes.MEASUREMENT_METHOD),
        value=coded(technique_code),
        relationship_type=HAS_CONCEPT_MOD,
    )
    item.ContentSequence = hd.sr.ContentSequence([technique])
    return item


def _page_of(region: Region, context: ResultContext, overlays: tuple[ResultObject, ...]) -> Dataset:
    """The overlay page of the region's key slice, else the nearest slice page, else the summary."""
    planes = pages_for(context.findings, context.profile.overlay_slices)
    pages = dict(zip(planes, overlays[1:], strict=False))  # a page of caveats may follow
    nearest = min(pages, key=lambda plane: abs(plane - region.key_slice), default=None)
    return (overlays[0] if nearest is None else pages[nearest]).dataset
