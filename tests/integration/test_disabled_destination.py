"""A disabled destination gets nothing, and loses nothing that waits for it."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.jobs.status import DeliveryState, JobState
from tests.peers.engine import MakeNode, Node, pacs_table
from tests.peers.pacs import Pacs

QUIET = 3.0
"""Seconds in which a worker that served the queue would have sent: it polls ten times a second."""


def candela(node: Node, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--config", str(node.config)], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


def stop(worker: Any) -> None:
    worker.send_signal(signal.SIGKILL)
    worker.wait()


def states(node: Node, job: Any, destination: str) -> set[DeliveryState]:
    rows = node.client.show(job.job_id).deliveries
    return {row.state for row in rows if row.destination == destination}


def test_what_waits_for_a_disabled_destination_is_sent_once_it_is_enabled(make_node: MakeNode) -> None:
    """Nothing is tried meanwhile, tries are not used up, other destinations go on, and people can see it."""
    with Pacs() as pacs:
        node = make_node()
        archive = {"kind": "folder", "path": str(node.folder / "archive")}
        about = {"comment": "moves to the new building", "contact": "ext. 4242"}
        node.configure({"pacs": pacs_table(pacs), "archive": archive})
        job = node.job()
        node.client.submit(job)
        node.configure({"pacs": pacs_table(pacs, enabled=False, **about), "archive": archive})
        worker = node.start()
        node.wait(lambda: states(node, job, "archive") == {DeliveryState.DELIVERED})
        time.sleep(QUIET)
        assert pacs.associations == 0
        rows = [row for row in node.client.show(job.job_id).deliveries if row.destination == "pacs"]
        assert [row.tries.attempts for row in rows] == [0, 0]
        (line,) = [text for text in candela(node, "destinations", "list").splitlines() if text.split()[:1] == ["pacs"]]
        assert line.split()[:5] == ["pacs", "dicom", "disabled", "2", "0"]
        assert "moves to the new building; ext. 4242" in line
        assert "disabled" in candela(node, "status")
        assert "the destination is disabled: it waits" in candela(node, "jobs", "show", job.job_id)
        refused = CliRunner().invoke(app, ["destinations", "resume", "pacs", "--config", str(node.config)])
        assert refused.exit_code == 2
        stop(worker)
        node.configure({"pacs": pacs_table(pacs), "archive": archive})
        node.start()
        node.wait_for(job, JobState.DONE)
    assert len(pacs.stored) == 3
    assert set(pacs.stored.values()) == {1}


def test_a_delivery_cut_off_by_a_kill_waits_too(make_node: MakeNode, tmp_path: Path) -> None:
    """It was being sent when its worker was killed; it is recovered, not tried while disabled, and sent afterwards."""
    with Pacs() as pacs:
        node = make_node({"pacs": pacs_table(pacs)})
        held: list[Any] = []

        def hold(event: Any) -> int:
            held.append(event)
            node.wait((tmp_path / "released").exists)
            return 0xA700

        pacs.answer = hold
        job = node.job()
        node.client.submit(job)
        victim = node.start()
        node.wait(lambda: held)
        stop(victim)
        (tmp_path / "released").touch()
        before = pacs.associations
        node.configure({"pacs": pacs_table(pacs, enabled=False)})
        worker = node.start()
        node.wait(lambda: states(node, job, "pacs") == {DeliveryState.PENDING})
        time.sleep(QUIET)
        assert pacs.associations == before
        assert states(node, job, "pacs") == {DeliveryState.PENDING}
        stop(worker)
        pacs.answer = lambda _: 0x0000
        node.configure({"pacs": pacs_table(pacs)})
        node.start()
        node.wait_for(job, JobState.DONE)
    assert len(pacs.stored) == 3
