"""The durable engine with real worker processes that are really killed; `both_databases` says which run on both."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dicom_node.jobs import engine
from dicom_node.jobs.circuits import open_database
from dicom_node.jobs.client import NoSuchJob
from dicom_node.jobs.status import DeliveryState, JobState
from pipeline.findings.identity import derived_uid
from pipeline.findings.model import Outcome
from tests.peers.engine import MakeNode, Node, both_databases, pacs_table
from tests.peers.pacs import Pacs
from tests.peers.ports import free_port

pytestmark = pytest.mark.slow


def archived(node: Node) -> list[str]:
    return sorted(path.name for path in (node.folder / "archive").rglob("*") if path.is_file())


ALL_FILES = ["fhir-bundle.json", "overlay-1.dcm", "overlay-2.dcm", "report.dcm"]


@both_databases
def test_a_job_is_read_once_and_each_result_reaches_each_destination_that_takes_it(make_node: MakeNode) -> None:
    """DICOM goes to the PACS, everything to the folder; `show` has each destination's answer."""
    with Pacs() as pacs:
        node = make_node({"pacs": pacs_table(pacs), "archive": {"kind": "folder", "path": "archive"}})
        node.configure({"pacs": pacs_table(pacs), "archive": {"kind": "folder", "path": str(node.folder / "archive")}})
        job = node.job()
        assert node.client.submit(job)
        node.start("infer")
        node.start("deliver")
        detail = node.wait_for(job, JobState.DONE)
    assert detail.job == job
    assert detail.outcome is Outcome.FINDING
    assert [(row.destination, row.result, row.receipt) for row in detail.deliveries] == [
        ("archive", "fhir-bundle", "1 file written"),
        ("archive", "overlay", "2 files written"),
        ("archive", "report", "1 file written"),
        ("pacs", "overlay", "2 instances stored, 0x0000"),
        ("pacs", "report", "1 instance stored, 0x0000"),
    ]
    assert all(row.tries.attempts == 1 and row.tries.last_failure is None for row in detail.deliveries)
    assert archived(node) == ALL_FILES
    assert len(pacs.stored) == 3
    assert set(pacs.stored.values()) == {1}


def test_a_job_handed_in_twice_is_done_once(make_node: MakeNode) -> None:
    """The second hand-in says that it is known, before and after the job is done."""
    node = make_node()
    job = node.job()
    assert node.client.submit(job)
    assert not node.client.submit(job)
    node.start()
    node.wait_for(job, JobState.DONE)
    assert not node.client.submit(job)
    second = node.job("2")
    node.client.submit(second)
    node.wait_for(second, JobState.DONE)
    assert node.count("begin") == {job.job_id: 1, second.job_id: 1}


@both_databases
def test_stat_overtakes_routine(make_node: MakeNode) -> None:
    """A STAT series that came last is read first."""
    node = make_node()
    jobs = [node.job(f"routine {number}") for number in range(3)] + [node.job("stat", priority="stat")]
    for job in jobs:
        node.client.submit(job)
    node.start()
    for job in jobs:
        node.wait_for(job, JobState.DONE)
    assert node.effects[0] == ("begin", jobs[3].job_id)


@both_databases
def test_a_killed_infer_worker_leaves_its_job_to_another(make_node: MakeNode) -> None:
    """kill -9 in the middle of a reading: another worker notices, reads anew, and everything is delivered once."""
    with Pacs() as pacs:
        node = make_node({"pacs": pacs_table(pacs)})
        job = node.job(rule="slow")
        node.client.submit(job)
        victim = node.start("infer")
        node.start("deliver")
        node.wait(lambda: node.count("begin")[job.job_id] == 1)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        assert node.client.show(job.job_id).state is JobState.RUNNING
        (node.data_dir / "go").touch()
        node.start("infer")
        detail = node.wait_for(job, JobState.DONE)
    assert node.count("begin") == {job.job_id: 2}
    assert node.count("end") == {job.job_id: 1}
    assert set(pacs.stored.values()) == {1}
    assert len(pacs.stored) == 3
    assert len(detail.deliveries) == 2


