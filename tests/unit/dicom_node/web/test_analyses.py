"""A series uploaded to be read: its way from the form to the answer, and uploads that are refused."""

from __future__ import annotations

import html
import io
import json
import os
import stat
import struct
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from httpx import Response

from dicom_node.audit import trail
from dicom_node.settings.web import Role
from dicom_node.web import analyses, unpacking
from dicom_node.web.analyses import Analyses
from dicom_node.web.auth.principal import Scope
from pipeline import phantom
from tests.peers import gossip
from tests.peers.dashboard import PNG, Dashboard, completed, phantom_bytes

MakeBoard = Callable[..., Dashboard]
API = "/api/v1/analyses"
HOSTILE = '<script>alert("x")</script>'
SUMMARY = {
    "outcome": "finding",
    "statement": "The algorithm suggests glioma (model probability 0.93).",
    "predicted_class": "glioma",
    "probabilities": {"glioma": 0.93, "no_tumor": 0.07},
    "regions": [],
    "caveats": [],
    "model": {"name": "brain_mri_tumor", "version": "1", "digest": "0" * 64},
    "objects": [{"file": "overlay-1.dcm", "role": "overlay"}],
    "disclaimer": "Not for diagnosis.",
    "series_instance_uid": "1.2.3",
}
READS = f"""
import json, pathlib, sys
series, out = map(pathlib.Path, sys.argv[1:])
print("a library says hello")
print(json.dumps({{"stage": f"reading {{len(list(series.iterdir()))}}"}}))
(out / "previews").mkdir(parents=True)
(out / "previews" / "overlay-1.png").write_bytes({PNG!r})
(out / "overlay-1.dcm").write_bytes(b"DICM")
(out / "summary.json").write_text({json.dumps(json.dumps(SUMMARY))})
print(json.dumps({{"outcome": "finding", "code": None}}))
"""
"""A program in the place of the model's, for tests of what is around it."""


def program(text: str) -> analyses.Command:
    return lambda series, results, _model: [sys.executable, "-c", text, str(series), str(results)]


def use(board: Dashboard, text: str = READS, **more: Any) -> Analyses:
    """The analyses of ``board``, read by the program ``text``, when `step` is called."""
    made = Analyses(board.settings, command=program(text), **more)
    object.__setattr__(board.context, "analyses", made)
    return made


@pytest.fixture(scope="module")
def slices() -> list[bytes]:
    gossip.secret("Hochgeladen^Hanna", "PID-UPLOAD")
    header = phantom.Header(key="upload", patient_name="Hochgeladen^Hanna", patient_id="PID-UPLOAD")
    return [phantom_bytes(ds) for ds in phantom.head_phantom(slices=3, matrix=16, header=header)]


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def upload(board: Dashboard, data: bytes, **form: str) -> Response:
    return board.client(Role.OPERATOR).post(API, files={"file": ("x", data)}, data=form)


def left(board: Dashboard) -> list[str]:
    """Files that uploads left, without those of the lock."""
    return sorted(path.name for path in board.settings.uploads_dir.rglob("*") if path.is_file())


