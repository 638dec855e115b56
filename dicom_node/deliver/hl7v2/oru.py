"""A run's report as an HL7 2.5.1 message ORU^R01 (chapter 7): patient, order, one OBX a statement.

What is a statement in FHIR and a row in the structured report is an OBX here, with the same code and unit. Everything
is preliminary (OBR-25 and OBX-11 ``P``): no human has read it. hl7apy builds the message and holds it against the
structure of 2.5.1.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.exceptions import HL7apyException

from dicom_node.deliver.hl7v2.er7 import (
    ENCODINGS,
    coded,
    encode,
    entity,
    escaped,
    instant,
    names,
    numbered,
    plain,
    unit,
)
from dicom_node.settings.hl7v2 import Hl7v2Destination
from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadResult, Rejected
from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.findings.model import Outcome
from pipeline.report import sentences
from pipeline.report.content import ReportFacts
from pipeline.report.patient_study import Issued
from pipeline.report.sentences import Language

VERSION: Final = "2.5.1"
KIND: Final = "ORU^R01^ORU_R01"
DICOM_STUDY: Final = Code("113014", "DCM", "DICOM Study")
DICOM_SERIES: Final = Code("112002", "DCM", "Series Instance UID")
PDF_REPORT: Final = Code("18748-4", "LN", "Diagnostic imaging study")
PDF_MARK: Final = "PDF-STANDS-HERE"
"""hl7apy would copy and search megabytes of base64 a dozen times: the PDF is put in where this stands."""
CONTROL_ID_MARK: Final = "CONTROL-ID"
UNKNOWN_NAME: Final = "^^^^^^U"
"""PID-5 is required; an explicit null would have the receiver delete the name that it has (2.10.4)."""
MOST_PATIENT_ID: Final = 250
"""Characters of PID-3 (CX, HL7 2.5.1 3.4.2.3), and of PID-5 (XPN)."""
MOST_ACCESSION: Final = {"OBR-2": 22, "OBR-3": 22, "OBR-18": 60}
"""Characters (HL7 2.5.1, 4.5.3): of OBR-2 and OBR-3 the whole field (EI) may have so many."""
NO_ORDER: Final = Caveat(CaveatCode.ACCESSION_NUMBER_TOO_LONG)
SEXES: Final = {"M": "M", "F": "F", "O": "O"}
"""DICOM's PatientSex in table 0001."""


@dataclass(frozen=True)
class Built:
    """A message ready to send: its bytes, and the control id that its answer must repeat."""

    data: bytes
    control_id: str


@dataclass(frozen=True)
class Observed:
    """One OBX: value type, what (CE), which of several (sub-id), the value in bar notation, unit."""

    kind: str
    what: str
    value: str
    sub_id: str = ""
    unit: str = ""


def build(facts: ReportFacts, destination: Hl7v2Destination, pdf: bytes | None = None) -> Built:
    """The message for ``destination``; the same facts give the same bytes and control id, so a resend is known as one.

    Raises
    ------
    Rejected
        where the series names no patient, or one that HL7 has no room for, or a text has characters that the
        destination's character set lacks.
    BadResult
        where the message is not what HL7 2.5.1 asks for.
    """
    if facts.patient.identifier is None:
        raise Rejected(
            "The series has no Patient ID: no EHR could file its report.",
            todo="Correct the study at its source and send it again.",
        )
    if len(numbered(facts.patient.identifier, "MR", destination.assigning_authority)) > MOST_PATIENT_ID:
        raise Rejected(
            f"Patient ID and issuer have more than {MOST_PATIENT_ID} characters: HL7 has no room for them.",
            todo="Send the report by FHIR, or correct the study at its source and send it again.",
        )
    message = Message("ORU_R01", version=VERSION, validation_level=VALIDATION_LEVEL.TOLERANT)
    try:
        _msh(message, facts, destination)
        result = message.add_group("ORU_R01_PATIENT_RESULT")
        _pid(result.add_group("ORU_R01_PATIENT").add_segment("PID"), facts, destination)
        order = result.add_group("ORU_R01_ORDER_OBSERVATION")
        _obr(order.add_segment("OBR"), facts, destination)
        for number, item in enumerate(_observations(facts, destination, pdf is not None), start=1):
            _obx(order.add_group("ORU_R01_OBSERVATION").add_segment("OBX"), number, item, facts)
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


