"""Reports over MLLP to a real receiver: done when acknowledged, tried again or a dead letter when not."""

from __future__ import annotations

import base64
import json
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hl7
import pytest
import trustme
from typer.testing import CliRunner

from dicom_node.audit import trail as audit
from dicom_node.cli import app
from dicom_node.deliver.hl7v2.sender import Hl7v2Sender
from dicom_node.jobs.status import JobState
from dicom_node.settings.hl7v2 import Hl7v2Destination
from pipeline.errors import Broken, CandelaError, PeerBusy, PeerUnavailable, Rejected
from pipeline.report.stored import EARLIER_FILENAME, FILENAME, to_json
from tests.peers.engine import Node
from tests.peers.fhir_bundles import as_earlier
from tests.peers.hl7v2 import MllpReceiver, content_of, named
from tests.peers.ports import free_port
from tests.peers.scripted_proxy import Fault, ScriptedProxy


def files(folder: Path, pdf: bytes | None = None, **options: Any) -> tuple[Path, ...]:
    """What a run leaves for the sender."""
    (folder / FILENAME).write_bytes(to_json(content_of(**options)))
    found = [folder / FILENAME]
    if pdf is not None:
        (folder / "report.pdf").write_bytes(pdf)
        found.append(folder / "report.pdf")
    return tuple(found)


def sender(port: int, folder: Path, **options: Any) -> Hl7v2Sender:
    values = {"timeout": 10, **options}
    return Hl7v2Sender(Hl7v2Destination(kind="hl7v2", host="127.0.0.1", port=port, **values), folder / "locks")


def test_a_report_is_done_when_it_is_acknowledged(tmp_path: Path) -> None:
    """AA; the receiver's library finds patient, order and values. A resend has the same control id."""
    with MllpReceiver() as receiver:
        receipt = sender(receiver.port, tmp_path).send(files(tmp_path, b"%PDF-1.7"))
        again = sender(receiver.port, tmp_path).send(files(tmp_path, b"%PDF-1.7"))
    first, second = receiver.taken
    assert receipt == again == f"AA, message {first.segment('MSH')[10]}"
    assert str(first) == str(second)
    assert str(first.segment("PID")[5]).startswith("Müller-Lüdenscheidt^Änne")
    assert len(first.segments("OBX")) == 20


def test_a_report_that_an_earlier_version_stored_is_the_same_message(tmp_path: Path) -> None:
    """Under findings.json, with its own names: the receiver knows the resend by its control id."""
    now = files(tmp_path, b"%PDF-1.7")
    earlier = (tmp_path / EARLIER_FILENAME, now[1])
    earlier[0].write_text(json.dumps(as_earlier(content_of())))
    with MllpReceiver() as receiver:
        receipts = [sender(receiver.port, tmp_path).send(queued) for queued in (now, earlier)]
    assert receipts[0] == receipts[1]
    assert str(receiver.taken[0]) == str(receiver.taken[1])


@pytest.mark.parametrize(
    ("character_set", "encoding", "name"),
    [("8859/1", "latin-1", "Müller^Änne"), ("ISO IR87", "iso2022_jp", "YAMADA^TARO=山田^太郎=やまだ^たろう")],
)
def test_names_arrive_in_the_receivers_character_set(
    tmp_path: Path, character_set: str, encoding: str, name: str
) -> None:
    """What MSH-18 says is what the receiver decodes by."""
    with MllpReceiver(encoding=encoding) as receiver:
        to = sender(receiver.port, tmp_path, character_set=character_set)
        to.send(files(tmp_path, patient=named(name)))
    groups = str(receiver.taken[0].segment("PID")[5]).split("~")
    assert [group.split("^L^")[0].rstrip("^") for group in groups] == name.split("=")


