"""The fill level of the disk of ``data_dir``."""

from __future__ import annotations

import os
from pathlib import Path

from dicom_node.settings.access import Retention


class Disk:
    """The disk of ``folder`` (which need not exist yet), compared with the watermarks of ``retention``."""

    def __init__(self, folder: Path, retention: Retention) -> None:
        self._folder = folder
        self._retention = retention

    @property
    def used(self) -> float:
        """The fraction in use: everything but what an unprivileged process may still write. Raises OSError."""
        found = self._found()
        return 1 - found.f_bavail / found.f_blocks if found.f_blocks else 0.0

    @property
    def size(self) -> int:
        """The size in bytes. Raises OSError."""
        found = self._found()
        return found.f_blocks * found.f_frsize

    @property
    def available(self) -> int:
        """The bytes that an unprivileged process may still write. Raises OSError."""
        found = self._found()
        return found.f_bavail * found.f_frsize

    def _found(self) -> os.statvfs_result:
        folder = self._folder.absolute()
        while not folder.exists():
            folder = folder.parent
        return os.statvfs(folder)

    @property
    def has_room(self) -> bool:
        """Whether further senders are admitted; also where the level is unknown, since a write will then show it."""
        try:
            return self.used < self._retention.refuse_above
        except OSError:
            return True

    def over_purge_mark(self) -> bool:
        """Whether delivered series should be removed, the oldest first."""
        mark = self._retention.purge_above
        try:
            return mark is not None and self.used > mark
        except OSError:
            return False
