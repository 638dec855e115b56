"""A FHIR server that fails: what is tried again, what is a dead letter, and why a second try is safe."""

from __future__ import annotations

import json
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.deliver.fhir import FhirSender
from dicom_node.deliver.in_flight import slot
from dicom_node.jobs.status import JobState
from dicom_node.settings.destinations import FhirDestination
from fhir.server.client import FhirClient
from pipeline.errors import BadSettings, CandelaError, PeerBusy, PeerUnavailable, Rejected
from tests.peers.engine import Node
from tests.peers.fhir_server import FhirServer
from tests.peers.http import Asked, HttpPeer, Reply
from tests.peers.scripted_proxy import Fault, ScriptedProxy
from tools.small_bundle import PATIENT_SYSTEM, report_search, small_bundle, written

ACCEPTED = Reply(
    200,
    {
        "resourceType": "Bundle",
        "type": "transaction-response",
        "entry": [{"response": {"status": "201 Created", "location": "DiagnosticReport/1/_history/1"}}],
    },
)


@pytest.fixture(scope="module")
def server(fhir_server: FhirServer) -> FhirServer:
    return fhir_server


def reports(server: FhirServer, key: str) -> int:
    return server.count("DiagnosticReport", identifier=report_search(key))


def through(proxy: ScriptedProxy, server: FhirServer, **options: Any) -> FhirClient:
    return FhirClient(server.url.replace(f":{port_of(server)}", f":{proxy.port}"), **options)


def port_of(server: FhirServer) -> int:
    return int(server.url.split(":")[2].split("/")[0])


def outcome(*issues: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "OperationOutcome", "issue": list(issues)}


def error(text: str, **more: Any) -> dict[str, Any]:
    return {"severity": "error", "code": "invalid", "diagnostics": text, **more}


@pytest.mark.parametrize(
    ("fault", "stored"),
    [
        (Fault(cut_answer=0), 1),
        (Fault(cut_answer=20), 1),
        (Fault(cut_answer=200), 1),
        (Fault(stall_answer=60), 1),
        (Fault(cut_request=300), 0),
    ],
    ids=["before the answer", "in its first line", "in its middle", "stalled", "in the request"],
)
def test_a_cut_leaves_open_what_was_stored_and_the_second_try_settles_it(
    server: FhirServer, fault: Fault, stored: int
) -> None:
    """The server may have stored the report before the line went: either way there is one after the second try."""
    key = f"cut-{fault}"
    with ScriptedProxy(port_of(server), fault) as proxy:
        client = through(proxy, server, timeout=2.0)
        with pytest.raises(PeerUnavailable):
            client.send(small_bundle(key))
        deadline = time.monotonic() + 10
        while reports(server, key) < stored and time.monotonic() < deadline:
            time.sleep(0.05)
        assert reports(server, key) == stored
        receipt = client.send(small_bundle(key))
    assert (len(receipt.created), len(receipt.existing)) == ((0, 2) if stored else (2, 0))
    assert reports(server, key) == 1


def test_a_slow_line_still_delivers(server: FhirServer) -> None:
    """The timeout is that of each wait, not of the whole."""
    with ScriptedProxy(port_of(server), Fault(pause=0.3)) as proxy:
        assert through(proxy, server, timeout=5.0).send(small_bundle("slow")).created


@pytest.mark.parametrize(
    ("status", "kind", "after"),
    [
        (400, Rejected, None),
        (401, Rejected, None),
        (403, Rejected, None),
        (404, Rejected, None),
        (410, Rejected, None),
        (413, Rejected, None),
        (415, Rejected, None),
        (422, Rejected, None),
        (302, Rejected, None),
        (408, PeerBusy, None),
        (409, PeerBusy, None),
        (412, Rejected, None),
        (423, PeerBusy, None),
        (425, PeerBusy, None),
        (429, PeerBusy, "17"),
        (503, PeerBusy, "17"),
        (500, PeerUnavailable, None),
        (502, PeerUnavailable, "17"),
        (504, PeerUnavailable, None),
        (501, Rejected, None),
        (505, Rejected, None),
        (507, PeerUnavailable, None),
    ],
)
def test_each_status_is_final_or_tried_again(status: int, kind: type[CandelaError], after: str | None) -> None:
    """As the standard and the servers mean them; Retry-After is taken along, and what the server said too."""
    reply = Reply(
        status, outcome(error("reason here", expression=["Bundle.entry[1]"])), {"Retry-After": after} if after else {}
    )

    def answer(asked: Asked) -> Reply:
        return Reply(404) if asked.path.endswith("_search") else reply

    with HttpPeer(answer) as peer, pytest.raises(kind) as caught:
        FhirClient(peer.url).send(small_bundle("status"))
    assert type(caught.value) is kind
    assert caught.value.details == ("error/invalid: reason here (at Bundle.entry[1])",)
    assert getattr(caught.value, "retry_after", None) == (float(after) if after else None)
    assert sum(not asked.path.endswith("_search") for asked in peer.asked) == 1