def refusal(
    code: str, *, text: str = "", error: str = "", first: str = "", condition: str = ""
) -> Callable[[hl7.Message], bytes]:
    """An answer with MSA-1 ``code``, MSA-3, MSA-6, and an ERR with ERR-1 and ERR-3."""

    def answer(message: hl7.Message) -> bytes:
        control_id = message.segment("MSH")[10]
        lines = [
            "MSH|^~\\&|EHR||CANDELA||20260105||ACK^R01^ACK|1|P|2.5.1",
            f"MSA|{code}|{control_id}|{text}|||{condition}",
        ]
        if error or first:
            lines.append(f"ERR|{first}||{error}|E|||diagnostic of 4711|for Müller-Lüdenscheidt")
        return b"\x0b" + "\r".join(lines).encode() + b"\r\x1c\r"

    return answer


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal("AA"), None),
        (refusal("CA"), None),
        (refusal("AE", text="Unknown patient"), Rejected),
        (refusal("AE", error="204^Unknown key identifier^HL70357"), Rejected),
        (refusal("AE", error="207^Application internal error^HL70357"), PeerBusy),
        (refusal("AE", error="206^Application record locked^HL70357"), PeerBusy),
        (refusal("AE", first="PID^1^3^101&Required field missing&HL70357"), Rejected),
        (refusal("AE", condition="207^Application internal error^HL70357"), PeerBusy),
        (refusal("CE"), Rejected),
        (refusal("AR", text="shutting down"), PeerBusy),
        (refusal("AR", error="200^Unsupported message type^HL70357"), Rejected),
        (refusal("AR", error="203^Unsupported version id^HL70357"), Rejected),
        (refusal("CR"), PeerBusy),
        (refusal(""), Rejected),
        (lambda _: b"\x0bHTTP/1.1 400 Bad Request\x1c\r", PeerUnavailable),
        (lambda _: b"HTTP/1.1 400 Bad Request\r\n", PeerUnavailable),
        (lambda _: b"\x0bMSH|^~\\&|\rMSA|AA|another\r\x1c\r", PeerUnavailable),
        (lambda _: b"\x0bMSH|\rMSA\r\x1c\r", PeerUnavailable),
        (lambda _: b"\x0b" + b"A" * (2 << 20), PeerUnavailable),
        (lambda _: None, PeerUnavailable),
    ],
)
def test_each_answer_is_done_final_or_tried_again(
    tmp_path: Path, answer: Callable[[hl7.Message], Any], kind: type[CandelaError] | None
) -> None:
    """By the code of table 0357 where there is one, else by MSA-1; the patient stands in no error."""
    with MllpReceiver(answer) as receiver:
        # Only what never answers is waited for in full; the others may be slow on a busy machine.
        to = sender(receiver.port, tmp_path, timeout=2 if kind is PeerUnavailable else 60)
        if kind is None:
            assert to.send(files(tmp_path))
            return
        with pytest.raises(kind) as caught:
            to.send(files(tmp_path))
    assert type(caught.value) is kind
    told = str(caught.value) + "".join(caught.value.details)
    assert not any(text in told for text in ("4711", "Müller", "Änne"))


@pytest.mark.parametrize(
    ("fault", "taken"),
    [(Fault(cut_answer=0), 1), (Fault(cut_answer=10), 1), (Fault(stall_answer=10), 1), (Fault(cut_request=200), 0)],
    ids=["before the answer", "in the answer", "stalled", "in the message"],
)
def test_a_cut_line_is_tried_again_with_the_same_message(tmp_path: Path, fault: Fault, taken: int) -> None:
    """The receiver may have filed it: the second message has the same control id, by which it knows."""
    with MllpReceiver() as receiver, ScriptedProxy(receiver.port, fault) as proxy:
        with pytest.raises(PeerUnavailable):
            sender(proxy.port, tmp_path, timeout=2).send(files(tmp_path))
        assert sender(proxy.port, tmp_path, timeout=60).send(files(tmp_path)).startswith("AA")
    assert len(receiver.taken) == taken + 1
    assert len({str(message.segment("MSH")[10]) for message in receiver.taken}) == 1


