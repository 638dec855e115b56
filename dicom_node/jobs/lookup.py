"""Which jobs there are, by ids alone: questions that DBOS's client answers only by reading the whole table.

This module reads a few columns of DBOS's table (`COLUMNS`), which the narrow pin of DBOS allows. `JobsClient` then
lists the rows of the ids found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from dicom_node.jobs.circuits import open_database
from dicom_node.jobs.engine import DBOS_SCHEMA, PRIORITY, SERIES_WORKFLOW, sqlite_file
from dicom_node.settings.tree import Settings
from dicom_node.store.data_version import DataVersion
from pipeline.routing.rules import Priority

COLUMNS: Final = ("workflow_uuid", "name", "status", "priority", "created_at", "queue_name")
PARTIAL: Final = {
    ("ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"): (
        "status in ('ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')"
    ),
    ("ENQUEUED", "PENDING"): "status in ('ENQUEUED', 'PENDING')",
    ("DELAYED",): "status = 'DELAYED'",
}
"""DBOS's partial indexes: the states of the workflows in each, and its condition as DBOS writes it."""
TOGETHER: Final = 100
"""Ranges of ids in one question."""
MOST: Final = 5000
"""Workflows that are looked through for jobs in a rare state."""


@dataclass(frozen=True)
class Submitted:
    """A job's place in the order of submission: ``at`` in ms since the epoch, then its id."""

    at: int
    job_id: str


