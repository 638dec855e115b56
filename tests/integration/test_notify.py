"""Notifications reach a real SMTP server and a real HTTP server, once, through crashes and outages."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.jobs.measures import Measures
from dicom_node.jobs.status import JobState
from dicom_node.monitoring import senders
from dicom_node.monitoring.ledger import Ledger
from dicom_node.monitoring.messages import trial
from dicom_node.monitoring.service import RETRY_FIRST, Notifier, since
from dicom_node.settings.notify import EmailReceiver, Notify, WebhookReceiver
from dicom_node.settings.tree import Settings, load
from pipeline.errors import BadSettings, PeerUnavailable
from tests.conftest import ROOT
from tests.peers.engine import MakeNode, Node, pacs_table
from tests.peers.http import HttpPeer, Reply
from tests.peers.ports import free_port
from tests.peers.smtp import SmtpPeer
from tests.peers.tls import Authority

MAIL = {"kind": "email", "host": "localhost", "sender": "candela@hospital.test", "to": ("pacs@hospital.test",)}


def clear(port: int, **more: Any) -> EmailReceiver:
    """A receiver without TLS, for tests of what is sent."""
    return EmailReceiver(**{**MAIL, "port": port, "security": "none", "timeout": 5.0, **more})


def mail_of(message: Any) -> str:
    return str(message.get_content())


def test_mail_goes_by_starttls_with_a_login(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    identity = authority.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    (tmp_path / "password").write_text("daisy chain\n")
    with SmtpPeer(tls=context, password="daisy chain") as server:
        login = {"username": "user", "password_file": tmp_path / "password", "trusted": identity.trusted}
        receiver = EmailReceiver(**MAIL, port=server.port, **login)
        senders.send("desk", receiver, trial(Settings(), 1.0))
        (mail,) = server.messages
        assert (mail["To"], mail["Subject"]) == ("pacs@hospital.test", "Candela CANDELA: test")
        assert mail["Auto-Submitted"] == "auto-generated"
        assert mail["Message-ID"] == "<CANDELA-test-1@hospital.test>"
        stranger = EmailReceiver(**MAIL, port=server.port, username="user", password_file=tmp_path / "password")
        with pytest.raises(PeerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            senders.send("desk", stranger, trial(Settings(), 2.0))
        (tmp_path / "password").write_text("wrong")
        with pytest.raises(PeerUnavailable, match="it answered 535"):
            senders.send("desk", receiver, trial(Settings(), 2.0))
        plain = EmailReceiver(**MAIL, port=server.port, security="none")
        with pytest.raises(PeerUnavailable, match="it answered 530"):
            senders.send("desk", plain, trial(Settings(), 2.0))
        (tmp_path / "password").unlink()
        with pytest.raises(BadSettings, match="secret cannot be read"):
            senders.send("desk", receiver, trial(Settings(), 2.0))
        assert len(server.messages) == 1


def test_a_server_without_starttls_or_an_address_is_named() -> None:
    with SmtpPeer() as server:
        with pytest.raises(PeerUnavailable, match="STARTTLS"):
            senders.send("desk", EmailReceiver(**MAIL, port=server.port), trial(Settings(), 1.0))
        assert server.messages == []
        server.refuse = "gone@hospital.test"
        several = clear(server.port, to=("pacs@hospital.test", "gone@hospital.test"))
        assert senders.send("desk", several, trial(Settings(), 1.0)) == 1
        assert len(server.messages) == 1
        with pytest.raises(PeerUnavailable, match="refused 1 address"):
            senders.send("desk", clear(server.port, to=("gone@hospital.test",)), trial(Settings(), 1.0))


def test_a_webhook_is_signed() -> None:
    replies = iter([204, 500])
    with HttpPeer(lambda _: Reply(next(replies))) as server:
        receiver = WebhookReceiver(kind="webhook", url=f"{server.url}/hook?key=hidden", secret="s3cret")
        senders.send("desk", receiver, trial(Settings(), 1.0))
        (asked,) = server.asked
        headers = {name.lower(): value for name, value in asked.headers.items()}
        at = headers["x-candela-timestamp"]
        assert abs(int(at) - time.time()) < 60
        expected = hmac.new(b"s3cret", f"{at}.".encode() + asked.body, hashlib.sha256).hexdigest()
        assert headers["x-candela-signature"] == f"sha256={expected}"
        content = json.loads(asked.body)
        assert (content["id"], content["test"]) == (headers["x-candela-message-id"], True)
        with pytest.raises(PeerUnavailable, match="it answered 500") as refused:
            senders.send("desk", receiver, trial(Settings(), 1.0))
        assert "hidden" not in str(refused.value)


class Clock:
    """Time of a test, which it moves."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def wall(self) -> float:
        return time.time() + self.ahead

    def steady(self) -> float:
        return self.ahead


