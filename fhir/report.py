"""A report as a FHIR transaction Bundle: R4 (4.0.1) or R5, in the reader's language.

Every entry is a conditional create on an identifier that the run derives: any number of resends leaves one of each.
Entries create rather than update, because the hospital may have edited the resources since: a resend must not turn a
report that a radiologist has finalised back into a preliminary one, nor overwrite an ImagingStudy of the PACS.

The report itself is sought by an identifier that lasts over the revisions of its series: `fhir.server.amend` turns the
creates into updates where the server has an earlier revision that no human has finalised.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir.bundle import observations, page, pictures, regions, study
from fhir.bundle.coding import URI, attachment, concept, dicom_identifier, hl7_concept, lasting_identifier, to
from fhir.bundle.context import ReportContext
from fhir.bundle.entry import Entry
from fhir.release import Json, Release
from pipeline.findings import codes
from pipeline.findings.diagnosis import diagnosis
from pipeline.findings.model import SEEKS, Outcome
from pipeline.report import sentences
from pipeline.report.content import ReportContent
from pipeline.report.sentences import Language


def build(
    content: ReportContent,
    *,
    release: Release = Release.R4,
    language: Language = Language.ENGLISH,
    pdf: bytes | None = None,
    pdf_language: Language = Language.ENGLISH,
) -> Json:
    """A transaction Bundle (JSON-ready): study, algorithm, lesions, observations, key picture, report, provenance.

    ``pdf`` is the run's page as a PDF file, where there is one, in ``pdf_language``.

    Patient and order are logical references by identifier, which `fhir.server.client.FhirClient` turns into literal
    ones where the server knows exactly one. Of a refusal: study, algorithm, one cancelled observation, and a
    report that is registered and refers to no order (docs/adr/0066-a-refusal-cancels-no-order.md).
    """
    context = ReportContext(content, release, language)
    places = regions.build(context)
    found = observations.build(context)
    picture = pictures.build(context)
    printed = attachment(pdf, "application/pdf", context.label("report"), pdf_language) if pdf else None
    report = _report(context, found, picture, printed)
    made = (*places, *found, *([picture] if picture else []), report)
    entries = (
        Entry(context.imaging_study_url, study.imaging_study(context)),
        Entry(context.device_url, study.device(context)),
        *made,
        _provenance(context, [item.reference for item in (report, *made[:-1])]),
    )
    return {"resourceType": "Bundle", "type": "transaction", "entry": [entry.to_json() for entry in entries]}


def _report(context: ReportContext, found: Sequence[Entry], picture: Entry | None, printed: Json | None) -> Entry:
    """Preliminary and without an interpreter: no human has read it. The first identifier lasts over revisions."""
    content = context.content
    language, title = context.language, context.label("report")
    findings = context.findings
    refused = findings.outcome is Outcome.REFUSED
    # The report's media and the PDF show the key picture: a third copy would double the Bundle.
    html = attachment(page.html(content, language, picture=printed is None), "text/html", title, language)
    study_reference = [to(context.imaging_study_url, "ImagingStudy")]
    resource = context.release.make(
        "DiagnosticReport",
        **{
            "meta": context.meta(),
            "language": language.value,
            "identifier": [
                lasting_identifier(context.report_uid),
                dicom_identifier(content.run.uid("diagnostic report")),
            ],
            "basedOn": [context.order],
            "status": "registered" if refused else "preliminary",
            "category": [hl7_concept("v2-0074", "RAD", "Radiology"), concept(codes.RADIOLOGY)],
            "code": _procedure(context),
            "subject": context.subject,
            "effectiveDateTime": content.acquired,
            "issued": context.recorded,
            "result": [item.reference for item in found],
            "media": [{"comment": context.label("key_picture"), "link": picture.reference}] if picture else None,
            "imagingStudy" if context.release is Release.R4 else "study": study_reference,
            "conclusion": sentences.conclusion(context.findings, language),
            "conclusionCode": _conclusion_codes(context) if findings.outcome in SEEKS else [],
            "presentedForm": [html, printed],
        },
    )
    return Entry(context.full_url("DiagnosticReport"), resource)


def _procedure(context: ReportContext) -> Json:
    code = context.content.procedure
    return concept(code, context.label("preliminary", procedure=code.meaning))


def _conclusion_codes(context: ReportContext) -> list[Json]:
    """The class that is suggested, or what is suspected with the qualifier; else whether what the model looks for is
    present.
    """
    findings = context.findings
    suggests = findings.outcome is Outcome.FINDING and findings.predicted_class
    found = diagnosis(findings, findings.predicted_class) if suggests else None
    if found is not None and found.suspected:
        text = context.label("unverified", headline=context.suspected(found))
        return [concept(found.code, text), concept(codes.SUSPECTED, text)]
    code = codes.presence(findings.outcome) if found is None or found.withheld else found.code
    return [concept(code, context.label("unverified", headline=sentences.headline(findings, context.language)))]


def _provenance(context: ReportContext, targets: list[Json]) -> Entry:
    """Provenance has no identifier, so that a tag is used, by which every resource can be searched."""
    tag = {"system": URI, "code": f"urn:oid:{context.content.run.uid('provenance')}"}
    source = {"role": "source", "what": to(context.imaging_study_url, "ImagingStudy")}
    resource = context.release.make(
        "Provenance",
        meta=context.meta(tag),
        target=targets,
        recorded=context.recorded,
        activity=hl7_concept("v3-DataOperation", "CREATE", "create"),
        agent=[{"type": hl7_concept("provenance-participant-type", "author", "Author"), "who": context.device()}],
        entity=[source],
    )
    return Entry(context.full_url("Provenance"), resource, search=f"_tag={tag['system']}|{tag['code']}")
