"""What became of a series that was to be fetched."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SeriesOutcome:
    """``expected`` is what the archive says the series has, None where it does not say.

    ``came`` counts different instances on stable storage, ``warned`` those of them that were kept with a warning;
    ``failed`` those that were not kept, ``failed_uids`` their SOP Instance UIDs as far as known. ``reasons`` are
    sentences without patient data. ``method``: C-GET, C-MOVE or WADO-RS.
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
        """Whether all that the archive has of the series came."""
        return self.came > 0 and not self.failed and not self.reasons and self.came >= (self.expected or 0)


@dataclass
class Tally:
    """Counts the instances of one series while they come."""

    came: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    warned: int = 0
    reasons: list[str] = field(default_factory=list)

    def note(self, sop_instance_uid: str, status: int, words: str) -> None:
        """An instance was answered with C-STORE status ``status``, in ``words``."""
        if status == 0x0000 or status >> 12 == 0xB:
            self.came.add(sop_instance_uid)
            self.failed.pop(sop_instance_uid, None)
            self.warned += status != 0x0000
        else:
            self.failed[sop_instance_uid] = words