def test_a_series_is_uploaded_read_and_answered(board: Dashboard, slices: list[bytes]) -> None:
    made = use(board)
    client = board.client(Role.OPERATOR)
    data = zipped({"README.txt": b"hello", "a/1": slices[0], "a/2": slices[1], "b/1": slices[2]})
    sent = upload(board, data, model="brain_mri_tumor")
    assert sent.status_code == 202, sent.text
    where = sent.headers["location"]
    waits = client.get(where).json()
    assert (waits["state"], waits["files"], waits["by"], waits["results"]) == ("queued", 3, "operator", [])
    folder = board.settings.uploads_dir / waits["analysis_id"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    page = f"/try/{waits['analysis_id']}"
    assert 'hx-trigger="every 2s"' in client.get(page).text

    assert made.step()
    answer = client.get(where).json()
    assert (answer["state"], answer["findings"]["statement"]) == ("done", SUMMARY["statement"])
    picture, overlay = answer["results"]
    assert client.get(picture["href"]).content == PNG
    assert client.get(overlay["href"]).content == b"DICM"
    assert board.client(token=(Scope.OPERATE,)).get(overlay["href"]).status_code == 403
    assert client.get(f"{where}/results/summary.json").status_code == 404
    assert not (folder / "series").exists()  # the images are gone
    shown = client.get(page).text
    assert SUMMARY["statement"] in shown
    assert "every 2s" not in shown
    listed = client.get("/try").text
    assert page in listed
    lines = [line for path in trail.files(board.settings.audit_dir) for line in trail.read(path)]
    assert [line["what"] for line in lines if line.get("job") == waits["analysis_id"]] == [
        "series uploaded to be read",
        "overlay",
    ]
    assert client.delete(where).json() == {"text": "Removed."}
    assert client.get(where).status_code == 404
    assert not folder.exists()


def bomb() -> bytes:
    return zipped({"1": bytes(128) + b"DICM" + bytes(12 << 20)})


def lying() -> bytes:
    """A zip whose directory states a hundredth of what its member unpacks to."""
    data = bytearray(bomb())
    at = data.rfind(b"PK\x01\x02")
    struct.pack_into("<L", data, at + 24, 1000)
    return bytes(data)


def linked() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        item = zipfile.ZipInfo("1")
        item.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(item, "/etc/passwd")
    return out.getvalue()


def encrypted() -> bytes:
    data = bytearray(zipped({"1": b"x"}))
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def huge_directory() -> bytes:
    data = bytearray(zipped({"1": b"x"}))
    struct.pack_into("<L", data, data.rfind(b"PK\x05\x06") + 12, 17 << 20)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (lambda _: b"", 422, "EMPTY_INPUT"),
        (lambda _: zipped({}), 422, "NOT_DICOM"),
        (lambda _: zipped({"README.txt": b"hello", "run.sh": b"#!/bin/sh"}), 422, "NOT_DICOM"),
        (lambda _: b"\x89PNG\r\n\x1a\n" + bytes(500), 415, "NOT_DICOM"),
        (lambda _: HOSTILE.encode() * 9, 415, "NOT_DICOM"),
        (lambda one: zipped({"../../1.dcm": one}), 422, "BAD_ARCHIVE"),
        (lambda one: zipped({"/etc/cron.d/1": one}), 422, "BAD_ARCHIVE"),
        (lambda one: zipped({"..\\1.dcm": one}), 422, "BAD_ARCHIVE"),
        (lambda one: zipped({"1": one})[:-30], 422, "BAD_ARCHIVE"),
        (lambda one: zipped({"1": one}, zipfile.ZIP_LZMA), 422, "BAD_ARCHIVE"),
        (lambda _: linked(), 422, "BAD_ARCHIVE"),
        (lambda _: encrypted(), 422, "BAD_ARCHIVE"),
        (lambda _: bomb(), 413, "TOO_LARGE"),
        (lambda _: lying(), 422, "BAD_ARCHIVE"),
        (lambda _: huge_directory(), 413, "TOO_LARGE"),
        (lambda one: zipped({str(number): one for number in range(4)}), 413, "TOO_LARGE"),
    ],
)
def test_a_bad_upload_is_answered_and_leaves_nothing(
    board: Dashboard,
    slices: list[bytes],
    data: Callable[[bytes], bytes],
    status: int,
    code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unpacking, "FILES_MOST", 3)
    made = use(board)
    before = left(board)
    answer = upload(board, data(slices[0]))
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json()["detail"]
    assert left(board) == before
    assert not made.step()
    assert not Path("/etc/cron.d/1").exists()


async def endless(board: Dashboard) -> tuple[int, int]:
    """The status of an upload of no stated length, and how many bytes of it the node took before it answered."""
    begin = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    read = 0
    answers: list[Any] = []

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1 << 16
        return {"type": "http.request", "body": bytes(1 << 16) if read > 1 << 16 else begin, "more_body": True}

    async def send(message: Any) -> None:
        answers.append(message)

    token = board.client(token=(Scope.OPERATE,)).headers["Authorization"]
    headers = {"host": "localhost", "authorization": token, "content-type": "multipart/form-data; boundary=b"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": API,
        "raw_path": API.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "scheme": "http",
    }
    await board.app(scope, receive, send)
    return answers[0]["status"], read


def test_an_upload_is_bounded_before_and_while_it_is_read(make_board: MakeBoard, slices: list[bytes]) -> None:
    board = make_board('upload_most = "100 KiB"')
    use(board)
    client = board.client(Role.OPERATOR)
    stated = client.post(API, content=b"", headers={"Content-Length": str(3 << 30)})
    assert stated.status_code == 413
    assert board.client().post(API, content=b"", headers={"Content-Length": "90000"}).status_code == 401

    status, read = completed(endless(board))
    assert status == 413
    assert read < 4 << 20
    unpacked = zipped({str(number): bytes(128) + b"DICM" + os.urandom(1) * 150_000 for number in range(3)})
    assert upload(board, unpacked).json()["code"] == "TOO_LARGE"  # more than four times what is taken
    assert left(board) == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"--b\r\n", "multipart/form-data", 415),
        (b"nothing", "multipart/form-data; boundary=b", 400),
        (
            b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            400,
        ),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc', "multipart/form-data; boundary=b", 400),
        (
            b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + b"x" * 300 + b"\r\n--b--\r\n",
            "multipart/form-data; boundary=b",
            400,
        ),
    ],
)
def test_a_broken_form_is_refused(board: Dashboard, body: bytes, kind: str, status: int) -> None:
    use(board)
    answer = board.client(Role.OPERATOR).post(API, content=body, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]


