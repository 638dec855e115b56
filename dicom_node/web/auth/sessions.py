"""Logins, in a SQLite file that may be lost at any time: everybody then logs in again.

The file holds the SHA-256 of each session's id, so that reading it opens no session. A login gets a new id (a session
that an attacker planted before is worth nothing), and ends after silence, at its longest time, and when the account's
password or role changes.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FILE: Final = "sessions.sqlite"
REVISION: Final = 1
NOTED_EVERY: Final = 60.0
"""Seconds between two notes of a session's last request: a page that updates itself need not write each time."""
_TABLE = """
create table sessions (
    digest text primary key, account text not null, stamp text not null, csrf text not null,
    began real not null, seen real not null
)
"""


@dataclass(frozen=True)
class Session:
    """A login. ``stamp`` is `Account.stamp` when it began; ``csrf`` what its forms repeat."""

    account: str
    stamp: str
    csrf: str
    began: float
    seen: float


class Sessions:
    """The logins in ``folder``; ``idle`` and ``most`` in seconds."""

    def __init__(self, folder: Path, idle: float, most: float, clock: Callable[[], float] = time.time) -> None:
        self._path = folder / FILE
        self._idle, self._most, self._clock = idle, most, clock
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._prepare()
        except sqlite3.DatabaseError:
            self._path.unlink(missing_ok=True)
            self._prepare()

    def begin(self, account: str, stamp: str) -> str:
        """A new session; its id, which only the browser keeps."""
        made, now = secrets.token_urlsafe(32), self._clock()
        with self._database() as database:
            database.execute("delete from sessions where seen < ? or began < ?", (now - self._idle, now - self._most))
            row = (_digest(made), account, stamp, secrets.token_urlsafe(32), now, now)
            database.execute("insert into sessions values (?, ?, ?, ?, ?, ?)", row)
        return made

    def find(self, session_id: str) -> Session | None:
        """The session of this id, unless it has ended."""
        now, digest = self._clock(), _digest(session_id)
        with self._database() as database:
            row = database.execute(
                "select account, stamp, csrf, began, seen from sessions where digest = ?", (digest,)
            ).fetchone()
            session = Session(*row) if row else None
            if session is None or now - session.seen > self._idle or now - session.began > self._most:
                return None
            if now - session.seen > min(NOTED_EVERY, self._idle / 4):
                database.execute("update sessions set seen = ? where digest = ?", (now, digest))
        return session

    def end(self, session_id: str) -> None:
        """Forget a session."""
        with self._database() as database:
            database.execute("delete from sessions where digest = ?", (_digest(session_id),))

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=10)) as connection, connection:
            yield connection

    def _prepare(self) -> None:
        with self._database() as database:
            (found,) = database.execute("pragma user_version").fetchone()
            if found != REVISION:
                database.execute("drop table if exists sessions")
                database.execute(_TABLE)
                database.execute(f"pragma user_version = {REVISION}")
        self._path.chmod(0o600)


def _digest(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()