def test_a_node_killed_between_reading_and_delivery_delivers_once_after_its_restart(make_node: MakeNode) -> None:
    """kill -9 of everything when the series is read and nothing sent: after the restart all is sent, once."""
    with Pacs() as pacs:
        node = make_node()
        tables = {"pacs": pacs_table(pacs), "archive": {"kind": "folder", "path": str(node.folder / "archive")}}
        node.configure(tables)
        jobs = [node.job(str(number)) for number in range(3)]
        for job in jobs:
            node.client.submit(job)
        infer = node.start("infer")
        for job in jobs:
            node.wait_for(job, JobState.DELIVERING)
        infer.send_signal(signal.SIGKILL)
        infer.wait()
        assert not pacs.stored
        node.start()
        for job in jobs:
            node.wait_for(job, JobState.DONE)
    assert len(pacs.stored) == 9
    assert set(pacs.stored.values()) == {1}
    assert archived(node) == sorted(ALL_FILES * 3)
    assert set(node.count("begin").values()) == {1}


def test_what_was_recorded_before_a_kill_is_not_done_again(make_node: MakeNode) -> None:
    """Killed with every step recorded and no workflow ended: after the restart all end, nothing is read or sent."""
    with Pacs() as pacs:
        node = make_node({"pacs": pacs_table(pacs)})
        job = node.job()
        node.client.submit(job)
        victim = node.start()
        before = node.wait_for(job, JobState.DONE)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        database = open_database(node.settings)
        with database.begin() as connection:
            schema = "dbos." if database.dialect.name == "postgresql" else ""
            connection.execute(sa.text(f"update {schema}workflow_status set status = 'PENDING', output = null"))
        database.dispose()
        assert node.client.show(job.job_id).state is not JobState.DONE
        node.start()
        after = node.wait_for(job, JobState.DONE)
    assert node.count("begin") == {job.job_id: 1}
    assert [row.receipt for row in after.deliveries] == [row.receipt for row in before.deliveries]
    assert len(pacs.stored) == 3
    assert set(pacs.stored.values()) == {1}


@both_databases
def test_a_killed_deliver_worker_leaves_its_delivery_to_another(make_node: MakeNode, tmp_path: Path) -> None:
    """kill -9 while a PACS keeps the sender waiting: another sender takes over, and the PACS ends with all."""
    with Pacs() as pacs:
        node = make_node({"pacs": pacs_table(pacs)})
        held = []

        def hold(event: Any) -> int:
            held.append(event)
            node.wait((tmp_path / "released").exists)
            return 0x0000

        pacs.answer = hold
        job = node.job()
        node.client.submit(job)
        node.start("infer")
        victim = node.start("deliver")
        node.wait(lambda: held)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        (tmp_path / "released").touch()
        node.start("deliver")
        detail = node.wait_for(job, JobState.DONE)
    assert len(pacs.stored) == 3
    assert {row.tries.attempts for row in detail.deliveries} == {1}


def test_a_destination_that_is_down_is_tried_again_until_it_is_up(make_node: MakeNode) -> None:
    """Attempts are counted, the last error and the next try are shown, and in the end everything is there once."""
    port = free_port()
    node = make_node({"pacs": pacs_table(port)}, tries=50, backoff_most=1.0)
    job = node.job()
    node.client.submit(job)
    node.start()
    node.wait(lambda: any(row.tries.attempts >= 2 for row in node.client.show(job.job_id).deliveries))
    waiting = node.client.show(job.job_id)
    assert waiting.state is JobState.DELIVERING
    row = waiting.deliveries[0]
    assert row.state in (DeliveryState.RETRYING, DeliveryState.RUNNING)
    assert row.tries.last_failure is not None
    assert row.tries.last_failure.code == "PEER_UNAVAILABLE"
    assert f"127.0.0.1:{port}" in row.tries.last_failure.text
    node.wait(lambda: any(row.tries.next_try for row in node.client.show(job.job_id).deliveries))
    with Pacs(port=port) as pacs:
        detail = node.wait_for(job, JobState.DONE)
    assert all(row.tries.attempts >= 2 and row.receipt for row in detail.deliveries)
    assert len(pacs.stored) == 3
    assert set(pacs.stored.values()) == {1}


