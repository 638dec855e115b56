"""The record, in a job's folder, that images which it read were rejected at their source."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from dicom_node.jobs.job import SeriesJob
from dicom_node.settings.tree import Settings
from dicom_node.store.durable import write_durably
from dicom_node.store.layout import located
from pipeline.reading.rejection_note import TITLES

FILENAME: Final = "rejected.json"


@dataclass(frozen=True)
class RejectedImages:
    """``count`` images of a job were rejected by the note ``note`` (SOP Instance UID), which ``by`` (an AE title) sent;
    ``title`` is its code value, ``at`` an ISO 8601 instant.
    """

    title: str
    count: int
    note: str
    by: str
    at: str

    def sentence(self) -> str:
        """For an operator."""
        why = f"{self.title} {TITLES[self.title]}"
        return f"{self.count} of its images were rejected ({why}) by {self.by}, at {self.at}"


def mark(job: SeriesJob, settings: Settings, rejected: RejectedImages) -> None:
    """Record the rejection; durable when this returns."""
    write_durably(_path(job, settings), json.dumps(asdict(rejected)).encode())


def rejected_images(job: SeriesJob, settings: Settings) -> RejectedImages | None:
    """The last rejection of images of ``job``, None without any."""
    path = _path(job, settings)
    return RejectedImages(**json.loads(path.read_text())) if path.is_file() else None


def _path(job: SeriesJob, settings: Settings) -> Path:
    return located(job.manifest, settings.data_dir).parent / FILENAME
