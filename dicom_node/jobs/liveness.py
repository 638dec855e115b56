"""Life locks, which the operating system or PostgreSQL frees when their holder dies, and the recovery of its jobs.

DBOS leaves the jobs of a dead process PENDING for ever. Each worker therefore holds a life lock under its executor id,
and checks from time to time whether the owners of running jobs still hold theirs; if one does not, its jobs return to
their queue. On SQLite the lock is flock on a file beside the database: only the process's death frees it, so no grace
period is needed. On PostgreSQL it is a session's advisory lock, which is also lost with the connection: the owner needs
`grace` seconds to notice and stop before others take its jobs.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

import psycopg
import sqlalchemy as sa
import structlog

from dicom_node.jobs.engine import APP, sqlite_file
from dicom_node.settings.tree import Settings

log = structlog.get_logger("candela.jobs")

KEEPALIVE_S = 5
KEEPALIVE_COUNT = 3


class LifeLost(Exception):
    """The life lock of this process is lost: another may own its jobs already, so it must stop at once."""


class LifeLock(Protocol):
    """A lock that is held from `hold` to the end of the process."""

    grace: float
    """Seconds between finding an owner without its lock and recovering its jobs."""

    def check(self) -> None:
        """Raise `LifeLost` where the lock is no longer ours."""
        ...

    def is_dead(self, executor_id: str) -> bool: ...

    def release(self) -> None: ...


class FileLife:
    """flock on ``<database>.alive/<executor id>``.

    filelock cannot do this: it creates a file that it probes, and does not say whether a held file was replaced.

    The descriptor is not inherited over exec, but a plain fork shares the lock: a forked child of a worker must die
    with it.
    """

    grace = 0.0

    def __init__(self, folder: Path, executor_id: str) -> None:
        self._folder = folder
        self._path = folder / executor_id
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = self._lock()
        self._sweep()

    def _lock(self) -> int:
        while True:
            descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self._is_ours(descriptor):
                return descriptor
            os.close(descriptor)  # another process's sweep removed the file between open and flock

    def _is_ours(self, descriptor: int) -> bool:
        try:
            return self._path.stat().st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            return False

    def _sweep(self) -> None:
        """Remove the files of dead processes; a missing file also means a dead process."""
        for path in self._folder.iterdir():
            if path != self._path and self.is_dead(path.name):
                path.unlink(missing_ok=True)

    def check(self) -> None:
        if not self._is_ours(self._descriptor):
            raise LifeLost

    def is_dead(self, executor_id: str) -> bool:
        try:
            descriptor = os.open(self._folder / executor_id, os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class PostgresLife:
    """A session's advisory lock, on its own connection, which notices a dead peer within about twenty seconds."""

    def __init__(self, url: str, executor_id: str, grace: float) -> None:
        self.grace = grace
        self._connection = psycopg.connect(
            sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False),
            autocommit=True,
            connect_timeout=10,
            keepalives_idle=KEEPALIVE_S,
            keepalives_interval=KEEPALIVE_S,
            keepalives_count=KEEPALIVE_COUNT,
            tcp_user_timeout=KEEPALIVE_S * KEEPALIVE_COUNT * 1000,
            # The server must notice a machine that was switched off, or its lock would be held for hours.
            options=f"-c tcp_keepalives_idle={KEEPALIVE_S} -c tcp_keepalives_interval={KEEPALIVE_S}"
            f" -c tcp_keepalives_count={KEEPALIVE_COUNT}",
            application_name=f"{APP} life",
        )
        self._connection.execute("select pg_advisory_lock(%s)", (_lock_key(executor_id),))

    def check(self) -> None:
        try:
            self._connection.execute("select 1")
        except psycopg.Error as error:
            raise LifeLost from error

    def is_dead(self, executor_id: str) -> bool:
        try:
            # In autocommit the transaction ends with the statement, and with it the lock if this took it.
            row = self._connection.execute("select pg_try_advisory_xact_lock(%s)", (_lock_key(executor_id),)).fetchone()
        except psycopg.Error as error:
            raise LifeLost from error
        return bool(row and row[0])

    def release(self) -> None:
        with contextlib.suppress(psycopg.Error):  # the server frees it with the session anyway, but later
            self._connection.execute("select pg_advisory_unlock_all()")
        self._connection.close()


def _lock_key(executor_id: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{APP}:{executor_id}".encode()).digest()[:8], "big", signed=True)


def hold(settings: Settings, executor_id: str) -> LifeLock:
    """Take the life lock of a process that is starting."""
    file = sqlite_file(settings)
    if file is not None:
        return FileLife(file.with_name(f"{file.name}.alive"), executor_id)
    return PostgresLife(settings.database_url, executor_id, settings.jobs.dead_worker_grace)


class Reaper:
    """Returns the jobs of dead processes to their queues.

    ``owners`` returns the executors that own running jobs now. ``recover`` requeues the jobs of one; several processes
    may call it, repeatedly, for the same one.
    """

    def __init__(
        self,
        life: LifeLock,
        own_id: str,
        owners: Callable[[], Collection[str]],
        recover: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._life = life
        self._own_id = own_id
        self._owners = owners
        self._recover = recover
        self._clock = clock
        self._dead_since: dict[str, float] = {}

    def check(self) -> tuple[str, ...]:
        """Check once; returns the executors whose jobs were requeued.

        Raises
        ------
        LifeLost
            where this process itself no longer counts as alive.
        """
        self._life.check()
        now = self._clock()
        dead = {name for name in self._owners() if name != self._own_id and self._life.is_dead(name)}
        self._dead_since = {name: self._dead_since.get(name, now) for name in dead}
        due = tuple(name for name, since in self._dead_since.items() if now - since >= self._life.grace)
        for name in due:
            log.warning("worker_dead", executor=name)
            self._recover(name)
        return due
