"""The audit trail in a real FHIR repository: every record once, in order, through failures and restarts."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from dicom_node.audit import forward as audit_forward
from dicom_node.audit import trail as audit
from dicom_node.audit.forward import Forwarder
from dicom_node.audit.trail import ActionCode, Activity, AuditRecord, AuditTrail, OutcomeIndicator, Party
from dicom_node.settings.tree import Settings, load
from fhir.audit_event import audit_event
from fhir.resources.R4B.auditevent import AuditEvent
from fhir.server.client import FhirClient
from pipeline.errors import BadSettings, PeerUnavailable
from tests.peers.fhir_server import FhirServer

SENT = AuditRecord(
    Activity.EXPORT,
    ActionCode.CREATE,
    OutcomeIndicator.SUCCESS,
    source=Party("CANDELA", "node"),
    destination=Party("ehr", "fhir", "https://ehr.example/fhir"),
    what="fhir-bundle",
    count=2,
    studies=("1.2.3",),
    series=("1.2.3.4",),
    job="1.2.3.4:ab:cd",
)
RECEIVED = AuditRecord(
    Activity.TRANSFERRED,
    ActionCode.CREATE,
    OutcomeIndicator.SERIOUS_FAILURE,
    source=Party("CT1", "dicom", "10.0.0.7"),
    destination=Party("CANDELA", "node"),
    reason="UNKNOWN_PEER",
)


@pytest.fixture(scope="module")
def server(fhir_server: FhirServer) -> FhirServer:
    return fhir_server


def lines(folder: Path) -> list[dict[str, Any]]:
    return [record for path in audit.files(folder) for record in audit.read(path)]


def found(server: FhirServer, record: dict[str, Any]) -> int:
    return server.count("AuditEvent", _tag=f"urn:ietf:rfc:3986|urn:uuid:{record['id']}")


def test_each_record_becomes_one_audit_event(server: FhirServer, tmp_path: Path) -> None:
    """All validators of the server take it; forwarding the whole trail again adds none."""
    trail = AuditTrail(tmp_path)
    trail.record(SENT)
    trail.record(RECEIVED)
    before = server.count("AuditEvent")
    forwarder = Forwarder(tmp_path, "CANDELA", FhirClient(server.url).send)
    assert forwarder.forward() == 2
    assert forwarder.forward() == 0
    (tmp_path / audit_forward.POSITION).unlink()
    assert forwarder.forward() == 2
    assert server.count("AuditEvent") == before + 2
    assert [found(server, record) for record in lines(tmp_path)] == [1, 1]


def test_an_event_says_who_what_and_how_it_ended(tmp_path: Path) -> None:
    """Source and destination by role, the study by UID, no patient; R4B's model takes it."""
    trail = AuditTrail(tmp_path)
    trail.record(SENT)
    trail.record(RECEIVED)
    sent, received = (audit_event(record, "CANDELA") for record in lines(tmp_path))
    for event in (sent, received):
        AuditEvent.model_validate(event)
    assert (sent["type"]["code"], sent["action"], sent["outcome"]) == ("110106", "C", "0")
    assert [agent["who"]["display"] for agent in sent["agent"]] == ["CANDELA", "ehr"]
    assert sent["agent"][1]["network"] == {"address": "https://ehr.example/fhir", "type": "5"}
    assert sent["agent"][0]["requestor"]
    assert sent["entity"][0]["what"]["identifier"] == {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}
    assert received["outcome"] == "8"
    assert received["outcomeDesc"] == "UNKNOWN_PEER"
    assert received["agent"][0]["network"] == {"address": "10.0.0.7", "type": "2"}
    assert "entity" not in received


def test_hashed_uids_are_no_uids(tmp_path: Path) -> None:
    """A hash gets no system that says it were one."""
    AuditTrail(tmp_path, plain_uids=False).record(SENT)
    (identifier,) = [item["what"]["identifier"] for item in audit_event(lines(tmp_path)[0], "CANDELA")["entity"][:1]]
    assert "system" not in identifier


def test_a_repository_that_is_down_loses_nothing(tmp_path: Path) -> None:
    """The same records come again, in order, over days; a torn line is passed over once its day has ended."""
    now = datetime(2026, 11, 25, tzinfo=UTC)
    trail = AuditTrail(tmp_path, clock=lambda: now)
    taken: list[int] = []
    down = True

    def post(bundle: dict[str, Any]) -> None:
        if down:
            raise PeerUnavailable("down")
        for entry in bundle["entry"]:
            details = entry["resource"]["entity"][0]["detail"]
            taken.append(int(details[-1]["valueString"]))

    for number in range(150):
        trail.record(replace(SENT, count=number))
    with audit.files(tmp_path)[0].open("ab") as file:
        file.write(b'{"torn')  # a crash
    forwarder = Forwarder(tmp_path, "CANDELA", post)
    for _ in range(2):
        with pytest.raises(PeerUnavailable):
            forwarder.forward()
    down = False
    assert forwarder.forward() == 100
    assert Forwarder(tmp_path, "CANDELA", post).forward() == 50  # a new process goes on
    assert forwarder.forward() == 0
    now += timedelta(days=1)
    trail.record(replace(SENT, count=150))
    while forwarder.forward() or len(taken) < 151:
        pass
    assert taken == list(range(151))


def test_two_processes_do_not_forward_at_once(tmp_path: Path) -> None:
    """The second finds the first at it."""
    AuditTrail(tmp_path).record(SENT)
    busy, release = threading.Event(), threading.Event()

    def slow(_: dict[str, Any]) -> None:
        busy.set()
        release.wait(10)

    first = threading.Thread(target=Forwarder(tmp_path, "CANDELA", slow).forward)
    first.start()
    assert busy.wait(10)
    assert Forwarder(tmp_path, "CANDELA", lambda _: None).forward() == 0
    release.set()
    first.join(10)


def test_a_worker_forwards_what_the_settings_say(
    server: FhirServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the background, as long as it lives; a repository that is no FHIR destination is an error."""
    monkeypatch.setattr(audit_forward, "LOOK_EVERY", 0.05)
    config = tmp_path / "candela.toml"
    text = f"data_dir = {json.dumps(str(tmp_path))}\n[audit]\nrepository = 'arr'\n"
    config.write_text(f"{text}[destinations.arr]\nkind = 'fhir'\nurl = {json.dumps(server.url)}\n")
    settings: Settings = load(config)
    audit.open_trail(settings).record(SENT)
    audit_forward.start(settings)
    (record,) = lines(settings.audit_dir)
    deadline = time.monotonic() + 20
    while not found(server, record):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    config.write_text(text)
    with pytest.raises(BadSettings, match="no destination of kind fhir"):
        load(config)


def test_a_disabled_repository_gets_nothing(tmp_path: Path) -> None:
    """No thread forwards; the position stays, so that all goes once it is enabled."""
    repository = {"kind": "fhir", "url": "http://127.0.0.1:9/fhir", "enabled": False}
    known = Settings.model_validate(
        {"data_dir": tmp_path, "audit": {"repository": "arr"}, "destinations": {"arr": repository}}
    )
    before = threading.active_count()
    with capture_logs() as logs:
        audit_forward.start(known)
    assert threading.active_count() == before
    assert [line["event"] for line in logs] == ["audit_repository_disabled"]
