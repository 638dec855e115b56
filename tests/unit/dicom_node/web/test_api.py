"""The REST API: what it answers, in pages, with filters, and to whom it tells names."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing

import jsonschema
import pytest

from dicom_node.audit import trail
from dicom_node.settings.web import Role
from dicom_node.store.worklist import StudyFilter, StudyList
from dicom_node.web import live
from dicom_node.web.auth.principal import Scope
from dicom_node.web.reading import StudyQuery
from pipeline import phantom
from pipeline.findings.model import Outcome
from tests.peers.dashboard import PNG, Dashboard, completed, phantom_bytes
from tests.peers.pacs import Pacs
from tests.peers.settings_text import address

MakeBoard = Callable[..., Dashboard]
API = "/api/v1"


def uids(page: dict) -> list[str]:
    return [item["study_instance_uid"] for item in page["items"]]


@pytest.fixture(scope="module")
def five(board: Dashboard) -> list[str]:
    """Five studies, the oldest first: arriving; queued; a finding, delivered; no finding, failed; without a rule."""
    arriving = board.series("arriving", complete=False, patient_id="PID-00001", accession_number="ACC-00001")
    queued = board.series("queued", modality="CT", patient_id="PID-00002", accession_number="ACC-00002")
    board.job(queued)
    found = board.series("found", patient_id="PID-00003", accession_number="Acc-00003")
    job = board.job(found)
    board.read(job)
    board.delivered(job)
    failed = board.series("failed", patient_id="PID-00003", accession_number="ACC-00004")
    job = board.job(failed)
    board.read(job, Outcome.NO_FINDING)
    board.dead(job)
    other = board.series("other", modality="PT")
    board.refuse(board.job(other, model=None, rule=None), "NOT_ROUTED", "No rule takes this series.")
    return [str(item[0].StudyInstanceUID) for item in (arriving, queued, found, failed, other)]


def test_the_worklist_has_what_failed_first_and_then_the_newest(board: Dashboard, five: list[str]) -> None:
    page = board.client(Role.OPERATOR).get(f"{API}/studies").json()
    assert [row["study_instance_uid"] for row in page["first"]] == [five[3]]
    assert uids(page) == [five[4], five[2], five[1], five[0]]
    states = {row["study_instance_uid"]: row["state"] for row in [*page["first"], *page["items"]]}
    assert [states[uid] for uid in five] == ["receiving", "queued", "done", "failed", "not_routed"]
    answer = page["items"][1]["answer"]
    assert (answer["outcome"], answer["headline"], answer["probability"]) == ("finding", "glioma", 0.93)
    assert page["first"][0]["failures"] == ["PEER_UNAVAILABLE"]
    assert page["items"][1]["deliveries"] == {"delivered": 1}


def test_a_stat_study_stands_first(make_board: MakeBoard) -> None:
    board = make_board()
    stat = board.series("stat")
    board.job(stat, priority="stat")
    for name in ("one", "two"):
        board.job(board.series(name))
    page = board.client(Role.VIEWER).get(f"{API}/studies").json()
    assert [(row["study_instance_uid"], row["priority"]) for row in page["first"]] == [
        (stat[0].StudyInstanceUID, "stat")
    ]
    assert len(page["items"]) == 2


def test_pages_follow_each_other_without_gap_or_repetition(board: Dashboard, five: list[str]) -> None:
    client = board.client(Role.VIEWER)
    found, cursor = [], None
    for _ in range(10):
        page = client.get(f"{API}/studies", params={"limit": 1, **({"cursor": cursor} if cursor else {})}).json()
        found += uids(page)
        cursor = page["next"]
        if cursor is None:
            break
    assert found == [five[4], five[2], five[1], five[0]]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"state": "failed"}, [3]),
        ({"state": "queued"}, [1]),
        ({"state": "receiving"}, [0]),
        ({"state": "done"}, [2]),
        ({"outcome": "finding"}, [2]),
        ({"outcome": "no_finding"}, [3]),
        ({"modality": "CT"}, [1]),
        ({"destination": "archive"}, [3, 2]),
        ({"calling_ae": "NOBODY"}, []),
        ({"q": "pid-00003 "}, [3, 2]),
        ({"q": "ACC-00003"}, [2]),
        ({"q": "PID-0000"}, []),
        ({"since": "2030-01-01"}, []),
        ({"until": "2020-01-01"}, []),
        ({"q": "PID-00003", "outcome": "finding"}, [2]),
    ],
)
def test_filters(board: Dashboard, five: list[str], query: dict[str, str], wanted: list[int]) -> None:
    page = board.client(Role.OPERATOR).get(f"{API}/studies", params=query).json()
    assert page["first"] == []
    assert uids(page) == [five[number] for number in wanted]


def test_a_study_is_found_by_the_uid_of_its_series(board: Dashboard, five: list[str]) -> None:
    client = board.client(Role.VIEWER)
    series = client.get(f"{API}/studies/{five[2]}").json()["all_series"][0]["series_instance_uid"]
    for text in (series, five[2]):
        assert uids(client.get(f"{API}/studies", params={"q": text}).json()) == [five[2]]


def test_only_those_who_may_see_a_patient_see_or_find_one(board: Dashboard, five: list[str]) -> None:
    for client, may in (
        (board.client(Role.OPERATOR), True),
        (board.client(Role.VIEWER), False),
        (board.client(token=(Scope.READ,)), False),
        (board.client(token=(Scope.READ, Scope.IDENTITY)), True),
    ):
        texts = [client.get(f"{API}/{path}").text for path in ("studies", f"studies/{five[2]}", "jobs")]
        texts += [client.get("/").text, client.get(f"/studies/{five[2]}").text] if "candela" in client.cookies else []
        assert ("PID-00003" in "".join(texts)) is may
        assert ("MR HEAD PHANTOM" in "".join(texts)) is may
        assert bool(uids(client.get(f"{API}/studies?q=PID-00003").json())) is may, "a search would tell as well"


def test_the_index_tells_no_identifier_and_a_guess_needs_the_key(board: Dashboard, five: list[str]) -> None:
    data_dir = board.settings.data_dir
    for name in ("index.sqlite", "index.sqlite-wal"):
        assert b"PID-0000" not in (data_dir / name).read_bytes()
    assert (data_dir / "index.key").stat().st_mode & 0o777 == 0o600
    studies = StudyList(board.settings)
    assert set(studies.found_by("PID-00003")) == {five[2], five[3]}
    key = (data_dir / "index.key").read_bytes()
    (data_dir / "index.key").write_bytes(bytes(32))
    assert studies.found_by("PID-00003") == ()
    (data_dir / "index.key").write_bytes(key)


def test_a_job_tells_what_happened_and_why(board: Dashboard, five: list[str]) -> None:
    client = board.client(Role.VIEWER)
    study = client.get(f"{API}/studies/{five[3]}").json()
    (series,) = study["all_series"]
    (job,) = series["jobs"]
    assert [event["what"] for event in job["timeline"]] == ["completed", "routed", "read", "delivery_dead"]
    assert job["timeline"][0]["values"]["reason"] == "quiet for 1.0 s"
    assert job["deliveries"][0]["failure"]["code"] == "PEER_UNAVAILABLE"
    assert client.get(f"{API}/series/{series['series_instance_uid']}").json() == series
    assert client.get(f"{API}/jobs/{job['job_id']}").json() == job
    findings = client.get(f"{API}/jobs/{job['job_id']}/findings").json()
    assert (findings["probabilities"]["glioma"], findings["caveats"]) == (0.93, ["A note."])


def test_jobs_by_state_in_both_orders_and_in_pages(board: Dashboard, five: list[str]) -> None:
    client = board.client(Role.VIEWER)

    def jobs(**query: object) -> list[str]:
        found: list[str] = []
        cursor = None
        for _ in range(10):
            params = {"limit": 1, **query, **({"cursor": cursor} if cursor else {})}
            page = client.get(f"{API}/jobs", params=params).json()
            found += [item["study_instance_uid"] for item in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        return found

    newest = jobs()
    assert sorted(newest) == sorted(five[1:])
    assert jobs(order="oldest") == newest[::-1]
    for state, wanted in {"dead": [3], "queued": [1], "done": [2, 4], "cancelled": []}.items():
        assert sorted(jobs(state=state)) == sorted(five[number] for number in wanted)
    assert jobs(outcome="finding") == [five[2]]
    assert jobs(model="other") == []
    assert sorted(jobs(rule="brain MRI")) == sorted(five[1:4])


def test_actions_on_a_job(make_board: MakeBoard) -> None:
    board = make_board()
    job = board.job(board.series("acted on"))
    board.read(job)
    board.dead(job)
    client = board.client(Role.OPERATOR)

    def state() -> str:
        return client.get(f"{API}/jobs/{job.job_id}").json()["state"]

    assert state() == "dead"
    assert client.post(f"{API}/jobs/{job.job_id}/discard").json()["text"] == "Discarded: 1."
    assert state() == "discarded"
    assert "overlay to archive" in client.post(f"{API}/jobs/{job.job_id}/retry").json()["text"]
    assert state() == "delivering"
    assert "Stopped: 1." in client.post(f"{API}/jobs/{job.job_id}/cancel").json()["text"]
    assert state() == "cancelled"
    lines = [line for path in trail.files(board.settings.audit_dir) for line in trail.read(path)]
    acts = [(line["what"], line["destination"]["name"], line["job"]) for line in lines if line["action"] == "E"]
    assert acts == [(f"job {done}", "operator", job.job_id) for done in ("discarded", "retried", "cancelled")]


def test_reads_are_recorded_once_an_hour_and_each_download(make_board: MakeBoard) -> None:
    board = make_board()
    series = board.series("watched")
    job = board.job(series)
    board.read(job)
    client = board.client(Role.OPERATOR)
    for _ in range(3):
        client.get("/")
        client.get(f"{API}/jobs/{job.job_id}/results/overlay-1.dcm")
    lines = [line for path in trail.files(board.settings.audit_dir) for line in trail.read(path)]
    what = [(line["what"], line["activity"]["meaning"]) for line in lines]
    assert what == [("worklist", "Query"), *[("overlay", "Export")] * 3]
    assert lines[0]["studies"] == [series[0].StudyInstanceUID]
    assert lines[0]["destination"] == {"name": "operator", "kind": "user", "address": "testclient"}


def test_results_by_type_and_again_only_when_they_changed(board: Dashboard, five: list[str]) -> None:
    client = board.client(Role.OPERATOR)
    job = client.get(f"{API}/studies/{five[2]}").json()["all_series"][0]["jobs"][0]["job_id"]
    listed = {item["media_type"]: item for item in client.get(f"{API}/jobs/{job}/results").json()}
    assert set(listed) == {"image/png", "application/dicom"}
    picture = client.get(listed["image/png"]["href"])
    assert (picture.content, picture.headers["content-type"]) == (PNG, "image/png")
    again = client.get(listed["image/png"]["href"], headers={"If-None-Match": picture.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    dicom = client.get(listed["application/dicom"]["href"])
    assert (dicom.content, dicom.headers["content-type"]) == (b"DICM", "application/dicom")
    assert "attachment" in dicom.headers["content-disposition"]
    for name in ("summary.json", "manifest.json", "..%2F..%2Fcandela.toml", "previews", "overlay-1.png"):
        assert client.get(f"{API}/jobs/{job}/results/{name}").status_code == 404, name


def test_errors_are_problem_details(board: Dashboard) -> None:
    client = board.client(Role.OPERATOR)
    for path, status, code in (
        ("jobs/1.2:3", 404, "NO_SUCH_JOB"),
        ("studies/1.2", 404, "NO_SUCH_STUDY"),
        ("series/1.2", 404, "NO_SUCH_SERIES"),
        ("models/none", 404, "BAD_MODEL"),
        ("destinations/none", 404, "NO_SUCH_DESTINATION"),
        ("studies?cursor=nonsense", 400, "BAD_REQUEST"),
        ("jobs?cursor=W10", 400, "BAD_REQUEST"),
        ("studies?since=yesterday", 400, "BAD_REQUEST"),
        ("studies?state=happy", 422, "INVALID_REQUEST"),
        ("studies?limit=0", 422, "INVALID_REQUEST"),
        ("nothing", 404, None),
    ):
        answer = client.get(f"{API}/{path}")
        assert answer.headers["content-type"] == "application/problem+json", path
        assert (answer.status_code, answer.json()["status"], answer.json().get("code")) == (status, status, code), path
    invalid = client.get(f"{API}/studies", params={"state": "Secret^Patient"})
    assert "Secret" not in invalid.text, "values are not repeated"


def test_a_header_is_tried_on_the_rules_and_not_kept(board: Dashboard) -> None:
    client = board.client(Role.OPERATOR)
    before = sorted(board.folder.rglob("*"))
    (mr, *_) = phantom.head_phantom(slices=2, matrix=16, header=phantom.Header(key="dry"))
    taken = client.post(f"{API}/routing/dry-run", content=phantom_bytes(mr)).json()
    assert taken["taken"] == ["brain MRI"]
    mr.Modality = "CT"
    other = client.post(f"{API}/routing/dry-run?calling_ae=CT1", content=phantom_bytes(mr)).json()
    assert other["taken"] == []
    check = next(item for item in other["verdicts"][0]["checks"] if not item["holds"])
    assert (check["wanted"], check["found"]) == ("MR", "CT")
    for wrong in (b"", b"PK\x03\x04", b"x" * 5000, phantom_bytes(mr)[:200]):
        answer = client.post(f"{API}/routing/dry-run", content=wrong)
        assert (answer.status_code, answer.json().get("code")) == (422, "NOT_DICOM")
    assert sorted(board.folder.rglob("*")) == before


def test_destinations_with_queue_circuit_and_test(make_board: MakeBoard) -> None:
    with Pacs(sop_classes=["1.2.840.10008.1.1"]) as pacs:
        board = make_board(destinations={"pacs": {"kind": "dicom", "peer": address(pacs.port), "contact": "4711"}})
        job = board.job(board.series("sent"))
        board.read(job)
        client = board.client(Role.OPERATOR)
        (row,) = client.get(f"{API}/destinations").json()
        assert (row["name"], row["waiting"], row["circuit"], row["last_success"]) == ("pacs", 1, "closed", None)
        tested = client.post(f"{API}/destinations/pacs/test").json()
        assert tested["works"], tested
        assert "C-ECHO" in tested["text"]
    gone = client.post(f"{API}/destinations/pacs/test").json()
    assert not gone["works"]
    assert "cannot be reached" in gone["text"]
    assert "not open" in client.post(f"{API}/destinations/pacs/resume").json()["text"]
    for _ in range(board.settings.jobs.circuit_failures):
        board.jobs._circuits.failed("pacs", "PEER_UNAVAILABLE")
    down = client.get(f"{API}/destinations/pacs").json()
    assert (down["circuit"], down["last_code"]) == ("open", "PEER_UNAVAILABLE")
    assert "One delivery" in client.post(f"{API}/destinations/pacs/resume").json()["text"]
    assert client.get(f"{API}/destinations/pacs").json()["circuit"] == "half_open"
    board.delivered(job, "pacs")
    assert client.get(f"{API}/destinations/pacs").json()["last_success"] is not None


def test_statistics_and_models(board: Dashboard, five: list[str]) -> None:
    client = board.client(Role.VIEWER)
    numbers = client.get(f"{API}/statistics?hours=2").json()
    assert (numbers["series_stored"], numbers["failed"]) == (5, 1)
    assert sum(item["series"] for item in numbers["intervals"]) == 4
    assert sum(item["failed"] for item in numbers["intervals"]) == 1
    (model,) = client.get(f"{API}/models").json()
    assert (model["name"], model["rules"]) == ("brain_mri_tumor", ["brain MRI"])
    detail = client.get(f"{API}/models/brain_mri_tumor")
    assert detail.json()["card"].startswith("# Brain MRI")
    assert detail.json()["evaluation"]["pooled"]
    known = client.get(f"{API}/models/brain_mri_tumor", headers={"If-None-Match": detail.headers["etag"]})
    assert known.status_code == 304
    assert client.get(f"{API}/models/brain_mri_tumor/plots/folds.svg").headers["content-type"] == "image/svg+xml"


def test_the_description_of_the_api_is_valid_and_names_each_answer(board: Dashboard) -> None:
    described = board.client().get(f"{API}/openapi.json").json()
    for schema in described["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert {"200", "201", "202"} & operation["responses"].keys(), (method, path)


def test_open_pages_hear_of_a_change_and_of_nothing_else(
    make_board: MakeBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(live, "AT_MOST_EVERY", 0.1)
    board = make_board()
    series = board.series("live")

    async def heard() -> list[str]:
        stream = board.context.live.events()
        events = [await anext(stream)]
        waiting = asyncio.ensure_future(anext(stream))
        done, _ = await asyncio.wait({waiting}, timeout=0.7)
        assert not done, "nothing had changed"
        await asyncio.to_thread(board.job, series)
        events.append(await asyncio.wait_for(waiting, 10))
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.to_thread(board.series, "another")
        events.append(await asyncio.wait_for(waiting, 10))
        await stream.aclose()
        return events

    assert completed(heard()) == [f"event: changed\ndata: {number}\n\n" for number in (0, 1, 2)]


def test_the_worklist_asks_indexes_and_reads_no_table_whole(board: Dashboard, five: list[str]) -> None:
    """So that a page takes as long however many series there are: SQLite's own plan of each question."""
    asked: list[str] = []
    studies = StudyList(board.settings)
    rows = studies._rows

    def noted(statement: str, values: list) -> list:
        with closing(sqlite3.connect(board.settings.data_dir / "index.sqlite")) as database:
            asked.extend(str(row[3]) for row in database.execute(f"explain query plan {statement}", values))
        return rows(statement, values)

    studies._rows = noted  # type: ignore[method-assign]
    page = studies.page(StudyFilter(), limit=2)
    studies.page(StudyFilter(series=[five[0]], without=[five[1]]), after=page[-1].place)
    studies.found_by("PID-00003")
    studies.sample(page[0].series[0].record.series_instance_uid)
    studies.studies_of([page[0].series[0].record.series_instance_uid])
    scans = [line for line in asked if line.startswith("SCAN") and "INDEX" not in line and "json_each" not in line]
    assert [line for line in scans if "subquery" not in line.lower() and "(" not in line] == []


def test_the_engine_finds_jobs_by_the_key_of_its_table(board: Dashboard, five: list[str]) -> None:
    file = board.settings.data_dir / "engine.sqlite"
    with closing(sqlite3.connect(file)) as database:
        plan = list(
            database.execute(
                "explain query plan select workflow_uuid from workflow_status"
                " where workflow_uuid >= '1.2:' and workflow_uuid < '1.2;'"
            )
        )
    assert "SEARCH" in plan[0][3]
    everything = board.context.reader.page(StudyQuery(), after=None, limit=10)[0]
    assert len(everything) == 5
