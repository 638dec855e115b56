"""Reads an A-ASSOCIATE-RQ (PS3.8 9.3.2) as tolerantly as dcmtk does, and rewrites it in the form that pynetdicom
accepts.

pynetdicom ends the connection at anything that it does not know: an AE title that is not ASCII, a sub-item of a later
edition, a name that is too long. PS3.8 9.3.1 requires that unrecognized items are ignored. The rules for each part:

- items that decide nothing (version name, implementation class, extended negotiation, user identity) are dropped or
  replaced where they are odd;
- a malformed presentation context is refused by itself;
- a PDU with inconsistent items, or without the items that a response needs, has a `Fault`, and so has a request for
  another protocol. The titles are read even then, so that admission can tell a known caller why.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pipeline.reading.validation import is_uid

APPLICATION_CONTEXT: Final = b"1.2.840.10008.3.1.1.1"
"""The DICOM application context name (PS3.7 A.2.1)."""
NO_UID: Final = b"2.25.0"
"""Replaces anything that is not a UID; no implementation supports it as abstract or transfer syntax."""
USUAL_LENGTH: Final = 16384
"""Maximum Length for a caller that gives none: less than any implementation accepts."""
SHORTEST_LENGTH: Final = 7
"""Bytes that a presentation data value of one byte needs (PS3.8 table 9-23)."""
SYNTAXES_MOST: Final = 256
"""Most transfer syntaxes of one context that are read; some sixty exist."""
ROLES_MOST: Final = 256
PADDING: Final = b"\0 "
FIXED: Final = 74
"""Bytes before the variable items."""

_ITEM: Final = struct.Struct(">BBH")
_MAXIMUM_LENGTH, _CLASS_UID, _ROLE, _VERSION_NAME = 0x51, 0x52, 0x54, 0x55
_SAME_NUMBERS: Final = bytes(range(256))


class Fault(StrEnum):
    """Why a request is rejected for every caller."""

    MALFORMED = "malformed"
    PROTOCOL_VERSION = "protocol_version"
    APPLICATION_CONTEXT = "application_context"


@dataclass(frozen=True)
class AssociateRequest:
    """An association request.

    ``called`` and ``calling`` are the 16 bytes of each title as received. ``encoded`` is the PDU for pynetdicom: its
    titles are placeholders, its protocol version is 1, and ``numbers[number]`` replaces each presentation context
    number, since pynetdicom rejects even ones. ``numbers`` is its own inverse. ``detail`` describes the ``fault``, if
    any, and repeats nothing that the caller wrote. ``echo`` are the 64 bytes that an acceptance repeats (PS3.8 table
    9-17).
    """

    called: bytes
    calling: bytes
    encoded: bytes
    fault: Fault | None = None
    detail: str = ""
    numbers: bytes = _SAME_NUMBERS
    echo: bytes = bytes(64)


class _Unreadable(Exception):
    """The PDU's items are inconsistent."""


def read_request(received: bytes) -> AssociateRequest:
    """Read the A-ASSOCIATE-RQ PDU ``received``, which may be any bytes."""
    called, calling, echo = received[10:26], received[26:42], received[10:FIXED].ljust(64, b"\0")
    fault, detail, numbers = None, "", _SAME_NUMBERS
    items: list[bytes] = []
    try:
        names, contexts, user = _variable_items(received)
        numbers = _odd_numbers([context[0] for context in contexts])
        items = [_item(0x20, numbers[context[0] : context[0] + 1] + context[1:]) for context in contexts]
        maximum, others = _user_items(user)
    except _Unreadable as error:
        fault, detail, items, maximum, others = Fault.MALFORMED, str(error), [], USUAL_LENGTH, []
    else:
        if not received[7] & 1:  # "shall only test that bit 0 is set"
            fault, detail = Fault.PROTOCOL_VERSION, "the protocol version is not 1"
        elif APPLICATION_CONTEXT not in names:
            fault, detail = Fault.APPLICATION_CONTEXT, "the application context is not DICOM's"
    content = struct.pack(">HH", 1, 0) + b"CALLED".ljust(16) + b"CALLING".ljust(16) + bytes(32)
    content += _item(0x10, APPLICATION_CONTEXT) + b"".join(items)
    content += _item(0x50, _item(_MAXIMUM_LENGTH, struct.pack(">I", maximum)) + b"".join(others))
    encoded = struct.pack(">BBI", 1, 0, len(content)) + content
    return AssociateRequest(called, calling, encoded, fault, detail, numbers, echo)


def acceptance(request: AssociateRequest, encoded: bytes) -> bytes:
    """The A-ASSOCIATE-AC of pynetdicom with the caller's own titles and numbers."""
    answer = bytearray(encoded)
    answer[10:FIXED] = request.echo
    at = FIXED
    while at < len(answer):
        kind, _, length = _ITEM.unpack_from(answer, at)
        if kind == 0x21:
            answer[at + 4] = request.numbers[answer[at + 4]]
        at += 4 + length
    return bytes(answer)


