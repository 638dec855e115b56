"""STOW-RS as a destination: what the server says of the instance that was sent decides, and nothing else."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from dicom_node.deliver.dicomweb import DicomWebSender
from dicom_node.deliver.journal import Journal
from dicom_node.settings.destinations import DicomWebDestination
from pipeline.errors import BadSettings, CandelaError, PeerBusy, PeerUnavailable, Rejected
from tests.peers.engine_worker import capture
from tests.peers.http import Asked, HttpPeer, Reply
from tests.peers.no_server import listener
from tests.peers.oauth2 import TokenEndpoint
from tests.peers.ports import free_port
from tests.peers.stow import datasets_of, files_of, response, takes_all
from tests.peers.tls import Authority

NAMES = ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
Answer = Callable[[Asked], Reply]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    """Three Secondary Capture files of one series."""
    return tuple(
        capture(tmp_path / f"{n}.dcm", sop_instance_uid=name, series_instance_uid="1.2.3")
        for n, name in enumerate(NAMES)
    )


@pytest.fixture
def send(tmp_path: Path) -> Callable[..., str]:
    """``send(url, files, ...)``: the receipt; further arguments are settings."""

    def sent(url: str, files: tuple[Path, ...], **more: Any) -> str:
        to = DicomWebDestination.model_validate({"kind": "dicomweb", "url": url, "timeout": 5, **more})
        return DicomWebSender(to, tmp_path / "locks").send(files)

    return sent


def name_of(asked: Asked) -> str:
    (ds,) = datasets_of(asked)
    return str(ds.SOPInstanceUID)


def for_second(answer: Answer) -> Answer:
    """``answer`` for the second of `NAMES`; the others are stored, and searches are not offered."""

    def answered(asked: Asked) -> Reply:
        if asked.method == "GET":
            return Reply(404)
        return answer(asked) if name_of(asked) == NAMES[1] else takes_all(asked)

    return answered


def test_each_file_goes_as_it_is(files: tuple[Path, ...], send: Callable[..., str]) -> None:
    """Byte for byte, one a request, to /studies."""
    with HttpPeer(takes_all) as peer:
        assert send(f"{peer.url}/dicom-web/", files) == "3 instances stored, 0x0000"
    assert [(asked.method, asked.path) for asked in peer.asked] == [("POST", "/dicom-web/studies")] * 3
    assert [files_of(asked) for asked in peer.asked] == [[path.read_bytes()] for path in files]
    assert {asked.headers["Accept"] for asked in peer.asked} == {"application/dicom+json"}
    assert all("Authorization" not in asked.headers for asked in peer.asked)


@pytest.mark.parametrize("as_list", [False, True])
def test_a_warning_is_success_with_a_note(files: tuple[Path, ...], send: Callable[..., str], as_list: bool) -> None:
    """202: the server has the instance and changed something."""

    def answer(asked: Asked) -> Reply:
        found = response(202, stored=[name_of(asked)], warning=0xB000)
        return Reply(202, [found.body], found.headers) if as_list else found

    with HttpPeer(answer) as peer:
        assert send(peer.url, files) == "3 instances stored, 3 × 0xB000 elements coerced"


@pytest.mark.parametrize("status", [200, 202, 409])
@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (0xA900, "0xA900 data set does not match SOP class"),
        (0xC000, "0xC000 cannot understand"),
        (0, "no reason given"),
    ],
)
def test_a_failed_instance_is_final_and_keeps_no_other_back(
    files: tuple[Path, ...], send: Callable[..., str], status: int, reason: int, text: str
) -> None:
    """Whatever the status; the error names the instance, the others are stored and not sent again."""
    refusing = for_second(lambda asked: response(status, failed={name_of(asked): reason}))
    with HttpPeer(refusing) as peer:
        for count in (3, 4):
            with pytest.raises(Rejected, match=rf"refused 1 of 3 instances: instance 1\.2\.3\.2: {text}"):
                send(peer.url, files)
            assert sum(asked.method == "POST" for asked in peer.asked) == count


def test_a_failure_of_a_part_without_name_is_that_of_the_instance(
    files: tuple[Path, ...], send: Callable[..., str]
) -> None:
    """OtherFailuresSequence: the server could not read the UID."""
    other = {"0008119A": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xC000]}}]}}
    with (
        HttpPeer(for_second(lambda asked: Reply(409, other))) as peer,
        pytest.raises(Rejected, match=r"1\.2\.3\.2: 0xC000"),
    ):
        send(peer.url, files)


@pytest.mark.parametrize("reason", [0x0111, 0xB00E])
def test_what_is_there_already_is_stored(files: tuple[Path, ...], send: Callable[..., str], reason: int) -> None:
    """Its UID is derived: what the server has under it is what a delivery brought that was cut off."""
    with HttpPeer(for_second(lambda asked: response(409, failed={name_of(asked): reason}))) as peer:
        assert send(peer.url, files) == "3 instances stored, 1 × 0x0111 there already"


@pytest.mark.parametrize("reason", [0xA700, 0x0110, 0x0213, 0xB00F])
def test_a_server_out_of_resources_is_tried_again(
    files: tuple[Path, ...], send: Callable[..., str], reason: int
) -> None:
    """And the attempt stops at once."""
    with (
        HttpPeer(for_second(lambda asked: response(409, failed={name_of(asked): reason}))) as peer,
        pytest.raises(PeerBusy, match=f"0x{reason:04X}.*instance 2 of 3"),
    ):
        send(peer.url, files)
    assert len(peer.asked) == 2


@pytest.mark.parametrize(
    ("status", "headers", "kind", "wait"),
    [
        (503, {"Retry-After": "7"}, PeerBusy, 7.0),
        (429, {"Retry-After": "120"}, PeerBusy, 120.0),
        (408, {}, PeerBusy, None),
        (500, {}, PeerUnavailable, None),
        (502, {}, PeerUnavailable, None),
        (424, {}, PeerUnavailable, None),
    ],
)
def test_what_may_pass_is_tried_again_from_where_it_stopped(
    files: tuple[Path, ...],
    send: Callable[..., str],
    status: int,
    headers: dict[str, str],
    kind: type[PeerBusy],
    wait: float | None,
) -> None:
    """The wait is the server's. The next try brings what is missing."""
    with HttpPeer(for_second(lambda _: Reply(status, None, headers))) as peer:
        with pytest.raises(kind, match=f"answered {status}") as error:
            send(peer.url, files)
        assert error.value.retry_after == wait
        peer.answer = lambda asked: takes_all(asked) if asked.method == "POST" else Reply(404)
        assert send(peer.url, files) == "2 instances stored, 0x0000; 1 sent earlier"


