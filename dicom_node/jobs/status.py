"""The status of a job for administrators, derived from the rows of its workflows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from dbos import PortableWorkflowError, WorkflowStatus

from dicom_node.jobs.delivery import DeliveryJob
from dicom_node.jobs.engine import DELIVERY_WORKFLOW, SERIES_WORKFLOW
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import CLOSING, WITHDRAWALS, Failure, ResultKind, SeriesResult, StepState
from pipeline.errors import NotChosen
from pipeline.findings.model import Outcome

WAITING = ("ENQUEUED", "DELAYED")
ACTIVE = (*WAITING, "PENDING")
DEAD = ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
"""DBOS's states of work that has not begun, has not ended, or will not be retried automatically."""

NO_ATTEMPT = 0
"""Takes the place of the attempt's number in a row that records an operator's decision against another attempt."""


class JobState(StrEnum):
    """The state of a job: first of the reading of the series, then of its deliveries together."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    DELIVERING = "delivering"
    HELD = "held"
    """An answer without a finding is held while further instances may come (`dicom_node.jobs.holding`)."""
    DONE = "done"
    SUPERSEDED = "superseded"
    """Further instances came before the answer was sent everywhere: the rest is never sent."""
    NOT_CHOSEN = "not_chosen"
    """The model reads another series of the study: there was nothing to do, and nothing went wrong."""
    COMPANION = "companion"
    """Another job reads the series, as one of its model's channels (`SeriesJob.companion_of`)."""
    WITHDRAWN = "withdrawn"
    """Every destination that may have had results was told that they are withdrawn."""
    DEAD = "dead"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"
    """An operator discarded the dead letters: none waits any more."""


RECORDS = frozenset({JobState.NOT_CHOSEN, JobState.COMPANION})
"""States of what no job reads: there is no outcome."""

_UNDONE = {
    "PENDING": JobState.RUNNING,
    "CANCELLED": JobState.CANCELLED,
    **dict.fromkeys(DEAD, JobState.DEAD),
}


class DeliveryState(StrEnum):
    """The state of one result's delivery to one destination."""

    PENDING = "pending"
    HELD = "held"
    RUNNING = "running"
    RETRYING = "retrying"
    DELIVERED = "delivered"
    SUPERSEDED = "superseded"
    DEAD = "dead"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"


@dataclass(frozen=True)
class Tries:
    """The attempts at one piece of work: the number of ``attempts`` begun, the last failure, when the next is due, the
    last change.
    """

    attempts: int
    last_failure: Failure | None
    next_try: datetime | None
    updated_at: datetime


@dataclass(frozen=True)
class DeliveryRow:
    """One result for one destination. ``receipt`` is the destination's answer where it accepted the result."""

    result: str
    kind: ResultKind
    destination: str
    state: DeliveryState
    receipt: str | None
    tries: Tries


@dataclass(frozen=True)
class JobDetail:
    """The details of a job; ``reading`` are the attempts at reading its series."""

    job: SeriesJob
    state: JobState
    submitted_at: datetime
    updated_at: datetime
    result: SeriesResult | None
    reading: Tries
    deliveries: tuple[DeliveryRow, ...]

    @property
    def outcome(self) -> Outcome | None:
        return self.result.outcome if self.result and self.state not in RECORDS else None

    @property
    def dead_letters(self) -> int:
        """Number of this job's dead letters, which wait for an operator."""
        dead = sum(row.state is DeliveryState.DEAD for row in self.deliveries)
        return dead + (self.state is JobState.DEAD and dead == 0)


JobRow = JobDetail
"""A line of `JobsClient.list`: the same value, so that list and details cannot contradict each other."""


def job_of(row: WorkflowStatus) -> SeriesJob:
    """The id of the job to which a workflow belongs."""
    data = _argument(row)
    return SeriesJob.from_dict(data) if row.name == SERIES_WORKFLOW else DeliveryJob.from_dict(data).job


def detail(rows: Iterable[WorkflowStatus]) -> JobDetail:
    """The state of one job from all its workflows, in any order (at least one of them reads the series)."""
    ordered = sorted(rows, key=_attempt)
    readings = [row for row in ordered if row.name == SERIES_WORKFLOW]
    sendings = [row for row in ordered if row.name == DELIVERY_WORKFLOW]
    by_target: dict[tuple[str, str], list[WorkflowStatus]] = {}
    for row in sendings:
        item = delivery_job_of(row)
        by_target.setdefault((item.result.name, item.destination), []).append(row)
    deliveries = tuple(sorted((_delivery_row(group) for group in by_target.values()), key=_where))
    result = next((found for row in readings if (found := result_of(row))), None)
    return JobDetail(
        job=job_of(readings[0]),
        state=_job_state(readings, deliveries),
        submitted_at=_instant(readings[0].created_at),
        updated_at=max(_instant(row.updated_at) for row in itertools.chain(readings, sendings)),
        result=result,
        reading=_tries(readings),
        deliveries=deliveries,
    )


def delivered_at(row: WorkflowStatus) -> datetime | None:
    """When the attempt delivered its result; None where it did not."""
    return _instant(row.updated_at) if output_of(row).get("state") == StepState.DONE else None


def next_attempt(rows: Iterable[WorkflowStatus]) -> int:
    """The number of the next attempt at the same work."""
    return max(_attempt(row) for row in rows) + 1


def is_dead(rows: Iterable[WorkflowStatus]) -> bool:
    """Whether the attempts at one piece of work ended in a dead letter that waits for an operator."""
    return latest(rows).status in DEAD


def is_over(rows: Iterable[WorkflowStatus]) -> bool:
    """Whether the attempts at one piece of work ended without success: dead, cancelled or discarded."""
    last = latest(rows)
    return last.status in (*DEAD, "CANCELLED") or was_discarded(last)


