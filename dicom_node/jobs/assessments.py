"""What readers say of AI answers, kept in the engine's database: rows are added, never changed or deleted.

A correction is a further row of the same reader for the same job. Comments may identify the patient, so that they are
files beside the job's results and go with these when the series is purged; the database holds no patient data
(docs/adr/0080-assessments-are-added-never-changed.md).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from dicom_node.jobs.circuits import open_database
from dicom_node.jobs.engine import database_down
from dicom_node.settings.tree import Settings
from dicom_node.store.durable import write_durably
from pipeline.errors import OutOfResources
from pipeline.findings.model import Outcome
from pipeline.report.assessment import Outline, Verdict

COMMENTS: Final = "comments"
"""Folder of the comments, in a job's folder."""
CHUNK: Final = 1000


@dataclass(frozen=True)
class Assessment:
    """One reader's assessment of one job's answer.

    ``number`` orders assessments as they were stored; 0 before that. ``outcome``, ``answered`` (the class; empty where
    the answer names none) and ``probability`` (of that class, 0 to 1) are the AI answer as it was then.
    ``correct_class`` is a class of the model, ``none``, ``other``, or None where the reader names none. ``present``:
    whether, by the reader, what the model looks for is present; None where the assessment does not tell.
    ``analysed_at`` and ``at`` in seconds since the epoch. ``comment`` is the file of the comment, below data_dir; None
    where the reader wrote none. `Assessments.comment_of` reads it.
    """

    job_id: str
    study_instance_uid: str
    series_instance_uid: str
    model: str
    model_version: str
    analysed_at: float
    outcome: Outcome
    answered: str
    probability: float | None
    verdict: Verdict
    correct_class: str | None
    present: bool | None
    outline: Outline
    comment: str | None
    reader: str
    at: float
    number: int = 0


@dataclass(frozen=True)
class AssessmentQuery:
    """Which assessments are wanted; all that are set must hold.

    ``since`` and ``until`` in seconds since the epoch. ``standing``: only the newest assessment of each job, whoever
    made it.
    """

    job_id: str | None = None
    study: str | None = None
    model: str | None = None
    verdict: Verdict | None = None
    reader: str | None = None
    since: float | None = None
    until: float | None = None
    standing: bool = False


class Assessments:
    """The assessments of one installation. Threads may share it.

    Every method raises PeerUnavailable where the database does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = open_database(settings)
        self._rows = sa.table("candela_assessments", *(sa.column(name) for name in Assessment.__dataclass_fields__))

    def close(self) -> None:
        self._database.dispose()

    def add(self, made: Assessment, comment: str = "", folder: Path | None = None) -> Assessment:
        """Store ``made`` with its ``comment``, which goes into the job's ``folder``; durable when this returns.

        Returns what was stored, with its number.

        Raises
        ------
        OutOfResources
            where the comment cannot be written.
        """
        if comment and folder is not None:
            made = replace(made, comment=self._write(comment, folder))
        values = asdict(made)
        del values["number"]
        values |= {name: str(values[name]) for name in ("outcome", "verdict", "outline")}
        values["present"] = None if made.present is None else int(made.present)
        wanted = self._rows.insert().values(values).returning(self._rows.c.number)
        try:
            with self._database.begin() as connection:
                number = connection.execute(wanted).scalar_one()
        except sa.exc.OperationalError as error:
            raise database_down(self._settings) from error
        return replace(made, number=int(number))

    def comment_of(self, item: Assessment) -> str | None:
        """The comment; empty where the reader wrote none, None where it was purged with the results."""
        if item.comment is None:
            return ""
        try:
            return (self._settings.data_dir / item.comment).read_text("utf-8")
        except OSError:
            return None

    def _write(self, comment: str, folder: Path) -> str:
        path = folder / COMMENTS / f"{uuid.uuid4().hex}.txt"
        try:
            path.parent.mkdir(exist_ok=True)
            write_durably(path, comment.encode())
        except OSError as error:
            raise OutOfResources(f"The comment could not be stored ({error.strerror}).") from error
        return str(path.absolute().relative_to(self._settings.data_dir.absolute()))

    def page(self, query: AssessmentQuery, *, before: int | None = None, limit: int = CHUNK) -> tuple[Assessment, ...]:
        """At most ``limit`` assessments, the newest first; those stored before the number ``before``."""
        rows = self._rows
        wanted = sa.select(rows).order_by(rows.c.number.desc()).limit(limit)
        for name, value in (
            ("job_id", query.job_id),
            ("study_instance_uid", query.study),
            ("model", query.model),
            ("verdict", query.verdict and str(query.verdict)),
            ("reader", query.reader),
        ):
            if value is not None:
                wanted = wanted.where(rows.c[name] == value)
        if query.since is not None:
            wanted = wanted.where(rows.c.at >= query.since)
        if query.until is not None:
            wanted = wanted.where(rows.c.at <= query.until)
        if before is not None:
            wanted = wanted.where(rows.c.number < before)
        if query.standing:
            wanted = wanted.where(rows.c.number.in_(sa.select(sa.func.max(rows.c.number)).group_by(rows.c.job_id)))
        try:
            with self._database.connect() as connection:
                return tuple(map(_assessment, connection.execute(wanted).mappings()))
        except sa.exc.OperationalError as error:
            raise database_down(self._settings) from error

    def every(self, query: AssessmentQuery) -> Iterator[Assessment]:
        """All assessments of ``query``, the newest first."""
        before = None
        while page := self.page(query, before=before):
            yield from page
            before = page[-1].number

    def models(self) -> tuple[str, ...]:
        """The models that have assessments, in alphabetical order."""
        wanted = sa.select(self._rows.c.model).distinct().order_by(self._rows.c.model)
        try:
            with self._database.connect() as connection:
                return tuple(connection.scalars(wanted))
        except sa.exc.OperationalError as error:
            raise database_down(self._settings) from error


def _assessment(row: Any) -> Assessment:
    present = row["present"]
    return Assessment(
        **{
            **row,
            "outcome": Outcome(row["outcome"]),
            "verdict": Verdict(row["verdict"]),
            "outline": Outline(row["outline"]),
            "present": None if present is None else bool(present),
        }
    )