@pytest.mark.parametrize(
    ("status", "advice"),
    [(301, "url"), (400, "log"), (401, "token"), (403, "token"), (404, "url"), (413, "larger"), (501, "log")],
)
def test_what_no_wait_changes_is_a_dead_letter(
    files: tuple[Path, ...], send: Callable[..., str], status: int, advice: str
) -> None:
    """The text of the server, which may name the patient, is not repeated."""
    with (
        HttpPeer(lambda _: Reply(status, "Prüfung^Ärztin")) as peer,
        pytest.raises(Rejected, match=str(status)) as error,
    ):
        send(peer.url, files)
    assert advice in error.value.todo
    assert "Ärztin" not in str(error.value)
    assert len(peer.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: Reply(200, "<html>Log in</html>", {"Content-Type": "text/html"}),
        lambda _: Reply(200, None, {"Content-Type": "application/dicom+json"}),
        lambda _: Reply(200, {}, {"Content-Type": "application/dicom+json"}),
        lambda _: Reply(409, "conflict", {"Content-Type": "text/plain"}),
    ],
)
def test_a_success_that_names_no_instance_is_none(
    files: tuple[Path, ...], send: Callable[..., str], answer: Answer
) -> None:
    """A log-in page, an empty body, an empty response: something else than STOW-RS answers."""
    with HttpPeer(answer) as peer, pytest.raises(Rejected, match=r"does not say what became of the instance"):
        send(peer.url, files)


