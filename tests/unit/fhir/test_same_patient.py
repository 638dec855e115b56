"""No reference leads to another patient's resource: studies, orders and earlier reports, however they name theirs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from fhir import report
from fhir.server.amend import State, settle
from fhir.server.same_patient import Patients, Whose
from fhir.server.study_merge import with_study
from pipeline.errors import Rejected
from pipeline.findings.model import Outcome
from tests.peers.fhir_bundles import content_of, references, resources

Json = dict[str, Any]
BASE = "https://ehr.example/fhir"
MRN, OTHER_SYSTEM = "urn:oid:1.2.3", "urn:oid:9.9.9"


def number(value: str, system: str | None = MRN) -> Json:
    return {"type": "Patient", "identifier": {"value": value, **({"system": system} if system else {})}}


def at(reference: str, **more: Any) -> Json:
    return {"reference": reference, **more}


PATIENTS = {
    "Patient/1": [(MRN, "42")],
    "Patient/2": [(MRN, "43"), (OTHER_SYSTEM, "N1")],
    "Patient/3": [(MRN, "41"), (MRN, "42")],  # 42 was merged into it
    "Patient/4": [(OTHER_SYSTEM, "N1")],
}


def find(kind: str, query: Mapping[str, str]) -> list[Json]:
    numbers = PATIENTS.get(f"{kind}/{query.get('_id')}")
    identifiers = [{"system": system, "value": value} for system, value in numbers or ()]
    return [{"resourceType": kind, "id": query["_id"], "identifier": identifiers}] if numbers else []


LITERAL = {**number("42"), "reference": "Patient/1"}
CASES: list[tuple[Json, Json | None, Whose]] = [
    (LITERAL, at("Patient/1"), Whose.OURS),
    (LITERAL, at("Patient/1/_history/7"), Whose.OURS),
    (LITERAL, at(f"{BASE}/Patient/1"), Whose.OURS),
    (LITERAL, at("https://elsewhere.example/Patient/1"), Whose.ANOTHERS),
    (LITERAL, at("Patient/2"), Whose.ANOTHERS),
    (LITERAL, at("Patient/3"), Whose.OURS),
    (LITERAL, at("Patient/99"), Whose.ANOTHERS),
    (LITERAL, number("42"), Whose.OURS),
    (LITERAL, number("43"), Whose.ANOTHERS),
    (LITERAL, number("N9", OTHER_SYSTEM), Whose.UNKNOWN),
    (number("42"), number("42"), Whose.OURS),
    (number("42"), number("43"), Whose.ANOTHERS),
    (number("42"), number("42", OTHER_SYSTEM), Whose.ANOTHERS),
    (number("42", None), number("42"), Whose.OURS),
    (number("42", None), number("43"), Whose.UNKNOWN),
    (number("42"), at("Patient/1"), Whose.OURS),
    (number("42"), at("Patient/2"), Whose.ANOTHERS),
    (number("42"), at("Patient/4"), Whose.UNKNOWN),
    (number("42"), {"display": "Doe, Jane"}, Whose.NOBODYS),
    ({"type": "Patient", "display": "Unnamed"}, at("Patient/1"), Whose.UNKNOWN),
    (number("42"), None, Whose.NOBODYS),
]


def test_whose_a_resource_is() -> None:
    for ours, theirs, whose in CASES:
        stored = {"resourceType": "ImagingStudy", "id": "7", **({"subject": theirs} if theirs else {})}
        assert Patients(find, BASE).whose(ours, stored) is whose, (ours, theirs)
    known = Patients(find, BASE, system=MRN)
    assert known.whose(number("42", None), {"subject": number("43")}) is Whose.ANOTHERS


def made() -> Json:
    return report.build(content_of(Outcome.FINDING, "same patient"))


def study_of(bundle: Json, subject: Json | None, *, ours: bool) -> Json:
    kept = copy.deepcopy(resources(bundle, "ImagingStudy")[0]) | {"id": "7"}
    kept["meta"] = {**(kept["meta"] if ours else {}), "versionId": "1"}
    del kept["subject"]
    return kept | ({"subject": subject} if subject else {})


@pytest.mark.parametrize("ours", [True, False])
def test_a_study_of_another_patient_is_named_by_identifier(ours: bool) -> None:
    """By a reference, by an identifier; a hospital's own also where it cannot be told whose it is. A study of the same
    patient, or of nobody in particular, is referred to.
    """
    bundle = made()
    subject = resources(bundle, "DiagnosticReport")[0]["subject"]
    system, value = subject["identifier"].get("system"), subject["identifier"]["value"]
    another = {"type": "Patient", "identifier": {**subject["identifier"], "value": f"{value}9"}}
    if system is None:
        another["identifier"]["system"] = MRN
    held = {
        "the same": (copy.deepcopy(subject), True),
        "another": (another, ours and system is None),
        "by what cannot be compared": (number("N9", OTHER_SYSTEM), ours),
        "by name alone": ({"display": "x"}, True),
        "nobody": (None, True),
    }
    for name, (theirs, referred) in held.items():
        stored = study_of(bundle, theirs, ours=ours)

        def search(kind: str, _query: Mapping[str, str], stored: Json = stored) -> list[Json]:
            return [copy.deepcopy(stored)] if kind == "ImagingStudy" else []

        merged = with_study(bundle, search, BASE, Patients(search, BASE))
        to_study = [item for item in references(merged.bundle) if item["type"] == "ImagingStudy"]
        assert to_study, name
        assert all(("reference" in item) == referred for item in to_study), name
        assert bool(merged.note) == (not referred), name
        if not referred:
            assert all(item["identifier"] == stored["identifier"][0] for item in to_study)
            assert not resources(merged.bundle, "ImagingStudy")


def test_a_report_under_another_patient_is_neither_amended_nor_taken_for_ours() -> None:
    """The same run, and a later revision: nothing is sent, and the operator reads where the other one is."""
    first = report.build(content_of(Outcome.FINDING, "amended", revision=1))
    for revision in (1, 2):
        later = report.build(content_of(Outcome.FINDING, "amended", revision=revision))
        for theirs, refused in ((at("Patient/2"), True), (None, False)):
            stored = copy.deepcopy(resources(first, "DiagnosticReport")[0]) | {"id": "5"}
            subject = {**stored["subject"], "reference": "Patient/1"}
            resources(later, "DiagnosticReport")[0]["subject"] = subject
            stored["subject"] = theirs or subject

            def search(kind: str, query: Mapping[str, str], stored: Json = stored) -> list[Json]:
                return (
                    [copy.deepcopy(stored)]
                    if kind == "DiagnosticReport"
                    else find(kind, query)
                    if "_id" in query
                    else []
                )

            patients = Patients(search, BASE)
            if refused:
                with pytest.raises(Rejected, match=r"under another patient.*DiagnosticReport/5"):
                    settle(later, search, BASE, patients)
            else:
                assert settle(later, search, BASE, patients).state in (State.RESENT, State.AMENDS)
