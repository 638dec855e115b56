"""A run's report as an HL7 2.5.1 message ORU^R01 (chapter 7): patient, order, one OBX a statement.

What is a statement in FHIR and a row in the structured report is an OBX here, with the same code and unit. Everything
is preliminary (OBR-25 and OBX-11 ``P``): no human has read it. A refusal has no results (OBR-25 ``I``) and names no
order (docs/adr/0066-a-refusal-cancels-no-order.md). hl7apy builds the message and holds it against the structure of
2.5.1.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final
from zoneinfo import ZoneInfo

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.exceptions import HL7apyException

from dicom_node.deliver.hl7v2.er7 import (
    ENCODINGS,
    coded,
    coded_for,
    encode,
    escaped,
    instant,
    is_encodable,
    names,
    numbered,
    plain,
    unit,
)
from dicom_node.deliver.hl7v2.order import (
    MOST,
    Order,
    accession_fits,
    is_refusal,
    order_of,
    own_number,
    referring_physician,
    visit_number,
)
from dicom_node.settings.hl7v2 import Hl7v2Destination
from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadResult, Rejected
from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.findings.diagnosis import diagnosis
from pipeline.findings.measurements import Measurement, of_probability
from pipeline.findings.model import SEEKS, AnswerKind, Outcome
from pipeline.report import sentences
from pipeline.report.content import ReportContent
from pipeline.report.sentences import Language
from pipeline.report.withdrawal import Withdrawal

VERSION: Final = "2.5.1"
KIND: Final = "ORU^R01^ORU_R01"
PDF_MARK: Final = "PDF-STANDS-HERE"
"""hl7apy would copy and search megabytes of base64 a dozen times: the PDF is put in where this stands."""
CONTROL_ID_MARK: Final = "CONTROL-ID"
UNKNOWN_NAME: Final = "^^^^^^U"
"""PID-5 is required; an explicit null would have the receiver delete the name that it has (2.10.4)."""
NO_ORDER: Final = Caveat(CaveatCode.ACCESSION_NUMBER_TOO_LONG)
PRELIMINARY: Final = "P"
"""Of tables 0085 and 0123."""
CORRECTION: Final = "C"
"""Of table 0123, which has no code for a withdrawal: "Correction to results"."""
POSTED_AS_WRONG: Final = "W"
"""Of table 0085: "Post original as wrong, e.g., transmitted for wrong patient"."""
SEXES: Final = {"M": "M", "F": "F", "O": "O"}
"""DICOM's PatientSex in table 0001."""


@dataclass(frozen=True)
class Built:
    """A message ready to send: its bytes, and the control id that its answer must repeat."""

    data: bytes
    control_id: str


@dataclass(frozen=True)
class Status:
    """OBR-25, OBX-11, and since when (OBR-22)."""

    report: str
    observation: str
    changed: str

    @classmethod
    def of(cls, content: ReportContent, withdrawal: Withdrawal | None, zone: ZoneInfo | None) -> Status:
        if withdrawal is not None:
            at = withdrawal.at.astimezone(zone) if zone else withdrawal.at
            return cls(CORRECTION, POSTED_AS_WRONG, instant(at.isoformat(timespec="seconds")))
        report = "I" if is_refusal(content) else PRELIMINARY
        return cls(report, PRELIMINARY, instant(content.recorded.isoformat()))


@dataclass(frozen=True)
class Observed:
    """One OBX: value type, what (CE), which of several (sub-id), the value in bar notation, unit."""

    kind: str
    what: str
    value: str
    sub_id: str = ""
    unit: str = ""


