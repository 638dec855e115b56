"""What was found, one Observation a statement: presence, probability of each class, each measurement of each region.

Measurements and probabilities have the Observation UIDs of the structured report as identifiers, so that a reader of
both knows that they are the same. A second identifier stays the same over the revisions of a series.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir.coding import concept, dicom_identifier, hl7_concept, lasting_identifier, quantity, to
from fhir.context import ReportContext, order_reference
from fhir.entry import Entry
from fhir.regions import BODY_SITE_EXTENSION, selection_of, structure_url
from fhir.release import Json, Release
from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.findings.model import Outcome
from pipeline.report import sentences
from pipeline.report.answer import Region


def build(context: ReportContext) -> tuple[Entry, ...]:
    """The finding first, then probabilities, then each region's measurements; of a refusal that nothing was read."""
    if context.answer.outcome is Outcome.REFUSED:
        return (_unread(context),)
    return (
        _finding(context),
        *_probabilities(context),
        *(
            item
            for number, region in enumerate(context.answer.regions, start=1)
            for item in _region(region, number, context)
        ),
    )


def _finding(context: ReportContext) -> Entry:
    """Whether the model's target is there: present (of which class), absent, or indeterminate; never silence."""
    answer = context.answer
    components = [_component(concept(codes.FINDING, context.label("sought")), concept(answer.model.target))]
    if answer.outcome is Outcome.FINDING:
        components.append(
            _component({"text": context.label("suggested_class")}, _class(context, answer.predicted_class))
        )
    target = sentences.target(answer.model, context.language)
    return _observation(
        context,
        ("finding",),
        concept(codes.PRESENCE, context.label("presence", target=target)),
        bodySite=concept(context.site(answer.predicted_class)),
        valueCodeableConcept=concept(codes.presence(answer.outcome), sentences.headline(answer, context.language)),
        component=components,
    )


def _probabilities(context: ReportContext) -> Iterator[Entry]:
    """Of which class stands in a component, not in the code: what is 9 % probable must not be found as a finding."""
    model = context.answer.model
    for item in context.answer.probabilities:
        name = sentences.title(model, item.name, context.language)
        yield _observation(
            context,
            ("probability", item.name),
            concept(codes.PROBABILITY, context.label("probability_of", name=name)),
            bodySite=concept(context.site(item.name)),
            valueQuantity=quantity(item.probability, codes.NO_UNITS, digits=4),
            component=[_component({"text": context.label("class")}, _class(context, item.name))],
        )


def _region(region: Region, number: int, context: ReportContext) -> Iterator[Entry]:
    measurements: tuple[tuple[str, Code, str, float, Code], ...] = (
        ("volume", codes.VOLUME, "volume_of", region.volume_mm3, codes.CUBIC_MILLIMETER),
        ("long_axis", codes.LONG_AXIS, "long_axis_of", region.long_axis_mm, codes.MILLIMETER),
        ("short_axis", codes.SHORT_AXIS, "short_axis_of", region.short_axis_mm, codes.MILLIMETER),
        ("mean_intensity", codes.MR_SIGNAL_INTENSITY, "mean_signal_of", region.mean_intensity, codes.ARBITRARY_UNIT),
    )
    tracking = [
        {"code": concept(codes.TRACKING_IDENTIFIER), "valueString": region.tracking_id},
        {"code": concept(codes.TRACKING_UID), "valueString": region.tracking_uid},
    ]
    name = sentences.region_name(number, context.language)
    for what, code, words, value, unit in measurements:
        derivation = [_component(concept(codes.DERIVATION), concept(codes.MEAN))] if what == "mean_intensity" else []
        yield _observation(
            context,
            ("lesion", region.tracking_id, what),
            concept(code, context.label(words, region=name)),
            also_from=selection_of(region, context),
            **_place(region, context),
            valueQuantity=quantity(value, unit, digits=1),
            component=[*tracking, *derivation],
        )


def _place(region: Region, context: ReportContext) -> Json:
    """The region's body structure: R5's own element, in R4 the standard extension of the body site."""
    structure = to(structure_url(region, context), "BodyStructure")
    if context.release is Release.R5:
        return {"bodyStructure": structure}
    extension = {"url": BODY_SITE_EXTENSION, "valueReference": structure}
    return {"bodySite": {"extension": [extension], **concept(context.site(region.label))}}


def _unread(context: ReportContext) -> Entry:
    """Of a series that was refused: the observation was not made, and why; nothing is said of the patient."""
    reason = hl7_concept("data-absent-reason", "not-performed", "Not Performed")
    target = sentences.target(context.answer.model, context.language)
    return _observation(
        context,
        ("finding",),
        concept(codes.PRESENCE, context.label("presence", target=target)),
        status="cancelled",
        dataAbsentReason=reason | {"text": sentences.statement(context.answer, context.language)},
    )


def _observation(
    context: ReportContext, name: tuple[str, ...], code: Json, *, also_from: Json | None = None, **value: Any
) -> Entry:
    facts = context.facts
    resource = context.release.make(
        "Observation",
        **{
            "meta": context.meta(),
            "language": context.language.value,
            "identifier": [
                dicom_identifier(facts.run.uid("observation", *name)),
                lasting_identifier(facts.lasting_uid("observation", *name)),
            ],
            "basedOn": [order_reference(facts)],
            "status": "preliminary",
            "category": [hl7_concept("observation-category", "imaging", "Imaging")],
            "code": code,
            "subject": context.subject,
            "effectiveDateTime": facts.acquired,
            "issued": context.recorded,
            "method": concept(codes.ARTIFICIAL_INTELLIGENCE, context.label("method", modality=facts.source.modality)),
            "device": context.device(),
            "derivedFrom": [to(context.imaging_study_url, "ImagingStudy"), also_from],
            "note": [context.note()],
            **value,
        },
    )
    return Entry(context.full_url("Observation", *name), resource)


def _class(context: ReportContext, name: str) -> Json:
    return concept(context.answer.model.term(name).code, sentences.title(context.answer.model, name, context.language))


def _component(code: Json, value: Json) -> Json:
    return {"code": code, "valueCodeableConcept": value}
