"""What the engine says of a series that is to be purged: real jobs, real deliveries, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.status import JobState
from dicom_node.retention.deliveries import DeliveredSeries
from dicom_node.store.manifest import StoredInstance, manifest_text
from dicom_node.store.series_index import SeriesRecord, SeriesState
from pipeline.findings.identity import derived_uid, instances_digest, job_id
from tests.peers.engine import MakeNode, Node, both_databases


@pytest.fixture
def node(make_node: MakeNode) -> Node:
    return make_node()


def record(job: SeriesJob, name: str) -> SeriesRecord:
    """The series of ``job`` as the receiver's index has it."""
    digest = instances_digest([derived_uid(name, "instance")])
    return SeriesRecord(
        job.series_instance_uid, job.study_instance_uid, "SCANNER", SeriesState.DISPATCHED, 0, 0, 1, True, None,
        "released", "2026-11-21T08:00:00+00:00", 1, digest,
    )  # fmt: skip


@both_databases
def test_only_what_was_delivered_or_needed_no_delivery_may_go(node: Node) -> None:
    """Delivered, refused and cancelled jobs, if all of the series are; not one that waits, is dead, went nowhere, or is
    unknown.
    """
    undecided: set[str] = set()
    asked = DeliveredSeries(node.settings, node.client, lambda: undecided)
    done, refused, dead = node.job("done"), node.job("refused", "refuse"), node.job("dead", "broken")
    nowhere = node.job("nowhere", destinations=())
    two, other = (
        node.job("two", rule, job_id=job_id(derived_uid("test series", "two"), [derived_uid("two", "instance")], model))
        for rule, model in (("plain", "1" * 64), ("broken", "2" * 64))
    )
    for job in (done, refused, dead, nowhere, two, other):
        node.client.submit(job)
    assert asked(record(done, "done")) is None
    node.start()
    for job, state in (
        (done, JobState.DONE),
        (refused, JobState.DONE),
        (dead, JobState.DEAD),
        (nowhere, JobState.DONE),
        (two, JobState.DONE),
        (other, JobState.DEAD),
    ):
        node.wait_for(job, state)
    folder = node.settings.results_dir / done.job_id.replace(":", "_")
    assert asked(record(done, "done")) == (folder,)
    assert asked(record(refused, "refused")) is not None
    assert asked(record(dead, "dead")) is None
    assert asked(record(nowhere, "nowhere")) is None
    assert asked(record(two, "two")) is None  # another model's job of the series is not over
    node.client.discard(dead.job_id)
    assert asked(record(dead, "dead")) is not None
    node.client.retry(dead.job_id)
    assert asked(record(dead, "dead")) is None  # on its way again: its manifest must stay
    assert asked(record(node.job("never seen"), "never seen")) is None
    assert asked(record(done, "a later revision")) is None
    undecided.add(done.study_instance_uid)
    assert asked(record(done, "done")) is None


def test_a_series_that_another_job_reads_as_a_channel_stays_until_that_job_is_over(node: Node) -> None:
    asked = DeliveredSeries(node.settings, node.client, set)
    uid = derived_uid("first", "instance")
    manifest = node.settings.results_dir / "first" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(manifest_text((StoredInstance("1.dcm", uid, "0" * 64),)))
    first = node.job("first", "slow", manifest=str(manifest), companions=(("t2", "manifest-2.json"),))
    first = replace(first, job_id=f"{first.series_instance_uid}:{'f' * 16}:{'0' * 12}")  # of all its series' instances
    companion = node.job("companion", "refuse", model=None, refusal_code="NOT_CHOSEN", companion_of=first.job_id)
    for job in (companion, first):
        node.client.submit(job)
    node.start()
    node.wait(lambda: ("begin", first.job_id) in node.effects)
    node.wait_for(companion, JobState.COMPANION)
    assert asked(record(companion, "companion")) is None
    (node.data_dir / "go").touch()
    node.wait_for(first, JobState.DONE)
    assert asked(record(companion, "companion")) is not None
    assert asked(record(first, "first")) == (node.settings.results_dir / first.job_id.replace(":", "_"),)
    assert asked(record(first, "a later revision")) is None
