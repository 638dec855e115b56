"""What the node does when images are rejected at their source (docs/adr/0068-rejected-images.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import pydicom
import structlog
from pydicom.uid import KeyObjectSelectionDocumentStorage

from dicom_node.audit.trail import ActionCode, Activity, AuditRecord, OutcomeIndicator, Party, open_trail
from dicom_node.jobs.client import JobsClient, NoSuchJob
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.rejected import RejectedImages, mark, rejected_images
from dicom_node.jobs.status import JobDetail, JobState
from dicom_node.jobs.withdrawal import NotWithdrawn, withdraw
from dicom_node.observability.log import uid
from dicom_node.settings.tree import Settings
from dicom_node.store.layout import located
from dicom_node.store.manifest import StoredInstance, read_manifest
from dicom_node.store.rejected_instances import RejectedInstances
from pipeline.errors import ImagesRejected, RejectionNote
from pipeline.reading.files import UNREADABLE
from pipeline.reading.rejection_note import EXPIRED, PARTS, TITLES, Rejection, rejection_in
from pipeline.report.withdrawal import Reason

log = structlog.get_logger("candela.rejections")
REASONS: Final = {
    "113001": Reason.QUALITY,
    "113037": Reason.PATIENT_SAFETY,
    "113038": Reason.WRONG_ORDER,
}
"""The reason for which results of rejected images are withdrawn, by the title of the note."""
UNFINISHED: Final = frozenset(
    {JobState.QUEUED, JobState.RUNNING, JobState.RETRYING, JobState.DELIVERING, JobState.HELD, JobState.DEAD}
)


class Rejections:
    """Applies rejection notes to the jobs of one installation. Idempotent: a note may be applied again."""

    def __init__(self, settings: Settings, client: JobsClient) -> None:
        self._settings = settings
        self._client = client
        self._rejected = RejectedInstances(settings.rejected_dir)

    def refusal_of(self, series_instance_uid: str, instances: Sequence[StoredInstance]) -> ImagesRejected | None:
        """The refusal to read ``instances`` of a series where some of them were rejected before."""
        known = self._rejected.of(series_instance_uid)
        titles = [title for item in instances if (title := known.get(item.sop_instance_uid))]
        if not titles:
            return None
        return ImagesRejected(
            f"{len(titles)} of {len(instances)} images were rejected at their source: {TITLES[titles[0]]}."
        )

    def apply(self, instances: Sequence[StoredInstance], calling_ae: str) -> RejectionNote | None:
        """Apply the rejection notes among ``instances``. Returns what to record, None without a note.

        Raises
        ------
        CandelaError, OSError
            where the database, the disk or the audit trail fails; call again later.
        """
        notes = [note for item in instances if (note := _note_at(item))]
        if not notes:
            return None
        done = " ".join(text for note in notes for text in self._apply(note, calling_ae))
        count = sum(len(uids) for note in notes for uids in note.rejected.values())
        titles = ", ".join(dict.fromkeys(note.meaning for note in notes))
        return RejectionNote(f"A rejection note of {count} instances ({titles}). {done or 'No job read them.'}")

    def _apply(self, note: Rejection, calling_ae: str) -> Iterator[str]:
        if note.title != EXPIRED:
            for name, uids in note.rejected.items():
                self._rejected.add(name, uids, note.title)
        for name, uids in note.rejected.items():
            for detail in self._jobs_of(name):
                count = len(uids & self._read_by(detail.job))
                if count:
                    yield self._reject(detail, note, count, calling_ae)

    def _jobs_of(self, series_instance_uid: str) -> Iterator[JobDetail]:
        """The jobs that read images of a series, also as a channel."""
        for detail in self._client.of_series(series_instance_uid):
            if detail.job.companion_of is not None:
                try:
                    yield self._client.show(detail.job.companion_of)
                except NoSuchJob:  # the receiver died before it queued that job
                    continue
            elif detail.job.model is not None:
                yield detail

    def _read_by(self, job: SeriesJob) -> frozenset[str]:
        manifests = (located(path, self._settings.data_dir) for path in job.manifests)
        return frozenset(item.sop_instance_uid for path in manifests if path.is_file() for item in read_manifest(path))

    def _reject(self, detail: JobDetail, note: Rejection, count: int, calling_ae: str) -> str:
        """Hold or withdraw what was made of ``count`` rejected images; what was done, for the record of the note."""
        job = detail.job
        if note.title == EXPIRED:
            return f"The results of job {job.job_id} stand: nothing is wrong with its images."
        before = rejected_images(job, self._settings)
        if before is not None and before.note == note.sop_instance_uid:  # an operator may have decided since
            return f"{before.count} images of job {job.job_id}: applied before."
        self._audit(job, note, count, calling_ae)
        done = self._act(detail, note, calling_ae)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        mark(job, self._settings, RejectedImages(note.title, count, note.sop_instance_uid, calling_ae, at))
        log.warning("images_rejected", job=uid(job.job_id), title=note.title, images=count, done=done)
        return f"{count} images of job {job.job_id}: {done}."

    def _act(self, detail: JobDetail, note: Rejection, calling_ae: str) -> str:
        job_id = detail.job.job_id
        if self._settings.completion.rejected_images == "withdraw":
            reason, by = REASONS[note.title], Party(calling_ae, "dicom")
            try:
                withdraw(self._client, self._settings, job_id, reason=reason, why=note.meaning, by=by)
            except NotWithdrawn:
                pass
            else:
                return "its results are withdrawn"
        if detail.state not in UNFINISHED:
            return "its results stand until an operator withdraws them"
        self._client.cancel(job_id)
        return "what had not been sent is held until an operator retries or withdraws"

    def _audit(self, job: SeriesJob, note: Rejection, count: int, calling_ae: str) -> None:
        open_trail(self._settings).record(
            AuditRecord(
                Activity.ACCESSED,
                ActionCode.UPDATE,
                OutcomeIndicator.SUCCESS,
                source=Party(calling_ae, "dicom"),
                destination=Party(self._settings.receive.ae_title, "node"),
                what=f"images rejected ({note.title})",
                count=count,
                studies=(job.study_instance_uid,),
                series=(job.series_instance_uid,),
                job=job.job_id,
            )
        )


def _note_at(item: StoredInstance) -> Rejection | None:
    if item.sop_class_uid not in (None, KeyObjectSelectionDocumentStorage):
        return None
    try:
        return rejection_in(pydicom.dcmread(item.path, specific_tags=list(PARTS), stop_before_pixels=True))
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return None