def test_a_dead_letter_is_delivered_after_retry(make_node: MakeNode) -> None:
    """After its last try a delivery is a dead letter; an operator's retry gives it a new round and it arrives."""
    port = free_port()
    node = make_node({"pacs": pacs_table(port)}, tries=2)
    job = node.job()
    node.client.submit(job)
    node.start()
    dead = node.wait_for(job, JobState.DEAD)
    assert dead.dead_letters == 2
    assert {(row.state, row.tries.attempts) for row in dead.deliveries} == {(DeliveryState.DEAD, 2)}
    assert [row.job.job_id for row in node.client.list(state=JobState.DEAD)] == [job.job_id]
    with Pacs(port=port) as pacs:
        retried = node.client.retry(job.job_id)
        assert not retried.reading
        assert retried.deliveries == (("overlay", "pacs"), ("report", "pacs"))
        detail = node.wait_for(job, JobState.DONE)
    assert {(row.state, row.tries.attempts) for row in detail.deliveries} == {(DeliveryState.DELIVERED, 3)}
    assert set(pacs.stored.values()) == {1}
    assert node.client.retry(job.job_id).deliveries == ()
    assert node.count("begin") == {job.job_id: 1}


def test_a_dead_destination_does_not_delay_another(make_node: MakeNode) -> None:
    """One PACS swallows connections and never answers; more series than it has slots still reach the folder."""
    with Pacs() as pacs:
        pacs.answer = lambda _: stuck()

        def stuck() -> int:
            node.wait((node.folder / "released").exists, 300)
            return 0x0000

        node = make_node()
        archive = {"kind": "folder", "path": str(node.folder / "archive")}
        node.configure({"a-stuck-pacs": pacs_table(pacs, timeout=300.0), "archive": archive})
        jobs = [node.job(str(number)) for number in range(4)]
        for job in jobs:
            node.client.submit(job)
        node.start()
        try:
            node.wait(lambda: archived(node) == sorted(ALL_FILES * 4), 200)
            assert not pacs.stored
            states = [node.client.show(job.job_id).state for job in jobs]
            assert states == [JobState.DELIVERING] * 4
        finally:
            (node.folder / "released").touch()


def test_a_reading_that_cannot_be_done_now_is_tried_again(make_node: MakeNode) -> None:
    """Retryable from the reading means another attempt, not a dead letter."""
    node = make_node(backoff_first=0.1)
    job = node.job(rule="flaky")
    node.client.submit(job)
    node.start()
    detail = node.wait_for(job, JobState.DONE)
    assert detail.reading.attempts == 3
    assert detail.reading.last_failure is not None
    assert detail.reading.last_failure.code == "PEER_BUSY"
    assert node.count("end") == {job.job_id: 1}


def test_a_refusal_is_an_outcome_and_not_an_error(make_node: MakeNode) -> None:
    """A refused series is done, with its code and reason, and nothing is tried again."""
    node = make_node()
    job = node.job(rule="refuse")
    node.client.submit(job)
    node.start()
    detail = node.wait_for(job, JobState.DONE)
    assert detail.result is not None
    assert (detail.outcome, detail.result.refusal_code) == (Outcome.REFUSED, "MISSING_SLICES")
    assert detail.dead_letters == 0
    assert node.count("begin") == {job.job_id: 1}


