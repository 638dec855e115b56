"""What readers say of AI answers: stored with their history, refused where it contradicts itself, counted, exported."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from dicom_node.jobs.assessments import AssessmentQuery, Assessments
from dicom_node.node.backup import back_up, restore
from dicom_node.settings.web import Role
from dicom_node.web.auth.principal import Scope
from pipeline.findings.model import Outcome
from pipeline.report.stored import FILENAME, to_json
from tests.conformance.synthetic import file_bytes
from tests.conformance.test_assessments import run_of_phantom
from tests.peers import gossip
from tests.peers.dashboard import Dashboard

MakeBoard = Callable[..., Dashboard]
API = "/api/v1"


@pytest.fixture
def job(board: Dashboard, request: pytest.FixtureRequest) -> str:
    """A job of its own with a finding: glioma, 93 %."""
    return read(board, request.node.name)


def read(
    board: Dashboard, key: str, outcome: Outcome = Outcome.FINDING, predicted: str = "glioma", **more: float
) -> str:
    made = board.job(board.series(key))
    board.read(made, outcome, predicted=predicted, **more)
    return made.job_id


def say(board: Dashboard, job: str, role: Role = Role.OPERATOR, **said: object) -> dict:
    answer = board.client(role).post(f"{API}/jobs/{job}/assessments", json=said)
    assert answer.status_code == 201, answer.text
    found: dict = answer.json()
    return found


def test_an_assessment_holds_the_answer_that_it_is_about(board: Dashboard, job: str) -> None:
    made = say(board, job, verdict="accepted", outline="usable", comment=" Small.\r\nNot new. ")
    assert (made["outcome"], made["answered"], made["probability"]) == ("finding", "glioma", 0.93)
    assert (made["correct_class"], made["present"], made["outline"]) == ("glioma", True, "usable")
    assert (made["comment"], made["reader"], made["model"]) == ("Small.\nNot new.", "operator", "brain_mri_tumor")
    assert board.client(Role.OPERATOR).get(f"{API}/jobs/{job}/assessments").json() == [made]


@pytest.mark.parametrize(
    ("outcome", "predicted", "said", "correct", "present"),
    [
        (Outcome.FINDING, "glioma", {"verdict": "accepted"}, "glioma", True),
        (Outcome.FINDING, "glioma", {"verdict": "supplemented"}, None, True),
        (Outcome.FINDING, "glioma", {"verdict": "rejected"}, None, None),
        (Outcome.FINDING, "glioma", {"verdict": "rejected", "correct_class": "none"}, "no_tumor", False),
        (Outcome.FINDING, "glioma", {"verdict": "rejected", "correct_class": "no_tumor"}, "no_tumor", False),
        (Outcome.FINDING, "glioma", {"verdict": "rejected", "correct_class": "other"}, "other", True),
        (Outcome.NO_FINDING, "no_tumor", {"verdict": "accepted"}, "no_tumor", False),
        (Outcome.NO_FINDING, "no_tumor", {"verdict": "rejected", "correct_class": "glioma"}, "glioma", True),
        (Outcome.NO_FINDING, "no_tumor", {"verdict": "supplemented"}, None, None),
        (Outcome.INDETERMINATE, "glioma", {"verdict": "accepted"}, None, None),
        (Outcome.MEASURED, "glioma", {"verdict": "accepted"}, "glioma", None),
    ],
)
def test_what_an_assessment_says_of_presence(
    board: Dashboard,
    request: pytest.FixtureRequest,
    outcome: Outcome,
    predicted: str,
    said: dict,
    correct: str | None,
    present: bool | None,
) -> None:
    made = say(board, read(board, request.node.name, outcome, predicted), **said)
    assert (made["correct_class"], made["present"]) == (correct, present)


def test_a_model_without_a_negative_class_leaves_none_to_the_reader(board: Dashboard, job: str) -> None:
    path = board.context.reader.summaries.folder(board.jobs.show(job).job) / "summary.json"
    path.write_text(path.read_text().replace("brain_mri_tumor", "taken_away"))
    made = say(board, job, verdict="rejected", correct_class="none")
    assert (made["correct_class"], made["present"]) == ("none", False)


def test_a_correction_and_a_second_reader_keep_the_history(board: Dashboard, job: str) -> None:
    first = say(board, job, verdict="accepted")
    second = say(board, job, verdict="rejected", correct_class="none")
    third = say(board, job, Role.ADMIN, verdict="supplemented")
    client = board.client(Role.OPERATOR)
    assert client.get(f"{API}/jobs/{job}/assessments").json() == [third, second, first]
    study = first["study_instance_uid"]
    assert client.get(f"{API}/assessments", params={"study": study, "standing": True}).json()["items"] == [third]


def test_a_comment_goes_with_the_results_when_they_are_purged(board: Dashboard, job: str) -> None:
    made = say(board, job, verdict="accepted", comment="Mr Example once had a fall.")
    shutil.rmtree(board.context.reader.summaries.folder(board.jobs.show(job).job))
    client = board.client(Role.OPERATOR)
    assert client.get(f"{API}/jobs/{job}/assessments").json() == [{**made, "comment": None}]
    assert client.post(f"{API}/jobs/{job}/assessments", json={"verdict": "accepted"}).status_code == 404


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ({"verdict": "accepted", "correct_class": "no_tumor"}, 422, "CONTRADICTION"),
        ({"verdict": "rejected", "correct_class": "meningitis"}, 422, "NO_SUCH_CLASS"),
        ({"verdict": "fine"}, 422, "INVALID_REQUEST"),
        ({}, 422, "INVALID_REQUEST"),
        ({"verdict": "rejected", "outline": "lovely"}, 422, "INVALID_REQUEST"),
        ({"verdict": "rejected", "comment": "x" * 2001}, 422, "INVALID_REQUEST"),
        ({"verdict": "rejected", "comment": "bell \x07"}, 422, "INVALID_REQUEST"),
        ({"verdict": "rejected", "reader": "somebody else"}, 422, "INVALID_REQUEST"),
    ],
)
def test_what_contradicts_itself_or_is_no_assessment_is_refused(
    board: Dashboard, job: str, said: dict, status: int, code: str
) -> None:
    client = board.client(Role.OPERATOR)
    answer = client.post(f"{API}/jobs/{job}/assessments", json=said)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "bell" not in answer.text
    assert client.get(f"{API}/jobs/{job}/assessments").json() == []


def test_only_an_answer_that_stands_can_be_assessed(board: Dashboard) -> None:
    queued = board.job(board.series("unread"))
    refused = board.job(board.series("refused"))
    board.refuse(refused, "NO_VOLUME", "Slices are missing.")
    client = board.client(Role.OPERATOR)
    for name in (queued.job_id, refused.job_id, "1.2:x:y"):
        answer = client.post(f"{API}/jobs/{name}/assessments", json={"verdict": "accepted"})
        assert answer.status_code == 404, answer.text


def test_a_form_of_another_site_stores_nothing(board: Dashboard, job: str) -> None:
    client = board.client(Role.OPERATOR)
    address, said = f"{API}/jobs/{job}/assessments", {"verdict": "accepted"}
    assert client.post(address, json=said, headers={"X-CSRF-Token": ""}).status_code == 403
    assert client.post(address, json=said, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.get(address).json() == []


def test_a_comment_is_shown_to_those_alone_who_may_see_identity_and_never_logged(board: Dashboard, job: str) -> None:
    gossip.secret("Mrs Example of ward 7")
    say(board, job, verdict="rejected", comment="Mrs Example of ward 7")
    study = board.jobs.show(job).job.study_instance_uid
    for path in (f"/jobs/{job}/assessments", f"/assessments?study={study}", f"/assessments/export?study={study}"):
        assert "Mrs Example" in board.client(Role.OPERATOR).get(API + path).text
        told = board.client(Role.VIEWER).get(API + path)
        assert (told.status_code, "Mrs Example" in told.text) == (200, False)
    lines = [line for line in (board.settings.data_dir / "audit").rglob("*") if line.is_file()]
    trail = "".join(path.read_text() for path in lines)
    assert "answer assessed" in trail
    assert "Mrs Example" not in trail


def test_a_site_may_let_its_viewers_assess(make_board: MakeBoard) -> None:
    board = make_board('assess = ["viewer"]')
    job = read(board, "viewers")
    assert say(board, job, Role.VIEWER, verdict="accepted", comment="Mine.")["comment"] is None
    answer = board.client(Role.ADMIN).post(f"{API}/jobs/{job}/assessments", json={"verdict": "accepted"})
    assert (answer.status_code, answer.json()["code"]) == (403, "NOT_PERMITTED")


def test_the_list_has_filters_and_pages(make_board: MakeBoard) -> None:
    board = make_board()
    jobs = [read(board, name) for name in ("a", "b", "c")]
    for name, verdict in zip(jobs, ("accepted", "rejected", "accepted"), strict=True):
        say(board, name, verdict=verdict)
    say(board, jobs[0], Role.ADMIN, verdict="rejected")
    client = board.client(token=(Scope.READ,))
    numbers: list[int] = []
    cursor = None
    while True:
        page = client.get(f"{API}/assessments", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        numbers += [item["number"] for item in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert numbers == [4, 3, 2, 1]

    def found(**query: str) -> list[int]:
        answer = client.get(f"{API}/assessments", params=query)
        assert answer.status_code == 200, answer.text
        return [item["number"] for item in answer.json()["items"]]

    assert found(verdict="rejected") == [4, 2]
    assert found(reader="admin") == [4]
    assert found(standing="true") == [4, 3, 2]
    assert found(model="another") == []
    assert found(since="2026-01-01") == [4, 3, 2, 1]
    assert found(until="2026-01-01") == []
    assert client.get(f"{API}/assessments", params={"since": "soon"}).status_code == 400
    assert client.get(f"{API}/assessments", params={"cursor": "x"}).status_code == 400


def test_an_export_is_whole_and_runs_in_no_spreadsheet(make_board: MakeBoard) -> None:
    board = make_board()
    client = board.client(Role.OPERATOR)
    assert client.get(f"{API}/assessments/export?format=json").json() == []
    job = read(board, "export")
    made = [say(board, job, verdict="rejected", comment=text) for text in ('=HYPERLINK("x")', 'two\nlines, "quoted"')]
    assert client.get(f"{API}/assessments/export?format=json").json() == made[::-1]
    answer = client.get(f"{API}/assessments/export")
    assert answer.headers["content-disposition"] == 'attachment; filename="assessments.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["comment"] for row in rows] == ['two\nlines, "quoted"', '\'=HYPERLINK("x")']
    assert [json.loads(row["number"]) for row in rows] == [2, 1]


def test_figures_count_each_job_once_by_its_newest_assessment(make_board: MakeBoard) -> None:
    board = make_board()
    client = board.client(Role.VIEWER)
    empty = client.get(f"{API}/assessments/figures").json()
    assert (empty["jobs"], empty["false_alarms_per_day"], empty["calibration"]) == (0, None, [])
    right = read(board, "right", probability=0.95)
    alarm = read(board, "alarm", probability=0.9)
    missed = read(board, "missed", Outcome.NO_FINDING, "no_tumor", probability=0.7)
    say(board, right, verdict="rejected")
    say(board, right, Role.ADMIN, verdict="accepted")
    say(board, alarm, verdict="rejected", correct_class="none")
    say(board, missed, verdict="rejected", correct_class="glioma")
    found = client.get(f"{API}/assessments/figures").json()
    assert (found["jobs"], found["by_verdict"]) == (3, {"accepted": 1, "rejected": 2, "supplemented": 0})
    assert (found["false_alarms"], found["missed"], found["days"], found["false_alarms_per_day"]) == (1, 1, 1, 1.0)
    confusion = found["confusion"]
    assert (confusion["answers"], confusion["classes"]) == (["glioma", "no_tumor"], ["glioma", "no_tumor"])
    assert confusion["counts"] == [[1, 1], [1, 0]]
    assert [(item["judged"], item["accepted"]) for item in found["weeks"]] == [(3, 1)]
    bins = [(item["low"], item["judged"], item["confirmed"], item["mean_probability"]) for item in found["calibration"]]
    assert bins == [(0.6, 1, 0, 0.7), (0.8, 2, 1, 0.925)]


def test_the_study_has_the_form_for_those_who_may_assess_and_what_was_said(board: Dashboard, job: str) -> None:
    say(board, job, verdict="rejected", correct_class="other", comment="<b>Two</b> lesions")
    way = board.client(Role.OPERATOR).get(f"/jobs/{job}/assessment")
    place = way.headers["location"]
    study, _, mark = place.partition("#")
    text = board.client(Role.OPERATOR).get(study).text
    assert (way.status_code, f'id="{mark}"' in text) == (303, True)
    assert "&lt;b&gt;Two&lt;/b&gt; lesions" in text
    assert re.findall(r'<option value="(\w*)">', text.split('name="correct_class"')[1].split("</select>")[0]) == [
        *("", "glioma", "no_tumor", "other")
    ]
    told = board.client(Role.VIEWER).get(study).text
    assert ("Rejected" in told, "lesions" in told, "data-json" in told) == (True, False, False)


def test_the_page_of_assessments_counts_and_explains_when_there_are_none(make_board: MakeBoard) -> None:
    board = make_board()
    client = board.client(Role.VIEWER)
    assert "Nobody has assessed" in client.get("/assessments").text
    say(board, read(board, "page"), verdict="rejected", correct_class="no_tumor", comment="Only for some.")
    text = client.get("/assessments").text
    assert 'class="confusion"' in text
    assert text.count("<svg") == 2
    assert "Only for some." not in text
    assert "1 a day (days: 1)" in text
    assert "Nobody has assessed" in client.get("/assessments?model=other&since=2026-01-01").text


def test_an_assessment_is_to_be_had_as_structured_report_and_as_fhir(board: Dashboard) -> None:
    content, header = run_of_phantom()
    job = read(board, "documents")
    folder = board.context.reader.summaries.folder(board.jobs.show(job).job)
    client = board.client(Role.OPERATOR)
    first = say(board, job, verdict="accepted")
    others = say(board, job, Role.ADMIN, verdict="accepted")
    second = say(board, job, verdict="rejected", correct_class="no_tumor", comment="Nothing there.")
    base = f"{API}/jobs/{job}/assessments"
    assert client.get(f"{base}/{second['number']}/dicom").json()["code"] == "NO_SUCH_RESULT"
    (folder / FILENAME).write_bytes(to_json(content))
    (folder / "overlay-1.dcm").write_bytes(file_bytes(header))
    assert client.get(f"{base}/999/dicom").json()["code"] == "NO_SUCH_ASSESSMENT"
    answer = client.get(f"{base}/{second['number']}/dicom")
    ds = pydicom.dcmread(io.BytesIO(answer.content))
    earlier = pydicom.dcmread(io.BytesIO(client.get(f"{base}/{first['number']}/dicom").content))
    assert (answer.headers["content-type"], ds.PatientID) == ("application/dicom", header.PatientID)
    reference = ds.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    assert "PredecessorDocumentsSequence" not in earlier
    anothers = pydicom.dcmread(io.BytesIO(client.get(f"{base}/{others['number']}/dicom").content))
    assert "PredecessorDocumentsSequence" not in anothers
    for release in ("R4", "R5"):
        bundle = client.get(f"{base}/{second['number']}/fhir", params={"release": release}).json()
        (entry,) = bundle["entry"]
        assert entry["resource"]["identifier"][0]["value"] == f"urn:oid:{ds.SOPInstanceUID}"
        assert entry["resource"]["note"][0]["text"] == "Nothing there."
    assert "application/dicom" not in board.client(Role.VIEWER).get(f"{base}/1/dicom").headers["content-type"]


def test_an_assessment_is_sent_where_the_results_are_if_the_site_wants_that(
    make_board: MakeBoard, tmp_path: Path
) -> None:
    """To the archive and the EHR; not to the one that has nothing yet, and not to research."""
    folder = {"kind": "folder", "path": str(tmp_path / "out")}
    places = {
        "archive": folder,
        "later": folder,
        "research": {**folder, "deidentify": {"key": "0123456789abcdef0123456789abcdef"}},
        "ehr": {"kind": "fhir", "url": "http://127.0.0.1:9/fhir", "release": "R5"},
    }
    for setting, wanted in (("", []), ("send_assessments = true", ["archive", "ehr"])):
        board = make_board(setting, destinations=places)
        content, header = run_of_phantom()
        job = board.job(board.series("sent"))
        board.read(job)
        kept = board.context.reader.summaries.folder(job)
        (kept / FILENAME).write_bytes(to_json(content))
        (kept / "overlay-1.dcm").write_bytes(file_bytes(header))
        for name in ("archive", "research", "ehr"):
            board.delivered(job, name)
        made = say(board, job.job_id, verdict="accepted")
        rows = [row for row in board.jobs.show(job.job_id).deliveries if row.result.startswith("assessment")]
        assert [(row.destination, row.result) for row in rows] == [
            (name, f"assessment-{made['number']}") for name in wanted
        ]
    sent = pydicom.dcmread(kept / "assessments" / "1.dcm")
    assert sent.ContentSequence[-1].ContentSequence[0].ConceptCodeSequence[0].CodeValue == "accepted"
    assert json.loads((kept / "assessments" / "1.R5.json").read_text())["entry"][0]["resource"]["status"] == "final"


def test_a_backup_brings_assessments_and_comments_to_another_place(make_board: MakeBoard, tmp_path: Path) -> None:
    board = make_board()
    made = say(board, read(board, "backed up"), verdict="rejected", comment="Kept.")
    back_up(board.settings, tmp_path / "backup")
    there = board.settings.model_copy(update={"data_dir": tmp_path / "restored"})
    restore(there, tmp_path / "backup")
    restored = Assessments(there)
    (found,) = restored.every(AssessmentQuery())
    assert (found.number, found.verdict, restored.comment_of(found)) == (made["number"], "rejected", "Kept.")
    restored.close()
