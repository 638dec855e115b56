"""Moves the results of a series aside while it is purged, until the store has removed it or not.

Layout under the folder of results::

    <job>/                       a job's manifest, lineage and results
    .purging/<series>/<job>/     aside: the store has not removed the series yet, or refused
    .purging/gone-<pid>-<n>/     the store has removed the series: in deletion

A crash leaves one of these states. At the start `sweep` moves back the results of a series that is still in the store,
and deletes the rest.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

import structlog

from dicom_node.observability.log import uid
from dicom_node.store.durable import sync_folder
from pipeline.reading.validation import is_uid

log = structlog.get_logger("candela.retention")

FOLDER = ".purging"


class ResultsAside:
    """Moves job folders within ``results``, the folder of all results. One process at a time purges."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._aside = results / FOLDER
        self._numbers = itertools.count()

    def sweep(self, is_stored: Callable[[str], bool]) -> None:
        """Finish what a crash interrupted, before reception starts. ``is_stored``: whether the store has a series.

        Raises
        ------
        OSError
            where the disk fails.
        """
        if not self._aside.is_dir():
            return
        for folder in sorted(self._aside.iterdir()):
            if is_uid(folder.name) and is_stored(folder.name):
                self.put_back(folder.name)
                log.info("results_put_back", series=uid(folder.name))
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def move(self, series_instance_uid: str, folders: Collection[Path]) -> None:
        """Rename ``folders`` aside, durably; missing ones are skipped.

        Raises
        ------
        OSError
            where the disk fails: some may be aside.
        """
        present = [folder for folder in folders if folder.is_dir()]
        if not present:
            return
        place = self._aside / series_instance_uid
        place.mkdir(parents=True, exist_ok=True)
        for folder in present:
            os.rename(folder, place / folder.name)  # noqa: PTH104  (os.* throughout the durable path)
        for changed in (place, self._aside, self._results):
            sync_folder(changed)

    def put_back(self, series_instance_uid: str) -> None:
        """Undo `move`, since the series stays. A job folder that was created again keeps its files and gets the missing
        ones.

        Raises
        ------
        OSError
            where the disk fails: `sweep` goes on at the next start.
        """
        place = self._aside / series_instance_uid
        if not place.is_dir():
            return
        for folder in sorted(place.iterdir()):
            target = self._results / folder.name
            if target.exists():
                _complete(target, folder)
            else:
                os.rename(folder, target)  # noqa: PTH104
        sync_folder(self._results)
        shutil.rmtree(place)

    def commit(self, series_instance_uid: str) -> None:
        """Record that the store has removed the series: its results will not be moved back.

        Raises
        ------
        OSError
            where the disk fails.
        """
        place = self._aside / series_instance_uid
        if place.is_dir():
            os.rename(place, self._aside / f"gone-{os.getpid()}-{next(self._numbers)}")  # noqa: PTH104
            sync_folder(self._aside)

    def delete(self) -> None:
        """Delete what was committed."""
        for folder in self._aside.glob("gone-*"):
            shutil.rmtree(folder, ignore_errors=True)


def _complete(target: Path, folder: Path) -> None:
    """Move the files of ``folder`` that ``target`` lacks to it."""
    for path in sorted(folder.iterdir()):
        if not (target / path.name).exists():
            os.rename(path, target / path.name)  # noqa: PTH104
    sync_folder(target)
