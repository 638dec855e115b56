"""Settings of what comes in: the Storage SCP, STOW-RS, who may send, and when a series counts as complete."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from dicom_node.settings.access import DicomPeer, Limits, PeerAccess, ReportTo
from dicom_node.settings.ae_titles import CallingTitle
from dicom_node.settings.base import AETitle, Port, Section

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


class OrthancCount(Section):
    """Ask the Orthanc that sent a series how many instances it holds (REST)."""

    kind: Literal["orthanc"]
    url: str
    username: str = ""
    password: SecretStr = SecretStr("")


class FindCount(DicomPeer):
    """Ask a PACS by C-FIND for NumberOfSeriesRelatedInstances."""

    kind: Literal["c-find"]


class Peer(PeerAccess):
    """A calling AE that may send; ``ae_title`` is in its text form.

    ``expected_count`` lets its series complete early and with certainty.

    ``commitment`` is where it takes reports of storage commitment that cannot go by the association that asked.
    """

    ae_title: CallingTitle
    commitment: ReportTo | None = None
    expected_count: Annotated[OrthancCount | FindCount, Field(discriminator="kind")] | None = None


class StowClient(Section):
    """Who may store by STOW-RS: known by its bearer token, and called ``ae_title`` in rules, jobs and files."""

    ae_title: AETitle
    bearer_token: Annotated[SecretStr, Field(min_length=16)]


class Stow(Section):
    """STOW-RS (PS3.18 10.5), served by the receiver. Without ``clients`` only this machine may store, without a token.

    ``ae_title`` is what such a sender is called. Bytes and parts are those of one request.
    """

    host: str = "127.0.0.1"
    port: Port = 8104
    ae_title: AETitle = "STOW-RS"
    clients: tuple[StowClient, ...] = ()
    maximum_requests: Annotated[int, Field(ge=1, le=1000)] = 16
    maximum_parts: Annotated[int, Field(ge=1)] = 20_000
    maximum_bytes: Annotated[int, Field(ge=1)] = 32 << 30
    maximum_instance_bytes: Annotated[int, Field(ge=1)] = 4 << 30

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
    """The Storage SCP. ``peers`` is the allow-list of calling AE titles; ``accept_any_peer`` switches it off.

    ``private_storage_classes`` are taken besides those of the standard: SOP Class UIDs, or roots of such.
    ``tls_port`` is a second port, with TLS; ``plain`` False leaves only that one. ``stow`` adds STOW-RS as a further
    way in.
    """

    ae_title: AETitle = "CANDELA"
    host: str = "127.0.0.1"
    port: Port = 11112
    tls_port: Port | None = None
    plain: bool = True
    peers: tuple[Peer, ...] = ()
    accept_any_peer: bool = False
    private_storage_classes: tuple[PrivateRoot, ...] = ()
    maximum_associations: Annotated[int, Field(ge=1, le=1000)] = 64
    network_timeout: Annotated[float, Field(gt=0)] = 60.0
    limits: Limits = Limits()
    stow: Stow | None = None

    @model_validator(mode="after")
    def _peers_can_come_in(self) -> Receive:
        titles = [peer.ae_title for peer in self.peers]
        twice = next((title for title in titles if titles.count(title) > 1), None)
        if twice is not None:
            raise ValueError(f"two peers have the AE title {twice!r}: give one of them both addresses or certificates")
        if self.tls_port is None:
            if not self.plain:
                raise ValueError("plain = false leaves no port: set tls_port")
            shut_out = next((peer.ae_title for peer in self.peers if peer.needs_tls), None)
            if shut_out is not None:
                raise ValueError(f"peer {shut_out!r} must come by TLS, and there is no tls_port")
        return self

    def takes_private(self, sop_class_uid: str) -> bool:
        """Whether this is a private storage class that is taken."""
        return any(_is_within(sop_class_uid, root) for root in self.private_storage_classes)

    def peer(self, ae_title: str) -> Peer | None:
        return next((peer for peer in self.peers if peer.ae_title == ae_title), None)


class Completion(Section):
    """When a series counts as complete, and when an answer that is no finding may leave; seconds.

    ``quiet_after_release``: silence after every association that carried the series was released, where one of them
    carried ``plausible_part`` images or frames.
    ``quiet_time``: silence that is enough whatever the associations do; `quiet` where the series was reopened.
    ``count_timeout``: how long an expected count may hold a released series back before silence decides.
    ``study_quiet``: silence after all series of a study are complete, before rules with ``per_study`` choose one.
    ``negative_hold``, ``negative_hold_counted``: see `hold`.
    """

    quiet_after_release: Annotated[float, Field(ge=0)] = 3.0
    quiet_time: Annotated[float, Field(gt=0)] = 60.0
    count_timeout: Annotated[float, Field(ge=0)] = 60.0
    study_quiet: Annotated[float, Field(ge=0)] = 60.0
    plausible_part: Annotated[int, Field(ge=1)] = 10
    quiet_most: Annotated[float, Field(gt=0)] = 600.0
    negative_hold: Annotated[float, Field(ge=0)] = 120.0
    negative_hold_counted: Annotated[float, Field(ge=0)] = 30.0

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
