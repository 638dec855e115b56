"""When the engine's database goes away or was never there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.jobs import engine
from dicom_node.jobs.client import JobsClient
from dicom_node.jobs.status import JobState
from dicom_node.jobs.worker import RESTART
from dicom_node.settings import tree as node_settings
from pipeline.errors import BadSettings, PeerUnavailable
from tests.peers.engine import Node
from tests.peers.ports import free_port
from tests.peers.postgres import PostgresAbsent, PostgresServer


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL of this test's own, since it is stopped and started."""
    try:
        server = PostgresServer()
    except PostgresAbsent as reason:
        pytest.skip(str(reason))
    yield server
    server.close()


def test_a_worker_whose_database_restarts_asks_to_be_restarted_and_no_job_is_lost(
    server: PostgresServer, tmp_path: Path
) -> None:
    """Its life lock is gone with its connection: it leaves with status 75, and the next one finishes its job."""
    node = Node(tmp_path, server.new_database())
    try:
        job = node.job(rule="slow")
        node.client.submit(job)
        worker = node.start()
        node.wait(lambda: node.count("begin")[job.job_id] == 1)
        server.stop()
        with pytest.raises(PeerUnavailable, match="does not answer") as error:
            node.client.show(job.job_id)
        assert "candela@localhost" in str(error.value)
        server.start()
        assert worker.wait(30) == RESTART
        (node.data_dir / "go").touch()
        node.start()
        node.wait_for(job, JobState.DONE)
        assert node.count("end") == {job.job_id: 1}
    finally:
        node.close()


def settings_for(tmp_path: Path, url: str) -> node_settings.Settings:
    return node_settings.Settings(data_dir=tmp_path, jobs=node_settings.Jobs(database_url=url))


def test_a_database_that_is_not_there_is_said_without_its_password(tmp_path: Path) -> None:
    """The administrator reads which database; nobody reads the password."""
    settings = settings_for(tmp_path, f"postgresql://candela:geheim@127.0.0.1:{free_port()}/candela")
    with pytest.raises(PeerUnavailable, match="does not answer") as error:
        engine.prepare(settings)
    assert "geheim" not in str(error.value)
    with pytest.raises(PeerUnavailable, match="does not answer"):
        JobsClient(settings)


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "nonsense"])
def test_a_database_url_that_cannot_be_used_is_bad_settings(tmp_path: Path, url: str) -> None:
    """What is wrong and what to write instead."""
    with pytest.raises(BadSettings, match=r"jobs\.database_url"):
        engine.prepare(settings_for(tmp_path, url))


def test_prepare_may_run_again_and_again(tmp_path: Path) -> None:
    """Every role calls it at its start; SQLite is in WAL mode afterwards."""
    settings = node_settings.Settings(data_dir=tmp_path / "new" / "data")
    engine.prepare(settings)
    engine.prepare(settings)
    with JobsClient(settings) as client:
        assert client.list() == ()
    assert (tmp_path / "new" / "data" / "engine.sqlite").read_bytes()[18:20] == b"\x02\x02"
