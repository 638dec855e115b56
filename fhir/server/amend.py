"""A later revision of a series amends the report of the earlier one, unless a human has finalised that.

Pure: what the server holds is handed in by a search, what to send comes out. Every update names the version that was
read (If-Match), so that nothing that changed in between is overwritten; the server then answers 412, and it is tried
again. Nothing that does not carry this report's own tag or identifier is ever touched, whatever a search answers.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any

from fhir.bundle.coding import DICOM_UID, hl7_concept
from fhir.bundle.context import REPORT_TAG, REVISION_TAG
from fhir.bundle.entry import by_identifier
from fhir.release import Json
from fhir.server.same_patient import Patients, Whose
from fhir.server.stored import Search, has_identifier, kind_of, name_of, rename, tag_of, token, unversioned, update
from pipeline.errors import Rejected
from pipeline.report import sentences
from pipeline.report.sentences import Language

FINALISED = {"final", "amended", "corrected", "appended"}
"""States of a report that a human has finalised. A report of Candela is preliminary, modified or registered, that of a
refusal by version 0.2 cancelled."""
IN_ERROR = "entered-in-error"
REFUSED = {"registered", "cancelled"}
"""States of report and Observation that say that the series was not read."""
VANISHED: dict[str, Json] = {
    "Observation": {"status": IN_ERROR},
    "Media": {"status": IN_ERROR},
    "ImagingSelection": {"status": IN_ERROR},
    "DocumentReference": {"status": "superseded"},
    "BodyStructure": {"active": False},
}
"""How results of an earlier revision are marked that a later one does not have."""
OF_A_READING = ("valueCodeableConcept", "valueQuantity", "component", "bodySite", "bodyStructure", "dataAbsentReason")
"""Elements of an Observation that a refusal lacks, or it alone has; a value and the reason of its absence exclude each
other (obs-6)."""
NEVER_MADE = {False: {"DocumentReference", "ImagingSelection"}, True: {"Media"}}
"""Of these, what a report in R4 (False) and in R5 (True) never has: nothing of it is searched for."""
REPORT_FIELDS = ("media", "result", "conclusionCode", "effectiveDateTime", *OF_A_READING)
"""Elements that a later revision may lack: those of the earlier one are then removed."""


class State(Enum):
    """The state of the report at the server, compared with the one to be sent."""

    NEW = auto()
    RESENT = auto()
    AMENDS = auto()
    BESIDE = auto()
    OUTDATED = auto()
    WITHDRAWN = auto()
    BLIND = auto()


@dataclass(frozen=True)
class Settled:
    """``bundle`` is what to post, None where nothing is to be sent; ``note`` is for the operator."""

    state: State
    bundle: Json | None
    note: str = ""


def settle(bundle: Json, search: Search, base: str, patients: Patients) -> Settled:
    """What to post in place of ``bundle``, a new report, at a server whose URL is ``base``.

    NEW: the server has no such report: unchanged. RESENT: the server has this run: unchanged, which creates nothing.
    AMENDS: the server has an earlier revision that no human has finalised: updates it. BESIDE: a human has finalised
    the earlier revision: it stays, and this one stands beside it as a draft of its own. OUTDATED: the server has a
    later revision: nothing to send. WITHDRAWN: this run was withdrawn: nothing to send. BLIND: the server permits no
    search, or the report has no identifier that lasts (an older version of Candela wrote it): unchanged.

    Raises
    ------
    Rejected
        where the server has the report under another patient: nothing of it is changed, and nothing is sent.
    """
    report = next((item["resource"] for item in bundle.get("entry", ()) if kind_of(item) == "DiagnosticReport"), None)
    if report is None or len(report.get("identifier", ())) != 2:
        return Settled(State.BLIND, bundle)
    lasting, own = report["identifier"]
    found = search("DiagnosticReport", {"identifier": token(lasting)})
    if found is None:
        return Settled(State.BLIND, bundle)
    known = [item for item in found if item.get("resourceType") == "DiagnosticReport" and has_identifier(item, lasting)]
    withdrawn = [item for item in known if item.get("status") == IN_ERROR]
    known = [item for item in known if item not in withdrawn]
    if any(has_identifier(item, own) for item in withdrawn):
        return Settled(State.WITHDRAWN, None, f"nothing sent: {name_of(withdrawn[0])} was withdrawn")
    if not known:
        # By its own identifier: the one that lasts would find the report that was withdrawn.
        return Settled(State.NEW, _sought_by_own(bundle) if withdrawn else bundle)
    _refuse_another_patients(known, report, patients)
    if any(has_identifier(item, own) for item in known):
        return Settled(State.RESENT, _sought_by_own(bundle))
    return _settled_with(known, bundle, report, search, base)


def _refuse_another_patients(known: list[Json], report: Json, patients: Patients) -> None:
    """A corrected Patient ID comes under the same UIDs: a human must withdraw the report of the wrong patient."""
    another = next((item for item in known if patients.whose(report["subject"], item) is Whose.ANOTHERS), None)
    if another is not None:
        raise Rejected(
            "The server has this report under another patient: nothing was sent.",
            where=name_of(another),
            todo="Correct or delete that report at the server, then retry the delivery.",
        )


def _settled_with(known: list[Json], bundle: Json, report: Json, search: Search, base: str) -> Settled:
    """What to post where the server has other runs' reports of the series."""
    latest = max(known, key=_order)
    if _order(latest) > _order(report):
        return Settled(State.OUTDATED, None, f"nothing sent: {name_of(latest)} is of a later revision of the series")
    drafts = [item for item in known if not finalised(item)]
    if not drafts:
        note = f"{name_of(latest)} was finalised by a human and is left as it is; this revision stands beside it"
        return Settled(State.BESIDE, _sought_by_own(bundle), note)
    draft = max(drafts, key=_order)
    return Settled(State.AMENDS, _amended(bundle, draft, search, base), f"{name_of(draft)} is amended")


