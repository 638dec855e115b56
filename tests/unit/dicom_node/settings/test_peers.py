"""The address book: a peer is written once, and named everywhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dicom_node.settings.destinations import DicomDestination
from dicom_node.settings.peers import DicomPeer, FindCount
from dicom_node.settings.remotes import DicomRemote, DicomWebRemote
from dicom_node.settings.tree import Settings, load
from pipeline.errors import BadSettings

BOOK = """
[peers.pacs]
ae_title = "PACS"
host = "10.1.2.5"
port = 104
expected_count = {kind = "c-find"}
[peers.mr1]
ae_title = "MR1"
addresses = ["10.1.2.0/24"]
expected_count = {kind = "c-find", peer = "pacs"}
commitment_to = "mr1-reports"
[peers.mr1-reports]
ae_title = "MR1_SCP"
host = "10.1.2.6"
port = 105
[peers.vna]
ae_title = "VNA"
"""
USES = """
[receive]
allow = ["mr1", "pacs"]
stow = {clients = [{peer = "vna", bearer_token = "0123456789abcdef"}]}
[destinations.out]
kind = "dicom"
peer = "pacs"
commitment = true
[remotes.archive]
kind = "dicom"
peer = "pacs"
[remotes.web]
kind = "dicomweb"
url = "http://10.1.2.7/dicom-web"
peer = "vna"
"""


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "candela.toml"
    path.write_text(text)
    return load(path)


def test_every_table_gets_what_the_book_says(tmp_path: Path) -> None:
    settings = read(tmp_path, BOOK + USES)
    pacs = DicomPeer(ae_title="PACS", host="10.1.2.5", port=104)
    pacs.called("pacs")
    out, archive, web = settings.destinations["out"], settings.remotes["archive"], settings.remotes["web"]
    assert isinstance(out, DicomDestination)
    assert isinstance(archive, DicomRemote)
    assert isinstance(web, DicomWebRemote)
    assert out.peer == archive.peer == pacs
    assert [peer.ae_title for peer in settings.receive.allow] == ["MR1", "PACS"]
    for peer in settings.receive.allow:
        assert isinstance(peer.expected_count, FindCount)
        assert peer.expected_count.peer == pacs
    mr1 = settings.receive.peer("MR1")
    assert mr1 is settings.peers["mr1"]
    assert mr1.commitment_to is not None
    assert (mr1.commitment_to.ae_title, mr1.commitment_to.port) == ("MR1_SCP", 105)
    assert web.ae_title == "VNA"
    assert settings.receive.stow is not None
    assert settings.receive.stow.clients[0].ae_title == "VNA"
    assert settings.receive.peer("VNA") is None, "a peer that receive.allow does not name may not send"


def test_a_variable_changes_a_peer_for_all_who_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_PEERS__PACS__PORT", "11112")
    settings = read(tmp_path, BOOK + USES)
    assert {settings.destinations["out"].peer.port, settings.remotes["archive"].peer.port} == {11112}
    assert settings.receive.allow[0].expected_count.peer.port == 11112


def test_settings_are_shown_with_the_names_of_peers(tmp_path: Path) -> None:
    shown = json.loads(json.dumps(read(tmp_path, BOOK + USES).model_dump(mode="json")))
    assert shown["receive"]["allow"] == ["mr1", "pacs"]
    assert shown["destinations"]["out"]["peer"] == "pacs"
    assert shown["peers"]["mr1"]["expected_count"]["peer"] == "pacs"
    assert shown["peers"]["pacs"]["port"] == 104


KNOWN = r"there is no peer 'x' \(known: pacs, mr1, mr1-reports, vna\)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'{BOOK}[receive]\nallow = ["pacs", "x"]', rf"receive.allow.1: {KNOWN}"),
        (f'{BOOK}[destinations.d]\nkind = "dicom"\npeer = "x"', rf"destinations.d.peer: {KNOWN}"),
        (f'{BOOK}[remotes.r]\nkind = "dicom"\npeer = "x"', rf"remotes.r.peer: {KNOWN}"),
        (f'{BOOK}[remotes.r]\nkind = "dicomweb"\nurl = "http://h"\npeer = "x"', rf"remotes.r.peer: {KNOWN}"),
        (f'{BOOK}expected_count = {{kind = "c-find", peer = "x"}}', rf"peers.vna.expected_count.peer: {KNOWN}"),
        (f'{BOOK}commitment_to = "x"', rf"peers.vna.commitment_to: {KNOWN}"),
        (
            f'{BOOK}[receive.stow]\nclients = [{{peer = "x", bearer_token = "0123456789abcdef"}}]',
            rf"receive.stow.clients.0.peer: {KNOWN}",
        ),
        ('[receive]\nallow = ["x"]', r"there is no peer 'x' \(known: none\)"),
        (
            f'{BOOK}[destinations.d]\nkind = "dicom"\npeer = "mr1"',
            "destinations.d.peer: peers.mr1 has no host and port",
        ),
        (f'{BOOK}expected_count = {{kind = "c-find"}}', "peers.vna.expected_count.peer.host: Field required"),
        ('[peers.a]\nae_title = "A"\nhost = "h"', "peers.a: host and port go together"),
        ("[peers.a]\nae_title = '\\xdcA'\nhost = 'h'\nport = 1", "peers.a: the node cannot call an AE title"),
        ('[peers.a]\nae_title = "A"\nprt = 1', "peers.a.prt: there is no such setting"),
        (f'{BOOK}[destinations.d]\nkind = "dicom"', "destinations.d.peer: Field required"),
        (
            f'{BOOK}[destinations.d]\nkind = "dicom"\npeer = {{ae_title = "A", host = "h", port = 1}}',
            "destinations.d.peer: there is no peer",
        ),
    ],
)
def test_a_mistake_is_named_by_its_setting(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadSettings, match=message):
        read(tmp_path, text)


def test_an_error_in_the_book_is_told_once(tmp_path: Path) -> None:
    """And not again for each table that names the peer."""
    with pytest.raises(BadSettings) as caught:
        read(tmp_path, (BOOK + USES).replace('host = "10.1.2.5"\nport = 104', 'host = "10.1.2.5"\nport = 70000'))
    assert "peers.pacs.port: Input should be less than or equal to 65535" in caught.value.what
    assert "destinations" not in caught.value.what
    assert "receive" not in caught.value.what
