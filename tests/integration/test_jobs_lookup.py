"""Finding jobs by series, state and time, on both databases as they are."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from dicom_node.jobs import status
from dicom_node.jobs.lookup import Submitted
from tests.peers.engine import MakeNode, both_databases

TOGETHER = 5


@both_databases
def test_jobs_are_found_by_their_series_and_in_the_order_of_submission(make_node: MakeNode) -> None:
    node = make_node()
    jobs = [node.job(f"{number}", priority="stat" if number == 3 else "routine") for number in range(TOGETHER)]
    for job in jobs:
        node.client.submit(job)
    client, lookup = node.client, node.client.lookup
    several = client.of_several(job.series_instance_uid for job in jobs)
    assert {uid: found[0].job for uid, found in several.items()} == {job.series_instance_uid: job for job in jobs}
    # A series whose UID another one's begins with is another series.
    assert client.of_several([jobs[0].series_instance_uid[:-1]]) == {jobs[0].series_instance_uid[:-1]: ()}

    newest = lookup.newest(limit=100)
    assert {item.job_id for item in newest} == {job.job_id for job in jobs}
    assert lookup.newest(limit=100, oldest_first=True) == newest[::-1]
    paged: list[Submitted] = []
    while page := lookup.newest(behind=paged[-1] if paged else None, limit=2):
        paged += page
    assert paged == newest
    assert lookup.newest(limit=100, among=[jobs[1].job_id]) == [
        item for item in newest if item.job_id == jobs[1].job_id
    ]

    assert lookup.with_priority("stat", 0) == (jobs[3].job_id,)
    assert set(lookup.with_status(status.ACTIVE)) == {job.job_id for job in jobs}
    client.cancel(jobs[2].job_id)
    assert lookup.with_status(["CANCELLED"]) == (jobs[2].job_id,)
    assert sum(count for *_, count in lookup.counts(0, 3_600_000)) == TOGETHER
    wanted = [jobs[4].job_id, "1.2.3:none", jobs[0].job_id]
    assert [item.job.job_id for item in client.several(wanted)] == [jobs[4].job_id, jobs[0].job_id]


@both_databases
def test_what_is_asked_of_the_engine_is_answered_from_an_index(make_node: MakeNode) -> None:
    """Whatever DBOS's partial indexes are called: SQLite uses them only where their own words stand in the question."""
    node = make_node()
    job = node.job()
    node.client.submit(job)
    lookup = node.client.lookup
    assert lookup.in_queues(["infer"], status.ACTIVE) == [("infer", "ENQUEUED", job.job_id)]
    assert lookup.of_jobs([job.job_id, "1.2.3:none"]) == [job.job_id]
    if node.settings.jobs.database_url is not None and "postgresql" in node.settings.database_url:
        return  # its planner decides by the number of rows, which are few here
    plans: list[str] = []

    @sa.event.listens_for(lookup._database, "before_cursor_execute")
    def explain(connection: sa.Connection, _cursor: object, statement: str, values: tuple, *_: object) -> None:
        if statement.startswith("SELECT"):
            plan = connection.connection.execute(f"explain query plan {statement}", values)  # type: ignore[attr-defined]
            plans.extend(str(row[3]) for row in plan)

    lookup.in_queues(["infer"], status.ACTIVE)
    lookup.with_status(status.DEAD)
    lookup.with_status(status.ACTIVE)
    lookup.of_jobs([job.job_id])
    lookup.of_series([job.series_instance_uid])
    lookup.newest(limit=2)
    scans = [line for line in plans if line.startswith("SCAN")]
    partial = ("idx_workflow_status_delayed", "idx_workflow_status_in_flight", "created_at_index")
    assert plans
    assert [line for line in scans if not any(name in line for name in partial)] == []


@both_databases
def test_the_mark_follows_a_change(make_node: MakeNode) -> None:
    node = make_node()
    before = node.client.lookup.mark()
    node.client.submit(node.job())
    node.wait(lambda: node.client.lookup.mark() != before, 2)


def test_a_job_without_a_success_has_none(make_node: MakeNode) -> None:
    node = make_node()
    assert node.client.last_success("archive") is None
    job = node.job()
    node.client.submit(job)
    node.start()
    node.wait_for(job, status.JobState.DONE)
    found = node.client.last_success("archive")
    assert found is not None
    assert found >= node.client.show(job.job_id).submitted_at
    with pytest.raises(StopIteration):
        next(iter(node.client.several(["1.2.3:none"])))