def revision_of(bundle: Json) -> int:
    """The revision of the series that the Bundle's report states; 1 if it states none."""
    reports = (entry["resource"] for entry in bundle.get("entry", ()) if kind_of(entry) == "DiagnosticReport")
    tags = [tag_of(report, REVISION_TAG) for report in reports]
    return int(tags[0]) if tags and tags[0].isdigit() else 1


def _amended(bundle: Json, draft: Json, search: Search, base: str) -> Json:
    """``bundle`` with updates of the earlier revision's resources, and marks on those that the new one lacks."""
    made = copy.deepcopy(bundle)
    report = next(item["resource"] for item in made["entry"] if kind_of(item) == "DiagnosticReport")
    if report["status"] == "preliminary" and draft["status"] in ("preliminary", "modified") and "study" in report:
        report["status"] = "modified"  # R5 alone has a state for "changed before it was final"
    stored: dict[str, list[Json]] = {
        kind: [item for item in tagged(kind, report, search) if not finalised(item)]
        for kind in VANISHED
        if kind not in NEVER_MADE["study" in report]
    }
    renamed: dict[str, str] = {}
    kept: set[str] = set()
    for entry in made["entry"]:
        resource, kind = entry["resource"], kind_of(entry)
        earlier = draft if resource is report else _earlier(resource, stored.get(kind, ()))
        if earlier is None:
            continue
        kept.add(name_of(earlier))
        if resource is report or not same_run(resource, earlier):
            renamed[entry["fullUrl"]] = name_of(earlier)
            entry.update(update(_merged(resource, earlier), earlier, base))
    for kind, items in stored.items():
        gone = (item for item in items if name_of(item) not in kept and not _is_vanished(item))
        made["entry"] += [update(_vanished(item, kind, report), item, base) for item in gone]
    rename(made, renamed)
    _tell_provenance(made, draft)
    return made


def tagged(kind: str, report: Json, search: Search) -> list[Json]:
    """The server's resources of every revision of ``report``."""
    tag = tag_of(report, REPORT_TAG)
    found = search(kind, {"_tag": f"{REPORT_TAG}|{tag}"}) or ()
    return [item for item in found if item.get("resourceType") == kind and tag_of(item, REPORT_TAG) == tag]


