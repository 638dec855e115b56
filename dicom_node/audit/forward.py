"""Forwards the audit trail to a FHIR audit repository, line by line, in order, at least once.

A file beside the trail holds the position after the last line that the repository took, and a restart continues there.
The repository stores a line once even if it gets it twice (`fhir.audit_event`). One process of a machine forwards at a
time.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog
from filelock import FileLock, Timeout

from dicom_node.audit import trail as audit
from dicom_node.deliver.fhir import client_for
from dicom_node.settings.destinations import FhirDestination
from dicom_node.settings.tree import Settings
from dicom_node.store.durable import write_durably
from fhir.audit_event import transaction
from pipeline.errors import CandelaError, Rejected

log = structlog.get_logger("candela.audit")

AT_ONCE: Final = 100
"""Records in one transaction."""
LOOK_EVERY: Final = 5.0
PAUSE_MOST: Final = 300.0
POSITION: Final = "forwarded.json"

Post = Callable[[dict[str, Any]], object]
"""Posts a transaction Bundle; raises CandelaError where it was not taken."""


class Forwarder:
    """Forwards the trail in ``folder`` by ``post``; ``observer`` is the node's name."""

    def __init__(self, folder: Path, observer: str, post: Post) -> None:
        self._folder = folder
        self._observer = observer
        self._post = post

    def run(self, stop: threading.Event) -> None:
        """Forward until ``stop``, with growing pauses while the repository fails. No line is ever skipped for that."""
        pause = LOOK_EVERY
        while not stop.wait(pause):
            try:
                while self.forward() == AT_ONCE and not stop.is_set():
                    pass
                pause = LOOK_EVERY
            except (CandelaError, OSError) as error:
                pause = min(PAUSE_MOST, pause * 2)
                say = log.error if isinstance(error, Rejected) else log.warning
                say("audit_not_forwarded", code=getattr(error, "code", type(error).__name__), wait_s=pause)

    def forward(self) -> int:
        """Forward the next records and return their number; also 0 where another process is forwarding.

        Raises
        ------
        CandelaError
            where the repository did not take them; the next call sends the same.
        """
        if not self._folder.is_dir():
            return 0
        try:
            with FileLock(self._folder / ".forwarding", mode=0o600, blocking=False, fallback_to_soft=False):
                return self._forward()
        except Timeout:
            return 0

    def _forward(self) -> int:
        name, offset = self._position()
        found = self._next(name, offset)
        if found is None:
            return 0
        records, position = found
        if records:
            self._post(transaction(records, self._observer))
        write_durably(self._folder / POSITION, json.dumps(position).encode())
        return len(records)

    def _position(self) -> tuple[str, int]:
        path = self._folder / POSITION
        if not path.is_file():
            return "", 0
        name, offset = json.loads(path.read_text())
        return str(name), int(offset)

    def _next(self, name: str, offset: int) -> tuple[list[dict[str, Any]], tuple[str, int]] | None:
        """The records after the position, and the position after them; None where there are no more."""
        found = [path for path in audit.files(self._folder) if path.name >= name]
        for path in found:
            begin = offset if path.name == name else 0
            if path.stat().st_size > begin:
                return _read(path, begin, ended=path != found[-1])
        return None


def _read(path: Path, begin: int, *, ended: bool) -> tuple[list[dict[str, Any]], tuple[str, int]] | None:
    """At most `AT_ONCE` records from byte ``begin`` on, and the position after them; None where there are none yet.

    An incomplete last line is left for later, unless its day has ``ended``: then a crash cut it short, and it is
    skipped like other torn lines.
    """
    records: list[dict[str, Any]] = []
    end = begin
    with path.open("rb") as file:
        file.seek(begin)
        for line in file:
            if len(records) == AT_ONCE or not (line.endswith(b"\n") or ended):
                break
            end += len(line)
            try:
                records.append(json.loads(line))
            except ValueError:
                log.warning("audit_line_torn", file=path.name)
    return (records, (path.name, end)) if end > begin else None


def start(settings: Settings) -> None:
    """Start a forwarding thread for the life of this process, if the settings name a repository."""
    if settings.audit.repository is None:
        return
    destination = settings.destinations[settings.audit.repository]
    assert isinstance(destination, FhirDestination), "the settings are checked"
    if not destination.enabled:  # the position is kept: all that was missed goes once it is enabled
        log.warning("audit_repository_disabled", destination=settings.audit.repository)
        return
    forwarder = Forwarder(settings.audit_dir, settings.receive.ae_title, client_for(destination).send)
    threading.Thread(target=forwarder.run, args=(threading.Event(),), name="audit", daemon=True).start()
