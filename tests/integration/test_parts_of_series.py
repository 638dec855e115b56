"""A series in parts, on the whole node: no answer to a part leaves, also where the node is killed meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.jobs.status import JobDetail, JobState
from pipeline import phantom
from pipeline.findings import Outcome
from tests.peers.node import Node

HOLD = "quiet_most = 8\nnegative_hold = 8"


def delivered(node: Node) -> set[str]:
    """The jobs of which anything lies in the folder destination."""
    return {path.parent.name for path in (node.folder / "archive").rglob("*.*") if path.is_file()}


def folder_of(job: JobDetail) -> str:
    return Path(job.job.manifest).parent.name


@pytest.mark.slow
def test_only_the_answer_to_the_whole_leaves(tmp_path: Path) -> None:
    """A third of the slices is read and held; kill -9, start, the rest: the first answer is never sent.

    The second, no finding too, is held over another kill -9 and then sent, once; it names no predecessor.
    """
    series = phantom.head_phantom(slices=24, matrix=96, lesion=False, header=phantom.Header(key="parts"))
    table = f'kind = "folder"\npath = "{tmp_path / "archive"}"'
    with Node(tmp_path, {"archive": table}, completion=HOLD) as node:
        node.send(series[::3])
        node.until(lambda: any(job.state is JobState.HELD for job in node.jobs()), "the first answer is held")
        node.kill()
        assert not delivered(node)
        node.start()
        node.send([ds for k, ds in enumerate(series) if k % 3])
        node.until(lambda: any(job.job.revision == 2 for job in node.jobs()), "the series is handed over again")
        node.until(lambda: node.jobs()[0].state in (JobState.HELD, JobState.DONE), "the whole is read", seconds=120)
        node.kill()
        node.start()
        whole, part = node.wait_for_jobs(2)
        assert (part.job.instances, part.state) == (8, JobState.SUPERSEDED)
        assert part.outcome is Outcome.INDETERMINATE
        assert (whole.job.instances, whole.state) == (24, JobState.DONE)
        assert whole.outcome is Outcome.NO_FINDING
        assert {row.tries.attempts for row in whole.deliveries} == {1}
        assert delivered(node) == {folder_of(whole)}
        assert node.summary(whole)["predecessors"] == []
