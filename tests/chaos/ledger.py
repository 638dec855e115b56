"""What was acknowledged, and what became of it: the figures that the chaos runs are about."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.deliver.fhir_file import BUNDLE
from dicom_node.jobs.outcome import SeriesResult
from dicom_node.jobs.status import JobDetail, JobState
from pipeline.findings.model import Outcome
from pipeline.report.stored import FILENAME


@dataclass(frozen=True)
class Verdict:
    """The figures of one run. The first three must be nought.

    ``lost``: acknowledged instances that are not in the store, or not as they were sent. ``missing``: series without a
    job that is done, and results of jobs that a destination does not have. ``doubled``: objects at a destination that
    no job accounts for, and reports that are there twice. ``altered``: acknowledged while bytes were garbled on the
    way to the node, and stored otherwise than sent; DICOM cannot notice that.
    """

    acknowledged: int
    lost: int
    missing: int
    doubled: int
    altered: int
    series: int
    jobs: int
    later_revisions: int
    sent_again: int
    dead_letters_retried: int
    details: tuple[str, ...] = ()


@dataclass
class Ledger:
    """Fed by the senders from any thread: every instance that was answered with success."""

    _datasets: dict[str, Dataset] = field(default_factory=dict)
    _tainted: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def acknowledged(self, ds: Dataset, *, tainted: bool) -> None:
        """``ds`` was answered with success; ``tainted``: bytes were being garbled on its way."""
        with self._lock:
            self._datasets[ds.SOPInstanceUID] = ds
            if tainted:
                self._tainted.add(ds.SOPInstanceUID)

    def __len__(self) -> int:
        return len(self._datasets)

    def verdict(
        self,
        *,
        store: Path,
        jobs: Iterable[JobDetail],
        pacs: Counter[str],
        folder: Path,
        reports: Counter[str] | None,
        dead_letters_retried: int,
    ) -> Verdict:
        """Hold the ledger against the store, the jobs and the destinations.

        ``pacs``: how often each SOP Instance UID was stored there; ``folder``: what the folder destination holds;
        ``reports``: how often each DiagnosticReport identifier is at the FHIR server, where there is one.
        """
        details: list[str] = []
        lost, altered = self._in_store(store, details)
        jobs = [job for job in jobs if job.job.series_instance_uid in self._series()]
        missing = self._unread(jobs, details)
        expected: set[str] = set()
        files: set[str] = set()
        for job in jobs:
            if job.state is not JobState.DONE or job.result is None or job.outcome is Outcome.REFUSED:
                continue
            assert job.result.summary is not None
            objects = json.loads(Path(job.result.summary).read_text())["objects"]
            run = Path(job.result.summary).parent.name
            expected |= {item["sop_instance_uid"] for item in objects}
            sent = {row.result for row in job.deliveries if row.destination == "archive"}
            names = {Path(name).name for ref in job.result.results if ref.name in sent for name in ref.files}
            if FILENAME in names:  # the sender adds the FHIR Bundle of the stored report
                names.add(BUNDLE)
            files |= {f"{run}/{name}" for name in names}
            missing += _note(details, "made and not planned for the folder", _unplanned(job.result, objects, sent))
        missing += _note(details, "not at the PACS", expected - set(pacs))
        strays = set(pacs) - expected
        garbled = {uid for uid in strays if any(_one_bit_apart(uid, other) for other in expected)}
        altered += _note(details, "at the PACS under a UID that the line garbled", garbled)
        doubled = _note(details, "at the PACS and of no job", strays - garbled)
        there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        missing += _note(details, "not in the folder", files - there)
        doubled += _note(details, "in the folder and of no job", there - files)
        if reports is not None:
            read = sum(job.state is JobState.DONE and job.outcome is not Outcome.REFUSED for job in jobs)
            if len(reports) < read:
                missing += read - len(reports)
                details.append(f"{read - len(reports)} reports are not at the FHIR server")
            doubled += _note(details, "more than once at the FHIR server", {k for k, n in reports.items() if n > 1})
        return Verdict(
            acknowledged=len(self._datasets),
            lost=lost,
            missing=missing,
            doubled=doubled,
            altered=altered,
            series=len(self._series()),
            jobs=len(jobs),
            later_revisions=sum(job.job.revision > 1 for job in jobs),
            sent_again=sum(pacs.values()) - len(pacs),
            dead_letters_retried=dead_letters_retried,
            details=tuple(details),
        )

    def _series(self) -> set[str]:
        return {str(ds.SeriesInstanceUID) for ds in self._datasets.values()}

    def _in_store(self, store: Path, details: list[str]) -> tuple[int, int]:
        lost: set[str] = set()
        altered: set[str] = set()
        for name, ds in self._datasets.items():
            if any(_same(path, ds) for path in (store / str(ds.SeriesInstanceUID)).glob(f"{name}*.dcm")):
                continue
            (altered if name in self._tainted else lost).add(name)
        return _note(details, "acknowledged and not in the store as sent", lost), len(altered)

    def _unread(self, jobs: list[JobDetail], details: list[str]) -> int:
        read = {job.job.series_instance_uid for job in jobs if job.state is JobState.DONE}
        altered = {str(self._datasets[name].SeriesInstanceUID) for name in self._tainted}
        return _note(details, "series without a job that is done", self._series() - read - altered)


def _unplanned(result: SeriesResult, objects: list[dict[str, Any]], sent: set[str]) -> set[str]:
    """Objects of a run that no delivery to the folder is of."""
    planned = {Path(name).name for ref in result.results if ref.name in sent for name in ref.files}
    return {item["file"] for item in objects} - planned


def _same(path: Path, ds: Dataset) -> bool:
    try:
        return bool(dcmread(path).PixelData == ds.PixelData)
    except Exception:  # noqa: BLE001  (whatever is wrong with the file, it is not what was sent)
        return False


def _one_bit_apart(one: str, other: str) -> bool:
    """What `tests.peers.proxy` makes of a UID that it garbles; UIDs of our own never are that near to each other."""
    pairs = [(ord(a), ord(b)) for a, b in zip(one, other, strict=False) if a != b]
    return len(one) == len(other) and len(pairs) == 1 and (pairs[0][0] ^ pairs[0][1]).bit_count() == 1


def _note(details: list[str], what: str, names: set[str]) -> int:
    if names:
        details.append(f"{len(names)} {what}: {', '.join(sorted(names)[:5])}")
    return len(names)
