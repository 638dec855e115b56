"""The profile of the HL7 v2 message: segments, fields and their usage. A test compares it with messages that are built.

Names, data types and what the standard requires are those of 2.5.1 in hl7apy.
"""

from __future__ import annotations

from typing import Any, Final

from hl7apy import load_library

from dicom_node.conformance.markdown import table
from dicom_node.deliver.hl7v2.oru import KIND, VERSION

USAGE: Final = {
    "R": "required: in every message",
    "RE": "required, may be empty: present where the images or settings have it",
    "C": "conditional: see the content",
}
FIELDS: Final[dict[str, tuple[str, str]]] = {
    "MSH_1": ("R", "`|`"),
    "MSH_2": ("R", "`^~\\&`"),
    "MSH_3": ("RE", "`sending_application`"),
    "MSH_4": ("RE", "`sending_facility`"),
    "MSH_5": ("RE", "`receiving_application`"),
    "MSH_6": ("RE", "`receiving_facility`"),
    "MSH_7": ("R", "as OBR-22"),
    "MSH_9": ("R", f"`{KIND}`"),
    "MSH_10": ("R", "a digest of the rest of the message: a resend has the same"),
    "MSH_11": ("R", "`processing_id`"),
    "MSH_12": ("R", f"`{VERSION}`"),
    "MSH_18": ("R", "`character_set`"),
    "MSH_20": ("C", "`ISO 2022-1994` with ISO IR87"),
    "PID_1": ("R", "1"),
    "PID_3": ("R", "Patient ID with its assigning authority, type MR"),
    "PID_5": ("R", "Patient's Name, a repetition for each DICOM group; `^^^^^^U` where unknown"),
    "PID_7": ("RE", "Patient's Birth Date"),
    "PID_8": ("RE", "Patient's Sex"),
    "PV1_1": ("R", "1"),
    "PV1_2": ("R", "`U`, unknown"),
    "PV1_8": ("RE", "Referring Physician's Name"),
    "PV1_19": ("RE", "Admission ID"),
    "ORC_1": ("R", "`RE`"),
    "ORC_2": ("RE", "as OBR-2"),
    "ORC_3": ("R", "as OBR-3"),
    "ORC_12": ("RE", "as OBR-16"),
    "OBR_1": ("R", "1"),
    "OBR_2": ("RE", "Placer Order Number, or the accession number by `accession_fields`"),
    "OBR_3": ("R", "a number of the series and the model, or as `filler_order_number` and `accession_fields` say"),
    "OBR_4": ("R", "the procedure"),
    "OBR_7": ("RE", "when the images were acquired"),
    "OBR_16": ("RE", "the requesting physician"),
    "OBR_18": ("RE", "the accession number, by `accession_fields`"),
    "OBR_22": ("R", "when the series was read, or its results withdrawn"),
    "OBR_24": ("R", "`RAD`"),
    "OBR_25": ("R", "`P`, preliminary; `I` of a series that was refused; `C` of a withdrawal"),
    "OBX_1": ("R", "1, 2, ..."),
    "OBX_2": ("R", "TX, CWE, NM, HD, ST or ED"),
    "OBX_3": ("R", "the code of the statement in SR and FHIR"),
    "OBX_4": ("C", "where several values have one code: `class 2`, `region 1`"),
    "OBX_5": ("C", "the value; empty in a withdrawal but for the reason"),
    "OBX_6": ("C", "of NM: the UCUM unit"),
    "OBX_11": ("R", "`P`, preliminary; `W` of a withdrawal"),
    "OBX_14": ("RE", "when the images were acquired"),
    "OBX_17": ("R", "Artificial Intelligence (123110, DCM)"),
    "OBX_18": ("R", "the number of the algorithm"),
    "OBX_19": ("R", "when the series was read"),
}
"""Usage and content of every field that is ever sent, by hl7apy's name. R, RE and C as in HL7 2.5.1, 2.12.6."""
SEGMENTS: Final = tuple(dict.fromkeys(name.split("_")[0] for name in FIELDS))


def standard(segment: str) -> dict[str, Any]:
    """hl7apy's fields of a segment by name: (name, reference, (least, most), kind)."""
    found: dict[str, Any] = {field[0]: field for field in load_library(VERSION).SEGMENTS[segment][1]}
    return found


def hl7_fields() -> list[str]:
    """Every field that is ever sent."""
    rows = []
    for name, (usage, content) in FIELDS.items():
        _, reference, (_, most), _ = standard(name.split("_")[0])[name]
        kind, title = reference[2], reference[3].replace("_", " ").capitalize()
        rows.append((name.replace("_", "-"), title, kind, usage, "*" if most < 0 else str(most), content))
    return table(("field", "name", "type", "usage", "most", "content"), rows)
