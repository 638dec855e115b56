"""What a later revision makes of an earlier one's report. The real server's part is in tests/integration."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest

from fhir import report
from fhir.bundle.context import REPORT_TAG, REVISION_TAG
from fhir.release import Release
from fhir.server.amend import Settled, State, settle
from fhir.server.same_patient import Patients
from pipeline.findings.model import Outcome
from tests.peers.fhir_bundles import content_of, refusal_of, resources

BASE = "http://ehr.example/fhir"


class Records:
    """Resources as a server keeps them: enough of it to see what a transaction makes of them."""

    def __init__(self) -> None:
        self.all: dict[str, dict[str, Any]] = {}

    def search(self, kind: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        ((name, token),) = query.items()
        found = (item for item in self.all.values() if item["resourceType"] == kind)
        return [copy.deepcopy(item) for item in found if token in self._tokens(item, name)]

    @staticmethod
    def _tokens(item: dict[str, Any], name: str) -> list[str]:
        if name == "_tag":
            return [f"{tag['system']}|{tag['code']}" for tag in item.get("meta", {}).get("tag", ())]
        return [f"{one.get('system')}|{one['value']}" for one in item.get("identifier", ())]

    def post(self, bundle: dict[str, Any]) -> None:
        names: dict[str, str] = {}
        for entry in bundle["entry"]:
            request, resource = entry["request"], copy.deepcopy(entry["resource"])
            if request["method"] == "PUT":
                stored = self.all[request["url"]]
                assert request["ifMatch"] == f'W/"{stored["meta"]["versionId"]}"'
                version, name = str(int(stored["meta"]["versionId"]) + 1), request["url"]
            else:
                parameter, token = request["ifNoneExist"].split("=", 1)
                there = self.search(resource["resourceType"], {parameter: token})
                assert len(there) < 2
                name = f"{resource['resourceType']}/{there[0]['id'] if there else len(self.all) + 1}"
                names[entry["fullUrl"]] = name
                if there:
                    continue
                version = "1"
            names[entry["fullUrl"]] = name
            resource.setdefault("meta", {})["versionId"] = version
            self.all[name] = resource | {"id": name.split("/")[1]}
        for item in self.all.values():
            self._link(item, names)

    def _link(self, value: Any, names: dict[str, str]) -> None:
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            self._link(item, names)
        if isinstance(value, dict) and value.get("reference") in names:
            value["reference"] = names[value["reference"]]

    def send(self, bundle: dict[str, Any]) -> Settled:
        settled = settle(bundle, self.search, BASE, Patients(self.search, BASE))
        if settled.bundle is not None:
            self.post(settled.bundle)
        return settled

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [item for item in self.all.values() if item["resourceType"] == kind]


def bundle(outcome: Outcome, revision: int = 1, release: Release = Release.R4) -> dict[str, Any]:
    return report.build(content_of(outcome, "amend", revision=revision), release=release)


def references(value: Any) -> set[str]:
    """Every literal reference within ``value``."""
    found = set()
    if isinstance(value, dict):
        found |= {value["reference"]} if isinstance(value.get("reference"), str) else set()
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        found |= references(item)
    return found


@pytest.mark.parametrize("release", list(Release))
def test_a_resend_changes_nothing(release: Release) -> None:
    """However often."""
    records = Records()
    assert records.send(bundle(Outcome.FINDING, release=release)).state is State.NEW
    before = copy.deepcopy(records.all)
    assert records.send(bundle(Outcome.FINDING, release=release)).state is State.RESENT
    assert records.all == before


@pytest.mark.parametrize(("release", "status"), [(Release.R4, "preliminary"), (Release.R5, "modified")])
def test_a_later_revision_amends_the_same_report(release: Release, status: str) -> None:
    """One report, with the new conclusion; never final; what leads to it leads to the new results."""
    records = Records()
    records.send(bundle(Outcome.FINDING, release=release))
    (first,) = records.of("DiagnosticReport")
    settled = records.send(bundle(Outcome.FINDING, 2, release=release))
    assert (settled.state, settled.note) == (State.AMENDS, f"DiagnosticReport/{first['id']} is amended")
    (second,) = records.of("DiagnosticReport")
    assert second["id"] == first["id"]
    assert second["status"] == status
    assert "this replaces" in second["conclusion"]
    assert second["issued"] > first["issued"]
    live = [item for item in records.of("Observation") if item["status"] == "preliminary"]
    assert {f"Observation/{item['id']}" for item in live} == {item["reference"] for item in second["result"]}
    assert {item["reference"] for item in second["result"]} == {item["reference"] for item in first["result"]}
    assert all(item["meta"]["versionId"] == "2" for item in live)
    assert all(name in records.all for name in references(second) if "/_history/" not in name)


@pytest.mark.parametrize("release", list(Release))
def test_results_that_vanished_are_marked(release: Release) -> None:
    """A lesion of revision 1 that revision 2 does not see is entered in error, and the report no longer leads to it."""
    records = Records()
    records.send(bundle(Outcome.FINDING, release=release))
    records.send(bundle(Outcome.NO_FINDING, 2, release=release))
    (made,) = records.of("DiagnosticReport")
    gone = [item for item in records.of("Observation") if item["status"] == "entered-in-error"]
    assert len(gone) == 4
    assert not {f"Observation/{item['id']}" for item in gone} & {item["reference"] for item in made["result"]}
    assert all("later revision" in item["note"][-1]["text"] for item in gone)
    assert [item["active"] for item in records.of("BodyStructure")] == [False]
    pictures = records.of("Media" if release is Release.R4 else "DocumentReference")
    assert sorted(item["status"] for item in pictures) == (
        ["completed", "entered-in-error"] if release is Release.R4 else ["current", "superseded"]
    )
    assert made["conclusionCode"][0]["coding"][0]["code"] == "272519000"
    before = copy.deepcopy(records.all)
    assert records.send(bundle(Outcome.NO_FINDING, 2, release=release)).state is State.RESENT
    assert records.all == before


def test_an_earlier_revision_that_comes_late_changes_nothing() -> None:
    """Deliveries overtake each other."""
    records = Records()
    records.send(bundle(Outcome.NO_FINDING, 2))
    before = copy.deepcopy(records.all)
    settled = records.send(bundle(Outcome.FINDING))
    assert (settled.state, settled.bundle) == (State.OUTDATED, None)
    assert "later revision" in settled.note
    assert records.all == before


@pytest.mark.parametrize(
    "change", [{"status": "final"}, {"status": "corrected"}, {"resultsInterpreter": [{"display": "Dr"}]}]
)
def test_what_a_human_finalised_is_left_as_it_is(change: dict[str, Any]) -> None:
    """The later revision stands beside it as a draft; a third revision amends that draft; resends double nothing."""
    records = Records()
    records.send(bundle(Outcome.FINDING))
    (first,) = records.of("DiagnosticReport")
    first.update(change)
    kept = copy.deepcopy(first)
    settled = records.send(bundle(Outcome.NO_FINDING, 2))
    assert settled.state is State.BESIDE
    assert "finalised by a human" in settled.note
    assert records.send(bundle(Outcome.NO_FINDING, 2)).state is State.RESENT
    assert records.all[f"DiagnosticReport/{first['id']}"] == kept
    assert len(records.of("DiagnosticReport")) == 2
    third = content_of(Outcome.INDETERMINATE, "amend", revision=3)
    assert records.send(report.build(third)).state is State.AMENDS
    assert records.all[f"DiagnosticReport/{first['id']}"] == kept
    assert len(records.of("DiagnosticReport")) == 2


def test_an_observation_that_a_human_finalised_is_not_updated() -> None:
    """A new one stands beside it, and the report refers to that."""
    records = Records()
    records.send(bundle(Outcome.NO_FINDING))
    chosen = records.of("Observation")[0]
    chosen["status"] = "final"
    kept = copy.deepcopy(chosen)
    records.send(bundle(Outcome.NO_FINDING, 2))
    assert records.all[f"Observation/{chosen['id']}"] == kept
    (made,) = records.of("DiagnosticReport")
    assert f"Observation/{chosen['id']}" not in {item["reference"] for item in made["result"]}


def test_what_the_hospital_added_stays() -> None:
    """Its identifier, its tag, its encounter; ours are replaced."""
    records = Records()
    records.send(bundle(Outcome.FINDING))
    (first,) = records.of("DiagnosticReport")
    first["identifier"].append({"system": "urn:ris", "value": "R1"})
    first["meta"]["tag"].append({"system": "urn:ris", "code": "seen"})
    first["encounter"] = {"reference": "Encounter/7"}
    records.send(bundle(Outcome.NO_FINDING, 2))
    (second,) = records.of("DiagnosticReport")
    assert [item["system"] for item in second["identifier"]] == ["urn:ietf:rfc:3986", "urn:dicom:uid", "urn:ris"]
    assert {item["system"] for item in second["meta"]["tag"]} == {REPORT_TAG, REVISION_TAG, "urn:ris"}
    assert [item["code"] for item in second["meta"]["tag"] if item["system"] == REVISION_TAG] == ["2"]
    assert second["encounter"] == {"reference": "Encounter/7"}


def test_nothing_of_others_is_touched_whatever_a_search_answers() -> None:
    """A lenient server ignores parameters that it does not know, and answers with everything."""
    records = Records()
    records.send(bundle(Outcome.FINDING))
    other = report.build(content_of(Outcome.FINDING, "another"))
    records.send(other)
    foreign = {"resourceType": "Observation", "id": "77", "status": "preliminary", "meta": {"versionId": "1"}}
    records.all["Observation/77"] = foreign

    def everything(kind: str, _query: Mapping[str, str]) -> list[dict[str, Any]]:
        return copy.deepcopy(records.of(kind))

    settled = settle(bundle(Outcome.NO_FINDING, 2), everything, BASE, Patients(everything, BASE))
    assert settled.bundle is not None
    updated = {entry["request"]["url"] for entry in settled.bundle["entry"] if entry["request"]["method"] == "PUT"}
    own = resources(bundle(Outcome.FINDING), "Observation")
    assert len([name for name in updated if name.startswith("Observation/")]) == len(own)
    assert "Observation/77" not in updated
    assert len([name for name in updated if name.startswith("DiagnosticReport/")]) == 1


def test_every_update_names_the_version_that_was_read_and_the_provenance_what_it_replaces() -> None:
    """If-Match on each; the Provenance is an update of the report's earlier version."""
    records = Records()
    records.send(bundle(Outcome.FINDING))
    (first,) = records.of("DiagnosticReport")
    settled = settle(bundle(Outcome.FINDING, 2), records.search, BASE, Patients(records.search, BASE))
    assert settled.bundle is not None
    updates = [entry for entry in settled.bundle["entry"] if entry["request"]["method"] == "PUT"]
    assert updates
    assert all(entry["request"]["ifMatch"] == 'W/"1"' for entry in updates)
    assert all("versionId" not in entry["resource"]["meta"] for entry in updates)
    (provenance,) = resources(settled.bundle, "Provenance")
    assert provenance["activity"]["coding"][0]["code"] == "UPDATE"
    revised = next(item for item in provenance["entity"] if item["role"] == "revision")
    assert revised["what"]["reference"] == f"DiagnosticReport/{first['id']}/_history/1"
    assert json.dumps(settled.bundle)


