"""The address book: `[peers.NAME]` says once where a DICOM application is and who it is (ADR 55).

Other tables name a peer. `Settings` replaces the name by what the table needs of the peer before the table is
validated: where it listens (`DicomPeer`), or the whole entry (`Peer`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    IPvAnyNetwork,
    PlainSerializer,
    PrivateAttr,
    SecretStr,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from dicom_node.settings.access import Fingerprint, Tls
from dicom_node.settings.ae_titles import CallingTitle
from dicom_node.settings.base import AETitle, Port, Section

ADDRESS = ("ae_title", "host", "port", "tls", "tls_name")
"""What a `DicomPeer` has of its `Peer`."""


class UnknownPeer:
    """Stands in place of a name that cannot be resolved, until the setting's own validator refuses it."""

    def __init__(self, problem: str) -> None:
        self.problem = problem


class KnownPeer:
    """Stands in place of a name that was resolved: ``found`` is the peer, or its address as the file states it."""

    def __init__(self, name: str, found: object) -> None:
        self.name, self.found = name, found


def _resolved(value: object, handler: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, UnknownPeer):
        raise ValueError(value.problem)  # noqa: TRY004  (pydantic makes a message of a ValueError only)
    if not isinstance(value, KnownPeer):
        return handler(value)
    peer: _Named = handler(value.found)
    peer.called(value.name)
    return peer


class _Named(Section):
    """What a table of another name refers to."""

    _name: str = PrivateAttr(default="")

    @property
    def name(self) -> str:
        """NAME of `[peers.NAME]`; empty for a peer that no settings file names."""
        return self._name

    def called(self, name: str) -> None:
        """Take the name: the setting that refers to the peer calls this."""
        self._name = name


BY_NAME = WrapValidator(_resolved)
"""Marks a setting that holds the name of a peer."""
_AS_NAME = PlainSerializer(lambda peer: peer.name or peer.model_dump(mode="json"), when_used="json")


class DicomPeer(_Named):
    """Where a DICOM application listens. ``tls_name``: the name in its certificate, where that is not ``host``."""

    ae_title: AETitle
    host: str
    port: Port
    tls: bool = False
    tls_name: str | None = None
    _identity: Tls | None = PrivateAttr(default=None)

    @property
    def identity(self) -> Tls | None:
        """The certificate with which the node calls it; None: without TLS."""
        return self._identity if self.tls else None

    def known_as(self, identity: Tls | None) -> None:
        """Take the node's certificate: `Settings` calls this once it is read whole."""
        self._identity = identity


Listener = Annotated[DicomPeer, BY_NAME, _AS_NAME]
"""A setting that names a peer which the node calls: its ``host`` and ``port`` must be known."""


class OrthancCount(Section):
    """Ask the Orthanc that sent a series how many instances it holds (REST)."""

    kind: Literal["orthanc"]
    url: str
    """URL of Orthanc's REST API."""
    username: str = ""
    """User name, if the API needs one."""
    password: SecretStr = SecretStr("")
    """Password. Set it by an environment variable rather than in the file."""


class FindCount(Section):
    """Ask a PACS by C-FIND for NumberOfSeriesRelatedInstances."""

    kind: Literal["c-find"]
    """Source of the number of instances that a series has: `orthanc` (REST) or `c-find`. With it, series complete
    early and with certainty."""
    peer: Listener
    """Name of the peer to query."""


