"""The response to a Store request of STOW-RS: what became of one instance (PS3.18 10.5.3, I.2.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from typing import Any, Final

from dicom_node.deliver.store_status import StatusMeaning, status_text, verdict

REFERENCED, FAILED, OTHER_FAILURES = "00081199", "00081198", "0008119A"
INSTANCE, FAILURE_REASON, WARNING_REASON = "00081155", "00081197", "00081196"
THERE_ALREADY: Final = frozenset({0x0111, 0xB00E})
"""Failure reasons that mean that the server has the instance: PS3.7's, and that of Azure's DICOM service."""
LATER: Final = frozenset({0x0213, 0xB00F})
"""Failure reasons after which another try may succeed, besides those of C-STORE: resource limitation; Azure's, for an
instance that is being stored at this moment."""
NO_SUCH_SYNTAX: Final = 0xC122
"""Failure reason: the server does not take this transfer syntax."""
WORDS: Final = {
    NO_SUCH_SYNTAX: "transfer syntax not supported",
    0xA901: "instance of another study",
    0x0213: "resource limitation",
    0xB00F: "being stored by another request",
}


class NotStow(Exception):
    """The body is no Store Instances Response."""


class Fate(Enum):
    """What a response says of the instance that was sent."""

    STORED = auto()
    FAILED = auto()
    OTHER = auto()
    """It names other instances only."""
    UNNAMED = auto()
    """It names none."""


def fate_of(body: bytes, sop_instance_uid: str) -> tuple[Fate, int]:
    """What the DICOM JSON ``body`` says of the only instance of the request.

    The number is the warning reason of a stored instance, or the failure reason; 0 where the server states none.

    Raises
    ------
    NotStow
        where ``body`` is not DICOM JSON of one response.
    """
    response = _response(body)
    failed = list(_items(response, FAILED))
    stored = list(_items(response, REFERENCED))
    for item in failed:
        if _text(item, INSTANCE) == sop_instance_uid:
            return Fate.FAILED, _number(item, FAILURE_REASON)
    for item in stored:
        if _text(item, INSTANCE) == sop_instance_uid:
            return Fate.STORED, _number(item, WARNING_REASON)
    for item in _items(response, OTHER_FAILURES):  # parts that the server could not name: we sent one
        return Fate.FAILED, _number(item, FAILURE_REASON)
    return (Fate.OTHER if failed or stored else Fate.UNNAMED), 0


def is_later(reason: int) -> bool:
    """Whether an instance that failed for ``reason`` may be stored by a later try."""
    return reason in LATER or verdict(reason) is StatusMeaning.LATER


def reason_text(reason: int) -> str:
    """``reason`` in hexadecimal, with words where there are some."""
    if not reason:
        return "no reason given"
    words = WORDS.get(reason)
    return f"0x{reason:04X} {words}" if words else status_text(reason)


def _response(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        raise NotStow from None
    if isinstance(found, list) and len(found) == 1:  # some servers answer as to a search
        found = found[0]
    if not isinstance(found, dict):
        raise NotStow
    return found


def _items(response: Mapping[str, Any], tag: str) -> Iterator[Mapping[str, Any]]:
    element = response.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    for item in values if isinstance(values, list) else []:
        if isinstance(item, dict):
            yield item


def _value(item: Mapping[str, Any], tag: str) -> object:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _text(item: Mapping[str, Any], tag: str) -> str:
    return str(_value(item, tag)).strip(" \0")


def _number(item: Mapping[str, Any], tag: str) -> int:
    try:
        return int(str(_value(item, tag)))
    except ValueError:
        return 0
