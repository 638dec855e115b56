"""The measurement groups of the report: a lesion in each flavour, and the probabilities (TID 1410, 1411, 1501, 300)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import highdicom as hd
from pydicom.dataset import Dataset

from pipeline.findings import codes, measurements
from pipeline.findings.contours import bounded, outlines
from pipeline.findings.measurements import Measurement, lesion_observation_uid, probability_observation_uid
from pipeline.findings.model import Lesion
from pipeline.results.drawing.pages import shows_heatmap
from pipeline.results.provenance import ResultContext
from pipeline.results.result_object import ResultObject
from pipeline.results.sc.overlay import pages_for
from pipeline.results.seg.segmentation import coded
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
IN_PLANE = ("long_axis", "short_axis")
"""Measurements that lie in one plane; the others are of the whole lesion."""


def build(
    context: ResultContext, segmentation: tuple[ResultObject, ...], overlays: tuple[ResultObject, ...]
) -> list[Group]:
    """Each lesion's groups, as the profile's flavour says, then the probabilities."""
    groups: list[Group] = []
    for number, lesion in enumerate(context.findings.lesions, start=1):
        groups += _lesion_groups(number, lesion, context, segmentation, overlays)
    return [*groups, _probability_group(context, overlays)]


def _lesion_groups(
    number: int,
    lesion: Lesion,
    context: ResultContext,
    segmentation: tuple[ResultObject, ...],
    overlays: tuple[ResultObject, ...],
) -> Iterator[Group]:
    """All groups of one lesion have its tracking identifiers; the first one holds the Visual Explanation."""
    flavour = context.profile.report_flavour
    made: list[Group] = []
    if flavour != "planar":
        made.append(_volumetric(number, lesion, context, segmentation[0].dataset))
    if flavour != "volumetric":
        made.append(_planar(lesion, context))
    if flavour == "planar":
        made.append(_of_no_plane(lesion, context))
    if overlays and shows_heatmap(context.findings):
        made[0][0].ContentSequence.append(visual_explanation(_page_of(lesion, context, overlays)))
    yield from made


def _volumetric(
    number: int, lesion: Lesion, context: ResultContext, segment: Dataset
) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """TID 1411: one lesion, its segment and its measurements. Segment numbers follow the order of the lesions."""
    names = [item.name for item in measurements.of_lesion(lesion)]
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(lesion),
        # highdicom's ReferencedSegment.from_segmentation raises on an object with one segment (0.28.2)
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=segment.SOPClassUID,
            sop_instance_uid=segment.SOPInstanceUID,
            segment_number=number,
            source_series=hd.sr.SourceSeriesForSegmentation(context.volume.series_instance_uid),
        ),
        finding_category=coded(codes.MORPHOLOGICALLY_ABNORMAL_STRUCTURE),
        finding_type=coded(context.findings.model.term(lesion.label).code),
        finding_sites=[hd.sr.FindingSite(coded(context.findings.model.term(lesion.label).site))],
        algorithm_id=algorithm(context),
        measurements=[_of_lesion(lesion, name) for name in names],
    )
    _set_observation_uids(group[0], [lesion_observation_uid(context.run, lesion, name) for name in names])
    return group


def _planar(lesion: Lesion, context: ResultContext) -> hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    """TID 1410: the lesion's outline on the plane where it is longest, and its diameters there.

    Of several outlines in that plane the group has the longest: the template has one region. Beside a
    volumetric group the diameters are stated twice, so they get observation UIDs of their own here.
    """
    index = lesion.long_axis.slice_index
    reference = image_reference(context.volume, index)
    frame = reference.get("ReferencedFrameNumber")
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(lesion),
        referenced_region=hd.sr.ImageRegion(
            graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
            graphic_data=bounded(outlines(lesion.mask[index])[0]),
            source_image=hd.sr.SourceImageForRegion(
                referenced_sop_class_uid=reference.ReferencedSOPClassUID,
                referenced_sop_instance_uid=reference.ReferencedSOPInstanceUID,
                referenced_frame_numbers=None if frame is None else [int(frame)],
            ),
        ),
        finding_category=coded(codes.MORPHOLOGICALLY_ABNORMAL_STRUCTURE),
        finding_type=coded(context.findings.model.term(lesion.label).code),
        finding_sites=[hd.sr.FindingSite(coded(context.findings.model.term(lesion.label).site))],
        algorithm_id=algorithm(context),
        measurements=[_of_lesion(lesion, name) for name in IN_PLANE],
    )
    beside = context.profile.report_flavour == "both"
    names = [f"planar {name}" if beside else name for name in IN_PLANE]
    _set_observation_uids(group[0], [lesion_observation_uid(context.run, lesion, name) for name in names])
    return group


def _of_no_plane(lesion: Lesion, context: ResultContext) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501: the measurements of the whole lesion, for a report that refers to no segmentation."""
    names = [item.name for item in measurements.of_lesion(lesion) if item.name not in IN_PLANE]
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(lesion),
        finding_category=coded(codes.MORPHOLOGICALLY_ABNORMAL_STRUCTURE),
        finding_type=coded(context.findings.model.term(lesion.label).code),
        finding_sites=[hd.sr.FindingSite(coded(context.findings.model.term(lesion.label).site))],
        algorithm_id=algorithm(context),
        measurements=[_of_lesion(lesion, name) for name in names],
    )
    _set_observation_uids(group[0], [lesion_observation_uid(context.run, lesion, name) for name in names])
    return group