class Peer(_Named):
    """One entry of the address book. `receive.allow`, destinations, remotes and STOW-RS clients refer to it by name."""

    ae_title: CallingTitle
    """AE title. Write a byte that is not printable ASCII as `\\xHH`, as the log line `association_denied` shows it:
    `'\\xdcBERSICHT'` in single quotes."""
    host: str | None = None
    """Host name or IP address at which the peer listens. Needed if the node calls the peer."""
    port: Port | None = None
    """Port at which the peer listens. Needed if the node calls the peer."""
    tls: bool = False
    """`true`: the node calls the peer with TLS. Needs `[tls]`."""
    tls_name: str | None = None
    """Name in the peer's certificate."""
    require_tls: bool = False
    """`true`: the peer may connect to the TLS port only."""
    addresses: tuple[IPvAnyNetwork, ...] = ()
    """IP addresses and ranges (CIDR) from which the peer may connect, such as `["10.1.2.0/24"]`."""
    certificates: tuple[Fingerprint, ...] = ()
    """SHA-256 fingerprints of the certificates that the peer may show. Implies `require_tls`."""
    subjects: tuple[str, ...] = ()
    """Common names or DNS names; the peer's certificate must have one of them. Implies `require_tls`."""
    expected_count: Annotated[OrthancCount | FindCount, Field(discriminator="kind")] | None = None
    commitment_to: Listener | None = None
    """Name of the peer that takes reports of storage commitment which cannot go over the association of the request."""
    comment: str = ""
    """A note for people."""
    contact: str = ""
    """Who to call about this peer."""

    @model_validator(mode="after")
    def _host_with_its_port(self) -> Peer:
        if (self.host is None) != (self.port is None):
            raise ValueError("host and port go together")
        if self.host is not None and "\\" in self.ae_title:
            raise ValueError("the node cannot call an AE title that is not printable ASCII: leave host and port out")
        return self

    @property
    def needs_tls(self) -> bool:
        return self.require_tls or bool(self.certificates) or bool(self.subjects)

    @property
    def listener(self) -> DicomPeer:
        """Where it listens; a new object each time, as each user of it holds its own certificate.

        Raises
        ------
        ValueError
            where ``host`` is not stated or the AE title cannot be called.
        """
        if self.host is None or self.port is None:
            raise ValueError("host and port are missing")
        return DicomPeer(**{name: getattr(self, name) for name in ADDRESS})


Caller = Annotated[Peer, BY_NAME, _AS_NAME]
"""A setting that names a peer which calls the node."""


def resolved_peers(tables: object) -> object:
    """The tables of `[peers]`, where those name each other: each name replaced by the address of that peer."""
    if not isinstance(tables, Mapping):
        return tables
    return {name: _resolved_peer(name, table, tables) for name, table in tables.items()}


def _resolved_peer(name: str, table: object, tables: Mapping[str, Any]) -> object:
    if not isinstance(table, Mapping):
        return table
    made = dict(table)
    count = made.get("expected_count")
    if isinstance(count, Mapping) and count.get("kind") == "c-find":
        made["expected_count"] = {**count, "peer": _address(count.get("peer", name), tables)}
    if "commitment_to" in made:
        made["commitment_to"] = _address(made["commitment_to"], tables)
    return made


def _address(name: object, tables: Mapping[str, Any]) -> object:
    if isinstance(name, DicomPeer):
        return name
    table = tables.get(name) if isinstance(name, str) else None
    if isinstance(table, Peer):
        return peer_called(name, {str(name): table}, listens=True)
    if not isinstance(table, Mapping):
        return _unknown(name, tables)
    return KnownPeer(str(name), {key: table[key] for key in ADDRESS if key in table})


def named(table: object, key: str, peers: Mapping[str, Peer], *, listens: bool) -> object:
    """``table`` with the peer that ``key`` names in place of its name; as it is where it names none."""
    if not isinstance(table, Mapping) or key not in table:
        return table
    return {**table, key: peer_called(table[key], peers, listens=listens)}


def peer_called(name: object, peers: Mapping[str, Peer], *, listens: bool) -> object:
    """The peer that ``peers`` has under ``name``: where it listens, or the whole entry."""
    if isinstance(name, DicomPeer | Peer):
        return name
    found = peers.get(name) if isinstance(name, str) else None
    if found is None:
        return _unknown(name, peers)
    if not listens:
        return KnownPeer(str(name), found)
    if found.host is None:
        return UnknownPeer(f"peers.{name} has no host and port, and the node must call it")
    return KnownPeer(str(name), found.listener)


def _unknown(name: object, known: Mapping[str, Any]) -> UnknownPeer:
    return UnknownPeer(f"there is no peer {name!r} (known: {', '.join(known) or 'none'})")
