"""The entries of a transaction as single requests, for servers that take neither transactions nor conditional creates.

Each resource is sent after those that it refers to, so that the report, which refers to all, comes last: a reader never
finds a report without its results. A resource is created unless a search finds it, or its id is noted from an earlier
attempt.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import httpx

from fhir.release import Json
from fhir.server.ambiguous import matches, named_by_identifier, note
from fhir.server.answers import PRECONDITION_FAILED, Receipt, failure
from fhir.server.stored import Search, kind_of, name_of, objects, rename
from fhir.server.transport import Connection
from pipeline.errors import Broken, PeerBusy, Rejected

CHANGED = {409, PRECONDITION_FAILED}
"""Answers to an update of a version that is no longer the current one."""
LOCATION = re.compile(r"([A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64})(/_history/[^/]+)?/?$")


class StoredIds(Protocol):
    """What earlier attempts created, on disk: a resource is created once, whatever is killed in between."""

    def known(self, key: str, /) -> str | None:
        """``Type/id`` of the resource that was created under ``key``; None where none is known."""

    def begun(self, key: str, /) -> bool:
        """Whether a create under ``key`` was begun, so that the server may have the resource."""

    def begin(self, key: str, /) -> None:
        """Note, durably, that a create under ``key`` begins."""

    def note(self, key: str, name: str, /) -> None:
        """Note that ``name`` was created under ``key``."""


class Unsaved(dict[str, str]):
    """`StoredIds` of one process."""

    def known(self, key: str) -> str | None:
        return self.get(key) or None

    def begun(self, key: str) -> bool:
        return key in self

    def begin(self, key: str) -> None:
        self[key] = ""

    def note(self, key: str, name: str) -> None:
        self[key] = name


@dataclass(frozen=True)
class Singly:
    """Sends to one ``server``; ``place`` names it in errors, which never repeat ``secrets``."""

    server: Connection
    search: Search
    ids: StoredIds
    place: str
    secrets: frozenset[str]

    def post(self, bundle: Json) -> Receipt:
        """Send the entries of the transaction ``bundle`` one by one.

        Raises
        ------
        Retryable
            as `fhir.server.client.FhirClient.send`; what was created is noted, and is not created again.
        Rejected
            where the server refuses a resource; or permits no search, and may have one whose create was cut off.
        """
        bundle = copy.deepcopy(bundle)
        creates = [entry for entry in bundle["entry"] if entry["request"]["method"] == "POST"]
        found = {entry["fullUrl"]: self._found(entry) for entry in creates}
        several = [entry for entry in creates if len(found[entry["fullUrl"]] or ()) > 1]
        if several:
            bundle = named_by_identifier(bundle, several)
        names: dict[str, str] = {}
        created: list[str] = []
        existing: list[str] = []
        updated: list[str] = []
        for entry in _in_order(bundle):
            rename(entry["resource"], names)
            if entry["request"]["method"] == "PUT":
                name, done = self._update(entry), updated
            elif there := found[entry["fullUrl"]]:
                name, done = name_of(there[0]), existing
            else:
                name, done = self._create(entry, searchable=there is not None), created
            names[entry["fullUrl"]] = name
            done.append(name)
        notes = (note(several),) if several else ()
        return Receipt(tuple(created), tuple(existing), tuple(updated), notes)

    def _found(self, entry: Json) -> list[Json] | None:
        """What the server has of ``entry``; None where it permits no search and no id is known."""
        name = self.ids.known(_key(entry))
        if name is not None:
            kind, _, logical_id = name.partition("/")
            return [{"resourceType": kind, "id": logical_id}]
        return matches(entry, self.search)

    def _create(self, entry: Json, *, searchable: bool) -> str:
        key, kind = _key(entry), kind_of(entry)
        if self.ids.begun(key) and not searchable:
            raise Rejected(
                f"The server may have a {kind} whose answer was lost, and permits no search for it.",
                where=self.place,
                todo=f"Permit us to search for {kind}, then retry the delivery.",
            )
        self.ids.begin(key)
        answer = self.server.post(f"/{kind}", json=entry["resource"])
        if not answer.is_success:
            raise failure(answer.status_code, answer, self.place, self.secrets)
        name = _created(answer, kind)
        if name is None:
            raise Rejected(f"The server created a {kind} and does not say under which id.", where=self.place)
        self.ids.note(key, name)
        return name

    def _update(self, entry: Json) -> str:
        name = str(entry["request"]["url"])
        answer = self.server.put(f"/{name}", entry["resource"], entry["request"].get("ifMatch"))
        if answer.status_code in CHANGED:
            raise PeerBusy(
                "The server has another version by now of what the report updates.",
                where=self.place,
                todo="It is tried again, and then settled with that version.",
            )
        if not answer.is_success:
            raise failure(answer.status_code, answer, self.place, self.secrets)
        return name


def _key(entry: Json) -> str:
    return f"{kind_of(entry)}?{entry['request'].get('ifNoneExist')}"


def _created(answer: httpx.Response, kind: str) -> str | None:
    """``Type/id`` of what was created: from the header Location, else from the resource in the answer."""
    match = LOCATION.search(answer.headers.get("Location", ""))
    if match and match[1].startswith(f"{kind}/"):
        return match[1]
    try:
        body = answer.json()
        return f"{kind}/{body['id']}" if body["resourceType"] == kind else None
    except (ValueError, TypeError, KeyError):
        return None


def _in_order(bundle: Json) -> Iterator[Json]:
    """The entries, each after those that it refers to."""
    waiting: Mapping[str, Json] = {entry["fullUrl"]: entry for entry in bundle["entry"]}
    while waiting:
        ready = [entry for entry in waiting.values() if not _needs(entry) & waiting.keys()]
        if not ready:
            raise Broken("The resources of the report refer to each other in a circle.", todo="Please report it.")
        yield from ready
        done = {entry["fullUrl"] for entry in ready}
        waiting = {url: entry for url, entry in waiting.items() if url not in done}


def _needs(entry: Json) -> set[str]:
    return {str(item["reference"]) for item in objects(entry["resource"]) if "reference" in item} - {entry["fullUrl"]}
