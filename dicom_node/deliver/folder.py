"""Delivery into a folder that other programs watch."""

from __future__ import annotations

import errno
from pathlib import Path

from dicom_node.deliver.fhir_file import BUNDLE, fhir_file
from dicom_node.settings.destinations import FolderDestination
from dicom_node.store.durable import remove_leftovers, sync_folder, write_durably
from pipeline.errors import OutOfResources, PeerUnavailable
from pipeline.report.sentences import Language
from pipeline.report.stored import from_json, page_filename, stored_in


class FolderSender:
    """Copies each file to ``<path>/<name of its folder>/<its name>``.

    The results of a run lie in one folder, so runs do not mix. Its report is also written as a FHIR Bundle. A file
    appears whole or not at all (temporary name with a leading dot, fsync, rename, fsync of the folder). An existing
    file with the same content is left alone.
    """

    def __init__(self, destination: FolderDestination) -> None:
        self._path = destination.path

    def send(self, files: tuple[Path, ...]) -> str:
        """See `Sender.send`.

        Raises
        ------
        Broken
            where the stored report content is damaged.
        OutOfResources
            where the disk or the quota is full.
        PeerUnavailable
            where the folder cannot be written to (not mounted, no permission).
        """
        bundle = _bundle(files)
        try:
            new = sum(_copy(source, self._path / source.parent.name) for source in files)
            if bundle is not None:
                new += _put(self._path / files[0].parent.name / BUNDLE, bundle)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OutOfResources(f"The folder is full: {reason}.", where=str(self._path)) from error
            raise PeerUnavailable(
                f"The folder cannot be written to: {reason}.",
                where=str(self._path),
                todo="Check that it is mounted and that Candela's user may write there.",
            ) from error
        there = len(files) + (bundle is not None) - new
        return f"{_count(new)} written" + (f", {there} there already" if there else "")


def _bundle(files: tuple[Path, ...]) -> bytes | None:
    """The FHIR Bundle of the report among ``files``; None without a report, or if an earlier version left one."""
    stored = stored_in(files)
    if stored is None or any(path.name == BUNDLE for path in files):
        return None
    pdf = next((path.read_bytes() for path in files if path.name == page_filename(Language.ENGLISH)), None)
    return fhir_file(from_json(stored.read_bytes(), where=str(stored)), pdf)


def _copy(source: Path, folder: Path) -> bool:
    return _put(folder / source.name, source.read_bytes())


def _put(target: Path, data: bytes) -> bool:
    """Write ``data`` to ``target``; False where the file has the same content already."""
    if target.is_file() and target.read_bytes() == data:
        remove_leftovers(target)
        return False
    if not target.parent.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        sync_folder(target.parent.parent)
    write_durably(target, data)
    return True


def _count(number: int) -> str:
    return f"{number} file{'' if number == 1 else 's'}"
