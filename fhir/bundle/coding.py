"""The small FHIR data types that every resource is made of: codes, quantities, identifiers, attachments."""

from __future__ import annotations

import base64
import hashlib

from fhir.release import Json
from pipeline.findings.codes import Code
from pipeline.findings.measurements import Measurement
from pipeline.report.patient_study import Issued

DICOM_UID = "urn:dicom:uid"
"""System of identifiers that are DICOM UIDs; their values begin with ``urn:oid:`` (R4, ImagingStudy.identifier)."""
URI = "urn:ietf:rfc:3986"
HL7 = "http://terminology.hl7.org/CodeSystem"


def coding(code: Code) -> Json:
    """``code`` as a Coding."""
    return {"system": code.system, "code": code.value, "display": code.meaning}


def concept(code: Code, text: str | None = None) -> Json:
    """``code`` as a CodeableConcept; ``text`` is shown to readers where the meaning alone is too short."""
    return {"coding": [coding(code)], "text": text or code.meaning}


def hl7_concept(code_system: str, code: str, display: str, text: str | None = None) -> Json:
    """A concept of one of HL7's own code systems, named by the last part of its URI."""
    return {"coding": [{"system": f"{HL7}/{code_system}", "code": code, "display": display}], "text": text}


def quantity(item: Measurement) -> Json:
    """The value in its UCUM unit, with as many digits after the point as the structured report has."""
    unit = item.unit
    return {"value": round(item.value, item.digits), "unit": unit.meaning, "system": unit.system, "code": unit.value}


def dicom_identifier(uid: str) -> Json:
    """A DICOM UID as a business identifier."""
    return {"system": DICOM_UID, "value": f"urn:oid:{uid}"}


def lasting_identifier(uid: str) -> Json:
    """An identifier that stays the same over all revisions of a series; no DICOM object has it."""
    return {"system": URI, "value": f"urn:oid:{uid}"}


def issued_identifier(number: Issued, code: str, display: str) -> Json:
    """A hospital's number, of the type ``code`` of HL7 v2 table 0203."""
    assigner = {"display": number.assigner} if number.assigner else None
    kind = hl7_concept("v2-0203", code, display)
    return {"type": kind, "system": number.system, "value": number.value, "assigner": assigner}


def attachment(data: bytes, content_type: str, title: str, language: str) -> Json:
    """``data`` inline, with its size in bytes and its SHA-1 (R4, Attachment.hash: SHA-1, base64)."""
    return {
        "contentType": content_type,
        "language": language,
        "data": base64.b64encode(data).decode("ascii"),
        "size": len(data),
        "hash": base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode("ascii"),
        "title": title,
    }


def to(full_url: str, kind: str) -> Json:
    """A reference to another entry of the Bundle."""
    return {"reference": full_url, "type": kind}
