"""Who and what a report is about, read from the source's header: patient, order, study, times.

The patient and the order are the hospital's resources. They are named by identifier (a logical reference, R4
2.3.0.1) and never created here; `fhir.client` looks for them before it posts.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName

from fhir.coding import hl7_concept
from fhir.resources.R4B.identifier import Identifier
from fhir.resources.R4B.reference import Reference
from pipeline.findings import Findings
from pipeline.identity import NAMESPACE, RunIdentity
from pipeline.ports import ResultObject
from pipeline.volume import Volume

OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
URI_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")


@dataclass(frozen=True)
class ReportContext:
    """One run and what it made; ``recorded`` is when the report is written, with its time zone."""

    volume: Volume
    findings: Findings
    run: RunIdentity
    objects: tuple[ResultObject, ...]
    recorded: datetime

    @property
    def header(self) -> Dataset:
        """The header of the source's first plane."""
        return self.volume.sources[0]

    @property
    def subject(self) -> Reference:
        return patient_reference(self.header)

    @property
    def effective(self) -> date | datetime | None:
        """When the images were acquired: what an observation is true of."""
        return first_time(self.header, ("AcquisitionDate", "AcquisitionTime"), ("SeriesDate", "SeriesTime"), STUDY)

    def full_url(self, *what: str) -> str:
        """``urn:uuid:`` of one entry of the Bundle, the same in every Bundle of this run."""
        return f"urn:uuid:{uuid.uuid5(NAMESPACE, self.run.uid('fhir', *what))}"

    @property
    def imaging_study_url(self) -> str:
        return self.full_url("ImagingStudy")

    @property
    def device_url(self) -> str:
        return self.full_url("Device")


STUDY = ("StudyDate", "StudyTime")


def patient_reference(header: Dataset) -> Reference:
    """The patient by identifier, with the name as display; by the name alone where there is no Patient ID."""
    return Reference(type="Patient", identifier=_patient_identifier(header), display=patient_name(header) or "Unnamed")


def _patient_identifier(header: Dataset) -> Identifier | None:
    value = text(header, "PatientID")
    if not value:
        return None
    issuer = text(header, "IssuerOfPatientID")
    system = _universal_system(header.get("IssuerOfPatientIDQualifiersSequence")) or _as_uri(issuer)
    assigner = Reference(display=issuer) if issuer and system is None else None
    return Identifier(
        type=hl7_concept("v2-0203", "MR", "Medical record number"), system=system, value=value, assigner=assigner
    )


def order_reference(header: Dataset) -> Reference | None:
    """The order by accession number (identifier type ACSN), or None where the header has none."""
    identifier = accession_identifier(header)
    return Reference(type="ServiceRequest", identifier=identifier) if identifier else None


def accession_identifier(header: Dataset) -> Identifier | None:
    value = text(header, "AccessionNumber")
    if not value:
        return None
    system = _universal_system(header.get("IssuerOfAccessionNumberSequence"))
    return Identifier(type=hl7_concept("v2-0203", "ACSN", "Accession ID"), system=system, value=value)


def patient_name(header: Dataset) -> str:
    """The name as a reader writes it: ``Müller, Änne``. The alphabetic group, else the first that is there."""
    name = PersonName(text(header, "PatientName"))
    given = " ".join(part for part in (name.given_name, name.middle_name) if part)
    return ", ".join(part for part in (name.family_name, given) if part) or str(name).strip("=^ ")


def patient_id(header: Dataset) -> str:
    return text(header, "PatientID")


def first_time(header: Dataset, *keywords: tuple[str, str]) -> date | datetime | None:
    """The first of the (date, time) attributes that is there. Without a time zone only the day is known."""
    for date_keyword, time_keyword in keywords:
        day = _date(text(header, date_keyword))
        if day is None:
            continue
        clock = re.fullmatch(r"(\d{2})(\d{2})(\d{2})(\.\d+)?", text(header, time_keyword))
        zone = re.fullmatch(r"([+-])(\d{2})(\d{2})", text(header, "TimezoneOffsetFromUTC"))
        if clock is None or zone is None:
            return day
        hour, minute, second = (int(part) for part in clock.groups()[:3])
        if hour > 23 or minute > 59 or second > 59:
            return day
        offset = timedelta(hours=int(zone[2]), minutes=int(zone[3])) * (-1 if zone[1] == "-" else 1)
        return datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=timezone(offset) if offset else UTC)
    return None


def _date(value: str) -> date | None:
    match = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})", value)
    if match is None:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:  # 20260231
        return None


def _universal_system(sequence: list[Dataset] | None) -> str | None:
    """System of an issuer that has a Universal Entity ID (PS3.3 table 10-17)."""
    for item in _items(sequence):
        value, kind = text(item, "UniversalEntityID"), text(item, "UniversalEntityIDType")
        if kind == "ISO" and OID.fullmatch(value):
            return f"urn:oid:{value}"
        if kind == "URI" and URI_SCHEME.fullmatch(value):
            return value
        if kind == "UUID" and value:
            return f"urn:uuid:{value.lower()}"
    return None


def _items(sequence: list[Dataset] | None) -> Iterator[Dataset]:
    yield from sequence or ()


def _as_uri(issuer: str) -> str | None:
    """An issuer that is itself an OID or a URI; a plain name such as ``HOSPITAL`` is no system."""
    if OID.fullmatch(issuer):
        return f"urn:oid:{issuer}"
    return issuer if URI_SCHEME.fullmatch(issuer) else None


def text(ds: Dataset, keyword: str) -> str:
    """A text attribute as one string of printable characters (R4's string has no others), empty where it is absent.

    Several values stand as the file separates them, by backslashes.
    """
    value = ds.get(keyword)
    parts = value if isinstance(value, MultiValue) else [value]
    joined = "\\".join(str(part) for part in parts if part is not None)
    return "".join(mark for mark in joined if mark.isprintable()).strip()
