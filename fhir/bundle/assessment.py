"""A reader's assessment of an answer as an Observation whose focus is the AI's report."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from fhir.bundle.coding import concept, dicom_identifier, hl7_concept
from fhir.bundle.context import patient_reference
from fhir.bundle.entry import Entry
from fhir.release import Json, Release
from pipeline.findings import codes
from pipeline.findings.identity import NAMESPACE
from pipeline.report import assessment
from pipeline.report.assessment import StatedAssessment
from pipeline.report.content import ReportContent


def build(content: ReportContent, said: StatedAssessment, *, release: Release = Release.R4) -> Json:
    """A transaction Bundle (JSON-ready) of one Observation, created unless the server has it.

    Report, study and patient are logical references by identifier. A human made it: it has no mark of an artificial
    intelligence. A correction is an Observation of its own, which says by whom it was made and when.
    """
    uid = said.uid(content)
    resource = release.make(
        "Observation",
        identifier=[dicom_identifier(uid)],
        status="final",
        category=[hl7_concept("observation-category", "imaging", "Imaging")],
        code=concept(assessment.ASSESSMENT),
        subject=patient_reference(content),
        focus=[{"type": "DiagnosticReport", "identifier": dicom_identifier(content.run.uid("diagnostic report"))}],
        effectiveDateTime=said.at.isoformat(timespec="seconds"),
        issued=said.at.isoformat(timespec="seconds"),
        performer=[{"type": "Practitioner", "display": said.reader}],
        valueCodeableConcept=concept(assessment.VERDICTS[said.verdict]),
        derivedFrom=[{"type": "ImagingStudy", "identifier": dicom_identifier(content.study.uid)}],
        note=[{"text": said.comment}] if said.comment else [],
        component=list(_components(content, said)),
    )
    entry = Entry(f"urn:uuid:{uuid.uuid5(NAMESPACE, uid)}", resource)
    return {"resourceType": "Bundle", "type": "transaction", "entry": [entry.to_json()]}


def _components(content: ReportContent, said: StatedAssessment) -> Iterator[Json]:
    found = (
        (assessment.CORRECT_CLASS, said.class_code(content)),
        (codes.PRESENCE, said.presence),
        (assessment.OUTLINE_QUALITY, assessment.OUTLINES.get(said.outline)),
    )
    yield from ({"code": concept(name), "valueCodeableConcept": concept(value)} for name, value in found if value)
