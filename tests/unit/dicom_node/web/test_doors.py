"""Login, cookies, forgery, names, headers: what stands between a browser and the node."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from dicom_node.audit import trail
from dicom_node.settings.web import Role, Web
from dicom_node.web.auth.throttle import MOST
from dicom_node.web.security import BODY_MOST
from tests.peers.dashboard import PASSWORD, Dashboard

MakeBoard = Callable[..., Dashboard]


def login(client: TestClient, name: str, password: str = PASSWORD, **form: str):
    return client.post("/login", data={"name": name, "password": password, **form})


def audited(board: Dashboard, what: str) -> list[dict]:
    lines = [line for path in trail.files(board.settings.audit_dir) for line in trail.read(path)]
    return [line for line in lines if line["what"] == what]


def test_who_is_not_logged_in_comes_to_the_login_and_back(board: Dashboard) -> None:
    board.context.accounts.add("anna", PASSWORD, Role.VIEWER)
    client = board.client()
    sent = client.get("/destinations?x=1")
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/destinations%3Fx%3D1")
    assert 'value="/destinations?x=1"' in client.get(sent.headers["location"]).text
    done = login(client, "anna", next="/destinations?x=1")
    assert (done.status_code, done.headers["location"]) == (303, "/destinations?x=1")
    cookie = done.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert client.get("/destinations").status_code == 200


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_a_login_leads_to_no_other_site(board: Dashboard, back: str) -> None:
    board.client(Role.VIEWER)
    assert login(board.client(), "viewer", next=back).headers["location"] == "/"
    assert back not in board.client().get("/login", params={"next": back}).text


def test_a_login_gets_a_new_id_and_ends_the_one_before(board: Dashboard) -> None:
    """An id that an attacker put into the browser is worth nothing (session fixation)."""
    board.client(Role.VIEWER)
    client = board.client()
    login(client, "viewer")
    first = client.cookies["candela"]
    login(client, "viewer")
    assert client.cookies["candela"] != first
    other = board.client()
    other.cookies.set("candela", first)
    assert other.get("/api/v1/me").status_code == 401


def test_over_https_the_cookie_is_secure_and_of_this_host(board: Dashboard) -> None:
    board.client(Role.VIEWER)
    client = TestClient(board.app, "https://localhost", follow_redirects=False)
    done = login(client, "viewer")
    assert re.match(r"__Host-candela=.*; Secure", done.headers["set-cookie"])
    assert done.headers["strict-transport-security"]
    assert client.get("/api/v1/me").status_code == 200


def test_logging_out_ends_the_session_everywhere(board: Dashboard) -> None:
    client = board.client(Role.VIEWER)
    copied = client.cookies["candela"]
    assert client.post("/logout").headers["hx-redirect"] == "/login"
    other = board.client()
    other.cookies.set("candela", copied)
    assert other.get("/api/v1/me").status_code == 401


def test_a_new_password_or_role_ends_every_login(make_board: MakeBoard) -> None:
    board = make_board()
    for change in ({"password": f"{PASSWORD} again"}, {"role": Role.ADMIN}):
        client = board.client(Role.VIEWER)
        assert client.get("/api/v1/me").status_code == 200
        board.context.accounts.change("viewer", **change)
        assert client.get("/api/v1/me").status_code == 401


def test_too_many_wrong_passwords_close_the_door_and_all_are_recorded(make_board: MakeBoard) -> None:
    board = make_board()
    board.client(Role.VIEWER)
    most = dict(MOST)["pair"]
    statuses = [login(board.client(), "viewer", "wrong").status_code for _ in range(most + 1)]
    assert statuses == [401] * most + [429]
    refused = login(board.client(), "viewer")
    assert refused.status_code == 429, "not even the right password"
    assert int(refused.headers["retry-after"]) > 60
    login(board.client(), "my secret password typed as a name", "x")
    lines = audited(board, "login")
    assert {line["outcome"] for line in lines} == {8}
    assert [line["reason"] for line in lines][-2:] == ["TOO_MANY_ATTEMPTS", "WRONG_PASSWORD"]
    assert lines[-1]["source"]["name"] == "unknown"
    assert "secret" not in str(lines)


def test_a_form_of_another_site_does_nothing(make_board: MakeBoard) -> None:
    """By the browser's own statement, by the origin, and by the token that only our pages know."""
    board = make_board()
    job = board.job(board.series("forged"))
    path = f"/api/v1/jobs/{job.job_id}/cancel"
    client = board.client(Role.OPERATOR)
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
    ):
        assert client.post(path, headers=headers).json()["code"] == "CROSS_SITE"
        assert login(board.client(), "operator").status_code == 303
        assert board.client().post("/login", headers=headers).status_code == 403
    for token in ("", "wrong"):
        assert client.post(path, headers={"X-CSRF-Token": token}).json()["code"] == "NO_CSRF_TOKEN"
    assert board.jobs.show(job.job_id).state == "queued"
    assert client.post(path, headers={"Origin": "http://localhost"}).status_code == 200
    assert board.jobs.show(job.job_id).state == "cancelled"


