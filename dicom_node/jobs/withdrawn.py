"""Whether the results of a job were withdrawn, by the record in the job's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dicom_node.jobs.job import SeriesJob
from dicom_node.settings.tree import Settings
from dicom_node.store.layout import located
from pipeline.report.withdrawal import FILENAME, Withdrawal

WITHDRAWN: Final = "The results were withdrawn: what had not been sent is never sent."


def record_of(job: SeriesJob, settings: Settings) -> Path:
    """Where the record of the job's withdrawal lies, if it was withdrawn."""
    return located(job.manifest, settings.data_dir).parent / FILENAME


def withdrawn(job: SeriesJob, settings: Settings) -> Withdrawal | None:
    """The withdrawal of the job's results, None where they stand.

    Raises
    ------
    Broken
        where the record cannot be read.
    """
    path = record_of(job, settings)
    return Withdrawal.from_json(path.read_bytes(), where=str(path)) if path.is_file() else None
