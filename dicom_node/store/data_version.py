"""Whether a SQLite file has changed, without reading it."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path


class DataVersion:
    """SQLite's count of the commits of other connections to the file at ``path``. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def mark(self) -> str:
        """A text that another one follows after a commit. Empty while there is no file; another after one came or was
        replaced.
        """
        with self._lock:
            try:
                inode = self._path.stat().st_ino
                if self._connection is None:
                    address = f"{self._path.absolute().as_uri()}?mode=ro"
                    self._connection = sqlite3.connect(address, uri=True, timeout=5, check_same_thread=False)
                (version,) = self._connection.execute("pragma data_version").fetchone()
            except (OSError, sqlite3.Error):
                self._close()
                return ""
        return f"{inode}.{version}"

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
