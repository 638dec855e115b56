"""A modality that asks for storage commitment and hears the answer, by pynetdicom."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel

from dicom_node.commitment.ledger import SOP_CLASS, SOP_INSTANCE, Reference, Report, Request
from dicom_node.network.requestor import Requestor
from tests.peers.ports import free_port

Heard = dict[str, Report]


@dataclass
class Modality:
    """Calls itself ``ae_title``; the reports it hears are in ``heard`` by Transaction UID."""

    ae_title: str = "MODALITY"
    port: int = field(default_factory=free_port)
    heard: Heard = field(default_factory=dict)
    associations: int = 0
    status: int = 0x0000

    def take(self, event: evt.Event) -> tuple[int, None]:
        """N-EVENT-REPORT."""
        report = Report.read(event.event_information)
        assert event.event_type == report.event_type
        self.heard[report.transaction_uid] = report
        return self.status, None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes reports by associations of the node's own."""
        ae = AE(self.ae_title)
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)

        def requested(_: evt.Event) -> None:
            self.associations += 1

        handlers = [(evt.EVT_N_EVENT_REPORT, self.take), (evt.EVT_REQUESTED, requested)]
        server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        try:
            yield
        finally:
            server.shutdown()

    def ask(self, port: int, references: Iterable[Reference], *, stay: float = 0.0, called: str = "CANDELA") -> str:
        """N-ACTION; the Transaction UID. ``stay``: seconds for which the association stays open for the report."""
        request = Request(str(generate_uid(prefix=None)), tuple(references))
        status = self.act(port, request.dataset(), stay=stay, transaction=request.transaction_uid, called=called)
        assert status == 0x0000, f"0x{status:04X}"
        return request.transaction_uid

    def act(
        self,
        port: int,
        ds: Dataset,
        *,
        action: int = 1,
        instance: str = SOP_INSTANCE,
        stay: float = 0.0,
        transaction: str = "",
        called: str = "CANDELA",
    ) -> int:
        """N-ACTION of whatever kind; the status."""
        ae = Requestor(self.ae_title)
        ae.acse_timeout = ae.dimse_timeout = 20
        assoc = ae.associate(
            "127.0.0.1",
            port,
            contexts=[build_context(StorageCommitmentPushModel)],
            ae_title=called,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.take)],
        )
        assert assoc.is_established
        status, _ = assoc.send_n_action(ds, action, SOP_CLASS, instance)
        deadline = time.monotonic() + stay
        while time.monotonic() < deadline and transaction not in self.heard:
            time.sleep(0.05)
        assoc.release()
        return int(status.Status)

    def wait(self, transaction: str, seconds: float = 30) -> Report:
        """The report on ``transaction``."""
        deadline = time.monotonic() + seconds
        while transaction not in self.heard:
            assert time.monotonic() < deadline, "no report came"
            time.sleep(0.05)
        return self.heard[transaction]


class CommittingPacs:
    """A Storage SCP that answers commitment requests.

    ``how``: ``same`` association, ``new`` association to ``node_port``, ``never``; ``lost`` are SOP Instance UIDs that
    it does not have. One that is ``forgetful`` says so of the last instance of each request, once: ``forgotten``.
    """

    def __init__(self, *, how: str = "new", node_port: int = 0, delay: float = 0.2) -> None:
        from pynetdicom import AllStoragePresentationContexts

        self.port = free_port()
        self.how, self.node_port, self.delay = how, node_port, delay
        self.reason = 0x0112
        self.lost: set[str] = set()
        self.forgetful = False
        self.forgotten: set[str] = set()
        self.stored: list[str] = []
        self.asked: list[Request] = []
        self._ae = AE("PACS")
        self._ae.supported_contexts = AllStoragePresentationContexts
        self._ae.add_supported_context(StorageCommitmentPushModel)

    @contextmanager
    def running(self) -> Iterator[CommittingPacs]:
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._act)]
        server = self._ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        try:
            yield self
        finally:
            server.shutdown()

    def _store(self, event: evt.Event) -> int:
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def _act(self, event: evt.Event) -> tuple[int, None]:
        request = Request.read(event.action_information)
        self.asked.append(request)
        if self.how != "never":
            threading.Timer(self.delay, self.report, [request, event.assoc]).start()
        return 0x0000, None

    def report(self, request: Request, assoc: object = None) -> int | None:
        """Answer ``request``; the status that the node answers with."""
        from dicom_node.commitment.ledger import Failed

        missing = set(self.lost)
        last = request.references[-1].sop_instance_uid
        if self.forgetful and last not in self.forgotten:
            self.forgotten.add(last)
            missing.add(last)
        lost = [item for item in request.references if item.sop_instance_uid in missing]
        kept = tuple(item for item in request.references if item not in lost)
        failed = tuple(Failed(item.sop_class_uid, item.sop_instance_uid, self.reason) for item in lost)
        report = Report(request.transaction_uid, kept, failed)
        if self.how == "same" and assoc is not None:
            assoc.send_n_event_report(report.dataset(), report.event_type, SOP_CLASS, SOP_INSTANCE)  # type: ignore[attr-defined]
            return None
        return report_to(self.node_port, report, calling="PACS")


def report_to(port: int, report: Report, *, calling: str, event_type: int | None = None) -> int | None:
    """N-EVENT-REPORT by an association of our own; the status, None where there is no association."""
    from pynetdicom import build_role

    ae = Requestor(calling)
    ae.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    assoc = ae.associate("127.0.0.1", port, ae_title="CANDELA", ext_neg=[role])
    if not assoc.is_established:
        return None
    status, _ = assoc.send_n_event_report(report.dataset(), event_type or report.event_type, SOP_CLASS, SOP_INSTANCE)
    assoc.release()
    return int(status.Status)
