"""One action on many studies: counted first, then confirmed, with what failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dicom_node.audit import trail
from dicom_node.jobs.client import JobsClient, NoSuchJob
from dicom_node.settings.web import Role
from dicom_node.web.api import bulk
from tests.peers.dashboard import Dashboard

MakeBoard = Callable[..., Dashboard]
API = "/api/v1/jobs/actions"


@pytest.fixture
def four(make_board: MakeBoard) -> tuple[Dashboard, list[str]]:
    """Two studies that failed, one whose delivery waits, one that was delivered."""
    board = make_board()
    studies = []
    for number in range(4):
        series = board.series(f"bulk {number}", modality="CT" if number == 1 else "MR")
        job = board.job(series)
        board.read(job)
        if number < 2:
            board.dead(job)
        elif number == 3:
            board.delivered(job)
        studies.append(str(series[0].StudyInstanceUID))
    return board, studies


def ask(board: Dashboard, **body: Any) -> Any:
    return board.client(Role.OPERATOR).post(API, json=body)


def audited(board: Dashboard, what: str) -> list[Any]:
    lines = [line for path in trail.files(board.settings.audit_dir) for line in trail.read(path)]
    return [line for line in lines if line["what"] == what]


def test_the_number_of_jobs_is_confirmed_before_anything_is_done(four: tuple[Dashboard, list[str]]) -> None:
    board, studies = four
    first = ask(board, action="retry", studies=studies).json()
    assert (first["jobs"], first["studies"], first["done"], first["more"]) == (2, 2, None, False)
    assert audited(board, "job retried") == []
    wrong = ask(board, action="retry", studies=studies, confirmed=3)
    assert (wrong.status_code, wrong.json()["code"]) == (409, "CHANGED_MEANWHILE")
    assert audited(board, "job retried") == []
    done = ask(board, action="retry", studies=studies, confirmed=2).json()
    assert (done["done"], done["failed"]) == (2, [])
    assert len(audited(board, "job retried")) == 2
    assert ask(board, action="retry", studies=studies).json()["jobs"] == 0


def test_a_filter_of_the_worklist_finds_the_studies(four: tuple[Dashboard, list[str]]) -> None:
    board, _ = four
    assert ask(board, action="discard", filter={"state": "failed"}).json()["jobs"] == 2
    only = ask(board, action="discard", filter={"state": "failed", "modality": "CT"}).json()
    assert only["jobs"] == 1
    done = ask(board, action="discard", filter={"state": "failed", "modality": "CT"}, confirmed=1).json()
    assert done["text"] == "Discard: 1 of 1 jobs."
    assert ask(board, action="cancel", filter={"state": "delivering"}).json()["jobs"] == 1


def test_one_action_is_bounded_and_says_what_it_does_not_reach(
    four: tuple[Dashboard, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    board, studies = four
    monkeypatch.setattr(bulk, "STUDIES_MOST", 1)
    found = ask(board, action="retry", filter={"state": "failed"}).json()
    assert (found["jobs"], found["more"]) == (1, True)
    assert ask(board, action="retry", studies=[f"1.2.{number}" for number in range(201)]).status_code == 422
    assert ask(board, action="retry", studies=["1.2.3"]).json()["jobs"] == 0
    assert studies


def test_a_job_that_fails_stops_no_other_and_is_listed(
    four: tuple[Dashboard, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    board, studies = four
    retried = JobsClient.retry

    def fails_for_the_first(client: JobsClient, job_id: str) -> Any:
        if client.show(job_id).job.study_instance_uid == studies[0]:
            raise NoSuchJob("There is no such job.", where=job_id)
        return retried(client, job_id)

    monkeypatch.setattr(JobsClient, "retry", fails_for_the_first)
    done = ask(board, action="retry", studies=studies, confirmed=2).json()
    assert done["done"] == 1
    assert [(item["study_instance_uid"], item["code"]) for item in done["failed"]] == [(studies[0], "NO_SUCH_JOB")]
    assert "Failed: 1 (NO_SUCH_JOB)" in done["text"]


@pytest.mark.parametrize(
    "body",
    [
        {"action": "purge", "studies": ["1.2"]},
        {"action": "retry"},
        {"action": "retry", "filter": {}},
        {"action": "retry", "filter": {"name": "x"}},
        {"action": "retry", "studies": ["1.2"], "filter": {"state": "failed"}},
    ],
)
def test_what_is_not_clear_is_refused(board: Dashboard, body: dict[str, Any]) -> None:
    assert ask(board, **body).status_code == 422


def test_only_who_may_act_can_select(board: Dashboard) -> None:
    board.series("selectable")
    assert 'class="pick"' in board.client(Role.OPERATOR).get("/").text
    assert 'class="pick"' not in board.client(Role.VIEWER).get("/").text
