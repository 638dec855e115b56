"""The hospital's resources that a Bundle names by identifier, and how they are looked for."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from fhir.release import Json
from fhir.server.stored import objects


def logical_references(bundle: Json, kind: str) -> list[Json]:
    """The different references by identifier alone to resources of type ``kind``."""
    found: list[Json] = []
    for item in objects(bundle):
        if _is_logical(item, kind) and item not in found:
            found.append(item)
    return found


def searched(reference: Json, default_system: str | None, bundle: Json) -> dict[str, str] | None:
    """Search parameters that find the resource of ``reference``, or None where a search could find another's.

    An order is also sought by its patient, once that is literal: an accession number of no known issuer is unique
    within one patient well enough.
    """
    identifier = reference["identifier"]
    value, system = _escaped(identifier["value"]), identifier.get("system") or default_system
    query = {"identifier": f"{_escaped(system)}|{value}"} if system else {}
    if reference["type"] == "ServiceRequest":
        patient = next((ref for ref in map(_literal_patient, objects(bundle)) if ref), None)
        if patient:
            query = {"identifier": value, **query, "subject": patient}
    return query or None


def is_meant(found: Json, reference: Json, default_system: str | None, query: Mapping[str, str]) -> bool:
    """Whether ``found`` is what ``reference`` names. A server may ignore a search parameter that it does not know (R4
    3.1.1.4) and answer with everybody: what does not show the identifier, and an order its patient, is not taken.
    """
    wanted = reference["identifier"]
    system = wanted.get("system") or default_system
    shown = [item for item in found.get("identifier") or () if item.get("value") == wanted["value"]]
    if not any(system in (None, item.get("system")) for item in shown):
        return False
    target = str((found.get("subject") or {}).get("reference") or "").partition("/_history/")[0]
    return "subject" not in query or f"/{target}".endswith(f"/{query['subject']}")


def literal(bundle: Json, reference: Json, target: str) -> Json:
    """A copy of ``bundle`` in which every reference that equals ``reference`` also points at ``target``."""
    resolved = copy.deepcopy(bundle)
    for item in list(objects(resolved)):
        if item == reference:
            item["reference"] = target
    return resolved


def patient_in(bundle: Json) -> Json | None:
    """The report's subject, as all its resources name it."""
    return next((item for item in objects(bundle) if item.get("type") == "Patient"), None)


def identifying_texts(bundle: Json) -> frozenset[str]:
    """What could name the patient, and must not be repeated in an error: identifiers, names and their parts, and what
    a reader wrote of a report.
    """
    texts: set[str] = set()
    for item in objects(bundle):
        if item.get("focus"):
            texts |= {str(note.get("text") or "") for note in item.get("note", ())}
    for kind in ("Patient", "ServiceRequest"):
        for item in objects(bundle):
            if item.get("type") == kind:
                texts.add(str((item.get("identifier") or {}).get("value") or ""))
                display = str(item.get("display") or "")
                texts |= {display, *display.replace(",", " ").split()}
    return frozenset(text for text in texts if len(text) > 1 or text.isdigit())


def _is_logical(item: Json, kind: str) -> bool:
    value = item.get("identifier")
    return item.get("type") == kind and "reference" not in item and isinstance(value, dict) and bool(value.get("value"))


def _literal_patient(item: Json) -> str | None:
    target = item.get("reference")
    return target if item.get("type") == "Patient" and isinstance(target, str) else None


def _escaped(text: str) -> str:
    """A value inside a search parameter (R4 3.1.1.5.7)."""
    for mark in ("\\", "|", ",", "$"):
        text = text.replace(mark, f"\\{mark}")
    return text
