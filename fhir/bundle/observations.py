"""The findings as Observations, one a statement: presence, probability of each class, each
measurement of each region, each estimate.

Measurements and probabilities have the Observation UIDs of the structured report as identifiers, so that a reader of
both knows that they are the same. A second identifier stays the same over the revisions of a series.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir.bundle.coding import concept, dicom_identifier, hl7_concept, lasting_identifier, quantity, to
from fhir.bundle.context import ReportContext
from fhir.bundle.entry import Entry
from fhir.bundle.regions import BODY_SITE_EXTENSION, selection_of, structure_url
from fhir.release import Json, Release
from pipeline.findings import codes
from pipeline.findings.diagnosis import diagnosis
from pipeline.findings.measurements import of_probability
from pipeline.findings.model import SEEKS, Outcome
from pipeline.report import sentences
from pipeline.report.findings import ReportedRegion


def build(context: ReportContext) -> tuple[Entry, ...]:
    """The finding, probabilities, measurements and estimates; of a refusal one that nothing was read."""
    findings = context.findings
    if findings.outcome is Outcome.REFUSED:
        return (_unread(context),)
    return (
        *((_finding(context),) if findings.outcome in SEEKS else ()),
        *((_class_found(context),) if findings.outcome is Outcome.MEASURED and findings.predicted_class else ()),
        *_probabilities(context),
        *(item for index, region in enumerate(findings.regions) for item in _region(region, index, context)),
        *_estimates(context),
    )


def _finding(context: ReportContext) -> Entry:
    """Whether the model's target is present (and of which class), absent, or indeterminate; never omitted."""
    findings = context.findings
    components = []
    if findings.outcome is Outcome.FINDING:
        classes = findings.suggested or ((findings.predicted_class,) if findings.predicted_class else ())
        components += [item for name in classes for item in _suggested(context, name)]
    return _observation(
        context,
        ("finding",),
        _sought(context),
        bodySite=context.place(findings.predicted_class),
        valueCodeableConcept=concept(codes.presence(findings.outcome), sentences.headline(findings, context.language)),
        component=components,
    )


def _sought(context: ReportContext) -> Json:
    """What the model looks for, whose presence is the value; the property itself where the bundle does not say."""
    model = context.findings.model
    text = context.label("presence", target=sentences.target(model, context.language))
    return concept(model.target or codes.PRESENCE, text)


def _suggested(context: ReportContext, name: str) -> Iterator[Json]:
    """The suggested class; what is suspected, with the qualifier; or nothing."""
    found = diagnosis(context.findings, name)
    what = {"text": context.label("suggested_class")}
    if found.suspected:
        text = context.suspected(found)
        yield _component(what, concept(found.code, text))
        yield _component(concept(codes.FINDING_CONTEXT), concept(codes.SUSPECTED, text))
    elif not found.withheld:
        yield _component(what, _class(context, name))


def _class_found(context: ReportContext) -> Entry:
    """The class of a model that looks for nothing, such as a breast's density."""
    findings = context.findings
    return _observation(
        context,
        ("class",),
        concept(codes.FINDING, context.label("estimate_of", name=findings.model.title)),
        bodySite=context.site(findings.predicted_class),
        valueCodeableConcept=_class(context, findings.predicted_class),
    )


def _estimates(context: ReportContext) -> Iterator[Entry]:
    model = context.findings.model
    for item in context.findings.quantities:
        name = sentences.title(model, item.name, context.language)
        yield _observation(
            context,
            ("quantity", item.name),
            concept(item.code, context.label("estimate_of", name=name)),
            bodySite=context.site(item.name),
            valueQuantity=quantity(item),
        )


def _probabilities(context: ReportContext) -> Iterator[Entry]:
    """The class is a component, not the code: a search for findings must not return a class of 9 % probability."""
    model = context.findings.model
    for item in context.findings.probabilities:
        name = sentences.title(model, item.name, context.language)
        measurement = of_probability(item.probability)
        yield _observation(
            context,
            ("probability", item.name),
            concept(measurement.code, context.label("probability_of", name=name)),
            bodySite=context.site(item.name),
            valueQuantity=quantity(measurement),
            component=[_component({"text": context.label("class")}, _class(context, item.name))],
        )


def _region(region: ReportedRegion, index: int, context: ReportContext) -> Iterator[Entry]:
    tracking = [
        {"code": concept(codes.TRACKING_IDENTIFIER), "valueString": region.tracking_id},
        {"code": concept(codes.TRACKING_UID), "valueString": region.tracking_uid},
    ]
    name = sentences.region_name(context.findings, index, context.language)
    for item in region.measurements:
        derivation = [_component(concept(codes.DERIVATION), concept(item.derivation))] if item.derivation else []
        yield _observation(
            context,
            ("lesion", region.tracking_id, item.name),
            concept(item.code, context.label(f"{item.name}_of", region=name)),
            also_from=selection_of(region, context),
            **_place(region, context),
            valueQuantity=quantity(item),
            component=[*tracking, *derivation],
        )


def _place(region: ReportedRegion, context: ReportContext) -> Json:
    """The region's body structure: R5's own element, in R4 the standard extension of the body site."""
    structure = to(structure_url(region, context), "BodyStructure")
    if context.release is Release.R5:
        return {"bodyStructure": structure}
    extension = {"url": BODY_SITE_EXTENSION, "valueReference": structure}
    return {"bodySite": {"extension": [extension], **(context.place(region.label) or {})}}


def _unread(context: ReportContext) -> Entry:
    """Of a series that was refused: the observation was not made, and why; nothing is said of the patient."""
    reason = hl7_concept("data-absent-reason", "not-performed", "Not Performed")
    return _observation(
        context,
        ("finding",),
        _sought(context),
        status="cancelled",
        dataAbsentReason=reason | {"text": sentences.statement(context.findings, context.language)},
    )


def _observation(
    context: ReportContext, name: tuple[str, ...], code: Json, *, also_from: Json | None = None, **value: Any
) -> Entry:
    content = context.content
    resource = context.release.make(
        "Observation",
        **{
            "meta": context.meta(),
            "language": context.language.value,
            "identifier": [
                dicom_identifier(content.run.uid("observation", *name)),
                lasting_identifier(content.lasting_uid("observation", *name)),
            ],
            "basedOn": [context.order],
            "status": "preliminary",
            "category": [hl7_concept("observation-category", "imaging", "Imaging")],
            "code": code,
            "subject": context.subject,
            "effectiveDateTime": content.acquired,
            "issued": context.recorded,
            "method": concept(codes.ARTIFICIAL_INTELLIGENCE, context.label("method", modality=content.source.modality)),
            "device": context.device(),
            "derivedFrom": [to(context.imaging_study_url, "ImagingStudy"), also_from],
            "note": [context.note()],
            **value,
        },
    )
    return Entry(context.full_url("Observation", *name), resource)


def _class(context: ReportContext, name: str) -> Json:
    return concept(
        context.findings.model.term(name).code, sentences.title(context.findings.model, name, context.language)
    )


def _component(code: Json, value: Json) -> Json:
    return {"code": code, "valueCodeableConcept": value}
