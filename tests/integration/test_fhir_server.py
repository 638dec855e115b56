"""Reports to a real R4 server: validated, stored once, found again, tied to the patient it knows."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest

from fhir import report
from fhir.bundle.context import REPORT_TAG
from fhir.server.client import FhirClient
from fhir.server.subjects import logical_references
from pipeline.errors import PeerUnavailable, Rejected
from pipeline.findings.model import Outcome
from tests.peers.fhir_bundles import PATIENT_SYSTEM, READ, bundle_of, content_of, references, refusal_of, resources
from tests.peers.fhir_server import FhirServer
from tests.peers.http import Asked, HttpPeer, Reply
from tests.peers.ports import free_port

KINDS = ("ImagingStudy", "Device", "BodyStructure", "Observation", "Media", "DiagnosticReport", "Provenance")


@pytest.fixture(scope="module")
def server(fhir_server: FhirServer) -> FhirServer:
    return fhir_server


def counts(server: FhirServer) -> dict[str, int]:
    return {kind: server.count(kind) for kind in KINDS}


def patient(key: str, system: str = PATIENT_SYSTEM) -> dict[str, Any]:
    return {"resourceType": "Patient", "identifier": [{"system": system, "value": f"PHANTOM-{key}"}]}


def stored_report(server: FhirServer, bundle: dict[str, Any]) -> dict[str, Any]:
    """The one report that a search by its identifier finds."""
    identifier = resources(bundle, "DiagnosticReport")[0]["identifier"][0]
    found = server.get("DiagnosticReport", identifier=f"{identifier['system']}|{identifier['value']}")
    (entry,) = found["entry"]
    return entry["resource"]


@pytest.mark.parametrize("outcome", READ)
def test_a_report_is_stored_once_however_often_it_is_sent(server: FhirServer, outcome: Outcome) -> None:
    """All three validators take it; the second and third time change nothing; another recording time neither."""
    bundle = bundle_of(outcome, key=f"once-{outcome}")
    before, client = counts(server), FhirClient(server.url)
    first = client.send(bundle)
    stored = counts(server)
    assert len(first.created) + len(first.existing) == len(bundle["entry"])
    assert {item.split("/")[0] for item in first.existing} <= {"Device"}  # one device for all runs of a model
    for kind in set(KINDS) - {"Device"}:
        assert stored[kind] - before[kind] == len(resources(bundle, kind))
    again = [client.send(bundle), client.send(bundle)]
    assert [(receipt.created, receipt.updated) for receipt in again] == [((), ()), ((), ())]
    assert set(again[0].existing) == {*first.created, *first.existing}
    assert counts(server) == stored


def test_what_a_radiologist_made_of_it_survives_a_resend(server: FhirServer) -> None:
    """A report that is final by now is not turned back."""
    bundle, client = bundle_of(Outcome.FINDING, key="final"), FhirClient(server.url)
    client.send(bundle)
    report = stored_report(server, bundle) | {"status": "final"}
    response = server.put(report)
    assert response["status"] == "final"
    client.send(bundle)
    assert stored_report(server, bundle)["status"] == "final"


def test_a_stored_report_leads_to_its_parts(server: FhirServer) -> None:
    """References in the Bundle became references to stored resources."""
    bundle = bundle_of(Outcome.FINDING, key="parts")
    FhirClient(server.url).send(bundle)
    report = stored_report(server, bundle)
    study = server.get(report["imagingStudy"][0]["reference"])
    assert study["identifier"] == resources(bundle, "ImagingStudy")[0]["identifier"]
    observations = [server.get(item["reference"]) for item in report["result"]]
    assert len(observations) == len(resources(bundle, "Observation"))
    assert all(server.get(item["device"]["reference"])["resourceType"] == "Device" for item in observations)
    assert server.get(report["media"][0]["link"]["reference"])["content"]["contentType"].startswith("image/")


def test_the_one_patient_that_matches_is_referenced(server: FhirServer) -> None:
    """Every resource then points at the server's Patient, and the order is found within that patient."""
    known = server.post(patient("known"))
    order = server.post(
        {
            "resourceType": "ServiceRequest",
            "status": "active",
            "intent": "order",
            "identifier": [{"system": "urn:oid:1.2.9", "value": "ACC-known"}],
            "subject": {"reference": f"Patient/{known['id']}"},
        }
    )
    before = server.count("Patient"), server.count("ServiceRequest")
    bundle = bundle_of(Outcome.NO_FINDING, key="known")
    untouched = copy.deepcopy(bundle)
    FhirClient(server.url).send(bundle)
    report = stored_report(server, bundle)
    assert report["subject"]["reference"] == f"Patient/{known['id']}"
    assert report["basedOn"][0]["reference"] == f"ServiceRequest/{order['id']}"
    observation = server.get(report["result"][0]["reference"])
    assert observation["subject"]["reference"] == f"Patient/{known['id']}"
    assert (server.count("Patient"), server.count("ServiceRequest")) == before
    assert bundle == untouched


