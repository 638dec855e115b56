"""Destinations fail alone: circuits, rates, priorities, resumption, and what an operator can do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.jobs.circuits import CircuitState
from dicom_node.jobs.status import DeliveryState, JobState
from pipeline.findings.identity import derived_uid
from tests.peers.engine import MakeNode, Node, pacs_table
from tests.peers.pacs import Pacs
from tests.peers.ports import free_port

pytestmark = pytest.mark.slow


def circuit(node: Node, destination: str) -> CircuitState:
    return next(row.circuit.state for row in node.client.destinations() if row.name == destination)


def attempts(node: Node, jobs: list[Any]) -> int:
    return sum(row.tries.attempts for job in jobs for row in node.client.show(job.job_id).deliveries)


def test_what_waits_for_a_dead_pacs_costs_no_tries_and_arrives_when_it_is_back(make_node: MakeNode) -> None:
    """The circuit opens, is shown, probes with one delivery at a time; up again, it closes and all arrive once."""
    port = free_port()
    node = make_node({"pacs": pacs_table(port)}, tries=30, circuit_failures=3, backoff_first=0.1, backoff_most=0.2)
    jobs = [node.job(str(number)) for number in range(8)]
    for job in jobs:
        node.client.submit(job)
    node.start()
    node.wait(lambda: circuit(node, "pacs") is CircuitState.OPEN)
    node.wait(lambda: sum(row.waiting + row.sending for row in node.client.destinations()) == 16)
    before = attempts(node, jobs)
    time.sleep(2)  # without the circuit, sixteen deliveries would have tried more than a hundred times
    assert attempts(node, jobs) - before <= 8
    (row,) = node.client.destinations()
    assert (row.kind, row.waiting + row.sending) == ("dicom", 16)
    assert row.circuit.code == "PEER_UNAVAILABLE"
    with Pacs(port=port) as pacs:
        for job in jobs:
            node.wait_for(job, JobState.DONE)
        assert circuit(node, "pacs") is CircuitState.CLOSED
    assert len(pacs.stored) == 24
    assert set(pacs.stored.values()) == {1}
    assert node.log.count("state=open") >= 1
    assert node.log.count("state=closed") == 1


def test_an_operator_who_mended_the_pacs_does_not_wait_for_the_pause(make_node: MakeNode) -> None:
    """`resume` lets one delivery through at once; its answer closes the circuit."""
    port = free_port()
    node = make_node(
        {"pacs": pacs_table(port)}, tries=30, circuit_failures=1, circuit_first=300.0, circuit_most=300.0,
        backoff_first=0.1, backoff_most=0.2,
    )  # fmt: skip
    job = node.job()
    node.client.submit(job)
    node.start()
    node.wait(lambda: circuit(node, "pacs") is CircuitState.OPEN)
    # the failure of one that is still under way would count as the probe's
    node.wait(lambda: all(row.state is not DeliveryState.RUNNING for row in node.client.show(job.job_id).deliveries))
    with Pacs(port=port):
        assert node.client.resume("pacs")
        node.wait_for(job, JobState.DONE)
        assert not node.client.resume("pacs")


def test_a_no_is_an_answer(make_node: MakeNode) -> None:
    """A PACS that refuses every object is no outage: dead letters at once, and the circuit stays closed."""
    with Pacs(answer=lambda _: 0xC000) as pacs:
        node = make_node({"pacs": pacs_table(pacs.port)}, circuit_failures=1)
        job = node.job()
        node.client.submit(job)
        node.start()
        detail = node.wait_for(job, JobState.DEAD)
        assert {row.tries.attempts for row in detail.deliveries} == {1}
        assert circuit(node, "pacs") is CircuitState.CLOSED


def test_stat_results_go_before_routine_ones(make_node: MakeNode) -> None:
    """Of what waits for one destination the STAT result is sent first, though it came last."""
    with Pacs() as pacs:
        node = make_node({"pacs": pacs_table(pacs.port)})
        jobs = [node.job(f"routine {number}") for number in range(6)] + [node.job("stat", priority="stat")]
        for job in jobs:
            node.client.submit(job)
        infer = node.start("infer")
        for job in jobs:
            node.wait_for(job, JobState.DELIVERING)
        node.start("deliver")
        for job in jobs:
            node.wait_for(job, JobState.DONE)
        assert infer.poll() is None
    order = [str(event.request.AffectedSOPInstanceUID) for event in pacs.received]
    stat = {derived_uid(jobs[-1].job_id, name) for name in ("overlay-1", "overlay-2", "report")}
    assert set(order[:3]) == stat


def test_a_destination_gets_no_more_than_its_rate_and_holds_up_no_other(make_node: MakeNode, tmp_path: Path) -> None:
    """Two results a minute: two arrive, the third waits; the folder beside it has everything at once."""
    with Pacs() as pacs:
        archive = {"kind": "folder", "path": str(tmp_path / "archive")}
        node = make_node({"pacs": pacs_table(pacs.port, rate=2), "archive": archive})
        jobs = [node.job(str(number)) for number in range(4)]
        for job in jobs:
            node.client.submit(job)
        node.start()
        node.wait(lambda: len([p for p in (node.folder / "archive").rglob("*") if p.is_file()]) == 16)
        node.wait(lambda: pacs.associations == 2)
        time.sleep(2)
        assert pacs.associations == 2
        assert {row.name: row.waiting for row in node.client.destinations()} == {"pacs": 6, "archive": 0}


def test_a_discarded_dead_letter_waits_for_nobody_until_it_is_retried(make_node: MakeNode) -> None:
    """Discarding sends nothing and is shown; a retry takes it back."""
    port = free_port()
    node = make_node({"pacs": pacs_table(port)}, tries=1)
    job, other = node.job(), node.job("other", rule="broken")
    node.client.submit(job)
    node.client.submit(other)
    node.start()
    node.wait_for(job, JobState.DEAD)
    node.wait_for(other, JobState.DEAD)
    assert node.client.discard(job.job_id).deliveries == (("overlay", "pacs"), ("report", "pacs"))
    assert node.client.discard(job.job_id).deliveries == ()
    assert node.client.discard(other.job_id).reading
    assert node.client.show(other.job_id).state is JobState.DISCARDED
    detail = node.client.show(job.job_id)
    assert detail.state is JobState.DISCARDED
    assert {(row.state, row.tries.attempts) for row in detail.deliveries} == {(DeliveryState.DISCARDED, 1)}
    assert detail.dead_letters == 0
    assert node.client.list(state=JobState.DEAD) == ()
    with Pacs(port=port) as pacs:
        time.sleep(1)
        assert not pacs.stored
        assert len(node.client.retry(job.job_id).deliveries) == 2
        node.wait_for(job, JobState.DONE)
        assert len(pacs.stored) == 3


def test_a_reading_that_hangs_is_ended_and_its_neighbours_are_read(make_node: MakeNode, tmp_path: Path) -> None:
    """After the time that a reading may take its process ends; after some such ends the series is a dead letter."""
    archive = {"archive": {"kind": "folder", "path": str(tmp_path / "archive")}}
    node = make_node(archive, reading_timeout=0.5, dead_worker_grace=0.5, tries=2)
    hanging, neighbour = node.job("hangs", rule="slow", priority="stat"), node.job("neighbour")
    node.client.submit(hanging)
    node.client.submit(neighbour)
    node.start()

    def dead_with_workers_restarted() -> bool:
        if node.workers[-1].poll() is not None:
            assert node.workers[-1].poll() == 75
            node.start()
        return node.client.show(hanging.job_id).state is JobState.DEAD

    node.wait(dead_with_workers_restarted, 300)
    failure = node.client.show(hanging.job_id).reading.last_failure
    assert failure is not None
    assert failure.code == "CRASHED"
    assert "reading_hangs" in node.log
    node.wait_for(neighbour, JobState.DONE)


def candela(node: Node, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--config", str(node.config)], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.stdout


def test_an_operator_sees_and_acts_on_the_command_line(make_node: MakeNode) -> None:
    """`status` shows the circuit and what is dead; `discard`, `retry --all-dead` and `resume` say what they did."""
    port = free_port()
    node = make_node(
        {"pacs": pacs_table(port)}, tries=1, circuit_failures=2, circuit_first=300.0, circuit_most=300.0
    )  # fmt: skip
    dead, given_up = node.job("dead"), node.job("given up")
    node.client.submit(dead)
    node.start()
    node.wait_for(dead, JobState.DEAD)
    node.client.submit(given_up)
    shown = candela(node, "status")
    assert "dicom  open" in shown
    assert "after 2 failures in a row, last PEER_UNAVAILABLE; next try" in shown
    assert f"dead: {dead.job_id}" in shown
    assert candela(node, "jobs", "discard", dead.job_id).splitlines() == [
        "overlay will not be sent to pacs",
        "report will not be sent to pacs",
    ]
    assert candela(node, "jobs", "discard", dead.job_id) == "nothing of this job is dead\n"
    assert "dead:" not in candela(node, "status")
    assert candela(node, "jobs", "retry", "--all-dead") == "no job has a dead letter\n"
    candela(node, "jobs", "retry", dead.job_id)
    node.wait_for(given_up, JobState.DELIVERING)
    with Pacs(port=port) as pacs:
        assert candela(node, "destinations", "resume", "pacs") == "one delivery to pacs is tried now\n"
        node.wait_for(dead, JobState.DONE)
        node.wait_for(given_up, JobState.DONE)
        former = CliRunner().invoke(app, ["jobs", "resume", "pacs", "--config", str(node.config)])
        assert former.stdout == "the circuit of pacs is not open\n"
        assert former.stderr == "hint: this command is now `candela destinations resume`\n"
        assert len(pacs.stored) == 6
    assert "dicom  closed" in candela(node, "status")
    wrong = CliRunner().invoke(app, ["destinations", "resume", "nobody", "--config", str(node.config)])
    assert wrong.exit_code == 2
    assert CliRunner().invoke(app, ["jobs", "retry", "--config", str(node.config)]).exit_code == 2
