"""A real PostgreSQL server of the tests' own: own data directory, free loopback port, stopped at the end."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql

from tests.peers import gossip
from tests.peers.ports import free_port

ACCOUNT = "postgres"


class PostgresAbsent(Exception):
    """PostgreSQL cannot be run here; the message says why."""


def binaries() -> Path:
    """The folder with initdb and postgres."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        raise PostgresAbsent("PostgreSQL is not installed (Debian: postgresql)")
    return folders[-1]


def account() -> str | None:
    """Whom the server runs as: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return None
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise PostgresAbsent(f"PostgreSQL does not run as root and there is no user {ACCOUNT}") from None
    return ACCOUNT


class PostgresServer:
    """One server. Durability is off: what is tested is what Candela does, not what PostgreSQL writes."""

    def __init__(self) -> None:
        self._user = account()
        self._bin = binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="candela-postgres-"))
        if self._user:
            shutil.chown(self._folder, self._user)
        self._data = self._folder / "data"
        self._names = itertools.count(1)
        self.port = free_port()
        self._run("initdb", "-D", str(self._data), "-U", "candela", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.start()
        gossip.ask(self.contents)

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Every row of every database that a test made, as text, and the server's own log: where, and what."""
        with contextlib.closing(psycopg.connect(self.url("postgres"))) as connection:
            query = "select datname from pg_database where datname like 'test%'"
            databases = [name for (name,) in connection.execute(query)]
        for database in databases:
            with contextlib.closing(psycopg.connect(self.url(database))) as connection:
                query = "select schemaname, tablename from pg_tables where schemaname !~ '^(pg_|information_schema)'"
                for schema, table in connection.execute(query).fetchall():
                    rows = connection.execute(sql.SQL("select t::text from {} t").format(sql.Identifier(schema, table)))
                    yield f"{database}.{schema}.{table}", "\n".join(row for (row,) in rows).encode()
        yield "PostgreSQL's log", (self._folder / "log").read_bytes()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._bin / program, *arguments], user=self._user, cwd="/", capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise PostgresAbsent(f"{program} failed: {done.stderr.strip()}")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = [f"-p{self.port}", f"-k{self._folder}", "-hlocalhost"]
        options += ["-cfsync=off", "-cshared_buffers=32MB", "-cmax_connections=200"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", str(self._data), *options],
                user=self._user, cwd="/", stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise PostgresAbsent((self._folder / "log").read_text()[-2000:]) from None
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        """Stop the server at once; its connections break."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(20)

    def close(self) -> None:
        """Stop the server and remove its data."""
        if self._process.poll() is None:
            gossip.ask_now(self.contents)
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str) -> str:
        return f"postgresql://candela@localhost:{self.port}/{database}"

    def new_database(self) -> str:
        """URL of a new, empty database."""
        name = f"test_{next(self._names)}"
        with contextlib.closing(psycopg.connect(self.url("postgres"), autocommit=True)) as connection:
            connection.execute(f'create database "{name}"')
        return self.url(name)


@functools.cache
def shared_server() -> PostgresServer:
    """The server of this test run, started when first asked for.

    Raises
    ------
    PostgresAbsent
        where there is none to start.
    """
    server = PostgresServer()
    atexit.register(server.close)
    return server
