"""Tolerant readers of attributes that may be absent, empty, multi-valued or malformed. They never raise.

Routing and protocol checks read unchecked headers. An unreadable value counts as absent.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence

from pipeline.reading.validation import UNREADABLE
from pipeline.reading.value_forms import printable

LONGEST = 1024
"""Most characters of a text for a rule or a message."""


def values(header: Dataset, keyword: str) -> tuple[Any, ...]:
    """Every value of an attribute, without empty ones; () where it is absent or cannot be parsed."""
    try:
        value = header.get(keyword)
        items = value if isinstance(value, (MultiValue, list, tuple)) else (value,)
        return tuple(item for item in items if item is not None and item != "")
    except UNREADABLE:
        return ()


def texts(header: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of a text attribute, stripped, without control characters, at most `LONGEST` characters each.

    Values that are not text (a wrong VR) are left out. A Code String comes in capitals (PS3.5 6.2), whatever the sender
    wrote: mr is MR. Errors and caveats may repeat these values.
    """
    found = (printable(str(item))[:LONGEST] for item in values(header, keyword) if isinstance(item, str | int | float))
    capital = _is_code(keyword)
    return tuple(item.upper() if capital else item for item in found if item)


def text(header: Dataset, keyword: str) -> str:
    """A text attribute as in the data set: several values joined by a backslash, "" where absent."""
    return "\\".join(texts(header, keyword))


@cache
def _is_code(keyword: str) -> bool:
    tag = tag_for_keyword(keyword)
    return tag is not None and dictionary_VR(tag) == "CS"


def number(header: Dataset, keyword: str) -> float | None:
    """The one finite number that an attribute holds; None where it holds none, or several that differ."""
    found = set()
    for item in values(header, keyword):
        try:
            found.add(float(item))
        except (TypeError, ValueError, OverflowError):
            return None
    if len(found) != 1:
        return None
    value = found.pop()
    return value if math.isfinite(value) else None


def numbers(header: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly ``count`` finite numbers, or None."""
    try:
        found = tuple(float(item) for item in values(header, keyword))
    except (TypeError, ValueError, OverflowError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def items(header: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """The items of a sequence; () where it is absent or not a sequence (a wrong VR)."""
    try:
        value = header.get(keyword)
    except UNREADABLE:
        return ()
    return tuple(value) if isinstance(value, DicomSequence) else ()
