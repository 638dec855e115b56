"""The audit trail from its newest line back, a page at a time, without a whole file in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from dicom_node.audit.trail import FILE, day_of, files

BLOCK: Final = 64 * 1024
"""Bytes of a read."""
LOOKED_THROUGH: Final = 16 * 1024 * 1024
"""Bytes that one page looks through at most, so that a filter which nothing passes ends too."""


@dataclass(frozen=True)
class Place:
    """A place in the trail: the file's name, and the offset of a line in it. Lines are only ever appended, so that it
    stays valid until retention removes the file.
    """

    file: str
    offset: int


@dataclass(frozen=True)
class AuditFilter:
    """What to look for. ``activity``: a code of CID 400; ``user``: name of either party, regardless of case; ``day``:
    UTC.
    """

    activity: str = ""
    user: str = ""
    day: date | None = None

    def holds(self, record: dict[str, Any]) -> bool:
        """Whether a line passes, its day apart."""
        if self.activity and record["activity"].get("code") != self.activity:
            return False
        names = {str(record[party].get("name")).casefold() for party in ("source", "destination")}
        return not self.user or self.user.casefold() in names


def newest(
    folder: Path, wanted: AuditFilter, before: Place | None, limit: int
) -> tuple[list[dict[str, Any]], Place | None]:
    """Up to ``limit`` records that pass, newest first, from the one before ``before``; and where the next page begins,
    None at the end. A page is shorter where it has looked through `LOOKED_THROUGH`.
    """
    found: list[dict[str, Any]] = []
    looked = 0
    for path in reversed(_candidates(folder, wanted, before)):
        end = before.offset if before is not None and path.name == before.file else None
        for offset, line in _lines_back(path, end):
            looked += len(line) + 1
            record = _record(line)
            if record is not None and wanted.holds(record):
                found.append(record)
            if len(found) == limit or looked >= LOOKED_THROUGH:
                return found, Place(path.name, offset)
    return found, None


def is_file_name(name: str) -> bool:
    """Whether a file of the trail could have this name."""
    return FILE.fullmatch(name) is not None


def _candidates(folder: Path, wanted: AuditFilter, before: Place | None) -> list[Path]:
    known = [path for path in files(folder) if wanted.day is None or day_of(path) == wanted.day]
    return [path for path in known if before is None or path.name <= before.file]


def _lines_back(path: Path, end: int | None) -> Iterator[tuple[int, bytes]]:
    """The lines of ``path`` that end by the offset ``end``, last first, each with its own offset."""
    try:
        file = path.open("rb")
    except FileNotFoundError:  # retention removed it
        return
    with file:
        size = file.seek(0, os.SEEK_END)
        at, rest = size if end is None else min(end, size), b""
        while at > 0:
            step = min(BLOCK, at)
            at -= step
            file.seek(at)
            lines = (file.read(step) + rest).split(b"\n")
            rest = lines.pop(0)
            place = at + len(rest) + 1 + sum(len(line) + 1 for line in lines)
            for line in reversed(lines):
                place -= len(line) + 1
                if line:
                    yield place, line
        if rest:
            yield 0, rest


def _record(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None for one that a crash cut short."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    tables = ("activity", "source", "destination")
    return found if isinstance(found, dict) and all(isinstance(found.get(name), dict) for name in tables) else None
