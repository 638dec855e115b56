"""Patient, study, series and times of the source's header, as text that every report format accepts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName

from pipeline.findings.codes import DIAGNOSTIC_IMAGING_STUDY, PROCEDURES, Code
from pipeline.findings.model import ModelIdentity, Outcome
from pipeline.patient.attributes import readable_name
from pipeline.patient.requests import procedure_code
from pipeline.reading.value_forms import printable

OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
URI_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
UUID_FORM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
STUDY = ("StudyDate", "StudyTime")
ACQUIRED = (("AcquisitionDate", "AcquisitionTime"), ("SeriesDate", "SeriesTime"), STUDY)


@dataclass(frozen=True)
class Issued:
    """A number and its issuer: ``system`` is a URI, ``assigner`` a name that is not a URI; None where unknown."""

    value: str
    system: str | None = None
    assigner: str | None = None


@dataclass(frozen=True)
class Patient:
    """``name`` as a reader writes it, ``dicom_name`` as the header has it (PN components); ``birth_date`` ISO 8601.
    ``names`` are the component groups (alphabetic, ideographic, phonetic) as people write them; empty in contents that
    an earlier version stored.

    A text is empty where the header has no value.
    """

    identifier: Issued | None
    name: str
    dicom_name: str
    birth_date: str
    sex: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """``started`` is ISO 8601: a day, or an instant with its time zone; None where unknown.

    Physicians are DICOM names (PN components, as `Patient.dicom_name`), empty where unknown. ``admission`` is the
    Admission ID. Contents that an earlier version stored lack these and the order numbers. ``procedure`` is
    the code of what was done or asked for, as the header has it (`pipeline.patient.requests`); None where it has none.
    """

    uid: str
    started: str | None
    description: str
    accession: Issued | None
    placer_order_number: Issued | None = None
    filler_order_number: Issued | None = None
    referring_physician: str = ""
    requesting_physician: str = ""
    admission: Issued | None = None
    procedure: Code | None = None


@dataclass(frozen=True)
class SourceSeries:
    """The series that was read; ``instances`` counts its SOP instances."""

    uid: str
    number: int | None
    modality: str
    description: str
    instances: int


def patient_of(header: Dataset) -> Patient:
    value = text(header, "PatientID")
    issuer = text(header, "IssuerOfPatientID")
    system = _universal_system(header.get("IssuerOfPatientIDQualifiersSequence")) or _as_uri(issuer)
    birth = _date(text(header, "PatientBirthDate"))
    return Patient(
        identifier=Issued(value, system, issuer if issuer and system is None else None) if value else None,
        name=patient_name(header),
        dicom_name=text(header, "PatientName"),
        birth_date=birth.isoformat() if birth else "",
        sex=text(header, "PatientSex"),
        names=readable_name(header),
    )


def study_of(header: Dataset) -> Study:
    accession = text(header, "AccessionNumber")
    system = _universal_system(header.get("IssuerOfAccessionNumberSequence"))
    return Study(
        uid=str(header.StudyInstanceUID),
        started=first_time(header, STUDY),
        description=text(header, "StudyDescription"),
        accession=Issued(accession, system) if accession else None,
        placer_order_number=_issued(header, "PlacerOrderNumberImagingServiceRequest", "OrderPlacerIdentifierSequence"),
        filler_order_number=_issued(header, "FillerOrderNumberImagingServiceRequest", "OrderFillerIdentifierSequence"),
        referring_physician=text(header, "ReferringPhysicianName"),
        requesting_physician=text(header, "RequestingPhysician"),
        admission=_issued(header, "AdmissionID", "IssuerOfAdmissionIDSequence"),
        procedure=procedure_code(header),
    )


def series_of(headers: Sequence[Dataset]) -> SourceSeries:
    """A multi-frame instance counts once, however many of its frames are among ``headers``."""
    first = headers[0]
    number = first.get("SeriesNumber")
    return SourceSeries(
        uid=str(first.SeriesInstanceUID),
        number=int(number) if number not in (None, "") and int(number) >= 0 else None,
        modality=text(first, "Modality"),
        description=text(first, "SeriesDescription"),
        instances=len({str(ds.SOPInstanceUID) for ds in headers}),
    )


def procedure_of(study: Study, modality: str, model: ModelIdentity, outcome: Outcome) -> Code:
    """The procedure that a report is about: the study's own code, else what the model's bundle says of the images that
    it read, else the procedure of ``modality``.

    A refused series may show anything: a bundle says nothing of it.
    """
    if study.procedure is not None:
        return study.procedure
    if outcome is not Outcome.REFUSED and model.procedure != DIAGNOSTIC_IMAGING_STUDY:
        return model.procedure
    return PROCEDURES.get(modality, DIAGNOSTIC_IMAGING_STUDY)


def acquired(header: Dataset) -> str | None:
    """When the images were acquired: the time at which an observation holds."""
    return first_time(header, *ACQUIRED)


def acquired_local(header: Dataset) -> str | None:
    """Day and time of `acquired` on the modality's clock, ISO 8601 without a zone; None where the header has no time,
    or states its zone, so that `acquired` has both.
    """
    moment = _first_moment(header, *ACQUIRED)
    return moment.isoformat() if isinstance(moment, datetime) and moment.tzinfo is None else None


def patient_name(header: Dataset) -> str:
    """The name as a reader writes it: ``Müller, Änne``. The alphabetic group, else the first one present."""
    name = PersonName(text(header, "PatientName"))
    given = " ".join(part for part in (name.given_name, name.middle_name) if part)
    return ", ".join(part for part in (name.family_name, given) if part) or str(name).strip("=^ ")


def first_time(header: Dataset, *keywords: tuple[str, str]) -> str | None:
    """ISO 8601 of the first (date, time) pair of attributes with a date. Without a time zone only the day is known."""
    moment = _first_moment(header, *keywords)
    if isinstance(moment, datetime) and moment.tzinfo is None:
        moment = moment.date()
    return None if moment is None else moment.isoformat()


def _first_moment(header: Dataset, *keywords: tuple[str, str]) -> date | None:
    """A datetime, with its zone where the header states one, of the first pair with a date; a date where it has no
    time.
    """
    for date_keyword, time_keyword in keywords:
        day = _date(text(header, date_keyword))
        if day is None:
            continue
        clock = re.fullmatch(r"(\d{2})(\d{2})(\d{2})(\.\d+)?", text(header, time_keyword))
        if clock is None:
            return day
        hour, minute, second = (int(part) for part in clock.groups()[:3])
        if hour > 23 or minute > 59 or second > 59:
            return day
        moment = datetime(day.year, day.month, day.day, hour, minute, second)  # noqa: DTZ001  (a clock without a zone)
        return moment.replace(tzinfo=utc_offset(header))
    return None


def utc_offset(header: Dataset) -> timezone | None:
    """The zone of the header's dates and times (Timezone Offset From UTC, PS3.3 C.12.1.1); None without a valid one."""
    zone = re.fullmatch(r"([+-])(\d{2})(\d{2})", text(header, "TimezoneOffsetFromUTC"))
    if zone is None:
        return None
    offset = timedelta(hours=int(zone[2]), minutes=int(zone[3])) * (-1 if zone[1] == "-" else 1)
    return timezone(offset) if offset else UTC


def _date(value: str) -> date | None:
    match = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})", value)
    if match is None:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:  # 20260231
        return None


def _universal_system(sequence: Iterable[Dataset] | None) -> str | None:
    """System of an issuer that has a Universal Entity ID (PS3.3 table 10-17)."""
    for item in sequence or ():
        value, kind = text(item, "UniversalEntityID"), text(item, "UniversalEntityIDType")
        if kind == "ISO" and OID.fullmatch(value):
            return f"urn:oid:{value}"
        if kind == "URI" and URI_SCHEME.fullmatch(value):
            return value
        if kind == "UUID" and UUID_FORM.fullmatch(value.lower()):
            return f"urn:uuid:{value.lower()}"
    return None


def _issued(header: Dataset, number: str, issuer: str) -> Issued | None:
    """The number with the issuer that the sequence ``issuer`` states (PS3.3 table 10-17)."""
    value, sequence = text(header, number), header.get(issuer) or ()
    if not value:
        return None
    system = _universal_system(sequence)
    assigner = next((text(item, "LocalNamespaceEntityID") for item in sequence), "")
    return Issued(value, system, assigner if assigner and system is None else None)


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
    return printable(joined)
