"""Outgoing associations over TLS, to dcmtk and a real Orthanc that both want our certificate."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from typer.testing import CliRunner, Result

from dicom_node.cli import app
from dicom_node.deliver.dimse import DimseSender
from dicom_node.fetch.sinks import NodeSink
from dicom_node.network.find import finding
from dicom_node.settings.destinations import DicomDestination
from dicom_node.settings.peers import DicomPeer, Peer
from dicom_node.settings.remotes import DicomRemote
from pipeline import phantom
from pipeline.errors import BadSettings, PeerUnavailable
from tests.peers.dcmtk import require_dcmtk, running_storescp
from tests.peers.orthanc import running_orthanc
from tests.peers.ports import free_port
from tests.peers.receiver import running_receiver
from tests.peers.tls import Authority, Identity


@pytest.fixture(scope="module")
def series() -> tuple[Dataset, ...]:
    return phantom.head_phantom(slices=2, matrix=32, header=phantom.Header(key="tls-out"))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


def at(port: int, identity: Identity | None, *, ae_title: str = "PACS", name: str = "pacs.test") -> DicomDestination:
    peer = DicomPeer(ae_title=ae_title, host="127.0.0.1", port=port, tls=True, tls_name=name)
    peer.known_as(identity.tls() if identity else None)
    return DicomDestination(kind="dicom", peer=peer, timeout=20)


def test_dcmtk_takes_results_over_tls(tmp_path: Path, authority: Authority, series: tuple[Dataset, ...]) -> None:
    """With our certificate, and not when the PACS's certificate is another's or of an authority we do not trust."""
    require_dcmtk()
    ours, theirs = authority.issue("candela.test"), authority.issue("pacs.test")
    files = tuple(phantom.save(series, tmp_path / "results"))
    stranger = Authority(tmp_path / "elsewhere").issue("candela.test")
    with running_storescp(tmp_path / "in", None, *theirs.dcmtk(), ae_title="PACS") as port:
        assert DimseSender(at(port, ours), "CANDELA").send(files) == "2 instances stored, 0x0000"
        with pytest.raises(PeerUnavailable, match="TLS failed"):
            DimseSender(at(port, ours, name="other.test"), "CANDELA").send(files)
        with pytest.raises(PeerUnavailable):
            DimseSender(at(port, stranger), "CANDELA").send(files)
        with pytest.raises(BadSettings, match="needs the table"):
            DimseSender(at(port, None), "CANDELA").send(files)
    assert len(list((tmp_path / "in").iterdir())) == 2


def test_orthanc_takes_results_and_answers_queries_over_tls(
    tmp_path: Path, authority: Authority, series: tuple[Dataset, ...]
) -> None:
    ours, theirs = authority.issue("candela.test"), authority.issue("pacs.test")
    files = tuple(phantom.save(series, tmp_path / "results"))
    secure = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(theirs.certificate),
        "DicomTlsPrivateKey": str(theirs.key),
        "DicomTlsTrustedCertificates": str(theirs.trusted),
        "DicomTlsRemoteCertificateRequired": True,
    }
    with running_orthanc(tmp_path / "orthanc", candela_port=free_port(), plugins=False, extra=secure) as orthanc:
        target = at(orthanc.dicom_port, ours, ae_title=orthanc.ae_title)
        assert DimseSender(target, "CANDELA").send(files) == "2 instances stored, 0x0000"
        remote = DicomRemote(kind="dicom", peer=target.peer)
        with finding(remote, "CANDELA") as find:
            found = find.series(str(series[0].StudyInstanceUID), str(series[0].SeriesInstanceUID))
        assert len(found) == 1
        plain = target.model_copy(update={"peer": target.peer.model_copy(update={"tls": False})})
        with pytest.raises(PeerUnavailable):
            DimseSender(plain, "CANDELA").send(files)


def test_what_is_fetched_enters_a_node_without_a_plain_port(tmp_path: Path, authority: Authority) -> None:
    """`candela fetch` comes by the TLS port then, with the node's own certificate."""
    ours = authority.issue("candela.test")
    peers = (Peer(ae_title="ARCHIVE"),)
    with running_receiver(tmp_path, allow=peers, tls_port=free_port(), require_tls=True, tls=ours.tls()) as node:
        NodeSink(node.settings.receive, "ARCHIVE", node.settings.tls).check()
        with pytest.raises(PeerUnavailable):
            NodeSink(node.settings.receive, "STRANGER", node.settings.tls).check()


def test_a_peer_without_tls_is_spoken_to_plainly() -> None:
    from dicom_node.network import tls

    assert tls.towards(DicomPeer(ae_title="A", host="h", port=1)) is None


def test_echo_and_send_find_a_peer_by_its_name(
    tmp_path: Path, authority: Authority, series: tuple[Dataset, ...]
) -> None:
    """With what the address book says of it, TLS included; a name that it lacks is answered with those it has."""
    require_dcmtk()
    ours, theirs = authority.issue("candela.test"), authority.issue("pacs.test")
    phantom.save(series, tmp_path / "results")
    config = tmp_path / "candela.toml"
    with running_storescp(tmp_path / "in", None, *theirs.dcmtk(), ae_title="PACS") as port:
        config.write_text(
            f'[tls]\ncertificate = "{ours.certificate}"\nkey = "{ours.key}"\ntrusted = "{ours.trusted}"\n'
            f'[peers.pacs]\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {port}\ntls = true\ntls_name = "pacs.test"\n'
            '[peers.mr1]\nae_title = "MR1"\n'
        )

        def candela(*arguments: str) -> Result:
            return CliRunner().invoke(app, [*arguments, "--config", str(config)])

        assert candela("echo", "pacs").output == f"PACS at 127.0.0.1:{port} answers\n"
        assert "2 instances stored" in candela("send", "pacs", str(tmp_path / "results")).output
        assert "There is no peer 'pax' (known: pacs, mr1)" in str(candela("echo", "pax").exception)
        assert "no host and port. [peers.mr1]" in str(candela("echo", "mr1").exception)
    assert len(list((tmp_path / "in").iterdir())) == 2
