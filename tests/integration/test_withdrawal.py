"""Results that were sent are withdrawn: from a real Orthanc, a FHIR server and an HL7 v2 receiver."""

from __future__ import annotations

import io
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.uid import KeyObjectSelectionDocumentStorage
from typer.testing import CliRunner

from dicom_node.audit import trail as audit
from dicom_node.cli import app
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import REJECTION, WITHDRAWAL
from dicom_node.jobs.status import DeliveryState, JobState
from pipeline.report.withdrawal import FILENAME, Reason, Withdrawal
from tests.peers.engine import Node
from tests.peers.fhir_server import FhirServer
from tests.peers.hl7v2 import MllpReceiver
from tests.peers.orthanc import OrthancPeer, require_orthanc
from tests.peers.ports import free_port
from tests.peers.settings_text import address

pytestmark = pytest.mark.slow
WHY = "The images are of another patient: Ä"


def withdraw(node: Node, job: SeriesJob, *more: str) -> str:
    return run(node, "results", "withdraw", job.job_id, "--why", WHY, "--reason", "wrong-patient", *more)


def run(node: Node, *arguments: str) -> str:
    answer = CliRunner().invoke(app, [*arguments, "--config", str(node.config)], catch_exceptions=True)
    return answer.output if answer.exit_code == 0 else f"{answer.exit_code}: {answer.exception}"


def notes(orthanc: OrthancPeer) -> list[pydicom.Dataset]:
    """The Key Object Selections that Orthanc has."""
    with orthanc.client() as client:
        names = httpx.get(f"{orthanc.url}/instances", trust_env=False).json()
        found = [pydicom.dcmread(io.BytesIO(client.download(name))) for name in names]
    return [ds for ds in found if ds.SOPClassUID == KeyObjectSelectionDocumentStorage]


def test_what_was_sent_is_withdrawn_everywhere_once(tmp_path: Path, own_fhir_server: FhirServer) -> None:
    """The PACS has a rejection note of every object, the FHIR server a report in error, the RIS a message with W; all
    of it survives that no worker runs and that one is killed, and a second command changes nothing.
    """
    require_orthanc()
    orthanc = OrthancPeer(tmp_path / "orthanc", free_port(), free_port(), candela_port=free_port())
    with orthanc, MllpReceiver() as ris:
        tables: dict[str, Any] = {
            "pacs": {"kind": "dicom", "peer": address(orthanc.dicom_port, orthanc.ae_title)},
            "ehr": {"kind": "fhir", "url": own_fhir_server.url},
            "ris": {"kind": "hl7v2", "host": "127.0.0.1", "port": ris.port},
            "archive": {"kind": "folder", "path": str(tmp_path / "archive")},
        }
        node = Node(tmp_path, None, tables)
        try:
            job = node.job("withdrawn", rule="reported")
            node.client.submit(job)
            worker = node.start()
            node.wait_for(job, JobState.DONE)
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            first = withdraw(node, job)
            assert sorted(line for line in first.splitlines() if "is sent to" in line) == [
                f"{REJECTION} is sent to archive",
                f"{REJECTION} is sent to pacs",
                f"{WITHDRAWAL} is sent to archive",
                f"{WITHDRAWAL} is sent to ehr",
                f"{WITHDRAWAL} is sent to ris",
            ]
            assert node.client.show(job.job_id).state is JobState.DELIVERING
            node.start()
            node.wait_for(job, JobState.WITHDRAWN)
            assert "that reason stays" in withdraw(node, job)
            assert "nothing of this job" in run(node, "jobs", "retry", job.job_id)
            detail = node.wait_for(job, JobState.WITHDRAWN)
            (note,) = notes(orthanc)
        finally:
            node.close()

    withdrawn = [row for row in detail.deliveries if row.result in {REJECTION, WITHDRAWAL}]
    assert len(withdrawn) == 5
    assert all((row.state, row.tries.attempts) == (DeliveryState.DELIVERED, 1) for row in withdrawn)
    title = note.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodeMeaning) == ("113037", "Rejected for Patient Safety Reasons")
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    named = [item for series in study.ReferencedSeriesSequence for item in series.ReferencedSOPSequence]
    sent = {item.ReferencedSOPInstanceUID for item in named}
    results = [pydicom.dcmread(path) for path in (tmp_path / "data" / "results").rglob("*-[12].dcm")]
    results += [pydicom.dcmread(path) for path in (tmp_path / "data" / "results").rglob("report.dcm")]
    assert sent == {ds.SOPInstanceUID for ds in results}
    assert len(sent) == 3
    assert (note.StudyInstanceUID, str(note.PatientName)) == (results[0].StudyInstanceUID, "Prüfung^Ärztin")

    original, w = ris.taken
    assert [str(original.segment("OBR")[3]), str(original.segment("PID")[3])] == [
        str(w.segment("OBR")[3]),
        str(w.segment("PID")[3]),
    ]
    assert str(w.segment("OBR")[25]) == "C"
    assert [(str(x[3]), str(x[4])) for x in w.segments("OBX")] == [
        (str(x[3]), str(x[4])) for x in original.segments("OBX")
    ]
    assert {str(x[11]) for x in w.segments("OBX")} == {"W"}
    assert [bool(str(x[5])) for x in w.segments("OBX")] == [True] + [False] * (len(w.segments("OBX")) - 1)
    assert WHY in str(w.segments("OBX")[0][5])

    report = next(entry["resource"] for entry in own_fhir_server.get("DiagnosticReport")["entry"])
    assert report["status"] == "entered-in-error"
    assert WHY in report["conclusion"]
    assert "presentedForm" not in report
    observations = [entry["resource"] for entry in own_fhir_server.get("Observation", _count="50")["entry"]]
    assert {item["status"] for item in observations} == {"entered-in-error"}
    told = [entry["resource"] for entry in own_fhir_server.get("Provenance")["entry"]]
    assert [item["activity"]["coding"][0]["code"] for item in told] == ["CREATE", "NULLIFY"]
    assert told[1]["reason"] == [{"text": WHY}]

    assert (tmp_path / "archive" / "data" / FILENAME).is_file()
    lines = [line for day in audit.files(node.settings.audit_dir) for line in audit.read(day)]
    assert [line["what"] for line in lines].count("results withdrawn (wrong-patient)") == 1
    assert [line["what"] for line in lines].count(REJECTION) == 2
    assert not any(WHY in str(line) for line in lines)