def renumbered(request: AssociateRequest, encoded: bytes) -> bytes:
    """A P-DATA-TF PDU with its numbers exchanged, on the way to or from pynetdicom."""
    if request.numbers == _SAME_NUMBERS:
        return encoded
    data = bytearray(encoded)
    at = 6
    while at + 5 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        data[at + 4] = request.numbers[data[at + 4]]
        at += 4 + length
    return bytes(data)


def _variable_items(received: bytes) -> tuple[list[bytes], list[bytes], list[tuple[int, bytes]]]:
    """Application context names, contents of the presentation contexts, and sub-items of User Information."""
    if len(received) < FIXED:
        raise _Unreadable("the PDU ends before its variable items")
    names: list[bytes] = []
    contexts: dict[int, bytes] = {}
    user: list[tuple[int, bytes]] = []
    for kind, content in _items(received[FIXED:], "the PDU"):
        if kind == 0x10:
            names.append(content.strip(PADDING))
        elif kind == 0x20:
            if len(content) < 4:
                raise _Unreadable("a presentation context is shorter than its header")
            # Of two contexts with one number the first counts, as in dcmtk: the second could change how data is read.
            contexts.setdefault(content[0], _context(content))
        elif kind == 0x50:
            user += _items(content, "User Information")
    return names, list(contexts.values()), user


def _context(content: bytes) -> bytes:
    """A presentation context that has one abstract and one or more transfer syntaxes, each a UID or `NO_UID`."""
    abstract, syntaxes = NO_UID, []
    for kind, name in _items(content[4:], "a presentation context"):
        if kind == 0x30:
            abstract = _uid(name)
        elif kind == 0x40:
            syntaxes.append(_uid(name))
    syntaxes = list(dict.fromkeys(syntaxes))[:SYNTAXES_MOST] or [NO_UID]
    inside = [_item(0x30, abstract), *(_item(0x40, syntax) for syntax in syntaxes)]
    return content[:4] + b"".join(inside)


def _user_items(user: list[tuple[int, bytes]]) -> tuple[int, list[bytes]]:
    """Maximum Length, and the other sub-items for pynetdicom."""
    maximum, class_uid, version, roles = USUAL_LENGTH, NO_UID, b"", []
    for kind, content in user:
        if kind == _MAXIMUM_LENGTH and len(content) >= 4:
            (maximum,) = struct.unpack_from(">I", content)
        elif kind == _CLASS_UID:
            class_uid = _uid(content)
        elif kind == _VERSION_NAME:
            version = bytes(byte for byte in content if 0x20 < byte < 0x7F)[:16]
        elif kind == _ROLE and (role := _role(content)):
            roles.append(role)
    if 0 < maximum < SHORTEST_LENGTH:
        raise _Unreadable("the Maximum Length is too short for any answer")
    others = [_item(_CLASS_UID, class_uid), *roles[:ROLES_MOST]]
    return maximum, [*others, _item(_VERSION_NAME, version)] if version else others


def _role(content: bytes) -> bytes | None:
    """A role selection (PS3.7 D.3.3.4) with valid lengths and flags, or None."""
    length = int.from_bytes(content[:2])
    name, flags = _uid(content[2 : 2 + length]), content[2 + length :]
    if name == NO_UID or len(flags) != 2 or not set(flags) <= {0, 1}:
        return None
    return _item(_ROLE, struct.pack(">H", len(name)) + name + flags)


def _items(content: bytes, holder: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of each item; up to three bytes of padding may follow the last."""
    at = 0
    while len(content) - at >= _ITEM.size:
        kind, _, length = _ITEM.unpack_from(content, at)
        at += _ITEM.size + length
        if at > len(content):
            raise _Unreadable(f"an item of type 0x{kind:02X} is longer than {holder} that holds it")
        yield kind, content[at - length : at]
    if content[at:].strip(PADDING):
        raise _Unreadable(f"bytes behind the last item of {holder}")


def _item(kind: int, content: bytes) -> bytes:
    return _ITEM.pack(kind, 0, len(content)) + content


def _uid(name: bytes) -> bytes:
    """``name`` without padding where it is a UID, else `NO_UID`."""
    plain = name.strip(PADDING)
    return plain if is_uid(plain.decode("latin-1")) else NO_UID


def _odd_numbers(numbers: list[int]) -> bytes:
    """A table that exchanges each even number with an unused odd one; it is its own inverse."""
    table = bytearray(_SAME_NUMBERS)
    free = (number for number in range(1, 256, 2) if number not in numbers)
    for number in numbers:
        if number % 2 == 0:
            stand_in = next(free, None)
            if stand_in is None:
                raise _Unreadable("more than 128 presentation contexts")
            table[number], table[stand_in] = stand_in, number
    return bytes(table)
