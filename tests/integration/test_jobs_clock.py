"""A wall clock that is set back holds up nothing: neither what waits for another try nor a destination with a rate."""

from __future__ import annotations

import time

import sqlalchemy as sa

from dicom_node.jobs import engine
from dicom_node.jobs.circuits import open_database
from dicom_node.jobs.clock import Clock
from dicom_node.jobs.status import JobState
from tests.peers.engine import MakeNode, Node, both_databases, pacs_table
from tests.peers.http import HttpPeer, Reply
from tests.peers.pacs import Pacs
from tests.peers.ports import free_port

DAY_MS = 86_400_000


def change(node: Node, what: str) -> int:
    """``what`` done to the engine's attempts; how many it changed."""
    table = "workflow_status" if engine.sqlite_file(node.settings) else f"{engine.DBOS_SCHEMA}.workflow_status"
    database = open_database(node.settings)
    with database.begin() as connection:
        changed = connection.execute(sa.text(f"update {table} set {what}")).rowcount
    database.dispose()
    return changed


@both_databases
def test_what_waits_for_another_try_is_tried_though_the_clock_was_set_back_by_a_day(make_node: MakeNode) -> None:
    """Its next try would be due tomorrow; it comes after the wait that it was given."""
    port = free_port()
    node = make_node({"pacs": pacs_table(port)}, tries=60, backoff_first=2.0, backoff_most=2.0, circuit_failures=1000)
    job = node.job()
    node.client.submit(job)
    node.start()
    node.wait(lambda: change(node, f"delay_until_epoch_ms = delay_until_epoch_ms + {DAY_MS} where status = 'DELAYED'"))
    with Pacs(port=port) as pacs:
        node.wait_for(job, JobState.DONE)
    assert set(pacs.stored.values()) == {1}
    assert "clock_set_back" in node.log


def test_a_rate_counts_nothing_that_began_in_the_future(make_node: MakeNode) -> None:
    """Two results a minute have gone, a day ahead of the clock as it is now: the next two go at once."""
    with Pacs() as pacs:
        node = make_node({"pacs": pacs_table(pacs.port, rate=2)})
        for number in range(2):
            node.client.submit(node.job(str(number)))
        node.start()
        node.wait(lambda: pacs.associations == 2)
        future = f"started_at_epoch_ms = started_at_epoch_ms + {DAY_MS} where rate_limited and status = 'SUCCESS'"
        node.wait(lambda: change(node, future) == 2)
        node.wait(lambda: pacs.associations == 4, seconds=30)
        time.sleep(1)
        assert pacs.associations == 4


def test_a_wait_that_a_server_asked_for_is_kept(make_node: MakeNode) -> None:
    """Retry-After may be far longer than any wait of ours: that is no clock set back."""
    with HttpPeer(lambda _: Reply(503, headers={"Retry-After": "7200"})) as server:
        node = make_node({"ehr": {"kind": "fhir", "url": server.url}}, tries=5, backoff_first=0.5, backoff_most=1.0)
        node.client.submit(node.job())
        node.start()
        node.wait(lambda: change(node, "status = status where status = 'DELAYED'"))
        client = engine.open_client(node.settings)
        now, yesterday = Clock(node.settings, client), Clock(node.settings, client, lambda: time.time() - DAY_MS / 1000)
        try:
            assert now.correct() == 0
            assert yesterday.correct() == 1
        finally:
            now.close()
            yesterday.close()
            client.destroy()


def test_an_attempt_names_the_one_before_it() -> None:
    """Whatever characters results and destinations have in their names."""
    job = "1.2.3:abc:def"
    for result, destination in (("overlay", "pacs"), ("a|b", "ward 7|übers")):
        name = engine.delivery_id(job, result, destination, 3)
        key = f"{job}|{result}|{destination}"
        assert engine.attempt_of(name) == (key, 3, engine.delivery_id(job, result, destination, 2))
    assert engine.attempt_of(engine.series_id(job, 2)) == (job, 2, engine.series_id(job, 1))
