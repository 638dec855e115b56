"""The outcome of fetching a series."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SeriesOutcome:
    """The outcome of one series. ``expected`` is the archive's number of instances, None where it states none.

    ``came`` counts the distinct instances on stable storage, ``warned`` those stored with a warning, ``failed`` those
    that were not stored; ``failed_uids`` are their SOP Instance UIDs as far as known. ``reasons`` are sentences without
    patient data. ``method``: C-GET, C-MOVE or WADO-RS.
    """

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    method: str
    expected: int | None
    came: int
    failed: int = 0
    warned: int = 0
    failed_uids: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every instance that the archive has of the series arrived."""
        return self.came > 0 and not self.failed and not self.reasons and self.came >= (self.expected or 0)


@dataclass
class Tally:
    """Counts the instances of one series as they arrive."""

    came: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    warned: int = 0
    reasons: list[str] = field(default_factory=list)

    def note(self, sop_instance_uid: str, status: int, words: str) -> None:
        """Record the C-STORE status of an instance, with its meaning in ``words``."""
        if status == 0x0000 or status >> 12 == 0xB:
            self.came.add(sop_instance_uid)
            self.failed.pop(sop_instance_uid, None)
            self.warned += status != 0x0000
        else:
            self.failed[sop_instance_uid] = words