def test_the_demo_needs_no_login_on_this_machine_and_says_so(make_board: MakeBoard) -> None:
    board = make_board("demo = true")
    client = board.client()
    assert "no login" in client.get("/").text
    assert client.get("/api/v1/me").json()["scopes"] == ["admin", "assess", "identity", "operate", "read"]
    assert (
        client.post("/api/v1/destinations/archive/test", headers={"Origin": "http://evil.example"}).status_code == 403
    )
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 421, "a name that was bound to 127.0.0.1"


def test_it_answers_to_its_own_names_alone(make_board: MakeBoard) -> None:
    board = make_board('hosts = ["candela.hospital.example"]')
    client = board.client()
    for host, status in {
        "candela.hospital.example": 200,
        "CANDELA.hospital.example:8105": 200,
        "localhost:1": 200,
        "[::1]:8105": 200,
        "evil.example": 421,
        "candela.hospital.example.evil.example": 421,
        "": 421,
        "a:b:c": 421,
    }.items():
        assert client.get("/login", headers={"Host": host}).status_code == status, host


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"host": "0.0.0.0"}, "certificate and key"),
        ({"host": "::", "demo": True, "proxies": ("10.0.0.1",)}, "no login"),
        ({"certificate": Path("a.pem")}, "go together"),
    ],
)
def test_settings_that_would_open_the_door_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Web(**values)


def test_every_answer_binds_the_browser(board: Dashboard) -> None:
    """Pages, errors, assets and the API alike; no page needs a script or style within it."""
    client = board.client(Role.VIEWER)
    for path in ("/", "/login", "/nothing", "/api/v1/me", "/api/v1/nothing", "/assets/candela.css", "/assets/nothing"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert ("no-store" in headers["cache-control"]) == ("candela.css" not in path), path
    assert "server" not in client.get("/").headers


def test_long_bodies_are_refused_with_and_without_a_stated_length(board: Dashboard) -> None:
    client = board.client(Role.OPERATOR)
    stated = client.post("/api/v1/routing/dry-run", content=b"x" * (BODY_MOST + 1))
    assert stated.status_code == 413
    for wrong in ("-1", "many", "1e9"):
        assert client.get("/api/v1/me", headers={"Content-Length": wrong}).status_code == 413


def test_an_unforeseen_error_says_no_word_of_what_was_read(
    make_board: MakeBoard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board = make_board()

    name = ["Secret", "Patient"]

    def fail(*_: object, **__: object) -> None:
        raise ValueError("^".join(name))  # a traceback shows the line as it stands

    client = board.client(Role.VIEWER)
    monkeypatch.setattr(type(board.context.reader), "page", fail)
    answer = client.get("/api/v1/studies")
    assert (answer.status_code, answer.json()["code"]) == (500, "UNFORESEEN")
    said = capsys.readouterr()
    assert "request_failed" in said.out + said.err
    assert "Secret^Patient" not in answer.text + said.out + said.err


def test_accounts_that_are_missing_are_named_at_the_login(make_board: MakeBoard) -> None:
    assert "candela web users add" in make_board().client().get("/login").text
