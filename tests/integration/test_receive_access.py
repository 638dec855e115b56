"""Who gets in: AE title, address, certificate, limits; and that nobody who does not get in learns why."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.sop_class import MRImageStorage, Verification

from dicom_node.audit.trail import files, read, verify
from dicom_node.network.requestor import Requestor
from dicom_node.node.reload import Reloader
from dicom_node.settings.access import Limits, Metrics, Retention
from dicom_node.settings.peers import Peer
from dicom_node.settings.tree import load
from pipeline import phantom
from pipeline.errors import BadSettings
from tests.peers.dcmtk import require_dcmtk, storescu
from tests.peers.ports import free_port
from tests.peers.receiver import CALLED, CALLING, Node, running_receiver, send
from tests.peers.tls import Authority, Identity


@pytest.fixture(scope="module")
def series() -> tuple[Dataset, ...]:
    return phantom.head_phantom(slices=3, matrix=32, header=phantom.Header(key="access"))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@pytest.fixture
def identity(authority: Authority) -> Identity:
    return authority.issue("candela.test", "localhost")


def ask(
    port: int,
    *,
    calling: str = CALLING,
    called: str = CALLED,
    identity: Identity | None = None,
) -> Association:
    """An association for C-ECHO and MR, established or not."""
    ae = Requestor(calling)
    ae.add_requested_context(Verification)
    ae.add_requested_context(MRImageStorage)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = 20
    args: Any = None
    if identity is not None:
        context = ssl.create_default_context(cafile=str(identity.trusted))
        context.load_cert_chain(identity.certificate, identity.key)
        args = (context, "localhost")
    return ae.associate("127.0.0.1", port, ae_title=called, tls_args=args)


def verdict(assoc: Association) -> str | tuple[int, int, int]:
    """``in``, ``cut off``, or result, source and reason of the rejection. The association is over afterwards."""
    if assoc.is_established:
        assoc.release()
        return "in"
    if assoc.is_rejected:
        answer = assoc.acceptor.primitive
        return int(answer.result), int(answer.result_source), int(answer.diagnostic)
    return "cut off"


NOTHING_TOLD = (1, 1, 1)
TRY_LATER = (2, 3, 2)


def test_whatever_a_stranger_does_wrong_it_is_told_the_same(
    tmp_path: Path, authority: Authority, identity: Identity, capsys: pytest.CaptureFixture[str]
) -> None:
    """AE title, called title, address, port without TLS, certificate: one answer; the log and the figures say which."""
    known, other = authority.issue("scanner.test"), authority.issue("other.test")
    peers = (
        Peer(ae_title="AWAY", addresses=("10.0.0.0/8", "fd00::/8")),
        Peer(ae_title="SECURE", require_tls=True),
        Peer(ae_title="PINNED", certificates=(known.fingerprint.upper(),)),
        Peer(ae_title="NAMED", subjects=("scanner.test",)),
    )
    with running_receiver(tmp_path, allow=peers, tls_port=free_port(), tls=identity.tls()) as node:
        tls_port = node.settings.receive.tls_port
        assert tls_port is not None
        denied = {
            "calling_ae": ask(node.port, calling="STRANGER"),
            "called_ae": ask(node.port, calling="AWAY", called="ELSEWHERE"),
            "address": ask(node.port, calling="AWAY"),
            "without_tls": ask(node.port, calling="SECURE"),
            "certificate": ask(tls_port, calling="PINNED", identity=other),
        }
        assert {cause: verdict(assoc) for cause, assoc in denied.items()} == dict.fromkeys(denied, NOTHING_TOLD)
        assert verdict(ask(tls_port, calling="NAMED", identity=other)) == NOTHING_TOLD
        assert verdict(ask(node.port, calling="PINNED")) == NOTHING_TOLD
        assert verdict(ask(tls_port, calling="PINNED", identity=known)) == "in"
        assert verdict(ask(tls_port, calling="NAMED", identity=known)) == "in"
        assert verdict(ask(tls_port, calling="SECURE", identity=other)) == "in"
        assert node.receiver.counters.denied["certificate"] == 2
        assert node.receiver.counters.denied["without_tls"] == 2
        assert set(node.receiver.counters.denied) == set(denied)
    lines = [line for line in capsys.readouterr().err.splitlines() if "association_denied" in line]
    assert len(lines) == 7
    assert all(any(f"cause={cause}" in line for line in lines) for cause in denied)


def test_a_known_address_range_gets_in(tmp_path: Path) -> None:
    with running_receiver(tmp_path, allow=(Peer(ae_title=CALLING, addresses=("127.0.0.0/8",)),)) as node:
        assert verdict(ask(node.port)) == "in"


def test_a_certificate_of_another_authority_ends_the_handshake(tmp_path: Path, identity: Identity) -> None:
    """And so does none at all, and a TLS version that is too old; each is counted."""
    stranger = Authority(tmp_path / "elsewhere").issue("scanner.test")
    faked = Identity(stranger.certificate, stranger.key, identity.trusted)
    with running_receiver(tmp_path, tls_port=free_port(), tls=identity.tls()) as node:
        port = node.settings.receive.tls_port
        assert port is not None
        assert verdict(ask(port, identity=faked)) == "cut off"
        without = ssl.create_default_context(cafile=str(identity.trusted))
        assert not _survives(port, without)
        old = ssl.create_default_context(cafile=str(identity.trusted))
        old.load_cert_chain(identity.certificate, identity.key)
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        assert not _survives(port, old)
        _until(lambda: node.receiver.counters.tls_handshakes_failed == 3)
        _until(lambda: "tls_handshake" in _audited(node))
        assert verdict(ask(port, identity=identity)) == "in"


def _shaken(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection after its handshake."""
    plain = socket.create_connection(("127.0.0.1", port), 10)
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except OSError:
        plain.close()
        raise


