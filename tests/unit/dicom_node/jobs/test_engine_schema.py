"""Candela's tables in the engine's database, from release to release."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from dicom_node.jobs import schema
from dicom_node.jobs.circuits import Circuits, CircuitState, make_table, open_database
from dicom_node.settings.engine import Jobs
from dicom_node.settings.tree import Settings
from pipeline.errors import BadSettings

WITHOUT_ALEMBIC = """
create table candela_circuits (
    destination text primary key, state text not null, failures integer not null, since double precision not null,
    retry_at double precision, pause double precision not null, code text, version integer not null)
"""


@pytest.fixture
def settings(database_url: str | None, tmp_path: Path) -> Settings:
    """Settings of a new database."""
    url = database_url or f"sqlite:///{tmp_path}/engine.sqlite"
    return Settings(data_dir=tmp_path, jobs=Jobs(database_url=url))


@pytest.fixture
def database(settings: Settings) -> Iterator[sa.Engine]:
    engine = open_database(settings)
    yield engine
    engine.dispose()


def revision(database: sa.Engine) -> str:
    with database.connect() as connection:
        return str(connection.execute(sa.text(f"select version_num from {schema.VERSION_TABLE}")).scalar_one())


def test_many_processes_that_start_at_once_make_the_tables_once(settings: Settings, database: sa.Engine) -> None:
    """None of them fails, and they are what the code uses."""
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: make_table(settings), range(6)))
    assert revision(database) == schema.HEAD
    circuits = Circuits(settings, lambda _: None)
    circuits.failed("pacs", "PEER_UNAVAILABLE")
    assert circuits.of("pacs").failures == 1
    circuits.close()


def test_a_table_made_before_there_were_revisions_keeps_its_rows(settings: Settings, database: sa.Engine) -> None:
    """An open circuit stays open over the upgrade."""
    with database.begin() as connection:
        connection.execute(sa.text(WITHOUT_ALEMBIC))
        row = "insert into candela_circuits values ('pacs', 'open', 5, 1.0, 2.0, 30.0, 'PEER_UNAVAILABLE', 7)"
        connection.execute(sa.text(row))
    make_table(settings)
    circuits = Circuits(settings, lambda _: None)
    found = circuits.of("pacs")
    circuits.close()
    assert (found.state, found.failures, found.version) == (CircuitState.OPEN, 5, 7)
    assert revision(database) == schema.HEAD


def test_the_tables_of_a_newer_version_are_refused_and_left_alone(settings: Settings, database: sa.Engine) -> None:
    """The error says what to do, and names no password."""
    make_table(settings)
    with database.begin() as connection:
        connection.execute(sa.text(f"update {schema.VERSION_TABLE} set version_num = '9999'"))
    with pytest.raises(BadSettings, match=r"newer version.*backup from before the upgrade"):
        make_table(settings)
    assert revision(database) == "9999"


def test_the_last_revision_is_the_one_that_a_start_looks_for() -> None:
    """Or every start would think that nothing is to be done."""
    config = Config()
    config.set_main_option("script_location", schema.MIGRATIONS)
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]