def notifying(node: Node, receivers: dict[str, Any], *rules: dict[str, Any], **more: Any) -> Settings:
    made = Notify.model_validate({"receivers": receivers, "rules": rules, "disk_above": 1.0, **more})
    return node.settings.model_copy(update={"notify": made})


def test_a_trouble_a_dead_letter_and_a_stat_finding_reach_whom_they_concern(
    make_node: MakeNode, tmp_path: Path
) -> None:
    """The PACS is down: mail. A reading fails: mail. A STAT finding: webhook, with a link and no identity. All once,
    though the SMTP server is dead at first and the notifier is started anew before each look.
    """
    port, clock = free_port(), Clock()
    circuits = {"circuit_failures": 1, "circuit_first": 300.0, "circuit_most": 300.0}
    node = make_node({"pacs": pacs_table(free_port())}, **circuits, tries=1, delivery_tries=9)
    (node.data_dir / "summary.json").write_text(json.dumps({"predicted_class": "glioma", "statement": "Prüfung"}))
    with HttpPeer(lambda _: Reply(204)) as hook:
        receivers = {
            "desk": clear(port).model_dump(),
            "ward": {"kind": "webhook", "url": f"{hook.url}/x", "secret": "s"},
        }
        rules = (
            {"events": ["destination-down", "dead-letter"], "receivers": ["desk"]},
            {"events": ["finding"], "receivers": ["ward"], "classes": ["glioma"]},
        )
        settings = notifying(node, receivers, *rules, link="https://candela.test")

        def look() -> None:
            ledger = Ledger(settings.notify_dir)
            with Measures(settings, since(ledger, clock.wall()), readings_only=True) as measures:
                Notifier(settings, measures, ledger, clock.wall, clock.steady).step()

        look()
        stat, routine, broken = node.job("s", priority="stat"), node.job("r"), node.job("b", rule="broken")
        for job in (stat, routine, broken):
            node.client.submit(job)
        node.start()
        node.wait_for(broken, JobState.DEAD, 30)
        node.wait(lambda: all(node.client.show(job.job_id).result for job in (stat, routine)), 30)
        node.wait(lambda: node.client.destinations()[0].circuit.failures > 0, 30)
        node.wait(lambda: look() or hook.asked, 30)  # a reading ends a little after its result is known
        for _ in range(2):
            look()
        with SmtpPeer(port=port) as server:
            for _ in range(2):
                look()
            (mail,) = server.messages
            assert mail["Subject"] == "Candela CANDELA: 2 begun"
            text = mail_of(mail)
            assert "Destination pacs cannot be reached (PEER_UNAVAILABLE)." in text
            assert "1 dead letter(s) wait for an operator at inference: UNFORESEEN (1)." in text
            node.client.discard(broken.job_id)
            look()
            assert mail_of(server.messages[1]).startswith("[ended] 1 dead letter(s)")
            assert len(server.messages) == 2
    (asked,) = hook.asked
    (change,) = json.loads(asked.body)["changes"]
    assert stat.job_id in change["text"]
    assert "glioma" in change["text"]
    assert change["link"] == f"https://candela.test/studies/{stat.study_instance_uid}"
    assert "Prüfung" not in asked.body.decode()


