"""Holds answers without a finding until it is safe to send them (docs/adr/0048).

A worker holds such an answer for a time after it has read the series. When the time is over, and before each later
attempt, the delivery looks in the store for an instance of the series that the job does not have: the store writes an
instance before it acknowledges it. If there is one, the answer is never sent. The job's folder records the hold, so
that a later revision replaces only results that may have been sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import pydicom
from pydicom.errors import InvalidDicomError

from dicom_node.jobs.job import SeriesJob
from dicom_node.settings.tree import Settings
from dicom_node.store.durable import sync_folder
from dicom_node.store.layout import located
from dicom_node.store.manifest import read_manifest
from pipeline.errors import Broken
from pipeline.findings.model import Outcome
from pipeline.findings.own_results import is_own_result
from pipeline.reading.files import UNREADABLE

HELD: Final = frozenset({Outcome.NO_FINDING, Outcome.INDETERMINATE, Outcome.MEASURED})
"""Outcomes that the whole series may revoke after a part of it: half an organ has half its volume. A finding stays one,
and a refusal states nothing."""
HELD_MARK: Final = ".held"
RELEASED_MARK: Final = ".released"
"""Empty files in a job's folder: its answer was held; part of it may have been sent since."""
SUPERSEDED: Final = "Further instances of the series have arrived: this answer to a part of it is never sent."


def remaining(job: SeriesJob, outcome: Outcome, settings: Settings, clock: Callable[[], float] = time.time) -> float:
    """Seconds for which an answer must still be held; 0 where it may be sent at once."""
    if outcome not in HELD:
        return 0.0
    counted = job.expected is not None and job.expected <= job.instances
    hold = settings.completion.hold(counted=counted, revision=job.revision) - job.silence
    since = max(0.0, clock() - datetime.fromisoformat(job.completed_at).timestamp())
    return max(0.0, hold - since)


def hold(job: SeriesJob, settings: Settings) -> None:
    """Record durably, in the job's folder, that its answer is held."""
    _mark(_folder(job, settings) / HELD_MARK)


def was_withheld(folder: Path) -> bool:
    """Whether the answer of the job in ``folder`` was never sent: it is held, or was superseded during its hold."""
    return (folder / HELD_MARK).exists() and not (folder / RELEASED_MARK).exists()


def may_leave(job: SeriesJob, settings: Settings) -> bool:
    """Whether an answer without a finding may be sent now. If so, the job's folder records it first."""
    if has_grown(job, settings):
        return False
    folder = _folder(job, settings)
    if not was_withheld(folder):
        return True
    _mark(folder / RELEASED_MARK)
    return not has_grown(job, settings)


def has_grown(job: SeriesJob, settings: Settings) -> bool:
    """Whether the store has an instance of a series of the job that the job lacks, Candela's own results aside.

    Raises
    ------
    Broken
        where a manifest of the job is gone.
    """
    own, *companions = (located(path, settings.data_dir) for path in job.manifests)
    return _has_more(own, settings.store_dir / job.series_instance_uid) or any(
        _has_more(manifest, None, settings.data_dir) for manifest in companions
    )


def _has_more(manifest: Path, folder: Path | None, data_dir: Path = Path()) -> bool:
    """Whether ``folder``, the store's of a series, has an instance that ``manifest`` lacks. Without ``folder`` it is
    that of the manifest's files.
    """
    if not manifest.is_file():
        raise Broken("The list of the instances that were read is gone.", where=str(manifest), todo="Restore it.")
    listed = read_manifest(manifest)
    known = {item.sop_instance_uid for item in listed}
    stored = (folder or located(listed[0].path, data_dir).parent).glob("*.dcm")
    return any(path.stem.partition("~")[0] not in known and not _is_own(path) for path in stored)


def _is_own(path: Path) -> bool:
    """False where the file cannot be read: the receiver accepted it as an instance of the series."""
    try:
        return is_own_result(pydicom.dcmread(path, stop_before_pixels=True))
    except (*UNREADABLE, InvalidDicomError):
        return False


def _mark(path: Path) -> None:
    """Create an empty file; several deliveries of one job may do so at once."""
    path.touch()
    sync_folder(path.parent)


def _folder(job: SeriesJob, settings: Settings) -> Path:
    return located(job.manifest, settings.data_dir).parent
