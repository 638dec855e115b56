"""A draft ends when a human's final report of the same order appears (docs/adr/0069-a-draft-ends.md).

Pure, as `fhir.server.amend`. Only the draft and its Observations are changed; the human's report is only read.
"""

from __future__ import annotations

from dataclasses import dataclass

from fhir.bundle.coding import DICOM_UID
from fhir.bundle.context import REPORT_TAG
from fhir.release import Json
from fhir.server.amend import FINALISED, finalised, same_run, tagged
from fhir.server.same_patient import Patients, Whose
from fhir.server.stored import Search, has_identifier, kind_of, name_of, tag_of, token, unversioned, update
from pipeline.errors import Rejected
from pipeline.report import sentences
from pipeline.report.sentences import Language

CLOSED = "unknown"
"""The status of a draft once a human has reported: whether that report confirms it, the node does not know."""
DRAFT = {"preliminary", "modified"}
EXTENSIONS = "http://hl7.org/fhir/StructureDefinition"


@dataclass(frozen=True)
class Closing:
    """``bundle`` is what to post, None where nothing is to be changed; ``done``: nothing more will change.

    ``note`` is for the operator.
    """

    bundle: Json | None
    done: bool
    note: str


def closing(
    bundle: Json, search: Search, base: str, patients: Patients, accession_system: str | None = None
) -> Closing:
    """What to post at a server whose URL is ``base`` to close the draft that ``bundle`` sent.

    ``accession_system`` is the identifier system of accession numbers whose DICOM issuer names none.

    Raises
    ------
    Rejected
        where the server permits no search.
    """
    report = next(item["resource"] for item in bundle["entry"] if kind_of(item) == "DiagnosticReport")
    own = next((item for item in report["identifier"] if item.get("system") == DICOM_UID), None)
    draft = next(iter(_reports(search, {"identifier": token(own)}, own)), None) if own else None
    if draft is None:
        return Closing(None, done=True, note="the server has no report of this run, or a later revision replaced it")
    if draft.get("status") not in DRAFT or finalised(draft):
        return Closing(None, done=True, note=f"{name_of(draft)} is no draft any more: {draft.get('status')}")
    orders = [found for item in draft.get("basedOn", ()) if (found := _known(item, accession_system))]
    if not orders:
        return Closing(None, done=True, note=f"{name_of(draft)} names no order that a final report could be matched by")
    final = next((item for order in orders for item in _finals(order, draft, search, patients)), None)
    if final is None:
        return Closing(None, done=False, note="there is no final report of the order yet")
    text = sentences.label("closed", Language(report.get("language", Language.ENGLISH)))
    entries = [update(_closed(draft, final, text), draft, base)]
    ours = [item["resource"] for item in bundle["entry"] if kind_of(item) == "Observation"]
    for item in tagged("Observation", report, search):
        if item.get("status") == "preliminary" and any(same_run(resource, item) for resource in ours):
            made = {**item, "status": CLOSED, "meta": unversioned(item["meta"])}
            entries.append(update(made, item, base))
    made = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    return Closing(made, done=True, note=f"{name_of(draft)} is closed: {name_of(final)} is the final report")


def _known(order: Json, accession_system: str | None) -> Json | None:
    """``order`` with the system of its number; None where neither a reference nor a system says which it is."""
    identifier = order.get("identifier") or {}
    system = identifier.get("system") or accession_system
    if identifier.get("value") and system:
        return {**order, "identifier": {"system": system, "value": identifier["value"]}}
    return {"reference": order["reference"]} if order.get("reference") else None


def _reports(search: Search, query: dict[str, str], identifier: Json) -> list[Json]:
    found = search("DiagnosticReport", query)
    if found is None:
        raise Rejected(
            "The server permits no search for reports: whether there is a final one is not known.",
            where="DiagnosticReport",
            todo="Permit us to search for DiagnosticReport, or leave final_report_every out.",
        )
    return [
        item for item in found if item.get("resourceType") == "DiagnosticReport" and has_identifier(item, identifier)
    ]


def _finals(order: Json, draft: Json, search: Search, patients: Patients) -> list[Json]:
    """Reports of ``order`` that a human has finalised, of the draft's patient."""
    reference, identifier = str(order.get("reference") or ""), order.get("identifier")
    found: list[Json] = []
    if reference:
        found += search("DiagnosticReport", {"based-on": reference}) or []
        found = [item for item in found if any(_same(reference, one) for one in item.get("basedOn", ()))]
    if identifier:
        found += _reports(search, {"identifier": token(identifier)}, identifier)
    return [
        item
        for item in found
        if item.get("status") in FINALISED
        and not tag_of(item, REPORT_TAG)
        and patients.whose(draft["subject"], item) is Whose.OURS
    ]


def _same(reference: str, other: Json) -> bool:
    shown = str(other.get("reference") or "").partition("/_history/")[0]
    return bool(shown) and f"/{shown}".endswith(f"/{reference.partition('/_history/')[0]}")


def _closed(draft: Json, final: Json, text: str) -> Json:
    """The draft, which no longer waits for a reader: it names the final report and why its status changed."""
    added = [
        {"url": f"{EXTENSIONS}/workflow-supportingInfo", "valueReference": {"reference": name_of(final)}},
        {"url": f"{EXTENSIONS}/event-statusReason", "valueCodeableConcept": {"text": text}},
    ]
    return {
        **draft,
        "status": CLOSED,
        "extension": [*draft.get("extension", ()), *added],
        "conclusion": f"{text} {draft.get('conclusion', '')}".strip(),
        "meta": unversioned(draft.get("meta", {})),
    }