def test_a_dead_server_is_tried_again_after_a_pause_and_delays_no_other(make_node: MakeNode, tmp_path: Path) -> None:
    """Also the certificate of the settings that expires soon; where the notes cannot be written, messages still go."""
    node, clock, port = make_node(), Clock(), free_port()
    identity = Authority(tmp_path).issue("localhost", expires=datetime.now(UTC) + timedelta(days=3))
    with HttpPeer(lambda _: Reply(204)) as hook:
        receivers = {"desk": clear(port).model_dump(), "ward": {"kind": "webhook", "url": hook.url, "secret": "s"}}
        settings = notifying(node, receivers, {"events": ["certificate"], "receivers": ["desk", "ward"]})
        settings = settings.model_copy(update={"tls": identity.tls()})
        settings.notify_dir.mkdir(parents=True)
        (settings.notify_dir / "state.json").mkdir()  # a full disk is hard to have
        with Measures(settings, time.time(), readings_only=True) as measures:
            notifier = Notifier(settings, measures, Ledger(settings.notify_dir), clock.wall, clock.steady)
            notifier.step()
            assert len(hook.asked) == 1
            assert "expires on" in hook.asked[0].body.decode()
            with SmtpPeer(port=port) as server:
                notifier.step()
                assert server.messages == [], "within the pause"
                clock.ahead = RETRY_FIRST + 1
                notifier.step()
                assert len(server.messages) == 1
            notifier.step()
        assert len(hook.asked) == 1


CONFIG = """
data_dir = "{data}"
[tls]
certificate = "{certificate}"
key = "{key}"
trusted = "{trusted}"
[notify]
check_every = 0.2
disk_above = 1.0
[notify.receivers.desk]
kind = "email"
host = "localhost"
port = {port}
security = "none"
sender = "candela@hospital.test"
to = ["pacs@hospital.test"]
[[notify.rules]]
events = ["certificate"]
receivers = ["desk"]
"""


def test_the_role_survives_a_kill_and_the_command_line_lists_and_acknowledges(tmp_path: Path) -> None:
    identity = Authority(tmp_path / "ca").issue("localhost", expires=datetime.now(UTC) + timedelta(days=3))
    config = tmp_path / "candela.toml"
    (tmp_path / "data").mkdir()

    def candela(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["notify", *arguments, "--config", str(config)])
        return f"{done.exit_code} {done.output}" + (f"{done.exception}" if done.exit_code else "")

    with SmtpPeer() as server:
        files = {"certificate": identity.certificate, "key": identity.key, "trusted": identity.trusted}
        config.write_text(CONFIG.format(data=tmp_path / "data", port=server.port, **files))
        settings = load(config)
        assert candela("test", "desk") == "0 desk took the test message\n"
        assert candela("test", "nobody").startswith("2 ")
        assert candela("list") == "0 nothing is wrong\n"
        first = role(config)
        until(lambda: len(server.messages) == 2)
        until(lambda: not Ledger(settings.notify_dir).waiting)
        first.kill()
        first.wait()
        second = role(config)
        before = (settings.notify_dir / "state.json").read_bytes()
        until(lambda: (settings.notify_dir / "state.json").read_bytes() != before)
        third = role(config)
        assert third.wait(30) == 1, "one process notifies"
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0
        assert len(server.messages) == 2
        assert "expires on" in mail_of(server.messages[1])
    (entry,) = Ledger(settings.notify_dir).open()
    assert entry.id in candela("list")
    assert candela("ack", entry.id, "--by", "anna").startswith("0 acknowledged: The certificate")
    assert "anna" in candela("list")
    assert candela("ack", "00000000").startswith("1 ")
    assert candela("test", "desk").startswith("1 ")


def role(config: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dicom_node.cli", "notify", "run", "--config", str(config)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=config.parent)


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[[notify.rules]]\nevents = ["disk"]\nreceivers = ["x"]', "unknown receiver 'x'"),
        ('[notify.receivers.x]\nkind = "webhook"\nurl = "http://hooks.test/"\nsecret = "s"', "clear text"),
        ('[notify.receivers.x]\nkind = "webhook"\nurl = "https://hooks.test/"', "secret or secret_file"),
        (
            (
                '[notify.receivers.x]\nkind = "email"\nhost = "mail"\nsender = "a@b"\nto = ["c@d"]\nsecurity = "none"\n'
                'username = "u"\npassword = "p"'
            ),
            "clear text",
        ),
        (
            (
                '[notify.receivers.x]\nkind = "webhook"\nurl = "https://h.test/"\nsecret = "s"\n'
                '[[notify.rules]]\nevents = ["disk"]\nreceivers = ["x"]\ndestinations = ["pasc"]'
            ),
            "unknown destination 'pasc'",
        ),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "candela.toml"
    path.write_text(text)
    with pytest.raises(BadSettings, match=complaint):
        load(path)
