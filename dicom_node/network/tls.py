"""TLS contexts, and the names and expiry of certificates.

DICOM follows BCP 195 (RFC 9325, PS3.15 annex B.12): 1.2 or later, forward secrecy, AEAD ciphers, certificates on both
sides. Clients of FHIR servers, DICOMweb servers and HL7 v2 receivers use 1.2 or later and always check the server's
certificate.
"""

from __future__ import annotations

import hashlib
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from pydantic import SecretStr

from dicom_node.settings.access import Tls
from dicom_node.settings.http import ClientTls
from dicom_node.settings.peers import DicomPeer
from pipeline.errors import BadSettings

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!PSK"
"""Ciphers of TLS 1.2; all of TLS 1.3 are allowed."""


@dataclass(frozen=True)
class ClientCertificate:
    """A caller's certificate, verified against the trusted authorities. ``fingerprint`` is SHA-256 of DER, in
    hexadecimal.

    ``names`` are the subject's common names and the DNS names; ``expires`` seconds since the epoch.
    """

    fingerprint: str
    names: tuple[str, ...]
    expires: float


def listening(identity: Tls) -> ssl.SSLContext:
    """The context of the TLS port: every caller needs a certificate of a trusted authority.

    Raises
    ------
    BadSettings
        where a file is missing, not readable or not what it should be.
    """
    return _context(identity, ssl.PROTOCOL_TLS_SERVER)


def towards(peer: DicomPeer) -> tuple[ssl.SSLContext, str] | None:
    """``tls_args`` of `AE.associate` for ``peer``; None where it uses no TLS.

    The files are read each time, so that new certificates need no restart.

    Raises
    ------
    BadSettings
        where the peer wants TLS and the certificates cannot be used.
    """
    if not peer.tls:
        return None
    if peer.identity is None:
        raise BadSettings("TLS needs the table [tls]: certificate, key and trusted.", where=peer.ae_title)
    return _context(peer.identity, ssl.PROTOCOL_TLS_CLIENT), peer.tls_name or peer.host


def caller_certificate(connection: ssl.SSLSocket) -> ClientCertificate | None:
    """The certificate of the other side of an established connection."""
    encoded, told = connection.getpeercert(binary_form=True), connection.getpeercert()
    if not encoded or not told:
        return None
    fields: Any = told
    names = [value for part in fields.get("subject", ()) for key, value in part if key == "commonName"]
    names += [value for key, value in fields.get("subjectAltName", ()) if key == "DNS"]
    expires = float(ssl.cert_time_to_seconds(fields["notAfter"]))
    return ClientCertificate(hashlib.sha256(encoded).hexdigest(), tuple(dict.fromkeys(names)), expires)


def expiry(path: Path) -> datetime:
    """The earliest expiry of the certificates in the PEM file ``path``.

    Raises
    ------
    BadSettings
        where no certificate can be read.
    """
    return min(item.not_valid_after_utc for item in _certificates(path))


def own_name(identity: Tls) -> str | None:
    """The first DNS name of our own certificate, else its common name; None without either.

    Raises
    ------
    BadSettings
        where no certificate can be read.
    """
    certificate = _certificates(identity.certificate)[0]
    with suppress(x509.ExtensionNotFound):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found: list[str] = names.get_values_for_type(x509.DNSName)
        if found:
            return found[0]
    common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(common[0].value) if common else None


def expiries(identity: Tls) -> dict[str, datetime]:
    """The expiry of our certificate and of the authorities, by file; an unreadable file counts as expired."""
    ends = {}
    for path in (identity.certificate, identity.trusted):
        try:
            ends[str(path)] = expiry(path)
        except BadSettings:
            ends[str(path)] = datetime.fromtimestamp(0, UTC)
    return ends


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadSettings(
            f"No certificate can be read ({reason(error)}).", where=str(path), todo="Give a PEM file."
        ) from None


def _context(identity: Tls, protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.verify_mode = ssl.CERT_REQUIRED
    load_identity(context, identity.certificate, identity.key, identity.key_password)
    try:
        context.load_verify_locations(identity.trusted)
    except OSError as error:
        raise BadSettings(
            f"The authorities to trust cannot be read ({reason(error)}).",
            where=str(identity.trusted),
            todo="Give a PEM file of certificates.",
        ) from None
    return context


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """The context that ``tls`` describes. Its files are read at each call, so that new certificates need no restart.

    Raises
    ------
    BadSettings
        where a file is missing, unreadable or of the wrong kind.
    """
    try:
        context = ssl.create_default_context(cafile=tls.trusted)
    except (OSError, ValueError) as error:
        raise BadSettings(
            f"The authorities to trust cannot be read ({reason(error)}).",
            where=str(tls.trusted),
            todo="Give a PEM file of certificates.",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate is not None:
        load_identity(context, tls.certificate, tls.key, tls.key_password)
    return context


def load_identity(context: ssl.SSLContext, certificate: Path, key: Path | None, key_password: SecretStr | None) -> None:
    """Load the node's own certificate and key into ``context``.

    Raises
    ------
    BadSettings
        where a file is missing, not readable or not what it should be, or the two do not belong together.
    """
    # With a password given, OpenSSL never asks for one at the terminal.
    password = key_password.get_secret_value() if key_password else ""
    try:
        context.load_cert_chain(certificate, key, password=password)
    except (OSError, ValueError) as error:
        raise BadSettings(
            f"The node's certificate or its key cannot be used ({reason(error)}).",
            where=f"{certificate}, {key}",
            todo="Give PEM files that belong together, readable by this user.",
        ) from None


def reason(error: Exception) -> str:
    """The error in words, without paths or contents."""
    if isinstance(error, ssl.SSLError):
        return error.reason or "not PEM"
    return getattr(error, "strerror", None) or type(error).__name__
