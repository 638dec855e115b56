"""Storage commitment in the receiver (PS3.4 annex J): the SCP for modalities, and the handler of reports by PACS.

A request is on disk before it is answered. A report is true at the time of reporting: for each attempt, each instance
is read from disk again and compared with the digest under which it was acknowledged. A report that does not reach the
modality is retried with growing pauses, across restarts, for a week.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]  # made at import

from dicom_node.backoff import doubling
from dicom_node.commitment.ledger import SOP_CLASS, SOP_INSTANCE, Failed, Reference, Report, Request, RequestLedger
from dicom_node.completion.monitor import SeriesMonitor
from dicom_node.network import tls
from dicom_node.network.entity import application_entity
from dicom_node.observability.counters import Counters
from dicom_node.observability.log import uid
from dicom_node.receive.admission import Admission
from dicom_node.settings.peers import DicomPeer
from dicom_node.store.durable import sync_folder, write_durably
from dicom_node.store.instance_store import InstanceStore
from dicom_node.store.series_index import SeriesIndex
from pipeline.errors import BadSettings

log = structlog.get_logger("candela.commitment")

SUCCESS, PROCESSING_FAILURE, NO_SUCH_INSTANCE = 0x0000, 0x0110, 0x0112
INVALID_ARGUMENT, CLASS_CONFLICT, NO_SUCH_ACTION = 0x0115, 0x0119, 0x0123
NOT_AUTHORISED, RESOURCE_LIMITATION, NO_SUCH_EVENT = 0x0124, 0x0213, 0x0113
ANSWER_FIRST = 0.5
"""Seconds by which a report is delayed, so that the response to N-ACTION goes first."""
RETRY_FIRST, RETRY_MOST = 5.0, 3600.0
GIVE_UP = 7 * 86400.0
"""After this time an undelivered report is dropped; the modality can ask again."""
FORGET_ASKED = 30 * 86400.0
INDEX_WITHIN = 10.0
"""Seconds in which the index must catch up with arrivals; otherwise the report is retried later."""
TIMEOUT = 30.0
WAITING_MOST = 10_000
REPORTS_AT_ONCE = 4


@dataclass
class _PendingRequest:
    """A modality's request. ``at``: seconds since the epoch; ``due``: of the monotonic clock."""

    calling_ae: str
    request: Request
    at: float
    path: Path
    tries: int = 0
    due: float = 0.0
    busy: bool = False
    assoc: Association | None = field(default=None, repr=False)


