"""The forms by VR (PS3.5 6.2) that a header's value must have for results to repeat it."""

from __future__ import annotations

import datetime as dt
import math
import re
import unicodedata
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pydicom import config
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_has_tag, dictionary_VM, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS, validate_value

from pipeline.reading.validation import UNREADABLE, is_uid

TEXT_VRS: Final = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UN", "UR", "UT"}
)
"""VRs whose bytes are text; UN is text where the dictionary's VR is (PS3.5 6.2.2)."""
LONGEST: Final = {"LO": 64, "SH": 16, "PN": 64, "ST": 1024, "LT": 10240}
"""Most characters of one value; for a name (PN), of each component group."""
MOST_GROUPS: Final = 3
MULTI_LINE: Final = frozenset({"ST", "LT", "UT"})
EARLIEST, LATEST = 1800, 2199
"""First and last year of a date. Software writes 0001-01-01, 1601-01-01, 1753-01-01 and 9999-12-31 for an unknown
date."""
MOST_INTEGER: Final = (1 << 31) - 1
"""Limits of an Integer String (PS3.5 6.2), and of FHIR's integers."""
WEST, EAST = -12 * 60, 14 * 60
"""Limits of the offset from UTC in minutes (PS3.3 C.12.1.1.8)."""
MOST_THICKNESS: Final = 1000.0
"""mm"""
MOST_DEPTH: Final = 4
DECIMAL_STRING: Final = 16
"""Most characters of a Decimal String."""


class Unfit(Exception):
    """The value has no valid form for its attribute."""


@dataclass(frozen=True)
class ReadText:
    """A decoded text and its properties.

    ``is_decoded``: its character set covers every byte. ``is_printable``: FHIR, HL7 and pages can repeat it as is.
    ``times_too_long``: its length over what its VR allows.
    """

    is_decoded: bool
    is_printable: bool
    has_controls: bool
    has_fit_multiplicity: bool
    times_too_long: float


def encoded_text(ds: Dataset, tag: BaseTag, character_set: Any = None) -> bytes | None:
    """A text attribute as encoded bytes, those of the file where it was not decoded before; None where it is absent.

    ``character_set``: Specific Character Set of a text that was decoded.

    Raises
    ------
    Unfit
        where the element is a sequence or a binary value, or cannot be written.
    """
    if tag not in ds:
        return None
    try:
        element: Any = ds.get_item(tag)
        if (element.VR or dictionary_VR(tag)) not in TEXT_VRS:
            raise Unfit
        if isinstance(element, RawDataElement):
            return bytes(element.value or b"")
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, True
        write_data_element(buffer, element, convert_encodings(character_set or "ISO_IR 6"))
        return buffer.getvalue()[8:]  # tag and length
    except UNREADABLE as error:
        raise Unfit from error


def read_text(value: bytes, character_set: Any, tag: BaseTag) -> ReadText:
    """Read the bytes of a text attribute in ``character_set``. Unfit where no reader can decode them."""
    vr = dictionary_VR(tag)
    text = decode(value, character_set, vr)
    several = dictionary_VM(tag) != "1"
    parts = text.split("\\") if several else [text]
    if vr == "PN":
        groups = [part.split("=") for part in parts]
        parts = [group for found in groups for group in found]
        several = several and all(len(found) <= MOST_GROUPS for found in groups)
    allowed = {"\n", "\r", "\t", "\f"} if vr in MULTI_LINE else set()
    return ReadText(
        is_decoded="\N{REPLACEMENT CHARACTER}" not in text,
        is_printable=text.isprintable(),
        has_controls=any(unicodedata.category(mark) == "Cc" and mark not in allowed for mark in text),
        has_fit_multiplicity=several or "\\" not in text,
        times_too_long=max(len(part.strip()) for part in parts) / LONGEST.get(vr, len(text) + 1),
    )


def decode(value: bytes, character_set: Any, vr: str) -> str:
    """``value`` as text without padding; bytes outside of the character set become U+FFFD.

    Raises
    ------
    Unfit
        where the value cannot be decoded at all.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # warnings of unknown character sets and bytes; the text itself shows what cannot be read
            encodings = convert_encodings(character_set or "ISO_IR 6")
            return decode_bytes(value, encodings, PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS).strip(" \0")
    except UNREADABLE as error:
        raise Unfit from error


def raw_element(tag: BaseTag, vr: str, value: bytes) -> RawDataElement:
    """An undecoded element, as pydicom's file reader makes it: the padded bytes of ``value``."""
    value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    return RawDataElement(tag, vr, len(value), value, 0, False, True)


def printable(text: str) -> str:
    """``text`` without characters that no format accepts: controls, overrides of direction, surrogates. Any space
    becomes " ".
    """
    marks = (" " if mark.isspace() else mark for mark in text)
    return "".join(mark for mark in marks if mark.isprintable()).strip()


def date(text: str) -> str:
    """DA of a calendar day, also in ACR-NEMA's form (``2026.03.02``)."""
    match = re.fullmatch(r"(\d{4})(\.?)(\d{2})\2(\d{2})", text)
    if match is None or not EARLIEST <= int(match[1]) <= LATEST:
        raise Unfit
    try:
        return f"{dt.date(int(match[1]), int(match[3]), int(match[4])):%Y%m%d}"
    except ValueError as error:  # 20260231
        raise Unfit from error


