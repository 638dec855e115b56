"""Delivery to a PACS whose storage commitment is required before results count as delivered (PS3.4 annex J, as SCU).

The request is an N-ACTION, the PACS's answer an N-EVENT-REPORT: on the same association, or on one that it opens to the
node's receiver, which may be much later. Requests and answers are on disk, so that an answer counts at any time: a
restart or a late report causes no second delivery.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]  # made at import

from dicom_node.commitment.ledger import SOP_CLASS, SOP_INSTANCE, Reference, Report, Request, RequestLedger
from dicom_node.deliver.dimse import DimseSender
from dicom_node.deliver.negotiation import instance_of
from pipeline.errors import CandelaError, NotDicom, PeerBusy, PeerUnavailable, Rejected

SUCCESS, INVALID_ARGUMENT, NO_SUCH_EVENT = 0x0000, 0x0115, 0x0113
LATER = {0x0110: "processing failure", 0x0213: "resource limitation"}
"""Statuses of N-ACTION (PS3.7 10.1.4.1.10) after which another attempt may succeed."""
SAME_ASSOCIATION = 5.0
"""Seconds for which the association stays open for the answer; many PACS answer only after its release."""
LOOK_EVERY = 0.1
REASONS = {
    0x0110: "processing failure",
    0x0112: "no such instance",
    0x0119: "class and instance conflict",
    0x0122: "SOP class not supported",
    0x0131: "duplicate transaction",
    0x0213: "resource limitation",
}
"""Failure Reason (PS3.3 C.14.1.1)."""
REFUSED = {0x0119, 0x0122}
"""Reasons that do not change when the same instance is sent again."""


class CommittedSender:
    """Sends by ``sender`` to the destination called ``name``, and waits for storage commitment."""

    def __init__(self, name: str, sender: DimseSender, folder: Path) -> None:
        self._name = name
        self._sender = sender
        self._requests = RequestLedger(folder / "asking")
        self._timeout = sender.destination.commitment_timeout

    def send(self, files: tuple[Path, ...]) -> str:
        """See `Sender.send`. Answers that came after an earlier attempt gave up count: committed instances are not sent
        again, failed ones are.

        Raises
        ------
        PeerUnavailable
            as `DimseSender.send`; where the PACS does not give storage commitment in time: the next attempt sends and
            asks again.
        PeerBusy
            as `DimseSender.send`; where the PACS reports missing instances: the next attempt sends them again.
        Rejected
            as `DimseSender.send`; where the PACS offers no storage commitment, or never stores such objects.
        """
        instances = [instance_of(path) for path in files]
        references = tuple(Reference(str(item.sop_class), str(item.sop_instance)) for item in instances)
        answers = tuple(self._requests.answers(self._name, references))
        if any(report.covers(references) for report in answers):
            self._requests.forget(self._name, references)
            return f"{len(files)} stored by an earlier attempt, committed"
        self._heed(answers, files, references)
        receipt = self._sender.send(files)
        report = self._ask(references)
        if not report.covers(references):
            self._heed((report,), files, references)
            raise self._not_committed(report, references)
        self._requests.forget(self._name, references)
        return f"{receipt}, committed"

    def _heed(self, noes: tuple[Report, ...], files: tuple[Path, ...], references: tuple[Reference, ...]) -> None:
        """Have the next `DimseSender.send` send what the PACS lacks, and drop the earlier requests.

        In this order, so that a kill in between costs a request and not the instances.
        """
        if not noes:
            return
        asked = {item.sop_instance_uid for item in references}
        for report in noes:
            self._sender.send_again(files, asked - {item.sop_instance_uid for item in report.committed})
        self._requests.forget(self._name, references)

    def _ask(self, references: tuple[Reference, ...]) -> Report:
        request = Request(str(generate_uid(prefix=None)), references)
        self._requests.begin(self._name, self._sender.destination.peer.ae_title, request)
        deadline = time.monotonic() + self._timeout
        contexts = [build_context(StorageCommitmentPushModel)]
        with self._sender.association(contexts, [(evt.EVT_N_EVENT_REPORT, self._take)]) as assoc:
            status, _ = assoc.send_n_action(request.dataset(), 1, SOP_CLASS, SOP_INSTANCE)
            self._check(status)
            self._wait(request, min(deadline, time.monotonic() + SAME_ASSOCIATION))
        report = self._wait(request, deadline)
        if report is None:
            raise PeerUnavailable(
                f"The PACS took the result but did not give storage commitment within {self._timeout:g} s.",
                where=self._sender.place,
                todo="Does it know this node's AE title, host and port for storage commitment? It is asked again.",
            )
        return report

    def _take(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """N-EVENT-REPORT on our own association: 0x0000, or 0x0113, 0x0115 (PS3.7 10.1.1.1.8)."""
        if event.event_type not in (1, 2):
            return NO_SUCH_EVENT, None
        try:
            report = Report.read(event.event_information)
        except NotDicom:
            return INVALID_ARGUMENT, None
        known = self._requests.report(self._sender.destination.peer.ae_title, report)
        return (SUCCESS if known else INVALID_ARGUMENT), None

    def _wait(self, request: Request, deadline: float) -> Report | None:
        """The answer, which this process or the receiver stored; None where it does not come in time."""
        while True:
            report = self._requests.answer(request.transaction_uid)
            left = deadline - time.monotonic()
            if report is not None or left <= 0:
                return report
            time.sleep(min(LOOK_EVERY, left))

    def _check(self, status: Dataset) -> None:
        """Raise the error for the status of N-ACTION; return where the PACS will report."""
        code = status.get("Status")
        if code is None:
            raise PeerUnavailable(
                "The PACS did not answer the request for storage commitment.",
                where=self._sender.place,
                todo="It is tried again.",
            )
        if code in LATER:
            raise PeerBusy(
                f"The PACS answered the request for storage commitment with 0x{code:04X} {LATER[code]}.",
                where=self._sender.place,
                todo="It is tried again.",
            )
        if code != SUCCESS:
            raise Rejected(
                f"The PACS refused the request for storage commitment: 0x{code:04X}.",
                where=self._sender.place,
                todo="Correct that there, or set commitment = false for this destination; then `candela jobs retry`.",
            )

    def _not_committed(self, report: Report, references: tuple[Reference, ...]) -> CandelaError:
        reasons = Counter(item.reason for item in report.failed)
        told = ", ".join(f"{count} × 0x{reason:04X} {REASONS.get(reason, '')}" for reason, count in reasons.items())
        there = len({item.sop_instance_uid for item in report.committed})
        what = f"The PACS is committed to {there} of {len(references)} instances ({told.strip() or 'no reason given'})."
        if REFUSED & set(reasons):
            todo = "Make the PACS keep such objects, or set commitment = false here; then `candela jobs retry`."
            return Rejected(what, where=self._sender.place, todo=todo)
        return PeerBusy(what, where=self._sender.place, todo="The others are sent again.")
