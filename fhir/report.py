"""Findings as a FHIR R4 (4.0.1) transaction Bundle.

Every entry is a conditional create on an identifier that the run derives: any number of resends leaves one of each.
Create rather than update, because by then the hospital may have worked on it: a resend must not turn a report that a
radiologist has finalised back into a preliminary one, nor an ImagingStudy of the PACS into what one run knows of it.
Another revision of the series, or another model, is another run with identifiers of its own.

The resources are built with R4B models, which are R4's in everything used here; the tests hold the JSON against the
definitions of 4.0.1.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from fhir import observations, page, study
from fhir.coding import DICOM_UID, URI, attachment, concept, dicom_identifier, hl7_concept, made_by_ai, to
from fhir.context import ReportContext, order_reference
from fhir.observations import NamedObservation
from fhir.picture import key_picture
from fhir.resources.R4B.bundle import Bundle, BundleEntry, BundleEntryRequest
from fhir.resources.R4B.coding import Coding
from fhir.resources.R4B.diagnosticreport import DiagnosticReport, DiagnosticReportMedia
from fhir.resources.R4B.fhirresourcemodel import FHIRResourceModel
from fhir.resources.R4B.provenance import Provenance, ProvenanceAgent, ProvenanceEntity
from fhir.resources.R4B.reference import Reference
from pipeline import codes
from pipeline.findings import Findings, Outcome
from pipeline.identity import RunIdentity
from pipeline.ports import ResultObject
from pipeline.results.wording import headline
from pipeline.volume import Volume


def build(
    volume: Volume,
    findings: Findings,
    run: RunIdentity,
    objects: tuple[ResultObject, ...],
    *,
    recorded: datetime,
) -> dict[str, Any]:
    """A transaction Bundle (JSON-ready): study, algorithm, observations, key picture, report, provenance.

    ``recorded`` is the instant that the report says it was written. Patient and order are logical references by
    identifier, which `fhir.client.FhirClient` turns into literal ones where the server knows exactly one.

    Raises
    ------
    ValueError
        where ``recorded`` has no time zone, or the outcome is a refusal, which says nothing of the patient.
    """
    if recorded.tzinfo is None:
        raise ValueError("recorded needs a time zone: FHIR's instant has one")
    context = ReportContext(volume, findings, run, objects, recorded.replace(microsecond=0))
    found = observations.build(context)
    picture = key_picture(objects)
    media_url = context.full_url("Media")
    entries = [
        _entry(context.imaging_study_url, study.imaging_study(context), volume.study_instance_uid),
        _entry(context.device_url, study.device(context), run.device_uid),
        *(_entry(_url(item, context), item.resource, run.uid("observation", *item.name)) for item in found),
    ]
    if picture:
        entries.append(_entry(media_url, study.key_picture(context, picture), picture.sop_instance_uid))
    report = _report(context, found, page.html(context, picture), media_url if picture else None)
    report_url = context.full_url("DiagnosticReport")
    entries.append(_entry(report_url, report, run.uid("diagnostic report")))
    targets = [to(report_url, "DiagnosticReport"), *(to(_url(item, context), "Observation") for item in found)]
    if picture:
        targets.append(to(media_url, "Media"))
    entries.append(_provenance_entry(context, targets))
    bundle: dict[str, Any] = json.loads(Bundle(type="transaction", entry=entries).model_dump_json())
    return bundle


def _url(item: NamedObservation, context: ReportContext) -> str:
    return context.full_url("Observation", *item.name)


def _report(
    context: ReportContext, found: tuple[NamedObservation, ...], html: bytes, media_url: str | None
) -> DiagnosticReport:
    """Preliminary, without performer or interpreter: R4 knows only humans and organisations there, and none spoke."""
    order = order_reference(context.header)
    return DiagnosticReport(
        meta=made_by_ai(),
        identifier=[dicom_identifier(context.run.uid("diagnostic report"))],
        basedOn=[order] if order else None,
        status="preliminary",
        category=[hl7_concept("v2-0074", "RAD", "Radiology")],
        code=concept(codes.MR_BRAIN, "MR brain, preliminary result of an algorithm"),
        subject=context.subject,
        effectiveDateTime=context.effective,
        issued=context.recorded,
        result=[to(_url(item, context), "Observation") for item in found],
        imagingStudy=[to(context.imaging_study_url, "ImagingStudy")],
        media=[DiagnosticReportMedia(comment="Key picture", link=to(media_url, "Media"))] if media_url else None,
        conclusion=page.conclusion(context),
        conclusionCode=[_conclusion_code(context.findings)],
        presentedForm=[attachment(html, "text/html; charset=utf-8", "Report of the algorithm")],
    )


def _conclusion_code(findings: Findings) -> Any:
    suggests = findings.outcome is Outcome.FINDING
    code = findings.model.term(findings.predicted_class).code if suggests else codes.presence(findings.outcome)
    return concept(code, f"{headline(findings)} (algorithm, unverified)")


def _provenance_entry(context: ReportContext, targets: list[Reference]) -> BundleEntry:
    """R4's Provenance has no identifier; a tag, which every resource can be searched by, stands in for it."""
    tag = Coding(system=URI, code=f"urn:oid:{context.run.uid('provenance')}")
    device = to(context.device_url, "Device")
    provenance = Provenance(
        meta=made_by_ai(tag),
        target=targets,
        recorded=context.recorded,
        activity=hl7_concept("v3-DataOperation", "CREATE", "create"),
        agent=[ProvenanceAgent(type=hl7_concept("provenance-participant-type", "author", "Author"), who=device)],
        entity=[ProvenanceEntity(role="source", what=to(context.imaging_study_url, "ImagingStudy"))],
    )
    return _conditional(context.full_url("Provenance"), provenance, f"_tag={tag.system}|{tag.code}")


def _entry(full_url: str, resource: FHIRResourceModel, uid: str) -> BundleEntry:
    return _conditional(full_url, resource, f"identifier={DICOM_UID}|urn:oid:{uid}")


def _conditional(full_url: str, resource: FHIRResourceModel, search: str) -> BundleEntry:
    request = BundleEntryRequest(method="POST", url=resource.get_resource_type(), ifNoneExist=search)
    return BundleEntry(fullUrl=full_url, resource=resource, request=request)
