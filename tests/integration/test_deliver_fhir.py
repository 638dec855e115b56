"""The report to a FHIR server, through the engine: which answers are final and which are tried again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.audit import trail as audit
from dicom_node.deliver.fhir import FhirSender
from dicom_node.jobs.status import DeliveryState, JobState
from dicom_node.settings.destinations import FhirDestination
from fhir.bundle import assessment
from pipeline.errors import PeerUnavailable
from pipeline.findings.model import Outcome
from pipeline.report.assessment import Outline, StatedAssessment, Verdict
from tests.peers.engine import Node
from tests.peers.fhir_bundles import bundle_of, content_of
from tests.peers.fhir_server import FhirServer
from tests.peers.http import Asked, HttpPeer, Reply
from tests.peers.ports import free_port

STORED = {"response": {"status": "201 Created", "location": "DiagnosticReport/1/_history/1"}}
ACCEPTED = Reply(200, {"resourceType": "Bundle", "type": "transaction-response", "entry": [STORED]})


def outcome(text: str) -> dict[str, object]:
    issue = {"severity": "error", "code": "invalid", "diagnostics": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[HttpPeer], Node]]:
    """Starts one job whose only destination is the given server."""
    nodes: list[Node] = []

    def go(server: HttpPeer) -> Node:
        node = Node(tmp_path, None, {"ehr": {"kind": "fhir", "url": f"{server.url}/fhir", "bearer_token": "geheim"}})
        nodes.append(node)
        node.client.submit(node.job())
        node.start()
        return node

    yield go
    for node in nodes:
        node.close()


def test_the_bundle_is_posted_once(start: Callable[[HttpPeer], Node]) -> None:
    """One POST of the transaction, with the token; DICOM results do not go there."""
    with HttpPeer(lambda _: ACCEPTED) as server:
        detail = (node := start(server)).wait_for(node.job(), JobState.DONE)
    assert [(row.result, row.state) for row in detail.deliveries] == [("fhir-bundle", DeliveryState.DELIVERED)]
    assert detail.deliveries[0].receipt == "1 resources created"
    assert [(asked.method, asked.path.rstrip("/")) for asked in server.asked if asked.method != "GET"] == [
        ("POST", "/fhir")
    ]
    posted = next(asked for asked in server.asked if asked.method == "POST")
    assert json.loads(posted.body)["type"] == "transaction"
    assert posted.headers["Authorization"] == "Bearer geheim"


def test_400_is_a_dead_letter_at_once_with_the_servers_words(
    start: Callable[[HttpPeer], Node],
) -> None:
    """The OperationOutcome is what an administrator needs to read."""
    with HttpPeer(lambda _: Reply(400, outcome("status is not in the value set"))) as server:
        detail = (node := start(server)).wait_for(node.job(), JobState.DEAD)
    row = detail.deliveries[0]
    assert (row.state, row.tries.attempts) == (DeliveryState.DEAD, 1)
    assert row.tries.last_failure is not None
    assert row.tries.last_failure.code == "REJECTED"
    assert "status is not in the value set" in row.tries.last_failure.text


def test_500_is_tried_again_until_it_goes_well(start: Callable[[HttpPeer], Node]) -> None:
    """Two failures, then accepted: three attempts, each in the audit trail."""
    posts: list[Asked] = []

    def answer(asked: Asked) -> Reply:
        posts.append(asked)
        return ACCEPTED if len(posts) > 2 else Reply(500, outcome("database down"))

    with HttpPeer(answer) as server:
        detail = (node := start(server)).wait_for(node.job(), JobState.DONE)
    row = detail.deliveries[0]
    assert (row.state, row.tries.attempts) == (DeliveryState.DELIVERED, 3)
    (day,) = audit.files(node.settings.audit_dir)
    records = list(audit.read(day))
    assert [(item["outcome"], item["reason"]) for item in records] == [
        (audit.OutcomeIndicator.MINOR_FAILURE, "PEER_UNAVAILABLE"),
        (audit.OutcomeIndicator.MINOR_FAILURE, "PEER_UNAVAILABLE"),
        (audit.OutcomeIndicator.SUCCESS, ""),
    ]
    assert {item["destination"]["address"] for item in records} == {f"{server.url}/fhir"}
    assert {item["studies"][0] for item in records} == {node.job().study_instance_uid}
    assert row.tries.last_failure is not None
    assert row.tries.last_failure.again
    assert row.receipt


def test_retry_after_is_obeyed(start: Callable[[HttpPeer], Node]) -> None:
    """A server that asks for an hour gets an hour, though the backoff is a fraction of a second."""
    with HttpPeer(lambda _: Reply(503, outcome("maintenance"), {"Retry-After": "3600"})) as server:
        node = start(server)
        node.wait(lambda: any(row.tries.next_try for row in node.client.list()[0].deliveries))
        detail = node.client.list()[0]
    row = detail.deliveries[0]
    assert (row.state, row.tries.attempts) == (DeliveryState.RETRYING, 1)
    assert row.tries.next_try is not None
    assert (row.tries.next_try - detail.updated_at).total_seconds() > 3500


def test_a_server_that_is_down_is_unavailable(tmp_path: Path) -> None:
    """Connection refused is tried again later."""
    (tmp_path / "bundle.json").write_text("{}")
    sender = FhirSender(FhirDestination(kind="fhir", url=f"http://127.0.0.1:{free_port()}/fhir"), tmp_path)
    with pytest.raises(PeerUnavailable):
        sender.send((tmp_path / "bundle.json",))


def test_a_patient_whose_issuer_names_no_system_is_found_by_the_configured_one(
    fhir_server: FhirServer, tmp_path: Path
) -> None:
    """Nearly no scanner writes an issuer: the administrator says once whose numbers they are."""
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:oid:1.2.3", "value": "PHANTOM-system"}]}
    created = fhir_server.post(patient)
    path = tmp_path / "fhir-bundle.json"
    path.write_text(json.dumps(bundle_of(Outcome.FINDING, "system", IssuerOfPatientID=None)))
    destination = FhirDestination(kind="fhir", url=fhir_server.url, patient_system="urn:oid:1.2.3")
    FhirSender(destination, tmp_path).send((path,))
    (entry,) = fhir_server.get("DiagnosticReport", subject=f"Patient/{created['id']}")["entry"]
    assert entry["resource"]["subject"]["reference"] == f"Patient/{created['id']}"


def test_a_readers_assessment_is_stored_once_beside_the_report_of_its_patient(
    fhir_server: FhirServer, tmp_path: Path
) -> None:
    content = replace(content_of(Outcome.FINDING, "assessed"), picture=None)
    number = content.patient.identifier
    assert number is not None
    patient = fhir_server.post(
        {"resourceType": "Patient", "identifier": [{"system": number.system, "value": number.value}]}
    )
    said = StatedAssessment(
        1,
        Verdict.REJECTED,
        "none",
        False,
        Outline.WRONG,
        "Nothing there.",
        "anna",
        datetime(2026, 11, 30, 9, tzinfo=UTC),
    )
    path = tmp_path / "1.R4.json"
    path.write_text(json.dumps(assessment.build(content, said)))
    sender = FhirSender(FhirDestination(kind="fhir", url=fhir_server.url), tmp_path)
    sender.send((path,))
    assert "1 there already" in sender.send((path,))
    (entry,) = fhir_server.get("Observation", identifier=f"urn:oid:{said.uid(content)}")["entry"]
    assert entry["resource"]["subject"]["reference"] == f"Patient/{patient['id']}"
    assert entry["resource"]["valueCodeableConcept"]["coding"][0]["code"] == "rejected"