def test_what_was_not_sent_is_not_withdrawn(tmp_path: Path) -> None:
    """An unknown job, one that is not read yet, and one whose deliveries wait: refused, with what to do."""
    node = Node(tmp_path, None, {"ehr": {"kind": "hl7v2", "host": "127.0.0.1", "port": free_port(), "enabled": True}})
    try:
        job = node.job()
        assert "There is no such job" in withdraw(node, job)
        node.client.submit(job)
        assert "`candela jobs cancel JOB`" in withdraw(node, job)
        assert not (node.data_dir / FILENAME).exists()
    finally:
        node.close()


def test_what_still_waits_when_results_are_withdrawn_is_never_sent(tmp_path: Path) -> None:
    """The PACS is down, the RIS has its report: after the withdrawal the PACS, back again, gets nothing."""
    dead = free_port()
    with MllpReceiver() as ris:
        tables: dict[str, Any] = {
            "pacs": {"kind": "dicom", "peer": address(dead)},
            "ris": {"kind": "hl7v2", "host": "127.0.0.1", "port": ris.port},
        }
        node = Node(tmp_path, None, tables, backoff_first=30.0, delivery_tries=50)
        try:
            job = node.job("half", rule="reported")
            node.client.submit(job)
            node.start()
            states = {"ris": DeliveryState.DELIVERED, "pacs": DeliveryState.RETRYING}
            node.wait(
                lambda: (
                    (rows := node.client.show(job.job_id).deliveries) != ()
                    and all(row.state is states[row.destination] for row in rows)
                )
            )
            withdraw(node, job)
            node.wait(
                lambda: any(
                    (row.result, row.state) == (WITHDRAWAL, DeliveryState.DELIVERED)
                    for row in node.client.show(job.job_id).deliveries
                )
            )
            assert "nothing of this job" in run(node, "jobs", "retry", job.job_id)
            rows = {(row.destination, row.result): row.state for row in node.client.show(job.job_id).deliveries}
        finally:
            node.close()
    assert len(ris.taken) == 2
    assert rows["pacs", "overlay"] is DeliveryState.CANCELLED
    # It was tried: part of it may have arrived. The note says so when the PACS is back.
    assert rows["pacs", REJECTION] in {DeliveryState.PENDING, DeliveryState.RETRYING, DeliveryState.RUNNING}


def test_a_delivery_that_begins_after_the_withdrawal_sends_nothing(tmp_path: Path) -> None:
    """Between the record of a withdrawal and the end of its command another process may start a delivery."""
    with MllpReceiver() as ris:
        node = Node(tmp_path, None, {"ris": {"kind": "hl7v2", "host": "127.0.0.1", "port": ris.port}})
        try:
            job = node.job("late", rule="reported")
            said = Withdrawal(job.job_id, Reason.QUALITY, "blurred", datetime(2026, 11, 30, tzinfo=UTC), "tester")
            (node.data_dir / FILENAME).write_bytes(said.to_json())
            node.client.submit(job)
            node.start()
            detail = node.wait_for(job, JobState.SUPERSEDED)
        finally:
            node.close()
    assert not ris.taken
    assert "withdrawn" in (detail.deliveries[0].receipt or "")
