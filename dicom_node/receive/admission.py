"""Admission of associations: applies the settings in force, counts open associations, records each rejection."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import structlog
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]  # made at import

from dicom_node.audit.trail import Party
from dicom_node.observability.counters import Counters
from dicom_node.receive.audited import STUDIES_MOST, ReceptionAudit
from dicom_node.receive.policy import FAULTY, LIMIT_EXCEEDED, NOT_ADMITTED, Caller, Cause, Rejection, denial
from dicom_node.receive.request import AssociateRequest
from dicom_node.receive.transport import came_by_tls, certificate_of
from dicom_node.receive.upper_layer import TolerantDul
from dicom_node.settings.ae_titles import title_text
from dicom_node.settings.receive import Receive

log = structlog.get_logger("candela.listener")

STORES_NOTHING = frozenset({Verification, StorageCommitmentPushModel})
"""SOP classes that an association may use while the disk is full: a PACS's report lets results be delivered."""
DAY = 86400.0


@dataclass
class AdmittedAssociation:
    """An association that was admitted: its number, its caller, the numbers of instances sent and stored.

    ``studies`` are the Study Instance UIDs of the first `STUDIES_MOST` studies among them.
    """

    number: int
    caller: Caller
    instances: int = 0
    stored: int = 0
    studies: set[str] = field(default_factory=set)

    def record_stored(self, study_instance_uid: str) -> None:
        """Record that an instance of this association was stored."""
        self.stored += 1
        if len(self.studies) < STUDIES_MOST:
            self.studies.add(study_instance_uid)


class Admission:
    """The admission of the Storage SCP. ``settings`` may be replaced at any time; ``has_room`` is asked for each
    caller.
    """

    def __init__(
        self,
        settings: Receive,
        counters: Counters,
        has_room: Callable[[], bool],
        warn_days: float = 30.0,
        audit: ReceptionAudit | None = None,
    ) -> None:
        self.settings = settings
        self._counters = counters
        self._has_room = has_room
        self._warn_days = warn_days
        self._audit = audit
        self._admitted: dict[Association, AdmittedAssociation] = {}
        self._lock = threading.Lock()

    def judge(self, assoc: Association) -> Rejection | None:
        """The rejection of a requested association, which is logged and counted; None where it is admitted."""
        caller, asked = caller_of(assoc), asked_by(assoc)
        cause = denial(self.settings, caller)
        answer = NOT_ADMITTED
        if cause is None and asked.fault is not None:
            answer, cause = FAULTY[asked.fault], Cause(asked.fault)
        if cause is None:
            answer, cause = LIMIT_EXCEEDED, self._no_room(assoc, caller)
        if cause is None:
            self._warn_of_expiry(caller)
            return None
        self._deny(caller, cause, asked.detail)
        return answer

    def too_many(self, assoc: Association) -> None:
        """Log and count an association that was rejected because too many are open."""
        self._deny(caller_of(assoc), Cause.ASSOCIATIONS, "")

    def _deny(self, caller: Caller, cause: Cause, detail: str) -> None:
        self._counters.denied[cause] += 1
        if self._audit is not None:
            self._audit.denied(_party(caller), cause)
        log.warning("association_denied", cause=str(cause), **_named(caller), **({"detail": detail} if detail else {}))

    def aborting(self, assoc: Association, reason: str) -> None:
        """Log, count and audit a connection that we end neither by a rejection nor by a release."""
        caller = caller_of(assoc)
        self._counters.add("associations_aborted")
        if self._audit is not None:
            self._audit.denied(_party(caller), Cause.PROTOCOL)
        log.warning("association_aborted", reason=reason, **_named(caller))

    def connection_refused(self, address: str, cause: Cause) -> None:
        """Audit a connection that ended before it requested an association."""
        if self._audit is not None:
            self._audit.denied(Party("", "dicom", address), cause)

    def allows(self, admitted: AdmittedAssociation) -> bool:
        """Whether the settings in force still admit the caller."""
        return denial(self.settings, admitted.caller) is None

    def add(self, assoc: Association, number: int) -> None:
        """Register an accepted association."""
        with self._lock:
            self._admitted[assoc] = AdmittedAssociation(number, caller_of(assoc))

    def admitted(self, assoc: Association) -> AdmittedAssociation | None:
        return self._admitted.get(assoc)

    def remove(self, assoc: Association) -> AdmittedAssociation | None:
        """Remove an association that has ended; None where it was removed before."""
        with self._lock:
            admitted = self._admitted.pop(assoc, None)
        if admitted is not None and self._audit is not None:
            self._audit.stored(_party(admitted.caller), admitted.stored, tuple(sorted(admitted.studies)))
        return admitted

    @property
    def open_associations(self) -> int:
        """Number of open associations."""
        return len(self._admitted)

    def _no_room(self, assoc: Association, caller: Caller) -> Cause | None:
        with self._lock:
            here = Counter(admitted.caller.calling_ae for admitted in self._admitted.values())
        if here[caller.calling_ae] >= self.settings.limits.associations_per_peer:
            return Cause.ASSOCIATIONS
        primitive = cast(A_ASSOCIATE, assoc.requestor.primitive)
        asked = {context.abstract_syntax for context in primitive.presentation_context_definition_list}
        if not asked <= STORES_NOTHING and not self._has_room():
            return Cause.DISK
        return None

    def _warn_of_expiry(self, caller: Caller) -> None:
        shown = caller.certificate
        left = (shown.expires - time.time()) / DAY if shown is not None else self._warn_days
        if left < self._warn_days:
            log.warning("peer_certificate_expires", calling_ae=caller.calling_ae, days=round(left, 1))


def asked_by(assoc: Association) -> AssociateRequest:
    """The A-ASSOCIATE-RQ of ``assoc``."""
    return cast(TolerantDul, assoc.dul).asked


def caller_of(assoc: Association) -> Caller:
    """The caller that requested ``assoc``."""
    asked = asked_by(assoc)
    return Caller(
        calling_ae=title_text(asked.calling),
        called_ae=title_text(asked.called),
        address=str(assoc.requestor.address),
        tls=came_by_tls(assoc),
        certificate=certificate_of(assoc),
    )


def _named(caller: Caller) -> dict[str, object]:
    """The fields of a log line about a caller."""
    return {
        "calling_ae": caller.calling_ae,
        "called_ae": caller.called_ae,
        "peer": caller.address,
        "tls": caller.tls,
    }


def _party(caller: Caller) -> Party:
    return Party(caller.calling_ae, "dicom", caller.address)