def test_an_error_of_ours_is_a_dead_letter_with_its_place_and_without_patient_data(make_node: MakeNode) -> None:
    """The trace says where it happened; the exception's message, which may quote a data set, appears nowhere."""
    node = make_node()
    job = node.job(rule="broken")
    node.client.submit(job)
    node.start()
    detail = node.wait_for(job, JobState.DEAD)
    failure = detail.reading.last_failure
    assert failure is not None
    assert failure.code == "UNFORESEEN"
    assert "LookupError" in failure.text
    assert "engine_worker.py" in failure.trace
    assert detail.reading.attempts == 1
    assert detail.dead_letters == 1
    shown = f"{detail}{node.log}"
    assert len([line for line in node.log.splitlines() if "error" in line.lower()]) == 1
    assert "nitzrÄ" not in shown
    assert job.series_instance_uid not in node.log


def test_a_poison_series_becomes_a_dead_letter_and_takes_no_other_along(make_node: MakeNode) -> None:
    """A series that kills each process that reads it stops doing so after a few; its neighbour is read."""
    node = make_node(dead_worker_grace=0.5)
    poison, neighbour = node.job("poison", rule="crash", priority="stat"), node.job("neighbour")
    node.client.submit(poison)
    node.client.submit(neighbour)
    node.start()

    def dead_with_workers_restarted() -> bool:
        if node.workers[-1].poll() is not None:
            node.start()
        return node.client.show(poison.job_id).state is JobState.DEAD

    node.wait(dead_with_workers_restarted, 300)
    detail = node.client.show(poison.job_id)
    assert detail.reading.last_failure is not None
    assert detail.reading.last_failure.code == "CRASHED"
    assert 2 <= node.count("begin")[poison.job_id] <= 7
    node.wait_for(neighbour, JobState.DONE)


def test_cancel_stops_what_is_pending_and_says_what_was_delivered(make_node: MakeNode) -> None:
    """What reached the folder is named, what waited for the dead PACS is stopped and never sent."""
    port = free_port()
    node = make_node()
    archive = {"kind": "folder", "path": str(node.folder / "archive")}
    node.configure({"pacs": pacs_table(port), "archive": archive})
    job = node.job()
    node.client.submit(job)
    worker = node.start()
    node.wait(lambda: archived(node) == ALL_FILES)
    node.wait(
        lambda: all(
            row.state is (DeliveryState.DELIVERED if row.destination == "archive" else DeliveryState.RETRYING)
            for row in node.client.show(job.job_id).deliveries
        )
    )
    report = node.client.cancel(job.job_id)
    assert report.stopped == 2
    assert {(row.result, row.destination) for row in report.delivered} == {
        ("overlay", "archive"), ("report", "archive"), ("fhir-bundle", "archive"),
    }  # fmt: skip
    with Pacs(port=port) as pacs:
        other = node.job("other")
        node.client.submit(other)
        node.wait_for(other, JobState.DONE)
        assert node.client.show(job.job_id).state is JobState.CANCELLED
        assert derived_uid(job.job_id, "report") not in pacs.stored
        assert worker.poll() is None
        node.client.retry(job.job_id)
        node.wait_for(job, JobState.DONE)
        assert pacs.stored[derived_uid(job.job_id, "report")] == 1


