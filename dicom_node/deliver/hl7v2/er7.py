"""Text in HL7 v2's bar notation: escapes, character sets, and the data types of a report."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pipeline.errors import Rejected
from pipeline.findings.codes import PRIVATE_SCHEME, Code
from pipeline.report.patient_study import Issued

ESCAPES: Final = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"})
"""HL7 2.5.1, 2.7.1, with the delimiters ``|^~\\&``."""
MOST_CODE: Final = 20
"""Characters of an identifier in CE (HL7 2.5.1, 2.A.9)."""
MOST_TEXT: Final = 150
"""Characters of an alternate text, so that code and alternate together fit OBX-3 (250)."""


@dataclass(frozen=True)
class Encoding:
    """The encoding of a message: Python's ``codec``, and the values of MSH-18 and MSH-20.

    ISO IR87 (JIS X 0208) is an alternate of ASCII, switched to and from by escape sequences (ISO 2022).
    """

    codec: str
    msh_18: str
    msh_20: str = ""


ENCODINGS: Final[dict[str, Encoding]] = {
    "UNICODE UTF-8": Encoding("utf-8", "UNICODE UTF-8"),
    "ASCII": Encoding("ascii", "ASCII"),
    **{f"8859/{part}": Encoding(f"iso8859_{part}", f"8859/{part}") for part in (1, 2, 5, 7, 9, 15)},
    "ISO IR87": Encoding("iso2022_jp", "~ISO IR87", "ISO 2022-1994"),
    "GB 18030-2000": Encoding("gb18030", "GB 18030-2000"),
    "KS X 1001": Encoding("euc_kr", "KS X 1001"),
    "BIG-5": Encoding("big5", "BIG-5"),
}

SUBSTITUTES: Final = {
    "×": "x",
    "³": "3",
    "²": "2",
    "–": "-",
    "—": "-",
    "’": "'",
    "‘": "'",
    "“": '"',
    "”": '"',
    "…": "...",
    "\N{NO-BREAK SPACE}": " ",
    "\N{NARROW NO-BREAK SPACE}": " ",
}
"""Plain spellings of typographic marks in our own sentences. Names are never respelt."""


def escaped(text: str) -> str:
    """``text`` for use within one component: delimiters escaped, line breaks and control characters as spaces."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip().translate(ESCAPES)


def encode(message: str, character_set: str) -> bytes:
    """``message`` in ``character_set``.

    Raises
    ------
    Rejected
        where the set lacks a character: a name must not be respelt, nor arrive with question marks.
    """
    try:
        return message.encode(ENCODINGS[character_set].codec)
    except UnicodeEncodeError:
        raise Rejected(
            f"The report has characters that {character_set} lacks.",
            where="character_set",
            todo="Set another one that the receiver takes, best UNICODE UTF-8, then `candela jobs retry`.",
        ) from None


def plain(text: str, character_set: str) -> str:
    """A sentence of Candela, with plain marks in place of typographic ones that ``character_set`` lacks."""
    if is_encodable(text, character_set):
        return text
    return "".join(SUBSTITUTES.get(mark, mark) for mark in text)


def is_encodable(text: str, character_set: str) -> bool:
    """Whether ``character_set`` has every character of ``text``."""
    try:
        text.encode(ENCODINGS[character_set].codec)
    except UnicodeEncodeError:
        return False
    return True


def coded(code: Code) -> str:
    """CE or CWE: identifier, text, name of the coding system (table 0396 has DICOM's designators)."""
    return "^".join((escaped(code.value), escaped(code.meaning), escaped(code.scheme)))


def coded_for(code: Code, what: Code, text: str) -> str:
    """CE of ``code`` with a local alternate (the last three components) that says of ``what``, in words ``text``.

    The text of ``code`` stays as its system has it: receivers compare it.
    """
    alternate = f"P-{what.value}" if len(what.value) <= MOST_CODE - 2 else digest(what.value)
    return f"{coded(code)}^{coded(Code(alternate, PRIVATE_SCHEME, text[:MOST_TEXT]))}"


def digest(text: str) -> str:
    """14 letters and digits (70 bits) that stand for ``text`` in a field that has no room for it."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode("ascii")[:14]


def unit(code: Code) -> str:
    """CE of a UCUM unit (OBX-6)."""
    return coded(code)


def authority(system: str | None, name: str = "") -> str:
    """HD of an assigning authority, within a component: namespace, universal identifier, its type (table 0301)."""
    for prefix, kind in (("urn:oid:", "ISO"), ("urn:uuid:", "UUID")):
        if system and system.startswith(prefix):
            return f"{escaped(name)}&{escaped(system.removeprefix(prefix))}&{kind}"
    if system:
        return f"{escaped(name)}&{escaped(system)}&URI"
    return escaped(name)


def numbered(issued: Issued, kind: str, name: str = "") -> str:
    """CX: a number, its assigning authority (``name`` where none is stated), its type (table 0203)."""
    assigner = issued.assigner or ("" if issued.system else name)
    return f"{escaped(issued.value)}^^^{authority(issued.system, assigner)}^{kind}"


def entity(issued: Issued) -> str:
    """EI: a number and its assigning authority."""
    return f"{escaped(issued.value)}^{authority(issued.system, issued.assigner or '').replace('&', '^')}".rstrip("^")


def instant(text: str | None) -> str:
    """TS of ISO 8601: a day, an instant with its time zone, or day and time alone."""
    if not text:
        return ""
    if len(text) == 10:
        return text.replace("-", "")
    return datetime.fromisoformat(text).strftime("%Y%m%d%H%M%S%z")


def names(dicom_name: str) -> str:
    """XPN of a DICOM person name, one repetition for each of its groups (alphabetic, ideographic, phonetic)."""
    return "~".join("^".join((*parts, "", "L", group)) for parts, group in _groups(dicom_name))


def person(dicom_name: str) -> str:
    """XCN of a DICOM person name: one of its groups, since a repetition would be another person."""
    parts, group = next(_groups(dicom_name), ((), ""))
    return "^".join(("", *parts, *("",) * 3, "L", *("",) * 4, group)) if parts else ""


def _groups(dicom_name: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Family, given and middle name, suffix and prefix of each group that is not empty, and its code of table 0465.

    DICOM has prefix before suffix, HL7 suffix before prefix.
    """
    for group, representation in zip(dicom_name.split("=")[:3], "AIP", strict=False):
        family, given, middle, prefix, suffix = (*group.split("^"), "", "", "", "", "")[:5]
        if any((family, given, middle, prefix, suffix)):
            yield tuple(map(escaped, (family, given, middle, suffix, prefix))), representation
