"""Whose order and visit a report names: the numbers of ORC and OBR, and the people of OBR and PV1.

Everything comes from the images' header: no number is made up but our own filler number. What has more characters than
its field (HL7 2.5.1, 3.4.3, 4.5.1 and 4.5.3) is left out: a receiver that cuts it could file the report under another
order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dicom_node.deliver.hl7v2.er7 import digest, entity, escaped, is_encodable, numbered, person
from dicom_node.settings.hl7v2 import Hl7v2Destination
from pipeline.findings.model import Outcome
from pipeline.report.content import ReportContent
from pipeline.report.patient_study import Issued

MOST_ENTITY: Final = 22
"""Characters of the fields of type EI: ORC-2, ORC-3, OBR-2, OBR-3 and OBX-18."""
MOST_ACCESSION: Final = {"OBR-2": MOST_ENTITY, "OBR-3": MOST_ENTITY, "OBR-18": 60}
MOST: Final = 250
"""Characters of CX, XCN and XPN fields: PID-3, PID-5, PV1-8, PV1-19, ORC-12, OBR-16."""


@dataclass(frozen=True)
class Order:
    """Fields in bar notation, empty where unknown: OBR-2 (ORC-2), OBR-3 (ORC-3), OBR-18, OBR-16 (ORC-12)."""

    placer: str
    filler: str
    accession: str
    provider: str


def order_of(content: ReportContent, destination: Hl7v2Destination) -> Order:
    """The order that the report is of; of a refusal our own filler number alone
    (docs/adr/0066-a-refusal-cancels-no-order.md).

    The filler number is our own unless the destination wants another: two series, or two models, on one number would
    replace each other's results, while a later revision of a series should.
    """
    own = own_number(content.lasting_uid("diagnostic report"), destination)
    if is_refusal(content):
        return Order("", own, "", "")
    study, fields = content.study, destination.accession_fields
    accession = study.accession if accession_fits(content, destination) else None
    placer = accession if accession is not None and "OBR-2" in fields else study.placer_order_number
    stated = accession if "OBR-3" in fields else None
    if stated is None and destination.filler_order_number == "header":
        stated = study.filler_order_number
    return Order(
        placer=_entity(placer),
        filler=_entity(stated) or own,
        accession=escaped(accession.value) if accession is not None and "OBR-18" in fields else "",
        provider=_person(study.requesting_physician, destination),
    )


def accession_fits(content: ReportContent, destination: Hl7v2Destination) -> bool:
    """Whether the accession number, if any, fits every field that it goes to. A refusal has none."""
    number = None if is_refusal(content) else content.study.accession
    return number is None or all(
        len(escaped(number.value)) <= MOST_ACCESSION[name] for name in destination.accession_fields
    )


def is_refusal(content: ReportContent) -> bool:
    return content.findings.outcome is Outcome.REFUSED


def referring_physician(content: ReportContent, destination: Hl7v2Destination) -> str:
    """PV1-8."""
    return _person(content.study.referring_physician, destination)


def visit_number(content: ReportContent) -> str:
    """PV1-19, as IHE's technical framework maps the Admission ID."""
    admission = content.study.admission
    number = numbered(admission, "VN") if admission is not None else ""
    return number if len(number) <= MOST else ""


def own_number(uid: str, destination: Hl7v2Destination) -> str:
    """EI that stands for ``uid``, which is longer than the field: a digest, and the sending application where there is
    room for it.
    """
    number = digest(uid)
    whole = f"{number}^{escaped(destination.sending_application)}".rstrip("^")
    return whole if len(whole) <= MOST_ENTITY else number


def _entity(number: Issued | None) -> str:
    """EI, without the assigning authority where only the number has room, empty where not even that has."""
    if number is None:
        return ""
    return next((text for text in (entity(number), escaped(number.value)) if len(text) <= MOST_ENTITY), "")


def _person(dicom_name: str, destination: Hl7v2Destination) -> str:
    """XCN, empty where the field or the character set has no room for the name: no report fails for it."""
    found = person(dicom_name)
    return found if len(found) <= MOST and is_encodable(found, destination.character_set) else ""