def test_an_answer_for_another_instance_is_no_success(files: tuple[Path, ...], send: Callable[..., str]) -> None:
    with (
        HttpPeer(for_second(lambda _: response(stored=[NAMES[0]]))) as peer,
        pytest.raises(PeerUnavailable, match=r"another instance .* \(instance 2 of 3\)"),
    ):
        send(peer.url, files)


def test_an_answer_cut_off_is_none(files: tuple[Path, ...], send: Callable[..., str]) -> None:
    """It has the status 200, and half of its body."""
    with HttpPeer(for_second(lambda asked: response(stored=[name_of(asked)], cut=True))) as peer:
        with pytest.raises(PeerUnavailable, match="closed the connection"):
            send(peer.url, files)
        peer.answer = lambda asked: takes_all(asked) if asked.method == "POST" else Reply(204)
        assert send(peer.url, files) == "3 instances stored, 0x0000"


@pytest.mark.parametrize("behaviour", ["silent", "rude"])
def test_what_does_not_answer_is_unavailable_in_bounded_time(
    files: tuple[Path, ...], send: Callable[..., str], behaviour: str
) -> None:
    said = r"did not answer within 1 s|closed the conn"
    with listener(behaviour) as port, pytest.raises(PeerUnavailable, match=said):
        send(f"http://127.0.0.1:{port}", files, timeout=1)


def test_a_port_where_nobody_listens_is_unavailable(files: tuple[Path, ...], send: Callable[..., str]) -> None:
    """The error has the address without user and password."""
    port = free_port()
    with pytest.raises(PeerUnavailable, match=rf"ConnectError.*\[http://127\.0\.0\.1:{port}/dicom-web\]"):
        send(f"http://user:secret@127.0.0.1:{port}/dicom-web", files)


