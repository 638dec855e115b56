"""The instances that rejection notes reject, on disk: a file for each series, in ``rejected/`` of the data folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from dicom_node.store.durable import sync_folder, write_durably


class RejectedInstances:
    """By SOP Instance UID the title (code value) of the note that rejected it last. One process writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, series_instance_uid: str, sop_instance_uids: Iterable[str], title: str) -> None:
        """Record rejected instances; durable when this returns."""
        known = self.of(series_instance_uid)
        now = known | dict.fromkeys(sop_instance_uids, title)
        if now == known:
            return
        if not self._folder.is_dir():
            self._folder.mkdir(parents=True, exist_ok=True)
            sync_folder(self._folder.parent)
        write_durably(self._path(series_instance_uid), json.dumps(now, indent=1, sort_keys=True).encode())

    def of(self, series_instance_uid: str) -> dict[str, str]:
        """Titles by SOP Instance UID; empty where nothing of the series was rejected."""
        path = self._path(series_instance_uid)
        found: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
        return found

    def _path(self, series_instance_uid: str) -> Path:
        return self._folder / f"{series_instance_uid}.json"
