"""Associations as requestor, with typed errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from dicom_node.network import tls
from dicom_node.network.entity import application_entity
from dicom_node.settings.remotes import DicomRemote
from pipeline.errors import PeerUnavailable, Rejected


@contextmanager
def associated(
    remote: DicomRemote,
    calling_ae: str,
    contexts: Sequence[PresentationContext],
    *,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    handlers: Sequence[tuple[Any, Any]] = (),
) -> Iterator[Association]:
    """An association with ``remote``, released at the end, aborted after an error.

    Raises
    ------
    PeerUnavailable
        where the remote cannot be reached, does not answer in time, or rejects the association.
    Rejected
        where none of the contexts was accepted.
    BadSettings
        where the remote wants TLS and our certificates cannot be used.
    """
    ae = application_entity(calling_ae)
    ae.connection_timeout = ae.acse_timeout = remote.timeout
    ae.dimse_timeout = ae.network_timeout = remote.timeout
    opened: list[bool] = []
    assoc = ae.associate(
        remote.peer.host,
        remote.peer.port,
        contexts=[*contexts],
        ae_title=remote.ae_title,
        ext_neg=[*roles],
        evt_handlers=[(evt.EVT_CONN_OPEN, lambda _: opened.append(True)), *handlers],
        tls_args=tls.towards(remote.peer),
    )
    if not assoc.is_established:
        raise _no_association(assoc, remote, calling_ae, connected=bool(opened))
    try:
        yield assoc
    except BaseException:
        assoc.abort()
        raise
    if assoc.is_established:
        assoc.release()


def place(remote: DicomRemote) -> str:
    """The name of a remote in messages."""
    return f"{remote.peer.ae_title} at {remote.peer.host}:{remote.peer.port}"


def _no_association(
    assoc: Association, remote: DicomRemote, calling_ae: str, *, connected: bool
) -> PeerUnavailable | Rejected:
    where = place(remote)
    if assoc.is_rejected:
        answer = assoc.acceptor.primitive
        says = f"{answer.result_str}, {answer.reason_str}".lower() if answer is not None else "no reason given"
        todo = f"Enter AE title {calling_ae} there, and check {remote.ae_title} here."
        return PeerUnavailable(f"The association was rejected: {says}.", where=where, todo=todo)
    if assoc.rejected_contexts:
        todo = "Its conformance statement says what it takes."
        return Rejected("None of the services asked for is offered.", where=where, todo=todo)
    if connected:
        what = "The connection was taken, but the association aborted or not answered in time."
        return PeerUnavailable(what, where=where, todo="Is it a DICOM port?")
    return PeerUnavailable(
        "It cannot be reached: connection refused or timed out.", where=where, todo="Check host, port and firewall."
    )
