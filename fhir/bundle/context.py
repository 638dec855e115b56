"""The context of a report's entries: patient, order, study, device, and their URLs.

The patient and the order are the hospital's resources. They are named by identifier (a logical reference, R4
2.3.0.1) and never created here; `fhir.server.client` looks for them before it posts.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from fhir.bundle.coding import HL7, concept, issued_identifier, to
from fhir.release import Json, Release
from pipeline.findings.diagnosis import Diagnosis, diagnosis
from pipeline.findings.identity import NAMESPACE
from pipeline.findings.model import Outcome
from pipeline.report import sentences
from pipeline.report.content import ReportContent
from pipeline.report.findings import ReportedFindings
from pipeline.report.sentences import Language

REPORT_TAG = "urn:candela:report"
"""System of the tag that all resources of one report share, over every revision of its series."""
REVISION_TAG = "urn:candela:revision"
"""System of the tag that says which revision of the series a resource is of."""
STUDY_TAG = "urn:candela:study"
"""System of the tag of an ImagingStudy that a report brought with it: the hospital's own never has it."""


@dataclass(frozen=True)
class ReportContext:
    """One run's report in one release and language."""

    content: ReportContent
    release: Release = Release.R4
    language: Language = Language.ENGLISH

    @property
    def findings(self) -> ReportedFindings:
        return self.content.findings

    @property
    def subject(self) -> Json:
        return patient_reference(self.content)

    @property
    def order(self) -> Json | None:
        """The order of report and Observations; None of a refusal, which says nothing of the order."""
        return None if self.findings.outcome is Outcome.REFUSED else order_reference(self.content)

    @property
    def recorded(self) -> str:
        """FHIR's instant."""
        return self.content.recorded.isoformat()

    @property
    def report_uid(self) -> str:
        """The UID of the report over all revisions."""
        return self.content.lasting_uid("diagnostic report")

    @property
    def imaging_study_url(self) -> str:
        return self.full_url("ImagingStudy")

    @property
    def device_url(self) -> str:
        return self.full_url("Device")

    def full_url(self, *what: str) -> str:
        """``urn:uuid:`` of one entry of the Bundle, the same in every Bundle of this run."""
        return f"urn:uuid:{uuid.uuid5(NAMESPACE, self.content.run.uid('fhir', *what))}"

    def device(self) -> Json:
        return to(self.device_url, "Device")

    def label(self, name: str, /, **values: str) -> str:
        """A text of `pipeline.report.phrasebook` in the report's language."""
        return sentences.label(name, self.language, **values)

    def note(self) -> Json:
        """The notice of every result."""
        return {"text": f"{sentences.disclaimer(self.language)}."}

    def site(self, class_name: str) -> Json | None:
        """Where findings of ``class_name`` lie (empty: of the model); None where the bundle does not say."""
        model = self.findings.model
        sites = [model.term(class_name).site] if class_name else [term.site for term in model.terms]
        code = next((site for site in sites if site is not None), None)
        return None if code is None else concept(code)

    def place(self, class_name: str) -> Json | None:
        """Where the lesion or structure of class ``class_name`` lies (empty: what the model looks for), as far as the
        answer names a class; None where the bundle does not say.
        """
        if not class_name:
            return self.site("")
        site = diagnosis(self.findings, class_name).site
        return None if site is None else concept(site)

    def suspected(self, found: Diagnosis) -> str:
        """The text of a diagnosis that is only suspected."""
        name = sentences.within(sentences.name_of(found.code, self.language), self.language)
        return self.label("suspected", name=name)

    def meta(self, *tags: Json) -> Json:
        """Marks a resource as asserted by an artificial intelligence (AIAST of v3-ObservationValue) and as one of this
        report's.
        """
        label = {"system": f"{HL7}/v3-ObservationValue", "code": "AIAST", "display": "Artificial Intelligence asserted"}
        own = (
            {"system": REPORT_TAG, "code": f"urn:oid:{self.report_uid}"},
            {"system": REVISION_TAG, "code": str(self.findings.revision)},
        )
        return {"security": [label], "tag": [*own, *tags]}


def patient_reference(content: ReportContent) -> Json:
    """The patient by identifier, with the name as display; by the name alone where there is no Patient ID."""
    number = content.patient.identifier
    identifier = issued_identifier(number, "MR", "Medical record number") if number else None
    return {"type": "Patient", "identifier": identifier, "display": content.patient.name or "Unnamed"}


def order_reference(content: ReportContent) -> Json | None:
    """The order by accession number (identifier type ACSN), or None where the header has none."""
    identifier = accession_identifier(content)
    return {"type": "ServiceRequest", "identifier": identifier} if identifier else None


def accession_identifier(content: ReportContent) -> Json | None:
    number = content.study.accession
    return issued_identifier(number, "ACSN", "Accession ID") if number else None
