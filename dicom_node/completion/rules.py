"""When a series counts as complete, and why: pure functions of what was seen.

Nothing here proves that a series is whole; what speaks against it makes the wait longer (docs/adr/0048).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dicom_node.settings.receive import Completion
from dicom_node.store.manifest import StoredInstance


@dataclass(frozen=True)
class CompleteSeries:
    """A revision of a series, as it is handed to the jobs.

    ``instances`` are the current versions of all instances, late ones included, without Candela's own results.
    ``revision`` counts from 1. ``completed_at`` has a time zone; ``reason`` is the recorded one. ``expected`` is how
    many instances the peer counts, where that decided or is more than there are; ``silence`` the seconds from the last
    instance to ``completed_at``. ``earlier`` and ``shared``: see `dicom_node.jobs.job.Manifest`.
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
    """What is known of a series that has instances. Times are seconds of one clock that never jumps.

    Attributes
    ----------
    received : how many different instances are stored.
    last_received : when the last of them came, or came again.
    released_at : when the last association that carried the series was released; None while one is open, or where one
        was aborted or lost and no later one was released since: its sender may come back.
    plausible : one of the associations that ended together carried a plausible part of a series.
    reopened : how often the series was dispatched before: each time its sender's release, or the silence, was wrong.
    stated : how many instances there are at least, as one of them states.
    expected : how many instances the peer says there are; None where nobody can be asked or nobody knows.
    expected_source : who said so, in a word, for the reason.
    count_pending : the peer was asked and has not answered.
    count_fresh : the peer was asked after the last instance came.
    count_ahead : the peer has once counted more than had been received: it does not merely pass on what it gets.
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
        """Whether the peer's count can be believed to be all."""
        reached = self.expected is not None and self.received >= max(self.expected, self.stated)
        return reached and self.count_fresh and not self.reopened and (self.plausible or self.count_ahead)

    @property
    def incomplete(self) -> bool:
        """Whether the peer counts more than there are."""
        return self.expected is not None and self.received < self.expected

    @property
    def finished_at(self) -> float | None:
        """When the sender said by a release that it has finished; None where no release can be believed to say so."""
        believed = self.plausible and not self.reopened and self.received >= self.stated
        return self.released_at if believed else None


def decide(evidence: Evidence, policy: Completion, now: float) -> str | None:
    """The reason why the series is complete at ``now``, in words to be recorded; None where it is not.

    An expected count that is reached decides at once where it is believed. Else silence does: ``quiet_after_release``
    after a release that is believed, ``quiet_time`` after anything, longer where the series was reopened. A count that
    is not reached, or was asked for and not answered, holds the series back until nothing has happened for
    ``count_timeout``.
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
    """The earliest instant at which `decide` may answer if nothing more happens; ``now`` where it answers already."""
    return now if evidence.confirmed else max(now, _due(evidence, policy))


def _due(evidence: Evidence, policy: Completion) -> float:
    """When silence decides."""
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
