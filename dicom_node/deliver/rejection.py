"""The file with the rejection note that withdraws a job's DICOM results from one destination."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

from pydicom import dcmread

from dicom_node.store.durable import write_durably
from pipeline.report.withdrawal import FILENAME, Withdrawal


def note_of(
    files: tuple[Path, ...], withdrawal: Withdrawal, destination: str, root: str | None, *, with_why: bool = True
) -> Path:
    """The note that withdraws the DICOM objects among ``files``, written beside them; the same files, the same note.

    Each ``destination`` has a file of its own, since several deliveries may write theirs at once.
    ``with_why``: whether it repeats the operator's words, which may name the patient.
    """
    from pipeline.results.ko.rejection import rejection_note  # noqa: PLC0415 - highdicom takes long to import

    withdrawn = [path for path in files if path.name != FILENAME]
    withdrawal = withdrawal if with_why else replace(withdrawal, why="")
    ds = rejection_note([dcmread(path, stop_before_pixels=True) for path in withdrawn], withdrawal, root)
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    digest = hashlib.sha256(destination.encode()).hexdigest()[:12]
    path = withdrawn[0].parent / f"rejection-{digest}.dcm"
    if not path.is_file() or path.read_bytes() != buffer.getvalue():
        write_durably(path, buffer.getvalue())
    return path
