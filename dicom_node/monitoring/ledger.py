"""Which troubles there are, who was told of what, and which messages wait: one file that survives restarts.

The notifying process alone writes it. An acknowledgement is a file of its own, which `candela notify ack` writes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import structlog

from dicom_node.store.durable import write_durably
from pipeline.errors import BadSettings, CandelaError

log = structlog.get_logger("candela.notify")

STATE: Final = "state.json"
FORMAT: Final = 1
Change = Literal["began", "grew", "ended", "escalated"]


class NoSuchTrouble(CandelaError):
    """No trouble has this id."""

    code = "NO_SUCH_TROUBLE"
    remedy = "Take an id from `candela notify list`."


@dataclass
class Entry:
    """One trouble. Times are seconds since the epoch; ``announced`` that of the last message about its beginning or
    growth, ``told`` the receivers that got or wait for one.

    ``ended`` is kept after the end, for `Notify.repeat_after`.
    """

    id: str
    key: str
    event: str
    text: str
    path: str
    lasts: bool
    began: float
    weight: int
    rules: list[int] = field(default_factory=list)
    ended: float | None = None
    announced: float | None = None
    announced_weight: int = 0
    told: list[str] = field(default_factory=list)
    escalated: list[int] = field(default_factory=list)


@dataclass
class Waiting:
    """One line of a message that has not been sent; ``number`` is unique in the ledger."""

    number: int
    receiver: str
    change: Change
    id: str
    event: str
    text: str
    path: str
    at: float


@dataclass
class Acknowledgement:
    """Who saw a trouble, and when."""

    by: str
    at: float


class Ledger:
    """The ledger in ``folder``.

    Raises
    ------
    BadSettings
        where a newer version of Candela wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[str, Entry] = {}
        self.waiting: list[Waiting] = []
        self.looked: float | None = None
        """The end of the period whose ended work was looked through."""
        self._numbers = 0
        self._written = b""
        if (folder / STATE).is_file():
            try:
                self._read((folder / STATE).read_bytes())
            except (ValueError, KeyError, TypeError):
                (folder / STATE).replace(folder / f"{STATE}.broken")
                log.warning("notify_state_put_aside", aside=f"{STATE}.broken")

    def save(self) -> None:
        """Write what has changed. Raises OSError."""
        content = json.dumps(
            {
                "format": FORMAT,
                "looked": self.looked,
                "numbers": self._numbers,
                "entries": [asdict(item) for item in self.entries.values()],
                "waiting": [asdict(item) for item in self.waiting],
            },
            indent=1,
        ).encode()
        if content != self._written:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_durably(self.folder / STATE, content)
            self._written = content

    def add(self, receiver: str, change: Change, entry: Entry, text: str, at: float) -> None:
        """Let a line wait for ``receiver``."""
        self._numbers += 1
        self.waiting.append(Waiting(self._numbers, receiver, change, entry.id, entry.event, text, entry.path, at))

    def open(self) -> Iterator[Entry]:
        """The troubles that last, and the findings that nobody has acknowledged."""
        for item in self.entries.values():
            if item.ended is None and (item.lasts or self.acknowledgement(item.id) is None):
                yield item

    def acknowledge(self, entry_id: str, by: str, at: float) -> Entry:
        """Record that somebody has seen a trouble; a second time changes nothing. Any process may call it.

        Raises
        ------
        NoSuchTrouble
        """
        found = next((item for item in self.entries.values() if item.id == entry_id and item.ended is None), None)
        if found is None:
            raise NoSuchTrouble("There is no such trouble.", where=entry_id, todo="`candela notify list` shows all.")
        path = self._acknowledged(entry_id)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, json.dumps({"by": by, "at": at}).encode())
        return found

    def acknowledgement(self, entry_id: str) -> Acknowledgement | None:
        """Who has seen a trouble; None where nobody has."""
        try:
            return Acknowledgement(**json.loads(self._acknowledged(entry_id).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def renew(self, entry: Entry, entry_id: str, at: float) -> None:
        """Let a trouble that had ended begin again, under another id: nobody has seen it yet."""
        self._acknowledged(entry.id).unlink(missing_ok=True)
        entry.id, entry.began, entry.ended = entry_id, at, None
        entry.told, entry.escalated, entry.announced_weight = [], [], 0

    def forget(self, entry: Entry) -> None:
        del self.entries[entry.key]
        self._acknowledged(entry.id).unlink(missing_ok=True)

    def _acknowledged(self, entry_id: str) -> Path:
        return self.folder / "acknowledged" / f"{entry_id}.json"

    def _read(self, content: bytes) -> None:
        data: dict[str, Any] = json.loads(content)
        if data["format"] > FORMAT:
            raise BadSettings(
                "The notes on notifications were written by a newer version of Candela.",
                where=str(self.folder / STATE),
                todo="Run that version or a newer one.",
            )
        self.entries = {item["key"]: Entry(**item) for item in data["entries"]}
        self.waiting = [Waiting(**item) for item in data["waiting"]]
        self.looked, self._numbers, self._written = data["looked"], data["numbers"], content


def trouble_id(key: str, began: float) -> str:
    """Eight hexadecimal digits, which people can type and which name no patient."""
    return hashlib.sha256(f"{key}\x1f{began}".encode()).hexdigest()[:8]
