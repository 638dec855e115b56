"""Whether the jobs of a series are delivered, so that it may be removed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from dicom_node.jobs.client import JobsClient
from dicom_node.jobs.status import JobDetail, JobState
from dicom_node.settings.tree import Settings
from dicom_node.store.series_index import SeriesRecord

OVER = frozenset({JobState.DONE, JobState.NOT_CHOSEN, JobState.CANCELLED, JobState.DISCARDED, JobState.SUPERSEDED})
"""States in which nothing is outstanding or lost. A dead letter is not among them, since an operator may still send
it."""


class DeliveredSeries:
    """`dicom_node.retention.purge.Deliveries` by the engine's database. ``undecided`` returns the studies that await
    selection.
    """

    def __init__(self, settings: Settings, client: JobsClient, undecided: Callable[[], Collection[str]]) -> None:
        self._results_dir = settings.results_dir
        self._client = client
        self._undecided = undecided

    def __call__(self, series: SeriesRecord, /) -> tuple[Path, ...] | None:
        """See `Deliveries`. A series without a job in the engine is not delivered."""
        if series.study_instance_uid in self._undecided():
            return None
        jobs = self._client.of_series(series.series_instance_uid)
        current = f"{series.series_instance_uid}:{(series.handed_digest or '')[:16]}:"
        if not any(job.job.job_id.startswith(current) for job in jobs) or not all(map(_is_over, jobs)):
            return None
        return tuple(self._results_dir / job.job.job_id.replace(":", "_") for job in jobs)


def _is_over(job: JobDetail) -> bool:
    """Whether nothing of a job is outstanding. Results without a destination are never delivered, so they stay."""
    if job.state is JobState.DONE and not job.deliveries:
        return not (job.result and job.result.results)
    return job.state in OVER