def test_a_later_revision_amends_the_report_on_the_server(server: FhirServer) -> None:
    """One report, updated where it was; what vanished is marked; resends of either revision change nothing more."""
    client = FhirClient(server.url)
    first, second = (report.build(content_of(Outcome.FINDING, "late", revision=number)) for number in (1, 2))
    client.send(first)
    before = stored_report(server, first)
    receipt = client.send(second)
    after = stored_report(server, first)
    assert (after["id"], after["status"], after["meta"]["versionId"]) != (before["id"], "final", "1")
    assert after["id"] == before["id"]
    assert "this replaces" in after["conclusion"]
    assert {item["reference"] for item in after["result"]} == {item["reference"] for item in before["result"]}
    assert f"DiagnosticReport/{before['id']}" in receipt.updated
    assert "is amended" in str(receipt)
    stored = counts(server)
    client.send(second)
    assert "nothing sent" in str(client.send(first))
    assert counts(server) == stored
    third = report.build(content_of(Outcome.NO_FINDING, "late", revision=3))
    client.send(third)
    tag = next(item for item in resources(first, "Observation")[0]["meta"]["tag"] if item["system"] == REPORT_TAG)
    found = server.get("Observation", _tag=f"{tag['system']}|{tag['code']}", _count="50")["entry"]
    statuses = [entry["resource"]["status"] for entry in found]
    assert (statuses.count("entered-in-error"), statuses.count("preliminary")) == (4, 5)
    now = stored_report(server, first)
    assert now["id"] == before["id"]
    assert len(now["result"]) == 5


def test_a_later_revision_leaves_what_a_human_finalised(server: FhirServer) -> None:
    """It stands beside it, and the receipt says so."""
    client = FhirClient(server.url)
    first, second = (report.build(content_of(Outcome.FINDING, "signed", revision=number)) for number in (1, 2))
    client.send(first)
    signed = server.put(stored_report(server, first) | {"status": "final"})
    assert "finalised by a human" in str(client.send(second))
    client.send(second)
    identifier = resources(first, "DiagnosticReport")[0]["identifier"][0]
    found = server.get("DiagnosticReport", identifier=f"{identifier['system']}|{identifier['value']}")["entry"]
    assert sorted(entry["resource"]["status"] for entry in found) == ["final", "preliminary"]
    assert server.get(f"DiagnosticReport/{signed['id']}")["meta"] == signed["meta"]


def test_two_matching_patients_are_told(server: FhirServer) -> None:
    """The job's receipt says why the report names nobody."""
    for _ in range(2):
        server.post(patient("double"))
    receipt = FhirClient(server.url).send(bundle_of(Outcome.NO_FINDING, key="double"))
    assert "more than one Patient matches" in str(receipt)


def test_a_refusal_is_stored_as_a_report_that_is_of_no_order(server: FhirServer) -> None:
    """Registered; all validators take it."""
    bundle = report.build(refusal_of("refused-here"))
    FhirClient(server.url).send(bundle)
    stored = stored_report(server, bundle)
    assert stored["status"] == "registered"
    assert "basedOn" not in stored


@pytest.mark.parametrize("refused_first", [True, False])
def test_a_refusal_and_a_reading_of_one_series_replace_each_other(server: FhirServer, refused_first: bool) -> None:
    """The server validates each update: no Observation has a value and a reason why it has none (obs-6)."""
    key, client = f"turn-{refused_first}", FhirClient(server.url)
    order = [1, 2] if refused_first else [2, 1]
    refused = report.build(refusal_of(key, revision=order[0]))
    read = bundle_of(Outcome.NO_FINDING, key=key, revision=order[1])
    first, second = (refused, read) if refused_first else (read, refused)
    client.send(first)
    assert client.send(second).updated
    stored = stored_report(server, second)
    assert stored["status"] == ("preliminary" if refused_first else "registered")
    assert ("basedOn" in stored) is refused_first


