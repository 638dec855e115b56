"""pynetdicom's upper layer with our own parsing of association requests, and a report of each abort.

Relies on names private to pynetdicom 3.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import structlog
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_ECHO, C_STORE, N_ACTION, N_EVENT_REPORT
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, P_DATA_TF
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import ServiceClass, StorageServiceClass, VerificationServiceClass
from pynetdicom.service_class_n import StorageCommitmentServiceClass
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]  # made at import

from dicom_node.receive.request import acceptance, read_request, renumbered

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger("candela.listener")

NOT_ASKED = read_request(b"")
"""The request of a connection on which no association was requested."""
_ASSOCIATE_RQ, _P_DATA = 1, 4


class TolerantDul(DULServiceProvider):
    """The upper layer of an acceptor.

    ``asked`` is the association request as it was received. ``aborting`` is called once, with the reason, when we end
    the connection neither by a rejection nor by a release. The code that finds a fault sets ``fault`` first.
    """

    def __init__(self, assoc: Association, aborting: Callable[[Association, str], None]) -> None:
        super().__init__(assoc)
        self.asked = NOT_ASKED
        self.fault = ""
        self._aborting = aborting
        self._reported = False

    @classmethod
    def install(cls, assoc: Association, aborting: Callable[[Association, str], None]) -> TolerantDul:
        """Install an instance in ``assoc``, which must not have been started."""
        plain, tolerant = assoc.dul, cls(assoc, aborting)
        tolerant.socket, tolerant.event_queue = plain.socket, plain.event_queue  # it holds the connection's Evt5
        assoc.dul = tolerant
        return tolerant

    def report(self) -> None:
        """Report why the connection ends."""
        if not self._reported:
            self._reported = True
            self._aborting(self.assoc, self.fault or self._guessed_fault())

    def _guessed_fault(self) -> str:
        if self.idle_timer_expired():
            return "nothing was received for receive.network_timeout"
        if self.assoc._sent_abort:  # noqa: SLF001
            return "the node stops"
        return "a PDU that is not expected now"

    def _decode_pdu(self, bytestream: bytearray) -> tuple[Any, str]:
        """See `DULServiceProvider`."""
        if bytestream[0] == _ASSOCIATE_RQ and self.asked is NOT_ASKED:
            self.asked = read_request(bytes(bytestream))
            bytestream = bytearray(self.asked.encoded)
        elif bytestream[0] == _P_DATA:
            bytestream = cast(bytearray, renumbered(self.asked, cast(bytes, bytestream)))
        try:
            return super()._decode_pdu(bytestream)
        except Exception as error:
            self.fault = f"a PDU of type 0x{bytestream[0]:02X} that cannot be decoded ({type(error).__name__})"
            raise

    def _is_transport_event(self) -> bool:
        """See `DULServiceProvider`. Reading, which may block, waits until the events already read are processed."""
        return self.event_queue.empty() and super()._is_transport_event()

    def _read_pdu_data(self) -> None:
        """See `DULServiceProvider`."""
        super()._read_pdu_data()
        last = self.event_queue.queue[-1] if self.event_queue.qsize() else ""
        if last == "Evt19":
            self.fault = self.fault or "a PDU of a type that does not exist"
        elif last == "Evt17" and self.fault:
            self.report()

    def _send(self, pdu: Any) -> None:
        """See `DULServiceProvider`."""
        if isinstance(pdu, A_ABORT_RQ):
            self.report()
        if isinstance(pdu, A_ASSOCIATE_AC):
            pdu = _Encoded(pdu, acceptance(self.asked, pdu.encode()))
        elif isinstance(pdu, P_DATA_TF):
            pdu = _Encoded(pdu, renumbered(self.asked, pdu.encode()))
        super()._send(pdu)


class _Encoded:
    """A PDU with the bytes that are sent for it."""

    def __init__(self, pdu: Any, encoded: bytes) -> None:
        self.pdu, self._encoded = pdu, encoded

    def encode(self) -> bytes:
        return self._encoded


def serve(assoc: Association, message: Any, context_id: int) -> None:
    """Pass a request to the service of its command.

    pynetdicom chooses the service by the SOP class that the command names, from a table of the whole process: a C-STORE
    that names Verification would be answered as a C-ECHO, with success, and its data set lost; one of a private class
    would end the association. Here the command chooses the service, and the negotiated contexts decide whether it is
    offered.
    """
    dul = cast(TolerantDul, assoc.dul)
    context = assoc._accepted_cx.get(context_id)  # noqa: SLF001
    service: type[ServiceClass] | None = None
    if message.MessageIDBeingRespondedTo is not None:
        return  # a late response
    if context is None:
        dul.fault = "a message on a presentation context that was not accepted"
    elif message.MessageID is None:
        dul.fault = "a request without a Message ID"
    elif isinstance(message, C_STORE):
        service = StorageServiceClass
    elif isinstance(message, C_ECHO):
        service = VerificationServiceClass
    elif (
        isinstance(message, N_ACTION | N_EVENT_REPORT)
        and context.abstract_syntax == StorageCommitmentPushModel
        and message.is_valid_request
    ):
        service = StorageCommitmentServiceClass
    else:
        dul.fault = f"a request that is not offered on its presentation context ({type(message).__name__})"
    if service is None or context is None:
        assoc.abort()
    else:
        _run(service(assoc), message, context)


def _run(service: ServiceClass, message: Any, context: PresentationContext) -> None:
    """Run the service with the reactor paused, as pynetdicom does: it may itself send requests and
    wait for responses.
    """
    assoc = service.assoc
    assoc.dimse.cancel_req = {}
    assoc._is_paused = True  # noqa: SLF001
    try:
        service.SCP(message, context)
    except Exception as error:
        log.exception("service_failed", error=type(error).__name__)
        cast(TolerantDul, assoc.dul).fault = f"the service failed ({type(error).__name__})"
        assoc.abort()
        return
    assoc._is_paused = False  # noqa: SLF001
    assoc.dimse.cancel_req = {}
