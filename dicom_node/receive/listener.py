"""The Storage SCP: negotiation, access, and the answer to each C-STORE."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, cast

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]  # made at import

from dicom_node.network import tls
from dicom_node.network.entity import application_entity
from dicom_node.observability.counters import Counters
from dicom_node.observability.log import uid
from dicom_node.receive.admission import STORES_NOTHING, Admission, AdmittedAssociation
from dicom_node.receive.bounds import Memory, ReceivedData
from dicom_node.receive.ingest import Ingest, transfer_syntaxes
from dicom_node.receive.refusals import (
    CANNOT_UNDERSTAND,
    CLASS_NOT_SUPPORTED,
    DOES_NOT_MATCH,
    NOT_AUTHORISED,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    SUCCESS,
    StoreRefusal,
)
from dicom_node.receive.storage_classes import storage_classes
from dicom_node.receive.transport import PromptRequestHandler, PromptServer, SharedContexts
from dicom_node.settings.access import Tls
from dicom_node.store.header import InstanceHeader
from dicom_node.store.instance_store import AETitles
from pipeline.errors import NotDicom, OutOfResources

log = structlog.get_logger("candela.listener")

ACSE_TIMEOUT = 30.0
"""Seconds in which a connection must have asked for an association (PS3.8 9.1.5, ARTIM)."""

CLASSES_NAMED = 8
"""Number of refused SOP classes that a log line names."""


class Commitment(Protocol):
    """Storage commitment in both roles (PS3.4 annex J); each handler returns a status and no data set."""

    def n_action(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """N-ACTION: a modality requests storage commitment for its instances."""
        ...

    def n_event_report(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """N-EVENT-REPORT: a PACS reports whether it commits to storing ours."""
        ...


def supported_contexts(*, commitment: bool) -> list[PresentationContext]:
    """What the listener accepts of every caller that it admits. Of several transfer syntaxes in one context, it takes
    the one that stands first here.
    """
    syntaxes: list[str | UID] = [*transfer_syntaxes()]
    contexts = [build_context(sop_class, syntaxes) for sop_class in storage_classes()]
    contexts.append(build_context(Verification))
    if commitment:
        both = build_context(StorageCommitmentPushModel)
        both.scu_role = both.scp_role = True  # a PACS that reports proposes itself as SCP (PS3.4 J.3.3)
        contexts.append(both)
    return contexts


class Listener:
    """Accepts associations on ``settings.host`` and its ports between `start` and `stop`.

    Every public storage SOP class is accepted, retired ones too, and those that ``receive.private_storage_classes``
    names when the association is asked for. ``numbers`` numbers the associations. STOW-RS draws from
    the same numbers, so that a higher number is always a later one. ``incoming`` is the folder
    in which long data sets are received.
    """

    def __init__(
        self,
        admission: Admission,
        ingest: Ingest,
        counters: Counters,
        numbers: Iterator[int],
        *,
        incoming: Path,
        identity: Tls | None = None,
        commitment: Commitment | None = None,
    ) -> None:
        self._admission = admission
        self._settings = admission.settings
        self._ingest = ingest
        self._counters = counters
        self._numbers = numbers
        self._incoming = incoming
        self._commitment = commitment
        self._secure = tls.listening(identity) if identity is not None and self._settings.tls_port else None
        self._servers: list[PromptServer] = []
        # pynetdicom's standard handlers log every message with its identifiers, and cost time on each PDU.
        _config.LOG_HANDLER_LEVEL = "none"

    def secure_with(self, identity: Tls) -> None:
        """Use these certificates from the next connection on.

        Raises
        ------
        BadSettings
            where they cannot be used; the former ones stay in use.
        """
        self._secure = tls.listening(identity)

    def start(self) -> None:
        """Listen.

        Raises
        ------
        OSError
            where a port is taken.
        """
        settings = self._settings
        ae = application_entity(settings.ae_title)
        ae.maximum_associations = settings.maximum_associations
        ae.maximum_pdu_size = settings.limits.pdu_bytes
        ae.acse_timeout = min(ACSE_TIMEOUT, settings.network_timeout)
        ae.dimse_timeout = ae.network_timeout = settings.network_timeout
        memory = Memory(settings.limits.memory_bytes)
        if not settings.require_tls:
            self._listen(ae, settings.port, memory, secure=False)
        if settings.tls_port is not None:
            self._listen(ae, settings.tls_port, memory, secure=True)

    def _listen(self, ae: AE, port: int, memory: Memory, *, secure: bool) -> None:
        made = ae.make_server(
            (self._settings.host, port),
            contexts=SharedContexts(supported_contexts(commitment=self._commitment is not None)),
            evt_handlers=[
                (evt.EVT_REQUESTED, self._requested),
                (evt.EVT_REJECTED, self._rejected),
                (evt.EVT_ACCEPTED, self._accepted),
                (evt.EVT_C_ECHO, self._echo),
                (evt.EVT_C_STORE, self._store_instance),
                (evt.EVT_RELEASED, self._released),
                (evt.EVT_ABORTED, self._lost),
                (evt.EVT_CONN_CLOSE, self._lost),
                *self._commitment_handlers(),
            ],
            server_class=PromptServer,
            request_handler=PromptRequestHandler,
        )
        server = cast(PromptServer, made)
        server.configure(
            limits=self._settings.limits,
            memory=memory,
            folder=self._incoming,
            counters=self._counters,
            patience=self._settings.network_timeout,
            first_patience=min(ACSE_TIMEOUT, self._settings.network_timeout),
            secure=self._context if secure else None,
            gone=lambda assoc: self._ended(assoc, released=False),
            aborting=self._admission.aborting,
            connection_refused=self._admission.connection_refused,
        )
        ae._servers.append(server)  # noqa: SLF001  (as AE.start_server does: the server takes itself out at shutdown)
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        log.info("listening", ae_title=self._settings.ae_title, host=self._settings.host, port=port, tls=secure)

    def _commitment_handlers(
        self,
    ) -> list[tuple[evt.InterventionEvent, Callable[[evt.Event], tuple[int, Dataset | None]]]]:
        if self._commitment is None:
            return []
        return [
            (evt.EVT_N_ACTION, self._commitment.n_action),
            (evt.EVT_N_EVENT_REPORT, self._commitment.n_event_report),
        ]

    def _context(self) -> ssl.SSLContext:
        assert self._secure is not None, "the settings ask for TLS with a certificate"
        return self._secure

    def stop(self, grace: float) -> None:
        """Accept no more associations, give open ones ``grace`` seconds to finish, then abort the rest."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.shutdown()
        deadline = time.monotonic() + grace
        for server in servers:
            while (running := server.active_associations) and time.monotonic() < deadline:
                running[0].join(max(0.0, min(0.2, deadline - time.monotonic())))
            for assoc in server.active_associations:
                assoc.abort()
                assoc.join(1.0)

    def _requested(self, event: evt.Event) -> None:
        """Reject a caller that is not admitted (A-ASSOCIATE-RJ, PS3.8 9.3.4) before negotiation.

        ==========  =============================================================================================
        1, 1, 1     permanent, service user, no reason given: an unknown caller, for any cause
        1, 1, 2     permanent, service user: a known caller asks for another application context
        1, 2, 1     permanent, service provider (ACSE), no reason given: the PDU of a known caller cannot be read
        1, 2, 2     permanent, service provider (ACSE): a known caller asks for another protocol version
        2, 3, 2     transient, service provider (presentation), local limit exceeded: too many associations of a known
                    caller or in all, or the disk is full
        ==========  =============================================================================================
        """
        refused = self._admission.judge(event.assoc)
        if refused is not None:
            self._counters.add("associations_rejected")
            event.assoc.acse.send_reject(refused.result, refused.source, refused.reason)
            event.assoc.kill()  # returns once the rejection was sent
        else:
            self._support_private(event.assoc)

    def _support_private(self, assoc: Association) -> None:
        """Accept the private storage classes that are asked for and allowed, on this association only."""
        asked = cast(A_ASSOCIATE, assoc.requestor.primitive).presentation_context_definition_list
        classes = {str(context.abstract_syntax) for context in asked}
        allowed = [name for name in classes if self._admission.settings.takes_private(name)]
        if allowed:
            syntaxes: list[str | UID] = [*transfer_syntaxes()]
            assoc.acceptor.supported_contexts += [build_context(sop_class, syntaxes) for sop_class in allowed]

    def _rejected(self, event: evt.Event) -> None:
        """Record an association that pynetdicom rejected because too many are open."""
        self._counters.add("associations_rejected")
        self._admission.too_many(event.assoc)

    def _accepted(self, event: evt.Event) -> None:
        self._counters.add("associations_accepted")
        self._admission.add(event.assoc, next(self._numbers))
        refused = sorted({str(context.abstract_syntax) for context in event.assoc.rejected_contexts})
        if refused:
            admitted = self._admission.admitted(event.assoc)
            calling_ae = admitted.caller.calling_ae if admitted is not None else ""
            log.info("contexts_refused", calling_ae=calling_ae, classes=",".join(refused[:CLASSES_NAMED]))

    def _released(self, event: evt.Event) -> None:
        self._ended(event.assoc, released=True)

    def _lost(self, event: evt.Event) -> None:
        self._ended(event.assoc, released=False)

    def _ended(self, assoc: Association, *, released: bool) -> None:
        """Handle release, abort or closed connection: the first that comes decides how the association ended."""
        admitted = self._admission.remove(assoc)
        if admitted is not None:
            self._ingest.ended(admitted.number, released=released)

    def _echo(self, _: evt.Event) -> int:
        """Answer C-ECHO with 0x0000, Success (PS3.7 9.1.5.1.4)."""
        return SUCCESS

    def _store_instance(self, event: evt.Event) -> int | Dataset:
        """Store a data set and answer C-STORE (PS3.4 B.2.3, PS3.7 9.1.1.1.9 and annex C).

        ======  ==========================================================================================
        0x0000  Success: the data set is on stable storage, as received (PS3.7 C.1.1)
        0x0110  Processing failure: a fault of ours, see the log (PS3.7 C.5.21)
        0x0122  SOP class not supported: sent on a presentation context that is not for storage (PS3.7 C.5.18)
        0x0124  Refused: not authorized: the calling AE is no longer admitted (PS3.7 C.5.21)
        0xA700  Refused: out of resources: disk full or failing, the data set longer or the association's instances
                more than the limits; nothing is kept (PS3.4 table B.2-1)
        0xA900  Error: data set does not match SOP class: SOP Class or Instance UID differ from the command's
                (PS3.4 table B.2-1)
        0xC000  Error: cannot understand: unreadable in the transfer syntax negotiated, or one of SOP Class, SOP
                Instance, Study and Series Instance UID missing or malformed (PS3.4 table B.2-1)
        ======  ==========================================================================================

        Every other status has an Error Comment (0000,0902), and names the attribute in Offending Element
        (0000,0901) where there is one.
        """
        try:
            refusal = self._keep(event)
        except Exception as error:
            log.exception("storing_failed", error=type(error).__name__)
            refusal = StoreRefusal(PROCESSING_FAILURE, "An internal error: see the log of the node.")
        if refusal is None:
            return SUCCESS
        self._counters.add("instances_refused")
        log.warning(
            "instance_refused",
            status=f"0x{refusal.status:04X}",
            reason=refusal.comment,
            instance=uid(str(_command(event).AffectedSOPInstanceUID or "")),
        )
        return refusal.response()

    def _keep(self, event: evt.Event) -> StoreRefusal | None:
        admitted = self._admission.admitted(event.assoc)
        if admitted is None or not self._admission.allows(admitted):
            return StoreRefusal(NOT_AUTHORISED, "The calling AE title may no longer store.")
        command = _command(event)
        data = cast(ReceivedData | None, command.DataSet)
        admitted.instances += 1
        try:
            return self._refused_unread(event, admitted, data) or self._keep_whole(
                event, admitted, cast(ReceivedData, data)
            )
        finally:
            if data is not None:
                data.release()

    def _refused_unread(
        self, event: evt.Event, admitted: AdmittedAssociation, data: ReceivedData | None
    ) -> StoreRefusal | None:
        """Why an instance is refused before its data set is read, or None."""
        command, limits = _command(event), self._admission.settings.limits
        if event.context.abstract_syntax in STORES_NOTHING:
            return StoreRefusal(CLASS_NOT_SUPPORTED, "The presentation context is not for storage.")
        for keyword in ("AffectedSOPClassUID", "AffectedSOPInstanceUID"):
            if not getattr(command, keyword):
                return StoreRefusal(CANNOT_UNDERSTAND, f"The command has no {keyword}.", keyword)
        if data is None or not data.size:
            return StoreRefusal(CANNOT_UNDERSTAND, "The command has no data set.", "CommandDataSetType")
        if data.refused is not None:
            return StoreRefusal(OUT_OF_RESOURCES, data.refused)
        if admitted.instances > limits.instances:
            return StoreRefusal(OUT_OF_RESOURCES, f"More than {limits.instances} instances by one association.")
        return None

    def _keep_whole(self, event: evt.Event, admitted: AdmittedAssociation, data: ReceivedData) -> StoreRefusal | None:
        transfer_syntax = UID(event.context.transfer_syntax)
        try:
            identity = self._ingest.identify(data.stream(), transfer_syntax)
        except NotDicom as error:
            return StoreRefusal(CANNOT_UNDERSTAND, error.what, error.where)
        mismatch = _mismatch(identity[0], _command(event))
        if mismatch is not None:
            return mismatch
        sender = AETitles(calling_ae=admitted.caller.calling_ae, called_ae=self._settings.ae_title)
        try:
            with data.getbuffer() as encoded:
                self._ingest.store(encoded, identity, transfer_syntax, sender, admitted.number)
        except OutOfResources:
            return StoreRefusal(OUT_OF_RESOURCES, "The disk is full or fails.")
        admitted.record_stored(identity[0].study_instance_uid)
        return None


def _mismatch(header: InstanceHeader, command: C_STORE) -> StoreRefusal | None:
    """The first UID in which the data set differs from its command."""
    for keyword, stored in (("SOPClassUID", header.sop_class_uid), ("SOPInstanceUID", header.sop_instance_uid)):
        if str(getattr(command, f"Affected{keyword}")) != stored:
            return StoreRefusal(DOES_NOT_MATCH, f"{keyword} of data set and command differ.", keyword)
    return None


def _command(event: evt.Event) -> C_STORE:
    return cast(C_STORE, event.request)
