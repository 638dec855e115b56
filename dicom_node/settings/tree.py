"""All settings in one typed tree, read once from ``candela.toml`` and ``CANDELA_*`` variables.

Precedence: environment over file over defaults. Nested names are joined by two underscores:
``CANDELA_RECEIVE__PORT=11113``. Unknown names are errors, so a typo never goes unseen.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from dicom_node.settings.access import DicomPeer, Metrics, Retention, Tls
from dicom_node.settings.audit import Audit
from dicom_node.settings.base import Section
from dicom_node.settings.destinations import Destination, DicomDestination, FhirDestination
from dicom_node.settings.hl7v2 import Hl7v2Destination
from dicom_node.settings.profiles import ProfileName, ProfileSettings, known_profiles
from dicom_node.settings.receive import Completion, Receive
from dicom_node.settings.remotes import Remote
from pipeline.errors import BadSettings
from pipeline.report.sentences import Language
from pipeline.results.profile import USUAL, Profile
from pipeline.routing.rules import Match, Priority, Rule

DEFAULT_FILE = Path("candela.toml")


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
    def _reports_list_objects_of_a_pacs(self) -> Settings:
        for name, destination in self.destinations.items():
            pacs = destination.objects_of if isinstance(destination, FhirDestination) else None
            if pacs is not None and not _is_pacs(self.destinations.get(pacs)):
                known = ", ".join(self.pacs_of(self.destinations)) or "none"
                what = f"{pacs!r} is no destination of kind dicom that gets identified objects (known: {known})"
                raise ValueError(f"destinations.{name}.objects_of: {what}")
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

    def pacs_of(self, destinations: Iterable[str]) -> dict[str, str]:
        """The profiles of those of ``destinations`` that are a PACS, by name, in their order.

        A PACS is of kind ``dicom`` and gets objects as they are: what is de-identified has other UIDs, and a folder is
        nothing that a reader could be led to.
        """
        found = {name: self.destinations.get(name) for name in destinations}
        return {name: item.profile for name, item in found.items() if _is_pacs(item)}

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


def _is_pacs(destination: Destination | None) -> TypeGuard[DicomDestination]:
    return isinstance(destination, DicomDestination) and destination.deidentify is None


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
