"""The Storage SCP: negotiation, access, and the answer to each C-STORE."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from io import BytesIO
from typing import cast

import structlog
from pydicom.uid import UID
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import
from pynetdicom.transport import ThreadedAssociationServer

from dicom_node.observability import uid
from dicom_node.receive.access import rejection
from dicom_node.receive.counters import Counters
from dicom_node.receive.header import Header
from dicom_node.receive.instance_store import IMPLEMENTATION_CLASS_UID, Sender, implementation_version
from dicom_node.receive.keeper import Keeper, transfer_syntaxes
from dicom_node.receive.transport import MAXIMUM_PDU, PromptRequestHandler, PromptServer, SharedContexts
from dicom_node.settings import Receive
from pipeline.errors import NotDicom, OutOfResources

log = structlog.get_logger("candela.listener")

SUCCESS = 0x0000
NOT_AUTHORISED = 0x0124
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

ACSE_TIMEOUT = 30.0
"""Seconds in which a connection must have asked for an association (PS3.8 9.1.5, ARTIM)."""


class Listener:
    """Accepts associations on ``settings.host`` and ``settings.port`` between `start` and `stop`.

    Every public storage SOP class is accepted. Private ones are not: pynetdicom can take them only by a switch for the
    whole process that lets anything in, and no model reads them. ``numbers`` numbers the associations; whoever else
    takes instances in draws from the same, so that a higher number is always a later one.
    """

    def __init__(self, settings: Receive, keeper: Keeper, counters: Counters, numbers: Iterator[int]) -> None:
        self._settings = settings
        self._keeper = keeper
        self._counters = counters
        self._numbers = numbers
        self._associations: dict[Association, int] = {}
        self._server: ThreadedAssociationServer | None = None
        # pynetdicom's standard handlers log every message with its identifiers, and cost time on each PDU.
        _config.LOG_HANDLER_LEVEL = "none"

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        return self._settings.port

    def start(self) -> None:
        """Listen.

        Raises
        ------
        OSError
            where the port is taken.
        """
        ae = AE(self._settings.ae_title)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = implementation_version()
        ae.require_called_aet = True
        ae.maximum_associations = self._settings.maximum_associations
        ae.maximum_pdu_size = MAXIMUM_PDU
        ae.acse_timeout = min(ACSE_TIMEOUT, self._settings.network_timeout)
        ae.dimse_timeout = ae.network_timeout = self._settings.network_timeout
        syntaxes: list[str | UID] = [*transfer_syntaxes()]
        classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
        contexts = [build_context(sop_class, syntaxes) for sop_class in classes]
        contexts.append(build_context(Verification))
        server = ae.make_server(
            (self._settings.host, self._settings.port),
            contexts=SharedContexts(contexts),
            evt_handlers=[
                (evt.EVT_REQUESTED, self._requested),
                (evt.EVT_REJECTED, self._rejected),
                (evt.EVT_ACCEPTED, self._accepted),
                (evt.EVT_C_ECHO, self._echo),
                (evt.EVT_C_STORE, self._store_instance),
                (evt.EVT_RELEASED, self._released),
                (evt.EVT_ABORTED, self._lost),
                (evt.EVT_CONN_CLOSE, self._lost),
            ],
            server_class=PromptServer,
            request_handler=PromptRequestHandler,
        )
        ae._servers.append(server)  # noqa: SLF001  (as AE.start_server does: the server takes itself out at shutdown)
        self._server = server
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        log.info("listening", ae_title=self._settings.ae_title, host=self._settings.host, port=self.port)

    def stop(self, grace: float) -> None:
        """Accept no more associations, let the running ones finish for ``grace`` seconds, abort what is left."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.shutdown()
        deadline = time.monotonic() + grace
        while (running := server.active_associations) and time.monotonic() < deadline:
            running[0].join(max(0.0, min(0.2, deadline - time.monotonic())))
        for assoc in server.active_associations:
            assoc.abort()
            assoc.join(1.0)

    def _requested(self, event: evt.Event) -> None:
        """Reject a caller that is not allowed (A-ASSOCIATE-RJ, PS3.8 9.3.4) before anything is negotiated.

        Result 1 (permanent), source 1 (service user), reason 3 (calling AE title not recognized) or 7 (called AE
        title not recognized). More associations than ``maximum_associations`` are rejected by pynetdicom: result 2
        (transient), source 3 (presentation related), reason 2 (local limit exceeded).
        """
        primitive = cast(A_ASSOCIATE, event.assoc.requestor.primitive)
        refused = rejection(self._settings, str(primitive.calling_ae_title), str(primitive.called_ae_title))
        if refused is not None:
            event.assoc.acse.send_reject(refused.result, refused.source, refused.reason)
            evt.trigger(event.assoc, evt.EVT_REJECTED, {})
            event.assoc.kill()  # waits until the rejection is on its way

    def _rejected(self, event: evt.Event) -> None:
        self._counters.add("associations_rejected")
        primitive = cast(A_ASSOCIATE, event.assoc.requestor.primitive)
        log.warning("association_rejected", calling_ae=primitive.calling_ae_title, peer=event.assoc.requestor.address)

    def _accepted(self, event: evt.Event) -> None:
        self._counters.add("associations_accepted")
        self._associations[event.assoc] = next(self._numbers)

    def _released(self, event: evt.Event) -> None:
        self._ended(event.assoc, released=True)

    def _lost(self, event: evt.Event) -> None:
        self._ended(event.assoc, released=False)

    def _ended(self, assoc: Association, *, released: bool) -> None:
        """The first of release, abort and closed connection tells how an association ended."""
        number = self._associations.pop(assoc, None)
        if number is not None:
            self._keeper.ended(number, released=released)

    def _echo(self, _: evt.Event) -> int:
        """Answer C-ECHO with 0x0000, Success (PS3.7 9.1.5.1.4)."""
        return SUCCESS

    def _store_instance(self, event: evt.Event) -> int:
        """Keep a data set and answer C-STORE (PS3.4 B.2.3, PS3.7 9.1.1.1.9 and annex C).

        ======  ==========================================================================================
        0x0000  Success: the data set is on stable storage, as received (PS3.7 C.1.1)
        0x0124  Refused: not authorized: the calling AE is not on the allow-list (PS3.7 C.5.21)
        0xA700  Refused: out of resources: disk full or failing; nothing is kept (PS3.4 table B.2-1)
        0xA900  Error: data set does not match SOP class: SOP Class or Instance UID differ from the command's
                (PS3.4 table B.2-1)
        0xC000  Error: cannot understand: unreadable in the transfer syntax negotiated, or one of SOP Class, SOP
                Instance, Study and Series Instance UID missing or malformed (PS3.4 table B.2-1)
        ======  ==========================================================================================
        """
        status = self._keep(event)
        if status != SUCCESS:
            self._counters.add("instances_refused")
            sop_instance_uid = str(_command(event).AffectedSOPInstanceUID)
            log.warning("instance_refused", status=f"0x{status:04X}", instance=uid(sop_instance_uid))
        return status

    def _keep(self, event: evt.Event) -> int:
        requestor = event.assoc.requestor
        number = self._associations.get(event.assoc)
        if number is None or rejection(self._settings, requestor.ae_title, self._settings.ae_title):
            return NOT_AUTHORISED
        encoded = cast(BytesIO, _command(event).DataSet).getbuffer()
        transfer_syntax = UID(event.context.transfer_syntax)
        try:
            identity = self._keeper.identify(encoded, transfer_syntax)
        except NotDicom:
            return CANNOT_UNDERSTAND
        if not _matches(identity[0], event):
            return DOES_NOT_MATCH
        sender = Sender(calling_ae=requestor.ae_title.strip(), called_ae=self._settings.ae_title)
        try:
            self._keeper.keep(encoded, identity, transfer_syntax, sender, number)
        except OutOfResources:
            return OUT_OF_RESOURCES
        return SUCCESS


def _matches(header: Header, event: evt.Event) -> bool:
    command = _command(event)
    named = (str(command.AffectedSOPClassUID), str(command.AffectedSOPInstanceUID))
    return named == (header.sop_class_uid, header.sop_instance_uid)


def _command(event: evt.Event) -> C_STORE:
    return cast(C_STORE, event.request)
