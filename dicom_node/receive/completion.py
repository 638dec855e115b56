"""When a series counts as complete, and why: pure functions of what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dicom_node.jobs.job import StoredInstance
from dicom_node.settings_receive import Completion


@dataclass(frozen=True)
class CompleteSeries:
    """A revision of a series, as it is handed to the jobs.

    ``instances`` are the current versions of all instances, late ones included, without Candela's own results.
    ``revision`` counts from 1. ``completed_at`` has a time zone; ``reason`` is the recorded one.
    """

    series_instance_uid: str
    study_instance_uid: str
    revision: int
    instances: tuple[StoredInstance, ...]
    calling_ae: str
    reason: str
    completed_at: datetime


@dataclass(frozen=True)
class Evidence:
    """What is known of a series that has instances. Times are seconds of one clock that never jumps.

    Attributes
    ----------
    received : how many different instances are stored.
    last_received : when the last of them came, or came again.
    released_at : when the last association that carried the series was released; None while one is open, or where one
        was aborted or lost and no later one was released since: its sender may come back.
    expected : how many instances the peer says there are; None where nobody can be asked or nobody knows.
    expected_source : who said so, in a word, for the reason.
    count_pending : the peer was asked and has not answered.
    """

    received: int
    last_received: float
    released_at: float | None = None
    expected: int | None = None
    expected_source: str = ""
    count_pending: bool = False


def decide(evidence: Evidence, policy: Completion, now: float) -> str | None:
    """The reason why the series is complete at ``now``, in words to be recorded; None where it is not.

    An expected count that is reached decides at once. Else silence does: ``quiet_after_release`` after a release,
    ``quiet_time`` after anything. A count that is not reached, or was asked for and not answered, holds the series
    back until nothing has happened for ``count_timeout``.
    """
    if evidence.expected is not None and evidence.received >= evidence.expected:
        return f"expected count {evidence.expected} reached ({evidence.expected_source})"
    if now < _due(evidence, policy):
        return None
    number = f"{evidence.received} instances"
    if evidence.expected is not None:
        number = f"{evidence.received} of {evidence.expected} expected instances"
    if evidence.released_at is not None and now >= _after_release(evidence, policy, evidence.released_at):
        return f"association released and quiet for {policy.quiet_after_release:.1f} s ({number})"
    return f"quiet for {policy.quiet_time:.1f} s ({number})"


def wake_at(evidence: Evidence, policy: Completion, now: float) -> float:
    """The earliest instant at which `decide` may answer if nothing more happens; ``now`` where it answers already."""
    if evidence.expected is not None and evidence.received >= evidence.expected:
        return now
    return max(now, _due(evidence, policy))


def _due(evidence: Evidence, policy: Completion) -> float:
    """When silence decides."""
    due = evidence.last_received + policy.quiet_time
    if evidence.released_at is not None:
        due = min(due, _after_release(evidence, policy, evidence.released_at))
    if evidence.expected is not None or evidence.count_pending:
        due = max(due, _last_event(evidence) + policy.count_timeout)
    return due


def _after_release(evidence: Evidence, policy: Completion, released_at: float) -> float:
    return max(evidence.last_received, released_at) + policy.quiet_after_release


def _last_event(evidence: Evidence) -> float:
    return max(evidence.last_received, evidence.released_at or evidence.last_received)