def test_a_kill_between_answer_and_journal_sends_the_same_bytes_again(
    files: tuple[Path, ...], send: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has the second instance, and the node does not know: it sends it once more, and no other."""
    note = Journal.note

    def killed(self: Journal, name: str, path: Path) -> None:
        if name == NAMES[1]:
            raise KeyboardInterrupt
        note(self, name, path)

    held: dict[str, bytes] = {}

    def keeping(asked: Asked) -> Reply:
        if asked.method == "GET":
            return Reply(200, [{"00080018": {"vr": "UI", "Value": [asked.path]}}])
        (file,) = files_of(asked)
        assert held.setdefault(name_of(asked), file) == file
        return takes_all(asked)

    with HttpPeer(keeping) as peer:
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "note", killed)
            with pytest.raises(KeyboardInterrupt):
                send(peer.url, files)
        assert send(peer.url, files) == "2 instances stored, 0x0000; 1 sent earlier"
        assert send(peer.url, files) == "3 sent earlier"
    assert [name_of(asked) for asked in peer.asked if asked.method == "POST"] == [*NAMES[:2], *NAMES[1:]]


@pytest.mark.parametrize(
    ("answer", "again"), [(Reply(204), True), (Reply(200, []), True), (Reply(501), False), (Reply(200, "?"), False)]
)
def test_what_the_server_has_lost_is_sent_again(
    files: tuple[Path, ...], send: Callable[..., str], answer: Reply, again: bool
) -> None:
    """Asked by QIDO-RS; a server that cannot search still has what it took."""
    with HttpPeer(takes_all) as peer:
        send(peer.url, files[:1])
        peer.answer = lambda asked: takes_all(asked) if asked.method == "POST" else answer
        assert send(peer.url, files[:1]) == ("1 instance stored, 0x0000" if again else "1 sent earlier")
    study = dcmread(files[0]).StudyInstanceUID
    asked = next(asked for asked in peer.asked if asked.method == "GET")
    assert asked.path == f"/studies/{study}/series/1.2.3/instances?SOPInstanceUID=1.2.3.1&limit=1"


@pytest.mark.parametrize("status", [202, 409, 415])
def test_a_server_that_takes_no_compressed_object_gets_it_decoded(
    files: tuple[Path, ...], send: Callable[..., str], status: int
) -> None:
    """The same instance with the same pixels; once it was told, the node does not try with the others."""
    for path in files:
        ds = dcmread(path)
        ds.compress(RLELossless, generate_instance_uid=False)
        ds.save_as(path)

    def answer(asked: Asked) -> Reply:
        (ds,) = datasets_of(asked)
        if not ds.file_meta.TransferSyntaxUID.is_encapsulated:
            return takes_all(asked)
        return Reply(415) if status == 415 else response(status, failed={name_of(asked): 0xC122})

    with HttpPeer(answer) as peer:
        assert send(peer.url, files) == "3 instances stored, 0x0000"
    assert [name_of(asked) for asked in peer.asked] == [NAMES[0], *NAMES]
    for path, asked in zip(files, peer.asked[1:], strict=True):
        (ds,) = datasets_of(asked)
        assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert (ds.pixel_array == dcmread(path).pixel_array).all()
    with HttpPeer(takes_all) as peer:
        send(peer.url, files)
    assert [files_of(asked) for asked in peer.asked] == [[path.read_bytes()] for path in files]


def test_a_syntax_that_is_refused_uncompressed_too_is_named(files: tuple[Path, ...], send: Callable[..., str]) -> None:
    with (
        HttpPeer(lambda asked: response(409, failed={name_of(asked): 0xC122})) as peer,
        pytest.raises(Rejected, match="0xC122 transfer syntax not supported"),
    ):
        send(peer.url, files)
    assert len(peer.asked) == 3


def authorised(tokens: Callable[[], str]) -> Answer:
    """Stores what comes with the present token."""
    return lambda asked: takes_all(asked) if asked.headers.get("Authorization") == tokens() else Reply(401)


def test_who_the_node_is(files: tuple[Path, ...], send: Callable[..., str], tmp_path: Path) -> None:
    """User and password, a token, a token's file, which may be replaced in between, and the key of a gateway."""
    secret = tmp_path / "token"
    secret.write_text("old\n")
    ways: list[tuple[dict[str, Any], str]] = [
        ({"username": "candela", "password": "Ärztin:1"}, "Basic Y2FuZGVsYTrDhHJ6dGluOjE="),
        ({"bearer_token": "abc"}, "Bearer abc"),
        ({"bearer_token_file": str(secret)}, "Bearer old"),
    ]
    for number, (way, header) in enumerate(ways):
        with HttpPeer(authorised(lambda: header)) as peer:  # noqa: B023
            send(f"{peer.url}/{number}", files, **way, headers={"X-Api-Key": "k"})
        assert {asked.headers["X-Api-Key"] for asked in peer.asked} == {"k"}
    with HttpPeer(authorised(lambda: "Bearer new")) as peer, pytest.raises(Rejected, match="401"):
        send(f"{peer.url}/4", files, bearer_token_file=str(secret))
    assert len(peer.asked) == 1


def test_a_token_never_goes_in_clear_text(files: tuple[Path, ...], send: Callable[..., str]) -> None:
    oauth2 = {"token_url": "https://login.example/token", "client_id": "a", "client_secret": "b"}
    for way in ({"bearer_token": "abc"}, {"oauth2": oauth2}, {"headers": {"X-Api-Key": "k"}}):
        with pytest.raises(BadSettings, match="clear text"):
            send("http://pacs.example/dicom-web", files, **way)


@pytest.mark.parametrize("authentication", ["basic", "post"])
def test_client_credentials_get_a_token_which_is_kept_and_renewed_once(
    files: tuple[Path, ...], send: Callable[..., str], authentication: str
) -> None:
    """Authlib's token endpoint; the secret has what basic authentication must quote. Answered 401, one new token."""
    with TokenEndpoint("node:1", "s3cret%41/+ ü:") as endpoint:
        oauth2 = {
            "token_url": endpoint.url,
            "client_id": "node:1",
            "client_secret": "s3cret%41/+ ü:",
            "scope": "dicom.write",
            "audience": "pacs",
            "authentication": authentication,
        }
        with HttpPeer(authorised(lambda: f"Bearer {endpoint.valid[-1]}")) as peer:
            assert send(peer.url, files[:2], oauth2=oauth2, headers={"X-Api-Key": "k"}) == "2 instances stored, 0x0000"
            assert (len(endpoint.valid), len(peer.asked)) == (1, 2)
            endpoint.valid.append("another")  # the server forgets the first
            assert send(peer.url, files[2:], oauth2=oauth2) == "1 instance stored, 0x0000"
            assert (len(endpoint.asked), len(peer.asked)) == (2, 4)
            endpoint.valid.append("another")
            peer.answer = lambda _: Reply(401)
            shutil.rmtree(files[2].parent / ".sent")
            with pytest.raises(Rejected, match="401"):
                send(peer.url, files[2:], oauth2=oauth2)
            assert (len(endpoint.asked), len(peer.asked)) == (3, 6)
    form, headers = endpoint.asked[0]
    assert (form["scope"], form["audience"]) == ("dicom.write", "pacs")
    assert ("client_secret" in form) == (authentication == "post")
    assert "X-Api-Key" not in headers


def test_a_secret_that_the_token_endpoint_does_not_know_is_told(
    files: tuple[Path, ...], send: Callable[..., str]
) -> None:
    with (
        TokenEndpoint("node", "right") as endpoint,
        HttpPeer(takes_all) as peer,
        pytest.raises(Rejected, match=r"answered 401: invalid_client.*Check client_id, client_secret"),
    ):
        send(peer.url, files, oauth2={"token_url": endpoint.url, "client_id": "node", "client_secret": "wrong"})
    assert not peer.asked


def test_mutual_tls(files: tuple[Path, ...], send: Callable[..., str], tmp_path: Path) -> None:
    """With our certificate and the server's authority; without either there is no connection."""
    authority = Authority(tmp_path / "tls")
    ours, theirs = authority.issue("candela.test"), authority.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theirs.certificate, theirs.key)
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    trusted = {"trusted": str(authority.file)}
    identity = {"certificate": str(ours.certificate), "key": str(ours.key)}
    stranger = Authority(tmp_path / "elsewhere").issue("candela.test")
    with HttpPeer(takes_all) as peer:
        peer.use_tls(context)
        url = peer.url.replace("http://127.0.0.1", "https://localhost")
        assert send(url, files, tls={**trusted, **identity}, bearer_token="abc") == "3 instances stored, 0x0000"
        for tls in (
            trusted,
            {"trusted": str(stranger.trusted), **identity},
            {**trusted, "certificate": str(stranger.certificate), "key": str(stranger.key)},
        ):
            with pytest.raises(PeerUnavailable):
                send(url, files, tls=tls)
    assert len(peer.asked) == 3


def test_the_errors_are_ours(files: tuple[Path, ...], send: Callable[..., str]) -> None:
    """Answers that are not even malformed STOW-RS."""
    for body in ({"00081199": 5}, {"00081199": {"Value": [7, {"00081155": {"Value": None}}]}}, 5, [], [{}, {}]):
        with HttpPeer(lambda _: Reply(200, body)) as peer, pytest.raises(CandelaError):  # noqa: B023
            send(peer.url, files)
