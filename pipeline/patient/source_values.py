"""Checks of the header values that results repeat.

A header may hold anything. Results are written as DICOM, FHIR, HL7 v2, HTML and PDF, and each format forbids something
else. `cleaned` makes headers that hold only what results read (the tables below), each value valid for its VR (PS3.5
6.2), its multiplicity, its range and all formats that repeat it. The stored instances keep their bytes.

An attribute that the tables lack is absent from a cleaned header: a result that needs another attribute needs a rule
here. docs/adr/0049-one-gate-for-source-values.md states the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from pydicom.charset import convert_encodings, python_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadIdentity
from pipeline.geometry.volume import Volume
from pipeline.patient.attributes import ORDER_AND_VISIT_SEQUENCES
from pipeline.patient.requests import PROCEDURE_CODES, REQUESTS, complete
from pipeline.reading import value_forms
from pipeline.reading.attributes import numbers, values
from pipeline.reading.validation import UNREADABLE, is_regular_uid
from pipeline.reading.value_forms import ReadText, Unfit, encoded_text, raw_element, read_text, valid_items

IRREGULAR = 4
"""An identifier or a name may be this many times as long as its VR allows: systems write such values, peers store them,
and a shortened one would be another's. A still longer value fits no database column and counts as damaged."""


class Text(Enum):
    """The purpose of a free text, which decides how a bad value is handled."""

    PATIENT = auto()
    """Identifies the patient: the series is refused, since no result could name the patient."""
    IDENTIFIER = auto()
    """Identifies an order or a study: left out where any format would change it."""
    NAME = auto()
    """Names a person: kept even with characters that its character set lacks."""
    DESCRIPTION = auto()


TEXTS_OF_SUBJECT: Mapping[str, Text] = {
    "PatientID": Text.PATIENT,
    "IssuerOfPatientID": Text.PATIENT,
    "PatientName": Text.NAME,
    "AccessionNumber": Text.IDENTIFIER,
    "StudyID": Text.IDENTIFIER,
    "ReferringPhysicianName": Text.NAME,
    "RequestingPhysician": Text.NAME,
    "PlacerOrderNumberImagingServiceRequest": Text.IDENTIFIER,
    "FillerOrderNumberImagingServiceRequest": Text.IDENTIFIER,
    "AdmissionID": Text.IDENTIFIER,
    "StudyDescription": Text.DESCRIPTION,
    "DeidentificationMethod": Text.DESCRIPTION,
}
"""Texts of patient and study, in the character set of the header that they come from."""
TEXTS_OF_SERIES: Mapping[str, Text] = {"SeriesDescription": Text.DESCRIPTION}

Form = Callable[[str], str]
"""Returns the value in a form that may be repeated; raises `pipeline.reading.value_forms.Unfit` where none exists."""

FORMS_OF_SUBJECT: Mapping[str, Form] = {
    "PatientBirthDate": value_forms.date,
    "PatientBirthTime": value_forms.time,
    "PatientSex": value_forms.one_of("M", "F", "O"),
    "QualityControlSubject": value_forms.one_of("YES", "NO"),
    "PatientIdentityRemoved": value_forms.one_of("YES", "NO"),
    "StudyDate": value_forms.date,
    "StudyTime": value_forms.time,
    "TimezoneOffsetFromUTC": value_forms.zone,
}
FORMS_OF_SERIES: Mapping[str, Form] = {
    "TimezoneOffsetFromUTC": value_forms.zone,
    "BodyPartExamined": value_forms.code_string,
    "SeriesNumber": value_forms.integer,
}
FORMS_OF_PLANE: Mapping[str, Form] = {
    **{f"{what}Date": value_forms.date for what in ("Study", "Series", "Acquisition", "Content")},
    **{f"{what}Time": value_forms.time for what in ("Study", "Series", "Acquisition", "Content")},
    "Modality": value_forms.code_string,
    "FrameOfReferenceUID": value_forms.uid,
    "InstanceNumber": value_forms.integer,
    "SliceThickness": value_forms.thickness,
    "PatientOrientation": value_forms.code_strings,
    "ImageLaterality": value_forms.one_of("L", "R", "U", "B"),
    "Laterality": value_forms.one_of("L", "R"),
    "ImageOrientationPatient": value_forms.decimals,
    "ImagePositionPatient": value_forms.decimals,
    "WindowCenter": value_forms.decimals,
    "WindowWidth": value_forms.decimals,
    "LossyImageCompression": value_forms.one_of("00", "01"),
    "LossyImageCompressionRatio": value_forms.decimals,
    "LossyImageCompressionMethod": value_forms.code_strings,
    "PhotometricInterpretation": value_forms.code_string,
    "PresentationLUTShape": value_forms.code_string,
    "RescaleType": value_forms.plain_text,
}
PLACES = {"ImageOrientationPatient": 6, "ImagePositionPatient": 3}
"""Their number of values."""

