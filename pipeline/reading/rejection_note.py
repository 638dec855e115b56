"""Rejection notes: Key Object Selections by which a PACS or a modality rejects instances (IHE RAD, Imaging Object
Change Management).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from pipeline.reading.attributes import items, text
from pipeline.reading.validation import is_uid

TITLES: Final[Mapping[str, str]] = {
    "113001": "Rejected for Quality Reasons",
    "113037": "Rejected for Patient Safety Reasons",
    "113038": "Incorrect Modality Worklist Entry",
    "113039": "Data Retention Policy Expired",
}
"""The document titles of rejection notes (PS3.16 CID 7010), all of scheme DCM."""
EXPIRED: Final = "113039"
"""Of this title nothing is wrong with the instances: the archive may delete them."""
PARTS: Final = ("SOPClassUID", "SOPInstanceUID", "ConceptNameCodeSequence", "CurrentRequestedProcedureEvidenceSequence")
"""Keywords of what `rejection_in` reads."""


@dataclass(frozen=True)
class Rejection:
    """``title`` is the code value; ``rejected`` the SOP Instance UIDs by Series Instance UID."""

    title: str
    sop_instance_uid: str
    rejected: Mapping[str, frozenset[str]]

    @property
    def meaning(self) -> str:
        return TITLES[self.title]


def rejection_in(ds: Dataset) -> Rejection | None:
    """The rejection that ``ds`` states; None where it is another object, or a selection with another title."""
    if text(ds, "SOPClassUID") != KeyObjectSelectionDocumentStorage:
        return None
    concept = next(iter(items(ds, "ConceptNameCodeSequence")), Dataset())
    title = text(concept, "CodeValue")
    if title not in TITLES or text(concept, "CodingSchemeDesignator") != "DCM":
        return None
    rejected: dict[str, frozenset[str]] = {}
    for study in items(ds, "CurrentRequestedProcedureEvidenceSequence"):
        for series in items(study, "ReferencedSeriesSequence"):
            name = text(series, "SeriesInstanceUID")
            named = (text(item, "ReferencedSOPInstanceUID") for item in items(series, "ReferencedSOPSequence"))
            if is_uid(name):
                rejected[name] = rejected.get(name, frozenset()) | frozenset(uid for uid in named if is_uid(uid))
    return Rejection(title, text(ds, "SOPInstanceUID"), rejected)
