"""De-identification by PS3.15 Annex E: the Basic Application Level Confidentiality Profile.

Table E.1-1 gives the action for each attribute, in the machine-readable form of the package ``dicom-anonymizer``
(edition 2026c). Where the table leaves a choice (X/Z, X/D, Z/D, X/Z/D) the attribute is kept with an empty or dummy
value, so that objects stay valid. Its X/Z/U* (references to images) are kept with their UIDs replaced.

Keyed digests (HMAC-SHA256) replace UIDs and the patient's identifier. They are the same under one key on every machine
and day, so that results and images still refer to each other, and cannot be reversed without the key.

Descriptions, Content Sequence (SR) and graphics of Candela's own objects are kept, with the names, dates and UIDs in
them replaced: Candela writes nothing about the patient there (Clean Descriptors, Clean
Structured Content and Clean Graphics Options, E.3.3 to E.3.5). Pixels are not cleaned: an object whose pixels may
identify the patient is refused.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, EncapsulatedPDFStorage

from pipeline.errors import IdentityInPixels
from pipeline.findings.own_results import CREATOR_UID, is_own_result
from pipeline.patient.requests import TYPE_2

EDITION: Final = "dicomfields_2026c"
METHOD: Final = "PS3.15 2026c Table E.1-1; UIDs by keyed digest"
BASIC: Final = ("113100", "Basic Application Confidentiality Profile")
CLEAN_GRAPHICS: Final = ("113103", "Clean Graphics Option")
CLEAN_DESCRIPTORS: Final = ("113105", "Clean Descriptors Option")
CLEAN_STRUCTURED_CONTENT: Final = ("113104", "Clean Structured Content Option")
PIXELS_AS_MEASURED: Final = frozenset({"MR", "CT", "PT", "NM"})
"""Modalities whose original images are measured, not photographed from a screen."""

CONTENT_SEQUENCE: Final = Tag("ContentSequence")
OWN_WORDS: Final = frozenset(
    Tag(keyword)
    for keyword in ("SeriesDescription", "ImageComments", "DerivationDescription", "ContentDescription", "ContentLabel")
)
"""Attributes of a result that only Candela's own code fills in."""
PRESENTATION_CREATION: Final = frozenset({Tag("PresentationCreationDate"), Tag("PresentationCreationTime")})
"""The table removes them, but a presentation state is invalid without them (type 1, PS3.3 C.11.10)."""
REFERENCED_REQUESTS: Final = Tag("ReferencedRequestSequence")
GRAPHICS: Final = frozenset({Tag("GraphicAnnotationSequence"), Tag("UnformattedTextValue")})
OVERLAYS: Final = 0x6000
SOP_CLASS_UIDS: Final = "1.2.840.10008."
"""UIDs with this prefix are registered in PS3.6 and identify nobody."""

DUMMIES: Final = {
    "DA": "19000101",
    "TM": "000000",
    "DT": "19000101000000",
    "AS": "000Y",
    "PN": "Anonymous",
    "UR": "urn:removed",
}
TEXTS: Final = frozenset({"AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT"})
NUMBERS: Final = frozenset({"DS", "IS", "FL", "FD", "SL", "SS", "UL", "US", "SV", "UV"})