@pytest.mark.parametrize(("key", "matches"), [("unknown", 0), ("twice", 2)])
def test_no_patient_or_two_keep_the_logical_reference(server: FhirServer, key: str, matches: int) -> None:
    """The report is stored, by identifier; no Patient is invented, none is chosen."""
    for _ in range(matches):
        server.post(patient(key))
    patients = server.count("Patient")
    bundle = bundle_of(Outcome.NO_FINDING, key=key)
    FhirClient(server.url).send(bundle)
    report = stored_report(server, bundle)
    assert "reference" not in report["subject"]
    assert report["subject"]["identifier"]["value"] == f"PHANTOM-{key}"
    assert "reference" not in report["basedOn"][0]
    assert server.count("Patient") == patients


def test_a_number_of_another_issuer_is_another_patient(server: FhirServer) -> None:
    """The system must match, not the number alone."""
    server.post(patient("elsewhere", system="urn:oid:1.9.9"))
    bundle = bundle_of(Outcome.NO_FINDING, key="elsewhere")
    assert FhirClient(server.url).resolve(bundle) == bundle


def test_a_configured_system_finds_patients_without_issuer(server: FhirServer) -> None:
    """Most headers name no issuer; the administrator knows it."""
    known = server.post(patient("plain", system="https://mary.example/mrn"))
    bundle = bundle_of(Outcome.NO_FINDING, key="plain", IssuerOfPatientID="")
    assert logical_references(FhirClient(server.url).resolve(bundle), "Patient")
    resolved = FhirClient(server.url, patient_system="https://mary.example/mrn").resolve(bundle)
    subjects = [item for item in references(resolved) if item["type"] == "Patient"]
    assert {item["reference"] for item in subjects} == {f"Patient/{known['id']}"}


def test_names_that_break_formats_arrive_whole(server: FhirServer) -> None:
    """Markup, quotes, backslash, accents, emoji."""
    name = 'Mü<b>"\\&^Änne 😀 Ω'
    bundle = bundle_of(Outcome.NO_FINDING, key='odd|,"$', PatientName=name, AccessionNumber='A<>"&|1')
    known = server.post(patient('odd|,"$'))
    FhirClient(server.url).send(bundle)
    report = stored_report(server, bundle)
    assert report["subject"]["display"] == resources(bundle, "DiagnosticReport")[0]["subject"]["display"]
    assert "😀 Ω" in report["subject"]["display"]
    assert report["basedOn"][0]["identifier"]["value"] == 'A<>"&|1'
    assert report["subject"].get("reference") in (None, f"Patient/{known['id']}")


def test_a_wrong_resource_rejects_the_whole_bundle(server: FhirServer) -> None:
    """What is wrong is told, nothing of the transaction is stored, and the patient is not named."""
    bundle = bundle_of(Outcome.FINDING, key="wrong")
    resources(bundle, "DiagnosticReport")[0]["status"] = "PHANTOM-wrong"
    before = counts(server)
    with pytest.raises(Rejected, match="status") as caught:
        FhirClient(server.url).send(bundle)
    assert "PHANTOM" not in str(caught.value)
    assert counts(server) == before


@pytest.mark.parametrize(
    ("mend", "said"),
    [
        (lambda report: report.pop("code"), "code"),
        (lambda report: report.update(study=[]), "study"),
        (lambda report: report.update(result=[]), "empty"),
        (lambda report: report.update(issued="yesterday"), "issued"),
        (lambda report: report["presentedForm"][0].update(data="@@@"), "base64|data"),
        (
            lambda report: report["imagingStudy"][0].update(reference="Patient/1", type="Patient"),
            "imagingStudy|Patient",
        ),
    ],
)
def test_the_servers_validators_can_fail(server: FhirServer, mend: Any, said: str) -> None:
    """Zero errors mean something only where errors are found."""
    bundle = bundle_of(Outcome.NO_FINDING, key="validators")
    mend(resources(bundle, "DiagnosticReport")[0])
    with pytest.raises(Rejected, match=said):
        FhirClient(server.url).send(bundle)


