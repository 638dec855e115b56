"""SMART Backend Services: reports reach a real R4 server through Authlib's token endpoint, and only by its rules."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.deliver.fhir import FhirSender, signing_key
from dicom_node.settings.destinations import FhirDestination
from fhir.server.auth import SigningKey, SmartBackend, SmartClient
from pipeline.errors import BadSettings, PeerBusy, PeerUnavailable, Rejected
from tests.peers.fhir_server import FhirServer
from tests.peers.ports import free_port
from tests.peers.smart import SmartPeer
from tools.small_bundle import written


def pem(key: Any) -> str:
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded.decode()


RSA_KEY = pem(rsa.generate_private_key(65537, 2048))
EC_KEY = pem(ec.generate_private_key(ec.SECP384R1()))


@pytest.fixture(scope="module")
def server(fhir_server: FhirServer) -> FhirServer:
    return fhir_server


@pytest.fixture
def peer(server: FhirServer) -> Iterator[SmartPeer]:
    with SmartPeer(server.url) as running:
        yield running


def destination(peer: SmartPeer, folder: Path, key: str = RSA_KEY, **smart: str) -> FhirDestination:
    """A destination whose key is in a file and registered with ``peer``."""
    path = folder / "key.pem"
    path.write_text(key)
    found = FhirDestination(
        kind="fhir", url=peer.url, smart={"client_id": "candela", "private_key_file": str(path), **smart}
    )
    peer.keys.append(signing_key(found.smart).public_jwk)  # type: ignore[arg-type]
    return found


def send(to: FhirDestination, folder: Path, key: str) -> str:
    """The receipt of a report of the study ``key``."""
    return FhirSender(to, folder / "locks").send((written(folder, key),))


@pytest.mark.parametrize(("key", "algorithm"), [(RSA_KEY, "RS384"), (EC_KEY, "ES384")])
def test_a_report_arrives_and_the_token_is_kept(
    server: FhirServer, peer: SmartPeer, tmp_path: Path, key: str, algorithm: str
) -> None:
    """One token for two deliveries, whose senders are new objects each; the assertion ends within five minutes."""
    to = destination(peer, tmp_path, key)
    before = server.count("DiagnosticReport")
    assert "created" in send(to, tmp_path, f"smart-{algorithm}")
    send(to, tmp_path, f"smart-{algorithm}")
    assert server.count("DiagnosticReport") == before + 1
    (form,) = peer.asked
    assert form["grant_type"] == "client_credentials"
    assert jwt.get_unverified_header(form["client_assertion"])["alg"] == algorithm
    assert peer.refused == 0


def test_an_expired_token_is_renewed_once(peer: SmartPeer, tmp_path: Path) -> None:
    """401, another token, then stored."""
    to = destination(peer, tmp_path)
    send(to, tmp_path, "smart-expired-1")
    peer.valid.clear()
    assert "created" in send(to, tmp_path, "smart-expired-2")
    assert (peer.refused, len(peer.asked)) == (1, 2)


def test_a_server_that_takes_no_token_is_asked_twice_and_no_more(peer: SmartPeer, tmp_path: Path) -> None:
    """A dead letter then; the token, which the server repeats, is not in the error."""
    to = destination(peer, tmp_path)
    peer.valid = Forgetful()
    with pytest.raises(Rejected, match="401") as caught:
        send(to, tmp_path, "smart-never")
    assert (peer.refused, len(peer.asked)) == (2, 2)
    assert "has expired" in str(caught.value)
    told = str(caught.value) + "".join(caught.value.details)
    assert all(token not in told for token in peer.valid.given)


class Forgetful(set):  # type: ignore[type-arg]
    """A store of tokens that knows none of those it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[str] = []

    def add(self, token: str) -> None:
        self.given.append(token)


def test_a_token_is_renewed_before_it_ends(server: FhirServer, tmp_path: Path) -> None:
    """One that lasts less than the margin serves what follows at once, and no later delivery."""
    with SmartPeer(server.url, lasts=20) as peer, httpx.Client(trust_env=False) as http:
        to = destination(peer, tmp_path)
        ago = 100.0
        client = SmartClient("candela", lambda: SigningKey.read(RSA_KEY), "system/*.cruds")
        backend = SmartBackend(to.url, client, clock=lambda: time.time() - ago)
        first = backend.header(http)
        assert backend.header(http) == first
        ago = 0.0
        assert backend.header(http) != first
    assert len(peer.asked) == 2


def test_the_endpoint_refuses_what_smart_refuses(peer: SmartPeer, tmp_path: Path) -> None:
    """An unregistered key, another client, another audience: each a dead letter that says so; and replay is noticed."""
    to = destination(peer, tmp_path)
    send(to, tmp_path, "smart-refused")
    replayed = httpx.post(peer.token_url, data=peer.asked[0], trust_env=False)
    assert (replayed.status_code, "used before" in replayed.text) == (400, True)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    other = destination(peer, stranger, EC_KEY)
    peer.keys.pop()
    with pytest.raises(Rejected, match="invalid_client"):
        send(other, stranger, "smart-refused")
    with pytest.raises(Rejected, match="does not exist"):
        send(destination(peer, stranger, client_id="somebody"), stranger, "smart-refused")
    elsewhere = peer.token_url.replace("127.0.0.1", "localhost")
    with pytest.raises(Rejected, match="aud"):
        send(destination(peer, stranger, token_url=elsewhere), stranger, "smart-refused")


