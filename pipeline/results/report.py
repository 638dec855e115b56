"""Structured report (SR): what was found, measured and how sure the algorithm is, for machines and people to read.

Comprehensive 3D SR (PS3.3 A.35.13) with the root template TID 1500 "Measurement Report" (PS3.16).
"""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset

from pipeline import codes
from pipeline.codes import Code
from pipeline.findings import Lesion
from pipeline.ports import ResultObject
from pipeline.results.overlay import pages_for
from pipeline.results.pages import shows_heatmap
from pipeline.results.provenance import MANUFACTURER, ResultContext, finish
from pipeline.results.segmentation import coded
from pipeline.results.wording import DISCLAIMER, ascii_text, conclusion

KIND = "report"
Group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations | hd.sr.MeasurementsAndQualitativeEvaluations
CONTAINS = hd.sr.RelationshipTypeValues.CONTAINS
HAS_CONCEPT_MOD = hd.sr.RelationshipTypeValues.HAS_CONCEPT_MOD


def build(
    context: ResultContext, segmentation: tuple[ResultObject, ...], overlays: tuple[ResultObject, ...]
) -> tuple[ResultObject, ...]:
    """One report, also where nothing was found: it then says so, with the probabilities.

    ``segmentation`` and ``overlays`` are this run's, as their modules built them; the report refers to them.
    """
    groups: list[Group] = [
        *(_lesion_group(number, context, segmentation, overlays) for number in range(len(context.findings.lesions))),
        _probability_group(context, overlays),
    ]
    content = hd.sr.MeasurementReport(
        observation_context=_observation_context(context),
        procedure_reported=coded(codes.MR_BRAIN),
        imaging_measurements=groups,
        title=hd.sr.CodedConcept("126000", "DCM", "Imaging Measurement Report"),
    )
    content[0].ContentSequence.append(_evaluations(context))
    evidence = [*context.instances, *(item.dataset for item in (*segmentation, *overlays))]
    made = hd.sr.Comprehensive3DSR(
        evidence=evidence,
        content=content[0],
        series_instance_uid=context.series_uid(KIND),
        series_number=1,
        sop_instance_uid=context.instance_uid(KIND),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=False,
        is_final=False,
        is_verified=False,
        coding_schemes=[
            CodingSchemeIdentificationItem(
                designator=codes.PRIVATE_SCHEME, name=codes.PRIVATE_SCHEME_NAME, responsible_organization=MANUFACTURER
            )
        ],
    )
    ds = finish(made, context, kind=KIND, number=1, description="report")
    return (ResultObject(role=KIND, filename="report.dcm", dataset=ds),)


def _classes(context: ResultContext) -> tuple[str, ...]:
    """The model's classes, the predicted one first, then by falling probability."""
    findings = context.findings
    ordered = sorted(
        findings.probabilities, key=lambda item: (item.name != findings.predicted_class, -item.probability)
    )
    return tuple(item.name for item in ordered)


def _observation_context(context: ResultContext) -> hd.sr.ObservationContext:
    """TID 1001: the observer is a device, the algorithm (TID 1004)."""
    model = context.findings.model
    return hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(
            observer_type=hd.sr.CodedConcept("121007", "DCM", "Device"),
            observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
                uid=context.run.device_uid,
                name=ascii_text(model.name),
                manufacturer_name=ascii_text(model.manufacturer),
                model_name=ascii_text(model.title),
                serial_number=model.digest[:16],
            ),
        )
    )


def _algorithm(context: ResultContext) -> hd.sr.AlgorithmIdentification:
    """TID 4019."""
    model = context.findings.model
    return hd.sr.AlgorithmIdentification(
        name=ascii_text(model.name),
        version=ascii_text(model.version),
        parameters=[ascii_text(item) for item in (*model.parameters, f"digest={model.digest}")],
        family=coded(codes.ARTIFICIAL_INTELLIGENCE),
        manufacturer=ascii_text(model.manufacturer),
    )