def _msh(message: Message, facts: ReportFacts, destination: Hl7v2Destination) -> None:
    encoding = ENCODINGS[destination.character_set]
    _set(
        message.msh,
        msh_3=escaped(destination.sending_application),
        msh_4=escaped(destination.sending_facility),
        msh_5=escaped(destination.receiving_application),
        msh_6=escaped(destination.receiving_facility),
        msh_7=instant(facts.recorded.isoformat()),
        msh_9=KIND,
        msh_10=CONTROL_ID_MARK,
        msh_11=destination.processing_id,
        msh_18=encoding.msh_18,
        msh_20=encoding.msh_20,
    )


def _pid(pid: Any, facts: ReportFacts, destination: Hl7v2Destination) -> None:
    patient = facts.patient
    assert patient.identifier is not None, "checked by the caller"
    _set(
        pid,
        pid_1="1",
        pid_3=numbered(patient.identifier, "MR", destination.assigning_authority),
        pid_5="~".join(name for name in names(patient.dicom_name).split("~") if len(name) <= MOST_PATIENT_ID)
        or UNKNOWN_NAME,
        pid_7=instant(patient.birth_date),
        pid_8=SEXES.get(patient.sex, ""),
    )


def _obr(obr: Any, facts: ReportFacts, destination: Hl7v2Destination) -> None:
    """The order by accession number, in the fields where the destination looks for it.

    OBR-3 is a number of ours unless the destination looks there: two series, or two models, on one accession number
    would otherwise replace each other's results, while a later revision of a series should.
    """
    accession = facts.study.accession
    if accession is not None and not accession_fits(facts, destination):
        accession = None  # a receiver that cuts it could file the report under another order
    fields = {"obr_3": entity(Issued(facts.lasting_uid("diagnostic report")))}
    if accession is not None:
        for name in destination.accession_fields:
            fields[name.lower().replace("-", "_")] = escaped(accession.value) if name == "OBR-18" else entity(accession)
    _set(
        obr,
        obr_1="1",
        **fields,
        obr_4=coded(codes.MR_BRAIN),
        obr_7=instant(facts.acquired),
        obr_22=instant(facts.recorded.isoformat()),
        obr_24="RAD",
        obr_25=_status(facts),
    )


def accession_fits(facts: ReportFacts, destination: Hl7v2Destination) -> bool:
    """Whether the accession number, where there is one, is no longer than each field that it goes to."""
    number = facts.study.accession
    return number is None or all(len(number.value) <= MOST_ACCESSION[name] for name in destination.accession_fields)


def _obx(obx: Any, number: int, item: Observed, facts: ReportFacts) -> None:
    _set(
        obx,
        obx_1=str(number),
        obx_2=item.kind,
        obx_3=item.what,
        obx_4=item.sub_id,
        obx_5=item.value,
        obx_6=item.unit,
        obx_11=_status(facts),
        obx_14=instant(facts.acquired),
        obx_17=coded(codes.ARTIFICIAL_INTELLIGENCE),
        obx_18=f"{escaped(facts.answer.model.name)}^^{facts.run.device_uid}^ISO",
        obx_19=instant(facts.recorded.isoformat()),
    )