def test_a_new_key_needs_no_restart(peer: SmartPeer, tmp_path: Path) -> None:
    """The file is read for each token."""
    to = destination(peer, tmp_path)
    send(to, tmp_path, "smart-rotate")
    peer.valid.clear()
    peer.keys.clear()
    destination(peer, tmp_path, EC_KEY)
    send(to, tmp_path, "smart-rotate")
    assert [jwt.get_unverified_header(form["client_assertion"])["alg"] for form in peer.asked] == ["RS384", "ES384"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, "smart.token_url"),
        ({"token_endpoint": None}, "smart.token_url"),
        ({"token_endpoint_auth_methods_supported": ["client_secret_basic"]}, "private_key_jwt"),
        ({"token_endpoint_auth_signing_alg_values_supported": ["ES384"]}, "RS384"),
    ],
)
def test_a_server_without_backend_services_is_told(
    peer: SmartPeer, tmp_path: Path, change: dict[str, Any] | None, said: str
) -> None:
    """What discovery lacks, and what to do."""
    peer.configuration = None if change is None else {**(peer.configuration or {}), **change}
    with pytest.raises(Rejected, match=said):
        send(destination(peer, tmp_path), tmp_path, "smart-none")
    assert peer.asked == []


def test_a_token_endpoint_in_clear_text_gets_no_assertion(peer: SmartPeer, tmp_path: Path) -> None:
    """However the server names it."""
    peer.configuration = {"token_endpoint": "http://ehr.example/token"}
    with pytest.raises(BadSettings, match="https"):
        send(destination(peer, tmp_path), tmp_path, "smart-clear")


def test_a_token_endpoint_that_is_busy_or_down_is_tried_again(peer: SmartPeer, tmp_path: Path) -> None:
    """429 with its Retry-After, 503, and no answer at all."""
    to = destination(peer, tmp_path)
    peer.deny = (429, {"Retry-After": "120"})
    with pytest.raises(PeerBusy) as caught:
        send(to, tmp_path, "smart-busy")
    assert caught.value.retry_after == 120
    peer.deny = (500, {})
    with pytest.raises(PeerUnavailable):
        send(to, tmp_path, "smart-busy")
    down = destination(peer, tmp_path, token_url=f"http://127.0.0.1:{free_port()}/token")
    with pytest.raises(PeerUnavailable):
        send(down, tmp_path, "smart-busy")


def test_no_secret_reaches_a_log(peer: SmartPeer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither token nor assertion, whatever the level."""
    for name in ("", "httpx", "httpcore"):  # the node silences the last two
        caplog.set_level(logging.DEBUG, logger=name)
    send(destination(peer, tmp_path), tmp_path, "smart-log")
    ours = "".join(item.getMessage() for item in caplog.records if not item.name.startswith(("authlib", "werkzeug")))
    assert "HTTP Request" in ours  # the HTTP client did log
    assert peer.asked[0]["client_assertion"] not in ours
    assert not any(token in ours for token in peer.valid)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not a key",
        pem(rsa.generate_private_key(65537, 1024)),
        pem(ec.generate_private_key(ec.SECP256R1())),
        '{"kty": "oct", "k": "c2VjcmV0"}',
        "{",
    ],
)
def test_a_key_that_smart_cannot_use_is_refused(text: str) -> None:
    """Short RSA, another curve, a shared secret, no key."""
    with pytest.raises(BadSettings, match="no private key"):
        SigningKey.read(text)


def test_the_public_key_is_printed_for_registration(tmp_path: Path) -> None:
    """A JWK set without a private part; `config show` masks the key that stands in the settings."""
    config = tmp_path / "candela.toml"
    config.write_text(
        f"data_dir = {json.dumps(str(tmp_path))}\n[destinations.ehr]\nkind = 'fhir'\nurl = 'https://ehr.example/fhir'\n"
        f"[destinations.ehr.smart]\nclient_id = 'candela'\nprivate_key = {json.dumps(RSA_KEY)}\n"
    )
    printed = CliRunner().invoke(app, ["config", "jwks", "ehr", "--config", str(config)])
    (key,) = json.loads(printed.stdout)["keys"]
    assert (key["kty"], key["alg"], key["use"]) == ("RSA", "RS384", "sig")
    assert not {"d", "p", "q"} & set(key)
    shown = CliRunner().invoke(app, ["config", "show", "--config", str(config)]).stdout
    assert "PRIVATE KEY" not in shown
    assert "ehr.example" in shown
    assert CliRunner().invoke(app, ["config", "check", "--config", str(config)]).exit_code == 0
