"""The manifest of one revision of a series: the list of its stored files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class StoredInstance:
    """One received instance: its file (DICOM Part 10) and the SHA-256 of that file as it was acknowledged.

    ``sop_class_uid`` and ``instance_number`` come from the store's index; None where the index lacks them, and in
    manifests. ``instance_number`` is infinite where the header has none.
    """

    path: str
    sop_instance_uid: str
    sha256: str
    sop_class_uid: str | None = field(default=None, compare=False)
    instance_number: float | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, str]:
        """The form in manifests."""
        return {"path": self.path, "sop_instance_uid": self.sop_instance_uid, "sha256": self.sha256}


@dataclass(frozen=True)
class Manifest:
    """The files of a revision of a series.

    ``instances`` are the current versions. ``earlier`` are previous versions with other content under the same SOP
    Instance UIDs, in the order of reception. ``shared`` is the number of the instances that another series of the store
    has too.
    """

    instances: tuple[StoredInstance, ...]
    earlier: tuple[StoredInstance, ...] = ()
    shared: int = 0


def manifest_text(
    instances: tuple[StoredInstance, ...], earlier: tuple[StoredInstance, ...] = (), shared: int = 0
) -> str:
    """The manifest file's content (JSON). Releases before ADR 50 read and wrote only ``instances``."""
    content: dict[str, Any] = {"instances": [item.to_dict() for item in instances]}
    if earlier:
        content["earlier"] = [item.to_dict() for item in earlier]
    if shared:
        content["shared"] = shared
    return json.dumps(content, indent=1)


def read_manifest(path: Path) -> tuple[StoredInstance, ...]:
    """The instances that a manifest lists."""
    return read_versions(path).instances


def read_versions(path: Path) -> Manifest:
    """The content of a manifest."""
    content = json.loads(path.read_text())
    instances, earlier = (
        tuple(StoredInstance(**item) for item in content.get(key, ())) for key in ("instances", "earlier")
    )
    return Manifest(instances, earlier, content.get("shared", 0))
