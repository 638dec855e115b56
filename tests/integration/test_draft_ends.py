"""A draft at a real FHIR server ends when a radiologist's final report of the same order is there."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from dicom_node.audit import trail as audit
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import CLOSING
from dicom_node.jobs.status import DeliveryRow, DeliveryState, JobState
from fhir import report
from fhir.server.client import FhirClient
from pipeline.findings.model import Outcome
from tests.peers.engine import Node
from tests.peers.fhir_bundles import PATIENT_SYSTEM, content_of
from tests.peers.fhir_server import FhirServer

Json = dict[str, Any]
ACCESSIONS = "urn:hospital:accessions"


def number(system: str, value: str) -> Json:
    return {"system": system, "value": value}


def final(subject: Json, **more: Any) -> Json:
    """A radiologist's report."""
    code = {"text": "MR brain"}
    return {"resourceType": "DiagnosticReport", "status": "final", "code": code, "subject": subject, **more}


def draft(server: FhirServer, made: Json) -> Json:
    lasting = next(item["resource"] for item in made["entry"] if item["resource"]["resourceType"] == "DiagnosticReport")
    identifier = lasting["identifier"][0]
    (entry,) = server.get("DiagnosticReport", identifier=f"{identifier['system']}|{identifier['value']}")["entry"]
    found: Json = entry["resource"]
    return found


@pytest.mark.parametrize("singly", [False, True])
def test_only_a_final_report_of_the_same_order_and_patient_ends_it(own_fhir_server: FhirServer, singly: bool) -> None:
    """By basedOn where the server knows the order; reports of others, drafts and other orders end nothing."""
    key = f"ends-{singly}"
    patient = own_fhir_server.post({"resourceType": "Patient", "identifier": [number(PATIENT_SYSTEM, f"P-{key}")]})
    stranger = own_fhir_server.post({"resourceType": "Patient", "identifier": [number(PATIENT_SYSTEM, f"Q-{key}")]})
    subject = {"reference": f"Patient/{patient['id']}"}
    order = {"resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": subject}
    mine, other = (
        own_fhir_server.post({**order, "identifier": [number(ACCESSIONS, f"{name}-{key}")]}) for name in ("A", "B")
    )
    based = {"basedOn": [{"reference": f"ServiceRequest/{mine['id']}"}]}
    made = report.build(
        content_of(
            Outcome.FINDING, key, PatientID=f"P-{key}", IssuerOfPatientID=PATIENT_SYSTEM, AccessionNumber=f"A-{key}"
        )
    )
    client = FhirClient(own_fhir_server.url, patient_system=PATIENT_SYSTEM, accession_system=ACCESSIONS, singly=singly)
    client.send(made)
    assert draft(own_fhir_server, made)["basedOn"][0]["reference"] == based["basedOn"][0]["reference"]
    for wrong in (
        final(subject, basedOn=[{"reference": f"ServiceRequest/{other['id']}"}]),
        final({"reference": f"Patient/{stranger['id']}"}, **based),
        {**final(subject, **based), "status": "preliminary"},
    ):
        own_fhir_server.post(wrong)
        assert client.close(made) is None
    assert draft(own_fhir_server, made)["status"] == "preliminary"
    human = own_fhir_server.post(final(subject, **based))
    assert "is closed" in str(client.close(made))
    ended = draft(own_fhir_server, made)
    assert ended["status"] == "unknown"
    links = [item["valueReference"]["reference"] for item in ended["extension"] if "valueReference" in item]
    assert links == [f"DiagnosticReport/{human['id']}"]
    assert "A radiologist has reported" in ended["conclusion"]
    for item in ended["result"]:
        assert own_fhir_server.get(item["reference"])["status"] == "unknown"
    assert own_fhir_server.get(f"DiagnosticReport/{human['id']}")["status"] == "final"
    assert "is no draft any more" in str(client.close(made))


def test_a_draft_that_nobody_reports_on_stays_without_a_dead_letter(
    tmp_path: Path, own_fhir_server: FhirServer
) -> None:
    ehr: dict[str, Any] = {"kind": "fhir", "url": own_fhir_server.url, "accession_system": ACCESSIONS}
    ehr |= {"final_report_every": "1s", "final_report_most": "2s"}
    node = Node(tmp_path, None, {"ehr": ehr}, backoff_first=0.1, backoff_most=0.2)
    try:
        job = node.job("stays", rule="reported")
        node.client.submit(job)
        node.start()
        node.wait(lambda: node.client.show(job.job_id).state is JobState.DONE)
        node.wait(lambda: closing_row(node, job).state is DeliveryState.DELIVERED)
        assert "stays preliminary" in (closing_row(node, job).receipt or "")
    finally:
        node.close()


def test_the_node_looks_again_until_it_is_there_and_the_job_is_done_meanwhile(
    tmp_path: Path, own_fhir_server: FhirServer
) -> None:
    """A worker that is killed forgets nothing; a job whose draft nobody reports on ends without a dead letter."""
    ehr = {"kind": "fhir", "url": own_fhir_server.url, "accession_system": ACCESSIONS, "final_report_every": "1s"}
    node = Node(tmp_path, None, {"ehr": {**ehr, "final_report_most": "90s"}}, backoff_first=0.1, backoff_most=0.2)
    try:
        job = node.job("ends", rule="reported")
        node.client.submit(job)
        worker = node.start()
        node.wait_for(job, JobState.DONE)
        node.wait(lambda: closing_row(node, job).tries.attempts >= 2)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        assert node.client.show(job.job_id).state is JobState.DONE
        sent = next(
            entry["resource"]
            for entry in own_fhir_server.get("DiagnosticReport", status="preliminary", _count="50")["entry"]
            if entry["resource"].get("basedOn", [{}])[0].get("identifier", {}).get("value") == "ACC-1"
        )
        own_fhir_server.post(final(sent["subject"], identifier=[number(ACCESSIONS, "ACC-1")]))
        node.start()
        node.wait(lambda: closing_row(node, job).state is DeliveryState.DELIVERED)
        assert "is closed" in (closing_row(node, job).receipt or "")
    finally:
        node.close()
    assert own_fhir_server.get(f"DiagnosticReport/{sent['id']}")["status"] == "unknown"
    (day,) = audit.files(node.settings.audit_dir)
    assert [line["what"] for line in audit.read(day)].count(CLOSING) == 1


def closing_row(node: Node, job: SeriesJob) -> DeliveryRow:
    return next(row for row in node.client.show(job.job_id).deliveries if row.result == CLOSING)
