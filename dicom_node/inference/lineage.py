"""Lineage of a result: which earlier revisions of its series the model has read, and so what it replaces
(docs/adr/0014).
"""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from dicom_node.inference.output import SUMMARY
from dicom_node.jobs.holding import was_withheld
from dicom_node.jobs.job import SeriesJob
from dicom_node.store.durable import write_durably
from pipeline.findings.identity import UNNUMBERED, Predecessor
from pipeline.findings.model import Outcome
from pipeline.report.withdrawal import FILENAME as WITHDRAWAL

LINEAGE = "lineage.json"
"""File in each job's folder: the job's revision, and the earlier runs whose results it replaces, oldest first."""


@dataclass(frozen=True)
class Lineage:
    """The earlier runs whose results those of a job replace, oldest first; and a digest of the runs over the series
    whose results were withdrawn before, None without any (`RunIdentity.withdrawn`).
    """

    predecessors: tuple[Predecessor, ...]
    withdrawn: str | None = None


NO_LINEAGE: Final = Lineage(())


def lineage_of(job: SeriesJob, folder: Path) -> Lineage:
    """The lineage of ``job``.

    It is found once, among the folders beside the job's own ``folder``, and noted in it, so that another attempt of
    the job makes the same results. What was withdrawn is not replaced.
    """
    note = folder / LINEAGE
    if not note.is_file():
        withdrawn = _withdrawn(job, folder)
        earlier = [asdict(item) for item in _earlier(job, folder)]
        content = {"revision": job.revision, "predecessors": earlier, "withdrawn": withdrawn}
        write_durably(note, json.dumps(content).encode())
    noted = json.loads(note.read_text())
    return Lineage(tuple(_read_predecessors(noted["predecessors"])), noted.get("withdrawn"))


def _read_predecessors(noted: Iterable[Any]) -> list[Predecessor]:
    """The runs that a lineage.json names. Release 0.1.0 wrote only their digests."""
    return [Predecessor(item, UNNUMBERED) if isinstance(item, str) else Predecessor(**item) for item in noted]


def _earlier(job: SeriesJob, folder: Path) -> list[Predecessor]:
    """The chain of runs up to the latest earlier revision; empty for a first revision."""
    if job.revision == 1:
        return []
    found = [chain for other in _beside(job, folder) if (chain := _chain(other, job))]
    return max(found, key=lambda item: item[0], default=(0, []))[1]


def _beside(job: SeriesJob, folder: Path) -> list[Path]:
    """The folders of the other runs of the model over the series."""
    model = job.job_id.rpartition(":")[2]
    pattern = f"{glob.escape(job.series_instance_uid)}_*_{glob.escape(model)}"  # see dicom_node.completion.dispatch
    return sorted(other for other in folder.parent.glob(pattern) if other != folder)


def _withdrawn(job: SeriesJob, folder: Path) -> str | None:
    names = [other.name for other in _beside(job, folder) if (other / WITHDRAWAL).is_file()]
    return hashlib.sha256("\n".join(names).encode()).hexdigest() if names else None


def _chain(folder: Path, job: SeriesJob) -> tuple[int, list[Predecessor]] | None:
    """Revision and chain of runs (its own last) of the job in ``folder``; None where that job read nothing."""
    if was_withheld(folder) or (folder / WITHDRAWAL).is_file():
        return None  # never delivered, and never will be, or no longer valid
    lineage, summary = _read(folder / LINEAGE), _read(folder / SUMMARY)
    if not lineage or not summary or summary["outcome"] == Outcome.REFUSED or lineage["revision"] >= job.revision:
        return None
    if lineage.get("withdrawn") != _withdrawn(job, folder.parent / job.job_id.replace(":", "_")):
        return None  # its series is another one than this run's
    read = Predecessor(
        summary["instances_digest"],
        summary.get("results_revision", UNNUMBERED),
        summary.get("expected_instances"),
        summary.get("began"),
    )
    return int(lineage["revision"]), [*_read_predecessors(lineage["predecessors"]), read]


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.is_file() else None
