"""The loop guard: recognises Candela's own results when they come back.

All attributes that it reads come before Series Instance UID (0020,000E), so the receiver decides before it stores.

One mark is sufficient by itself, since nobody else writes it: Instance Creator UID (0008,0014, PS3.3 C.12.1) holds
`CREATOR_UID`, the same in every installation and profile. PACS that coerce Manufacturer or strip sequences keep it.

Results of versions that did not write it, and results whose UIDs an anonymiser has replaced, are recognised by two of
three weaker marks on one piece of equipment (the instance's own, or a Processing Equipment item of Contributing
Equipment Sequence). No single one decides: there is another manufacturer called Candela, and a PACS may rewrite any of
them.

1. the manufacturer is Candela;
2. the last Software Version is the beginning of a model's digest: 16 hexadecimal digits;
3. the description has the words that every result has.
"""

from __future__ import annotations

import re
from typing import Final

from pydicom.dataset import Dataset

from pipeline.findings import codes
from pipeline.findings.identity import derived_uid
from pipeline.reading.attributes import items, text, texts

MANUFACTURER: Final = "Candela"
CREATOR_UID: Final = derived_uid("instance creator")
"""Instance Creator UID of every result. Never change it: results of earlier versions would loop."""
COMPUTED: Final = "Computed by an algorithm."
"""How Contribution Description begins."""
FOR_REVIEW: Final = "for review, not for diagnosis"
"""How Series Description ends; it begins with "AI"."""
DIGEST: Final = re.compile(r"[0-9a-f]{16}")
MARKS_ENOUGH: Final = 2


def is_own_result(header: Dataset) -> bool:
    """Whether Candela made the instance. ``header`` reaches at least up to Series Instance UID."""
    if text(header, "InstanceCreatorUID") == CREATOR_UID:
        return True
    if _marks(header, described=_describes_a_result(header)) >= MARKS_ENOUGH:
        return True
    return any(
        _marks(item, described=text(item, "ContributionDescription").startswith(COMPUTED)) >= MARKS_ENOUGH
        for item in items(header, "ContributingEquipmentSequence")
        if _is_processing_equipment(item)
    )


def _marks(equipment: Dataset, *, described: bool) -> int:
    maker = text(equipment, "Manufacturer").casefold() == MANUFACTURER.casefold()
    versions = texts(equipment, "SoftwareVersions")
    return maker + bool(versions and DIGEST.fullmatch(versions[-1])) + described


def _describes_a_result(header: Dataset) -> bool:
    description = text(header, "SeriesDescription")
    return description.startswith("AI ") and FOR_REVIEW in description


def _is_processing_equipment(item: Dataset) -> bool:
    """Purpose of Reference (109102, DCM, "Processing Equipment") of PS3.16 CID 7005."""
    meant = (codes.PROCESSING_EQUIPMENT.value, codes.PROCESSING_EQUIPMENT.scheme)
    purposes = items(item, "PurposeOfReferenceCodeSequence")
    return any((text(code, "CodeValue"), text(code, "CodingSchemeDesignator")) == meant for code in purposes)