def _survives(port: int, context: ssl.SSLContext) -> bool:
    """Whether the other side still listens after the handshake."""
    try:
        with _shaken(port, context) as secure:
            secure.settimeout(5)
            return bool(secure.recv(1))
    except TimeoutError:
        return True
    except OSError:
        return False


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_both_versions_of_tls_take_a_series(
    tmp_path: Path, identity: Identity, series: tuple[Dataset, ...], version: str
) -> None:
    """What comes over TLS is stored byte for byte as without."""
    ae = Requestor(CALLING)
    ae.add_requested_context(MRImageStorage, series[0].file_meta.TransferSyntaxUID)
    context = ssl.create_default_context(cafile=str(identity.trusted))
    context.load_cert_chain(identity.certificate, identity.key)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with running_receiver(tmp_path, tls_port=free_port(), require_tls=True, tls=identity.tls()) as node:
        assert node.settings.receive.tls_port is not None
        assoc = ae.associate(
            "127.0.0.1", node.settings.receive.tls_port, ae_title=CALLED, tls_args=(context, "candela.test")
        )
        assert assoc.is_established
        assert [assoc.send_c_store(ds).Status for ds in series] == [0, 0, 0]
        assoc.release()
        (complete,) = node.wait()
        assert len(complete.instances) == 3
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", node.port), 2)


def test_dcmtk_sends_over_tls_and_not_without_a_certificate(
    tmp_path: Path, authority: Authority, identity: Identity, series: tuple[Dataset, ...]
) -> None:
    require_dcmtk()
    files = phantom.save(series, tmp_path / "out")
    scanner = authority.issue("scanner.test")
    peers = (Peer(ae_title=CALLING, certificates=(scanner.fingerprint,)),)
    with running_receiver(tmp_path, tls_port=free_port(), allow=peers, tls=identity.tls()) as node:
        port = node.settings.receive.tls_port
        assert port is not None
        done = storescu(files, port, *scanner.dcmtk())
        assert done.returncode == 0, done.stdout
        assert len(node.stored()) == 3
        anonymous = storescu(files, port, "+tla", "+cf", str(authority.file))
        assert anonymous.returncode != 0
        plain = storescu(files, node.port)
        assert plain.returncode != 0
        assert "No Reason" in plain.stdout or "no reason" in plain.stdout.lower()


def test_limits_hold_for_each_peer(tmp_path: Path) -> None:
    """A peer with too many associations is told to come later; another is let in meanwhile."""
    with running_receiver(tmp_path, limits=Limits(associations_per_peer=2)) as node:
        first, second = ask(node.port), ask(node.port)
        assert verdict(ask(node.port)) == TRY_LATER
        assert verdict(ask(node.port, calling="SECOND")) == "in"
        assert verdict(first) == verdict(second) == "in"
        _until(lambda: verdict(ask(node.port)) == "in")