def test_retry_after_may_be_a_date() -> None:
    """By the server's own clock, which may be wrong by hours; a past or unreadable one asks for nothing."""
    server_now = datetime.now(UTC) - timedelta(hours=5)

    def after(value: str) -> float | None:
        headers = {"Retry-After": value, "Date": format_datetime(server_now, usegmt=True)}
        with HttpPeer(lambda _: Reply(429, None, headers)) as peer, pytest.raises(PeerBusy) as caught:
            FhirClient(peer.url).send(small_bundle("date"))
        return caught.value.retry_after

    assert after(format_datetime(server_now + timedelta(seconds=90), usegmt=True)) == 90
    assert after(format_datetime(server_now - timedelta(days=1), usegmt=True)) == 0
    for nonsense in ("soon", "-5", "1e400", "²"):
        assert after(nonsense.encode("utf-8").decode("latin-1")) is None


def test_every_issue_is_kept_without_the_patient() -> None:
    """Warnings too, at most twenty; names and numbers that the server repeats are taken out."""
    many = [error(f"number {number} of P-told, Phantom") for number in range(30)]
    warning = {"severity": "warning", "code": "code-invalid", "details": {"text": "not in the value set"}}
    with HttpPeer(lambda _: Reply(422, outcome(warning, *many))) as peer, pytest.raises(Rejected) as caught:
        FhirClient(peer.url).send(small_bundle("told"))
    details = caught.value.details
    assert len(details) == 20
    assert details[0] == "warning/code-invalid: not in the value set"
    assert details[1].startswith("error/invalid: number 0 of [removed]")
    assert "told" not in "".join(details)
    assert "Phantom" not in "".join(details)
    assert "value set" not in str(caught.value)  # the first line tells what decided


@pytest.mark.parametrize(
    "body", [None, "a page", [], {"issue": "text"}, {"issue": [None, 3, {}]}, {"issue": [{"location": 3}]}]
)
def test_an_answer_that_is_no_outcome_is_still_told(body: object) -> None:
    """A proxy's page, or nothing."""
    with HttpPeer(lambda _: Reply(400, body)) as peer, pytest.raises(Rejected, match="400"):
        FhirClient(peer.url).send(small_bundle("page"))


def test_the_outcome_is_shown_with_the_job(tmp_path: Path) -> None:
    """`candela jobs show` prints every issue of a dead letter, `--json` gives them to programs."""
    said = outcome(error("Unknown code 'x'", expression=["DiagnosticReport.status"]), error("Second thing"))
    with HttpPeer(lambda _: Reply(422, said)) as peer:
        node = Node(tmp_path, None, {"ehr": {"kind": "fhir", "url": peer.url}})
        try:
            node.client.submit(node.job())
            node.start()
            node.wait_for(node.job(), JobState.DEAD)
        finally:
            node.close()
    shown = CliRunner().invoke(app, ["jobs", "show", node.job().job_id, "--config", str(node.config)])
    assert "ehr said of fhir-bundle:" in shown.stdout
    assert "error/invalid: Unknown code 'x' (at DiagnosticReport.status)" in shown.stdout
    assert "error/invalid: Second thing" in shown.stdout
    plain = CliRunner().invoke(app, ["jobs", "show", node.job().job_id, "--json", "--config", str(node.config)])
    (row,) = json.loads(plain.stdout)["deliveries"]
    assert len(row["tries"]["last_failure"]["details"]) == 2


def test_a_patient_that_matches_twice_is_not_chosen_and_no_accession_is_no_order(server: FhirServer) -> None:
    """The report goes with the logical reference; no order is searched for or made up."""
    orders = server.count("ServiceRequest")
    for _ in range(2):
        server.post({"resourceType": "Patient", "identifier": [{"system": PATIENT_SYSTEM, "value": "P-double"}]})
    FhirClient(server.url).send(small_bundle("double", issuer=PATIENT_SYSTEM))
    (entry,) = server.get("DiagnosticReport", identifier=report_search("double"))["entry"]
    assert "reference" not in entry["resource"]["subject"]
    assert entry["resource"]["subject"]["identifier"]["value"] == "P-double"
    assert "basedOn" not in entry["resource"]
    assert server.count("ServiceRequest") == orders


def test_characters_that_break_formats_arrive_whole(server: FhirServer) -> None:
    """Markup, quotes, HL7 delimiters, line breaks, emoji, right-to-left, combining marks."""
    name = 'O\'Neil <b>&amp;|^~\\& "q"\r\nline 😀 עברית é'
    FhirClient(server.url).send(small_bundle("odd", name=name))
    (entry,) = server.get("DiagnosticReport", identifier=report_search("odd"))["entry"]
    assert entry["resource"]["subject"]["display"] == name


