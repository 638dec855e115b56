"""All settings in one typed tree, read once from ``candela.toml`` and ``CANDELA_*`` variables.

Precedence: environment over file over defaults. Nested names are joined by two underscores:
``CANDELA_RECEIVE__PORT=11113``. Unknown names are errors, so a typo never goes unseen.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from dicom_node.settings_access import DicomPeer, Limits, Metrics, PeerAccess, ReportTo, Retention, Tls
from dicom_node.settings_audit import Audit
from dicom_node.settings_base import AETitle, Outgoing, Port, Section
from dicom_node.settings_hl7v2 import Hl7v2Destination
from dicom_node.settings_http import ClientTls, Smart
from dicom_node.settings_privacy import Deidentify
from dicom_node.settings_profiles import ProfileName, ProfileSettings, known_profiles
from pipeline.errors import BadSettings
from pipeline.results.profile import DEFAULT_PRESET, USUAL, Profile
from pipeline.routing import Match, Priority, Rule
from pipeline.sentences import Language

DEFAULT_FILE = Path("candela.toml")


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
    """A calling AE that may send. ``expected_count`` lets its series complete early and with certainty.

    ``commitment`` is where it takes reports of storage commitment that cannot go by the association that asked.
    """

    ae_title: AETitle
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

    def peer(self, ae_title: str) -> Peer | None:
        return next((peer for peer in self.peers if peer.ae_title == ae_title), None)


class Completion(Section):
    """When a series counts as complete; seconds.

    ``quiet_after_release``: silence after every association that carried the series was released.
    ``quiet_time``: silence that is enough whatever the associations do.
    ``count_timeout``: how long an expected count may hold a released series back before silence decides.
    ``study_quiet``: silence after all series of a study are complete, before rules with ``per_study`` choose one.
    """

    quiet_after_release: Annotated[float, Field(ge=0)] = 3.0
    quiet_time: Annotated[float, Field(gt=0)] = 60.0
    count_timeout: Annotated[float, Field(ge=0)] = 60.0
    study_quiet: Annotated[float, Field(ge=0)] = 60.0


class Jobs(Section):
    """The durable engine. Without ``database_url``: SQLite in the data folder.

    ``reading_timeout`` in seconds ends a reading that hangs. ``circuit_*``: see `dicom_node.jobs.circuits`.
    """

    database_url: str | None = None
    tries: Annotated[int, Field(ge=1, le=100)] = 8
    delivery_tries: Annotated[int, Field(ge=1, le=100)] = 24
    reading_timeout: Annotated[float, Field(gt=0)] = 1800.0
    circuit_failures: Annotated[int, Field(ge=1)] = 5
    circuit_first: Annotated[float, Field(gt=0)] = 30.0
    circuit_most: Annotated[float, Field(gt=0)] = 300.0
    backoff_first: Annotated[float, Field(gt=0)] = 5.0
    backoff_most: Annotated[float, Field(gt=0)] = 3600.0
    poll_interval: Annotated[float, Field(gt=0)] = 0.5
    dead_worker_grace: Annotated[float, Field(gt=0)] = 20.0


class Models(Section):
    """``folders`` are searched for bundles besides those that ship; ``device``: where torch runs."""

    folders: tuple[Path, ...] = ()
    device: Literal["auto", "cpu", "cuda"] = "auto"


class DicomDestination(DicomPeer, Outgoing):
    """A PACS that takes results by C-STORE.

    ``commitment``: a result counts as delivered when the PACS has committed itself to keep it (PS3.4 annex J).
    ``commitment_timeout``: seconds to wait for that, before the result is sent and asked for again.
    ``refusals``: also a page with the reason where a series was not read.
    """

    kind: Literal["dicom"]
    timeout: Annotated[float, Field(gt=0)] = 30.0
    profile: str = DEFAULT_PRESET
    commitment: bool = False
    commitment_timeout: Annotated[float, Field(gt=0)] = 60.0
    refusals: bool = False
    deidentify: Deidentify | None = None


class FhirDestination(Outgoing):
    """A FHIR server that takes the report as a transaction Bundle, in its ``release`` and its readers' ``language``.

    ``patient_system`` and ``accession_system`` are the identifier systems (URIs) of patients and orders whose DICOM
    issuer names none. Without them such a patient is not searched for and stands as a logical reference.
    ``refusals``: also what was refused, where a rule had given it to a model.
    ``smart``, ``bearer_token`` or ``bearer_token_file``, one at most, says who we are; ``tls`` how TLS is spoken.
    """

    kind: Literal["fhir"]
    url: str
    timeout: Annotated[float, Field(gt=0)] = 30.0
    maximum_in_flight: Annotated[int, Field(ge=1, le=64)] = 2
    maximum_attachment_bytes: Annotated[int, Field(ge=0)] | None = None
    bearer_token: SecretStr | None = None
    bearer_token_file: Path | None = None
    smart: Smart | None = None
    tls: ClientTls | None = None
    patient_system: str | None = None
    accession_system: str | None = None
    release: Literal["R4", "R5"] = "R4"
    language: Language = Language.ENGLISH
    refusals: bool = False

    @model_validator(mode="after")
    def _one_way_to_say_who_we_are(self) -> FhirDestination:
        given = [name for name in ("bearer_token", "bearer_token_file", "smart") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of {' and '.join(given)}")
        return self


class FolderDestination(Outgoing):
    """A folder that takes the result files (for interface engines and researchers). ``refusals`` as for a PACS."""

    kind: Literal["folder"]
    path: Path
    profile: str = DEFAULT_PRESET
    refusals: bool = False
    deidentify: Deidentify | None = None


class DicomRemote(DicomPeer):
    """A PACS that images are fetched from: C-FIND, then C-GET or C-MOVE.

    ``retrieve``: ``auto`` takes C-GET where the PACS offers it. ``timeout`` in seconds is that of each answer.
    """

    kind: Literal["dicom"]
    retrieve: Literal["auto", "get", "move"] = "auto"
    timeout: Annotated[float, Field(gt=0)] = 60.0


class DicomWebRemote(Section):
    """An archive that images are fetched from by QIDO-RS and WADO-RS. ``url``: what stands before ``/studies``.

    ``ae_title`` is the calling AE title under which its instances enter the node, for rules and ``receive.peers``.
    """

    kind: Literal["dicomweb"]
    url: Annotated[str, Field(pattern=r"^https?://")]
    ae_title: AETitle = "DICOMWEB"
    username: str = ""
    password: SecretStr = SecretStr("")
    bearer_token: SecretStr | None = None
    timeout: Annotated[float, Field(gt=0)] = 60.0


Remote = Annotated[DicomRemote | DicomWebRemote, Field(discriminator="kind")]
Destination = Annotated[
    DicomDestination | FhirDestination | Hl7v2Destination | FolderDestination, Field(discriminator="kind")
]


class Defaults(Section):
    """What a rule that does not say otherwise does with its results."""

    destinations: tuple[str, ...] = ()
    priority: Priority = "routine"


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        env_prefix="CANDELA_", env_nested_delimiter="__", extra="forbid", frozen=True, toml_file=None
    )

    data_dir: Path = Path("candela-data")
    uid_root: str | None = None
    log_uids: Literal["hashed", "plain"] = "hashed"
    tls: Tls | None = None
    receive: Receive = Receive()
    retention: Retention = Retention()
    metrics: Metrics = Metrics()
    completion: Completion = Completion()
    jobs: Jobs = Jobs()
    audit: Audit = Audit()
    models: Models = Models()
    destinations: dict[str, Destination] = Field(default_factory=dict)
    remotes: dict[str, Remote] = Field(default_factory=dict)
    profiles: dict[ProfileName, ProfileSettings] = Field(default_factory=dict)
    match: Match = "first"
    defaults: Defaults = Defaults()
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _peers_are_spoken_to_as_they_want(self) -> Settings:
        """Gives every DICOM peer our certificate, and refuses TLS without one."""
        if self.receive.tls_port is not None and self.tls is None:
            raise ValueError("receive.tls_port needs the table [tls]: certificate, key and trusted")
        for name, peer in self._dicom_peers():
            if peer.tls and self.tls is None:
                raise ValueError(f"{name} needs the table [tls]: certificate, key and trusted")
            peer.known_as(self.tls)
        for name, destination in self.destinations.items():
            if isinstance(destination, DicomDestination) and destination.commitment:
                self._refuse_unheard(name, destination)
        return self

    def _dicom_peers(self) -> Iterator[tuple[str, DicomPeer]]:
        for group, table in (("destinations", self.destinations), ("remotes", self.remotes)):
            for name, item in table.items():
                if isinstance(item, DicomPeer):
                    yield f"{group}.{name}.tls", item
        for peer in self.receive.peers:
            for part, end in (("expected_count", peer.expected_count), ("commitment", peer.commitment)):
                if isinstance(end, DicomPeer):
                    yield f"receive.peers {peer.ae_title}.{part}.tls", end

    def _refuse_unheard(self, name: str, destination: DicomDestination) -> None:
        if not self.receive.accept_any_peer and self.receive.peer(destination.ae_title) is None:
            raise ValueError(
                f"destinations.{name}.commitment: {destination.ae_title} reports by calling the node, so it must stand"
                " in [[receive.peers]]"
            )

    @model_validator(mode="after")
    def _rules_name_known_destinations(self) -> Settings:
        known = ", ".join(self.destinations) or "none"
        senders = [("defaults", self.defaults.destinations)]
        senders += [(f"rule {rule.name!r}", rule.destinations) for rule in self.rules]
        for sender, names in senders:
            unknown = [name for name in names if name not in self.destinations]
            if unknown:
                raise ValueError(f"{sender} sends to unknown destination {unknown[0]!r} (known: {known})")
        return self

    @model_validator(mode="after")
    def _destinations_name_known_profiles(self) -> Settings:
        known = known_profiles(self.profiles)
        for name, destination in self.destinations.items():
            if not isinstance(destination, FhirDestination | Hl7v2Destination) and destination.profile not in known:
                what = f"there is no profile {destination.profile!r} (known: {', '.join(known)})"
                raise ValueError(f"destinations.{name}.profile: {what}")
        return self

    @model_validator(mode="after")
    def _audit_repository_is_a_fhir_destination(self) -> Settings:
        name = self.audit.repository
        if name is not None and not isinstance(self.destinations.get(name), FhirDestination):
            raise ValueError(f"audit.repository names {name!r}, which is no destination of kind fhir")
        return self

    @model_validator(mode="after")
    def _rules_have_different_names(self) -> Settings:
        names = [rule.name for rule in self.rules]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two rules are called {twice!r}: a job would not tell which of them took its series")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (pydantic-settings passes all four by name)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def report_languages(self) -> tuple[Language, ...]:
        """The languages that a FHIR or HL7 v2 destination wants its report in."""
        targets = (one for one in self.destinations.values() if isinstance(one, FhirDestination | Hl7v2Destination))
        wanted = {one.language for one in targets}
        return tuple(language for language in Language if language in wanted)

    def wants_refusals(self, name: str) -> bool:
        """Whether destination ``name`` is told that a series was not read and why."""
        return bool(getattr(self.destinations.get(name), "refusals", False))

    def destinations_of(self, rule: Rule) -> tuple[str, ...]:
        """Where the results of a series that ``rule`` takes go: an empty list that the rule states means nowhere."""
        return rule.destinations if "destinations" in rule.model_fields_set else self.defaults.destinations

    def priority_of(self, rule: Rule) -> Priority:
        """With what priority a series that ``rule`` takes is read."""
        return rule.priority if "priority" in rule.model_fields_set else self.defaults.priority

    def profile(self, name: str) -> Profile:
        """The profile called ``name``: a preset or one of ``profiles``.

        Raises
        ------
        BadSettings
            where there is none, naming those that there are.
        """
        known = known_profiles(self.profiles)
        if name not in known:
            raise BadSettings(f"There is no profile {name!r}.", where="profiles", todo=f"Known: {', '.join(known)}.")
        return known[name]

    def profiles_of(self, destinations: Iterable[str]) -> dict[str, Profile]:
        """The profiles of those of ``destinations`` that take DICOM, each once, in their order.

        The default profile where there is none, so that results are made also where they go nowhere.
        """
        found = [self.destinations[name] for name in destinations if name in self.destinations]
        names = [item.profile for item in found if not isinstance(item, FhirDestination | Hl7v2Destination)]
        return {name: self.profile(name) for name in names} or dict(USUAL)

    @property
    def database_url(self) -> str:
        """URL of the engine's database, SQLAlchemy form."""
        return self.jobs.database_url or f"sqlite:///{self.data_dir / 'engine.sqlite'}"

    @property
    def commitments_dir(self) -> Path:
        """Where storage commitment is kept: what is asked of the node, and what it asks of PACS."""
        return self.data_dir / "commitments"

    @property
    def store_dir(self) -> Path:
        """Where received instances are kept."""
        return self.data_dir / "store"

    @property
    def studies_dir(self) -> Path:
        """Where the series of each study that await or had a choice among them are noted."""
        return self.data_dir / "studies"

    @property
    def audit_dir(self) -> Path:
        """Where the audit trail is written."""
        return self.audit.folder or self.data_dir / "audit"

    @property
    def in_flight_dir(self) -> Path:
        """Locks that bound the requests in flight to one server."""
        return self.data_dir / "in-flight"

    @property
    def results_dir(self) -> Path:
        """Where each job's manifest and results are kept, one folder a job."""
        return self.data_dir / "results"


