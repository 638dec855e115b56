"""An entry of the transaction Bundle."""

from __future__ import annotations

from dataclasses import dataclass

from fhir.bundle.coding import to
from fhir.release import Json


@dataclass(frozen=True)
class Entry:
    """A resource and its place in the Bundle.

    ``search`` is what a conditional create looks for, so that a resend finds what is there: by default the resource's
    first identifier.
    """

    full_url: str
    resource: Json
    search: str = ""

    @property
    def kind(self) -> str:
        return str(self.resource["resourceType"])

    @property
    def reference(self) -> Json:
        return to(self.full_url, self.kind)

    def to_json(self) -> Json:
        request = {"method": "POST", "url": self.kind, "ifNoneExist": self.search or by_identifier(self.resource)}
        return {"fullUrl": self.full_url, "resource": self.resource, "request": request}


def by_identifier(resource: Json, index: int = 0) -> str:
    """The search that finds ``resource`` by one of its identifiers."""
    identifier = resource["identifier"][index]
    return f"identifier={identifier['system']}|{identifier['value']}"
