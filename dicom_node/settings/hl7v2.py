"""Settings of a destination that speaks HL7 v2."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dicom_node.settings.base import Outgoing, Port
from dicom_node.settings.http import ClientTls
from dicom_node.settings.quantities import Seconds

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
    """A receiver of HL7 v2 messages over MLLP that takes the report as ORU^R01."""

    kind: Literal["hl7v2"]
    host: str
    """Host name or IP address of the receiver."""
    port: Port
    """Port of the receiver."""
    timeout: Annotated[Seconds, Field(gt=0)] = 30.0
    """Maximum time to wait for an answer."""
    tls: ClientTls | None = None
    sending_application: str = "CANDELA"
    """MSH-3."""
    sending_facility: str = ""
    """MSH-4."""
    receiving_application: str = ""
    """MSH-5."""
    receiving_facility: str = ""
    """MSH-6."""
    processing_id: Literal["P", "T", "D"] = "P"
    """MSH-11: `P` production, `T` training, `D` debugging."""
    character_set: CharacterSet = "UNICODE UTF-8"
    """MSH-18: `UNICODE UTF-8`, `ASCII`, `8859/1`, `8859/2`, `8859/5`, `8859/7`, `8859/9`, `8859/15`, `ISO IR87`,
    `GB 18030-2000`, `KS X 1001` or `BIG-5`."""
    language: Literal["en", "de", "es", "fr"] = "en"
    """Language of the report: `en`, `de`, `es` or `fr`."""
    assigning_authority: str = ""
    """Assigning authority of patient identifiers whose DICOM issuer is absent."""
    accession_fields: tuple[Literal["OBR-2", "OBR-3", "OBR-18"], ...] = ("OBR-18",)
    """Fields in which the receiver expects the accession number: `OBR-2`, `OBR-3`, `OBR-18`."""
    filler_order_number: Literal["own", "header"] = "own"
    """OBR-3: `own`, a number for the series and the model; `header`, the Filler Order Number of the images where they
    have one that fits. With `header`, results of several series of one order replace each other at the receiver."""
    pdf: bool = True
    """Whether the message contains the PDF report."""
    pdf_type: Literal["application^pdf", "AP^PDF", "AP^Octet-stream", "AP"] = "application^pdf"
    """Type and subtype (ED-2, ED-3) by which the receiver knows a PDF: `application^pdf`, `AP^PDF`, `AP^Octet-stream`
    or `AP`."""
    refusals: bool = False
    """`true`: send a report with the reason for a series that was refused. It names no order."""
    maximum_in_flight: Annotated[int, Field(ge=1, le=64)] = 1
    """Maximum number of simultaneous requests from this machine to the server, over all destinations and workers."""
