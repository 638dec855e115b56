"""A small report as a transaction, for tests of delivery; the content of reports is tested elsewhere."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from pipeline.findings.identity import derived_uid

SYSTEM = "urn:dicom:uid"
PATIENT_SYSTEM = "urn:oid:1.2.276.0.99"


def small_bundle(
    key: str,
    *,
    pdf_bytes: int = 0,
    issuer: str | None = None,
    accession: str | None = None,
    name: str = "Phantom, Candela",
) -> dict[str, Any]:
    """One Observation and its DiagnosticReport about the patient ``P-<key>``, both created only where not yet there."""
    identifier = {"value": f"P-{key}", **({"system": issuer} if issuer else {})}
    subject = {"type": "Patient", "identifier": identifier, "display": name}
    finding = f"urn:uuid:{_uuid(key)}"
    observation = {
        "resourceType": "Observation",
        "identifier": [{"system": SYSTEM, "value": _urn("observation", key)}],
        "status": "preliminary",
        "code": {"text": "Presence"},
        "subject": subject,
        "valueString": "none",
    }
    report: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "identifier": [{"system": SYSTEM, "value": _urn("report", key)}],
        "status": "preliminary",
        "code": {"text": "MR brain"},
        "subject": subject,
        "result": [{"reference": finding, "type": "Observation"}],
    }
    if accession:
        report["basedOn"] = [{"type": "ServiceRequest", "identifier": {"value": accession}}]
    if pdf_bytes:
        data = base64.b64encode(b"%PDF-1.7\n" + os.urandom(pdf_bytes)).decode()
        report["presentedForm"] = [{"contentType": "application/pdf", "data": data}]
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [_entry(observation, finding), _entry(report, f"urn:uuid:{_uuid(key, '1')}")],
    }


def written(folder: Path, key: str, **options: Any) -> Path:
    """`small_bundle` in a file."""
    path = folder / "fhir-bundle.json"
    path.write_text(json.dumps(small_bundle(key, **options)))
    return path


def report_search(key: str) -> str:
    """The search value that finds the report of `small_bundle`."""
    return f"{SYSTEM}|{_urn('report', key)}"


def _entry(resource: dict[str, Any], full_url: str) -> dict[str, Any]:
    (identifier,) = resource["identifier"]
    search = f"identifier={identifier['system']}|{identifier['value']}"
    request = {"method": "POST", "url": resource["resourceType"], "ifNoneExist": search}
    return {"fullUrl": full_url, "resource": resource, "request": request}


def _urn(*what: str) -> str:
    return f"urn:oid:{derived_uid('small bundle', *what)}"


def _uuid(*what: str) -> str:
    import uuid

    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(what)))
