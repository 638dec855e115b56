"""A report that is withdrawn: it and what belongs to it becomes ``entered-in-error``, unless a human has finalised it.

Pure, as `fhir.server.amend`: every update names the version that was read, and touches only what carries an identifier
of the run. Nothing is deleted: the server's history keeps what was there.
"""

from __future__ import annotations

from dataclasses import dataclass

from fhir.bundle.coding import DICOM_UID, hl7_concept
from fhir.release import Json, Release
from fhir.server.amend import IN_ERROR, NEVER_MADE, VANISHED, finalised, same_run, tagged
from fhir.server.stored import Search, has_identifier, kind_of, name_of, token, unversioned, update
from pipeline.errors import Rejected
from pipeline.report import sentences
from pipeline.report.sentences import Language
from pipeline.report.withdrawal import Withdrawal

GONE = ("conclusionCode", "presentedForm", "media")
"""Elements of the report that a reader would take for a result: the patient's record must not show them."""
IN_ERROR_MARKS = VANISHED | {"DocumentReference": {"status": IN_ERROR}}


@dataclass(frozen=True)
class Withdrawn:
    """``bundle`` is what to post, None where nothing is to be changed; ``note`` is for the operator."""

    bundle: Json | None
    note: str


def withdrawn(bundle: Json, withdrawal: Withdrawal, search: Search, base: str) -> Withdrawn:
    """What to post to withdraw the report that ``bundle`` sent, at a server whose URL is ``base``.

    Raises
    ------
    Rejected
        where the server permits no search, or a human has finalised the report.
    """
    report = next(item["resource"] for item in bundle["entry"] if kind_of(item) == "DiagnosticReport")
    own = next((item for item in report["identifier"] if item.get("system") == DICOM_UID), None)
    if own is None:
        raise Rejected(
            "An older version of Candela wrote the report without an identifier of its run: it cannot be found.",
            where="DiagnosticReport",
            todo="Enter it in error at the server; then `candela jobs discard`.",
        )
    found = search("DiagnosticReport", {"identifier": token(own)})
    if found is None:
        raise Rejected(
            "The server permits no search for the report: it was not withdrawn.",
            where="DiagnosticReport",
            todo="Permit us to search for DiagnosticReport and Observation, then retry the delivery.",
        )
    known = [item for item in found if item.get("resourceType") == "DiagnosticReport" and has_identifier(item, own)]
    if not known:
        return Withdrawn(None, "nothing changed: the server has no report of this run, or a later revision replaced it")
    final = next((item for item in known if item.get("status") != IN_ERROR and finalised(item)), None)
    if final is not None:
        raise Rejected(
            "A human has finalised the report: it is not withdrawn.",
            where=name_of(final),
            todo="Tell the reader who finalised it; then `candela jobs discard`.",
        )
    text = sentences.label("withdrawn", Language(report.get("language", Language.ENGLISH)), why=withdrawal.why)
    entries = [update(_report(item, text), item, base) for item in known if item.get("status") != IN_ERROR]
    entries += _of_the_report(bundle, report, text, search, base)
    if not entries:
        return Withdrawn(None, f"{name_of(known[0])} was withdrawn before")
    entries.append(_provenance(bundle, [entry["request"]["url"] for entry in entries], withdrawal))
    return Withdrawn(
        {"resourceType": "Bundle", "type": "transaction", "entry": entries}, f"{name_of(known[0])} withdrawn"
    )


def _report(stored: Json, text: str) -> Json:
    kept = {key: value for key, value in stored.items() if key not in GONE}
    return {**kept, "status": IN_ERROR, "conclusion": text, "meta": unversioned(stored.get("meta", {}))}


def _of_the_report(bundle: Json, report: Json, text: str, search: Search, base: str) -> list[Json]:
    """Updates of what the run sent beside the report, as far as no human has finalised it."""
    entries = []
    for kind, marks in IN_ERROR_MARKS.items():
        ours = [entry["resource"] for entry in bundle["entry"] if kind_of(entry) == kind]
        if not ours or kind in NEVER_MADE["study" in report]:
            continue
        for item in tagged(kind, report, search):
            marked = all(item.get(key) == value for key, value in marks.items())
            if not marked and not finalised(item) and any(same_run(resource, item) for resource in ours):
                entries.append(update(_marked(item, marks, text), item, base))
    return entries


def _marked(stored: Json, marks: Json, text: str) -> Json:
    made = {**stored, **marks, "meta": unversioned(stored["meta"])}
    if "note" in stored:
        made["note"] = [*stored["note"], {"text": text}]
    return made


def _provenance(bundle: Json, names: list[str], withdrawal: Withdrawal) -> Json:
    """That the device's results were nullified, when and why."""
    sent = next(item for item in bundle["entry"] if kind_of(item) == "Provenance")
    device = next(item["resource"] for item in bundle["entry"] if kind_of(item) == "Device")
    report = next(item["resource"] for item in bundle["entry"] if kind_of(item) == "DiagnosticReport")
    release = Release.R5 if "study" in report else Release.R4
    *tags, own = sent["resource"]["meta"]["tag"]
    tag = {**own, "code": f"{own['code']}:withdrawn"}
    why = {"reason": [{"text": withdrawal.why}]}
    resource = release.make(
        "Provenance",
        meta={**sent["resource"]["meta"], "tag": [*tags, tag]},
        target=[{"reference": name} for name in names],
        recorded=withdrawal.at.isoformat(),
        activity=hl7_concept("v3-DataOperation", "NULLIFY", "nullify"),
        agent=[
            {
                "type": hl7_concept("provenance-participant-type", "author", "Author"),
                "who": {"type": "Device", "identifier": device["identifier"][0]},
            }
        ],
        **(why if release is Release.R4 else {"authorization": [{"concept": why["reason"][0]}]}),
    )
    request = {"method": "POST", "url": "Provenance", "ifNoneExist": f"_tag={tag['system']}|{tag['code']}"}
    return {"fullUrl": sent["fullUrl"], "resource": resource, "request": request}