class TableAction(StrEnum):
    """The table's action for an attribute (PS3.15 Table E.1-1a)."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    UID = "U"
    INTO = "U*"


@dataclass(frozen=True)
class Pseudonyms:
    """Pseudonyms derived from ``key``; those of two keys cannot be linked."""

    key: bytes

    def uid(self, original: str) -> str:
        """A UID under 2.25 (PS3.5 B.2) for ``original``."""
        digest = bytearray(self._digest("uid", original)[:16])
        digest[6] = digest[6] & 0x0F | 0x80  # version 8 and variant of RFC 9562: a custom rule
        digest[8] = digest[8] & 0x3F | 0x80
        return f"2.25.{UUID(bytes=bytes(digest)).int}"

    def patient(self, issuer: str, identifier: str) -> str:
        """The pseudonym of a patient: sixteen hex digits."""
        return self._digest("patient", issuer, identifier).hex()[:16]

    def _digest(self, *parts: str) -> bytes:
        return hmac.new(self.key, "\x1f".join(parts).encode(), hashlib.sha256).digest()


def deidentify(ds: Dataset, key: bytes, *, source: Dataset | None = None, subject: Dataset | None = None) -> Dataset:
    """A de-identified copy of ``ds`` (with file meta).

    ``source``: for a result, the header of one of its source images, which decides whether pixels may identify the
    patient. ``subject``: the patient, where that is not the one in ``ds`` (`pipeline.patient.subject`): images and
    results of one patient get one pseudonym.

    Raises
    ------
    IdentityInPixels
        where the pixels may show the patient's identity, or ``ds`` is a document.
    """
    own = is_own_result(ds)
    _refuse_identity_in_pixels(ds, source if own and source is not None else ds)
    names = Pseudonyms(key)
    clean = copy.deepcopy(ds)
    whose = ds if subject is None else subject
    patient = names.patient(str(whose.get("IssuerOfPatientID") or ""), str(whose.get("PatientID") or ""))
    _Deidentifier(names, own=own).clean(clean)
    clean.PatientID = clean.PatientName = patient
    _state(clean, own=own)
    clean.preamble = bytes(128)
    meta = clean.file_meta
    for keyword in (*_private_meta(meta), "SourceApplicationEntityTitle"):
        if keyword in meta:
            delattr(meta, keyword)
    meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
    return clean


def _private_meta(meta: Dataset) -> tuple[str, ...]:
    return tuple(
        element.keyword
        for element in meta
        if element.keyword.endswith("ApplicationEntityTitle")
        or element.keyword.endswith("PresentationAddress")
        or element.keyword.startswith("PrivateInformation")
    )


def _refuse_identity_in_pixels(ds: Dataset, judged: Dataset) -> None:
    todo = "Send it to destinations within the hospital only, or clean it by hand."
    if ds.SOPClassUID == EncapsulatedPDFStorage or "EncapsulatedDocument" in ds:
        raise IdentityInPixels("The pages of a document may name the patient.", todo=todo)
    if "PixelData" not in ds:
        return
    stated = str(judged.get("BurnedInAnnotation") or "")
    if stated == "NO":
        return
    if stated == "YES":
        raise IdentityInPixels("Burned In Annotation is YES: the pixels show who the patient is.", todo=todo)
    kind = [str(value) for value in judged.get("ImageType") or ()]
    if judged.get("Modality") not in PIXELS_AS_MEASURED or kind[:1] != ["ORIGINAL"]:
        raise IdentityInPixels("The image does not state that its pixels show no name.", todo=todo)


def _state(clean: Dataset, *, own: bool) -> None:
    """Record the de-identification (PS3.15 E.1.1, PS3.3 C.12.1.1.7 and C.7.1.1)."""
    codes = [BASIC, *([CLEAN_DESCRIPTORS] if own else [])]
    if own and "ContentSequence" in clean:
        codes.append(CLEAN_STRUCTURED_CONTENT)
    if own and "GraphicAnnotationSequence" in clean:
        codes.append(CLEAN_GRAPHICS)
    clean.PatientIdentityRemoved = "YES"
    clean.DeidentificationMethod = METHOD
    clean.DeidentificationMethodCodeSequence = [_code(*code) for code in codes]
    clean.LongitudinalTemporalInformationModified = "REMOVED"
    if "PixelData" in clean:
        clean.BurnedInAnnotation = "NO"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


class _Deidentifier:
    """Applies the table at every depth."""

    def __init__(self, names: Pseudonyms, *, own: bool) -> None:
        self._names = names
        self._own = own
        self._done: dict[int, Dataset] = {}

    def clean(self, ds: Dataset) -> None:
        if id(ds) in self._done:  # an item that several sequences contain
            return
        self._done[id(ds)] = ds
        for tag in list(ds.keys()):
            if tag.is_private:
                del ds[tag]
                continue
            if tag.group & 0xFF00 == OVERLAYS:  # a plane without its data would not be valid
                del ds[tag]
                continue
            element = ds[tag]
            action = _action(tag)
            if self._own and (tag == CONTENT_SEQUENCE or tag in GRAPHICS or tag in OWN_WORDS):
                action = TableAction.INTO if element.VR == "SQ" else None
            if tag in PRESENTATION_CREATION:
                action = TableAction.DUMMY
            self._apply(ds, element, action)

    def _apply(self, ds: Dataset, element: DataElement, action: TableAction | None) -> None:
        if action is TableAction.REMOVE:
            del ds[element.tag]
        elif action is TableAction.EMPTY:
            ds[element.tag] = DataElement(element.tag, element.VR, [] if element.VR == "SQ" else None)
        elif action is TableAction.DUMMY and element.VR != "UI":
            self._dummy(element)
        elif element.VR == "SQ":
            for item in element.value:
                self.clean(item)
                if element.tag == REFERENCED_REQUESTS:
                    _complete(item)
        elif element.VR == "UI" and action is not None:
            self._replace(ds, element)

    def _replace(self, ds: Dataset, element: DataElement) -> None:
        values = element.value if element.VM > 1 else [element.value]
        new = [
            UID(self._names.uid(str(value))) if value and not _identifies_nobody(str(value)) else value
            for value in values
        ]
        ds[element.tag] = DataElement(element.tag, "UI", new if element.VM > 1 else new[0])

    def _dummy(self, element: DataElement) -> None:
        if element.VR == "SQ":
            for item in element.value:
                self.clean(item)
                for nested in list(item):
                    if nested.VR != "UI":
                        self._dummy(nested)
        elif element.VR in DUMMIES:
            element.value = DUMMIES[element.VR]
        elif element.VR in TEXTS:
            element.value = "REMOVED"
        elif element.VR in NUMBERS:
            element.value = "0" if element.VR in ("DS", "IS") else 0
        else:
            element.value = None


def _complete(request: Dataset) -> None:
    """Add what an item of Referenced Request Sequence must have, empty: the table removes numbers of the order."""
    for keyword in TYPE_2:
        if keyword not in request:
            tag = Tag(keyword)
            request.add(DataElement(tag, dictionary_VR(tag), [] if dictionary_VR(tag) == "SQ" else None))


def _identifies_nobody(uid: str) -> bool:
    """Whether ``uid`` is the same for everybody: registered, or the one by which Candela recognises its own results."""
    return uid.startswith(SOP_CLASS_UIDS) or uid == CREATOR_UID


def _action(tag: BaseTag) -> TableAction | None:
    exact, masked = _table()
    if tag in exact:
        return exact[tag]
    return next((action for matches, action in masked if matches(tag)), None)


@functools.cache
def _table() -> tuple[dict[BaseTag, TableAction], tuple[tuple[Callable[[BaseTag], bool], TableAction], ...]]:
    """The table: single attributes, and repeating groups as a test each."""
    lists = dicom_anonymization_database_selector(EDITION)
    actions = {
        "X_TAGS": TableAction.REMOVE,
        "Z_TAGS": TableAction.EMPTY,
        "X_Z_TAGS": TableAction.EMPTY,
        "D_TAGS": TableAction.DUMMY,
        "Z_D_TAGS": TableAction.DUMMY,
        "X_D_TAGS": TableAction.DUMMY,
        "X_Z_D_TAGS": TableAction.DUMMY,
        "U_TAGS": TableAction.UID,
        "X_Z_U_STAR_TAGS": TableAction.INTO,
    }
    exact: dict[BaseTag, TableAction] = {}
    masked: list[tuple[Callable[[BaseTag], bool], TableAction]] = []
    for name, action in actions.items():
        for entry in lists[name]:
            if len(entry) == 2:
                exact[Tag(*entry)] = action
            else:
                masked.append((functools.partial(_in_group, *entry), action))
    return exact, tuple(masked)


def _in_group(group: int, element: int, group_mask: int, element_mask: int, tag: BaseTag) -> bool:
    return tag.group & group_mask == group & group_mask and tag.element & element_mask == element & element_mask