def test_an_address_that_calls_too_often_is_cut_off_and_recovers(tmp_path: Path) -> None:
    with running_receiver(tmp_path, limits=Limits(connections_per_minute=6)) as node:
        seen = [verdict(ask(node.port)) for _ in range(12)]
        assert seen[:6] == ["in"] * 6
        assert "cut off" in seen
        _until(lambda: verdict(ask(node.port)) == "in", 60)
        assert node.receiver.counters.connections_refused > 0
        assert "connections" in _audited(node)


def test_an_instance_that_is_too_long_is_refused_and_the_next_one_taken(tmp_path: Path) -> None:
    """0xA700 (PS3.4 B.2.3); the association goes on, nothing of it stays on disk."""
    small = phantom.head_phantom(slices=2, matrix=32, header=phantom.Header(key="small"))
    (big,) = phantom.head_phantom(slices=1, matrix=128, header=phantom.Header(key="big"))
    with running_receiver(tmp_path, limits=Limits(instance_bytes=16 << 10)) as node:
        assert send(node.port, (small[0], big, small[1])) == [0x0000, 0xA700, 0x0000]
        assert len(node.stored()) == 2
        assert node.temporary() == []


def test_what_memory_has_no_room_for_is_received_on_disk(tmp_path: Path, series: tuple[Dataset, ...]) -> None:
    """Byte for byte the same, and nothing is left behind."""
    with running_receiver(tmp_path / "a", limits=Limits(memory_bytes=0)) as node:
        assert send(node.port, series) == [0, 0, 0]
        on_disk = {name: path.read_bytes()[-2048:] for name, path in node.stored().items()}
        assert node.temporary() == []
    with running_receiver(tmp_path / "b") as node:
        send(node.port, series)
        assert {name: path.read_bytes()[-2048:] for name, path in node.stored().items()} == on_disk


def test_further_instances_than_the_limit_are_refused(tmp_path: Path, series: tuple[Dataset, ...]) -> None:
    with running_receiver(tmp_path, limits=Limits(instances=2)) as node:
        assert send(node.port, series) == [0, 0, 0xA700]


def test_a_full_disk_turns_new_senders_away_while_running_ones_finish(
    tmp_path: Path, series: tuple[Dataset, ...]
) -> None:
    """A-ASSOCIATE-RJ transient, local limit exceeded; a caller for C-ECHO or commitment alone is let in."""
    with running_receiver(tmp_path) as node:
        ae = Requestor(CALLING)
        ae.add_requested_context(MRImageStorage, series[0].file_meta.TransferSyntaxUID)
        running = ae.associate("127.0.0.1", node.port, ae_title=CALLED)
        assert running.send_c_store(series[0]).Status == 0
        node.set_retention(Retention(refuse_above=0.000001))
        assert verdict(ask(node.port)) == TRY_LATER
        assert verdict(ask(node.port, calling="STRANGER")) == NOTHING_TOLD
        echo = Requestor(CALLING)
        echo.add_requested_context(Verification)
        assert verdict(echo.associate("127.0.0.1", node.port, ae_title=CALLED)) == "in"
        assert running.send_c_store(series[1]).Status == 0
        assert verdict(running) == "in"
        node.set_retention(Retention())
        assert verdict(ask(node.port)) == "in"


def test_the_audit_trail_tells_who_brought_what_and_who_was_turned_away(
    tmp_path: Path, series: tuple[Dataset, ...]
) -> None:
    """One line an association; a stranger that knocks again and again gets one line a minute, with the number."""
    with running_receiver(tmp_path) as node:
        send(node.port, series)
        for _ in range(5):
            ask(node.port, calling="STRANGER")
        _until(lambda: len(_trail(node)) == 2)
        brought, turned_away = sorted(_trail(node), key=lambda line: line["activity"]["code"])
        assert brought["activity"]["meaning"] == "DICOM Instances Transferred"
        assert brought["count"] == 3
        assert brought["source"] == {"name": CALLING, "kind": "dicom", "address": "127.0.0.1"}
        assert len(brought["studies"]) == 1
        assert turned_away["activity"]["meaning"] == "Security Alert"
        assert turned_away["reason"] == "calling_ae"
        assert turned_away["source"]["name"] == "STRANGER"
        assert verify(node.settings.audit_dir) == []


