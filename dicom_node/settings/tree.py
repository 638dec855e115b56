"""All settings in one typed tree, read once from ``candela.toml`` and ``CANDELA_*`` variables.

Precedence: environment over file over defaults. Nested names are joined by two underscores:
``CANDELA_RECEIVE__PORT=11113``. Unknown names are errors, so a typo never goes unseen.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeGuard
from zoneinfo import ZoneInfo

import structlog
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from dicom_node.settings.access import Metrics, Retention, Tls
from dicom_node.settings.audit import Audit
from dicom_node.settings.base import TimeZone
from dicom_node.settings.destinations import Destination, DicomDestination, DicomWebDestination, FhirDestination
from dicom_node.settings.engine import Jobs, Models
from dicom_node.settings.hl7v2 import Hl7v2Destination
from dicom_node.settings.notify import Notify
from dicom_node.settings.old_form import TOP_LEVEL, modernise
from dicom_node.settings.peers import DicomPeer, FindCount, Peer, named, peer_called, resolved_peers
from dicom_node.settings.profiles import ProfileName, ProfileSettings, known_profiles
from dicom_node.settings.receive import Completion, Receive
from dicom_node.settings.remotes import DicomRemote, Remote
from dicom_node.settings.routing import Defaults, Matching
from dicom_node.settings.web import Web
from pipeline.errors import BadSettings
from pipeline.report.sentences import Language
from pipeline.results.profile import USUAL, Profile
from pipeline.routing.rules import Priority, Rule

DEFAULT_FILE = Path("candela.toml")
KINDS = frozenset({"dicom", "fhir", "hl7v2", "folder", "dicomweb", "orthanc", "c-find", "email", "webhook"})
"""Tags that pydantic puts into the place of an error, and that no settings file has."""
log = structlog.get_logger("candela.settings")
_warned: set[tuple[str, ...]] = set()


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        env_prefix="CANDELA_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        toml_file=None,
        use_attribute_docstrings=True,
    )

    data_dir: Path = Path("candela-data")
    """Folder for received instances (`store/`), results (`results/`), the index and the engine's database. It must be
    on a local disk: SQLite and durable renames do not work over NFS."""
    uid_root: str | None = None
    """UID root of your organisation for the UIDs of results. Without it, they are derived from UUIDs (`2.25.`). A
    change gives new UIDs to results that were delivered before."""
    log_uids: Literal["hashed", "plain"] = "hashed"
    """How log lines name UIDs: `hashed` (12 hexadecimal digits of the SHA-256) or `plain`."""
    time_zone: TimeZone | None = None
    """Time zone of the site, by its IANA name, such as `Europe/Berlin`: that of times of images whose header states no
    zone, and of all times in HL7 v2 messages and FHIR reports."""
    peers: dict[str, Peer] = Field(default_factory=dict)
    tls: Tls | None = None
    receive: Receive = Receive()
    retention: Retention = Retention()
    metrics: Metrics = Metrics()
    completion: Completion = Completion()
    jobs: Jobs = Jobs()
    audit: Audit = Audit()
    web: Web = Web()
    notify: Notify = Notify()
    models: Models = Models()
    destinations: dict[str, Destination] = Field(default_factory=dict)
    remotes: dict[str, Remote] = Field(default_factory=dict)
    profiles: dict[ProfileName, ProfileSettings] = Field(default_factory=dict)
    routing: Matching = Matching()
    defaults: Defaults = Defaults()
    rules: tuple[Rule, ...] = ()

    @field_validator("peers", mode="before")
    @classmethod
    def _peers_name_each_other(cls, tables: object) -> object:
        return resolved_peers(tables)

    @field_validator("receive", "destinations", "remotes", mode="before")
    @classmethod
    def _peers_by_name(cls, value: object, info: ValidationInfo) -> object:
        """``value`` with peers in place of their names."""
        if not isinstance(value, Mapping):
            return value
        peers: dict[str, Peer] | None = info.data.get("peers")
        if peers is None:  # its own error says what is wrong with it
            return cls.model_fields[info.field_name or ""].get_default(call_default_factory=True, validated_data={})
        if info.field_name != "receive":
            return {name: named(table, "peer", peers, listens=_kind(table) == "dicom") for name, table in value.items()}
        made = dict(value)
        if isinstance(made.get("allow"), list | tuple):
            made["allow"] = [peer_called(name, peers, listens=False) for name in made["allow"]]
        stow = made.get("stow")
        if isinstance(stow, Mapping) and isinstance(stow.get("clients"), list | tuple):
            clients = [named(client, "peer", peers, listens=False) for client in stow["clients"]]
            made["stow"] = {**stow, "clients": clients}
        return made

    @model_validator(mode="after")
    def _peers_are_spoken_to_as_they_want(self) -> Settings:
        """Gives every DICOM peer our certificate, and refuses TLS without one."""
        if self.receive.tls_port is not None and self.tls is None:
            raise ValueError("receive.tls_port needs the table [tls]: certificate, key and trusted")
        for name, peer in self._dicom_peers():
            if peer.tls and self.tls is None:
                raise ValueError(f"{name}: {peer.ae_title} is called with TLS, which needs the table [tls]")
            peer.known_as(self.tls)
        for name, destination in self.destinations.items():
            if isinstance(destination, DicomDestination) and destination.commitment:
                self._refuse_unheard(name, destination)
        return self

    def _dicom_peers(self) -> Iterator[tuple[str, DicomPeer]]:
        tables: dict[str, Mapping[str, object]] = {"destinations": self.destinations, "remotes": self.remotes}
        for group, table in tables.items():
            for name, item in table.items():
                if isinstance(item, DicomDestination | DicomRemote):
                    yield f"{group}.{name}", item.peer
        for peer in self.receive.allow:
            count = peer.expected_count.peer if isinstance(peer.expected_count, FindCount) else None
            for part, end in (("expected_count", count), ("commitment_to", peer.commitment_to)):
                if end is not None:
                    yield f"peer {peer.ae_title}: {part}", end

    def _refuse_unheard(self, name: str, destination: DicomDestination) -> None:
        title = destination.peer.ae_title
        if not self.receive.accept_any_peer and self.receive.peer(title) is None:
            raise ValueError(
                f"destinations.{name}.commitment: {title} reports by calling the node, so receive.allow must name it"
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
    def _reports_list_objects_of_a_pacs(self) -> Settings:
        for name, destination in self.destinations.items():
            pacs = destination.objects_of if isinstance(destination, FhirDestination) else None
            if pacs is not None and not _is_pacs(self.destinations.get(pacs)):
                known = ", ".join(self.pacs_of(self.destinations)) or "none"
                what = f"{pacs!r} is no PACS (kind dicom or dicomweb) that gets identified objects (known: {known})"
                raise ValueError(f"destinations.{name}.objects_of: {what}")
        return self

    @model_validator(mode="after")
    def _audit_repository_is_a_fhir_destination(self) -> Settings:
        name = self.audit.repository
        if name is not None and not isinstance(self.destinations.get(name), FhirDestination):
            raise ValueError(f"audit.repository names {name!r}, which is no destination of kind fhir")
        return self

    @model_validator(mode="after")
    def _notifications_name_known_destinations(self) -> Settings:
        for rule in self.notify.rules:
            unknown = [name for name in rule.destinations if name not in self.destinations]
            if unknown:
                known = ", ".join(self.destinations) or "none"
                raise ValueError(f"notify.rules names the unknown destination {unknown[0]!r} (known: {known})")
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
        """Where the results of a series that ``rule`` takes go: an empty list that the rule states means nowhere.

        Without those that are disabled, which `disabled_of` has.
        """
        disabled = self.disabled_of(rule)
        return tuple(name for name in self._stated_destinations(rule) if name not in disabled)

    def disabled_of(self, rule: Rule) -> tuple[str, ...]:
        """The destinations of ``rule`` that get nothing because they are disabled."""
        return tuple(name for name in self._stated_destinations(rule) if name in self.disabled_destinations)

    @property
    def disabled_destinations(self) -> frozenset[str]:
        """The names of destinations with ``enabled = false``."""
        return frozenset(name for name, item in self.destinations.items() if not item.enabled)

    def _stated_destinations(self, rule: Rule) -> tuple[str, ...]:
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

    def pacs_of(self, destinations: Iterable[str]) -> dict[str, str]:
        """The profiles of those of ``destinations`` that are a PACS, by name, in their order.

        A PACS is of kind ``dicom`` or ``dicomweb`` and gets objects as they are: what is de-identified has other UIDs,
        and a folder is nothing that a reader could be led to.
        """
        found = {name: self.destinations.get(name) for name in destinations}
        return {name: item.profile for name, item in found.items() if _is_pacs(item)}

    @property
    def zone(self) -> ZoneInfo | None:
        """The site's time zone, None where it is not set."""
        return None if self.time_zone is None else ZoneInfo(self.time_zone)

    def now(self) -> datetime:
        """The present instant in the site's time zone, or in that of this machine."""
        return datetime.now(tz=UTC).astimezone(self.zone)

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
    def rejected_dir(self) -> Path:
        """Where the images that rejection notes reject are recorded."""
        return self.data_dir / "rejected"

    @property
    def audit_dir(self) -> Path:
        """Where the audit trail is written."""
        return self.audit.folder or self.data_dir / "audit"

    @property
    def web_dir(self) -> Path:
        """Where the dashboard keeps accounts, tokens and logins."""
        return self.data_dir / "web"

    @property
    def notify_dir(self) -> Path:
        """Where troubles, acknowledgements and waiting notifications are noted."""
        return self.data_dir / "notify"

    @property
    def uploads_dir(self) -> Path:
        """Where the dashboard keeps uploaded series and their answers for a while."""
        return self.data_dir / "uploads"

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

    changes: list[str] = []

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=file, use_attribute_docstrings=False)

        @model_validator(mode="before")
        @classmethod
        def _in_the_old_form(cls, tree: Any) -> Any:
            merged = {**deepcopy(tree), **_old_variables()}
            changes.extend(modernise(merged))
            return merged

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
        raise BadSettings(f"not valid TOML: {error}", where=place, todo="Correct the line named.") from None
    _refuse_unknown_variables(settings)
    _warn(place, changes)
    return settings


