"""Structured report (SR): findings, measurements and probabilities, for machines and people.

Comprehensive 3D SR (PS3.3 A.35.13) with the root template TID 1500 "Measurement Report" (PS3.16).
"""

from __future__ import annotations

from dataclasses import replace

import highdicom as hd
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset

from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.findings.model import AnswerKind, Findings, Outcome
from pipeline.findings.own_results import MANUFACTURER
from pipeline.patient.requests import referenced_requests
from pipeline.report import sentences
from pipeline.results.profile import ReportTitle
from pipeline.results.provenance import ResultContext, finish
from pipeline.results.result_object import ResultObject
from pipeline.results.seg.segmentation import coded
from pipeline.results.sr import groups as report_groups
from pipeline.results.sr.observer import observer_context
from pipeline.results.wording import DISCLAIMER, ascii_text, conclusion

KIND = "report"
TITLES: dict[ReportTitle, Code] = {"imaging": codes.MEASUREMENT_REPORT, "oncology": codes.ONCOLOGY_REPORT}
"""PS3.16 CID 7021."""
CONTAINS = hd.sr.RelationshipTypeValues.CONTAINS
HAS_CONCEPT_MOD = hd.sr.RelationshipTypeValues.HAS_CONCEPT_MOD


def build(
    context: ResultContext, segmentation: tuple[ResultObject, ...], overlays: tuple[ResultObject, ...]
) -> tuple[ResultObject, ...]:
    """One report, whatever the outcome; a negative one states the absence, with the probabilities.

    ``segmentation`` and ``overlays`` are this run's, as their modules built them; the report refers to them. Without
    overlays (the profile wants none) nothing stands as Visual Explanation.
    """
    groups = report_groups.build(context, segmentation, overlays)
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer_context(context)),
        procedure_reported=coded(context.procedure),
        imaging_measurements=groups or [report_groups.nothing_measured(context)],
        title=coded(TITLES[context.profile.report_title]),
    )
    if not groups:  # highdicom (0.28.2) asks for a group; TID 1500 does not where there are qualitative evaluations
        _leave_out_measurements(content[0])
    content[0].ContentSequence.append(_evaluations(context))
    _separate(content[0])
    cited = overlays if context.profile.report_flavour == "planar" else (*segmentation, *overlays)
    evidence = [*context.instances, *(item.dataset for item in cited)]
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
    if context.run.previous is not None:
        made.PredecessorDocumentsSequence = [_document(replace(context, run=context.run.previous), made)]
    ds = finish(made, context, kind=KIND, number=1, description="report")
    if requests := referenced_requests(context.volume.identity):
        ds.ReferencedRequestSequence = requests
    return (ResultObject(role=KIND, filename="report.dcm", dataset=ds),)


def _leave_out_measurements(root: Dataset) -> None:
    """Remove the container of imaging measurements."""
    root.ContentSequence = hd.sr.ContentSequence(
        [
            item
            for item in root.ContentSequence
            if item.ConceptNameCodeSequence[0].CodeValue != codes.IMAGING_MEASUREMENTS.value
        ]
    )


def _separate(container: Dataset) -> None:
    """Set Continuity of Content of every container to SEPARATE (PS3.3 C.18.8).

    Readers that show a report as text then write each item's name before its value.
    """
    container.ContinuityOfContent = "SEPARATE"
    for item in container.ContentSequence:
        if item.ValueType == "CONTAINER":
            _separate(item)


def _document(earlier: ResultContext, made: Dataset) -> Dataset:
    """A reference to the report of an earlier run (Hierarchical SOP Instance Reference Macro, PS3.3 C.17.2.1)."""
    report, series, study = Dataset(), Dataset(), Dataset()
    report.ReferencedSOPClassUID = made.SOPClassUID
    report.ReferencedSOPInstanceUID = earlier.instance_uid(KIND)
    series.SeriesInstanceUID = earlier.series_uid(KIND)
    series.ReferencedSOPSequence = [report]
    study.StudyInstanceUID = earlier.volume.study_instance_uid
    study.ReferencedSeriesSequence = [series]
    return study


def _evaluations(context: ResultContext) -> hd.sr.ContainerContentItem:
    """TID 1500, Qualitative Evaluations: presence of the model's target if it has one, classes, and comments."""
    findings = context.findings
    model = findings.model
    container = hd.sr.ContainerContentItem(name=coded(codes.QUALITATIVE_EVALUATIONS), relationship_type=CONTAINS)
    container.ContentSequence = hd.sr.ContentSequence()
    if model.target is not None:
        container.ContentSequence.append(_presence(findings.outcome, model.target))
    for name in classes_that_hold(findings):
        container.ContentSequence.append(
            hd.sr.CodeContentItem(
                name=coded(codes.FINDING), value=coded(model.term(name).code), relationship_type=CONTAINS
            )
        )
    texts = (
        f"{DISCLAIMER}. Computed by {model.title} {model.version}.",
        conclusion(findings),
        *_probabilities(findings),
        *map(sentences.caveat, findings.caveats),
    )
    for text in texts:
        container.ContentSequence.append(
            hd.sr.TextContentItem(name=coded(codes.COMMENT), value=ascii_text(text), relationship_type=CONTAINS)
        )
    return container


def _presence(outcome: Outcome, target: Code) -> hd.sr.CodeContentItem:
    answer = hd.sr.CodeContentItem(
        name=coded(codes.PRESENCE), value=coded(codes.presence(outcome)), relationship_type=CONTAINS
    )
    of_what = hd.sr.CodeContentItem(name=coded(codes.FINDING), value=coded(target), relationship_type=HAS_CONCEPT_MOD)
    answer.ContentSequence = hd.sr.ContentSequence([of_what])
    return answer


def classes_that_hold(findings: Findings) -> tuple[str, ...]:
    """The classes that a classification suggests; of a model for lesions the groups of its lesions name the class."""
    if findings.model.kind is not AnswerKind.CLASSIFICATION or findings.outcome not in (
        Outcome.FINDING,
        Outcome.MEASURED,
    ):
        return ()
    return findings.suggested or (findings.predicted_class,)


def _probabilities(findings: Findings) -> tuple[str, ...]:
    """In words: viewers that show a report as text leave out the class of a probability (its modifier)."""
    if not findings.probabilities:
        return ()
    listed = (f"{findings.model.term(item.name).title} {item.probability:.2f}" for item in findings.probabilities)
    return (f"Model probability: {', '.join(listed)}.",)
