"""Whether a stored resource belongs to the report's patient: no reference may lead to another patient's resource."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from fhir.release import Json
from fhir.server.stored import Search


class Whose(Enum):
    """Whose a stored resource is, as far as it can be shown."""

    OURS = auto()
    ANOTHERS = auto()
    UNKNOWN = auto()
    """Its subject has an identifier of a system in which the report has no number: they cannot be compared."""
    NOBODYS = auto()
    """Its subject has a name alone, or nothing."""


@dataclass(frozen=True)
class Patients:
    """Compares subjects at one server. ``base`` is its URL, ``system`` the identifier system of patients whose DICOM
    issuer names none (None: unknown), ``search`` reads the identifiers of a Patient that a subject refers to.
    """

    search: Search
    base: str
    system: str | None = None

    def whose(self, ours: Json, stored: Json) -> Whose:
        """Whose ``stored`` is; ``ours`` is our report's subject, with or without a literal reference."""
        theirs = stored.get("subject") or {}
        mine, other = self._local(ours), self._local(theirs)
        if mine and mine == other:
            return Whose.OURS
        if not other and not self._number(theirs)[1]:
            return Whose.NOBODYS
        wanted, shown = self._number(ours), [self._number(theirs)]
        # Of two Patient resources one may have been merged into the other: they share our identifier.
        if other:
            shown += self._numbers(other)
        found = [self._compared(wanted, item) for item in shown]
        if Whose.OURS in found:
            return Whose.OURS
        if mine and not other:
            found += [self._compared(self._number(theirs), item) for item in self._numbers(mine)]
            if Whose.OURS in found:
                return Whose.OURS
        return Whose.ANOTHERS if Whose.ANOTHERS in found or (mine and other) else Whose.UNKNOWN

    def _compared(self, one: tuple[str, str], other: tuple[str, str]) -> Whose:
        """Two (system, value) pairs; an unknown system is any."""
        if not one[1] or not other[1]:
            return Whose.UNKNOWN
        same_system = not one[0] or not other[0] or one[0] == other[0]
        if one[1] == other[1]:
            return Whose.OURS if same_system else Whose.ANOTHERS
        return Whose.ANOTHERS if one[0] and one[0] == other[0] else Whose.UNKNOWN

    def _number(self, reference: Json) -> tuple[str, str]:
        identifier = reference.get("identifier") or {}
        return str(identifier.get("system") or self.system or ""), str(identifier.get("value") or "")

    def _numbers(self, local: str) -> list[tuple[str, str]]:
        """The identifiers of the Patient ``local`` (``Patient/id``); none where it cannot be read."""
        kind, _, logical_id = local.partition("/")
        found = self.search(kind, {"_id": logical_id}) if kind == "Patient" and logical_id else None
        return [
            (str(item.get("system") or ""), str(item.get("value") or ""))
            for resource in found or ()
            if str(resource.get("id")) == logical_id
            for item in resource.get("identifier") or ()
        ]

    def _local(self, reference: Json) -> str:
        """``Type/id`` of a reference within the server, else the reference as it is; without a version."""
        target = str(reference.get("reference") or "").partition("/_history/")[0]
        return target.removeprefix(f"{self.base.rstrip('/')}/")