def build(
    content: ReportContent,
    destination: Hl7v2Destination,
    pdf: bytes | None = None,
    *,
    zone: ZoneInfo | None = None,
    withdrawal: Withdrawal | None = None,
) -> Built:
    """The message for ``destination``; the same content gives the same bytes and control id, which marks a resend.

    ``zone`` is the site's time zone, None where it is not set. With a ``withdrawal``, the message withdraws the report
    (docs/adr/0067-results-are-withdrawn.md): the same numbers and the same OBX, each with the status ``W`` and without
    its value; the first OBX states the reason.

    Raises
    ------
    Rejected
        where the series names no patient, or one that HL7 has no room for, or a text has characters that the
        destination's character set lacks.
    BadResult
        where the message is not what HL7 2.5.1 asks for.
    """
    if content.patient.identifier is None:
        raise Rejected(
            "The series has no Patient ID: no EHR could file its report.",
            todo="Correct the study at its source and send it again.",
        )
    if len(numbered(content.patient.identifier, "MR", destination.assigning_authority)) > MOST:
        raise Rejected(
            f"Patient ID and issuer have more than {MOST} characters: HL7 has no room for them.",
            todo="Send the report by FHIR, or correct the study at its source and send it again.",
        )
    content = content.in_zone(zone)
    message = Message("ORU_R01", version=VERSION, validation_level=VALIDATION_LEVEL.TOLERANT)
    try:
        status = Status.of(content, withdrawal, zone)
        _msh(message, destination, _sent(content, zone) if withdrawal is None else status.changed)
        result = message.add_group("ORU_R01_PATIENT_RESULT")
        patient = result.add_group("ORU_R01_PATIENT")
        _pid(patient.add_segment("PID"), content, destination)
        _pv1(patient.add_group("ORU_R01_VISIT").add_segment("PV1"), content, destination)
        named, order = order_of(content, destination), result.add_group("ORU_R01_ORDER_OBSERVATION")
        _orc(order.add_segment("ORC"), named)
        _obr(order.add_segment("OBR"), content, named, destination, status)
        found = _observations(content, destination, pdf is not None)
        for number, item in enumerate(_blanked(found, withdrawal, destination) if withdrawal else found, start=1):
            _obx(order.add_group("ORU_R01_OBSERVATION").add_segment("OBX"), number, item, content, destination, status)
        message.validate()
    except HL7apyException as error:
        raise BadResult(
            f"The report is not a valid ORU^R01 ({type(error).__name__}).", todo="Please report it."
        ) from error
    text = str(message.to_er7())
    if pdf is not None:
        head, _, rest = text.rpartition(PDF_MARK)  # the last: a name may read as the mark does
        text = "".join((head, base64.b64encode(pdf).decode("ascii"), rest))
    # The control id, 20 characters at most, is a digest of all the rest.
    control_id = hashlib.sha256(text.encode()).hexdigest()[:20].upper()
    text = text.replace(f"|{KIND}|{CONTROL_ID_MARK}|", f"|{KIND}|{control_id}|", 1)
    return Built(encode(f"{text}\r", destination.character_set), control_id)


def _blanked(found: Iterable[Observed], withdrawal: Withdrawal, destination: Hl7v2Destination) -> Iterable[Observed]:
    """``found`` without values; the first, the notice, says that the report was withdrawn.

    A receiver that ignores OBX-11 then has no value that it could show as a result.
    """
    character_set = destination.character_set
    why = "".join(mark if is_encodable(mark, character_set) else "?" for mark in plain(withdrawal.why, character_set))
    text = sentences.label("withdrawn", Language(destination.language), why=why)
    for number, item in enumerate(found):
        yield replace(item, value="" if number else escaped(plain(text, character_set)), unit="")


def _msh(message: Message, destination: Hl7v2Destination, sent: str) -> None:
    encoding = ENCODINGS[destination.character_set]
    _set(
        message.msh,
        msh_3=escaped(destination.sending_application),
        msh_4=escaped(destination.sending_facility),
        msh_5=escaped(destination.receiving_application),
        msh_6=escaped(destination.receiving_facility),
        msh_7=sent,
        msh_9=KIND,
        msh_10=CONTROL_ID_MARK,
        msh_11=destination.processing_id,
        msh_18=encoding.msh_18,
        msh_20=encoding.msh_20,
    )


