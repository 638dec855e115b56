"""The monitor's state of a series that is not dispatched yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from dicom_node.completion.rules import Evidence
from dicom_node.store.header import UNREADABLE
from pipeline.findings.completeness import frames, stated_instances

LAST_STATED = 0x2001FFFF
"""The last tag that is read: later elements say nothing about the size of the series, and functional groups begin."""


@dataclass(frozen=True)
class Stated:
    """What one instance states: the least number of instances of its series, and its own number of ``frames``."""

    at_least: int = 1
    frames: int = 1


@dataclass
class OpenSeries:
    """A series that is arriving. Times are seconds of the monitor's clock.

    ``carrying`` maps each open association to the paths that it sent. ``plausible`` says whether one of the
    associations that ended since none was open sent a plausible part. ``cut_before`` is the highest association number
    known when an association of the series was cut off: only the release of a later one means that the sender has
    finished. ``sample`` is the relative path of one instance.
    """

    study_instance_uid: str
    calling_ae: str
    received: int
    last_received: float
    plausible_part: int = 1
    reopened: int = 0
    released_at: float | None = None
    carrying: dict[int, set[str]] = field(default_factory=dict)
    carried_by: int = 0
    plausible: bool = False
    cut_before: int = 0
    sample: str | None = None
    stated: int = 1
    expected: int | None = None
    asked_for: int = -1
    count_pending: bool = False
    count_ahead: bool = False
    failures: int = 0
    retry_at: float = 0.0

    def arrived(self, association: int, path: str, at: float) -> bool:
        """Record an instance that came, or came again; True where ``association`` had sent none of
        the series before.
        """
        self.last_received = at
        self.released_at = None
        self.sample = path
        if not self.carrying:
            self.plausible = False
        further = association not in self.carrying
        self.carried_by += further
        self.carrying.setdefault(association, set()).add(path)
        return further

    def ended(self, association: int, folder: Path) -> None:
        """Record the end of an association that sent part of the series."""
        images = len(self.carrying.pop(association)) * self.read_sample(folder).frames
        self.plausible |= images >= self.plausible_part

    def read_sample(self, folder: Path) -> Stated:
        """Record what one instance states about its series; ``folder`` is that of the store."""
        seen = read_stated(folder / self.sample) if self.sample is not None else Stated()
        self.stated = max(self.stated, seen.at_least)
        return seen

    def counted(self, expected: int | None) -> None:
        """Record the peer's count; 0 where it does not know the series."""
        self.count_pending = False
        self.expected = expected or None
        self.count_ahead |= self.expected is not None and self.expected > self.asked_for

    def evidence(self, source: str) -> Evidence:
        return Evidence(
            received=self.received,
            last_received=self.last_received,
            released_at=None if self.carrying else self.released_at,
            plausible=self.plausible or any(len(paths) >= self.plausible_part for paths in self.carrying.values()),
            reopened=self.reopened,
            stated=self.stated,
            expected=self.expected,
            expected_source=source,
            count_pending=self.count_pending,
            count_fresh=self.asked_for == self.received and not self.count_pending,
            count_ahead=self.count_ahead,
        )


def read_stated(path: Path) -> Stated:
    """What the instance at ``path`` states; nothing where it is unreadable, which the model's run reports later."""
    try:
        with path.open("rb") as file:
            header = read_partial(file, stop_when=_is_behind)
        return Stated(stated_instances(header), frames(header))
    except (*UNREADABLE, InvalidDicomError):
        return Stated()


def _is_behind(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return bool(tag > LAST_STATED)
