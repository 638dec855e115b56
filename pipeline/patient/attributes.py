"""Patient and study of the source: copied to a result as the received bytes, or read for a page."""

from __future__ import annotations

from copy import deepcopy

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from pipeline.reading.value_forms import Unfit, decode, encoded_text, printable, raw_element

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
ORDER_AND_VISIT = (
    "RequestingPhysician",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "AdmissionID",
)
ORDER_AND_VISIT_SEQUENCES = (
    "OrderPlacerIdentifierSequence",
    "OrderFillerIdentifierSequence",
    "IssuerOfAdmissionIDSequence",
)
"""Attributes of order and visit (PS3.3 C.4.12, C.3.3) that some modalities add to images: reports name them, no object
copies them. The second are the issuers of the last three of the first."""
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
"""Those of them that must be present, empty where unknown."""


def carry_patient_and_study(ds: Dataset, source: Dataset) -> None:
    """Copy the identity from ``source`` as received bytes, so that no library decodes and re-encodes a name.

    ``source`` is a header that `pipeline.patient.source_values` cleaned: all its values may be repeated.
    """
    if "SpecificCharacterSet" in source:
        ds.SpecificCharacterSet = source.SpecificCharacterSet
    elif "SpecificCharacterSet" in ds:
        del ds.SpecificCharacterSet
    for keyword in PATIENT_AND_STUDY:
        value = encoded(source, keyword)
        if value is None and keyword in TYPE_2:
            value = b""
        if value is not None:
            tag = Tag(keyword)
            ds[tag] = raw_element(tag, dictionary_VR(tag), value)
    for keyword in PATIENT_AND_STUDY_SEQUENCES:
        if source.get(keyword):
            ds[keyword] = deepcopy(source[keyword])
    # Tells the writer that the raw elements have the encoding that it writes, so that it writes them unchanged.
    ds.set_original_encoding(False, True, ds._character_set)  # noqa: SLF001  (pydicom offers no other way to ask)


def encoded(ds: Dataset, keyword: str) -> bytes | None:
    """A text attribute as encoded bytes, those of the file where it was not decoded before; None where it is absent or
    not text.
    """
    try:
        return encoded_text(ds, Tag(keyword), ds.get("SpecificCharacterSet"))
    except Unfit:
        return None


def decoded(source: Dataset, keyword: str) -> str:
    """A text attribute as a reader sees it, in the source's character set; empty where it is absent.

    The source keeps its bytes: pydicom would decode the element for good, and a result would then carry re-encoded
    bytes. Bytes outside of the character set become U+FFFD. Several values stay separated by backslashes, as in the
    file.
    """
    value = encoded(source, keyword)
    return printable(decode(value, source.get("SpecificCharacterSet"), dictionary_VR(keyword))) if value else ""


def readable_name(source: Dataset) -> tuple[str, ...]:
    """The patient's name as people write it, one entry for each component group present (PS3.5 6.2.1.1).

    ``Yamada^Tarou=山田^太郎=やまだ^たろう`` is ("Yamada, Tarou", "山田 太郎", "やまだ たろう").
    """
    groups = decoded(source, "PatientName").split("=")
    return tuple(
        name for number, group in enumerate(groups) if (name := _as_written(group, comma=number == 0 and "^" in group))
    )


def person_name(value: str) -> str:
    """The first component group of a PN ``value`` as people write it: "Gray, Asa" for "Gray^Asa=..."."""
    return next((name for group in value.split("=") if (name := _as_written(group, comma="^" in group))), "")


def _as_written(group: str, *, comma: bool) -> str:
    family, *others = (part.strip() for part in group.split("^"))
    given = " ".join(part for part in others if part)
    return (", " if comma else " ").join(part for part in (family, given) if part)
