"""Each endpoint by each role: who gets an answer, and who is told to stay out."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from starlette.testclient import TestClient

from dicom_node.settings.web import Role
from dicom_node.web.auth.principal import Scope
from tests.peers.dashboard import Dashboard

NOBODY, READ, IDENTITY, OPERATE, ASSESS, ADMIN = range(6)
ENDPOINTS = {
    ("GET", "/api/v1/health/live"): NOBODY,
    ("GET", "/api/v1/health/ready"): NOBODY,
    ("GET", "/api/v1/me"): READ,
    ("GET", "/api/v1/statistics"): READ,
    ("GET", "/api/v1/events"): READ,
    ("GET", "/api/v1/studies"): READ,
    ("GET", "/api/v1/studies/export"): READ,
    ("GET", "/api/v1/studies/{study_instance_uid}"): READ,
    ("GET", "/api/v1/series/{series_instance_uid}"): READ,
    ("GET", "/api/v1/jobs"): READ,
    ("GET", "/api/v1/jobs/{job_id}"): READ,
    ("GET", "/api/v1/jobs/{job_id}/findings"): READ,
    ("GET", "/api/v1/jobs/{job_id}/results"): READ,
    ("GET", "/api/v1/jobs/{job_id}/pictures/{name}"): READ,
    ("GET", "/api/v1/jobs/{job_id}/results/{name}"): IDENTITY,
    ("GET", "/api/v1/jobs/{job_id}/fhir"): IDENTITY,
    ("GET", "/api/v1/jobs/{job_id}/assessments"): READ,
    ("POST", "/api/v1/jobs/{job_id}/assessments"): ASSESS,
    ("GET", "/api/v1/jobs/{job_id}/assessments/{number}/dicom"): IDENTITY,
    ("GET", "/api/v1/jobs/{job_id}/assessments/{number}/fhir"): IDENTITY,
    ("GET", "/api/v1/assessments"): READ,
    ("GET", "/api/v1/assessments/figures"): READ,
    ("GET", "/api/v1/assessments/export"): READ,
    ("POST", "/api/v1/jobs/actions"): OPERATE,
    ("POST", "/api/v1/jobs/{job_id}/retry"): OPERATE,
    ("POST", "/api/v1/jobs/{job_id}/cancel"): OPERATE,
    ("POST", "/api/v1/jobs/{job_id}/discard"): OPERATE,
    ("GET", "/api/v1/destinations"): READ,
    ("GET", "/api/v1/destinations/{name}"): READ,
    ("POST", "/api/v1/destinations/{name}/test"): OPERATE,
    ("POST", "/api/v1/destinations/{name}/resume"): OPERATE,
    ("GET", "/api/v1/models"): READ,
    ("GET", "/api/v1/models/{name}"): READ,
    ("GET", "/api/v1/models/{name}/plots/{plot}"): READ,
    ("POST", "/api/v1/analyses"): OPERATE,
    ("GET", "/api/v1/analyses"): OPERATE,
    ("GET", "/api/v1/analyses/{analysis_id}"): OPERATE,
    ("DELETE", "/api/v1/analyses/{analysis_id}"): OPERATE,
    ("GET", "/api/v1/analyses/{analysis_id}/pictures/{name}"): OPERATE,
    ("GET", "/api/v1/analyses/{analysis_id}/results/{name}"): IDENTITY,
    ("POST", "/api/v1/routing/dry-run"): OPERATE,
    ("GET", "/api/v1/accounts"): ADMIN,
    ("GET", "/api/v1/tokens"): ADMIN,
    ("DELETE", "/api/v1/tokens/{name}"): ADMIN,
    ("GET", "/api/v1/audit"): ADMIN,
    ("GET", "/settings"): ADMIN,
    ("GET", "/audit"): ADMIN,
    ("GET", "/"): READ,
    ("GET", "/studies/{study_instance_uid}"): READ,
    ("GET", "/assessments"): READ,
    ("GET", "/jobs/{job_id}/assessment"): READ,
    ("GET", "/try"): OPERATE,
    ("GET", "/try/{analysis_id}"): OPERATE,
    ("GET", "/destinations"): READ,
    ("GET", "/models"): READ,
    ("GET", "/models/{name}"): READ,
    ("POST", "/logout"): READ,
    ("GET", "/login"): NOBODY,
    ("POST", "/language"): NOBODY,
}
"""What each endpoint needs."""
WHO: dict[str, tuple[Role | None, tuple[Scope, ...] | None, set[int]]] = {
    "nobody": (None, None, set()),
    "viewer": (Role.VIEWER, None, {READ}),
    "operator": (Role.OPERATOR, None, {READ, IDENTITY, OPERATE, ASSESS}),
    "admin": (Role.ADMIN, None, {READ, IDENTITY, OPERATE, ASSESS, ADMIN}),
    "token that reads": (None, (Scope.READ,), {READ}),
    "token that reads identities": (None, (Scope.READ, Scope.IDENTITY), {READ, IDENTITY}),
    "token that assesses": (None, (Scope.ASSESS,), {ASSESS}),
    "token that operates": (None, (Scope.OPERATE,), {OPERATE}),
}


@dataclass
class Place:
    board: Dashboard
    values: dict[str, str]

    def address(self, path: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: self.values[found[1]], path)


@pytest.fixture(scope="module")
def place(board: Dashboard) -> Place:
    series = board.series("roles")
    job = board.job(series)
    board.read(job)
    uids = {
        "study_instance_uid": str(series[0].StudyInstanceUID),
        "series_instance_uid": str(series[0].SeriesInstanceUID),
    }
    return Place(
        board,
        {
            **uids,
            "job_id": job.job_id,
            "name": "archive",
            "plot": "dice-by-class.svg",
            "analysis_id": "A" * 22,
            "number": "1",
        },
    )


def test_every_endpoint_has_a_line_in_the_table(place: Place) -> None:
    stated = {(method, path) for path, item in place.board.app.openapi()["paths"].items() for method in item}
    assert {(method.upper(), path) for method, path in stated} == {key for key in ENDPOINTS if "/api/" in key[1]}


@pytest.mark.parametrize("who", WHO)
def test_each_endpoint_by_each_role(place: Place, who: str) -> None:
    """401 for nobody, 403 without the permission; otherwise anything else, a 404 of what is not there included."""
    role, token, holds = WHO[who]
    client = place.board.client(role, token=token)
    for (method, path), wanted in ENDPOINTS.items():
        if path == "/logout":  # it would end the login of the others
            continue
        status = ask(client, method, place.address(path))
        known = "/api/" in path
        if wanted == NOBODY or wanted in holds:
            assert status not in (401, 403), (who, method, path, status)
            assert status < 500, (who, method, path, status)
        elif not holds and who == "nobody":
            assert status == (401 if known else 303), (who, method, path, status)
        else:
            assert status == 403, (who, method, path, status)


def ask(client: TestClient, method: str, path: str) -> int:
    """The status of an answer. A stream that is permitted would not end: then /me, which needs the same, answers."""
    if path.endswith("/events"):
        return 200 if client.get("/api/v1/me").status_code == 200 else client.get(path).status_code
    return client.request(method, path).status_code


def test_an_unknown_token_and_a_wrong_scheme_open_nothing_even_where_a_login_would(place: Place) -> None:
    client = place.board.client(Role.ADMIN)
    for value in ("Bearer candela_wrong", "Basic YTpi", "Bearer", ""):
        answer = client.get("/api/v1/me", headers={"Authorization": value})
        assert (answer.status_code, answer.json()["code"]) == (401, "BAD_TOKEN")