def test_a_receiver_that_is_down_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(PeerUnavailable, match="cannot be reached"):
        sender(free_port(), tmp_path).send(files(tmp_path))


def test_mutual_tls(tmp_path: Path) -> None:
    """Encrypted, each side sure of the other; a stranger's certificate and an untrusted receiver are refused."""
    ours, theirs = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.issue_cert("hl7.example").configure_cert(context)
    ours.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    theirs.cert_pem.write_to_path(tmp_path / "trusted.pem")
    for name, certificate in (("own", ours.issue_cert("candela")), ("stranger", trustme.CA().issue_cert("candela"))):
        certificate.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")

    def tls(who: str, name: str = "hl7.example", trusted: str | None = "trusted.pem") -> dict[str, Any]:
        found: dict[str, Any] = {
            "server_name": name,
            "certificate": tmp_path / f"{who}.pem",
            "key": tmp_path / f"{who}.key",
        }
        return {**found, "trusted": tmp_path / trusted} if trusted else found

    with MllpReceiver(tls=context) as receiver:
        assert sender(receiver.port, tmp_path, tls=tls("own")).send(files(tmp_path)).startswith("AA")
        for wrong in (tls("stranger"), tls("own", name="other.example"), tls("own", trusted=None), None):
            with pytest.raises(PeerUnavailable):
                sender(receiver.port, tmp_path, tls=wrong, timeout=3).send(files(tmp_path))
    assert len(receiver.taken) == 1


@pytest.mark.nightly
def test_a_pdf_of_60_mb_arrives(tmp_path: Path) -> None:
    """Byte for byte; and not at all where the destination wants none."""
    pdf = b"%PDF-1.7\n" + os.urandom(60 << 20)
    with MllpReceiver() as receiver:
        sender(receiver.port, tmp_path, timeout=120).send(files(tmp_path, pdf))
        sender(receiver.port, tmp_path, pdf=False).send(files(tmp_path, pdf))
    kinds = [{str(obx[2]): obx for obx in message.segments("OBX")} for message in receiver.taken]
    assert base64.b64decode(str(kinds[0]["ED"][5]).split("^")[4]) == pdf
    assert "ED" not in kinds[1]


def test_findings_that_are_gone_are_our_fault(tmp_path: Path) -> None:
    """Not the receiver's: no message is made up."""
    (tmp_path / "report.pdf").write_bytes(b"%PDF")
    with pytest.raises(Broken):
        sender(1, tmp_path).send((tmp_path / "report.pdf",))


def test_an_error_acknowledged_is_a_dead_letter_with_the_receivers_words(tmp_path: Path) -> None:
    """Through the engine: `candela jobs show` tells what the receiver said; after it was mended, a retry delivers."""
    mended = False
    refuse = refusal("AE", text="Unknown order", error="204^Unknown key identifier^HL70357")
    with MllpReceiver(lambda message: message.create_ack("AA") if mended else refuse(message)) as receiver:
        node = Node(tmp_path, None, {"ris": {"kind": "hl7v2", "host": "127.0.0.1", "port": receiver.port}})
        try:
            node.client.submit(node.job())
            node.start()
            node.wait_for(node.job(), JobState.DEAD)
            shown = CliRunner().invoke(app, ["jobs", "show", node.job().job_id, "--config", str(node.config)]).stdout
            mended = True
            node.client.retry(node.job().job_id)
            detail = node.wait_for(node.job(), JobState.DONE)
        finally:
            node.close()
    assert "ris said of hl7v2-report:" in shown
    assert "Unknown order" in shown
    assert [row.receipt.startswith("AA, message") for row in detail.deliveries if row.receipt] == [True]
    (day,) = audit.files(node.settings.audit_dir)
    assert [item["outcome"] for item in audit.read(day)] == [
        audit.OutcomeIndicator.SERIOUS_FAILURE,
        audit.OutcomeIndicator.SUCCESS,
    ]
    assert {item["destination"]["kind"] for item in audit.read(day)} == {"hl7v2"}