@both_databases
def test_an_attempt_that_ends_while_it_is_cancelled_is_not_counted_twice(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had just added the next attempt, which is stopped in its place: one reading, not two."""
    node = make_node()
    job = node.job()
    node.client.submit(job)
    dbos = node.client._client
    cancel = dbos.cancel_workflows
    late: list[str] = []

    def cancel_too_late(names: list[str]) -> None:
        if not late:
            late.extend(names)
            table = "workflow_status" if engine.sqlite_file(node.settings) else "dbos.workflow_status"
            database = open_database(node.settings)
            with database.begin() as connection:
                connection.execute(sa.text(f"update {table} set status = 'SUCCESS' where workflow_uuid = '{names[0]}'"))
            database.dispose()
            dbos.enqueue(engine.series_options(job, 2, delay=600.0), job.to_dict(), 2, 4)
        cancel(names)

    monkeypatch.setattr(dbos, "cancel_workflows", cancel_too_late)
    assert node.client.cancel(job.job_id).stopped == 1
    assert late == [engine.series_id(job.job_id, 1)]


@both_databases
def test_cancel_of_a_job_that_is_being_read_sends_nothing(make_node: MakeNode) -> None:
    """The reading itself is not interrupted, but nothing follows it, and the next job is read."""
    node = make_node()
    job, following = node.job(rule="slow"), node.job("2")
    node.client.submit(job)
    node.start()
    node.wait(lambda: node.count("begin")[job.job_id] == 1)
    node.client.submit(following)
    assert node.client.cancel(job.job_id).stopped == 1
    (node.data_dir / "go").touch()
    node.wait_for(following, JobState.DONE)
    detail = node.client.show(job.job_id)
    assert detail.state is JobState.CANCELLED
    assert detail.deliveries == ()
    assert archived(node) == ALL_FILES


def test_sigterm_stops_a_worker_in_bounded_time_and_its_job_is_taken_up_again(make_node: MakeNode) -> None:
    """A reading that does not end in the time given is left, status 0, and another worker reads it anew."""
    node = make_node()
    job = node.job(rule="slow")
    node.client.submit(job)
    worker = node.start()
    node.wait(lambda: node.count("begin")[job.job_id] == 1)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(12) == 0
    (node.data_dir / "go").touch()
    node.start()
    node.wait_for(job, JobState.DONE)
    assert node.count("end") == {job.job_id: 1}


@both_databases
def test_list_shows_the_newest_jobs_and_unknown_ids_are_said_to_be_unknown(make_node: MakeNode) -> None:
    """`limit` and `state` choose; a retried job is listed once."""
    node = make_node()
    jobs = [node.job(str(number)) for number in range(5)]
    for job in jobs:
        node.client.submit(job)
    assert {row.job.job_id for row in node.client.list()} == {job.job_id for job in jobs}
    assert len(node.client.list(limit=2)) == 2
    assert node.client.find(jobs[3].job_id[:20]) == (jobs[3].job_id,)
    assert set(node.client.find("2.25.")) == {job.job_id for job in jobs}
    assert node.client.find("nobody") == ()
    node.client.cancel(jobs[0].job_id)
    assert [row.job.job_id for row in node.client.list(state=JobState.CANCELLED)] == [jobs[0].job_id]
    assert node.client.retry(jobs[0].job_id).reading
    assert node.client.show(jobs[0].job_id).state is JobState.RETRYING
    assert len(node.client.list()) == 5
    with pytest.raises(NoSuchJob, match="no such job"):
        node.client.show("1.2.3:0:0")


def test_a_destination_that_the_settings_no_longer_name_is_a_dead_letter(make_node: MakeNode) -> None:
    """It is neither forgotten nor sent elsewhere; put back, a retry delivers."""
    node = make_node()
    job = node.job(destinations=("archive", "gone"))
    node.client.submit(job)
    worker = node.start()
    detail = node.wait_for(job, JobState.DEAD)
    assert {row.destination for row in detail.deliveries if row.state is DeliveryState.DEAD} == {"gone"}
    assert {row.tries.attempts for row in detail.deliveries} == {1}
    worker.terminate()
    worker.wait(12)
    tables: dict[str, Any] = {name: {"kind": "folder", "path": str(node.folder / name)} for name in ("archive", "gone")}
    node.configure(tables)
    node.start()
    node.client.retry(job.job_id)
    node.wait_for(job, JobState.DONE)
    assert len(list((node.folder / "gone").rglob("*.dcm"))) == 3
