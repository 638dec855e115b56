"""Association requests as odd peers make them, how the node answers, and where it differs from dcmtk on purpose."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from tests.peers.upper_layer import (
    APPLICATION_CONTEXT,
    CONTEXTS,
    ECHO,
    EXPLICIT,
    IMPLICIT,
    MR,
    STORE,
    USER,
    VERIFICATION,
    Request,
    context,
    item,
)

ODD_TITLE: Final = b"\xc0\xb3`I\xfc\x7f"
STRANGER: Final = (1, 1, 1)
UNREADABLE: Final = (1, 2, 1)
LENGTH: Final = item(0x51, struct.pack(">I", 16384))
CLASS_UID: Final = item(0x52, b"1.2.3")


@dataclass(frozen=True)
class Odd:
    """An odd request. ``rejected``: how Candela rejects it; None: it is accepted, and C-ECHO and C-STORE work then.

    ``differs``: why Candela and dcmtk do not agree. ``numbers``: presentation contexts of C-ECHO and C-STORE, which
    are not tried where there are none.
    """

    name: str
    request: Request
    rejected: tuple[int, int, int] | None = None
    differs: str = ""
    numbers: tuple[int, int] | None = (ECHO, STORE)


def user(extra: bytes) -> Request:
    """A request with a further sub-item of User Information."""
    return Request(user=USER + extra)


def role(name: bytes, flags: bytes, length: int | None = None) -> bytes:
    return item(0x54, struct.pack(">H", len(name) if length is None else length) + name + flags)


def more(*contexts: bytes) -> Request:
    """A request with further presentation contexts."""
    return Request(contexts=(*CONTEXTS, *contexts))


DCMTK_HANGS = "dcmtk reads it as malformed and never answers; it carries no decision"
PADDED = "dcmtk takes NUL as padding only; blanks are no part of a UID either"
TABLE: Final = (
    Odd("plain", Request()),
    # AE titles
    Odd("titles padded with NUL", Request(pad=b"\0")),
    Odd("the rest of a buffer behind NUL", Request(calling=b"MODALITY\0xyz\xff", called=b"CANDELA\0\x1b[2J")),
    Odd("titles with leading blanks", Request(calling=b"  MODALITY", called=b"  CANDELA")),
    Odd("titles with a tab and a line feed", Request(calling=b"MODALITY\t", called=b"CANDELA\r\n")),
    Odd("a calling title that is not ASCII", Request(calling=ODD_TITLE)),
    Odd("a calling title with a backslash", Request(calling=b"MR\\1")),
    Odd("a stranger that is not ASCII", Request(calling=b"\xff\n\x1b[31m"), STRANGER, "dcmtk asks for no AE title"),
    Odd("a title in lower case", Request(calling=b"modality"), STRANGER, "dcmtk asks for no AE title"),
    Odd("no calling title", Request(calling=b""), STRANGER),
    Odd("no called title", Request(called=b""), STRANGER),
    # protocol version: "shall only test that bit 0 is set"
    Odd("version 0", Request(version=0), (1, 2, 2)),
    Odd("version 2", Request(version=2), (1, 2, 2)),
    Odd("version 3", Request(version=3)),
    Odd("every version", Request(version=0xFFFF)),
    Odd("reserved bytes", Request(reserved=0xFFFF)),
    # application context
    Odd("application context with NUL", Request(application=APPLICATION_CONTEXT + b"\0")),
    Odd("application context with a blank", Request(application=APPLICATION_CONTEXT + b" "), differs=PADDED),
    Odd("another application context", Request(application=b"1.2.3"), (1, 1, 2)),
    Odd("a long application context", Request(application=b"1" * 70), (1, 1, 2)),
    Odd("an empty application context", Request(application=b""), (1, 1, 2)),
    Odd("no application context", Request(application=None), (1, 1, 2)),
    Odd("two application contexts", Request(first=item(0x10, b"1.2.3"))),
    # variable items
    Odd("an unknown item first", Request(first=item(0x77, b"abc"))),
    Odd("an unknown item last", Request(last=item(0x77, b"abc"))),
    Odd("NUL behind the items", Request(last=bytes(8))),
    Odd("one NUL behind the items", Request(last=b"\0"), differs=DCMTK_HANGS),
    Odd("User Information first", Request(first=item(0x50, USER), user=None)),
    Odd("a context of an A-ASSOCIATE-AC", more(item(0x21, bytes((5, 0, 0, 0)) + item(0x40, IMPLICIT)))),
    Odd("bytes behind the items", Request(last=b"\xff" * 5), UNREADABLE),
    Odd("an item longer than the PDU", Request(last=item(0x20, b"\5\0\0\0", 99)), UNREADABLE),
    Odd("User Information longer than the PDU", Request(user=None, last=item(0x50, USER, 999)), UNREADABLE),
    Odd("cut in an item", Request(cut=80), UNREADABLE),
    Odd("cut behind the titles", Request(cut=40), UNREADABLE),
    Odd("cut in the titles", Request(cut=10), STRANGER),
    Odd("nothing", Request(cut=0), STRANGER),
    # User Information
    Odd("no User Information", Request(user=None)),
    Odd("an empty User Information", Request(user=b"")),
    Odd("two User Informations", Request(last=item(0x50, USER))),
    Odd("an unknown sub-item", user(item(0x7A, b"abcdef"))),
    Odd("an unknown sub-item first", Request(user=item(0x7A, b"abcdef") + USER)),
    Odd("a sub-item of type 0", user(item(0, b""))),
    Odd("a version name of 40 characters", Request(user=LENGTH + CLASS_UID + item(0x55, b"V" * 40))),
    Odd("an empty version name", Request(user=LENGTH + CLASS_UID + item(0x55, b""))),
    Odd("a version name that is not ASCII", Request(user=LENGTH + CLASS_UID + item(0x55, b"\xff\n\x1b"))),
    Odd("no implementation class", Request(user=LENGTH)),
    Odd("an empty implementation class", Request(user=LENGTH + item(0x52, b""))),
    Odd("an implementation class with blanks", Request(user=LENGTH + item(0x52, b"1.2.3  "))),
    Odd("an implementation class with NUL", Request(user=LENGTH + item(0x52, b"1.2.3\0\0"))),
    Odd("an implementation class in words", Request(user=LENGTH + item(0x52, b"hello"))),
    Odd("an implementation class that is not ASCII", Request(user=LENGTH + item(0x52, b"\xff\xfe"))),
    Odd("a long implementation class", Request(user=LENGTH + item(0x52, b"1" * 70)), differs=DCMTK_HANGS),
    Odd("no Maximum Length", Request(user=CLASS_UID)),
    Odd("Maximum Length 0", Request(user=item(0x51, bytes(4)) + CLASS_UID)),
    Odd("Maximum Length 64", Request(user=item(0x51, struct.pack(">I", 64)) + CLASS_UID)),
    Odd("the longest Maximum Length", Request(user=item(0x51, b"\xff" * 4) + CLASS_UID)),
    Odd("Maximum Length of two bytes", Request(user=item(0x51, b"\x40\0") + CLASS_UID)),
    Odd("Maximum Length of eight bytes", Request(user=item(0x51, b"\0\0\x40\0\0\0\0\0") + CLASS_UID)),
    Odd("Maximum Length 1", Request(user=item(0x51, b"\0\0\0\1") + CLASS_UID), UNREADABLE),
    Odd("asynchronous operations", user(item(0x53, bytes(4)))),
    Odd("asynchronous operations cut short", user(item(0x53, bytes(2)))),
    Odd("both roles", user(role(MR, b"\1\1"))),
    Odd("a role of its own twice", user(role(MR, b"\1\1") * 2)),
    Odd("roles that are no flags", user(role(MR, b"\2\2"))),
    Odd("a role whose length is a lie", user(role(MR, b"\1\1", 99)), differs=DCMTK_HANGS),
    Odd("an empty role", user(item(0x54, b"")), differs=DCMTK_HANGS),
    Odd("extended negotiation", user(item(0x56, struct.pack(">H", len(MR)) + MR + b"\2\0\0\0\0\0"))),
    Odd("extended negotiation that is a lie", user(item(0x56, struct.pack(">H", 99) + MR)), differs=DCMTK_HANGS),
    Odd("common extended negotiation that is a lie", user(item(0x57, struct.pack(">H", 99) + MR))),
    Odd("a user and a password", user(item(0x58, b"\2\1\0\4user\0\4pass"))),
    Odd("a user of an unknown kind", user(item(0x58, b"\x09\1\0\4user\0\4pass")), differs=DCMTK_HANGS),
    Odd("a sub-item longer than its item", user(item(0x7A, b"abc", 99)), UNREADABLE),
    Odd("a sub-item cut short", user(b"\x7a\xff"), UNREADABLE),
    # presentation contexts
    Odd("no context", Request(contexts=()), differs=DCMTK_HANGS, numbers=None),
    Odd(
        "even numbers",
        Request(contexts=(context(2, VERIFICATION, [IMPLICIT]), context(4, MR, [EXPLICIT]))),
        numbers=(2, 4),
    ),
    Odd("the number 0", Request(contexts=(CONTEXTS[0], context(0, MR, [EXPLICIT]))), numbers=(ECHO, 0)),
    Odd("one number twice", more(context(STORE, b"1.2.840.10008.5.1.4.1.1.2", [IMPLICIT]))),
    Odd(
        "UIDs with NUL",
        Request(contexts=(context(1, VERIFICATION + b"\0", [IMPLICIT + b"\0"]), context(3, MR, [EXPLICIT + b"\0\0"]))),
    ),
    Odd(
        "UIDs with blanks",
        Request(contexts=(context(1, VERIFICATION + b" ", [IMPLICIT]), context(3, MR, [b" " + EXPLICIT + b" "]))),
        differs=PADDED,
    ),
    Odd(
        "padding behind the syntaxes",
        Request(
            contexts=(context(1, VERIFICATION, [IMPLICIT], extra=b"\0"), context(3, MR, [EXPLICIT], extra=b"\0 \0"))
        ),
        differs=DCMTK_HANGS,
    ),
    Odd("a context without transfer syntax", more(context(5, MR, [])), differs=DCMTK_HANGS),
    Odd("a context without abstract syntax", more(item(0x20, bytes((5, 0, 0, 0)) + item(0x40, IMPLICIT)))),
    Odd("an empty abstract syntax", more(context(5, b"", [IMPLICIT]))),
    Odd("an empty transfer syntax", more(context(5, MR, [b"", EXPLICIT]))),
    Odd("an abstract syntax that is not ASCII", more(context(5, b"\xff\n", [IMPLICIT]))),
    Odd("a long abstract syntax", more(context(5, b"1" * 70, [IMPLICIT])), differs=DCMTK_HANGS),
    Odd("a transfer syntax that is not ASCII", more(context(5, MR, [b"\xff\n", IMPLICIT]))),
    Odd("an unknown sub-item of a context", more(context(5, MR, [IMPLICIT], extra=item(0x77, b"a")))),
    Odd("a sub-item longer than its context", more(context(5, MR, [IMPLICIT], extra=item(0x40, b"a", 9))), UNREADABLE),
    Odd("a context without header", more(item(0x20, b"\5")), UNREADABLE),
    Odd("128 contexts", more(*(context(2 * k + 1, MR, [EXPLICIT]) for k in range(2, 128)))),
)
