"""The small FHIR data types that every resource is made of: codes, quantities, identifiers, times."""

from __future__ import annotations

import base64
import hashlib
from decimal import Decimal

from fhir.resources.R4B.annotation import Annotation
from fhir.resources.R4B.attachment import Attachment
from fhir.resources.R4B.codeableconcept import CodeableConcept
from fhir.resources.R4B.coding import Coding
from fhir.resources.R4B.identifier import Identifier
from fhir.resources.R4B.meta import Meta
from fhir.resources.R4B.quantity import Quantity
from fhir.resources.R4B.reference import Reference
from pipeline.codes import Code
from pipeline.results.wording import DISCLAIMER

DICOM_UID = "urn:dicom:uid"
"""System of identifiers that are DICOM UIDs; their values begin with ``urn:oid:`` (R4, ImagingStudy.identifier)."""
URI = "urn:ietf:rfc:3986"
HL7 = "http://terminology.hl7.org/CodeSystem"


def coding(code: Code) -> Coding:
    """``code`` as a Coding."""
    return Coding(system=code.system, code=code.value, display=code.meaning)


def concept(code: Code, text: str | None = None) -> CodeableConcept:
    """``code`` as a CodeableConcept; ``text`` is what a reader should see where the meaning alone says too little."""
    return CodeableConcept(coding=[coding(code)], text=text or code.meaning)


def hl7_concept(code_system: str, code: str, display: str) -> CodeableConcept:
    """A concept of one of HL7's own code systems, named by the last part of its URI."""
    return CodeableConcept(coding=[Coding(system=f"{HL7}/{code_system}", code=code, display=display)])


def quantity(value: float, unit: Code, *, digits: int) -> Quantity:
    """``value`` in the UCUM ``unit``, with as many ``digits`` after the point as the structured report has."""
    return Quantity(value=Decimal(f"{value:.{digits}f}"), unit=unit.meaning, system=unit.system, code=unit.value)


def dicom_identifier(uid: str) -> Identifier:
    """A DICOM UID as a business identifier."""
    return Identifier(system=DICOM_UID, value=f"urn:oid:{uid}")


def made_by_ai(tag: Coding | None = None) -> Meta:
    """Marks a resource as asserted by an artificial intelligence (security label AIAST of v3-ObservationValue)."""
    label = Coding(system=f"{HL7}/v3-ObservationValue", code="AIAST", display="Artificial Intelligence asserted")
    return Meta(security=[label], tag=[tag] if tag else None)


def disclaimer() -> Annotation:
    """What every result says of itself."""
    return Annotation(text=f"{DISCLAIMER}.")


def attachment(data: bytes, content_type: str, title: str) -> Attachment:
    """``data`` inline, with its size in bytes and its SHA-1 (R4, Attachment.hash: SHA-1, base64)."""
    return Attachment(
        contentType=content_type,
        language="en",
        data=base64.b64encode(data).decode("ascii"),
        size=len(data),
        hash=base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode("ascii"),
        title=title,
    )


def to(full_url: str, kind: str) -> Reference:
    """A reference to another entry of the Bundle."""
    return Reference(reference=full_url, type=kind)
