"""Which callers may open an association. All others get one rejection without a reason; the log states the cause."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

from dicom_node.network.tls import ClientCertificate
from dicom_node.receive.request import Fault
from dicom_node.settings.peers import Peer
from dicom_node.settings.receive import Receive


@dataclass(frozen=True)
class Rejection:
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    result: int
    source: int
    reason: int


NOT_ADMITTED = Rejection(0x01, 0x01, 0x01)
"""Rejected permanent, by the service user, no reason given: every unknown caller gets this, whatever the cause."""
LIMIT_EXCEEDED = Rejection(0x02, 0x03, 0x02)
"""Rejected transient, by the service provider (presentation related): local limit exceeded."""
FAULTY = {
    Fault.MALFORMED: Rejection(0x01, 0x02, 0x01),
    Fault.PROTOCOL_VERSION: Rejection(0x01, 0x02, 0x02),
    Fault.APPLICATION_CONTEXT: Rejection(0x01, 0x01, 0x02),
}
"""Rejected permanent, for known callers: by the service provider (ACSE related), no reason given, or protocol version
not supported; by the service user, application context name not supported."""


class Cause(StrEnum):
    """Why a caller was rejected: for the log and the metrics, never for the caller."""

    CALLING_AE = "calling_ae"
    CALLED_AE = "called_ae"
    ADDRESS = "address"
    WITHOUT_TLS = "without_tls"
    CERTIFICATE = "certificate"
    DISK = "disk"
    ASSOCIATIONS = "associations"
    MALFORMED = Fault.MALFORMED.value
    PROTOCOL_VERSION = Fault.PROTOCOL_VERSION.value
    APPLICATION_CONTEXT = Fault.APPLICATION_CONTEXT.value
    PROTOCOL = "protocol"
    """The caller broke the protocol, and we ended the connection."""
    CONNECTIONS = "connections"
    TLS_HANDSHAKE = "tls_handshake"
    TOKEN = "token"  # noqa: S105  (a cause, of STOW-RS)


@dataclass(frozen=True)
class Caller:
    """The requestor of an association, with its certificate where it came by TLS.

    Titles are in their text form (`dicom_node.settings.ae_titles`).
    """

    calling_ae: str
    called_ae: str
    address: str
    tls: bool = False
    certificate: ClientCertificate | None = None


def denial(settings: Receive, caller: Caller) -> Cause | None:
    """Why ``caller`` is rejected, or None. An empty allow-list admits nobody."""
    peer = settings.peer(caller.calling_ae.strip())
    if peer is None and not settings.accept_any_peer:
        return Cause.CALLING_AE
    if caller.called_ae.strip() != settings.ae_title.strip():
        return Cause.CALLED_AE
    return None if peer is None else _shown(peer, caller)


def _shown(peer: Peer, caller: Caller) -> Cause | None:
    """Which proof beyond the AE title the peer failed to give, or None."""
    if peer.addresses and not any(_address(caller.address) in network for network in peer.addresses):
        return Cause.ADDRESS
    if peer.needs_tls and not caller.tls:
        return Cause.WITHOUT_TLS
    shown = caller.certificate
    if peer.certificates and (shown is None or shown.fingerprint not in peer.certificates):
        return Cause.CERTIFICATE
    if peer.subjects and (shown is None or not set(shown.names) & set(peer.subjects)):
        return Cause.CERTIFICATE
    return None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """``text`` as an address. An IPv4 address that an IPv6 socket mapped comes back as IPv4."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