@pytest.mark.nightly
def test_a_pdf_of_60_mb(server: FhirServer, tmp_path: Path) -> None:
    """It arrives byte for byte where the server takes it; where not, that is told, and the report can go without it."""
    path = written(tmp_path, "large", pdf_bytes=60 << 20)
    assert path.stat().st_size > 80 << 20
    with HttpPeer(lambda _: ACCEPTED) as peer:
        FhirSender(FhirDestination(kind="fhir", url=peer.url, timeout=120), tmp_path / "locks").send((path,))
    assert json.loads(peer.asked[0].body) == json.loads(path.read_bytes())
    whole = FhirDestination(kind="fhir", url=server.url, timeout=120)
    with pytest.raises(Rejected, match=r"larger than 1 MB.*presentedForm") as caught:
        FhirSender(whole, tmp_path / "locks").send((path,))
    assert len(str(caught.value)) < 1000
    assert reports(server, "large") == 0
    lighter = whole.model_copy(update={"maximum_attachment_bytes": 500_000})
    assert FhirSender(lighter, tmp_path / "locks").send((path,)).startswith("2 resources created")
    (entry,) = server.get("DiagnosticReport", identifier=report_search("large"))["entry"]
    assert entry["resource"]["presentedForm"] == [{"contentType": "application/pdf", "size": (60 << 20) + 9}]


def test_no_more_than_the_setting_are_in_flight(tmp_path: Path) -> None:
    """Eight senders of two destinations on one server: three at once, and all get through."""
    now, most, lock = 0, 0, threading.Lock()

    def answer(_: Asked) -> Reply:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.15)
        with lock:
            now -= 1
        return ACCEPTED

    path = written(tmp_path, "flight")
    with HttpPeer(answer) as peer:
        targets = [FhirDestination(kind="fhir", url=f"{peer.url}/{name}", maximum_in_flight=3) for name in ("a", "b")]
        senders = [FhirSender(targets[number % 2], tmp_path / "locks") for number in range(8)]
        threads = [threading.Thread(target=sender.send, args=((path,),)) for sender in senders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert len(peer.asked) == 8
    assert most == 3


def test_a_slot_that_is_never_free_is_tried_again_later(tmp_path: Path) -> None:
    """Two of ours hang at the server: the third waits, and gives its place in the queue back. Slots come free again."""
    with slot(tmp_path, "s", 1, 0.1), pytest.raises(PeerBusy, match="in flight"), slot(tmp_path, "s", 1, 0.1):
        pass
    with slot(tmp_path, "s", 1, 0.1), slot(tmp_path, "other", 1, 0.1):
        pass


def test_mutual_tls(tmp_path: Path) -> None:
    """Our certificate is taken, a stranger's or none is not; a server that we do not trust gets nothing."""
    ours, theirs = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.issue_cert("127.0.0.1").configure_cert(context)
    ours.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    own, stranger = ours.issue_cert("candela"), trustme.CA().issue_cert("candela")
    theirs.cert_pem.write_to_path(tmp_path / "trusted.pem")
    for name, certificate in (("own", own), ("stranger", stranger)):
        certificate.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")

    def send(**tls: str) -> str:
        files = {key: str(tmp_path / value) for key, value in tls.items()}
        url = peer.url.replace("http:", "https:")
        to = FhirDestination(kind="fhir", url=url, tls=files or None, timeout=5)
        return FhirSender(to, tmp_path / "locks").send((written(tmp_path, "tls"),))

    with HttpPeer(lambda _: ACCEPTED) as peer:
        peer.use_tls(context)
        assert send(trusted="trusted.pem", certificate="own.pem", key="own.key") == "1 resources created"
        for refused in (
            {"trusted": "trusted.pem", "certificate": "stranger.pem", "key": "stranger.key"},
            {"trusted": "trusted.pem"},
            {"certificate": "own.pem", "key": "own.key"},
            {},
        ):
            with pytest.raises(PeerUnavailable):
                send(**refused)
        assert len(peer.asked) == 1
        with pytest.raises(BadSettings, match="cannot be used"):
            send(trusted="trusted.pem", certificate="own.pem", key="stranger.key")
        with pytest.raises(BadSettings, match="cannot be read"):
            send(trusted="absent.pem")


def test_a_token_comes_from_a_file_and_is_never_sent_in_clear_text(tmp_path: Path) -> None:
    """The file may be replaced at any time; beyond this machine a token needs https."""
    secret = tmp_path / "token"
    secret.write_text("first\n")
    with HttpPeer(lambda _: ACCEPTED) as peer:
        to = FhirDestination(kind="fhir", url=peer.url, bearer_token_file=secret)
        sender = FhirSender(to, tmp_path / "locks")
        sender.send((written(tmp_path, "file"),))
        secret.write_text("second")
        sender.send((written(tmp_path, "file"),))
    assert [asked.headers["Authorization"] for asked in peer.asked] == ["Bearer first", "Bearer second"]
    with pytest.raises(BadSettings, match="clear text"):
        FhirSender(FhirDestination(kind="fhir", url="http://ehr.example/fhir", bearer_token="x"), tmp_path)
    secret.unlink()
    with pytest.raises(BadSettings, match="cannot be read"):
        sender.send((written(tmp_path, "file"),))
