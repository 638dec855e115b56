"""Settings of what comes in: the Storage SCP, STOW-RS, who may send, and when a series counts as complete."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, ByteSize, Field, SecretStr, model_validator

from dicom_node.settings.access import Limits
from dicom_node.settings.base import AETitle, Port, Section
from dicom_node.settings.peers import Caller, Peer
from dicom_node.settings.quantities import Seconds, Size

DICOM_ROOT: Final = "1.2.840.10008"


def _private_root(text: str) -> str:
    if len(text) > 64 or not re.fullmatch(r"[0-9]+(\.[0-9]+)+", text):
        raise ValueError(f"{text!r} is not a UID or the root of one: digits and dots, two components or more")
    if _is_within(text, DICOM_ROOT) or _is_within(DICOM_ROOT, text):
        raise ValueError(f"{text} is of DICOM itself, whose storage classes are taken without a setting")
    return text


def _is_within(uid: str, root: str) -> bool:
    return f"{uid}.".startswith(f"{root}.")


PrivateRoot = Annotated[str, AfterValidator(_private_root)]
"""A private SOP Class UID, or the root that such are registered under."""


class StowClient(Section):
    """Who may store by STOW-RS: known by its bearer token."""

    peer: Caller
    """Name of the sender in `[peers.NAME]`. Its AE title is the calling AE title in rules, jobs and files."""
    bearer_token: Annotated[SecretStr, Field(min_length=16)]
    """Token of the sender, at least 16 characters. If there are clients, every request needs a token."""

    @property
    def ae_title(self) -> str:
        """The calling AE title of what it stores."""
        return self.peer.ae_title


class Stow(Section):
    """STOW-RS (PS3.18 10.5), served by the receiver. Without ``clients`` only this machine may store."""

    host: str = "127.0.0.1"
    """Address on which STOW-RS listens. An address that other machines can reach needs `clients`."""
    port: Port = 8104
    """Port on which STOW-RS listens."""
    ae_title: AETitle = "STOW-RS"
    """Calling AE title of a sender without a token in rules, jobs and files."""
    clients: tuple[StowClient, ...] = ()
    maximum_requests: Annotated[int, Field(ge=1, le=1000)] = 16
    """Maximum number of simultaneous requests. A further one is answered with 503."""
    maximum_parts: Annotated[int, Field(ge=1)] = 20_000
    """Maximum number of instances in one request. More are answered with 413."""
    maximum_bytes: Annotated[Size, Field(ge=1)] = ByteSize(32 << 30)
    """Maximum size of one request. A larger one is answered with 413."""
    maximum_instance_bytes: Annotated[Size, Field(ge=1)] = ByteSize(4 << 30)
    """Maximum size of one instance. A larger one is refused."""

    @model_validator(mode="after")
    def _open_only_with_tokens(self) -> Stow:
        if not self.clients and not _is_loopback(self.host):
            raise ValueError(f"host {self.host} can be reached from other machines: name clients with a bearer_token")
        tokens = [client.bearer_token.get_secret_value() for client in self.clients]
        if len(set(tokens)) < len(tokens):
            raise ValueError("two clients have the same bearer_token")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Receive(Section):
    """The Storage SCP. ``allow`` is the allow-list of callers; ``accept_any_peer`` switches it off."""

    ae_title: AETitle = "CANDELA"
    """AE title of the node. The node rejects an association that calls another title."""
    host: str = "127.0.0.1"
    """Address on which the node listens. `0.0.0.0` lets other machines connect."""
    port: Port = 11112
    """Port on which the node listens, without TLS."""
    tls_port: Port | None = None
    """A second port, with TLS and certificates on both sides. Needs `[tls]`. Port 2762 is registered for it."""
    require_tls: bool = False
    """`true`: the node listens on the TLS port only."""
    allow: tuple[Caller, ...] = ()
    """Names of the peers in `[peers.NAME]` that may send. The node rejects all other callers."""
    accept_any_peer: bool = False
    """`true`: accept every caller. Only for a closed test network."""
    private_storage_classes: tuple[PrivateRoot, ...] = ()
    """Private SOP Classes to accept: UIDs, or roots that include every UID below them, such as
    `["1.3.46.670589.11.0.0.12.2", "1.3.12.2.1107.5.9"]`. The standard's storage classes, retired ones too, are always
    accepted."""
    maximum_associations: Annotated[int, Field(ge=1, le=1000)] = 64
    """Maximum number of simultaneous associations. The node rejects a further one as transient ("local limit
    exceeded")."""
    network_timeout: Annotated[Seconds, Field(gt=0)] = 60.0
    """Time without a byte after which the node aborts an association."""
    limits: Limits = Limits()
    stow: Stow | None = None

    @model_validator(mode="after")
    def _peers_can_come_in(self) -> Receive:
        titles = [peer.ae_title for peer in self.allow]
        twice = next((title for title in titles if titles.count(title) > 1), None)
        if twice is not None:
            raise ValueError(
                f"allow names two peers with the AE title {twice!r}: give one of them both addresses or certificates"
            )
        if self.tls_port is None:
            if self.require_tls:
                raise ValueError("require_tls = true leaves no port: set tls_port")
            shut_out = next((peer.ae_title for peer in self.allow if peer.needs_tls), None)
            if shut_out is not None:
                raise ValueError(f"peer {shut_out!r} must come by TLS, and there is no tls_port")
        return self

    def takes_private(self, sop_class_uid: str) -> bool:
        """Whether this is a private storage class that is taken."""
        return any(_is_within(sop_class_uid, root) for root in self.private_storage_classes)

    def peer(self, ae_title: str) -> Peer | None:
        return next((peer for peer in self.allow if peer.ae_title == ae_title), None)


class Completion(Section):
    """When a series counts as complete, and when an answer that is no finding may leave."""

    quiet_after_release: Annotated[Seconds, Field(ge=0)] = 3.0
    """Silence after which a series is complete once every association that carried it was released, if one of them
    carried a plausible part."""
    plausible_part: Annotated[int, Field(ge=1)] = 10
    """Minimum number of images (or frames) of a series in an association for its release to count as the end of the
    series. `1`: every release counts."""
    quiet_time: Annotated[Seconds, Field(gt=0)] = 60.0
    """Silence after which a series is complete in any case (an association was aborted, stays open, or carried too
    little)."""
    quiet_most: Annotated[Seconds, Field(gt=0)] = 600.0
    """Upper limit of `quiet_time` and `negative_hold`, which double each time that a further instance reopens the
    series."""
    count_timeout: Annotated[Seconds, Field(ge=0)] = 60.0
    """Maximum time that a released series waits for an expected count before silence decides."""
    negative_hold: Annotated[Seconds, Field(ge=0)] = 120.0
    """Time after the last instance before an answer without a finding is sent. A further instance in that time
    withdraws it. `0`: the answer is sent at once."""
    negative_hold_counted: Annotated[Seconds, Field(ge=0)] = 30.0
    """The same for a series that has as many instances as the sender's archive counts (`peers.expected_count`)."""
    study_quiet: Annotated[Seconds, Field(ge=0)] = 60.0
    """Silence after all series of a study are complete before a rule with `per_study` chooses one of them."""
    rejected_images: Literal["hold", "withdraw"] = "hold"
    """What becomes of results whose images a rejection note rejects afterwards. `hold`: what was not sent is held, and
    an operator decides; `withdraw`: the results are withdrawn from every destination that has them."""

    def quiet(self, reopened: int) -> float:
        """``quiet_time``, doubled for each time that the series was reopened, up to ``quiet_most``."""
        return self._grown(self.quiet_time, reopened)

    def hold(self, *, counted: bool, revision: int) -> float:
        """Silence after the last instance before an answer that is no finding leaves the node.

        ``counted``: a peer's count was reached. Doubled for each revision after the first, up to ``quiet_most``.
        """
        return self._grown(self.negative_hold_counted if counted else self.negative_hold, revision - 1)

    @property
    def longest_hold(self) -> float:
        """The most that `hold` can be."""
        return max(self.negative_hold, self.negative_hold_counted, self.quiet_most)

    def _grown(self, wait: float, times: int) -> float:
        return min(wait * 2.0 ** min(times, 30), max(wait, self.quiet_most))