def _earlier(resource: Json, stored: Any) -> Json | None:
    """The stored resource that ``resource`` is a later state of: of the same run, else with the same last identifier,
    the one that lasts over revisions.
    """
    identifiers = resource.get("identifier", ())
    same = next((item for item in stored if same_run(resource, item)), None)
    if same is not None or len(identifiers) < 2:
        return same
    return next((item for item in stored if has_identifier(item, identifiers[-1])), None)


def same_run(resource: Json, stored: Json) -> bool:
    """Whether both have the identifier that one run gives."""
    own = [item for item in resource.get("identifier", ()) if item.get("system") == DICOM_UID]
    return any(has_identifier(stored, item) for item in own)


def _merged(resource: Json, stored: Json) -> Json:
    """``resource`` as an update of ``stored``, with the elements, identifiers and tags that the hospital has added."""
    kept = {key: value for key, value in stored.items() if key not in REPORT_FIELDS}
    if resource.get("status") in REFUSED:
        kept.pop("basedOn", None)
    own = {str(item.get("system")) for item in resource["identifier"]}
    added = [item for item in stored.get("identifier", ()) if item.get("system") not in own]
    meta = unversioned(stored.get("meta", {}))
    tags = [item for item in meta.get("tag", ()) if item.get("system") not in (REPORT_TAG, REVISION_TAG)]
    labels = [item for item in meta.get("security", ()) if item not in resource["meta"]["security"]]
    meta |= {"tag": [*resource["meta"]["tag"], *tags], "security": [*resource["meta"]["security"], *labels]}
    return {**kept, **resource, "identifier": [*resource["identifier"], *added], "meta": meta}


def _vanished(stored: Json, kind: str, report: Json) -> Json:
    resource = {**stored, **VANISHED[kind]}
    resource["meta"] = unversioned(stored["meta"])
    if "note" in resource:
        text = sentences.label("superseded", Language(report.get("language", Language.ENGLISH)))
        resource["note"] = [*resource["note"], {"text": text}]
    return resource


def _is_vanished(stored: Json) -> bool:
    marks = VANISHED[stored["resourceType"]]
    return all(stored.get(key) == value for key, value in marks.items())


def _tell_provenance(bundle: Json, draft: Json) -> None:
    """An update, of the version that it replaces."""
    version = draft.get("meta", {}).get("versionId")
    what = f"{name_of(draft)}/_history/{version}" if version else name_of(draft)
    for entry in bundle["entry"]:
        if kind_of(entry) == "Provenance":
            entry["resource"]["activity"] = {"coding": hl7_concept("v3-DataOperation", "UPDATE", "revise")["coding"]}
            revised = {"role": "revision", "what": {"reference": what, "type": "DiagnosticReport"}}
            entry["resource"]["entity"].append(revised)


def _sought_by_own(bundle: Json) -> Json:
    """``bundle`` whose report is created unless the server has the report of this run."""
    made = {**bundle, "entry": [dict(item) for item in bundle["entry"]]}
    for entry in made["entry"]:
        if kind_of(entry) == "DiagnosticReport":
            entry["request"] = {**entry["request"], "ifNoneExist": by_identifier(entry["resource"], index=1)}
    return made


def finalised(stored: Json) -> bool:
    """Whether a human has worked on it: its state, an interpreter, or a cancellation that is not of a refusal."""
    if stored.get("status") in FINALISED or stored.get("resultsInterpreter") or stored.get("performer"):
        return stored.get("resourceType") != "ImagingSelection"  # whose performer is the device
    return stored.get("status") == "cancelled" and bool(stored.get("conclusionCode"))


def _order(report: Json) -> tuple[int, datetime]:
    """Later revisions are greater; of one revision the one that was read later (another version of the model)."""
    revision, issued = tag_of(report, REVISION_TAG), report.get("issued")
    when = datetime.fromisoformat(issued) if issued else datetime.min.replace(tzinfo=UTC)
    return int(revision) if revision.isdigit() else 0, when
