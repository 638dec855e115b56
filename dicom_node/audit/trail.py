"""The audit trail: who sent and read what, what was delivered to whom, when and with which outcome.

One file a day (UTC), ``audit-2026-11-25.jsonl``, one JSON object a line, only ever appended to and synced line by line;
several processes may write, always to the newest file, even after the clock was set back. The trail holds no names,
patient identifiers or accession numbers. Each line holds the SHA-256 of the line before it, so that `verify` finds a
changed or removed line.

Activities are those of DICOM's audit messages (PS3.15 A.5.3), so that a line converts to an AuditEvent without loss
(`fhir.audit_event`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any, Final, Literal

from filelock import FileLock

from dicom_node.settings.tree import Settings
from dicom_node.store.durable import sync_folder
from pipeline.errors import OutOfResources

LOOK_EVERY: Final = 0.01
"""Seconds between two attempts to lock the trail."""
LINE_MOST: Final = 64 * 1024
"""Bytes; a line is a few hundred."""
FILE: Final = re.compile(r"audit-(\d{4}-\d{2}-\d{2})\.jsonl")


class Activity(Enum):
    """The kind of event: code and meaning of CID 400 (PS3.16)."""

    APPLICATION = ("110100", "Application Activity")
    LOG_USED = ("110101", "Audit Log Used")
    ACCESSED = ("110103", "DICOM Instances Accessed")
    TRANSFERRED = ("110104", "DICOM Instances Transferred")
    EXPORT = ("110106", "Export")
    IMPORT = ("110107", "Import")
    QUERY = ("110112", "Query")
    SECURITY_ALERT = ("110113", "Security Alert")
    USER_AUTHENTICATION = ("110114", "User Authentication")


class ActionCode(StrEnum):
    """The event action code (PS3.15 A.5.2.2)."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class OutcomeIndicator(IntEnum):
    """The event outcome indicator (PS3.15 A.5.2.4): success; failed and retried; failed; the node
    itself is impaired.
    """

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8
    MAJOR_FAILURE = 12


@dataclass(frozen=True)
class Party:
    """A machine or a user. ``name``: AE title, destination or user name; ``address``: host or URL without secrets."""

    name: str
    kind: Literal["node", "dicom", "fhir", "hl7v2", "http", "folder", "user"]
    address: str = ""


@dataclass(frozen=True)
class AuditRecord:
    """One line. ``source`` sent, ``destination`` received; ``what`` names the kind of result or request, ``count`` the
    number of instances or resources; ``instances`` are individually concerned ones. ``reason`` is an error's stable
    code, never its text, which a peer may have written.
    """

    activity: Activity
    action: ActionCode
    outcome: OutcomeIndicator
    source: Party
    destination: Party
    what: str = ""
    count: int | None = None
    studies: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    job: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class AuditTrail:
    """Writes to ``folder``. Files older than ``retention_days`` are removed when a new day begins."""

    folder: Path
    retention_days: int | None = None
    plain_uids: bool = True
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(tz=UTC))

    def record(self, record: AuditRecord) -> None:
        """Append ``record``; it is on stable storage when this returns.

        Raises
        ------
        OutOfResources
            where the line could not be written. The recorded action should then not count as done.
        """
        try:
            with self._alone():
                self._append(record, self.clock().astimezone(UTC))
        except OSError as error:
            raise OutOfResources(
                f"The audit trail cannot be written: {error.strerror or type(error).__name__}.",
                where=str(self.folder),
                todo="Free space or correct its permissions; it is tried again.",
            ) from error

    def _append(self, record: AuditRecord, now: datetime) -> None:
        path = self._file(now)
        begins = not path.exists()
        if begins:
            self._forget(now.date())
        last = _last_line(path)
        line = json.dumps({**self._content(record, now), "previous": _digest(last)}, ensure_ascii=False)
        # A crash may have cut the last line short: it stays, and this record begins a new line.
        torn = b"" if begins or _ends_whole(path) else b"\n"
        data = torn + line.encode() + b"\n"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if os.write(descriptor, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if begins:
            sync_folder(self.folder)

    def _file(self, now: datetime) -> Path:
        """The file of the day, or the newest one where the clock was set back: each line follows the one before it."""
        path = self.folder / f"audit-{now:%Y-%m-%d}.jsonl"
        return max([path, *files(self.folder)[-1:]], key=lambda item: item.name)

    def _content(self, record: AuditRecord, now: datetime) -> dict[str, Any]:
        code, meaning = record.activity.value
        return {
            "id": str(uuid.uuid4()),
            "time": now.isoformat(timespec="milliseconds"),
            "activity": {"code": code, "meaning": meaning},
            "action": record.action.value,
            "outcome": record.outcome.value,
            "reason": record.reason,
            "source": vars(record.source),
            "destination": vars(record.destination),
            "what": record.what,
            "count": record.count,
            "studies": [self._uid(item) for item in record.studies],
            "series": [self._uid(item) for item in record.series],
            **({"instances": [self._uid(item) for item in record.instances]} if record.instances else {}),
            "job": self._uid(record.job) if record.job else None,
        }

    def _uid(self, value: str) -> str:
        return value if self.plain_uids else hashlib.sha256(value.encode()).hexdigest()[:12]

    def _forget(self, today: date) -> None:
        if self.retention_days is None:
            return
        for path in files(self.folder):
            if day_of(path) < today - timedelta(days=self.retention_days):
                path.unlink(missing_ok=True)

    def _alone(self) -> FileLock:
        """One writer at a time, over all threads and processes; the kernel frees the lock of a process that dies."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return FileLock(self.folder / ".lock", mode=0o600, poll_interval=LOOK_EVERY, fallback_to_soft=False)


def open_trail(settings: Settings) -> AuditTrail:
    """The trail that the settings describe. Cheap: it opens no file yet."""
    audit = settings.audit
    return AuditTrail(settings.audit_dir, audit.retention_days, audit.uids == "plain")


def files(folder: Path) -> list[Path]:
    """The trail's files, oldest first."""
    return sorted(path for path in folder.glob("audit-*.jsonl") if FILE.fullmatch(path.name))


def day_of(path: Path) -> date:
    match = FILE.fullmatch(path.name)
    assert match is not None, "only files of the trail"
    return date.fromisoformat(match[1])


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The records of one day, in order; a line that a crash cut short is left out."""
    for line in path.read_bytes().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def verify(folder: Path) -> list[str]:
    """Check that every line follows the one before it; returns one sentence for each fault.

    A line that a crash cut short counts as a fault. Removal of the very last line goes unnoticed. The first line of the
    oldest file follows one that retention may have removed.
    """
    problems = []
    expected: str | None = None
    for path in files(folder):
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            where = f"{path.name}, line {number}"
            try:
                previous = json.loads(line)["previous"]
            except (ValueError, KeyError, TypeError):
                problems.append(f"{where}: not a whole record (a crash, or a change by hand)")
            else:
                if expected is not None and previous != expected:
                    problems.append(f"{where}: does not follow the line before it (changed or removed)")
            expected = _digest(line)
    return problems


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest() if line else ""


def _last_line(path: Path) -> bytes:
    """The last line of the trail up to ``path``, without its line end; empty where nothing was written yet."""
    known = [item for item in files(path.parent) if item.name <= path.name and item.stat().st_size]
    if not known:
        return b""
    with known[-1].open("rb") as file:
        file.seek(max(0, known[-1].stat().st_size - LINE_MOST))
        return file.read().removesuffix(b"\n").rpartition(b"\n")[2]


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
