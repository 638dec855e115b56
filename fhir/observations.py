"""The findings as Observations, one a statement: presence, probability of each class, each measurement of each lesion.

Measurements and probabilities have the Observation UIDs of the structured report as identifiers, so that a reader of
both knows that they are the same. A second identifier stays the same over the revisions of a series.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir.coding import concept, dicom_identifier, hl7_concept, lasting_identifier, quantity, to
from fhir.context import ReportContext, order_reference
from fhir.entry import Entry
from fhir.lesions import BODY_SITE_EXTENSION, selection_of, structure_url
from fhir.release import Json, Release
from pipeline.findings import codes
from pipeline.findings.measurements import of_probability
from pipeline.findings.model import Outcome
from pipeline.report import sentences
from pipeline.report.findings import ReportedLesion


def build(context: ReportContext) -> tuple[Entry, ...]:
    """The finding, then probabilities, then each lesion's measurements; of a refusal one that nothing was read."""
    if context.findings.outcome is Outcome.REFUSED:
        return (_unread(context),)
    return (
        _finding(context),
        *_probabilities(context),
        *(
            item
            for number, lesion in enumerate(context.findings.lesions, start=1)
            for item in _lesion(lesion, number, context)
        ),
    )


def _finding(context: ReportContext) -> Entry:
    """Whether the model's target is present (and of which class), absent, or indeterminate; never omitted."""
    findings = context.findings
    components = [_component(concept(codes.FINDING, context.label("sought")), concept(findings.model.target))]
    if findings.outcome is Outcome.FINDING:
        components.append(
            _component({"text": context.label("suggested_class")}, _class(context, findings.predicted_class))
        )
    target = sentences.target(findings.model, context.language)
    return _observation(
        context,
        ("finding",),
        concept(codes.PRESENCE, context.label("presence", target=target)),
        bodySite=concept(context.site(findings.predicted_class)),
        valueCodeableConcept=concept(codes.presence(findings.outcome), sentences.headline(findings, context.language)),
        component=components,
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
            bodySite=concept(context.site(item.name)),
            valueQuantity=quantity(measurement),
            component=[_component({"text": context.label("class")}, _class(context, item.name))],
        )


def _lesion(lesion: ReportedLesion, number: int, context: ReportContext) -> Iterator[Entry]:
    tracking = [
        {"code": concept(codes.TRACKING_IDENTIFIER), "valueString": lesion.tracking_id},
        {"code": concept(codes.TRACKING_UID), "valueString": lesion.tracking_uid},
    ]
    name = sentences.lesion_name(number, context.language)
    for item in lesion.measurements:
        derivation = [_component(concept(codes.DERIVATION), concept(item.derivation))] if item.derivation else []
        yield _observation(
            context,
            ("lesion", lesion.tracking_id, item.name),
            concept(item.code, context.label(f"{item.name}_of", region=name)),
            also_from=selection_of(lesion, context),
            **_place(lesion, context),
            valueQuantity=quantity(item),
            component=[*tracking, *derivation],
        )


def _place(lesion: ReportedLesion, context: ReportContext) -> Json:
    """The region's body structure: R5's own element, in R4 the standard extension of the body site."""
    structure = to(structure_url(lesion, context), "BodyStructure")
    if context.release is Release.R5:
        return {"bodyStructure": structure}
    extension = {"url": BODY_SITE_EXTENSION, "valueReference": structure}
    return {"bodySite": {"extension": [extension], **concept(context.site(lesion.label))}}


def _unread(context: ReportContext) -> Entry:
    """Of a series that was refused: the observation was not made, and why; nothing is said of the patient."""
    reason = hl7_concept("data-absent-reason", "not-performed", "Not Performed")
    target = sentences.target(context.findings.model, context.language)
    return _observation(
        context,
        ("finding",),
        concept(codes.PRESENCE, context.label("presence", target=target)),
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
            "basedOn": [order_reference(content)],
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
