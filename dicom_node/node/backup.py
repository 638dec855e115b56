"""Backup of a running node, and restore.

The node relies on an order: it notes a series and queues its job before the store records the dispatch
(``handed-over.json``). A backup must not reverse this, or a restored node would believe in jobs that do not exist. So a
backup copies in the opposite order: first those records, then the notes, then the database, then everything else, which
is only ever added, or replaced by the same. Series that arrive meanwhile may be in the backup, whole or in part; after
the restore they complete again, as the same jobs.

The series index is left out: it is rebuilt from the files, which also checks their digests.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final

from dicom_node.jobs import dump
from dicom_node.jobs.engine import sqlite_file
from dicom_node.settings.tree import Settings
from dicom_node.store import layout
from dicom_node.store.durable import write_durably
from dicom_node.store.instance_store import DISPATCH_FILE
from pipeline.errors import BadSettings, OutOfResources

NOTE: Final = "backup.json"
DATA: Final = "data"
INDEX: Final = "index.sqlite"
SESSIONS: Final = "sessions.sqlite"
"""Logins to the dashboard, which need no backup."""


@dataclass(frozen=True)
class Backup:
    """``backup.json``, written last: a backup without it is incomplete. ``files`` and ``bytes`` count those of
    data_dir.
    """

    version: str
    begun: str
    database: str
    files: int
    bytes: int


def back_up(settings: Settings, target: Path) -> Backup:
    """Copy the node's data into the new or empty folder ``target`` while the node runs.

    Raises
    ------
    BadSettings
        where ``target`` has files or lies in data_dir, or there is nothing to back up.
    OutOfResources
        where a disk fails or is full.
    """
    source, target = settings.data_dir.absolute(), target.absolute()
    layout.check(source)
    if target.is_relative_to(source):
        raise BadSettings("A backup must not lie in data_dir.", where=str(target), todo="Name a folder elsewhere.")
    _require_empty(target)
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        target.mkdir(parents=True, exist_ok=True)
        marks = sorted(settings.store_dir.absolute().glob(f"*/{DISPATCH_FILE}"))
        notes = sorted(_files(settings.studies_dir.absolute()))
        copied = _copy(marks, source, target / DATA) + _copy(notes, source, target / DATA)
        database = dump.dump(settings, target)
        seen = {*marks, *notes}
        rest = (
            path
            for path in _files(source, without=_left_out(settings))
            if path not in seen and path.name != DISPATCH_FILE and settings.studies_dir.absolute() not in path.parents
        )
        copied += _copy(rest, source, target / DATA)
        os.sync()
        backup = Backup(metadata.version("candela"), begun, database.name, len(copied), sum(copied))
        write_durably(target / NOTE, json.dumps(asdict(backup), indent=1).encode())
    except OSError as error:
        raise OutOfResources(
            f"The backup could not be written ({error.strerror}).",
            where=str(target),
            todo="Free space, then start again.",
        ) from error
    return backup


def restore(settings: Settings, source: Path) -> Backup:
    """Restore data_dir and the engine's database, both new or empty; the node must not run.

    Raises
    ------
    BadSettings
        where ``source`` is not a complete backup or comes from a newer version, or data exists already.
    OutOfResources
        where a disk fails or is full.
    """
    backup = _read(source)
    layout.check(source / DATA)
    data = settings.data_dir.absolute()
    _require_empty(data)
    try:
        data.mkdir(parents=True, exist_ok=True)
        copied = _copy(_files(source / DATA), source / DATA, data)
        if (len(copied), sum(copied)) != (backup.files, backup.bytes):
            raise BadSettings(
                f"The backup is damaged: {len(copied)} of {backup.files} files, {sum(copied)} of {backup.bytes} bytes.",
                where=str(source),
                todo="Take another backup.",
            )
        dump.load(settings, source)
        os.sync()
    except OSError as error:
        raise OutOfResources(
            f"The backup could not be restored ({error.strerror}).",
            where=str(data),
            todo="Free space, then start again.",
        ) from error
    return backup


def _read(source: Path) -> Backup:
    try:
        return Backup(**json.loads((source / NOTE).read_text()))
    except (OSError, ValueError, TypeError):
        raise BadSettings(
            "This is not a backup, or an unfinished one.", where=str(source), todo=f"Name a folder with {NOTE}."
        ) from None


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadSettings("The folder is not empty.", where=str(folder), todo="Name a new one, or move it away.")


def _left_out(settings: Settings) -> tuple[str, ...]:
    """Beginnings of the paths that are written again, or were copied as the database."""
    data = settings.data_dir.absolute()
    store = settings.store_dir.absolute()
    database = sqlite_file(settings)
    logins = settings.web_dir.absolute() / SESSIONS
    names = [
        data / INDEX,
        logins,
        settings.uploads_dir.absolute(),
        store / ".incoming",
        store / ".lock",
        *([database.absolute()] if database else []),
    ]
    return tuple(str(name) for name in names)


def _files(folder: Path, without: tuple[str, ...] = ()) -> Iterator[Path]:
    """Every complete file below ``folder``: names of temporary files begin with a dot and end with .tmp."""
    for path in folder.rglob("*"):
        half = path.name.startswith(".") and path.name.endswith(".tmp")
        if not half and not str(path).startswith(without) and path.is_file():
            yield path


def _copy(paths: Iterable[Path], source: Path, target: Path) -> list[int]:
    """Copy files to the same place below ``target``; returns their sizes. Files purged meanwhile are left out."""
    sizes = []
    for path in paths:
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy2(path, place)
        except FileNotFoundError:
            continue
        sizes.append(place.stat().st_size)
    return sizes
