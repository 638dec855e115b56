"""Patient and study of the source, carried to a result as the bytes that they came in, or read for a page."""

from __future__ import annotations

import re
import warnings
from copy import deepcopy

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import Tag
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

PATIENT_AND_STUDY = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "QualityControlSubject",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "StudyDescription",
    "ReferringPhysicianName",
    "TimezoneOffsetFromUTC",
)
"""Text attributes of the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1) that are copied byte for byte."""
PATIENT_AND_STUDY_SEQUENCES = (
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "DeidentificationMethodCodeSequence",
    "IssuerOfAccessionNumberSequence",
    "ProcedureCodeSequence",
)
TYPE_2 = {
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
}
"""Those of them that must be there, empty where unknown."""

MUST_MATCH = {
    "PatientBirthDate": rb"\d{4}(0[1-9]|1[0-2])([0-2]\d|3[01])|\d{4}\.\d\d\.\d\d",
    "StudyDate": rb"\d{4}(0[1-9]|1[0-2])([0-2]\d|3[01])|\d{4}\.\d\d\.\d\d",
    "PatientBirthTime": rb"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?",
    "StudyTime": rb"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?",
    "PatientSex": rb"[MFO]",
    "QualityControlSubject": rb"YES|NO",
    "PatientIdentityRemoved": rb"YES|NO",
    "TimezoneOffsetFromUTC": rb"[+-]\d{4}",
}
"""Attributes that say nothing unless they have this form (PS3.5 6.2): what de-identifiers write over dates ("***") is
not carried. Names and identifiers are carried whatever they look like, since the patient is known by them."""


def carry_patient_and_study(ds: Dataset, source: Dataset) -> None:
    """Copy identity from ``source`` as the bytes that it came in: no library decodes a name and encodes it anew."""
    if "SpecificCharacterSet" in source:
        ds.SpecificCharacterSet = source.SpecificCharacterSet
    elif "SpecificCharacterSet" in ds:
        del ds.SpecificCharacterSet
    for keyword in PATIENT_AND_STUDY:
        value = encoded(source, keyword)
        if value and keyword in MUST_MATCH and not re.fullmatch(MUST_MATCH[keyword], value.strip(b" \0")):
            value = None
        if value is None and keyword in TYPE_2:
            value = b""
        if value is not None:
            tag = Tag(keyword)
            value += (b"\0" if dictionary_VR(tag) == "UI" else b" ") * (len(value) % 2)
            ds[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
    for keyword in PATIENT_AND_STUDY_SEQUENCES:
        if source.get(keyword):
            ds[keyword] = deepcopy(source[keyword])
    # Tells the writer that the raw elements are in the encoding that it writes: they go out as they are.
    ds.set_original_encoding(False, True, ds._character_set)  # noqa: SLF001  (pydicom offers no other way to ask)


def encoded(ds: Dataset, keyword: str) -> bytes | None:
    """A text attribute as encoded bytes, those of the file where nobody has decoded it; None where it is absent."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    if tag not in ds:
        return None
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_data_element(buffer, ds.get_item(tag), ds.get("SpecificCharacterSet"))
    return buffer.getvalue()[8:]  # tag and length


def decoded(source: Dataset, keyword: str) -> str:
    """A text attribute as a reader sees it, in the source's character set; empty where it is absent.

    The source itself keeps its bytes: pydicom would decode the element for good, and a result would then carry what it
    encodes anew. Bytes that the character set does not have stand as U+FFFD. Several values stand as the file separates
    them, by backslashes.
    """
    value = encoded(source, keyword)
    if not value:
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of unknown character sets and bytes: what cannot be read is seen in the text
        character_sets = convert_encodings(source.get("SpecificCharacterSet", "ISO_IR 6"))
        marks = PN_DELIMS if dictionary_VR(tag_for_keyword(keyword) or 0) == "PN" else TEXT_VR_DELIMS
        text = decode_bytes(value, character_sets, marks)
    return "".join(mark for mark in text if mark.isprintable()).strip()


def readable_name(source: Dataset) -> tuple[str, ...]:
    """The patient's name as people write it, one entry for each component group that is there (PS3.5 6.2.1.1).

    ``Yamada^Tarou=山田^太郎=やまだ^たろう`` is ("Yamada, Tarou", "山田 太郎", "やまだ たろう").
    """
    groups = decoded(source, "PatientName").split("=")
    return tuple(
        name for number, group in enumerate(groups) if (name := _as_written(group, comma=number == 0 and "^" in group))
    )


def _as_written(group: str, *, comma: bool) -> str:
    family, *others = (part.strip() for part in group.split("^"))
    given = " ".join(part for part in others if part)
    return (", " if comma else " ").join(part for part in (family, given) if part)
