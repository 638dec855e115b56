"""The text and JSON of notifications. Neither holds patient data: a finding is named by its job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from dicom_node.monitoring.ledger import Change, Waiting
from dicom_node.settings.tree import Settings

MOST_LINES: Final = 50
_WORDS: Final[dict[Change, str]] = {
    "began": "begun",
    "grew": "grown",
    "escalated": "not acknowledged",
    "ended": "ended",
}


@dataclass(frozen=True)
class Message:
    """One message to one receiver; ``id`` is the same if it is sent again."""

    id: str
    subject: str
    text: str
    content: dict[str, Any]


def message(waiting: Sequence[Waiting], settings: Settings) -> Message:
    """One message of all lines that wait for a receiver: a digest where there are several."""
    node = settings.receive.ae_title
    link = settings.notify.link.rstrip("/")
    lines = [_line(item, link) for item in waiting[:MOST_LINES]]
    if len(waiting) > MOST_LINES:
        lines.append(f"And {len(waiting) - MOST_LINES} more: `candela notify list` shows what is open.")
    if len(waiting) == 1:
        about = f"{_WORDS[waiting[0].change]}: {waiting[0].event} {waiting[0].id}"
    else:
        numbers = Counter(item.change for item in waiting)
        about = ", ".join(f"{number} {_WORDS[change]}" for change, number in numbers.items())
    changes = [
        {
            "number": item.number,
            "change": item.change,
            "id": item.id,
            "event": item.event,
            "text": item.text,
            "link": f"{link}{item.path}" if link and item.path else None,
            "at": datetime.fromtimestamp(item.at, UTC).isoformat(timespec="seconds"),
        }
        for item in waiting
    ]
    return Message(
        id=f"{node.strip()}-{waiting[0].number}-{waiting[-1].number}".replace(" ", "-"),
        subject=f"Candela {node}: {about}",
        text="\n\n".join([*lines, _FOOT]) + "\n",
        content={"version": 1, "node": node, "test": False, "changes": changes},
    )


def trial(settings: Settings, now: float) -> Message:
    """The message of `candela notify test`."""
    node = settings.receive.ae_title
    return Message(
        id=f"{node.strip()}-test-{now:.0f}".replace(" ", "-"),
        subject=f"Candela {node}: test",
        text="This is a test message. Nothing is wrong.\n",
        content={"version": 1, "node": node, "test": True, "changes": []},
    )


_FOOT: Final = "To acknowledge: candela notify ack ID. Research software; answers are unverified and not for diagnosis."


def _line(item: Waiting, link: str) -> str:
    at = datetime.fromtimestamp(item.at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [f"[{_WORDS[item.change]}] {item.text}", f"    {item.event} {item.id}, {at}"]
    if link and item.path:
        lines.append(f"    {link}{item.path}")
    return "\n".join(lines)
