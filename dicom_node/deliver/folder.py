"""Delivery into a folder that other programs watch."""

from __future__ import annotations

import errno
import filecmp
from pathlib import Path

from dicom_node.settings.destinations import FolderDestination
from dicom_node.store.durable import remove_leftovers, sync_folder, write_durably
from pipeline.errors import OutOfResources, PeerUnavailable


class FolderSender:
    """Copies each file to ``<path>/<name of its folder>/<its name>``.

    The results of a run lie in one folder, so runs do not mix. A file appears whole or not at all (temporary name with
    a leading dot, fsync, rename, fsync of the folder). An existing file with the same content is left alone.
    """

    def __init__(self, destination: FolderDestination) -> None:
        self._path = destination.path

    def send(self, files: tuple[Path, ...]) -> str:
        """See `Sender.send`.

        Raises
        ------
        OutOfResources
            where the disk or the quota is full.
        PeerUnavailable
            where the folder cannot be written to (not mounted, no permission).
        """
        try:
            new = sum(_copy(source, self._path / source.parent.name) for source in files)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OutOfResources(f"The folder is full: {reason}.", where=str(self._path)) from error
            raise PeerUnavailable(
                f"The folder cannot be written to: {reason}.",
                where=str(self._path),
                todo="Check that it is mounted and that Candela's user may write there.",
            ) from error
        there = len(files) - new
        return f"{_count(new)} written" + (f", {there} there already" if there else "")


def _copy(source: Path, folder: Path) -> bool:
    """Copy ``source`` into ``folder``; False where the folder has the same content already."""
    target = folder / source.name
    if target.is_file() and filecmp.cmp(source, target, shallow=False):
        remove_leftovers(target)
        return False
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
    write_durably(target, source.read_bytes())
    return True


def _count(number: int) -> str:
    return f"{number} file{'' if number == 1 else 's'}"
