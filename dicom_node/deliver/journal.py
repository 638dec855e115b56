"""The journal of a partly sent result, which lets an interrupted delivery continue where it stopped.

A line is added for each instance that the PACS took, and for each that it has lost. Lines are only ever appended: the
results of a series share a folder, and several may be on their way to one PACS at once. If a line of the first kind is
lost, an object is sent again under the same SOP Instance UID; a line of the second kind is on disk before anything else
happens.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final
from urllib.parse import quote

import structlog

log = structlog.get_logger("candela.deliver")
FOLDER: Final = ".sent"
NAME_MOST: Final = 200
"""Characters of a file's name; file systems take 255 bytes."""


class Journal:
    """The instances in ``folder`` that ``peer`` took, by SOP Instance UID and SHA-256 of the file.

    Only one sender at a time may write about an instance. A file that was rewritten with other bytes counts as not
    sent.
    """

    def __init__(self, folder: Path, peer: str) -> None:
        name = quote(peer, safe="")
        if len(name) > NAME_MOST:
            name = hashlib.sha256(peer.encode()).hexdigest()
        self._path = folder / FOLDER / f"{name}.jsonl"
        self._taken = self._read()

    def has(self, sop_instance_uid: str, path: Path) -> bool:
        """Whether the peer took the file at ``path`` as it is now."""
        return sop_instance_uid in self._taken and self._taken[sop_instance_uid] == _digest(path)

    def note(self, sop_instance_uid: str, path: Path) -> None:
        """Record that the peer took the file at ``path``."""
        digest = _digest(path)
        self._taken[sop_instance_uid] = digest
        try:
            self._add([(sop_instance_uid, digest)], durably=False)
        except OSError as error:
            log.warning("journal_not_written", error=error.strerror or type(error).__name__)

    def forget(self, sop_instance_uids: Collection[str]) -> None:
        """Record instances that the peer has lost, so that they are sent again."""
        lost = [name for name in sop_instance_uids if name in self._taken]
        if lost:
            self._add([(name, None) for name in lost], durably=True)
        for name in lost:
            del self._taken[name]

    def _add(self, lines: list[tuple[str, str | None]], *, durably: bool) -> None:
        self._path.parent.mkdir(exist_ok=True)
        with self._path.open("a", encoding="ascii") as file:
            # One write, since others append too; a leading line end, in case a kill cut the last line short.
            file.write("".join(f"\n{json.dumps(line)}" for line in lines))
            file.flush()
            if durably:
                os.fdatasync(file.fileno())

    def _read(self) -> dict[str, str]:
        if not self._path.is_file():
            return {}
        taken: dict[str, str] = {}
        for line in self._path.read_text("ascii", errors="replace").splitlines():
            try:
                name, digest = json.loads(line)
            except ValueError:  # cut off by a kill or a full disk
                continue
            if digest is None:
                taken.pop(name, None)
            else:
                taken[name] = digest
        return taken


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
