"""What the receiver hands to the workers: one series revision to be read by one model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pipeline.routing import Priority


@dataclass(frozen=True)
class StoredInstance:
    """One received instance: its file (DICOM Part 10) and the SHA-256 of that file as it was acknowledged.

    ``sop_class_uid`` and ``instance_number`` are what the store's index keeps of the header; None where it keeps
    nothing of this instance, and in manifests. ``instance_number`` is infinite where the header has none.
    """

    path: str
    sop_instance_uid: str
    sha256: str
    sop_class_uid: str | None = field(default=None, compare=False)
    instance_number: float | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, str]:
        """What manifests list."""
        return {"path": self.path, "sop_instance_uid": self.sop_instance_uid, "sha256": self.sha256}


@dataclass(frozen=True)
class SeriesJob:
    """The input of a series workflow: JSON-ready, small; the instances stand in the file ``manifest``.

    ``job_id`` is `pipeline.identity.job_id`. ``model`` and ``rule`` are None where no rule takes the series;
    ``refusal_code`` and ``refusal`` then say why. ``completion`` is the recorded reason why the series counted as
    complete; ``completed_at`` an ISO 8601 instant with time zone; ``revision`` counts from 1. ``selection`` says why
    this series of its study is read, where a rule with ``per_study`` chose it; one that was not chosen has a rule, no
    model, and the refusal NOT_CHOSEN. One whose study names two patients has a model and the refusal MIXED_PATIENTS: it
    is not read unless an operator says whose series it is. ``identity_from`` is the SOP Instance UID of the instance
    whose patient an operator has chosen (`dicom_node.identity_choice`); such a job reads the series again.
    ``expected`` is how many instances the sender's archive counted, where that decided or is more than came;
    ``silence`` the seconds without a further instance before the series counted as complete.
    """

    job_id: str
    series_instance_uid: str
    study_instance_uid: str
    revision: int
    manifest: str
    instances: int
    calling_ae: str
    completion: str
    completed_at: str
    rule: str | None
    model: str | None
    destinations: tuple[str, ...]
    priority: Priority
    refusal_code: str | None = None
    refusal: str | None = None
    selection: str | None = None
    identity_from: str | None = None
    expected: int | None = None
    silence: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "destinations": list(self.destinations)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SeriesJob:
        known = {field.name for field in fields(cls)}
        values = {key: value for key, value in data.items() if key in known}
        return cls(**{**values, "destinations": tuple(values["destinations"])})


@dataclass(frozen=True)
class Manifest:
    """The files of a revision of a series.

    ``instances`` are the current versions; ``earlier`` what came before under the same SOP Instance UIDs with other
    content, in the order of reception; ``shared`` how many of the instances another series of the store has too.
    """

    instances: tuple[StoredInstance, ...]
    earlier: tuple[StoredInstance, ...] = ()
    shared: int = 0


def manifest_text(
    instances: tuple[StoredInstance, ...], earlier: tuple[StoredInstance, ...] = (), shared: int = 0
) -> str:
    """The manifest file's content (JSON). Releases before ADR 50 read ``instances`` of it and wrote nothing else."""
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
    """All that a manifest says."""
    content = json.loads(path.read_text())
    instances, earlier = (
        tuple(StoredInstance(**item) for item in content.get(key, ())) for key in ("instances", "earlier")
    )
    return Manifest(instances, earlier, content.get("shared", 0))
