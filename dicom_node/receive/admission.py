"""Lets callers in or not: knows the settings in force, counts who is in, writes down why somebody was not let in."""

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
from dicom_node.receive.policy import FAULTY, LIMIT_EXCEEDED, NOT_LET_IN, Caller, Cause, Rejection, denial
from dicom_node.receive.request import AssociateRequest
from dicom_node.receive.transport import came_by_tls, certificate_of
from dicom_node.receive.upper_layer import TolerantDul
from dicom_node.settings.ae_titles import title_text
from dicom_node.settings.receive import Receive

log = structlog.get_logger("candela.listener")

STORES_NOTHING = frozenset({Verification, StorageCommitmentPushModel})
"""SOP classes of an association that is let in though the disk is full: a PACS's report lets results be delivered."""
DAY = 86400.0


@dataclass
class Guest:
    """An association that was let in: its number, who called, how many instances it sent and how many were stored.

    ``studies`` are the Study Instance UIDs of the first `STUDIES_MOST` studies among them.
    """

    number: int
    caller: Caller
    instances: int = 0
    stored: int = 0
    studies: set[str] = field(default_factory=set)

    def stores(self, study_instance_uid: str) -> None:
        """An instance of this association was stored."""
        self.stored += 1
        if len(self.studies) < STUDIES_MOST:
            self.studies.add(study_instance_uid)


class Door:
    """The door of the Storage SCP. ``settings`` may be replaced at any time; ``has_room`` is asked for each caller."""

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
        self._guests: dict[Association, Guest] = {}
        self._lock = threading.Lock()

    def judge(self, assoc: Association) -> Rejection | None:
        """How an association that is asked for is to be rejected, or None; logged and counted."""
        caller, asked = caller_of(assoc), asked_by(assoc)
        cause = denial(self.settings, caller)
        answer = NOT_LET_IN
        if cause is None and asked.fault is not None:
            answer, cause = FAULTY[asked.fault], Cause(asked.fault)
        if cause is None:
            answer, cause = LIMIT_EXCEEDED, self._no_room(assoc, caller)
        if cause is None:
            self._mind_expiry(caller)
            return None
        self._deny(caller, cause, asked.detail)
        return answer

    def crowded(self, assoc: Association) -> None:
        """An association was rejected since there are too many in all; logged and counted."""
        self._deny(caller_of(assoc), Cause.ASSOCIATIONS, "")

    def _deny(self, caller: Caller, cause: Cause, detail: str) -> None:
        self._counters.denied[cause] += 1
        if self._audit is not None:
            self._audit.denied(_party(caller), cause)
        log.warning("association_denied", cause=str(cause), **_named(caller), **({"detail": detail} if detail else {}))

    def aborting(self, assoc: Association, reason: str) -> None:
        """We end a connection in another way than by a rejection or a release; logged, counted and audited."""
        caller = caller_of(assoc)
        self._counters.add("associations_aborted")
        if self._audit is not None:
            self._audit.denied(_party(caller), Cause.PROTOCOL)
        log.warning("association_aborted", reason=reason, **_named(caller))

    def turned_away(self, address: str, cause: Cause) -> None:
        """A connection ended before anything was asked on it; audited."""
        if self._audit is not None:
            self._audit.denied(Party("", "dicom", address), cause)

    def allows(self, guest: Guest) -> bool:
        """Whether the settings in force still let ``guest`` in."""
        return denial(self.settings, guest.caller) is None

    def enter(self, assoc: Association, number: int) -> None:
        """An association was accepted."""
        with self._lock:
            self._guests[assoc] = Guest(number, caller_of(assoc))

    def guest(self, assoc: Association) -> Guest | None:
        return self._guests.get(assoc)

    def leave(self, assoc: Association) -> Guest | None:
        """An association is over; None where that was known."""
        with self._lock:
            guest = self._guests.pop(assoc, None)
        if guest is not None and self._audit is not None:
            self._audit.brought(_party(guest.caller), guest.stored, tuple(sorted(guest.studies)))
        return guest

    @property
    def inside(self) -> int:
        """How many associations there are."""
        return len(self._guests)

    def _no_room(self, assoc: Association, caller: Caller) -> Cause | None:
        with self._lock:
            here = Counter(guest.caller.calling_ae for guest in self._guests.values())
        if here[caller.calling_ae] >= self.settings.limits.associations_per_peer:
            return Cause.ASSOCIATIONS
        primitive = cast(A_ASSOCIATE, assoc.requestor.primitive)
        asked = {context.abstract_syntax for context in primitive.presentation_context_definition_list}
        if not asked <= STORES_NOTHING and not self._has_room():
            return Cause.DISK
        return None

    def _mind_expiry(self, caller: Caller) -> None:
        shown = caller.certificate
        left = (shown.expires - time.time()) / DAY if shown is not None else self._warn_days
        if left < self._warn_days:
            log.warning("peer_certificate_expires", calling_ae=caller.calling_ae, days=round(left, 1))


def asked_by(assoc: Association) -> AssociateRequest:
    """What was asked for on the connection of ``assoc``."""
    return cast(TolerantDul, assoc.dul).asked


def caller_of(assoc: Association) -> Caller:
    """Who asks for ``assoc``, or has it."""
    asked = asked_by(assoc)
    return Caller(
        calling_ae=title_text(asked.calling),
        called_ae=title_text(asked.called),
        address=str(assoc.requestor.address),
        tls=came_by_tls(assoc),
        certificate=certificate_of(assoc),
    )


def _named(caller: Caller) -> dict[str, object]:
    """What a log line says of a caller."""
    return {
        "calling_ae": caller.calling_ae,
        "called_ae": caller.called_ae,
        "peer": caller.address,
        "tls": caller.tls,
    }


def _party(caller: Caller) -> Party:
    return Party(caller.calling_ae, "dicom", caller.address)
