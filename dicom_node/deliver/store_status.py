"""Statuses of C-STORE, which STOW-RS uses as failure reasons and warnings too (PS3.18 I.2)."""

from __future__ import annotations

from enum import Enum, auto


class StatusMeaning(Enum):
    """The meaning of a C-STORE status for the sender."""

    STORED = auto()
    NOTED = auto()
    LATER = auto()
    NEVER = auto()


STATUS_TEXT = {
    0x0110: "processing failure",
    0x0111: "there already",
    0x0117: "invalid SOP instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0xB000: "elements coerced",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class",
}
STATUS_RANGE_TEXT = {0xA7: "out of resources", 0xA9: "data set does not match SOP class"}


def verdict(status: int) -> StatusMeaning:
    """The meaning of C-STORE status ``status`` (PS3.4 B.2.3 and GG, PS3.7 9.1.1.1.9 and C).

    0x0000 is stored; warnings (0xBxxx, 0x0001, 0x0107, 0x0116) and 0x0111 "duplicate SOP instance" are stored with a
    note; 0xA7xx out of resources and 0x0110 processing failure may succeed later; all others (0xA9xx, 0xCxxx, 0x0117,
    0x0122, 0x0124, 0x021x, unknown ones) are final rejections.
    """
    if status == 0x0000:
        return StatusMeaning.STORED
    if status >> 12 == 0xB or status in (0x0001, 0x0107, 0x0111, 0x0116):
        return StatusMeaning.NOTED
    if status >> 8 == 0xA7 or status == 0x0110:
        return StatusMeaning.LATER
    return StatusMeaning.NEVER


def status_text(status: int) -> str:
    """``status`` in hexadecimal, with the standard's name for it if there is one."""
    words = STATUS_TEXT.get(status) or STATUS_RANGE_TEXT.get(status >> 8)
    if words is None and status >> 12 == 0xC:
        words = "cannot understand"
    return f"0x{status:04X}" + (f" {words}" if words else "")
