"""The patient and study that one instance names: its identifying attributes in a comparable form.

Every text is decoded in the instance's own character sets, and the instance keeps its bytes: pydicom would decode an
element for good, and a result would then carry re-encoded bytes. Blanks and NULs that pad a value never count
(PS3.5 6.2).
"""

from __future__ import annotations

import functools
import re
import unicodedata
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.valuerep import PN_DELIMS

from pipeline.patient.attributes import encoded
from pipeline.reading.attributes import items
from pipeline.reading.value_forms import TEXT_VRS

PADDING = " \0\t\r\n"
UNREADABLE = "\ufffd"
LETTERS = {"ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ı": "i", "œ": "oe", "æ": "ae", "ø": "o"}
"""Letters that Unicode does not decompose into a base letter and a mark, with their plain spelling."""
DIGRAPHS = {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae", "œ": "oe"}
"""The usual transliterations of German and the Nordic languages."""
MARKS = re.compile(r"[\u0300-\u036f]")
"""Combining marks of the Latin, Greek and Cyrillic scripts. Those of other scripts (kana, Indic vowels) are letters."""
COMPONENTS = 5
"""Of a component group: family, given and middle name, prefix, suffix (PS3.5 6.2.1)."""


@dataclass(frozen=True)
class Name:
    """A Patient's Name. ``text`` is as decoded, without padding and empty components at the end; "" for an empty name.

    ``groups`` are its component groups (alphabetic, ideographic, phonetic; PS3.5 6.2.1.1) by number, each with its
    possible readings. A reading is a tuple of the five components, reduced to letters and digits without case and
    diacritics.
    """

    text: str = ""
    raw: bytes = b""
    groups: tuple[tuple[int, frozenset[tuple[str, ...]]], ...] = ()


@dataclass(frozen=True)
class Named:
    """Patient and study by one instance. Texts are "" where the attribute is absent, empty or invalid.

    ``issuer`` is compared without case; ``qualifiers`` are Universal Entity ID, its type and Identifier Type Code of
    the first item of Issuer of Patient ID Qualifiers; ``others`` the Other Patient IDs with their issuers.
    """

    study: str = ""
    patient_id: str = ""
    issuer: str = ""
    qualifiers: tuple[str, str, str] = ("", "", "")
    name: Name = Name()
    birth_date: str = ""
    birth_time: str = ""
    sex: str = ""
    accession: str = ""
    accession_issuer: tuple[str, ...] = ()
    study_id: str = ""
    others: tuple[tuple[str, str], ...] = ()
    identity_removed: str = ""
    quality_control: str = ""


def named_by(ds: Dataset) -> Named:
    """Read the identity from ``ds``, an instance or its header, which stays unchanged."""
    sex = text_of(ds, "PatientSex").upper()
    return Named(
        study=text_of(ds, "StudyInstanceUID"),
        patient_id=_exact(ds, "PatientID"),
        issuer=_folded_issuer(text_of(ds, "IssuerOfPatientID")),
        qualifiers=_qualifiers(ds),
        name=name_of(ds),
        birth_date=_day(text_of(ds, "PatientBirthDate")),
        birth_time=text_of(ds, "PatientBirthTime"),
        sex=sex if sex in ("M", "F", "O") else "",
        accession=_exact(ds, "AccessionNumber"),
        accession_issuer=_accession_issuer(ds),
        study_id=_exact(ds, "StudyID"),
        others=_others(ds),
        identity_removed=text_of(ds, "PatientIdentityRemoved").upper(),
        quality_control=text_of(ds, "QualityControlSubject").upper(),
    )


def text_of(ds: Dataset, keyword: str) -> str:
    """A text attribute decoded in the instance's character sets, without padding; "" where it is absent."""
    return _decode(raw_of(ds, keyword), _character_sets(ds)).strip(PADDING)


def raw_of(ds: Dataset, keyword: str) -> bytes:
    """A text attribute as encoded bytes, those of the file where it was not decoded before; empty
    where it is absent.
    """
    tag = Tag(keyword)
    if tag not in ds:
        return b""
    element: object = ds.get_item(tag)
    if isinstance(element, RawDataElement) and (element.VR in TEXT_VRS or element.VR is None):
        return element.value or b""
    return encoded(ds, keyword) or b""


def name_of(ds: Dataset) -> Name:
    """The Patient's Name. If the character set is undeclared or wrong, the likely ones are tried too."""
    raw = raw_of(ds, "PatientName").strip(PADDING.encode())
    sets = _character_sets(ds)
    text = _decode(raw, sets)
    candidates = [text]
    if not sets:
        candidates += _as(raw, "utf-8")
    if UNREADABLE in text:
        candidates += _as(raw, "latin-1")
    split = [candidate.split("=") for candidate in candidates]
    groups = {
        number: frozenset(
            reading for groups in split if number < len(groups) for reading in _readings(groups[number]) if any(reading)
        )
        for number in range(3)
    }
    shown = "=".join(group.strip(PADDING + "^") for group in text.split("=")).strip("=")
    return Name(shown, raw, tuple((number, readings) for number, readings in groups.items() if readings))


def same_name(one: Name, other: Name) -> bool:
    """Whether two names, neither empty, differ only in spelling.

    These do not count: character set, case, diacritics and their transliterations (Jörg, Joerg, Jorg), punctuation,
    where components are separated, component groups that only one of them has, and a middle name, prefix or suffix in
    only one of them.
    """
    if one.raw == other.raw:
        return True
    first, second = dict(one.groups), dict(other.groups)
    shared = first.keys() & second.keys()
    if shared and all(_agree(first[number], second[number]) for number in shared):
        return True
    # A scanner without component groups writes ideographs into the alphabetic group.
    return any(_agree(first[mine], second[theirs]) for mine in first for theirs in second if mine != theirs)


def _agree(some: Iterable[tuple[str, ...]], others: Iterable[tuple[str, ...]]) -> bool:
    return any(_same_reading(one, other) for one in some for other in others)


def _same_reading(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    if "".join(one) == "".join(other):
        return True
    family_and_given = one[:2] == other[:2] and all(one[:2])
    return family_and_given and all(a == b or not a or not b for a, b in zip(one[2:], other[2:], strict=True))


def _readings(group: str) -> set[tuple[str, ...]]:
    parts = (group.split("^") + [""] * COMPONENTS)[:COMPONENTS]
    return {tuple(_letters(part, table) for part in parts) for table in (LETTERS, {**LETTERS, **DIGRAPHS})}


def _letters(text: str, table: dict[str, str]) -> str:
    """Letters and digits of ``text`` in lower case, with ``table`` applied and without diacritics."""
    composed = unicodedata.normalize("NFKC", text).casefold()
    written = "".join(table.get(mark, mark) for mark in composed)
    apart = MARKS.sub("", unicodedata.normalize("NFKD", written))
    return "".join(mark for mark in apart if unicodedata.category(mark)[0] in "LNM")


def _character_sets(ds: Dataset) -> tuple[str, ...]:
    """The declared Specific Character Set; () for the default repertoire."""
    declared = ds.get("SpecificCharacterSet") or ()
    several = isinstance(declared, MultiValue | list | tuple)  # an empty first value means the default repertoire
    values = tuple(str(value) for value in declared) if several else (str(declared),)
    return () if all(value.strip(PADDING) in ("", "ISO_IR 6", "ISO 2022 IR 6") for value in values) else values


@functools.lru_cache(maxsize=64)
def _encodings(sets: tuple[str, ...]) -> tuple[str, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of unknown character sets; the text itself shows what cannot be read
        return tuple(convert_encodings(list(sets) or "ISO_IR 6"))


def _decode(raw: bytes, sets: tuple[str, ...]) -> str:
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return decode_bytes(raw, list(_encodings(sets)), PN_DELIMS)


def _as(raw: bytes, encoding: str) -> list[str]:
    try:
        return [raw.decode(encoding)]
    except UnicodeDecodeError:
        return []


def _exact(ds: Dataset, keyword: str) -> str:
    """An identifier. Unreadable bytes represent themselves, so that two unreadable identifiers are not equal."""
    text = text_of(ds, keyword)
    if UNREADABLE in text:
        return f"{UNREADABLE}{raw_of(ds, keyword).strip(PADDING.encode()).hex()}"
    return unicodedata.normalize("NFC", text)


def _folded_issuer(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _first_item(ds: Dataset, keyword: str) -> Dataset | None:
    found = items(ds, keyword)
    return found[0] if found else None


def _qualifiers(ds: Dataset) -> tuple[str, str, str]:
    item = _first_item(ds, "IssuerOfPatientIDQualifiersSequence")
    if item is None:
        return "", "", ""
    entity, kind, code = (
        text_of(item, keyword) for keyword in ("UniversalEntityID", "UniversalEntityIDType", "IdentifierTypeCode")
    )
    return entity.casefold(), kind.upper(), code.upper()


def _accession_issuer(ds: Dataset) -> tuple[str, ...]:
    item = _first_item(ds, "IssuerOfAccessionNumberSequence")
    if item is None:
        return ()
    found = tuple(
        _folded_issuer(text_of(item, keyword))
        for keyword in ("LocalNamespaceEntityID", "UniversalEntityID", "UniversalEntityIDType")
    )
    return found if any(found) else ()


def _others(ds: Dataset) -> tuple[tuple[str, str], ...]:
    found = items(ds, "OtherPatientIDsSequence")
    pairs = {(_exact(item, "PatientID"), _folded_issuer(text_of(item, "IssuerOfPatientID"))) for item in found}
    return tuple(sorted(pairs))


def _day(text: str) -> str:
    """A date as eight digits, from DICOM's or ACR-NEMA's form; "" where it is not a calendar day."""
    match = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})", text)
    if match is None:
        return ""
    try:
        date(*(int(part) for part in match.groups()))
    except ValueError:
        return ""
    return "".join(match.groups())
