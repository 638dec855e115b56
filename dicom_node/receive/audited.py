"""The audit records about callers: rejected ones, and the instances that admitted ones sent."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

import structlog

from dicom_node.audit.trail import ActionCode, Activity, AuditRecord, AuditTrail, OutcomeIndicator, Party
from dicom_node.receive.policy import Cause
from pipeline.errors import OutOfResources

log = structlog.get_logger("candela.listener")

DENIED_EVERY = 60.0
"""Seconds between two lines about one address and one cause, so that a persistent caller cannot fill the disk."""
KNOWN_MOST = 4096
STUDIES_MOST = 100
"""Most Study Instance UIDs that a line names."""


class ReceptionAudit:
    """Writes to ``trail``; ``node`` is this node in the trail.

    A line that cannot be written is logged: the caller stays rejected, and stored instances stay stored.
    """

    def __init__(self, trail: AuditTrail, node: Party) -> None:
        self._trail = trail
        self._node = node
        self._denied: OrderedDict[tuple[str, Cause], tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def denied(self, source: Party, cause: Cause) -> None:
        """Record a rejected caller. The line's ``count`` is the number of rejections since the line before."""
        count = self._due((source.address, cause))
        if count:
            what = "request" if source.kind == "http" else "association"
            self._record(
                AuditRecord(
                    Activity.SECURITY_ALERT, ActionCode.EXECUTE, OutcomeIndicator.MINOR_FAILURE, source, self._node,
                    what, count, reason=cause.value,
                )
            )  # fmt: skip

    def stored(self, source: Party, stored: int, studies: tuple[str, ...]) -> None:
        """Record the end of an association or request that stored ``stored`` instances."""
        if stored:
            what = "STOW-RS" if source.kind == "http" else "C-STORE"
            self._record(
                AuditRecord(
                    Activity.TRANSFERRED,
                    ActionCode.CREATE,
                    OutcomeIndicator.SUCCESS,
                    source,
                    self._node,
                    what,
                    stored,
                    studies,
                )
            )

    def _due(self, key: tuple[str, Cause]) -> int:
        """Number of rejections for the next line; 0 where it is not due."""
        now = time.monotonic()
        with self._lock:
            due, count = self._denied.pop(key, (now, 0))
            count += 1
            self._denied[key] = (now + DENIED_EVERY, 0) if now >= due else (due, count)
            if len(self._denied) > KNOWN_MOST:
                self._denied.popitem(last=False)
            return count if now >= due else 0

    def _record(self, record: AuditRecord) -> None:
        try:
            self._trail.record(record)
        except OutOfResources as error:
            log.error("audit_failed", code=error.code)  # noqa: TRY400  (the code says it)
