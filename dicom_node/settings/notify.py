"""Settings of notifications: who is told of which trouble, and how."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from dicom_node.settings.base import Port, Section
from dicom_node.settings.quantities import Days, Seconds
from dicom_node.settings.web import is_loopback


class NotifyEvent(StrEnum):
    """What a rule may name."""

    DESTINATION_DOWN = "destination-down"
    DEAD_LETTER = "dead-letter"
    DISK = "disk"
    CERTIFICATE = "certificate"
    FINDING = "finding"


class EmailReceiver(Section):
    """Mail by a site's SMTP server."""

    kind: Literal["email"]
    """`email` or `webhook`."""
    host: Annotated[str, Field(min_length=1)]
    """Name or address of the SMTP server."""
    port: Port = 587
    """Port of the SMTP server; 465 is usual for `security = "tls"`."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls`, `tls` (from the first byte), or `none`. The node never falls back to clear text."""
    trusted: Path | None = None
    """PEM file of the certificate authorities that may have signed the server's certificate."""
    username: str | None = None
    """User name of the login."""
    password: SecretStr | None = None
    """Password of the login. Set it by an environment variable rather than in the file."""
    password_file: Path | None = None
    """File that holds the password. It is read for each message."""
    sender: Annotated[str, Field(pattern=r"^[^@\s<>]+@[^@\s<>]+$")]
    """Address that messages come from."""
    to: Annotated[tuple[Annotated[str, Field(pattern=r"^[^@\s<>]+@[^@\s<>]+$")], ...], Field(min_length=1)]
    """Addresses that messages go to."""
    timeout: Annotated[Seconds, Field(gt=0)] = 20.0
    """Time that the server has for each answer."""

    @model_validator(mode="after")
    def _login_is_whole_and_safe(self) -> EmailReceiver:
        secrets = [item for item in (self.password, self.password_file) if item is not None]
        if len(secrets) != (0 if self.username is None else 1):
            raise ValueError("username goes with password or password_file, one of them")
        if self.username is not None and self.security == "none" and not is_loopback(self.host):
            raise ValueError('a password is not sent in clear text: set security to "starttls" or "tls"')
        return self


class WebhookReceiver(Section):
    """A POST of JSON to a server of the site."""

    kind: Literal["webhook"]
    """`email` or `webhook`."""
    url: Annotated[str, Field(pattern=r"^https?://[^/]")]
    """URL that gets each message as a POST of JSON."""
    secret: SecretStr | None = None
    """Key of the signature (HMAC-SHA256). Set it by an environment variable rather than in the file."""
    secret_file: Path | None = None
    """File that holds the key. It is read for each message."""
    trusted: Path | None = None
    """PEM file of the certificate authorities that may have signed the server's certificate."""
    timeout: Annotated[Seconds, Field(gt=0)] = 20.0
    """Time that the server has for its answer."""

    @model_validator(mode="after")
    def _one_secret(self) -> WebhookReceiver:
        if (self.secret is None) == (self.secret_file is None):
            raise ValueError("give secret or secret_file, one of them")
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise ValueError("messages name jobs and are not sent in clear text: give an https URL")
        return self


NotifyReceiver = Annotated[EmailReceiver | WebhookReceiver, Field(discriminator="kind")]


class NotifyRule(Section):
    """Which events go to which receivers."""

    events: Annotated[tuple[NotifyEvent, ...], Field(min_length=1)]
    """Any of `destination-down` (its circuit is open), `dead-letter`, `disk` (above `notify.disk_above`), `certificate`
    (expires within `notify.certificate_days`), `finding` (of a STAT study)."""
    receivers: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of `[notify.receivers]`."""
    destinations: tuple[str, ...] = ()
    """Only these destinations, for `destination-down` and `dead-letter`."""
    models: tuple[str, ...] = ()
    """Only findings of these models."""
    classes: tuple[str, ...] = ()
    """Only findings of these predicted classes."""
    escalate_to: tuple[str, ...] = ()
    """Names of receivers that are told too if nobody acknowledges (`candela notify ack`) within `escalate_after`."""
    escalate_after: Annotated[Seconds, Field(gt=0)] = 1800.0
    """Time without acknowledgement after which `escalate_to` is told."""


class Notify(Section):
    """Notifications by e-mail and webhook ([notifications.md](notifications.md))."""

    receivers: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")], NotifyReceiver] = Field(
        default_factory=dict
    )
    rules: tuple[NotifyRule, ...] = ()
    check_every: Annotated[Seconds, Field(gt=0)] = 30.0
    """Interval between two looks for troubles."""
    repeat_after: Annotated[Seconds, Field(ge=0)] = 4 * 3600.0
    """Minimum time between two messages about the beginning of the same trouble, and before a message that it has
    grown (further dead letters)."""
    disk_above: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Fraction of the disk in use above which `disk` begins. It ends 2 % below."""
    certificate_days: Annotated[Days, Field(ge=0)] = 30.0
    """Number of days before a certificate expires from which `certificate` begins."""
    link: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    """URL of the dashboard, as the readers of messages reach it. Messages then hold links to it."""

    @model_validator(mode="after")
    def _rules_name_receivers(self) -> Notify:
        known = ", ".join(self.receivers) or "none"
        for number, rule in enumerate(self.rules, start=1):
            for name in (*rule.receivers, *rule.escalate_to):
                if name not in self.receivers:
                    raise ValueError(f"rule {number} names the unknown receiver {name!r} (known: {known})")
        return self
