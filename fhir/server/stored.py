"""What a server has stored of a report, as a search brings it back, and the entry that updates it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fhir.release import Json

Search = Callable[[str, Mapping[str, str]], list[Json] | None]
"""All resources of a type that match the search parameters; None where the server permits no search."""


def name_of(resource: Json) -> str:
    """``Type/id``."""
    return f"{resource['resourceType']}/{resource['id']}"


def kind_of(entry: Json) -> str:
    """The type of an entry's resource."""
    return str(entry.get("resource", {}).get("resourceType", ""))


def token(identifier: Json) -> str:
    """An identifier as a search parameter."""
    return f"{identifier.get('system')}|{identifier.get('value')}"


def has_identifier(stored: Json, identifier: Json) -> bool:
    """Whether ``stored`` has ``identifier``: a search may answer with more than was asked for (R4 3.1.1.4)."""
    return any(token(item) == token(identifier) for item in stored.get("identifier", ()))


def tag_of(resource: Json, system: str) -> str:
    """The code of the resource's tag of ``system``; empty where it has none."""
    tags = resource.get("meta", {}).get("tag", ())
    return next((str(item.get("code", "")) for item in tags if item.get("system") == system), "")


def update(resource: Json, stored: Json, base: str) -> Json:
    """An entry that updates ``stored``, where it is still the version that was read."""
    name = name_of(stored)
    request = {"method": "PUT", "url": name}
    version = stored.get("meta", {}).get("versionId")
    if version:
        request["ifMatch"] = f'W/"{version}"'
    return {"fullUrl": f"{base}/{name}", "resource": {**resource, "id": stored["id"]}, "request": request}


def unversioned(meta: Json) -> Json:
    """``meta`` without what the server alone writes."""
    return {key: value for key, value in meta.items() if key not in ("versionId", "lastUpdated")}


def rename(bundle: Json, renamed: Mapping[str, str]) -> None:
    """Turn references to entries into references to what is stored in their place."""
    for item in objects(bundle):
        if item.get("reference") in renamed:
            item["reference"] = renamed[item["reference"]]


def objects(value: Any) -> Iterator[Json]:
    """Every JSON object in ``value``."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from objects(item)