def _trail(node: Node) -> list[dict[str, Any]]:
    return [line for path in files(node.settings.audit_dir) for line in read(path)]


# --- slow and half-open callers ---------------------------------------------------------------------------------


def _ended(connection: socket.socket, within: float) -> float:
    """Seconds until the other side closed the connection."""
    begun = time.monotonic()
    connection.settimeout(within)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        pytest.fail(f"still open after {within} s")
    except OSError:
        pass
    return time.monotonic() - begun


@pytest.mark.parametrize(
    "words", [b"", b"\x01", b"\x01\x00\x00\x00\x01\x00", b"\x04\x00\xff\xff\xff\xff", b"GET / HTTP"]
)
def test_a_caller_that_says_nothing_or_half_a_thing_is_dropped(tmp_path: Path, words: bytes) -> None:
    """Connected and silent, half a PDU, a PDU of 4 GiB, another protocol: closed within the time for an association."""
    with running_receiver(tmp_path, network_timeout=1.0) as node:
        with socket.create_connection(("127.0.0.1", node.port)) as caller:
            caller.sendall(words)
            _ended(caller, 6)
        assert verdict(ask(node.port)) == "in"


def test_a_caller_that_trickles_is_dropped(tmp_path: Path) -> None:
    """Slow loris: a byte now and then keeps no connection alive."""
    begun = time.monotonic()
    with (
        running_receiver(tmp_path, network_timeout=1.0) as node,
        socket.create_connection(("127.0.0.1", node.port)) as caller,
        suppress(OSError),
    ):
        for byte in b"\x01\x00\x00\x00\xff\xff" + bytes(1000):
            caller.sendall(bytes([byte]))
            time.sleep(0.1)
    assert time.monotonic() - begun < 30


def test_a_caller_that_does_not_shake_hands_is_dropped_and_holds_up_nobody(tmp_path: Path, identity: Identity) -> None:
    with running_receiver(tmp_path, network_timeout=2.0, tls_port=free_port(), tls=identity.tls()) as node:
        port = node.settings.receive.tls_port
        assert port is not None
        with (
            socket.create_connection(("127.0.0.1", port)) as silent,
            socket.create_connection(("127.0.0.1", port)) as half,
        ):
            half.sendall(b"\x16\x03\x01\x02\x00\x01")
            assert verdict(ask(port, identity=identity)) == "in"
            _ended(silent, 8)
            _ended(half, 8)


def test_a_message_that_trickles_in_by_whole_pdus_is_cut_off(tmp_path: Path) -> None:
    """PDUs that each come in time do not keep an unfinished message open for ever: limits.minimum_rate."""
    limits = Limits(minimum_rate=100_000.0)
    with running_receiver(tmp_path, network_timeout=1.0, limits=limits) as node:
        assoc = ask(node.port)
        assert assoc.is_established
        connection = assoc.dul.socket.socket
        begun = time.monotonic()
        pdv = struct.pack(">LBB", 4, 1, 0x01) + b"\x00\x00"
        pdu = struct.pack(">BBL", 4, 0, len(pdv)) + pdv
        try:
            while time.monotonic() - begun < 15 and assoc.is_established:
                connection.sendall(pdu)
                time.sleep(0.2)
        except OSError:
            pass
        assert time.monotonic() - begun < 10
        _until(lambda: not node.receiver._admission.open_associations)


# --- reload and expiry ------------------------------------------------------------------------------------------