def _sent(content: ReportContent, zone: ZoneInfo | None) -> str:
    """MSH-7. Its zone is that of all times of the message that state none (2.15.9.7): where the images' time has an
    unknown zone, it states none either. It is then on the clock of the site, or of this machine.
    """
    if content.acquired_local is None:
        return instant(content.recorded.isoformat())
    return instant(content.recorded.astimezone(zone).replace(tzinfo=None).isoformat())


def _pid(pid: Any, content: ReportContent, destination: Hl7v2Destination) -> None:
    patient = content.patient
    assert patient.identifier is not None, "checked by the caller"
    _set(
        pid,
        pid_1="1",
        pid_3=numbered(patient.identifier, "MR", destination.assigning_authority),
        pid_5="~".join(name for name in names(patient.dicom_name).split("~") if len(name) <= MOST) or UNKNOWN_NAME,
        pid_7=instant(patient.birth_date),
        pid_8=SEXES.get(patient.sex, ""),
    )


def _pv1(pv1: Any, content: ReportContent, destination: Hl7v2Destination) -> None:
    """The header does not know the patient's class, which PV1 requires: ``U``, unknown (table 0004)."""
    referrer = referring_physician(content, destination)
    _set(pv1, pv1_1="1", pv1_2="U", pv1_8=referrer, pv1_19=visit_number(content))


def _orc(orc: Any, order: Order) -> None:
    """Observations to follow (table 0119); no order status, since the node knows nothing of the order's progress."""
    _set(orc, orc_1="RE", orc_2=order.placer, orc_3=order.filler, orc_12=order.provider)


def _obr(obr: Any, content: ReportContent, order: Order, destination: Hl7v2Destination, status: Status) -> None:
    _set(
        obr,
        obr_1="1",
        obr_2=order.placer,
        obr_3=order.filler,
        obr_4=_procedure(content.procedure, destination.character_set),
        obr_7=instant(content.acquired_local or content.acquired),
        obr_16=order.provider,
        obr_18=order.accession,
        obr_22=status.changed,
        obr_24="RAD",
        obr_25=status.report,
    )


def _procedure(code: Code, character_set: str) -> str:
    """CE of ``code``; a meaning with characters that ``character_set`` lacks is left out, never respelt."""
    known = is_encodable(code.meaning, character_set)
    return coded(code if known else replace(code, meaning=""))


def _obx(
    obx: Any, number: int, item: Observed, content: ReportContent, destination: Hl7v2Destination, status: Status
) -> None:
    _set(
        obx,
        obx_1=str(number),
        obx_2=item.kind,
        obx_3=item.what,
        obx_4=item.sub_id,
        obx_5=item.value,
        obx_6=item.unit,
        obx_11=status.observation,
        obx_14=instant(content.acquired_local or content.acquired),
        obx_17=coded(codes.ARTIFICIAL_INTELLIGENCE),
        obx_18=own_number(content.run.device_uid, destination),
        obx_19=instant(content.recorded.isoformat()),
    )


