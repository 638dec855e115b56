"""Structured report (SR): findings, measurements and probabilities, for machines and people.

Comprehensive 3D SR (PS3.3 A.35.13) with the root template TID 1500 "Measurement Report" (PS3.16).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import highdicom as hd
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset

from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.findings.model import AnswerKind, Findings, ModelIdentity, Outcome
from pipeline.findings.own_results import MANUFACTURER
from pipeline.patient.requests import referenced_requests
from pipeline.report import sentences
from pipeline.results.drawing.listing import NOTHING, place, where
from pipeline.results.profile import ReportTitle
from pipeline.results.provenance import ResultContext, finish
from pipeline.results.result_object import ResultObject
from pipeline.results.seg.segmentation import coded
from pipeline.results.sr import groups as report_groups
from pipeline.results.sr.library import image_library
from pipeline.results.sr.observer import observer_context
from pipeline.results.wording import DISCLAIMER, ascii_text

KIND = "report"
TITLES: dict[ReportTitle, Code] = {"imaging": codes.MEASUREMENT_REPORT, "oncology": codes.ONCOLOGY_REPORT}
"""PS3.16 CID 7021, which is a baseline: `title_of` names another where none of its titles is true."""
MOST_PLACES = 12
"""Regions whose places are listed in words."""
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
        title=coded(title_of(context)),
    )
    evaluations = _evaluations(context, alone=not groups)
    if not groups:  # highdicom (0.28.2) asks for a group; TID 1500 does not where there are evaluations
        _leave_out_measurements(content[0])
    _put_before_measurements(content[0], _conclusions(context), image_library(context))
    if evaluations is not None:
        content[0].ContentSequence.append(evaluations)
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


def title_of(context: ResultContext) -> Code:
    """The coded title of the report.

    Without one in the profile it is the most specific that is true and under which OHIF shows the report (as text; a
    report titled "Imaging Measurement Report" without coordinates in every group is a blank page there).
    """
    if context.profile.report_title != "automatic":
        return TITLES[context.profile.report_title]
    sought = context.findings.model.target
    return codes.ONCOLOGY_REPORT if sought in codes.NEOPLASMS else codes.DIAGNOSTIC_IMAGING_STUDY


def _put_before_measurements(root: Dataset, *sections: hd.sr.ContainerContentItem) -> None:
    """Insert ``sections`` where the sections of the report begin, behind language, observer and procedure."""
    items = list(root.ContentSequence)
    begun = next((k for k, item in enumerate(items) if item.ValueType == "CONTAINER"), len(items))
    root.ContentSequence = hd.sr.ContentSequence([*items[:begun], *sections, *items[begun:]])


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


def _conclusions(context: ResultContext) -> hd.sr.ContainerContentItem:
    """What a reader looks for first: presence and conclusion, what the result must not be used for, and what limits it.

    TID 1500 has no such section before its measurements; the template is extensible. The codes of presence and classes
    stand where it has them, in Qualitative Evaluations.
    """
    findings, model = context.findings, context.findings.model
    said = "" if model.target is None else presence_text(findings.outcome, model)
    statement = " ".join((sentences.statement(context.reported), *sentences.additions(context.reported)))
    conclusions = filter(None, (said, statement))
    comments = (
        f"{DISCLAIMER}. Computed by {model.title} {model.version}.",
        *_places(findings),
        *map(sentences.caveat, findings.caveats),
    )
    container = hd.sr.ContainerContentItem(name=coded(codes.CONCLUSIONS), relationship_type=CONTAINS)
    container.ContentSequence = hd.sr.ContentSequence(
        [
            hd.sr.TextContentItem(name=coded(name), value=ascii_text(text), relationship_type=CONTAINS)
            for name, texts in ((codes.CONCLUSION, conclusions), (codes.COMMENT, comments))
            for text in texts
        ]
    )
    return container


def presence_text(outcome: Outcome, model: ModelIdentity) -> str:
    """Whether what the model looks for is present, in words."""
    what = sentences.label("presence", target=sentences.target(model))
    return f"{what}: {codes.presence(outcome).meaning.lower()}"


def _places(findings: Findings) -> Iterator[str]:
    """Where the first regions are: side, slices counted from 1, and images as a PACS numbers them."""
    columns = where(findings)
    for region in findings.regions[:MOST_PLACES] if columns else ():
        cells = {name: place(region, name) for name in columns}
        side = cells.pop("side", None)
        numbers = (f"{name} {cell}" for name, cell in cells.items() if cell != NOTHING)
        yield f"{region.tracking_id}: {', '.join([*([side] if region.side and side else []), *numbers])}."


def _evaluations(context: ResultContext, *, alone: bool) -> hd.sr.ContainerContentItem | None:
    """TID 1500, Qualitative Evaluations: presence of the model's target if it has one, and classes.

    None where there is neither. A report without measurements must have the section (``alone``): then it says in words
    that there is nothing to measure.
    """
    findings = context.findings
    model = findings.model
    made: list[hd.sr.ContentItem] = [] if model.target is None else [_presence(findings.outcome, model.target)]
    made.extend(
        hd.sr.CodeContentItem(name=coded(codes.FINDING), value=coded(model.term(name).code), relationship_type=CONTAINS)
        for name in classes_that_hold(findings)
    )
    if not made and alone:
        said = ascii_text(sentences.statement(context.reported))
        made.append(hd.sr.TextContentItem(name=coded(codes.COMMENT), value=said, relationship_type=CONTAINS))
    if not made:
        return None
    container = hd.sr.ContainerContentItem(name=coded(codes.QUALITATIVE_EVALUATIONS), relationship_type=CONTAINS)
    container.ContentSequence = hd.sr.ContentSequence(made)
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
