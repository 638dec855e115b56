"""The findings of a series as a report states them: without pixels, small enough to store, send and put into words."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.caveats import Caveat
from pipeline.findings.measurements import Measurement
from pipeline.findings.model import AnswerKind, ClassProbability, Findings, ModelIdentity, Outcome, Region, Side


@dataclass(frozen=True)
class ReportedRegion:
    """`pipeline.findings.model.Region` without its voxels; ``measurements`` are coded, in mm and mm³."""

    tracking_id: str
    tracking_uid: str
    label: str
    measurements: tuple[Measurement, ...]
    side: Side | None = None

    @classmethod
    def of(cls, region: Region) -> ReportedRegion:
        return cls(region.tracking_id, region.tracking_uid, region.label, region.measurements, region.side)

    def value(self, name: str) -> float:
        """The value of the measurement called ``name``.

        Raises
        ------
        KeyError
            where the region has no such measurement.
        """
        for item in self.measurements:
            if item.name == name:
                return item.value
        raise KeyError(name)

    def has(self, name: str) -> bool:
        """Whether the region has a measurement called ``name``."""
        return any(item.name == name for item in self.measurements)


@dataclass(frozen=True)
class Refusal:
    """Why a series was not read: the stable ``code`` of `pipeline.errors` and its ``reason`` in words."""

    code: str
    reason: str


@dataclass(frozen=True)
class ReportedFindings:
    """`pipeline.findings.model.Findings` without pixels.

    ``revision`` counts the revisions of the series from 1: the findings of a later one replace those of an earlier one.
    A refused series has a ``refusal``, no predicted class, no probabilities and no regions.
    """

    outcome: Outcome
    model: ModelIdentity
    predicted_class: str = ""
    probabilities: tuple[ClassProbability, ...] = ()
    regions: tuple[ReportedRegion, ...] = ()
    caveats: tuple[Caveat, ...] = ()
    revision: int = 1
    refusal: Refusal | None = None
    suggested: tuple[str, ...] = ()
    quantities: tuple[Measurement, ...] = ()

    @classmethod
    def of(cls, findings: Findings, revision: int = 1) -> ReportedFindings:
        return cls(
            outcome=findings.outcome,
            model=findings.model,
            predicted_class=findings.predicted_class,
            probabilities=findings.probabilities,
            regions=tuple(map(ReportedRegion.of, findings.regions)),
            caveats=findings.caveats,
            revision=revision,
            suggested=findings.suggested,
            quantities=findings.quantities,
        )

    @property
    def kind(self) -> AnswerKind:
        """What the model answers."""
        return self.model.kind

    @property
    def share(self) -> float:
        """Probability of the predicted class, 0..1."""
        return next(item.probability for item in self.probabilities if item.name == self.predicted_class)
