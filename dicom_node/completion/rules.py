"""When a series counts as complete, and why: pure functions of the evidence.

No rule proves that a series is whole. Evidence against it makes the wait longer (docs/adr/0048).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dicom_node.settings.receive import Completion
from dicom_node.store.manifest import StoredInstance


@dataclass(frozen=True)
class CompleteSeries:
    """A revision of a series, as it is dispatched to the jobs.

    ``instances`` are the current versions of all instances, late ones included, without Candela's own results.
    ``revision`` counts from 1. ``completed_at`` has a time zone; ``reason`` is the recorded one. ``expected`` is the
    peer's count of instances where that decided, or exceeds those received; ``silence`` the seconds from the last
    instance to ``completed_at``. ``earlier`` and ``shared``: see `dicom_node.store.manifest.Manifest`.
    """

    series_instance_uid: str
    study_instance_uid: str
    revision: int
    instances: tuple[StoredInstance, ...]
    calling_ae: str
    reason: str
    completed_at: datetime
    expected: int | None = None
    silence: float = 0.0
    earlier: tuple[StoredInstance, ...] = ()
    shared: int = 0


@dataclass(frozen=True)
class Evidence:
    """The evidence about a series with instances. Times are seconds of one clock that never jumps.

    Attributes
    ----------
    received : number of distinct instances that are stored.
    last_received : when the last of them arrived, or arrived again.
    released_at : when the last association that carried the series was released; None while one is open, or where one
        was aborted or lost and no later one was released since: its sender may come back.
    plausible : one of the associations that ended together sent a plausible part of a series.
    reopened : number of earlier dispatches: each time the sender's release, or the silence, was misleading.
    stated : the least number of instances, as one of them states.
    expected : the peer's count of instances; None where no peer can be asked or none knows.
    expected_source : the peer's name in the recorded reason.
    count_pending : the peer was asked and has not answered.
    count_fresh : the peer was asked after the last instance arrived.
    count_ahead : the peer once counted more than had been received, so it does not merely forward what it gets.
    """

    received: int
    last_received: float
    released_at: float | None = None
    plausible: bool = True
    reopened: int = 0
    stated: int = 1
    expected: int | None = None
    expected_source: str = ""
    count_pending: bool = False
    count_fresh: bool = True
    count_ahead: bool = False

    @property
    def confirmed(self) -> bool:
        """Whether the peer's count is reached and credible."""
        reached = self.expected is not None and self.received >= max(self.expected, self.stated)
        return reached and self.count_fresh and not self.reopened and (self.plausible or self.count_ahead)

    @property
    def incomplete(self) -> bool:
        """Whether the peer counts more instances than were received."""
        return self.expected is not None and self.received < self.expected

    @property
    def finished_at(self) -> float | None:
        """When the sender released its association and so finished; None without a credible release."""
        believed = self.plausible and not self.reopened and self.received >= self.stated
        return self.released_at if believed else None


def decide(evidence: Evidence, policy: Completion, now: float) -> str | None:
    """The reason, for the record, why the series is complete at ``now``; None where it is not.

    A credible expected count decides as soon as it is reached. Otherwise silence decides: ``quiet_after_release`` after
    a credible release, else ``quiet_time``, longer where the series was reopened. A count that is not reached, or a
    question without answer, delays the series until nothing has happened for ``count_timeout``.
    """
    if evidence.confirmed:
        return f"expected count {evidence.expected} reached ({evidence.expected_source})"
    if now < _due(evidence, policy):
        return None
    number = f"{evidence.received} instances"
    if evidence.incomplete:
        number = f"{evidence.received} of {evidence.expected} expected instances"
    finished = evidence.finished_at
    if finished is not None and now >= _after_release(evidence, policy, finished):
        return f"association released and quiet for {policy.quiet_after_release:.1f} s ({number})"
    return f"quiet for {policy.quiet(evidence.reopened):.1f} s ({number})"


def wake_at(evidence: Evidence, policy: Completion, now: float) -> float:
    """The earliest time at which `decide` may give a reason without further events; ``now`` where
    it gives one already.
    """
    return now if evidence.confirmed else max(now, _due(evidence, policy))


def _due(evidence: Evidence, policy: Completion) -> float:
    """The time at which silence decides."""
    due = evidence.last_received + policy.quiet(evidence.reopened)
    if (finished := evidence.finished_at) is not None:
        due = min(due, _after_release(evidence, policy, finished))
    if evidence.incomplete or evidence.count_pending:
        due = max(due, _last_event(evidence) + policy.count_timeout)
    return due


def _after_release(evidence: Evidence, policy: Completion, released_at: float) -> float:
    return max(evidence.last_received, released_at) + policy.quiet_after_release


def _last_event(evidence: Evidence) -> float:
    return max(evidence.last_received, evidence.released_at or evidence.last_received)
