"""What a run says of one series, without any pixel: small enough to store, send and put into sentences."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.caveats import Caveat
from pipeline.findings.model import ClassProbability, Findings, Lesion, ModelIdentity, Outcome


@dataclass(frozen=True)
class Region:
    """One outlined region, as `pipeline.findings.model.Lesion` without its mask. Lengths in mm, the volume in mm³."""

    tracking_id: str
    tracking_uid: str
    label: str
    volume_mm3: float
    long_axis_mm: float
    short_axis_mm: float
    mean_intensity: float

    @classmethod
    def of(cls, lesion: Lesion) -> Region:
        return cls(
            tracking_id=lesion.tracking_id,
            tracking_uid=lesion.tracking_uid,
            label=lesion.label,
            volume_mm3=lesion.volume_mm3,
            long_axis_mm=lesion.long_axis.length_mm,
            short_axis_mm=lesion.short_axis.length_mm,
            mean_intensity=lesion.mean_intensity,
        )


@dataclass(frozen=True)
class Refusal:
    """Why a series was not read: the stable ``code`` of `pipeline.errors` and its ``reason`` in words."""

    code: str
    reason: str


@dataclass(frozen=True)
class Answer:
    """As `pipeline.findings.model.Findings`; regions largest first.

    ``revision`` counts the revisions of the series from 1: a later one replaces what was said of an earlier one.
    A refused series has a ``refusal``, no predicted class, no probabilities and no regions.
    """

    outcome: Outcome
    model: ModelIdentity
    predicted_class: str = ""
    probabilities: tuple[ClassProbability, ...] = ()
    regions: tuple[Region, ...] = ()
    caveats: tuple[Caveat, ...] = ()
    revision: int = 1
    refusal: Refusal | None = None

    @classmethod
    def of(cls, findings: Findings, revision: int = 1) -> Answer:
        return cls(
            outcome=findings.outcome,
            model=findings.model,
            predicted_class=findings.predicted_class,
            probabilities=findings.probabilities,
            regions=tuple(Region.of(lesion) for lesion in findings.lesions),
            caveats=findings.caveats,
            revision=revision,
        )

    @property
    def share(self) -> float:
        """Probability of the predicted class, 0..1."""
        return next(item.probability for item in self.probabilities if item.name == self.predicted_class)
