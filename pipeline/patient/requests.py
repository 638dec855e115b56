"""What was done and what was asked for, as the study's own codes: Procedure Code, and the requests of the series.

A code is taken whole or not at all: one without its scheme or its meaning is another code, or none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from pipeline.findings.codes import Code
from pipeline.reading.attributes import items
from pipeline.reading.value_forms import Unfit, decode, encoded_text, printable

REQUESTS = "RequestAttributesSequence"
PROCEDURE_CODES = "ProcedureCodeSequence"
REQUESTED_CODES = "RequestedProcedureCodeSequence"
MOST_VALUE, MOST_MEANING = 64, 64
"""Characters of a code's value (a Long Code Value may have more) and of its meaning that SR, FHIR and HL7 all take."""
FIT_VALUE = re.compile(r"[!-\[\]-~]+( [!-\[\]-~]+)*")
"""Printable ASCII with single blanks: FHIR's code allows no more."""
COPIED = (
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    REQUESTED_CODES,
)
"""Attributes of a request that an item of Referenced Request Sequence has too (PS3.3 C.17.2)."""
OF_THE_ORDER = ("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest")
"""Attributes that some modalities add to images beside the requests."""
TYPE_2 = (
    "ReferencedStudySequence",
    "AccessionNumber",
    *OF_THE_ORDER,
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    REQUESTED_CODES,
)
"""Attributes that such an item must have, empty where unknown."""


def procedure_code(header: Dataset) -> Code | None:
    """The code of the procedure that ``header`` names; None where it names none, or several.

    The study's Procedure Code says what was done and comes first; then the Requested Procedure of the series' requests.
    Of several different codes none is chosen: a reader would take it for the procedure of this series.
    """
    character_set = header.get("SpecificCharacterSet")
    requests = items(header, REQUESTS)
    for named in (
        items(header, PROCEDURE_CODES),
        [code for request in requests for code in items(request, REQUESTED_CODES)],
    ):
        found = dict.fromkeys(_code(item, character_set) for item in named)
        if len(found) == 1:
            return next(iter(found))
    return None


def referenced_requests(header: Dataset) -> tuple[Dataset, ...]:
    """The requests of the series as items of Referenced Request Sequence (PS3.3 C.17.2), with the bytes of ``header``.

    ``header`` is a cleaned one (`pipeline.patient.source_values`). A request under another accession number than the
    study's is left out: it is another order.
    """
    accession = _bytes(header, "AccessionNumber")
    return tuple(
        _referenced(request, header)
        for request in items(header, REQUESTS)
        if _bytes(request, "AccessionNumber") in (b"", accession)
    )


def complete(code_items: Iterable[Dataset]) -> Iterator[Dataset]:
    """Those items of a code sequence that have a value, its scheme and a meaning (PS3.3 8.8)."""
    for item in code_items:
        has_value = any(_bytes(item, keyword) for keyword in ("CodeValue", "LongCodeValue"))
        if _bytes(item, "CodeMeaning") and (
            _bytes(item, "URNCodeValue") or (has_value and _bytes(item, "CodingSchemeDesignator"))
        ):
            yield item


def _code(item: Dataset, character_set: Any) -> Code | None:
    value = _text(item, "CodeValue", character_set) or _text(item, "LongCodeValue", character_set)
    scheme, meaning = (_text(item, keyword, character_set) for keyword in ("CodingSchemeDesignator", "CodeMeaning"))
    fits = FIT_VALUE.fullmatch(value) and FIT_VALUE.fullmatch(scheme) and len(value) <= MOST_VALUE
    return Code(value, scheme, meaning) if fits and 0 < len(meaning) <= MOST_MEANING else None


def _referenced(request: Dataset, header: Dataset) -> Dataset:
    made = Dataset()
    made.StudyInstanceUID = str(header.StudyInstanceUID)
    for keyword in TYPE_2:
        made.add_new(keyword, dictionary_VR(keyword), [] if dictionary_VR(keyword) == "SQ" else None)
    issuer = "IssuerOfAccessionNumberSequence"
    named = _bytes(request, "AccessionNumber")
    for keyword in (*COPIED, *OF_THE_ORDER):
        of_header = keyword in OF_THE_ORDER or (keyword in ("AccessionNumber", issuer) and not named)
        giver = header if of_header else request
        if keyword == REQUESTED_CODES:
            made[keyword].value = [deepcopy(item) for item in complete(items(giver, keyword))]
        elif keyword in giver:
            made[keyword] = deepcopy(giver.get_item(Tag(keyword)))
    made.set_original_encoding(False, True, header.original_character_set)
    return made


def _text(item: Dataset, keyword: str, character_set: Any) -> str:
    try:
        return printable(decode(_bytes(item, keyword, character_set), character_set, dictionary_VR(keyword)))
    except Unfit:
        return ""


def _bytes(ds: Dataset, keyword: str, character_set: Any = None) -> bytes:
    """The value as in the file, without padding; empty where it is absent or not a text."""
    try:
        return (encoded_text(ds, Tag(keyword), character_set or ds.get("SpecificCharacterSet")) or b"").strip(b" \0")
    except Unfit:
        return b""
