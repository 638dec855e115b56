"""The trail of what people saw and did in the dashboard and through the API."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from dicom_node.audit.trail import ActionCode, Activity, AuditRecord, AuditTrail, OutcomeIndicator, Party
from dicom_node.web.auth.principal import Principal

AGAIN_AFTER: Final = 3600.0
"""Seconds after which a study that is shown to the same person again is recorded again: a page that updates itself
would otherwise fill the trail."""
REMEMBERED: Final = 50_000


class Seen:
    """Records reads and actions. Every method raises OutOfResources where the trail cannot be written."""

    def __init__(self, trail: AuditTrail, ae_title: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._trail, self._node, self._clock = trail, Party(ae_title, "node"), clock
        self._shown: dict[tuple[str, str, str], float] = {}
        self._lock = threading.Lock()

    def studies(self, who: Principal, what: str, studies: Iterable[str]) -> None:
        """These studies are shown to ``who``; ``what`` names the page or the request."""
        if fresh := [uid for uid in studies if self._is_new(who.name, what, uid)]:
            self._record(Activity.QUERY, ActionCode.EXECUTE, who, what, count=len(fresh), studies=tuple(fresh))

    def job(self, who: Principal, what: str, study: str, series: str, job: str) -> None:
        """One job with its findings is shown to ``who``."""
        if self._is_new(who.name, what, job):
            self._record(
                Activity.ACCESSED, ActionCode.READ, who, what, studies=(study,), series=(series,), job=job, count=1
            )

    def exported(self, who: Principal, what: str, study: str, series: str, job: str) -> None:
        """``who`` downloads a result; each time is recorded."""
        studies, all_series = (study,) if study else (), (series,) if series else ()
        self._record(Activity.EXPORT, ActionCode.READ, who, what, studies=studies, series=all_series, job=job, count=1)

    def trail_read(self, who: Principal, what: str) -> None:
        """``who`` reads the audit trail; ``what`` names the filter's kind, never its text."""
        if self._is_new(who.name, what, "audit"):
            self._record(Activity.LOG_USED, ActionCode.READ, who, what)

    def listed(self, who: Principal, what: str, studies: Iterable[str]) -> None:
        """``who`` downloads a list of these studies; each time is recorded."""
        uids = tuple(studies)
        self._record(Activity.EXPORT, ActionCode.READ, who, what, count=len(uids), studies=uids)

    def did(self, who: Principal, what: str, *, study: str = "", job: str | None = None) -> None:
        """``who`` acts: on a job, a destination, a token."""
        self._record(Activity.APPLICATION, ActionCode.EXECUTE, who, what, studies=(study,) if study else (), job=job)

    def login(self, name: str, address: str, *, reason: str = "") -> None:
        """A login succeeded, or failed for ``reason`` (a stable code).

        ``name`` must be that of an account, or empty: people type their password into the wrong field.
        """
        outcome = OutcomeIndicator.SERIOUS_FAILURE if reason else OutcomeIndicator.SUCCESS
        who = Party(name or "unknown", "user", address)
        self._trail.record(
            AuditRecord(
                Activity.USER_AUTHENTICATION, ActionCode.EXECUTE, outcome, who, self._node, "login", reason=reason
            )
        )

    def _record(
        self,
        activity: Activity,
        action: ActionCode,
        who: Principal,
        what: str,
        *,
        count: int | None = None,
        studies: tuple[str, ...] = (),
        series: tuple[str, ...] = (),
        job: str | None = None,
    ) -> None:
        party = Party(who.name, "user", who.address)
        self._trail.record(
            AuditRecord(
                activity,
                action,
                OutcomeIndicator.SUCCESS,
                self._node,
                party,
                what,
                count=count,
                studies=studies,
                series=series,
                job=job,
            )
        )

    def _is_new(self, name: str, what: str, key: str) -> bool:
        now = self._clock()
        with self._lock:
            before = self._shown.pop((name, what, key), None)
            fresh = before is None or now - before > AGAIN_AFTER
            self._shown[name, what, key] = now if before is None or fresh else before
            while len(self._shown) > REMEMBERED:
                self._shown.pop(next(iter(self._shown)))
        return fresh