class JobLookup:
    """Finds ids of jobs. Threads may share it; errors are SQLAlchemy's."""

    def __init__(self, settings: Settings) -> None:
        self._database = open_database(settings)
        self._server = self._database.dialect.name == "postgresql"
        file = sqlite_file(settings)
        self._version = DataVersion(file) if file is not None else None
        self._rows = sa.table(
            "workflow_status",
            *(sa.column(name) for name in COLUMNS),
            schema=DBOS_SCHEMA if self._server else None,
        )

    def close(self) -> None:
        self._database.dispose()
        if self._version is not None:
            self._version.close()

    def of_series(self, series: Iterable[str]) -> list[str]:
        """The ids of every workflow of these series."""
        return self._within([(f"{name}:", f"{name};") for name in series])  # ';' follows ':' in ASCII

    def _within(self, ranges: list[tuple[str, str]]) -> list[str]:
        """The ids from the first text of a range to before its second one, in the order of bytes."""
        column: Any = self._rows.c.workflow_uuid
        if self._server:
            column = column.collate("C")
        found: list[str] = []
        for start in range(0, len(ranges), TOGETHER):
            some = [sa.and_(column >= first, column < end) for first, end in ranges[start : start + TOGETHER]]
            found += self._column(sa.select(self._rows.c.workflow_uuid).where(sa.or_(*some)))
        return found

    def newest(
        self,
        *,
        behind: Submitted | None = None,
        limit: int,
        among: Collection[str] | None = None,
        oldest_first: bool = False,
    ) -> list[Submitted]:
        """At most ``limit`` jobs behind ``behind``, newest first or oldest first; of those ``among`` these ids, where
        given.
        """
        rows = self._rows.c
        # A job's first workflow has its id; further attempts have a number behind a bar.
        wanted = sa.select(rows.created_at, rows.workflow_uuid).where(
            rows.name == SERIES_WORKFLOW, sa.not_(rows.workflow_uuid.contains("|"))
        )
        if among is not None:
            wanted = wanted.where(rows.workflow_uuid.in_(sorted(among)))
        place = sa.tuple_(rows.created_at, rows.workflow_uuid)
        if behind is not None:
            known = sa.tuple_(behind.at, behind.job_id)
            wanted = wanted.where(place > known if oldest_first else place < known)
        order = (rows.created_at, rows.workflow_uuid)
        wanted = wanted.order_by(*(order if oldest_first else (column.desc() for column in order))).limit(limit)
        with self._database.connect() as connection:
            return [Submitted(int(at), str(name)) for at, name in connection.execute(wanted)]

    def of_jobs(self, job_ids: Iterable[str]) -> list[str]:
        """The ids of every workflow of these jobs."""
        names = list(job_ids)
        column = self._rows.c.workflow_uuid
        own = self._column(sa.select(column).where(column.in_(names)))  # the first attempt at reading has the job's id
        return own + self._within([(f"{name}|", f"{name}}}") for name in names])  # '}' follows '|' in ASCII

    def with_status(self, statuses: Iterable[str]) -> tuple[str, ...]:
        """Ids of the jobs of which a workflow has one of DBOS's ``statuses`` but SUCCESS, the newest of `MOST`
        workflows.
        """
        rows, found = self._rows.c, []
        with self._database.connect() as connection:
            for condition in self._indexed(statuses):
                # The sum keeps SQLite from walking through all rows in the order of the index of times.
                wanted = sa.select(rows.created_at, rows.workflow_uuid).where(*condition)
                found += list(connection.execute(wanted.order_by((rows.created_at + 0).desc()).limit(MOST)))
        newest = sorted(found, key=lambda row: -row[0])[:MOST]
        return tuple(dict.fromkeys(str(name).partition("|")[0] for _, name in newest))

    def in_queues(self, queues: Iterable[str], statuses: Iterable[str]) -> list[tuple[str, str, str]]:
        """(queue, status, id) of each workflow in these queues that has one of DBOS's ``statuses`` but SUCCESS."""
        rows, names = self._rows.c, list(queues)
        with self._database.connect() as connection:
            return [
                (str(queue), str(state), str(name))
                for condition in self._indexed(statuses)
                for queue, state, name in connection.execute(
                    sa.select(rows.queue_name, rows.status, rows.workflow_uuid).where(
                        *condition, rows.queue_name.in_(names)
                    )
                )
            ]

    def _indexed(self, statuses: Iterable[str]) -> Iterator[tuple[sa.TextClause | sa.ColumnElement[bool], ...]]:
        """Conditions that hold for workflows with one of ``statuses``, each such that a partial index serves it: SQLite
        uses one only where the query repeats the index's own condition.
        """
        wanted = set(statuses)
        for group, condition in PARTIAL.items():
            if held := wanted & set(group):
                yield sa.text(condition), self._rows.c.status.in_(sorted(held))

    def with_priority(self, priority: Priority, since: int) -> tuple[str, ...]:
        """Ids of the jobs of this priority that were submitted after ``since`` (ms since the epoch)."""
        rows = self._rows.c
        wanted = (
            sa.select(rows.workflow_uuid)
            .where(rows.created_at >= since, rows.name == SERIES_WORKFLOW, rows.priority == PRIORITY[priority])
            .order_by(rows.created_at.desc())
            .limit(MOST)
        )
        return tuple(dict.fromkeys(name.partition("|")[0] for name in self._column(wanted)))

    def counts(self, since: int, step: int) -> list[tuple[int, str, str, int]]:
        """Workflows by time: (beginning of the interval in ms, workflow, status, number), of those after ``since`` in
        intervals of ``step`` ms.
        """
        rows = self._rows.c
        begin = (rows.created_at - rows.created_at % step).label("begin")
        wanted = (
            sa.select(begin, rows.name, rows.status, sa.func.count())
            .where(rows.created_at >= since)
            .group_by("begin", rows.name, rows.status)
            .order_by("begin")
        )
        with self._database.connect() as connection:
            return [
                (int(at), str(name), str(state), int(count)) for at, name, state, count in connection.execute(wanted)
            ]

    def mark(self) -> str:
        """A text that another one follows when a workflow begins, changes or ends, and now and then without reason.

        It costs little: the version of the SQLite file, or the number of PostgreSQL's next writing transaction, which
        other databases of the server move too.
        """
        if self._version is not None:
            return self._version.mark()
        with self._database.connect() as connection:
            return str(connection.execute(sa.text("select pg_snapshot_xmax(pg_current_snapshot())::text")).scalar())

    def _column(self, wanted: sa.Select[Any]) -> list[str]:
        with self._database.connect() as connection:
            return [str(name) for name in connection.scalars(wanted)]
