"""A series in parts, on the whole node: no answer to a part leaves, also where the node is killed meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.jobs.status import JobDetail, JobState
from pipeline import phantom
from pipeline.findings.model import Outcome
from tests.peers.node import Node

LONG = "negative_hold = 3600"


def delivered(node: Node) -> set[str]:
    """The jobs of which anything lies in the folder destination."""
    return {path.parent.name for path in (node.folder / "archive").rglob("*.*") if path.is_file()}


def folder_of(job: JobDetail) -> str:
    return Path(job.job.manifest).parent.name


def held(node: Node) -> list[JobDetail]:
    return [job for job in node.jobs() if job.state is JobState.HELD]


def whole_is_read(node: Node) -> bool:
    latest = node.jobs()[0]
    return latest.job.revision == 2 and latest.state in (JobState.HELD, JobState.DONE)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("killed_again", [False, True])
def test_only_the_answer_to_the_whole_leaves(tmp_path: Path, killed_again: bool) -> None:
    """A third of the slices is read and held; kill -9, start, the rest: the first answer has not left.

    The second, no finding too, is held (also over another kill -9) and then sent, once; it names no predecessor.
    """
    series = phantom.head_phantom(slices=24, matrix=128, lesion=False, header=phantom.Header(key="parts"))
    table = f'kind = "folder"\npath = "{tmp_path / "archive"}"'
    short = "negative_hold = 20" if killed_again else "negative_hold = 3"
    with Node(tmp_path, {"archive": table}, completion=f"{LONG}\nnegative_hold_counted = 3600\nquiet_most = 8") as node:
        node.send(series[::3])
        node.until(lambda: held(node), "the first answer is held", seconds=300)
        node.kill()
        assert not delivered(node)
        node.config.write_text(node.config.read_text().replace(LONG, short))
        node.start()
        node.send([ds for k, ds in enumerate(series) if k % 3])
        # where the machine is so slow that the hold is over before the whole is read, its answer goes at once
        node.until(lambda: whole_is_read(node), "the whole is read and its answer held", seconds=300)
        if killed_again:
            node.kill()
            node.start()
        whole, part = node.wait_for_jobs(1, seconds=300)
        assert (part.job.instances, part.state) == (8, JobState.HELD)
        assert part.outcome is Outcome.INDETERMINATE
        assert (whole.job.instances, whole.state) == (24, JobState.DONE)
        assert whole.outcome is Outcome.NO_FINDING
        assert {row.tries.attempts for row in whole.deliveries} == {1}
        assert delivered(node) == {folder_of(whole)}
        assert node.summary(whole)["predecessors"] == []
