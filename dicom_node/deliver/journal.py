"""What a PACS has of a result that was sent in part: an interrupted delivery goes on where it stopped.

A line is written after each instance that the PACS took. Nothing depends on its being there: a line that is lost is an
object that is sent again, under the same SOP Instance UID.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Final
from urllib.parse import quote

import structlog

from dicom_node.durable import write_durably

log = structlog.get_logger("candela.deliver")
FOLDER: Final = ".sent"


class Journal:
    """The instances of the results in ``folder`` that ``peer`` took, by SOP Instance UID and SHA-256 of the file.

    One sender at a time writes to it. A file that was made anew with other bytes counts as not sent.
    """

    def __init__(self, folder: Path, peer: str) -> None:
        self._path = folder / FOLDER / f"{quote(peer, safe='')}.jsonl"
        self._taken = self._read()

    def has(self, sop_instance_uid: str, path: Path) -> bool:
        """Whether the peer took the file at ``path`` as it is now."""
        return sop_instance_uid in self._taken and self._taken[sop_instance_uid] == _digest(path)

    def note(self, sop_instance_uid: str, path: Path) -> None:
        """The peer took the file at ``path``."""
        digest = _digest(path)
        self._taken[sop_instance_uid] = digest
        try:
            self._path.parent.mkdir(exist_ok=True)
            with self._path.open("a", encoding="ascii") as file:
                # A line of its own even where a kill cut the last one off.
                file.write("\n" * (file.tell() > 0) + json.dumps([sop_instance_uid, digest]))
        except OSError as error:
            log.warning("journal_not_written", error=error.strerror or type(error).__name__)

    def forget(self, sop_instance_uids: Collection[str]) -> None:
        """The peer has lost these: they are sent again."""
        kept = {name: digest for name, digest in self._taken.items() if name not in sop_instance_uids}
        if kept == self._taken:
            return
        self._taken = kept
        write_durably(self._path, "\n".join(json.dumps([*item]) for item in kept.items()).encode("ascii"))

    def _read(self) -> dict[str, str]:
        if not self._path.is_file():
            return {}
        taken = {}
        for line in self._path.read_text("ascii", errors="replace").splitlines():
            try:
                name, digest = json.loads(line)
            except ValueError:  # cut off by a kill or a full disk
                continue
            taken[name] = digest
        return taken


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