def _observations(facts: ReportFacts, destination: Hl7v2Destination, with_pdf: bool) -> Iterable[Observed]:
    """What it is first, so that nobody reads a value before it; then sentences, values, and where to look further."""
    answer, language = facts.answer, Language(destination.language)

    def said(text: str) -> str:
        return escaped(plain(text, destination.character_set))

    notice = (f"{sentences.disclaimer(language)}.", sentences.unread(language))
    yield Observed("TX", coded(codes.COMMENT), "~".join(map(said, notice)))
    caveats = answer.caveats if accession_fits(facts, destination) else (*answer.caveats, NO_ORDER)
    limits = (sentences.stopped(sentences.caveat(item, language)) for item in caveats)
    lines = (sentences.statement(answer, language), *sentences.additions(answer, language), *limits)
    yield Observed("TX", coded(codes.CONCLUSION), "~".join(map(said, lines)))
    if answer.outcome is not Outcome.REFUSED:
        yield from _answer(facts, said_headline=said(sentences.headline(answer, language)))
        yield from _regions(facts)
    yield Observed("ST", coded(codes.ALGORITHM_NAME), said(answer.model.title))
    yield Observed("ST", coded(codes.ALGORITHM_VERSION), said(answer.model.version))
    yield Observed("HD", coded(DICOM_STUDY), f"^{facts.study.uid}^ISO")
    yield Observed("HD", coded(DICOM_SERIES), f"^{facts.source.uid}^ISO")
    if with_pdf:
        yield Observed("ED", coded(PDF_REPORT), f"CANDELA^application^pdf^Base64^{PDF_MARK}")


def _answer(facts: ReportFacts, *, said_headline: str) -> Iterable[Observed]:
    """Presence, the class that is suggested, and the probability of each: the class stands in the probability's name,
    not as a finding, since what is 9 % probable must not be found as one.
    """
    answer, model = facts.answer, facts.answer.model
    presence = codes.presence(answer.outcome)
    yield Observed("CWE", coded(codes.PRESENCE), f"{coded(presence)}^^^^^^{said_headline}")
    if answer.outcome is Outcome.FINDING:
        term = model.term(answer.predicted_class)
        yield Observed("CWE", coded(codes.FINDING), coded(term.code))
        yield Observed("CWE", coded(codes.FINDING_SITE), coded(term.site))
    for number, item in enumerate(answer.probabilities, start=1):
        what = coded(codes.PROBABILITY, f"Probability of {model.term(item.name).title.lower()}")
        yield Observed("NM", what, f"{item.probability:.4f}", f"class {number}", unit(codes.NO_UNITS))


def _regions(facts: ReportFacts) -> Iterable[Observed]:
    """Each region's measurements; the sub-id tells the regions apart, the tracking UID is that of SEG and SR."""
    for number, region in enumerate(facts.answer.regions, start=1):
        sub_id = f"region {number}"
        yield Observed("HD", coded(codes.TRACKING_UID), f"^{region.tracking_uid}^ISO", sub_id)
        for code, value, of in (
            (codes.VOLUME, region.volume_mm3, codes.CUBIC_MILLIMETER),
            (codes.LONG_AXIS, region.long_axis_mm, codes.MILLIMETER),
            (codes.SHORT_AXIS, region.short_axis_mm, codes.MILLIMETER),
            (codes.MR_SIGNAL_INTENSITY, region.mean_intensity, codes.ARBITRARY_UNIT),
        ):
            yield Observed("NM", coded(code), f"{value:.1f}", sub_id, unit(of))


def _status(facts: ReportFacts) -> str:
    """Preliminary (tables 0085, 0123); or that there is no result, where the series was refused."""
    return "X" if facts.answer.outcome is Outcome.REFUSED else "P"


def _set(segment: Any, **fields: str) -> None:
    """Set ``fields`` in bar notation, each repetition by itself; what is empty stays absent."""
    for name, value in fields.items():
        if not value:
            continue
        first, *others = value.split("~")  # a tilde within a text is escaped by now
        setattr(segment, name, first)
        for repetition in others:
            segment.add_field(name).value = repetition
