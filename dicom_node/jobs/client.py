"""The client of the job engine for other roles and the command line: submit, list, retry, cancel. Needs no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

import sqlalchemy as sa
from dbos import EnqueueOptions, WorkflowStatus
from dbos import error as dbos_error

from dicom_node.jobs import engine, status
from dicom_node.jobs.circuits import Circuit, Circuits
from dicom_node.jobs.delivery import DeliveryJob
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.lookup import JobLookup
from dicom_node.jobs.outcome import CLOSING, WITHDRAWALS
from dicom_node.jobs.status import DeliveryRow, DeliveryState, JobDetail, JobRow, JobState
from dicom_node.settings.destinations import Destination
from dicom_node.settings.tree import Settings
from pipeline.errors import CandelaError

PAGE: Final = 100
LOOKED_BACK: Final = 30
"""Days in which a destination's last success is looked for."""
IDS_TOGETHER: Final = 500
"""Ids of workflows in one question."""


class NoSuchJob(CandelaError):
    """No job has this id."""

    code = "NO_SUCH_JOB"
    remedy = "Take an id from `candela jobs list`."


@dataclass(frozen=True)
class Retried:
    """The work that `JobsClient.retry` queued again, or `JobsClient.discard` discarded.

    ``reading`` is that of the series, ``deliveries`` are (result, destination).
    """

    reading: bool
    deliveries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Cancelled:
    """The outcome of `JobsClient.cancel`: how many readings and deliveries it ``stopped``, and which ones it could not
    stop.

    ``delivered`` are results that a destination has, ``in_flight`` results that were being sent and may arrive.
    """

    stopped: int
    delivered: tuple[DeliveryRow, ...]
    in_flight: tuple[DeliveryRow, ...]


@dataclass(frozen=True)
class DestinationRow:
    """One destination: ``waiting`` and ``sending`` count results on their way to it."""

    name: str
    target: Destination
    circuit: Circuit
    waiting: int
    sending: int

    @property
    def kind(self) -> str:
        return self.target.kind


