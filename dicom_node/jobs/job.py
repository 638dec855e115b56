"""The input of the workers: one revision of a series, to be read by one model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline.routing.rules import Priority


@dataclass(frozen=True)
class SeriesJob:
    """The input of a series workflow: JSON-ready and small. The file ``manifest`` lists the instances.

    ``job_id`` is `pipeline.findings.identity.job_id`. ``model`` and ``rule`` are None where no rule takes the series;
    ``refusal_code`` and ``refusal`` then state the reason. ``completion`` is the recorded reason of completion;
    ``completed_at`` an ISO 8601 time with time zone; ``revision`` counts from 1. ``selection`` is the reason why a rule
    with ``per_study`` chose this series of its study; a series that was not chosen has a rule, no model, and the
    refusal NOT_CHOSEN. A series whose study names two patients has a model and the refusal MIXED_PATIENTS: it is read
    only after an operator has chosen the patient. ``identity_from`` is the SOP Instance UID of the instance whose
    patient an operator has chosen (`dicom_node.jobs.identity_choice`); such a job reads the series again. ``expected``
    is the archive's count of instances, where that decided or exceeds those received; ``silence`` the seconds without a
    further instance before the series counted as complete.

    ``companions``: for a model that reads several series of a study, the channel and the manifest of each series beside
    this one, which is the first channel's. ``companion_of`` is the id of the job that reads this series as such a
    companion, ``channel`` what it is in it; the job itself then only records that, with the refusal NOT_CHOSEN.
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
    companions: tuple[tuple[str, str], ...] = ()
    companion_of: str | None = None
    channel: str | None = None

    @property
    def manifests(self) -> tuple[str, ...]:
        """The manifest of each series that the job reads, its own first."""
        return (self.manifest, *(manifest for _, manifest in self.companions))

    def to_dict(self) -> dict[str, Any]:
        lists = {"destinations": list(self.destinations), "companions": [list(item) for item in self.companions]}
        return {**asdict(self), **lists}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SeriesJob:
        known = {field.name for field in fields(cls)}
        values = {key: value for key, value in data.items() if key in known}
        companions = tuple((channel, manifest) for channel, manifest in values.get("companions", ()))
        return cls(**{**values, "destinations": tuple(values["destinations"]), "companions": companions})