class StorageCommitment:
    """Both roles of one node. ``folder`` is ``commitments/``; `start` takes up what an earlier process left."""

    def __init__(
        self,
        folder: Path,
        admission: Admission,
        store: InstanceStore,
        index: SeriesIndex,
        monitor: SeriesMonitor,
        counters: Counters,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder / "asked"
        self._requests = RequestLedger(folder / "asking")
        self._admission = admission
        self._store, self._index, self._monitor = store, index, monitor
        self._counters = counters
        self._clock = clock
        self._waiting: dict[Path, _PendingRequest] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="commitment", daemon=True)
        # A modality that does not answer must not hold up the others' reports.
        self._reporters = ThreadPoolExecutor(REPORTS_AT_ONCE, thread_name_prefix="commitment-report")

    @property
    def waiting(self) -> int:
        """How many requests of modalities are to be reported yet."""
        return len(self._waiting)

    def start(self) -> None:
        """Take up what is to be reported, and report until `stop`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        sync_folder(self._folder.parent)
        self._requests.forget_before(self._clock() - FORGET_ASKED)
        for path in self._folder.glob("*.json"):
            try:
                self._waiting[path] = _read(path)
            except (ValueError, TypeError, KeyError):
                log.error("commitment_request_damaged", file=path.name)  # noqa: TRY400  (the file's name says it)
                path.rename(path.with_suffix(".damaged"))
        self._thread.start()

    def stop(self) -> None:
        """Report no more; what waits is taken up at the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self._reporters.shutdown(wait=False, cancel_futures=True)

    def n_action(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Answer N-ACTION (PS3.4 J.3.2, PS3.7 10.1.4.1.10).

        ======  ===================================================================================
        0x0000  Success: the request is on disk and will be reported on
        0x0110  Processing failure: the disk is full or failing
        0x0112  No such SOP instance: not the well-known instance of the Push Model
        0x0115  Invalid argument value: no Transaction UID, or no instances, or malformed ones
        0x0123  No such action: another Action Type ID than 1
        0x0124  Not authorized: the caller is no longer admitted
        0x0213  Resource limitation: too many requests wait already
        ======  ===================================================================================
        """
        status = self._take(event)
        if status != SUCCESS:
            log.warning("commitment_request_refused", status=f"0x{status:04X}")
        return status, None

    def _take(self, event: evt.Event) -> int:  # noqa: PLR0911  (a status each)
        admitted = self._admission.admitted(event.assoc)
        if admitted is None or not self._admission.allows(admitted):
            return NOT_AUTHORISED
        if cast(N_ACTION, event.request).RequestedSOPInstanceUID != SOP_INSTANCE:
            return NO_SUCH_INSTANCE
        if event.action_type != 1:
            return NO_SUCH_ACTION
        if len(self._waiting) >= WAITING_MOST:
            return RESOURCE_LIMITATION
        try:
            request = Request.read(event.action_information)
        except Exception:  # noqa: BLE001  (a hostile data set may raise anything while it is decoded)
            return INVALID_ARGUMENT
        asked = _PendingRequest(
            admitted.caller.calling_ae, request, self._clock(), self._path(admitted.caller.calling_ae, request)
        )
        asked.assoc, asked.due = event.assoc, time.monotonic() + ANSWER_FIRST
        try:
            write_durably(asked.path, _written(asked))
        except OSError:
            return PROCESSING_FAILURE
        self._counters.add("commitments_requested")
        log.info("commitment_requested", calling_ae=asked.calling_ae, instances=len(request.references))
        with self._changed:
            self._waiting[asked.path] = asked
            self._changed.notify_all()
        return SUCCESS

    def n_event_report(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Take N-EVENT-REPORT of a PACS that we asked (PS3.4 J.3.3, PS3.7 10.1.1.1.8).

        ======  ===================================================================================
        0x0000  Success: the report is on disk
        0x0110  Processing failure: the disk is full or failing
        0x0113  No such event type: neither 1 (all committed) nor 2 (failures exist)
        0x0115  Invalid argument value: malformed, or a transaction that this caller was not asked for
        ======  ===================================================================================
        """
        admitted = self._admission.admitted(event.assoc)
        if event.event_type not in (1, 2):
            return NO_SUCH_EVENT, None
        try:
            report = Report.read(event.event_information)
        except Exception:  # noqa: BLE001  (a hostile data set may raise anything while it is decoded)
            return INVALID_ARGUMENT, None
        try:
            known = admitted is not None and self._requests.report(admitted.caller.calling_ae, report)
        except OSError:
            return PROCESSING_FAILURE, None
        if not known:
            log.warning("commitment_report_unasked", transaction=uid(report.transaction_uid))
            return INVALID_ARGUMENT, None
        log.info("commitment_reported_to_us", committed=len(report.committed), failed=len(report.failed))
        return SUCCESS, None

    def _path(self, calling_ae: str, request: Request) -> Path:
        name = hashlib.sha256(f"{calling_ae}\x1f{request.transaction_uid}".encode()).hexdigest()[:32]
        return self._folder / f"{name}.json"

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                idle = (item for item in self._waiting.values() if not item.busy)
                due = min(idle, key=lambda item: item.due, default=None)
                if self._stopping:
                    return
                if due is None or due.due > now:
                    self._changed.wait(None if due is None else due.due - now)
                    continue
                due.busy = True
            self._reporters.submit(self._answer, due)

    def _answer(self, asked: _PendingRequest) -> None:
        """Report on one request, or schedule another attempt."""
        try:
            given = self._report(asked)
        except Exception as error:  # noqa: BLE001  (one request must not end the thread that serves them all)
            log.error("commitment_failed", error=type(error).__name__)  # noqa: TRY400  (a trace may quote values)
            given = False
        asked.assoc = None
        late = self._clock() - asked.at > GIVE_UP
        if given or late:
            with self._changed:
                if self._waiting.get(asked.path) is asked:  # otherwise the modality has asked again meanwhile
                    del self._waiting[asked.path]
                    asked.path.unlink(missing_ok=True)
            self._counters.add("commitments_reported" if given else "commitments_unreported")
            if not given:
                log.error("commitment_report_dropped", calling_ae=asked.calling_ae)
            return
        asked.tries += 1
        wait = doubling(asked.tries, RETRY_FIRST, RETRY_MOST)
        with self._changed:
            asked.due, asked.busy = time.monotonic() + wait, False
            self._changed.notify_all()
        log.warning("commitment_report_waits", calling_ae=asked.calling_ae, tries=asked.tries, retry_in=wait)

    def _report(self, asked: _PendingRequest) -> bool:
        """Send the report on the association that asked, or else on one of our own; True where the modality took it."""
        if not self._monitor.caught_up(INDEX_WITHIN):
            return False
        report = self._judge(asked.request)
        peer = self._admission.settings.peer(asked.calling_ae)
        target = peer.commitment_to if peer is not None else None
        if asked.assoc is not None and asked.assoc.is_established and (target is None or _asks_only(asked.assoc)):
            with suppress(RuntimeError, ValueError):  # the association ended between the check and the call
                if _send(asked.assoc, report):
                    return self._told(asked, report)
        return target is not None and self._call(target, report) and self._told(asked, report)

    @staticmethod
    def _told(asked: _PendingRequest, report: Report) -> bool:
        committed, failed = len(report.committed), len(report.failed)
        log.info("commitment_reported", calling_ae=asked.calling_ae, committed=committed, failed=failed)
        return True

    def _call(self, target: DicomPeer, report: Report) -> bool:
        """Report by an association of our own, in which we are the SCP (PS3.4 J.3.3, role selection)."""
        ae = application_entity(self._admission.settings.ae_title)
        ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = TIMEOUT
        ae.add_requested_context(StorageCommitmentPushModel)
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid, role.scu_role, role.scp_role = StorageCommitmentPushModel, False, True
        try:
            secure = tls.towards(target)
        except BadSettings as error:
            log.error("commitment_report_without_tls", reason=str(error))  # noqa: TRY400  (the error says it)
            return False
        assoc = ae.associate(target.host, target.port, ae_title=target.ae_title, ext_neg=[role], tls_args=secure)
        if not assoc.is_established:
            return False
        try:
            return _send(assoc, report)
        except (RuntimeError, ValueError):
            return False
        finally:
            if assoc.is_established:
                assoc.release()

    def _judge(self, request: Request) -> Report:
        """Which instances are on disk as acknowledged, and why each of the others failed."""
        committed: list[Reference] = []
        failed: list[Failed] = []
        kept: dict[str, list[str]] = {}
        for item in request.references:
            series, reason = self._look(item)
            if reason:
                failed.append(Failed(item.sop_class_uid, item.sop_instance_uid, reason))
            else:
                committed.append(item)
                kept.setdefault(series, []).append(item.sop_instance_uid)
        for series, instances in kept.items():
            if not self._store.record_committed(series):  # purged just now
                failed += [
                    Failed(item.sop_class_uid, item.sop_instance_uid, NO_SUCH_INSTANCE)
                    for item in committed
                    if item.sop_instance_uid in set(instances)
                ]
        gone = {item.sop_instance_uid for item in failed}
        left = tuple(item for item in committed if item.sop_instance_uid not in gone)
        return Report(request.transaction_uid, left, tuple(failed))

    def _look(self, item: Reference) -> tuple[str, int]:
        """The series that holds the instance as acknowledged; otherwise the Failure Reason (PS3.3 C.14.1.1)."""
        found = self._index.current(item.sop_instance_uid)
        if found is None:
            return "", NO_SUCH_INSTANCE
        if found.sop_class_uid != item.sop_class_uid:
            return "", CLASS_CONFLICT
        if not self._store.holds(found.path, found.sha256):
            log.error("committed_instance_damaged", instance=uid(item.sop_instance_uid))
            return "", PROCESSING_FAILURE
        return found.series_instance_uid, 0


def _asks_only(assoc: Association) -> bool:
    """Whether the association carries nothing but storage commitment, so that a report crosses no other message."""
    return all(item.abstract_syntax in (StorageCommitmentPushModel, Verification) for item in assoc.accepted_contexts)


def _send(assoc: Association, report: Report) -> bool:
    status, _ = assoc.send_n_event_report(report.dataset(), report.event_type, SOP_CLASS, SOP_INSTANCE)
    return bool(status.get("Status") == SUCCESS)


def _written(asked: _PendingRequest) -> bytes:
    return json.dumps({"calling_ae": asked.calling_ae, "at": asked.at, "request": asdict(asked.request)}).encode()


def _read(path: Path) -> _PendingRequest:
    data: dict[str, Any] = json.loads(path.read_text())
    references = tuple(Reference(**item) for item in data["request"]["references"])
    return _PendingRequest(
        data["calling_ae"], Request(data["request"]["transaction_uid"], references), data["at"], path
    )
