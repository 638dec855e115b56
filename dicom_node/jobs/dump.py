"""Dumps the engine's database to a file and restores it, for `dicom_node.node.backup`."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from dicom_node.jobs.engine import DBOS_SCHEMA, database_down, sqlite_file
from dicom_node.settings.tree import Settings
from pipeline.errors import BadSettings, Broken, OutOfResources

SQLITE: Final = "engine.sqlite"
POSTGRES: Final = "engine.pgdump"


def dump(settings: Settings, folder: Path) -> Path:
    """Write a consistent copy of the database into ``folder`` while other processes use it; returns the file.

    Raises
    ------
    BadSettings
        where the database is PostgreSQL and its client programs are not installed.
    Broken
        where they fail.
    """
    file = sqlite_file(settings)
    if file is None:
        target = folder / POSTGRES
        _run("pg_dump", settings, "--format=custom", "--no-owner", f"--file={target}")
        return target
    if not file.exists():
        raise BadSettings("There is no engine's database to back up.", where=str(file), todo="Start the node once.")
    target = folder / SQLITE
    with closing(sqlite3.connect(file, timeout=60)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
    return target


def load(settings: Settings, folder: Path) -> None:
    """Restore the database from what `dump` wrote into ``folder``.

    Raises
    ------
    BadSettings
        where the settings name a database of the other kind, or one that is in use.
    Broken
        where PostgreSQL's programs fail.
    PeerUnavailable
        where the database does not answer.
    """
    file = sqlite_file(settings)
    source = folder / (SQLITE if file else POSTGRES)
    if not source.exists():
        raise BadSettings(
            f"The backup holds no {'SQLite' if file else 'PostgreSQL'} database.",
            where=str(folder),
            todo="Set jobs.database_url to the kind of database that was backed up.",
        )
    if file is not None:
        if file.exists():
            raise _in_use(str(file))
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, file)
        except OSError as error:
            raise OutOfResources(f"The database could not be written ({error.strerror}).", where=str(file)) from error
        return
    if _has_tables(settings):
        raise _in_use(sa.make_url(settings.database_url).render_as_string(hide_password=True))
    _run("pg_restore", settings, "--no-owner", "--exit-on-error", "--single-transaction", str(source))


def _in_use(place: str) -> BadSettings:
    return BadSettings(
        "The database to restore into has tables already.", where=place, todo="Name an empty one, or drop it first."
    )


def _has_tables(settings: Settings) -> bool:
    database = sa.create_engine(sa.make_url(settings.database_url).set(drivername="postgresql+psycopg"))
    try:
        return bool(sa.inspect(database).get_table_names(schema=DBOS_SCHEMA))
    except sa.exc.OperationalError as error:
        raise database_down(settings) from error
    finally:
        database.dispose()


def _run(program: str, settings: Settings, *arguments: str) -> None:
    """Run one of PostgreSQL's programs. The environment carries the password, where no other user sees it."""
    found = shutil.which(program)
    if found is None:
        raise BadSettings(f"{program} is not here.", todo="Install PostgreSQL's client programs (postgresql-client).")
    url = sa.make_url(settings.database_url).set(drivername="postgresql")
    environment = {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
    name = url.set(password=None).render_as_string()
    command = [found, f"--dbname={name}", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603  (our own arguments)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [""]
        raise Broken(f"{program} failed: {last[0][:300]}", where=name)