def load(path: Path | None = None, **overrides: Any) -> Settings:
    """Read ``path`` (default: candela.toml in the working directory, where there is one) and the environment.

    Raises
    ------
    BadSettings
        naming the file and every wrong setting.
    """
    if path is not None and not path.is_file():
        raise BadSettings("There is no such settings file.", where=str(path), todo="Check the path given to --config.")
    file = path if path is not None else (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    place = str(file) if file else "environment"
    try:
        settings = FromFile(**overrides)
    except ValidationError as error:
        raise BadSettings(
            "; ".join(_problem(item) for item in error.errors()),
            where=place,
            todo="docs/settings.md lists every setting.",
        ) from None
    except ValueError as error:  # TOML syntax
        raise BadSettings(f"not valid TOML: {error}", where=place, todo="Mend the line named.") from None
    _refuse_unknown_variables(settings)
    return settings


def _problem(item: Any) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{name}: there is no such setting"
    return f"{name}: {item['msg']}" if name else str(item["msg"])


def _refuse_unknown_variables(settings: Settings) -> None:
    """pydantic-settings ignores CANDELA_TYPO=1 at the top level; we do not."""
    known = {f"CANDELA_{name.upper()}" for name in type(settings).model_fields}
    for name in os.environ:
        if name.startswith("CANDELA_") and name.split("__")[0].upper() not in known:
            raise BadSettings(f"{name}: there is no such setting", where="environment", todo="Unset or mend it.")
