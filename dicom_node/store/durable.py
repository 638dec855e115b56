"""Durable writes: after a crash at any moment a file is whole or absent."""

from __future__ import annotations

import glob
import os
import stat
from contextlib import suppress
from pathlib import Path


def write_durably(path: Path, data: bytes, *, like: os.stat_result | None = None) -> None:
    """Write ``data`` to ``path``: temporary file, fdatasync, rename, directory fsync.

    The file has the permissions of ``like`` from its first byte on, and its owner if this process may change owners.
    """
    remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            if like is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(like.st_mode))
                with suppress(PermissionError):
                    os.fchown(file.fileno(), like.st_uid, like.st_gid)
            file.write(data)
            file.flush()
            os.fdatasync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files for ``path`` that a killed process left. Only one process at a time may write to a
    path.
    """
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        leftover.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames within ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
