"""Workers killed at random under load: nothing is lost, nothing is there twice."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from dicom_node.jobs.status import JobState
from pipeline.findings.identity import derived_uid
from tests.peers.engine import Node
from tests.peers.pacs import Pacs
from tests.peers.settings_text import address

ROLES = ("infer", "infer", "deliver")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "kills"), [(12, 6), pytest.param(25, 12, marks=pytest.mark.nightly)])
def test_random_kills_lose_nothing_and_double_nothing(
    tmp_path: Path, database_url: str | None, number: int, kills: int
) -> None:
    """Two infer workers and a deliver worker are killed with -9 and replaced while ``number`` jobs come in.

    Every result reaches PACS and folder; whatever was sent twice around a kill has the same SOP Instance UID, so the
    PACS holds it once.
    """
    chance = random.Random(7)
    with Pacs() as pacs:
        archive = {"kind": "folder", "path": str(tmp_path / "archive")}
        table = {"kind": "dicom", "peer": address(pacs.port)}
        node = Node(tmp_path, database_url, {"pacs": table, "archive": archive}, tries=20)
        try:
            running = [node.start(role) for role in ROLES]
            jobs = [node.job(str(one), priority=chance.choice(("stat", "routine"))) for one in range(number)]
            waiting = list(jobs)
            for _ in range(kills):
                for job in waiting[:3]:
                    node.client.submit(job)
                    node.client.submit(job)
                del waiting[:3]
                time.sleep(chance.uniform(0.3, 1.2))
                victim = chance.randrange(len(ROLES))
                running[victim].send_signal(signal.SIGKILL)
                running[victim].wait()
                running[victim] = node.start(ROLES[victim])
            for job in jobs:
                node.wait_for(job, JobState.DONE, 60)
        finally:
            node.close()
    names = ("overlay-1", "overlay-2", "report")
    assert set(pacs.stored) == {derived_uid(job.job_id, name) for job in jobs for name in names}
    assert len([path for path in (tmp_path / "archive").rglob("*") if path.is_file()]) == 4 * number
    sent_again = sum(pacs.stored.values()) - len(pacs.stored)
    assert sent_again <= 3 * kills, "only what was on its way at a kill may be sent again"
    assert sum(node.count("begin").values()) <= number + kills