def test_an_unknown_model_is_refused(board: Dashboard, slices: list[bytes]) -> None:
    use(board)
    assert upload(board, slices[0], model="../../x").status_code == 404


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("raise SystemExit(1)", "BROKEN"),
        ('print(\'{"failed": "OUT_OF_RESOURCES", "text": "No memory."}\')', "OUT_OF_RESOURCES"),
        ('print(\'{"outcome": "finding"}\')', "BROKEN"),
    ],
)
def test_a_reading_that_fails_says_so(board: Dashboard, slices: list[bytes], text: str, code: str) -> None:
    made = use(board, text)
    where = upload(board, slices[0]).headers["location"]
    made.step()
    client = board.client(Role.OPERATOR)
    answer = client.get(where).json()
    assert (answer["state"], answer["code"]) == ("failed", code)
    assert answer["text"] in html.unescape(client.get(f"/try/{answer['analysis_id']}").text)


def test_the_real_program_refuses_with_the_reason_and_a_script_stays_text(
    make_board: MakeBoard, slices: list[bytes]
) -> None:
    """Two series in one archive, of a patient with a hostile name: read by the program that reads every upload."""
    board = make_board()
    made = Analyses(board.settings, board.config)
    object.__setattr__(board.context, "analyses", made)
    header = phantom.Header(key="other", patient_name=f"{HOSTILE}^A")
    other = phantom_bytes(phantom.head_phantom(slices=1, matrix=16, header=header)[0])
    where = upload(board, zipped({"1": slices[0], HOSTILE.replace(":", "").replace("/", ""): other})).headers[
        "location"
    ]
    made.step()
    client = board.client(Role.OPERATOR)
    answer = client.get(where).json()
    assert (answer["state"], answer["code"]) == ("refused", "MIXED_SERIES"), answer
    assert str(board.settings.uploads_dir) not in answer["text"]
    shown = client.get(f"/try/{answer['analysis_id']}").text
    assert "MIXED_SERIES" in shown
    assert "<script>alert" not in shown


def test_an_upload_can_be_removed_while_it_is_read(board: Dashboard, slices: list[bytes]) -> None:
    made = use(board, 'import time; print(\'{"stage": "slow"}\', flush=True); time.sleep(60)')
    where = upload(board, slices[0]).headers["location"]
    running = threading.Thread(target=made.step)
    running.start()
    client = board.client(Role.OPERATOR)
    until = time.monotonic() + 20
    while client.get(where).json()["stage"] != "slow":
        assert time.monotonic() < until
        time.sleep(0.05)
    assert client.delete(where).status_code == 200
    running.join(20)
    assert not running.is_alive()
    assert client.get(where).status_code == 404
    assert not (board.settings.uploads_dir / where.rsplit("/", 1)[1]).exists()


def test_answers_are_removed_in_time_and_what_was_interrupted_says_so(
    make_board: MakeBoard, slices: list[bytes]
) -> None:
    board = make_board('upload_kept = "1h"')
    now = 1_000_000.0
    made = use(board, clock=lambda: now)
    done, waits = (upload(board, slices[0]).json()["analysis_id"] for _ in range(2))
    made.step()
    other = Analyses(board.settings, command=program(READS), clock=lambda: now)
    other.sweep()  # another dashboard on the same data leaves alone what this one is to read
    assert other.find(waits).state == "queued"
    made._locks.pop(waits).close()  # as the end of the process does
    other.sweep()
    assert other.find(waits).code == "INTERRUPTED"
    assert not (board.settings.uploads_dir / waits / "series").exists()
    now += 3599
    other.sweep()
    assert {item.analysis_id for item in other.all()} == {done, waits}
    now += 2
    other.sweep()
    assert left(board) == []


def test_too_many_uploads_wait_their_turn_elsewhere(make_board: MakeBoard, slices: list[bytes]) -> None:
    board = make_board()
    use(board)
    answers = [upload(board, slices[0]) for _ in range(analyses.WAITING_MOST + 1)]
    assert [item.status_code for item in answers] == [202] * analyses.WAITING_MOST + [503]
    assert answers[-1].headers["retry-after"]
    assert answers[3].json()["ahead"] == 3
