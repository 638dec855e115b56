"""The time of a job's first reading, stored before anything is made of it (docs/adr/0065)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from dicom_node.store.durable import write_durably
from pipeline.findings.identity import RESULTS_REVISION

READING = "reading.json"
"""File in each job's folder: when the job was first read, and the `RESULTS_REVISION` that its results have."""


def first_reading(folder: Path, clock: Callable[[], datetime]) -> datetime:
    """The instant, with its time zone, at which the job of ``folder`` was first read: now, or as an earlier attempt
    noted it there.

    Another results revision gives results other identifiers: its first reading is one of its own.
    """
    note = folder / READING
    if note.is_file():
        noted = json.loads(note.read_text())
        if noted["results_revision"] == RESULTS_REVISION:
            return datetime.fromisoformat(noted["began"])
    began = clock()
    write_durably(note, json.dumps({"results_revision": RESULTS_REVISION, "began": began.isoformat()}).encode())
    return began
