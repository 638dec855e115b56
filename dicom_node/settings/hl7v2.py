"""Settings of a destination that speaks HL7 v2."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dicom_node.settings.base import Outgoing, Port
from dicom_node.settings.http import ClientTls

CharacterSet = Literal[
    "UNICODE UTF-8",
    "ASCII",
    "8859/1",
    "8859/2",
    "8859/5",
    "8859/7",
    "8859/9",
    "8859/15",
    "ISO IR87",
    "GB 18030-2000",
    "KS X 1001",
    "BIG-5",
]
"""Of HL7 table 0211."""


class Hl7v2Destination(Outgoing):
    """A receiver of HL7 v2 messages over MLLP that takes the report as ORU^R01.

    ``accession_fields``: where it looks for the accession number. ``assigning_authority``: of patient identifiers whose
    DICOM issuer names none. ``refusals``: also what was refused, where a rule had given it to a model. ``timeout`` in
    seconds, of the connection and of the whole answer.
    """

    kind: Literal["hl7v2"]
    host: str
    port: Port
    timeout: Annotated[float, Field(gt=0)] = 30.0
    tls: ClientTls | None = None
    sending_application: str = "CANDELA"
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    processing_id: Literal["P", "T", "D"] = "P"
    character_set: CharacterSet = "UNICODE UTF-8"
    language: Literal["en", "de", "es", "fr"] = "en"
    assigning_authority: str = ""
    accession_fields: tuple[Literal["OBR-2", "OBR-3", "OBR-18"], ...] = ("OBR-18",)
    pdf: bool = True
    refusals: bool = False
    maximum_in_flight: Annotated[int, Field(ge=1, le=64)] = 1
