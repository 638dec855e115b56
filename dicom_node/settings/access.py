"""Settings of who may talk to the node, how much of it one caller may take, and who the node says it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, IPvAnyNetwork, PrivateAttr, SecretStr

from dicom_node.settings.base import AETitle, Port, Section


def _fingerprint(text: str) -> str:
    plain = text.replace(":", "").lower()
    if len(plain) != 64 or not set(plain) <= set("0123456789abcdef"):
        raise ValueError("not the SHA-256 fingerprint of a certificate: 64 hexadecimal digits, with or without colons")
    return plain


Fingerprint = Annotated[str, AfterValidator(_fingerprint)]
"""SHA-256 of a certificate in DER form, 64 lower-case hexadecimal digits."""


class Tls(Section):
    """The node's certificate, and the authorities that it trusts: for its TLS port and towards its peers alike.

    All are PEM files. ``certificate`` may hold its chain; ``trusted`` holds one or more authorities.
    """

    certificate: Path
    key: Path
    key_password: SecretStr | None = None
    trusted: Path
    warn_days: Annotated[float, Field(ge=0)] = 30.0


class DicomPeer(Section):
    """Where a DICOM application listens. ``tls_name``: the name in its certificate, where that is not ``host``."""

    ae_title: AETitle
    host: str
    port: Port
    tls: bool = False
    tls_name: str | None = None
    _identity: Tls | None = PrivateAttr(default=None)

    @property
    def identity(self) -> Tls | None:
        """With which certificate it is spoken to; None: without TLS."""
        return self._identity if self.tls else None

    def known_as(self, identity: Tls | None) -> None:
        """Tell which certificate the node has: `Settings` does, once it is read whole."""
        self._identity = identity


class ReportTo(DicomPeer):
    """Where a modality takes the reports of storage commitment (N-EVENT-REPORT)."""


class Limits(Section):
    """How much the callers of the Storage SCP may take of this machine.

    ``memory_bytes`` is that of all data sets in reception together; what goes beyond it is received on disk.
    ``instances`` are those of one association. ``minimum_rate``: bytes a second that a message must come with, once it
    has had ``receive.network_timeout``.
    """

    associations_per_peer: Annotated[int, Field(ge=1)] = 32
    connections_per_minute: Annotated[int, Field(ge=1)] = 6000
    pdu_bytes: Annotated[int, Field(ge=4096, le=4 << 20)] = 128 << 10
    instance_bytes: Annotated[int, Field(ge=1)] = 4 << 30
    instances: Annotated[int, Field(ge=1)] = 100_000
    memory_bytes: Annotated[int, Field(ge=0)] = 256 << 20
    minimum_rate: Annotated[float, Field(gt=0)] = 1024.0


class PeerAccess(Section):
    """What a caller must show besides its AE title. Each that is given must hold; nothing given: nothing asked.

    ``addresses`` are IP addresses or ranges (CIDR). ``certificates`` and ``subjects`` (common name, or DNS name) name
    the certificates that it may have; either of them, or ``tls``, keeps it off the port without TLS.
    """

    addresses: tuple[IPvAnyNetwork, ...] = ()
    tls: bool = False
    certificates: tuple[Fingerprint, ...] = ()
    subjects: tuple[str, ...] = ()

    @property
    def needs_tls(self) -> bool:
        return self.tls or bool(self.certificates) or bool(self.subjects)


class Retention(Section):
    """When received series and their results are removed, and when no more are taken.

    Only a series whose every result was delivered is ever removed. ``purge_above`` and ``refuse_above`` are fractions
    of the disk of ``data_dir`` in use: above the first the oldest go until it is reached again, above the second no
    further association is accepted. ``committed_days``: how long what was committed to a modality is kept at least;
    without it, always.
    """

    keep_days: Annotated[float, Field(ge=0)] | None = None
    committed_days: Annotated[float, Field(ge=0)] | None = None
    purge_above: Annotated[float, Field(gt=0, le=1)] | None = None
    refuse_above: Annotated[float, Field(gt=0, le=1)] = 0.95
    check_every: Annotated[float, Field(gt=0)] = 60.0


class Metrics(Section):
    """The receiver's figures for Prometheus, at ``/metrics``; without a port there are none."""

    host: str = "127.0.0.1"
    port: Port | None = None