def was_discarded(row: WorkflowStatus) -> bool:
    """Whether ``row`` is not an attempt but an operator's decision against another one."""
    assert row.input is not None, "rows are listed with their input"
    return int(row.input["args"][2]) == NO_ATTEMPT


def latest(rows: Iterable[WorkflowStatus]) -> WorkflowStatus:
    """The last attempt at one piece of work, which decides its state."""
    return max(rows, key=_attempt)


def targets(rows: Iterable[WorkflowStatus]) -> dict[DeliveryJob, list[WorkflowStatus]]:
    """The attempts at each delivery."""
    groups: dict[DeliveryJob, list[WorkflowStatus]] = {}
    for row in rows:
        if row.name == DELIVERY_WORKFLOW:
            groups.setdefault(delivery_job_of(row), []).append(row)
    return groups


def _job_state(readings: list[WorkflowStatus], deliveries: tuple[DeliveryRow, ...]) -> JobState:
    reading = readings[-1]
    job = job_of(reading)
    if job.refusal_code == NotChosen.code and reading.status not in (*DEAD, "CANCELLED"):
        return JobState.NOT_CHOSEN if job.companion_of is None else JobState.COMPANION
    if was_discarded(reading):
        return JobState.DISCARDED
    if reading.status in WAITING:
        return JobState.QUEUED if len(readings) == 1 else JobState.RETRYING
    if reading.status in _UNDONE:
        return _UNDONE[reading.status]
    deliveries = tuple(row for row in deliveries if row.result != CLOSING)
    withdrawals = {row.state for row in deliveries if row.result in WITHDRAWALS}
    if withdrawals:  # what was to be sent before them no longer counts
        state = _state_of_deliveries(withdrawals)
        return JobState.WITHDRAWN if state is JobState.DONE else state
    return _state_of_deliveries({row.state for row in deliveries})


def _state_of_deliveries(states: set[DeliveryState]) -> JobState:
    if states & {DeliveryState.PENDING, DeliveryState.RUNNING, DeliveryState.RETRYING}:
        return JobState.DELIVERING
    gravest = (
        DeliveryState.HELD,
        DeliveryState.DEAD,
        DeliveryState.CANCELLED,
        DeliveryState.DISCARDED,
        DeliveryState.SUPERSEDED,
    )
    return next((JobState(str(state)) for state in gravest if state in states), JobState.DONE)


def _delivery_row(rows: list[WorkflowStatus]) -> DeliveryRow:
    row = rows[-1]
    item = delivery_job_of(row)
    if was_discarded(row):
        state = DeliveryState.DISCARDED
    elif row.status == "DELAYED" and len(rows) == 1:
        state = DeliveryState.HELD
    elif row.status in WAITING:
        state = DeliveryState.PENDING if len(rows) == 1 else DeliveryState.RETRYING
    elif row.status == "PENDING":
        state = DeliveryState.RUNNING
    elif row.status == "CANCELLED":
        state = DeliveryState.CANCELLED
    else:
        state = DeliveryState.DEAD if row.status in DEAD else DeliveryState.DELIVERED
        if output_of(row).get("state") == StepState.SUPERSEDED:
            state = DeliveryState.SUPERSEDED
    receipt = output_of(row).get("receipt")
    return DeliveryRow(item.result.name, item.result.kind, item.destination, state, receipt, _tries(rows))


def _tries(rows: list[WorkflowStatus]) -> Tries:
    failures = [failure for row in rows if (failure := failure_of(row))]
    last = rows[-1]
    return Tries(
        attempts=sum(row.status not in WAITING and row.dequeued_at is not None for row in rows),
        last_failure=failures[-1] if failures else None,
        next_try=_instant(last.delay_until_epoch_ms) if last.status == "DELAYED" else None,
        updated_at=max(_instant(row.updated_at) for row in rows),
    )


def failure_of(row: WorkflowStatus) -> Failure | None:
    """Why an attempt failed; None where it did not."""
    if row.status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
        text = f"The worker process died or was ended {row.recovery_attempts} times while doing this."
        return Failure("CRASHED", text, again=False)
    if isinstance(row.error, PortableWorkflowError) and isinstance(row.error.data, dict):
        return Failure.from_dict(row.error.data)
    if row.status == "ERROR":
        return Failure("UNFORESEEN", f"The engine stopped this: {type(row.error).__name__}.", again=False)
    output = output_of(row)
    return Failure.from_dict(output["failure"]) if "failure" in output else None


def result_of(row: WorkflowStatus) -> SeriesResult | None:
    """The result of an attempt at reading a series; None where it has none."""
    output = output_of(row)
    return SeriesResult.from_dict(output["result"]) if "result" in output else None


def output_of(row: WorkflowStatus) -> dict[str, Any]:
    """What an attempt that ended in order returned; empty for others."""
    return row.output if row.status == "SUCCESS" and isinstance(row.output, dict) else {}


def _where(row: DeliveryRow) -> tuple[str, str]:
    return row.destination, row.result


def delivery_job_of(row: WorkflowStatus) -> DeliveryJob:
    """The input of a delivery."""
    return DeliveryJob.from_dict(_argument(row))


def _argument(row: WorkflowStatus) -> dict[str, Any]:
    assert row.input is not None, "rows are listed with their input"
    argument: dict[str, Any] = row.input["args"][0]
    return argument


def _attempt(row: WorkflowStatus) -> int:
    assert row.input is not None, "rows are listed with their input"
    return int(row.input["args"][1])


def _instant(epoch_ms: int | None) -> datetime:
    assert epoch_ms is not None, "DBOS sets these times on every row"
    return datetime.fromtimestamp(epoch_ms / 1000, tz=UTC)
