"""Whether the jobs of a series are delivered, so that it may be removed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from dicom_node.jobs.client import JobsClient, NoSuchJob
from dicom_node.jobs.status import RECORDS, JobDetail, JobState
from dicom_node.settings.tree import Settings
from dicom_node.store.layout import located
from dicom_node.store.manifest import read_manifest
from dicom_node.store.series_index import SeriesRecord
from pipeline.findings.identity import instances_digest

OVER = RECORDS | {
    JobState.DONE,
    JobState.CANCELLED,
    JobState.DISCARDED,
    JobState.SUPERSEDED,
    JobState.WITHDRAWN,
}
"""States in which nothing is outstanding or lost. A dead letter is not among them, since an operator may still send
it."""


class DeliveredSeries:
    """`dicom_node.retention.purge.Deliveries` by the engine's database. ``undecided`` returns the studies that await
    selection.
    """

    def __init__(self, settings: Settings, client: JobsClient, undecided: Callable[[], Collection[str]]) -> None:
        self._results_dir, self._data_dir = settings.results_dir, settings.data_dir
        self._client = client
        self._undecided = undecided

    def __call__(self, series: SeriesRecord, /) -> tuple[Path, ...] | None:
        """See `Deliveries`. A series without a job in the engine is not delivered, nor is one that another series' job
        still reads as a channel.
        """
        if series.study_instance_uid in self._undecided():
            return None
        jobs = self._client.of_series(series.series_instance_uid)
        if not any(self._is_of(job, series) for job in jobs) or not all(map(self._is_over, jobs)):
            return None
        return tuple(self._results_dir / job.job.job_id.replace(":", "_") for job in jobs)

    def _is_of(self, detail: JobDetail, series: SeriesRecord) -> bool:
        """Whether the job is of the last revision of ``series``. The id of a job with companions covers the instances
        of all its series, so its manifest says which of this one it reads.
        """
        job, digest = detail.job, series.handed_digest or ""
        if not job.companions:
            return job.job_id.startswith(f"{series.series_instance_uid}:{digest[:16]}:")
        manifest = located(job.manifest, self._data_dir)
        return manifest.is_file() and digest == instances_digest(
            item.sop_instance_uid for item in read_manifest(manifest)
        )

    def _is_over(self, detail: JobDetail) -> bool:
        """Whether nothing of a job is outstanding, nor of the job that reads its series as a companion."""
        if not _is_over(detail):
            return False
        if detail.job.companion_of is None:
            return True
        try:
            return _is_over(self._client.show(detail.job.companion_of))
        except NoSuchJob:  # the receiver died before it queued that job, and decided again
            return True


def _is_over(job: JobDetail) -> bool:
    """Whether nothing of a job is outstanding. Results without a destination are never delivered, so they stay."""
    if job.state is JobState.DONE and not job.deliveries:
        return not (job.result and job.result.results)
    return job.state in OVER