def time(text: str) -> str:
    """TM, also in ACR-NEMA's form (``08:15:00``); no leap second, which FHIR and HL7 lack."""
    plain = re.sub(r"(?<=\d\d):(?=\d\d)", "", text)
    if re.fullmatch(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?", plain) is None:
        raise Unfit
    return plain


def zone(text: str) -> str:
    match = re.fullmatch(r"([+-])(\d{2})([0-5]\d)", text)
    if match is None:
        raise Unfit
    minutes = (60 * int(match[2]) + int(match[3])) * (-1 if match[1] == "-" else 1)
    if not WEST <= minutes <= EAST:
        raise Unfit
    return text if minutes else "+0000"


def integer(text: str) -> str:
    if re.fullmatch(r"[+-]?\d{1,11}(\.0*)?", text) is None:
        raise Unfit
    value = int(text.partition(".")[0])
    if abs(value) > MOST_INTEGER:
        raise Unfit
    return str(value)


def decimals(text: str) -> str:
    """DS, one value or several; a value with too many characters is rounded."""
    return "\\".join(map(_decimal, text.split("\\")))


def _decimal(text: str) -> str:
    number = text.strip()
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", number) is None or not math.isfinite(float(number)):
        raise Unfit
    return number if len(number) <= DECIMAL_STRING else f"{float(number):.9g}"


def thickness(text: str) -> str:
    found = _decimal(text)
    if not 0 < float(found) <= MOST_THICKNESS:
        raise Unfit
    return found


def one_of(*terms: str) -> Callable[[str], str]:
    def form(text: str) -> str:
        if text.upper() not in terms:
            raise Unfit
        return text.upper()

    return form


def code_string(text: str) -> str:
    """CS; in capitals, and with single blanks, since FHIR's code allows no more."""
    found = " ".join(text.upper().split(" "))
    if re.fullmatch(r"[A-Z0-9_]+( [A-Z0-9_]+)*", found) is None or len(found) > 16:
        raise Unfit
    return found


def code_strings(text: str) -> str:
    return "\\".join(code_string(part.strip()) for part in text.split("\\"))


def plain_text(text: str) -> str:
    """LO of one value in ASCII."""
    if not text.isprintable() or "\\" in text or len(text) > LONGEST["LO"]:
        raise Unfit
    return text


def uid(text: str) -> str:
    if not is_uid(text):
        raise Unfit
    return text


OF_VR: Final[dict[str, Callable[[str], str]]] = {
    "CS": code_string,
    "DA": date,
    "DS": _decimal,
    "IS": integer,
    "TM": time,
    "UI": uid,
}


def valid_items(element: DataElement, character_set: Any, depth: int = 0) -> tuple[list[Dataset], bool]:
    """Copies of the items in which every value is valid, and whether that is all of them.

    Private attributes, and items without attributes, are left out and not counted.

    Raises
    ------
    Unfit
        where the element is not a sequence, or is nested too deeply.
    """
    if element.VR != "SQ" or not isinstance(element.value, DicomSequence) or depth > MOST_DEPTH:
        raise Unfit
    valid, whole = [], True
    for item in element.value:
        try:
            made = _valid_item(item, character_set, depth)
        except (Unfit, *UNREADABLE):
            whole = False
            continue
        if made:
            valid.append(made)
    return valid, whole


def _valid_item(item: Dataset, character_set: Any, depth: int) -> Dataset:
    """A copy of ``item``. Unfit where any of its values is not valid for its VR."""
    made = Dataset()
    for tag in list(item.keys()):
        if tag.is_private or not dictionary_has_tag(tag) or tag == Tag("SpecificCharacterSet"):
            continue
        vr = dictionary_VR(tag)
        if vr == "SQ":
            nested, whole = valid_items(item[tag], character_set, depth + 1)
            if not whole:
                raise Unfit
            if nested:
                made.add_new(tag, "SQ", nested)
        elif vr in TEXT_VRS:
            value = encoded_text(item, tag, character_set)
            if value is not None and value.strip(b" \0"):
                made[tag] = raw_element(tag, vr, _valid(value, tag, character_set))
        else:
            validate_value(vr, item[tag].value, config.RAISE)
            made[tag] = item[tag]
    made.set_original_encoding(False, True, convert_encodings(character_set or "ISO_IR 6"))
    return made


def _valid(value: bytes, tag: BaseTag, character_set: Any) -> bytes:
    """``value``, of a text VR, in the form for an item. Unfit where it is not valid for its VR."""
    vr = dictionary_VR(tag)
    if vr in LONGEST or vr in ("UC", "UT"):
        read = read_text(value, character_set, tag)
        if read.has_controls or not (read.is_decoded and read.has_fit_multiplicity) or read.times_too_long > 1:
            raise Unfit
        return value.rstrip(b"\0")
    text = value.decode("ascii").strip(" \0")
    parts = text.split("\\") if dictionary_VM(tag) != "1" else [text]
    if vr in OF_VR:
        return "\\".join(OF_VR[vr](part.strip()) if part.strip() else "" for part in parts).encode("ascii")
    for part in parts:
        validate_value(vr, part, config.RAISE)
    return text.encode("ascii")
