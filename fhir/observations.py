"""What was found, one Observation a statement: presence, probability of each class, each measurement of each lesion.

Measurements and probabilities have the Observation UIDs of the structured report as identifiers, so that a reader of
both knows that they are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fhir.coding import concept, dicom_identifier, disclaimer, hl7_concept, made_by_ai, quantity, to
from fhir.context import ReportContext
from fhir.resources.R4B.codeableconcept import CodeableConcept
from fhir.resources.R4B.observation import Observation, ObservationComponent
from pipeline import codes
from pipeline.codes import Code
from pipeline.findings import Lesion, Outcome
from pipeline.results.wording import headline


@dataclass(frozen=True)
class NamedObservation:
    """An Observation and the words that its UID and its place in the Bundle are derived from."""

    name: tuple[str, ...]
    resource: Observation


def build(context: ReportContext) -> tuple[NamedObservation, ...]:
    """The finding first, then the probabilities, then each lesion's measurements."""
    return (
        _finding(context),
        *_probabilities(context),
        *(item for one in context.findings.lesions for item in _lesion(one, context)),
    )


def _finding(context: ReportContext) -> NamedObservation:
    """Whether the model's target is there: present (of which class), absent, or indeterminate; never silence."""
    findings = context.findings
    components = [_component(concept(codes.FINDING, "What is looked for"), concept(findings.model.target))]
    if findings.outcome is Outcome.FINDING:
        components.append(
            _component(CodeableConcept(text="Suggested class"), _class(context, findings.predicted_class))
        )
    return _observation(
        context,
        ("finding",),
        concept(codes.PRESENCE, f"Presence of {findings.model.target.meaning.lower()}, suggested by an algorithm"),
        findings.predicted_class,
        valueCodeableConcept=concept(codes.presence(findings.outcome), headline(findings)),
        component=components,
    )


def _probabilities(context: ReportContext) -> Iterator[NamedObservation]:
    """Of which class stands in a component, not in the code: what is 9 % probable must not be found as a finding."""
    for item in context.findings.probabilities:
        yield _observation(
            context,
            ("probability", item.name),
            concept(codes.PROBABILITY, f"Model probability: {context.findings.model.term(item.name).title.lower()}"),
            item.name,
            valueQuantity=quantity(item.probability, codes.NO_UNITS, digits=4),
            component=[
                _component(CodeableConcept(text="Class that the probability is of"), _class(context, item.name))
            ],
        )


def _lesion(lesion: Lesion, context: ReportContext) -> Iterator[NamedObservation]:
    measurements: tuple[tuple[str, Code, str, float, Code], ...] = (
        ("volume", codes.VOLUME, "Volume", lesion.volume_mm3, codes.CUBIC_MILLIMETER),
        ("long_axis", codes.LONG_AXIS, "Long axis", lesion.long_axis.length_mm, codes.MILLIMETER),
        ("short_axis", codes.SHORT_AXIS, "Short axis", lesion.short_axis.length_mm, codes.MILLIMETER),
        ("mean_intensity", codes.MR_SIGNAL_INTENSITY, "Mean signal", lesion.mean_intensity, codes.ARBITRARY_UNIT),
    )
    tracking = [
        ObservationComponent(code=concept(codes.TRACKING_IDENTIFIER), valueString=lesion.tracking_id),
        ObservationComponent(code=concept(codes.TRACKING_UID), valueString=lesion.tracking_uid),
    ]
    for name, code, title, value, unit in measurements:
        derivation = [_component(concept(codes.DERIVATION), concept(codes.MEAN))] if name == "mean_intensity" else []
        yield _observation(
            context,
            ("lesion", lesion.tracking_id, name),
            concept(code, f"{title} of {lesion.tracking_id}"),
            lesion.label,
            valueQuantity=quantity(value, unit, digits=1),
            component=[*tracking, *derivation],
        )


def _observation(
    context: ReportContext, name: tuple[str, ...], code: CodeableConcept, class_name: str, **value: Any
) -> NamedObservation:
    resource = Observation(
        meta=made_by_ai(),
        identifier=[dicom_identifier(context.run.uid("observation", *name))],
        status="preliminary",
        category=[hl7_concept("observation-category", "imaging", "Imaging")],
        code=code,
        subject=context.subject,
        effectiveDateTime=context.effective,
        issued=context.recorded,
        bodySite=concept(context.findings.model.term(class_name).site),
        method=CodeableConcept(text="Automatic, by an algorithm, on MR images"),
        device=to(context.device_url, "Device"),
        derivedFrom=[to(context.imaging_study_url, "ImagingStudy")],
        note=[disclaimer()],
        **value,
    )
    return NamedObservation(name, resource)


def _class(context: ReportContext, name: str) -> CodeableConcept:
    term = context.findings.model.term(name)
    return concept(term.code, term.title)


def _component(code: CodeableConcept, value: CodeableConcept) -> ObservationComponent:
    return ObservationComponent(code=code, valueCodeableConcept=value)