def test_new_peers_and_certificates_are_taken_in_while_running(
    tmp_path: Path, authority: Authority, identity: Identity
) -> None:
    """By a change of the files alone; settings that are wrong change nothing."""
    config = tmp_path / "candela.toml"
    port, tls_port = free_port(), free_port()

    def write(caller: str) -> None:
        text = f"""
data_dir = "{tmp_path / "data"}"
[tls]
certificate = "{identity.certificate}"
key = "{identity.key}"
trusted = "{identity.trusted}"
[receive]
port = {port}
tls_port = {tls_port}
allow = ["caller"]
[peers.caller]
{caller}"""
        config.write_text(text)

    write('ae_title = "OLD"\n')
    node = Node.of(load(config))
    with node.running():
        reloader = Reloader(config, node.settings, node.receiver.reload, every=0.1)
        reloader.start()
        try:
            stays = ask(port, calling="OLD")
            assert stays.is_established
            assert verdict(ask(port, calling="NEW")) == NOTHING_TOLD
            write('ae_title = "NEW"\n')
            _until(lambda: verdict(ask(port, calling="NEW")) == "in")
            assert verdict(ask(port, calling="OLD")) == NOTHING_TOLD
            assert stays.is_established
            assert verdict(stays) == "in"
            write('ae_title = "NEW"\naddresses = ["nonsense"]\n')
            time.sleep(0.5)
            assert verdict(ask(port, calling="NEW")) == "in"
            write('ae_title = "NEW"\n')
            before = _served(tls_port, identity)
            authority.issue("candela.test", "localhost", file=identity.certificate.stem)  # the same files, anew
            _until(lambda: _served(tls_port, identity) != before)
        finally:
            reloader.stop()


def _served(port: int, identity: Identity) -> bytes | None:
    """The certificate that the node shows now."""
    context = ssl.create_default_context(cafile=str(identity.trusted))
    context.load_cert_chain(identity.certificate, identity.key)
    with _shaken(port, context) as secure:
        return secure.getpeercert(binary_form=True)


def test_figures_tell_who_was_denied_and_when_certificates_end(tmp_path: Path, authority: Authority) -> None:
    ends = datetime.now(UTC) + timedelta(days=5)
    identity = authority.issue("candela.test", expires=ends)
    metrics = Metrics(port=free_port())
    with running_receiver(tmp_path, metrics=metrics, tls_port=free_port(), tls=identity.tls()) as node:
        ask(node.port, calling="STRANGER")
        page = httpx.get(f"http://127.0.0.1:{metrics.port}/metrics", trust_env=False).text
    figures = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    assert float(figures['candela_associations_denied_total{cause="calling_ae"}']) == 1
    assert float(figures["candela_associations_rejected_total"]) == 1
    assert 0 < float(figures["candela_disk_used_ratio"]) < 1
    expiry = float(figures[f'candela_certificate_expiry_timestamp_seconds{{file="{identity.certificate}"}}'])
    assert abs(expiry - ends.timestamp()) < 5
    assert "STRANGER" not in page


IN_A = '[receive]\nallow = ["a", "b"]\n[peers.b]\nae_title = "B"\n[peers.a]\nae_title = "A"'
OUT_P = '[destinations.p]\nkind = "dicom"\npeer = "p"'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[receive]\ntls_port = 2762", "needs the table .tls."),
        ("[receive]\nrequire_tls = true", "leaves no port"),
        (f"{IN_A}\nrequire_tls = true", "must come by TLS"),
        (IN_A.replace('"B"', '"A"'), "two peers"),
        (f'{IN_A}\naddresses = ["10.0.0.300"]', "peers.a.addresses"),
        (f'{IN_A}\ncertificates = ["abc"]', "SHA-256"),
        (
            f'{OUT_P}\n[peers.p]\nae_title = "P"\nhost = "h"\nport = 1\ntls = true',
            "destinations.p: P is called",
        ),
        (f'{OUT_P}\ncommitment = true\n[peers.p]\nae_title = "P"\nhost = "h"\nport = 1', "receive.allow must name it"),
    ],
)
def test_settings_that_let_nobody_in_or_hear_nobody_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "candela.toml"
    path.write_text(text)
    with pytest.raises(BadSettings, match=complaint):
        load(path)


def test_a_key_that_is_not_the_certificates_keeps_the_receiver_from_starting(
    tmp_path: Path, authority: Authority, identity: Identity
) -> None:
    other = authority.issue("other.test")
    wrong = Identity(identity.certificate, other.key, identity.trusted)
    with (
        pytest.raises(BadSettings, match="cannot be used"),
        running_receiver(tmp_path, tls_port=free_port(), tls=wrong.tls()),
    ):
        pass


def _audited(node: Node) -> set[str]:
    """The reasons in the audit trail."""
    return {line["reason"] for file in files(node.settings.audit_dir) for line in read(file)}


def _until(holds: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