def test_a_series_that_was_refused_and_then_read_has_one_report() -> None:
    """Registered first, then preliminary; a report that a human cancelled stays cancelled."""
    records = Records()
    records.send(report.build(refusal_of("amend")))
    (first,) = records.of("DiagnosticReport")
    assert first["status"] == "registered"
    assert records.send(bundle(Outcome.FINDING, 2)).state is State.AMENDS
    (second,) = records.of("DiagnosticReport")
    assert second["status"] == "preliminary"
    assert second["basedOn"]
    assert not [item for item in records.of("Observation") if "dataAbsentReason" in item]
    second["status"] = "cancelled"
    assert records.send(bundle(Outcome.FINDING, 3)).state is State.BESIDE
    assert records.all[f"DiagnosticReport/{second['id']}"]["status"] == "cancelled"


def test_a_refusal_that_0_2_left_as_cancelled_is_amended() -> None:
    records = Records()
    records.send(report.build(refusal_of("amend")))
    records.of("DiagnosticReport")[0]["status"] = "cancelled"
    assert records.send(bundle(Outcome.FINDING, 2)).state is State.AMENDS


def test_a_series_that_was_read_and_then_refused_leaves_its_order() -> None:
    """The draft loses order, value and conclusion code: what remains is of no order and of no patient's finding."""
    records = Records()
    records.send(bundle(Outcome.FINDING))
    assert records.of("DiagnosticReport")[0]["basedOn"]
    assert records.send(report.build(refusal_of("amend", revision=2))).state is State.AMENDS
    (refused,) = records.of("DiagnosticReport")
    assert refused["status"] == "registered"
    assert not {"basedOn", "conclusionCode"} & set(refused)
    (unread,) = [item for item in records.of("Observation") if item["status"] == "cancelled"]
    assert "dataAbsentReason" in unread
    assert not {"basedOn", "component", "valueCodeableConcept"} & set(unread)