def _old_variables() -> dict[str, Any]:
    """Values of variables whose settings moved into a table."""
    return {name.lower()[len("candela_") :]: value for name, value in os.environ.items() if _is_old(name)}


def _is_old(name: str) -> bool:
    return name.upper() in {f"CANDELA_{setting.upper()}" for setting in TOP_LEVEL}


def _warn(place: str, changes: list[str]) -> None:
    """Say once in a process which settings are of the old form."""
    if changes and (place, *changes) not in _warned:
        _warned.add((place, *changes))
        log.warning("settings_in_old_form", file=place, settings="; ".join(changes), todo="candela config migrate")


def _kind(table: object) -> object:
    return table.get("kind") if isinstance(table, Mapping) else None


def _is_pacs(destination: Destination | None) -> TypeGuard[DicomDestination | DicomWebDestination]:
    return isinstance(destination, DicomDestination | DicomWebDestination) and destination.deidentify is None


def _problem(item: Any) -> str:
    place = item["loc"]
    name = ".".join(str(part) for number, part in enumerate(place) if number < 2 or part not in KINDS)
    if item["type"] == "extra_forbidden":
        return f"{name}: there is no such setting"
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}" if name else message


def _refuse_unknown_variables(settings: Settings) -> None:
    """pydantic-settings ignores CANDELA_TYPO=1 at the top level; we do not."""
    known = {f"CANDELA_{name.upper()}" for name in type(settings).model_fields}
    for name in os.environ:
        if name.startswith("CANDELA_") and name.split("__")[0].upper() not in known and not _is_old(name):
            raise BadSettings(f"{name}: there is no such setting", where="environment", todo="Unset or correct it.")
