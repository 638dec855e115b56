"""Complete series that await the selection among the series of their study, kept on disk.

Layout under the folder::

    .undecided/<Study Instance UID>                     empty: a series of the study came after the last selection
    <Study Instance UID>/<Series Instance UID>.json     the series' last revision, and its assigned models

`StudyNotes` notes a series first and marks its study second, and removes the mark once the jobs are queued. A crash in
between leads to the same selection again. Notes stay on disk, since a series that comes later is compared with them.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import structlog

from dicom_node.completion.rules import CompleteSeries
from dicom_node.observability.log import uid
from dicom_node.store.durable import sync_folder, write_durably
from dicom_node.store.layout import located
from dicom_node.store.manifest import StoredInstance
from pipeline.errors import Broken
from pipeline.routing.rules import Priority

log = structlog.get_logger("candela.studies")


@dataclass(frozen=True)
class Assignment:
    """A model that a rule assigned to a series, as the rule was when the series became complete."""

    rule: str
    model: str
    destinations: tuple[str, ...]
    priority: Priority


@dataclass(frozen=True)
class NotedSeries:
    """A series that awaits selection or had it. ``header`` is the path of its representative instance, ``images`` the
    number of its instances that are images.
    """

    series: CompleteSeries
    header: Path
    assignments: tuple[Assignment, ...]
    images: int

    def assignment(self, model: str) -> Assignment | None:
        return next((assignment for assignment in self.assignments if assignment.model == model), None)


class StudyNotes:
    """The notes in ``folder``. Not thread-safe: only the receiver's monitor thread uses them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._marks = folder / ".undecided"
        self._undecided = {path.name for path in self._marks.iterdir()} if self._marks.is_dir() else set()

    @property
    def undecided(self) -> frozenset[str]:
        """Study Instance UIDs of the studies that await selection."""
        return frozenset(self._undecided)

    def keep(self, noted: NotedSeries) -> None:
        """Note a series, in place of its earlier revision; durable when it returns."""
        study = noted.series.study_instance_uid
        path = self._path(noted.series)
        for folder in (self._marks, path.parent):
            folder.mkdir(parents=True, exist_ok=True)
        sync_folder(self._folder.parent)
        sync_folder(self._folder)
        write_durably(path, json.dumps(_plain(noted)).encode())
        write_durably(self._marks / study, b"")
        self._undecided.add(study)

    def forget(self, series: CompleteSeries) -> None:
        """Drop the note of a series' earlier revision, if no rule wants a selection any more."""
        with contextlib.suppress(FileNotFoundError):
            self._path(series).unlink()

    def of(self, study_instance_uid: str) -> tuple[NotedSeries, ...]:
        """The noted series of a study whose files are still in the store.

        Raises
        ------
        Broken
            where a note on disk is damaged.
        """
        notes = (_read(path) for path in sorted((self._folder / study_instance_uid).glob("*.json")))
        return tuple(noted for noted in notes if _still_stored(noted))

    def decided(self, study_instance_uid: str) -> None:
        """Record that the jobs of the selection are queued."""
        (self._marks / study_instance_uid).unlink(missing_ok=True)
        sync_folder(self._marks)
        self._undecided.discard(study_instance_uid)

    def _path(self, series: CompleteSeries) -> Path:
        return self._folder / series.study_instance_uid / f"{series.series_instance_uid}.json"


def _still_stored(noted: NotedSeries) -> bool:
    if noted.header.is_file():
        return True
    log.warning("series_gone_from_store", series=uid(noted.series.series_instance_uid))
    return False


def _plain(noted: NotedSeries) -> dict[str, object]:
    series = asdict(replace(noted.series, instances=(), earlier=()))
    series["completed_at"] = noted.series.completed_at.isoformat()
    for key in ("instances", "earlier"):
        series[key] = [item.to_dict() for item in getattr(noted.series, key)]
    return {
        "series": series,
        "header": str(noted.header),
        "claims": [asdict(assignment) for assignment in noted.assignments],
        "images": noted.images,
    }


def _read(path: Path) -> NotedSeries:
    try:
        data = json.loads(path.read_text())
        series = data["series"]
        for key in ("instances", "earlier"):
            series[key] = tuple(StoredInstance(**item) for item in series.get(key, ()))
        series["completed_at"] = datetime.fromisoformat(series["completed_at"])
        assignments = tuple(
            Assignment(**{**item, "destinations": tuple(item["destinations"])}) for item in data["claims"]
        )
        header = located(data["header"], path.parents[2])  # <data_dir>/studies/<study>/<series>.json
        complete = CompleteSeries(**series)
        return NotedSeries(complete, header, assignments, int(data.get("images", len(complete.instances))))
    except (ValueError, TypeError, KeyError) as error:
        raise Broken(
            "A note of a series that awaits selection is damaged.",
            where=str(path),
            todo="Remove the file, so that the study's other series are selected from. Send the series again.",
        ) from error
