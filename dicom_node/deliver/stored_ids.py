"""The ids under which a FHIR server stored the resources of a report, for servers without conditional create.

A line is added before a create begins, durably, and another when the server has named the id. Lines are only appended.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from dicom_node.deliver.journal import FOLDER
from dicom_node.store.durable import sync_folder


class StoredIdsFile:
    """`fhir.server.singly.StoredIds` of one run, whose results lie in ``folder``, at the server ``url``."""

    def __init__(self, folder: Path, url: str) -> None:
        self._path = folder / FOLDER / f"fhir-{hashlib.sha256(url.encode()).hexdigest()[:16]}.jsonl"
        self._names: dict[str, str] = {}
        for line in self._path.read_text("utf-8", errors="replace").splitlines() if self._path.is_file() else ():
            try:
                key, name = json.loads(line)
            except ValueError:  # cut off by a kill or a full disk, or an empty line
                continue
            self._names[key] = name

    def known(self, key: str) -> str | None:
        return self._names.get(key) or None

    def begun(self, key: str) -> bool:
        return key in self._names

    def begin(self, key: str) -> None:
        if key not in self._names:
            self._add(key, "")

    def note(self, key: str, name: str) -> None:
        self._add(key, name)

    def _add(self, key: str, name: str) -> None:
        if not self._path.parent.is_dir():
            self._path.parent.mkdir(exist_ok=True)
            sync_folder(self._path.parent.parent)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps([key, name])}")
            file.flush()
            os.fdatasync(file.fileno())
        self._names[key] = name
