"""What metrics and notifications ask the engine: which work has ended, what waits, what is dead.

A question costs as much as there is active, dead or newly ended work, however large the table is.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

import sqlalchemy as sa
from dbos import WorkflowStatus

from dicom_node.jobs import engine, status
from dicom_node.jobs.circuits import Circuit, Circuits
from dicom_node.jobs.client import JobsClient
from dicom_node.jobs.delivery import DeliveryJob
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import CLOSING, Failure, SeriesResult, StepState
from dicom_node.jobs.status import DeliveryState, JobState
from dicom_node.settings.tree import Settings

PAGE: Final = 500
OVERLAP: Final = 120.0
"""Seconds that each question looks back beyond the one before: workers of other machines have other clocks, and a
transaction may commit late."""
DEAD_SHARE: Final = 20
"""How many times as long as it took to find the dead letters they are taken for those of now."""
_STATES: Final = {"ENQUEUED": "queued", "DELAYED": "delayed", "PENDING": "running"}
_DELIVERY: Final = {
    StepState.DONE: "delivered",
    StepState.RETRY: "retried",
    StepState.SUPERSEDED: "superseded",
}


@dataclass(frozen=True)
class Times:
    """Of one attempt, in seconds since the epoch: when it was queued, began and ended."""

    queued: float
    began: float
    ended: float


@dataclass(frozen=True)
class EndedReading:
    """One attempt at reading a series that has ended; ``result`` where it succeeded, else ``failure``."""

    job: SeriesJob
    first: bool
    times: Times
    result: SeriesResult | None
    failure: Failure | None


@dataclass(frozen=True)
class EndedDelivery:
    """One attempt at a delivery that has ended. ``outcome``: delivered, retried, dead, superseded or cancelled.

    ``wanted_since``: when the first attempt was queued, that is, when the reading had ended.
    """

    item: DeliveryJob
    times: Times
    wanted_since: float
    outcome: str
    failure: Failure | None


@dataclass(frozen=True)
class QueueState:
    """One queue: the number of its items by state, and how long the oldest could have begun, in seconds."""

    name: str
    items: Counter[str]
    oldest: float


class Measures:
    """The work of one installation. `engine.prepare` must have run on its database. Threads may share it.

    Every method raises `PeerUnavailable` where the database does not answer. ``since`` (seconds since the epoch): work
    that ended earlier is not in `ended`. ``readings_only``: `ended` leaves deliveries out.
    """

    def __init__(self, settings: Settings, since: float, *, readings_only: bool = False) -> None:
        engine.redact_engine_logs()
        self._names = [engine.SERIES_WORKFLOW, *([] if readings_only else [engine.DELIVERY_WORKFLOW])]
        self._settings = settings
        self._lock = threading.Lock()
        self._begin = self._cursor = since
        self._told: dict[str, float] = {}
        self._dead: dict[str, Counter[str]] | None = None
        self._dead_until = 0.0
        with self._typed():
            self._client = engine.open_client(settings)
        self._circuits = Circuits(settings, lambda _: None)
        self._jobs = JobsClient(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._jobs.close()
        self._circuits.close()
        self._client.destroy()

    def ended(self, now: float) -> list[EndedReading | EndedDelivery]:
        """The attempts that have ended since the last question, each once."""
        with self._lock, self._typed():
            after = max(self._begin, self._cursor - OVERLAP)
            fresh: dict[str, float] = {}
            for row in self._completed(after):
                at = (row.completed_at or 0) / 1000
                if row.workflow_id not in self._told and at >= self._begin:
                    fresh[row.workflow_id] = at
            found = list(self._described(list(fresh)))
            self._told = {name: at for name, at in self._told.items() if at >= now - 2 * OVERLAP} | fresh
            self._cursor = now
        return found

    def queues(self, now: float) -> tuple[QueueState, ...]:
        """The inference queue, then those of the settings' destinations."""
        names = [engine.INFER, *(engine.deliver_queue(name) for name in self._settings.destinations)]
        with self._typed():
            rows = self._client.list_workflows(
                queue_name=names, status=list(status.ACTIVE), load_input=False, load_output=False
            )
        items: dict[str, Counter[str]] = {name: Counter() for name in names}
        oldest = dict.fromkeys(names, now)
        for row in rows:
            name = str(row.queue_name)
            if f"|{CLOSING}|" in row.workflow_id:  # a look for a final report, which nobody waits for
                continue
            items[name][_STATES[row.status]] += 1
            if row.status == "ENQUEUED":
                due = max(row.created_at or 0, row.delay_until_epoch_ms or 0) / 1000
                oldest[name] = min(oldest[name], due)
        return tuple(QueueState(name, items[name], max(0.0, now - oldest[name])) for name in names)

    def dead_letters(self) -> dict[str, Counter[str]]:
        """By queue, the codes of the dead letters that wait for an operator, with their number.

        The answer is that of a little earlier where thousands of them make the question take long.
        """
        with self._lock:
            begun = time.monotonic()
            if self._dead is None or begun >= self._dead_until:
                self._dead = self._find_dead_letters()
                self._dead_until = begun + DEAD_SHARE * (time.monotonic() - begun)
            return self._dead

    def _find_dead_letters(self) -> dict[str, Counter[str]]:
        found: dict[str, Counter[str]] = {}
        with self._typed():
            ids = self._jobs.lookup.with_status(status.DEAD)
        for job in self._jobs.several(ids):
            for row in job.deliveries:
                if row.state is DeliveryState.DEAD:
                    code = row.tries.last_failure.code if row.tries.last_failure else ""
                    found.setdefault(engine.deliver_queue(row.destination), Counter())[code] += 1
            if job.state is JobState.DEAD and not any(row.state is DeliveryState.DEAD for row in job.deliveries):
                code = job.reading.last_failure.code if job.reading.last_failure else ""
                found.setdefault(engine.INFER, Counter())[code] += 1
        return found

    def circuits(self) -> tuple[Circuit, ...]:
        """The circuit of every destination that is enabled."""
        names = [name for name, target in self._settings.destinations.items() if target.enabled]
        with self._typed():
            return tuple(self._circuits.of(name) for name in names)

    def _completed(self, after: float) -> Iterator[WorkflowStatus]:
        begin = datetime.fromtimestamp(after, UTC).isoformat()
        for offset in range(0, 1 << 62, PAGE):
            page = self._client.list_workflows(
                name=self._names,
                completed_after=begin,
                limit=PAGE,
                offset=offset,
                load_input=False,
                load_output=False,
            )
            yield from page
            if len(page) < PAGE:
                return

    def _described(self, ids: list[str]) -> Iterator[EndedReading | EndedDelivery]:
        for start in range(0, len(ids), PAGE):
            rows = self._client.list_workflows(workflow_ids=ids[start : start + PAGE])
            first = self._first_attempts(rows)
            for row in rows:
                if status.was_discarded(row):
                    continue
                if row.name == engine.SERIES_WORKFLOW:
                    yield _reading(row)
                elif status.delivery_job_of(row).result.name != CLOSING:
                    yield _delivery(row, first.get(row.workflow_id))

    def _first_attempts(self, rows: list[WorkflowStatus]) -> dict[str, float]:
        """By the id of a later attempt at a delivery, when its first attempt was queued."""
        wanted: dict[str, str] = {}
        for row in rows:
            if row.name == engine.DELIVERY_WORKFLOW and (place := engine.attempt_of(row.workflow_id))[1] > 1:
                item = status.delivery_job_of(row)
                wanted[row.workflow_id] = engine.delivery_id(
                    place[0].partition("|")[0], item.result.name, item.destination, 1
                )
        if not wanted:
            return {}
        found = self._client.list_workflows(
            workflow_ids=sorted({*wanted.values()}), load_input=False, load_output=False
        )
        queued = {row.workflow_id: (row.created_at or 0) / 1000 for row in found}
        return {name: queued[first] for name, first in wanted.items() if first in queued}

    @contextmanager
    def _typed(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
            raise engine.database_down(self._settings) from error


def _reading(row: WorkflowStatus) -> EndedReading:
    first = engine.attempt_of(row.workflow_id)[1] == 1
    return EndedReading(status.job_of(row), first, _times(row), status.result_of(row), status.failure_of(row))


def _delivery(row: WorkflowStatus, wanted_since: float | None) -> EndedDelivery:
    times = _times(row)
    if row.status in status.DEAD:
        outcome = "dead"
    elif row.status == "CANCELLED":
        outcome = "cancelled"
    else:
        outcome = _DELIVERY[StepState(status.output_of(row)["state"])]
    since = times.queued if wanted_since is None else wanted_since
    return EndedDelivery(status.delivery_job_of(row), times, since, outcome, status.failure_of(row))


def _times(row: WorkflowStatus) -> Times:
    queued, ended = (row.created_at or 0) / 1000, (row.completed_at or 0) / 1000
    return Times(queued, (row.dequeued_at or row.created_at or 0) / 1000, ended)
