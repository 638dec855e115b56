"""Decides when a study has been quiet long enough to select among its series. Part of the monitor, in its thread."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

import structlog

from dicom_node.backoff import receiver_wait
from dicom_node.observability.counters import Counters
from dicom_node.observability.log import uid
from pipeline.errors import CandelaError

log = structlog.get_logger("candela.studies")


class StudyDecisions(Protocol):
    """Selects among the complete series of a study. The series that await selection are on disk."""

    def undecided(self) -> Collection[str]:
        """Study Instance UIDs of the studies with a series that no selection has considered yet."""
        ...

    def decide(self, study_instance_uid: str, /) -> None:
        """Select, and queue the jobs; durable when it returns.

        Called again with the same study after an exception or the death of the process, so it must be idempotent.
        """
        ...


@dataclass
class _Waiting:
    last_active: float
    failures: int = 0
    retry_at: float = 0.0


class StudyWatch:
    """Calls ``decisions`` for each undecided study that was quiet for ``quiet`` seconds.

    A study that an earlier process left undecided waits that long from the start, so that its sender can come back.
    """

    def __init__(
        self, decisions: StudyDecisions, quiet: float, counters: Counters, monotonic: Callable[[], float]
    ) -> None:
        self._decisions = decisions
        self._quiet = quiet
        self._counters = counters
        self._monotonic = monotonic
        self._started = monotonic()
        self._waiting: dict[str, _Waiting] = {}

    def active(self, study_instance_uid: str, at: float) -> None:
        """Record that an instance of the study arrived, or that one of its series was dispatched."""
        waiting = self._waiting.setdefault(study_instance_uid, _Waiting(at))
        waiting.last_active = max(waiting.last_active, at)

    def step(self, receiving: Collection[str]) -> float | None:
        """Decide what is due. Returns the time at which the next study falls due; None where none will without an
        event.

        ``receiving`` are the studies with an incomplete series, which wait in any case.
        """
        undecided = self._decisions.undecided()
        self._waiting = {study: item for study, item in self._waiting.items() if study in {*undecided, *receiving}}
        due = []
        for study in set(undecided) - set(receiving):
            waiting = self._waiting.setdefault(study, _Waiting(self._started))
            at = max(waiting.last_active + self._quiet, waiting.retry_at)
            if self._monotonic() < at or not self._decide(study, waiting):
                due.append(max(at, waiting.retry_at))
        return min(due, default=None)

    def _decide(self, study: str, waiting: _Waiting) -> bool:
        try:
            self._decisions.decide(study)
        except Exception as error:  # noqa: BLE001  (the callback is foreign code: after any exception the study must stay)
            waiting.failures += 1
            wait = receiver_wait(waiting.failures)
            waiting.retry_at = self._monotonic() + wait
            self._counters.add("study_decision_failures")
            code = error.code if isinstance(error, CandelaError) else type(error).__name__
            log.error(  # noqa: TRY400  (a trace may quote values)
                "study_decision_failed", study=uid(study), code=code, tries=waiting.failures, retry_in=wait
            )
            return False
        del self._waiting[study]
        return True
