"""Corrects the engine's waiting times after the wall clock was set back.

DBOS stores as wall-clock times when a delayed attempt is due, and when an attempt on a rate-limited queue began. After
the clock is set back by a day, the attempt would be due tomorrow, and the start would count against the rate until
then. Two signs show this: a wait longer than any that Candela asks for, and a start in the future. All other waits use
clocks that do not jump.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
import structlog
from dbos import DBOSClient

from dicom_node.backoff import delay
from dicom_node.jobs import engine
from dicom_node.jobs.circuits import open_database
from dicom_node.jobs.outcome import Failure
from dicom_node.settings.tree import Settings

log = structlog.get_logger("candela.jobs")

SLACK: Final = 5.0
"""Seconds by which the clocks of machines on one database may differ; more than the error of a rounded clock."""
SQLITE_NOW: Final = sa.cast(sa.func.strftime("%s", "now"), sa.BigInteger) * 1000
POSTGRES_NOW: Final = sa.cast(sa.extract("epoch", sa.func.clock_timestamp()) * 1000, sa.BigInteger)


class Clock:
    """Corrects due times in the engine's database of ``settings``; several processes may do so at once."""

    def __init__(self, settings: Settings, client: DBOSClient, clock: Callable[[], float] = time.time) -> None:
        self._jobs = settings.jobs
        self._longest_hold = settings.completion.longest_hold
        self._rates = any(target.rate for target in settings.destinations.values())
        self._client = client
        self._clock = clock
        self._database = open_database(settings)
        on_sqlite = engine.sqlite_file(settings) is not None
        self._now = SQLITE_NOW if on_sqlite else POSTGRES_NOW
        columns = ("workflow_uuid", "name", "status", "delay_until_epoch_ms", "rate_limited", "started_at_epoch_ms")
        self._table = sa.table(
            "workflow_status", *map(sa.column, columns), schema=None if on_sqlite else engine.DBOS_SCHEMA
        )

    def close(self) -> None:
        self._database.dispose()

    def correct(self) -> int:
        """Correct the attempts that would wait too long; returns their number. Every worker calls this from time to
        time.
        """
        return self._shorten() + (self._forget_starts() if self._rates else 0)

    def _shorten(self) -> int:
        """Let delayed attempts wait their intended time from now."""
        row = self._table.c
        bound = self._clock() + max(self._jobs.backoff_most, self._longest_hold) + SLACK
        late = (
            sa.select(row.workflow_uuid, row.delay_until_epoch_ms)
            .where(row.status == "DELAYED", row.name.in_((engine.SERIES_WORKFLOW, engine.DELIVERY_WORKFLOW)))
            .where(row.delay_until_epoch_ms > int(bound * 1000))
        )
        with self._database.connect() as connection:
            found = connection.execute(late).all()
        corrected = 0
        for name, due in found:
            wait = self._told(name)
            if due / 1000 - self._clock() > wait + SLACK:
                self._client.set_workflow_delay(name, delay_seconds=wait)
                corrected += 1
        if corrected:
            log.warning("clock_set_back", attempts=corrected)
        return corrected

    def _told(self, workflow_id: str) -> float:
        """Seconds that the attempt should wait, by the failure of the one before it; a first attempt was held."""
        key, attempt, before = engine.attempt_of(workflow_id)
        if attempt == 1:
            return self._longest_hold
        rows = self._client.list_workflows(workflow_ids=[before], load_input=False)
        output = rows[0].output if rows else None
        asked = Failure.from_dict(output["failure"]).retry_after if output and "failure" in output else None
        return delay(max(1, attempt - 1), key, self._jobs, asked)

    def _forget_starts(self) -> int:
        """Let starts in the future count against no rate."""
        row = self._table.c
        future = sa.and_(row.rate_limited.is_(sa.true()), row.started_at_epoch_ms > self._now + int(SLACK * 1000))
        with self._database.connect() as connection:
            if (
                connection.execute(sa.select(sa.literal(1)).select_from(self._table).where(future).limit(1)).first()
                is None
            ):
                return 0  # a read takes no lock
        with self._database.begin() as connection:
            done = connection.execute(sa.update(self._table).where(future).values(rate_limited=sa.false()))
        log.warning("clock_set_back", starts=done.rowcount)
        return int(done.rowcount)
