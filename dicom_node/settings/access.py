"""Settings of what one caller may take of the node, and of who the node says it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ByteSize, Field, SecretStr

from dicom_node.settings.base import Port, Section
from dicom_node.settings.quantities import Days, Seconds, Size, SizePerSecond


def _fingerprint(text: str) -> str:
    plain = text.replace(":", "").lower()
    if len(plain) != 64 or not set(plain) <= set("0123456789abcdef"):
        raise ValueError("not the SHA-256 fingerprint of a certificate: 64 hexadecimal digits, with or without colons")
    return plain


Fingerprint = Annotated[str, AfterValidator(_fingerprint)]
"""SHA-256 of a certificate in DER form, 64 lower-case hexadecimal digits."""


class Tls(Section):
    """The node's certificate, and the authorities that it trusts: for its TLS port and for calls to its peers."""

    certificate: Path
    """PEM file of the node's certificate, with its chain."""
    key: Path
    """PEM file of the certificate's private key."""
    key_password: SecretStr | None = None
    """Password of the private key. Set it by an environment variable rather than in the file."""
    trusted: Path
    """PEM file of the certificate authorities that the node trusts."""
    warn_days: Annotated[Days, Field(ge=0)] = 30.0
    """Number of days before a certificate expires from which `candela status` and the log warn."""


class Limits(Section):
    """How much the callers of the Storage SCP may take of this machine."""

    associations_per_peer: Annotated[int, Field(ge=1)] = 32
    """Maximum number of simultaneous associations of one AE title. The node rejects a further one as transient."""
    connections_per_minute: Annotated[int, Field(ge=1)] = 6000
    """Maximum number of connections a minute from one address. The node closes further ones at once."""
    pdu_bytes: Annotated[Size, Field(ge=4096, le=4 << 20)] = ByteSize(128 << 10)
    """Maximum length of a PDU that the node announces. A PDU of more than 4 MiB ends the connection."""
    instance_bytes: Annotated[Size, Field(ge=1)] = ByteSize(4 << 30)
    """Maximum size of one instance. The node answers a larger one with status 0xA700."""
    instances: Annotated[int, Field(ge=1)] = 100_000
    """Maximum number of instances in one association. The node answers further ones with status 0xA700."""
    memory_bytes: Annotated[Size, Field(ge=0)] = ByteSize(256 << 20)
    """Maximum memory for all instances in reception. The rest, and instances of more than 8 MiB, are received on
    disk."""
    minimum_rate: Annotated[SizePerSecond, Field(gt=0)] = ByteSize(1024)
    """Minimum number of bytes a second of a message after `receive.network_timeout`. The node aborts the association
    of a slower one."""


class Retention(Section):
    """When received series and their results are removed, and when no more are taken.

    Only a series whose every result was delivered is ever removed.
    """

    keep_days: Annotated[Days, Field(ge=0)] | None = None
    """Number of days after its last instance to keep a series and its results."""
    committed_days: Annotated[Days, Field(ge=0)] | None = None
    """Minimum number of days to keep series for which storage commitment was given."""
    purge_above: Annotated[float, Field(gt=0, le=1)] | None = None
    """Fraction of the disk in use (such as `0.8`) above which the oldest delivered series are removed."""
    refuse_above: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Fraction of the disk in use above which the node rejects new associations ("local limit exceeded") and answers
    STOW-RS requests with 503."""
    check_every: Annotated[Seconds, Field(gt=0)] = 60.0
    """Interval between two checks of age and disk."""


class Metrics(Section):
    """Figures of the whole installation for Prometheus, at ``/metrics`` of the receiver."""

    host: str = "127.0.0.1"
    """Address at which the receiver serves `/metrics`."""
    port: Port | None = None
    """Port at which the receiver serves `/metrics`. Without it, there are no metrics."""