SEQUENCES = (
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "DeidentificationMethodCodeSequence",
    "IssuerOfAccessionNumberSequence",
    PROCEDURE_CODES,
    *ORDER_AND_VISIT_SEQUENCES,
    REQUESTS,
)
"""Sequences of patient and study, and the requests of the series; an item with an invalid value at any depth is left
out as a whole, and so is a procedure code without its scheme or meaning."""
OF_THE_PATIENT = "IssuerOfPatientIDQualifiersSequence"
"""Without a readable issuer, the number may be one that another issuer gave to another patient."""

UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
"""UIDs that are kept even with leading zeros in a component, as old scanners write them: other series refer to them."""

AS_READ = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "NumberOfFrames",
    "BitsStored",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
)
"""Reading and geometry used these and refused unfit values; results compute with the same elements."""


@dataclass
class _Notes:
    """Keywords of what was left out, and of what was carried though it is irregular, in order of appearance."""

    left_out: dict[str, None] = field(default_factory=dict)
    carried: dict[str, None] = field(default_factory=dict)

    def caveats(self) -> tuple[Caveat, ...]:
        return tuple(
            Caveat(code, {"names": tuple(found)})
            for code, found in (
                (CaveatCode.INVALID_VALUES_LEFT_OUT, self.left_out),
                (CaveatCode.IRREGULAR_VALUES_REPEATED, self.carried),
            )
            if found
        )


def cleaned_volume(volume: Volume) -> Volume:
    """``volume`` with cleaned headers, and a caveat where a value was left out or is irregular.

    Raises
    ------
    BadIdentity
        as `cleaned`.
    """
    sources, subject, caveats = cleaned(volume.sources, volume.identity)
    return replace(volume, sources=sources, subject=subject, caveats=(*volume.caveats, *caveats))


def cleaned(headers: Sequence[Dataset], subject: Dataset) -> tuple[tuple[Dataset, ...], Dataset, tuple[Caveat, ...]]:
    """What results may repeat of ``headers``, of one series in classic form, and of ``subject``; and caveats on what
    they may not. The caveats name keywords, never values.

    The first header represents the series; ``subject`` (see `pipeline.patient.subject`) gives patient and study.

    Raises
    ------
    BadIdentity
        where ``subject`` has no value that names the patient.
    """
    notes = _Notes()
    made = tuple(_Cleaner(header, notes).of_plane() for header in headers)
    _Cleaner(headers[0], notes).add_series(made[0])
    whose = _Cleaner(subject, notes).of_subject(where=f"series {headers[0].get('SeriesInstanceUID')}")
    return made, whose, notes.caveats()


