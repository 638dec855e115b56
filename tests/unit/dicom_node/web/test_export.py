"""The worklist as a file: filters, formulas, identities, the trail."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from dicom_node.audit import trail
from dicom_node.settings.web import Role
from dicom_node.web.api import studies
from tests.peers.dashboard import Dashboard

API = "/api/v1/studies/export"
FORMULA = '@cmd|"/C calc"!A0'


@pytest.fixture(scope="module")
def two(board: Dashboard) -> tuple[str, str]:
    """A finding of a patient with a formula for a name, and a study without a job."""
    found = board.series("found", patient_name=FORMULA, patient_id="PID-EXPORT-1", accession_number="ACC-EXPORT-1")
    job = board.job(found)
    board.read(job)
    board.dead(job)
    other = board.series("other", modality="CT", patient_name="Zweite^Zoe")
    return str(found[0].StudyInstanceUID), str(other[0].StudyInstanceUID)


def rows(board: Dashboard, role: Role = Role.OPERATOR, **query: str) -> list[dict[str, Any]]:
    text = board.client(role).get(API, params=query).text
    return list(csv.DictReader(io.StringIO(text)))


def test_each_study_is_a_line_and_no_cell_is_a_formula(board: Dashboard, two: tuple[str, str]) -> None:
    found, other = reversed(rows(board))
    assert (found["study_instance_uid"], other["study_instance_uid"]) == two
    assert (found["state"], found["headline"], found["probability"]) == ("failed", "glioma", "0.93")
    assert (found["deliveries"], found["failures"]) == ("dead=1", "PEER_UNAVAILABLE")
    assert (other["modalities"], other["probability"]) == ("CT", "")
    assert found["patient_name"].startswith("'@")
    assert found["accession_number"] == "ACC-EXPORT-1"


def test_filters_are_those_of_the_worklist(board: Dashboard, two: tuple[str, str]) -> None:
    assert [row["study_instance_uid"] for row in rows(board, state="failed")] == [two[0]]
    assert [row["study_instance_uid"] for row in rows(board, modality="CT")] == [two[1]]
    assert rows(board, q="PID-EXPORT-1", modality="CT") == []
    page = board.client(Role.OPERATOR).get("/", params={"state": "failed", "outcome": "nonsense"}).text
    assert "/api/v1/studies/export?format=csv&amp;state=failed&#34;" in page.replace('"', "&#34;")


@pytest.mark.parametrize("form", ["csv", "json"])
def test_who_may_not_see_identities_gets_none(board: Dashboard, two: tuple[str, str], form: str) -> None:
    answer = board.client(Role.VIEWER).get(API, params={"format": form})
    assert f'filename="worklist.{form}"' in answer.headers["content-disposition"]
    assert two[0] in answer.text
    for word in ("cmd", "PID-EXPORT-1", "ACC-EXPORT-1", "Zoe", "patient_name"):
        assert word not in answer.text
    assert board.client(Role.VIEWER).get(API, params={"q": "PID-EXPORT-1"}).text.count("\n") == 1


def test_as_json_nothing_is_changed(board: Dashboard, two: tuple[str, str]) -> None:
    content = json.loads(board.client(Role.OPERATOR).get(API, params={"format": "json"}).text)
    assert {item["study_instance_uid"]: item["probability"] for item in content} == {two[0]: 0.93, two[1]: None}
    assert FORMULA in {item["patient_name"] for item in content}


def test_the_trail_names_each_study_and_a_file_is_bounded(
    board: Dashboard, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exported() -> list[Any]:
        lines = [line for path in trail.files(board.settings.audit_dir) for line in trail.read(path)]
        return [line["studies"] for line in lines if line["what"] == "worklist exported"]

    before = len(exported())
    rows(board)
    assert set(exported()[before]) == set(two)
    monkeypatch.setattr(studies, "EXPORTED_MOST", 1)
    assert len(rows(board)) == 1
    assert len(exported()[-1]) == 1