class JobsClient:
    """The jobs of one installation. `engine.prepare` must have run on its database.

    Every method raises `PeerUnavailable` where the database does not answer. Threads may share a client.
    """

    def __init__(self, settings: Settings) -> None:
        engine.redact_engine_logs()
        self._settings = settings
        with self._typed():
            self._client = engine.open_client(settings)
        self._circuits = Circuits(settings, lambda circuit: engine.set_queue(self._client, settings, circuit))
        self.lookup = JobLookup(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.lookup.close()
        self._circuits.close()
        self._client.destroy()

    def submit(self, job: SeriesJob) -> bool:
        """Queue ``job``; durable when this returns. False, without effect, where it was queued before."""
        options = engine.series_options(job, 1)
        options["workflow_id_reuse_policy"] = "reject"
        with self._typed():
            try:
                self._client.enqueue(options, job.to_dict(), 1, self._settings.jobs.tries)
            except dbos_error.DBOSWorkflowIDInUseError:
                return False
        return True

    def list(self, *, limit: int = 50, state: JobState | None = None) -> tuple[JobRow, ...]:
        """The newest jobs first, at most ``limit``, all or those in ``state``."""
        found: list[JobRow] = []
        for row in self._newest():
            if state is None or row.state is state:
                found.append(row)
            if len(found) >= limit:
                break
        return tuple(found)

    def find(self, start: str, *, limit: int = 10) -> tuple[str, ...]:
        """Ids of jobs that begin with ``start``, at most ``limit``; administrators seldom type whole ids."""
        with self._typed():
            rows = self._client.list_workflows(
                name=engine.SERIES_WORKFLOW, workflow_id_prefix=start, limit=PAGE, load_output=False
            )
        return tuple(dict.fromkeys(status.job_of(row).job_id for row in rows))[:limit]

    def of_series(self, series_instance_uid: str) -> tuple[JobDetail, ...]:
        """Every job of a series."""
        return self.of_several([series_instance_uid])[series_instance_uid]

    def of_several(self, series: Iterable[str]) -> dict[str, tuple[JobDetail, ...]]:
        """By Series Instance UID, every job of each of ``series``, in the order of submission."""
        found: dict[str, tuple[JobDetail, ...]] = dict.fromkeys(series, ())
        with self._typed():
            rows = list(self._listed(self.lookup.of_series(found)))
        groups: dict[str, list[WorkflowStatus]] = {}
        for row in rows:
            groups.setdefault(status.job_of(row).job_id, []).append(row)
        for item in sorted(map(status.detail, groups.values()), key=lambda one: one.submitted_at):
            found[item.job.series_instance_uid] += (item,)
        return found

    def several(self, job_ids: Iterable[str]) -> tuple[JobDetail, ...]:
        """The details of these jobs, in their order; those that do not exist are left out."""
        names = list(job_ids)
        by_series = self.of_several(dict.fromkeys(name.partition(":")[0] for name in names))
        by_id = {item.job.job_id: item for items in by_series.values() for item in items}
        return tuple(by_id[name] for name in names if name in by_id)

    def show(self, job_id: str) -> JobDetail:
        """The details of a job.

        Raises
        ------
        NoSuchJob
        """
        return status.detail(self._rows_of(job_id))

    def retry(self, job_id: str) -> Retried:
        """Give the dead or cancelled parts of a job a new round of attempts.

        Two operators who do this at once cause one new attempt, since its number follows the last one.

        Raises
        ------
        NoSuchJob
        """
        rows = self._rows_of(job_id)
        jobs = self._settings.jobs
        readings = [row for row in rows if row.name == engine.SERIES_WORKFLOW]
        job = status.job_of(readings[0])
        again = []
        targets = status.targets(rows)
        if withdrawals := {item: tries for item, tries in targets.items() if item.result.name in WITHDRAWALS}:
            targets = withdrawals  # what was withdrawn is never sent again
        with self._typed():
            for item, attempts in targets.items():
                if status.is_over(attempts):
                    number = status.next_attempt(attempts)
                    options = self._delivery_options(item, number)
                    self._client.enqueue(options, item.to_dict(), number, number + jobs.delivery_tries - 1)
                    again.append((item.result.name, item.destination))
            if reading := not withdrawals and status.is_over(readings):
                number = status.next_attempt(readings)
                options = engine.series_options(job, number)
                self._client.enqueue(options, job.to_dict(), number, number + jobs.tries - 1)
        return Retried(reading, tuple(sorted(again)))

    def discard(self, job_id: str) -> Retried:
        """Discard the dead letters of a job, which then wait for no operator. `retry` revokes this.

        Raises
        ------
        NoSuchJob
        """
        rows = self._rows_of(job_id)
        readings = [row for row in rows if row.name == engine.SERIES_WORKFLOW]
        job = status.job_of(readings[0])
        given_up = []
        with self._typed():
            for item, attempts in status.targets(rows).items():
                if status.is_dead(attempts):
                    number = status.next_attempt(attempts)
                    self._mark(self._delivery_options(item, number), item.to_dict(), number)
                    given_up.append((item.result.name, item.destination))
            if reading := status.is_dead(readings):
                number = status.next_attempt(readings)
                self._mark(engine.series_options(job, number), job.to_dict(), number)
        return Retried(reading, tuple(sorted(given_up)))

    def send(self, item: DeliveryJob, *, delay: float | None = None) -> None:
        """Queue a delivery that no reading made, such as a withdrawal; durable when this returns, and queued once.

        ``delay``: seconds before it may begin.
        """
        options = self._delivery_options(item, 1)
        if delay is not None:
            options["delay_seconds"] = delay
        with self._typed():
            self._client.enqueue(options, item.to_dict(), 1, self._settings.jobs.delivery_tries)

    def destinations(self) -> tuple[DestinationRow, ...]:
        """Every destination of the settings, with its circuit and the number of results that wait for it or are being
        sent.
        """
        with self._typed():
            queues = [engine.deliver_queue(name) for name in self._settings.destinations]
            rows = self.lookup.in_queues(queues, status.ACTIVE) if queues else []
            # A look for a final report is no result on its way.
            counted = Counter((queue, state) for queue, state, name in rows if f"|{CLOSING}|" not in name)
            sending = {queue: counted[queue, "PENDING"] for queue in queues}
            waiting = {queue: sum(counted[queue, state] for state in status.WAITING) for queue in queues}
            return tuple(
                DestinationRow(name, target, self._circuits.of(name), waiting[queue], sending[queue])
                for (name, target), queue in zip(self._settings.destinations.items(), queues, strict=True)
            )

    def last_success(self, destination: str) -> datetime | None:
        """When ``destination`` last took a result; None where none of its last deliveries, or of the last month,
        succeeded.
        """
        since = datetime.now(tz=UTC) - timedelta(days=LOOKED_BACK)
        with self._typed():
            rows = self._client.list_workflows(
                name=engine.DELIVERY_WORKFLOW,
                queue_name=engine.deliver_queue(destination),
                status="SUCCESS",
                start_time=since.isoformat(),
                sort_desc=True,
                limit=PAGE,
                load_input=False,
            )
        return max((at for row in rows if (at := status.delivered_at(row))), default=None)

    def resume(self, destination: str) -> bool:
        """Try a destination with an open circuit now; False where its circuit is not open."""
        with self._typed():
            return self._circuits.half_open(destination)

    def _delivery_options(self, item: DeliveryJob, number: int) -> EnqueueOptions:
        known = self._settings.destinations
        return engine.delivery_options(item.job, item.result.name, item.destination, number, known)

    def _mark(self, options: EnqueueOptions, argument: dict[str, Any], number: int) -> None:
        """Record an operator's decision under the id of the next attempt."""
        options = engine.discarded(options)
        self._client.enqueue(options, argument, number, status.NO_ATTEMPT)
        self._client.cancel_workflows([options["workflow_id"]])

    def cancel(self, job_id: str) -> Cancelled:
        """Stop the remaining work of a job. A running step is not interrupted, but no other follows it.

        Raises
        ------
        NoSuchJob
        """
        before = self.show(job_id)
        seen: set[str] = set()
        # A running workflow can queue another until it is cancelled itself: DBOS checks that in the same transaction.
        # So repeat until nothing is left.
        while active := [row.workflow_id for row in self._rows(job_id) if row.status in status.ACTIVE]:
            with self._typed():
                self._client.cancel_workflows(active)
            seen.update(active)
        # A delivery may appear with two attempts: one that ended meanwhile, and the one that it queued.
        stopped = {
            engine.attempt_of(row.workflow_id)[0]
            for row in self._rows(job_id)
            if row.workflow_id in seen and row.status == "CANCELLED"
        }
        after = self.show(job_id)
        sending = {(row.result, row.destination) for row in before.deliveries if row.state is DeliveryState.RUNNING}
        return Cancelled(
            len(stopped),
            tuple(row for row in after.deliveries if row.state is DeliveryState.DELIVERED),
            tuple(
                row
                for row in after.deliveries
                if row.state is DeliveryState.CANCELLED and (row.result, row.destination) in sending
            ),
        )

    def _listed(self, ids: Sequence[str]) -> Iterator[WorkflowStatus]:
        """The workflows of these ids."""
        for start in range(0, len(ids), IDS_TOGETHER):
            yield from self._client.list_workflows(workflow_ids=[*ids[start : start + IDS_TOGETHER]])

    def _rows(self, *job_ids: str) -> tuple[WorkflowStatus, ...]:
        with self._typed():
            return tuple(self._listed(self.lookup.of_jobs(job_ids)))

    def _rows_of(self, job_id: str) -> tuple[WorkflowStatus, ...]:
        rows = self._rows(job_id)
        if not rows:
            raise NoSuchJob("There is no such job.", where=job_id, todo="`candela jobs list` shows all.")
        return rows

    def _newest(self) -> Iterator[JobDetail]:
        seen: set[str] = set()
        for offset in range(0, 1 << 62, PAGE):
            with self._typed():
                page = self._client.list_workflows(
                    name=engine.SERIES_WORKFLOW, sort_desc=True, limit=PAGE, offset=offset
                )
            fresh = dict.fromkeys(name for row in page if (name := status.job_of(row).job_id) not in seen)
            seen.update(fresh)
            yield from self._details(*fresh)
            if len(page) < PAGE:
                return

    def _details(self, *job_ids: str) -> Iterator[JobDetail]:
        groups: dict[str, tuple[WorkflowStatus, ...]] = dict.fromkeys(job_ids, ())
        for row in self._rows(*job_ids) if job_ids else ():
            groups[status.job_of(row).job_id] += (row,)
        yield from (status.detail(group) for group in groups.values())

    @contextmanager
    def _typed(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
            raise engine.database_down(self._settings) from error