def _lesion_group(
    index: int, context: ResultContext, segmentation: tuple[ResultObject, ...], overlays: tuple[ResultObject, ...]
) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """TID 1411: one lesion, its segment and its measurements. Segment numbers follow the order of the lesions."""
    lesion = context.findings.lesions[index]
    segment = segmentation[0].dataset
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=lesion.tracking_uid, identifier=ascii_text(lesion.tracking_id, 64)
        ),
        # highdicom's ReferencedSegment.from_segmentation raises on an object with one segment (0.28.2)
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=segment.SOPClassUID,
            sop_instance_uid=segment.SOPInstanceUID,
            segment_number=index + 1,
            source_series=hd.sr.SourceSeriesForSegmentation(context.volume.series_instance_uid),
        ),
        finding_category=coded(codes.MORPHOLOGICALLY_ABNORMAL_STRUCTURE),
        finding_type=coded(context.findings.model.term(lesion.label).code),
        finding_sites=[hd.sr.FindingSite(coded(context.findings.model.term(lesion.label).site))],
        algorithm_id=_algorithm(context),
        measurements=[
            _measurement(codes.VOLUME, lesion.volume_mm3, codes.CUBIC_MILLIMETER, digits=1),
            _measurement(codes.LONG_AXIS, lesion.long_axis.length_mm, codes.MILLIMETER, digits=1),
            _measurement(codes.SHORT_AXIS, lesion.short_axis.length_mm, codes.MILLIMETER, digits=1),
            _measurement(
                codes.MR_SIGNAL_INTENSITY, lesion.mean_intensity, codes.ARBITRARY_UNIT, digits=1, derivation=codes.MEAN
            ),
        ],
    )
    names = ("volume", "long_axis", "short_axis", "mean_intensity")
    _set_observation_uids(
        group[0], [context.run.uid("observation", "lesion", lesion.tracking_id, name) for name in names]
    )
    if shows_heatmap(context.findings):
        group[0].ContentSequence.append(_visual_explanation(_page_of(lesion, context, overlays)))
    return group


def _probability_group(
    context: ResultContext, overlays: tuple[ResultObject, ...]
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501: how probable the model holds each of its classes, and the picture that explains the predicted one.

    Which class a probability is of stands as a modifier of the measurement, never as the finding of a group: a reader
    that collects findings must not take up a tumour that is held 9 % probable.
    """
    findings = context.findings
    names = _classes(context)
    measurements = []
    for name in names:
        measurement = _measurement(codes.PROBABILITY, findings.probability(name), codes.NO_UNITS, digits=4)
        modifier = hd.sr.CodeContentItem(
            name=coded(codes.FINDING), value=coded(findings.model.term(name).code), relationship_type=HAS_CONCEPT_MOD
        )
        measurement[0].ContentSequence = hd.sr.ContentSequence([modifier])
        measurements.append(measurement)
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=context.run.uid("class probabilities"), identifier="Class probabilities"
        ),
        finding_sites=[hd.sr.FindingSite(coded(findings.model.term(findings.predicted_class).site))],
        algorithm_id=_algorithm(context),
        measurements=measurements,
    )
    _set_observation_uids(group[0], [context.run.uid("observation", "probability", name) for name in names])
    if shows_heatmap(findings):
        group[0].ContentSequence.append(_visual_explanation(overlays[0].dataset))
    return group


def _measurement(
    name: Code, value: float, unit: Code, *, digits: int, derivation: Code | None = None
) -> hd.sr.Measurement:
    """TID 300."""
    return hd.sr.Measurement(
        name=coded(name),
        value=round(value, digits),
        unit=coded(unit),
        derivation=coded(derivation) if derivation else None,
    )


def _set_observation_uids(group: Dataset, uids: Sequence[str]) -> None:
    """Name each measurement of ``group``, in order, so that FHIR can say that it speaks of the same one."""
    measurements = [item for item in group.ContentSequence if item.ValueType == "NUM"]
    for item, uid in zip(measurements, uids, strict=True):
        item.ObservationUID = uid


def _visual_explanation(page: Dataset) -> hd.sr.ImageContentItem:
    """The picture that shows why, with the technique that made it (CID 217)."""
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
    """The overlay page of the lesion's key slice, else the nearest slice page; the summary where there is none."""
    pages = dict(zip(pages_for(context.findings), overlays[1:], strict=True))
    nearest = min(pages, key=lambda plane: abs(plane - lesion.key_slice), default=None)
    return (overlays[0] if nearest is None else pages[nearest]).dataset


def _evaluations(context: ResultContext) -> hd.sr.ContainerContentItem:
    """TID 1500, Qualitative Evaluations: whether the model's target is there, and what to know of the answer."""
    findings = context.findings
    model = findings.model
    container = hd.sr.ContainerContentItem(name=coded(codes.QUALITATIVE_EVALUATIONS), relationship_type=CONTAINS)
    container.ContentSequence = hd.sr.ContentSequence()
    answer = hd.sr.CodeContentItem(
        name=coded(codes.PRESENCE), value=coded(codes.presence(findings.outcome)), relationship_type=CONTAINS
    )
    of_what = hd.sr.CodeContentItem(
        name=coded(codes.FINDING), value=coded(model.target), relationship_type=HAS_CONCEPT_MOD
    )
    answer.ContentSequence = hd.sr.ContentSequence([of_what])
    container.ContentSequence.append(answer)
    texts = (
        f"{DISCLAIMER}. Computed by {model.title} {model.version}.",
        conclusion(findings),
        *findings.caveats,
    )
    for text in texts:
        container.ContentSequence.append(
            hd.sr.TextContentItem(name=coded(codes.COMMENT), value=ascii_text(text), relationship_type=CONTAINS)
        )
    return container
