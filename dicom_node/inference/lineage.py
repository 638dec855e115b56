"""Lineage of a result: which earlier revisions of its series the model has read, and so what it replaces
(docs/adr/0014).
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dicom_node.inference.output import SUMMARY
from dicom_node.jobs.holding import was_withheld
from dicom_node.jobs.job import SeriesJob
from dicom_node.store.durable import write_durably
from pipeline.findings.identity import UNNUMBERED, Predecessor
from pipeline.findings.model import Outcome

LINEAGE = "lineage.json"
"""File in each job's folder: the job's revision, and the earlier runs whose results it replaces, oldest first."""


def predecessors(job: SeriesJob, folder: Path) -> tuple[Predecessor, ...]:
    """The earlier runs whose results those of ``job`` replace, oldest first.

    They are found once, among the folders beside the job's own ``folder``, and noted in it, so that another attempt of
    the job replaces the same runs.
    """
    note = folder / LINEAGE
    if not note.is_file():
        content = {"revision": job.revision, "predecessors": [asdict(item) for item in _earlier(job, folder)]}
        write_durably(note, json.dumps(content).encode())
    return tuple(_read_predecessors(json.loads(note.read_text())["predecessors"]))


def _read_predecessors(noted: Iterable[Any]) -> list[Predecessor]:
    """The runs that a lineage.json names. Release 0.1.0 wrote only their digests."""
    return [Predecessor(item, UNNUMBERED) if isinstance(item, str) else Predecessor(**item) for item in noted]


def _earlier(job: SeriesJob, folder: Path) -> list[Predecessor]:
    """The chain of runs up to the latest earlier revision; empty for a first revision."""
    if job.revision == 1:
        return []
    model = job.job_id.rpartition(":")[2]
    pattern = f"{glob.escape(job.series_instance_uid)}_*_{glob.escape(model)}"  # see dicom_node.completion.dispatch
    found = [chain for other in folder.parent.glob(pattern) if other != folder and (chain := _chain(other, job))]
    return max(found, key=lambda item: item[0], default=(0, []))[1]


def _chain(folder: Path, job: SeriesJob) -> tuple[int, list[Predecessor]] | None:
    """Revision and chain of runs (its own last) of the job in ``folder``; None where that job read nothing."""
    if was_withheld(folder):
        return None  # never delivered, and never will be: this revision has further instances
    lineage, summary = _read(folder / LINEAGE), _read(folder / SUMMARY)
    if not lineage or not summary or summary["outcome"] == Outcome.REFUSED or lineage["revision"] >= job.revision:
        return None
    read = Predecessor(
        summary["instances_digest"], summary.get("results_revision", UNNUMBERED), summary.get("expected_instances")
    )
    return int(lineage["revision"]), [*_read_predecessors(lineage["predecessors"]), read]


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.is_file() else None