def _observations(content: ReportContent, destination: Hl7v2Destination, with_pdf: bool) -> Iterable[Observed]:
    """The notice comes first, so that it is read before any value; then sentences, values, and the study's UIDs."""
    findings, language = content.findings, Language(destination.language)

    def said(text: str) -> str:
        return escaped(plain(text, destination.character_set))

    notice = (f"{sentences.disclaimer(language)}.", sentences.unread(language))
    yield Observed("TX", coded(codes.COMMENT), "~".join(map(said, notice)))
    caveats = findings.caveats if accession_fits(content, destination) else (*findings.caveats, NO_ORDER)
    limits = (sentences.stopped(sentences.caveat(item, language)) for item in caveats)
    lines = (sentences.statement(findings, language), *sentences.additions(findings, language), *limits)
    yield Observed("TX", coded(codes.CONCLUSION), "~".join(map(said, lines)))
    if not is_refusal(content):
        yield from _findings(content, said_headline=said(sentences.headline(findings, language)))
        yield from _regions(content)
        yield from _estimates(content)
    yield Observed("ST", coded(codes.ALGORITHM_NAME), said(findings.model.title))
    yield Observed("ST", coded(codes.ALGORITHM_VERSION), said(findings.model.version))
    yield Observed("HD", coded(codes.DEVICE_OBSERVER_UID), f"^{content.run.device_uid}^ISO")
    yield Observed("HD", coded(codes.DICOM_STUDY), f"^{content.study.uid}^ISO")
    yield Observed("HD", coded(codes.SERIES_INSTANCE_UID), f"^{content.source.uid}^ISO")
    if with_pdf:
        kind, _, form = destination.pdf_type.partition("^")
        yield Observed("ED", coded(codes.DIAGNOSTIC_IMAGING_STUDY), f"CANDELA^{kind}^{form}^Base64^{PDF_MARK}")


def _findings(content: ReportContent, *, said_headline: str) -> Iterable[Observed]:
    """Presence of what the model looks for, the classes that are suggested, and the probability of each class.

    The class is in an alternate name of the probability, not a finding: a search for findings must not return a class
    of 9 %.
    """
    findings, model = content.findings, content.findings.model
    if findings.outcome in SEEKS:
        presence = codes.presence(findings.outcome)
        yield Observed("CWE", coded(codes.PRESENCE), f"{coded(presence)}^^^^^^{said_headline}")
    if findings.outcome in (Outcome.FINDING, Outcome.MEASURED):
        classes = findings.suggested or ((findings.predicted_class,) if findings.predicted_class else ())
        for name in classes:
            found = diagnosis(findings, name)
            if found.withheld:
                continue
            yield Observed("CWE", coded(codes.FINDING), coded(found.code))
            if found.suspected:
                yield Observed("CWE", coded(codes.FINDING_CONTEXT), coded(codes.SUSPECTED))
            if found.site is not None:
                yield Observed("CWE", coded(codes.FINDING_SITE), coded(found.site))
    for number, item in enumerate(findings.probabilities, start=1):
        term = model.term(item.name)
        what = coded_for(codes.PROBABILITY, term.code, f"Probability of {term.title.lower()}")
        yield _number(of_probability(item.probability), what, f"class {number}")


def _regions(content: ReportContent) -> Iterable[Observed]:
    """The measurements of each region; the sub-id separates the regions, the tracking UID is that of SEG and SR. A
    structure or a detected object is named, since no class is.
    """
    findings = content.findings
    for number, region in enumerate(findings.regions, start=1):
        sub_id = f"region {number}"
        yield Observed("HD", coded(codes.TRACKING_UID), f"^{region.tracking_uid}^ISO", sub_id)
        if findings.kind is not AnswerKind.LESION:
            yield Observed("CWE", coded(codes.FINDING), coded(findings.model.term(region.label).code), sub_id)
        for item in region.measurements:
            yield _number(item, coded(item.code), sub_id)


def _estimates(content: ReportContent) -> Iterable[Observed]:
    for number, item in enumerate(content.findings.quantities, start=1):
        yield _number(item, coded(item.code), f"estimate {number}")


def _number(item: Measurement, what: str, sub_id: str) -> Observed:
    return Observed("NM", what, f"{item.value:.{item.digits}f}", sub_id, unit(item.unit))


def _set(segment: Any, **fields: str) -> None:
    """Set ``fields`` in bar notation, each repetition by itself; empty values are left out."""
    for name, value in fields.items():
        if not value:
            continue
        first, *others = value.split("~")  # a tilde within a text is escaped by now
        setattr(segment, name, first)
        for repetition in others:
            segment.add_field(name).value = repetition
