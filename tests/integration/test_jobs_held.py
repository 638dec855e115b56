"""Answers that are no finding wait in the durable engine, and never leave once their series has grown."""

from __future__ import annotations

import signal
import time
from datetime import timedelta
from pathlib import Path

from dicom_node.jobs import holding
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.status import DeliveryState, JobState
from dicom_node.store.manifest import StoredInstance, manifest_text
from pipeline.findings.identity import job_id
from tests.peers.engine import MakeNode, Node, both_databases, pacs_table
from tests.peers.engine_worker import capture
from tests.peers.pacs import Pacs
from tests.peers.ports import free_port

SHORT = {"negative_hold": 8.0, "negative_hold_counted": 0.0}


def stored(node: Node, job: SeriesJob, name: str) -> Path:
    """An instance of the job's series in the store, as the receiver places it."""
    path = node.settings.store_dir / job.series_instance_uid / f"{name}.dcm"
    return capture(path, sop_instance_uid=name, series_instance_uid=job.series_instance_uid)


def submitted(node: Node, rule: str = "negative", name: str = "", **changes: object) -> SeriesJob:
    """A job of one instance that lies in the store; its hold begins when it is read, however slow that is."""
    key = name or rule
    identity = job_id(node.job(key).series_instance_uid, ["1.2.3.1"], "0" * 64)
    folder = node.settings.results_dir / identity.replace(":", "_")
    values = {
        "job_id": identity,
        "manifest": str(folder / "manifest.json"),
        "completed_at": "2999-01-01T00:00:00+00:00",
    }
    job = node.job(key, rule, **{**values, **changes})
    path = stored(node, job, "1.2.3.1")
    folder.mkdir(parents=True)
    Path(job.manifest).write_text(manifest_text((StoredInstance(str(path), "1.2.3.1", "0" * 64),)))
    assert node.client.submit(job)
    return job


AT_ONCE: dict[str, tuple[str, dict[str, object]]] = {
    "a finding": ("plain", {}),
    "a series that has been quiet for long": ("negative", {"silence": 300.0}),
    "a number that a peer confirmed": ("negative", {"expected": 1}),
    "complete long ago": ("negative", {"completed_at": "2026-01-01T00:00:00+00:00"}),
}


def test_it_is_sent_when_its_time_is_over(make_node: MakeNode) -> None:
    """Held until nothing has come for long enough, and shown as such, then sent once; others go at once."""
    with Pacs() as pacs:
        node = make_node({"pacs": pacs_table(pacs)}, completion=SHORT)
        held = [submitted(node, rule) for rule in ("negative", "uncertain")]
        others = [submitted(node, rule, name, **changes) for name, (rule, changes) in AT_ONCE.items()]
        node.start()
        for job in held:
            detail = node.wait_for(job, JobState.HELD)
            for row in detail.deliveries:
                assert row.state is DeliveryState.HELD
                assert row.tries.next_try is not None
                assert timedelta(0) < row.tries.next_try - detail.submitted_at < timedelta(seconds=120)
            assert holding.was_withheld(Path(job.manifest).parent)
        for job in (*others, *held):
            node.wait_for(job, JobState.DONE)
            assert not holding.was_withheld(Path(job.manifest).parent)
        assert set(pacs.stored.values()) == {1}
        assert len(pacs.stored) == 3 * len(held + others)
        assert node.log.count("held_s=0.0") == len(others)


@both_databases
def test_a_further_instance_in_that_time_supersedes_it(make_node: MakeNode) -> None:
    """Nothing of it is ever sent, and the job says why. Another version of an instance is not a further one."""
    with Pacs() as pacs:
        node = make_node({"pacs": pacs_table(pacs)}, completion=SHORT)
        grown = [submitted(node, rule) for rule in ("negative", "uncertain")]
        same = submitted(node, "negative", "same")
        node.start()
        for job in (*grown, same):
            node.wait_for(job, JobState.HELD)
        for job in grown:
            stored(node, job, "1.2.3.2")
        stored(node, same, "1.2.3.1~2")
        for job in grown:
            detail = node.wait_for(job, JobState.SUPERSEDED)
            assert {row.state for row in detail.deliveries} == {DeliveryState.SUPERSEDED}
            assert {row.receipt for row in detail.deliveries} == {holding.SUPERSEDED}
            assert detail.dead_letters == 0
            assert holding.was_withheld(Path(job.manifest).parent)
            again = node.client.retry(job.job_id)
            assert (again.reading, again.deliveries) == (False, ())
        node.wait_for(same, JobState.DONE)
        assert len(pacs.stored) == 3


def test_it_is_sent_once_though_the_worker_was_killed_in_that_time(make_node: MakeNode) -> None:
    """kill -9 while it is held: the next worker sends it, after the same time, once."""
    with Pacs() as pacs:
        node = make_node({"pacs": pacs_table(pacs)}, completion=SHORT)
        worker = node.start()
        job = submitted(node)
        node.wait_for(job, JobState.HELD)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        assert not pacs.stored
        node.start()
        node.wait_for(job, JobState.DONE)
        assert set(pacs.stored.values()) == {1}
        assert node.count("end")[job.job_id] == 1


def test_a_later_try_looks_again(make_node: MakeNode) -> None:
    """The PACS is away when the hold ends, and the series grows before it is back: nothing is sent."""
    port = free_port()
    node = make_node({"pacs": pacs_table(port)}, completion={"negative_hold": 0.0}, tries=60, backoff_most=0.5)
    node.start()
    job = submitted(node)
    node.wait(lambda: any(row.tries.last_failure for row in node.client.show(job.job_id).deliveries))
    stored(node, job, "1.2.3.2")
    with Pacs(port=port) as pacs:
        node.wait_for(job, JobState.SUPERSEDED)
        assert not pacs.stored


def test_a_clock_set_back_does_not_hold_it_for_a_day(make_node: MakeNode) -> None:
    """Nor does the repair of the clock shorten a hold."""
    from tests.integration.test_jobs_clock import DAY_MS, change

    with Pacs() as pacs:
        node = make_node({"pacs": pacs_table(pacs)}, completion={**SHORT, "quiet_most": 8.0}, backoff_most=1.0)
        node.start()
        job = submitted(node)
        node.wait_for(job, JobState.HELD)
        time.sleep(1.5)
        assert not pacs.stored
        change(node, f"delay_until_epoch_ms = delay_until_epoch_ms + {DAY_MS} where status = 'DELAYED'")
        node.wait_for(job, JobState.DONE, seconds=60)
        assert not holding.was_withheld(Path(job.manifest).parent)