def _probability_group(
    context: ResultContext, overlays: tuple[ResultObject, ...]
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501: the probability of each class, and the picture that explains the predicted one.

    Which class a probability is of stands as a modifier of the measurement, never as the finding of a group: a reader
    that collects findings must not take up a tumour that is held 9 % probable.
    """
    findings = context.findings
    names = _classes(context)
    made = []
    for name in names:
        measurement = _measurement(measurements.of_probability(findings.probability(name)))
        modifier = hd.sr.CodeContentItem(
            name=coded(codes.FINDING), value=coded(findings.model.term(name).code), relationship_type=HAS_CONCEPT_MOD
        )
        measurement[0].ContentSequence = hd.sr.ContentSequence([modifier])
        made.append(measurement)
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=context.run.uid("class probabilities"), identifier="Class probabilities"
        ),
        finding_sites=[hd.sr.FindingSite(coded(findings.model.term(findings.predicted_class).site))],
        algorithm_id=algorithm(context),
        measurements=made,
    )
    _set_observation_uids(group[0], [probability_observation_uid(context.run, name) for name in names])
    if overlays and shows_heatmap(findings):
        group[0].ContentSequence.append(visual_explanation(overlays[0].dataset))
    return group


def _classes(context: ResultContext) -> tuple[str, ...]:
    """The model's classes, the predicted one first, then by falling probability."""
    findings = context.findings
    ordered = sorted(
        findings.probabilities, key=lambda item: (item.name != findings.predicted_class, -item.probability)
    )
    return tuple(item.name for item in ordered)


def _tracking(lesion: Lesion) -> hd.sr.TrackingIdentifier:
    return hd.sr.TrackingIdentifier(uid=lesion.tracking_uid, identifier=ascii_text(lesion.tracking_id, 64))


def _of_lesion(lesion: Lesion, name: str) -> hd.sr.Measurement:
    (item,) = (found for found in measurements.of_lesion(lesion) if found.name == name)
    return _measurement(item)


def _measurement(item: Measurement) -> hd.sr.Measurement:
    """TID 300."""
    return hd.sr.Measurement(
        name=coded(item.code),
        value=round(item.value, item.digits),
        unit=coded(item.unit),
        derivation=coded(item.derivation) if item.derivation else None,
    )


def _set_observation_uids(group: Dataset, uids: Sequence[str]) -> None:
    """Set the Observation UID of each measurement of ``group``, in order; FHIR uses the same identifiers."""
    items = [item for item in group.ContentSequence if item.ValueType == "NUM"]
    for item, uid in zip(items, uids, strict=True):
        item.ObservationUID = uid


def visual_explanation(page: Dataset) -> hd.sr.ImageContentItem:
    """The explaining picture, with the technique that made it (CID 217)."""
    item = hd.sr.ImageContentItem(
        name=coded(codes.VISUAL_EXPLANATION),
        referenced_sop_class_uid=page.SOPClassUID,
        referenced_sop_instance_uid=page.SOPInstanceUID,
        relationship_type=CONTAINS,
    )
    technique = hd.sr.CodeContentItem(
        name=coded(codes.MEASUREMENT_METHOD),
        value=coded(codes.GRAD_CAM),
        relationship_type=HAS_CONCEPT_MOD,
    )
    item.ContentSequence = hd.sr.ContentSequence([technique])
    return item


def _page_of(lesion: Lesion, context: ResultContext, overlays: tuple[ResultObject, ...]) -> Dataset:
    """The overlay page of the lesion's key slice, else the nearest slice page, else the summary."""
    pages = dict(zip(pages_for(context.findings), overlays[1:], strict=True))
    nearest = min(pages, key=lambda plane: abs(plane - lesion.key_slice), default=None)
    return (overlays[0] if nearest is None else pages[nearest]).dataset