class _Cleaner:
    """Builds a cleaned header from one header."""

    def __init__(self, header: Dataset, notes: _Notes) -> None:
        self._header = header
        self._notes = notes

    def of_plane(self) -> Dataset:
        """Add what results read from each plane's header."""
        clean = Dataset()
        for keyword in AS_READ:
            if self._is_read(keyword):
                clean[keyword] = self._header[keyword]
        self._set_forms(clean, FORMS_OF_PLANE)
        for keyword in UIDS:
            if keyword in clean and not is_regular_uid(str(clean[keyword].value)):
                self._notes.carried[keyword] = None
        return clean

    def add_series(self, clean: Dataset) -> None:
        """Add what results read from the series' first header."""
        self._set_character_set(clean)
        self._set_forms(clean, FORMS_OF_SERIES)
        for keyword, kind in TEXTS_OF_SERIES.items():
            self._set_text(clean, keyword, kind)

    def of_subject(self, *, where: str) -> Dataset:
        """Add patient and study; raises BadIdentity, with ``where``, where nothing names the patient."""
        clean = Dataset()
        self._set_character_set(clean)
        if self._is_read("StudyInstanceUID"):
            clean["StudyInstanceUID"] = self._header["StudyInstanceUID"]
        self._set_forms(clean, FORMS_OF_SUBJECT)
        for keyword, kind in TEXTS_OF_SUBJECT.items():
            fit = self._set_text(clean, keyword, kind)
            if not fit and (kind is Text.PATIENT or (keyword == "PatientName" and "PatientID" not in clean)):
                raise _unnamed(keyword, where)
        for keyword in SEQUENCES:
            if not self._set_sequence(clean, keyword) and keyword == OF_THE_PATIENT:
                raise _unnamed(keyword, where)
        return clean

    def _is_read(self, keyword: str) -> bool:
        try:
            return self._header.get(keyword) is not None
        except UNREADABLE:
            self._notes.left_out[keyword] = None
            return False

    def _ascii(self, keyword: str) -> str | None:
        """The value as text without padding, "" where it is absent; None where it is not ASCII text."""
        try:
            value = encoded_text(self._header, Tag(keyword))
            return "" if value is None else value.decode("ascii").strip(" \0")
        except UnicodeDecodeError:
            return None
        except Unfit:  # a number may have a binary representation
            if dictionary_VR(keyword) not in ("IS", "DS"):
                return None
            found = (item for item in values(self._header, keyword) if isinstance(item, int | float))
            return "\\".join(f"{item}" for item in found) or None

    def _set_forms(self, clean: Dataset, forms: Mapping[str, Callable[[str], str]]) -> None:
        for keyword, form in forms.items():
            text = self._ascii(keyword)
            if text == "":
                continue
            try:
                _put(clean, keyword, form(_required(text)).encode("ascii"))
            except (Unfit, *UNREADABLE):
                place = numbers(self._header, keyword, PLACES.get(keyword, 0)) if keyword in PLACES else None
                if place is None:
                    self._notes.left_out[keyword] = None
                else:  # the volume was built from them
                    _put(clean, keyword, "\\".join(f"{value:.9g}" for value in place).encode("ascii"))

    def _set_character_set(self, clean: Dataset) -> None:
        stated = self._ascii("SpecificCharacterSet")
        if stated == "":
            clean.set_original_encoding(False, True, convert_encodings("ISO_IR 6"))
            return
        terms = [] if stated is None else [term.strip() for term in stated.split("\\")]
        if terms and all(term in python_encoding for term in terms):
            _put(clean, "SpecificCharacterSet", "\\".join(terms).encode("ascii"))
        else:
            self._notes.left_out["SpecificCharacterSet"] = None
        character_set = clean.get("SpecificCharacterSet")
        clean.set_original_encoding(False, True, convert_encodings(character_set or "ISO_IR 6"))

    def _set_text(self, clean: Dataset, keyword: str, kind: Text) -> bool:
        """Put the text's own bytes into ``clean``, if every format accepts it or it is irregular in a known way.

        Returns True where the text is absent, or is now in ``clean``.
        """
        tag, character_set = Tag(keyword), clean.get("SpecificCharacterSet")
        try:
            value = encoded_text(self._header, tag, self._header.get("SpecificCharacterSet"))
            if value is None or not value.strip(b" \0"):
                return True
            read = read_text(value, character_set, tag)
        except (Unfit, *UNREADABLE):
            self._notes.left_out[keyword] = None
            return False
        if not _may_pass(read, kind):
            self._notes.left_out[keyword] = None
            return False
        if not (read.is_decoded and read.has_fit_multiplicity and read.times_too_long <= 1):
            self._notes.carried[keyword] = None
        _put(clean, keyword, value.rstrip(b"\0"))
        return True

    def _set_sequence(self, clean: Dataset, keyword: str) -> bool:
        """Put the valid items into ``clean``; returns whether that is all of them."""
        try:
            if keyword not in self._header or not self._header[keyword].value:
                return True
            items, whole = valid_items(self._header[keyword], clean.get("SpecificCharacterSet"))
            if keyword == PROCEDURE_CODES:
                kept = [*complete(items)]
                items, whole = kept, whole and len(kept) == len(items)
        except (Unfit, *UNREADABLE):
            items, whole = [], False
        if not whole:
            self._notes.left_out[keyword] = None
        if items:
            clean.add_new(keyword, "SQ", items)
        return whole


def _may_pass(read: ReadText, kind: Text) -> bool:
    if read.has_controls:
        return False
    match kind:
        case Text.PATIENT | Text.IDENTIFIER:
            return read.is_printable and read.is_decoded and read.times_too_long <= IRREGULAR
        case Text.NAME:
            return read.times_too_long <= IRREGULAR
        case Text.DESCRIPTION:
            return read.is_decoded and read.has_fit_multiplicity and read.times_too_long <= 1


def _unnamed(keyword: str, where: str) -> BadIdentity:
    return BadIdentity(
        f"{keyword} holds a value that no report can repeat: its result could name another patient.",
        where=where,
        todo="Have the sender correct it, then send the series again.",
    )


def _required(text: str | None) -> str:
    if text is None:
        raise Unfit
    return text


def _put(clean: Dataset, keyword: str, value: bytes) -> None:
    clean[keyword] = raw_element(Tag(keyword), dictionary_VR(keyword), value)


def keywords() -> Iterable[str]:
    """All attributes of a source that a result may repeat or compute with."""
    tables = (AS_READ, FORMS_OF_PLANE, FORMS_OF_SERIES, TEXTS_OF_SERIES, FORMS_OF_SUBJECT, TEXTS_OF_SUBJECT, SEQUENCES)
    return dict.fromkeys(("SpecificCharacterSet", *(keyword for table in tables for keyword in table)))
