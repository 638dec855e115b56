"""Resources that a server has more than once: named by identifier, since no reference may lead to the wrong one.

A server answers 412 to a transaction for two different reasons, and the request shows which of them can hold:

- A conditional create (``ifNoneExist``) matches more than one resource (R4 http, conditional create). No wait
  changes that.
- An update names a version (``ifMatch``) that is not the current one (R4 http, resource contention). The next
  try reads the new version.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

from fhir.release import Json
from fhir.server.stored import Search, has_identifier, kind_of, objects, tag_of


def duplicates(bundle: Json, search: Search) -> tuple[Json, ...]:
    """The entries of ``bundle`` that a conditional create cannot make: the server has several under its condition.

    Where the server permits no search for a kind of resource, duplicates of that kind are unknown.
    """
    creates = (entry for entry in bundle.get("entry", ()) if entry["request"].get("ifNoneExist"))
    return tuple(entry for entry in creates if len(matches(entry, search) or ()) > 1)


def matches(entry: Json, search: Search) -> list[Json] | None:
    """The resources that match the condition of ``entry``; None where it permits no search."""
    kind = kind_of(entry)
    name, _, value = entry["request"]["ifNoneExist"].partition("=")
    system, _, code = value.partition("|")
    found = search(kind, {name: value})
    if found is None:
        return None
    if name == "_tag":
        return [item for item in found if tag_of(item, system) == code]
    return [item for item in found if has_identifier(item, {"system": system, "value": code})]


def versions(bundle: Json) -> dict[str, str]:
    """The version that each update of ``bundle`` names, by ``Type/id``."""
    requests = [entry["request"] for entry in bundle.get("entry", ())]
    return {item["url"]: item["ifMatch"].removeprefix('W/"').rstrip('"') for item in requests if "ifMatch" in item}


def named_by_identifier(bundle: Json, entries: Iterable[Json]) -> Json:
    """``bundle`` without ``entries``; references to them become logical references by their first identifier.

    The Bundle is not changed.
    """
    left_out = {entry["fullUrl"]: entry["resource"] for entry in entries}
    made = copy.deepcopy({**bundle, "entry": [item for item in bundle["entry"] if item["fullUrl"] not in left_out]})
    for item in objects(made):
        resource = left_out.get(str(item.get("reference")))
        if resource is not None:
            del item["reference"]
            item["type"] = resource["resourceType"]
            item["identifier"] = resource["identifier"][0]
    return made


def note(entries: Iterable[Json]) -> str:
    """The note in the job about ``entries`` that are named by identifier."""
    kinds = ", ".join(dict.fromkeys(kind_of(entry) for entry in entries))
    return f"the server has more than one {kinds} under one identifier: the report names it by identifier alone"