BUNDLE_ANSWER = {"resourceType": "Bundle", "type": "transaction-response"}


def issue(text: str) -> dict[str, Any]:
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "invalid", "diagnostics": text}],
    }


def test_identifiers_travel_in_bodies_and_never_in_urls_or_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Proxies and libraries log URLs."""
    bundle = bundle_of(Outcome.NO_FINDING, key="secret")
    with caplog.at_level(logging.DEBUG), HttpPeer(lambda _: Reply(200, BUNDLE_ANSWER)) as peer:
        FhirClient(f"{peer.url}/fhir").send(bundle)
    assert [asked.path for asked in peer.asked] == [
        "/fhir/Patient/_search",
        "/fhir/DiagnosticReport/_search",
        "/fhir/ImagingStudy/_search",
        "/fhir",
    ]
    assert b"PHANTOM-secret" in peer.asked[0].body
    assert "secret" not in caplog.text
    assert not any("secret" in asked.path for asked in peer.asked)


def test_a_server_that_lets_nobody_search_still_gets_the_report() -> None:
    """403 on the search: the reference stays logical."""

    def answer(asked: Asked) -> Reply:
        return Reply(403, issue("no")) if asked.path.endswith("_search") else Reply(200, BUNDLE_ANSWER)

    with HttpPeer(answer) as peer:
        FhirClient(peer.url).send(bundle_of(Outcome.NO_FINDING, key="forbidden"))
    sought = ["Patient/_search", "DiagnosticReport/_search", "ImagingStudy/_search", ""]
    assert [asked.path.strip("/") for asked in peer.asked] == sought


def test_diagnostics_are_shown_without_the_patient() -> None:
    """The administrator reads what is wrong; who the patient is stands elsewhere."""
    said = "Reference PHANTOM-echo of Phantom, Candela (ACC-echo) fails ref-1"
    with HttpPeer(lambda _: Reply(422, issue(said))) as peer, pytest.raises(Rejected) as caught:
        FhirClient(peer.url).send(bundle_of(Outcome.NO_FINDING, key="echo") | {"total": 1})
    assert "ref-1" in str(caught.value)
    for text in ("echo", "Phantom", "Candela"):
        assert text not in str(caught.value)


def test_a_failed_entry_of_a_200_is_a_failure() -> None:
    """Some servers answer 200 with entries that are not; the entry's status and outcome decide."""
    entries = [{"response": {"status": "201 Created", "location": "https://x/fhir/Device/1/_history/1"}}]
    failed = {"response": {"status": "422", "outcome": issue("bad code")}}
    with (
        HttpPeer(lambda _: Reply(200, BUNDLE_ANSWER | {"entry": [*entries, failed]})) as peer,
        pytest.raises(Rejected, match=r"422: bad code.*entry 1"),
    ):
        FhirClient(peer.url).send({"resourceType": "Bundle", "type": "transaction"})
    with HttpPeer(lambda _: Reply(200, BUNDLE_ANSWER | {"entry": entries})) as peer:
        assert FhirClient(peer.url).send({}).created == ("Device/1",)


def test_another_service_at_the_url_is_told() -> None:
    """A log-in page answers 200 to everything."""
    with HttpPeer(lambda _: Reply(200, "welcome")) as peer, pytest.raises(Rejected, match="not with a transaction"):
        FhirClient(peer.url).send({})


def test_a_slow_server_is_unavailable() -> None:
    """The timeout is the setting's."""
    import threading

    release = threading.Event()

    def answer(_: Asked) -> Reply:
        release.wait(10)
        return Reply(200, BUNDLE_ANSWER)

    with HttpPeer(answer) as peer:
        with pytest.raises(PeerUnavailable, match=r"within 0\.2 s"):
            FhirClient(peer.url, timeout=0.2).send({})
        release.set()


def test_a_server_that_is_down_is_unavailable_and_its_password_untold() -> None:
    """Connection refused; a URL may hold credentials, an error may not."""
    with pytest.raises(PeerUnavailable) as caught:
        FhirClient(f"http://user:geheim@127.0.0.1:{free_port()}/fhir").send({})
    assert "geheim" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)
