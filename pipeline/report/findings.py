"""The findings of a series as a report states them: without pixels, small enough to store, send and put into words."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.caveats import Caveat
from pipeline.findings import measurements
from pipeline.findings.measurements import Measurement
from pipeline.findings.model import ClassProbability, Findings, Lesion, ModelIdentity, Outcome


@dataclass(frozen=True)
class ReportedLesion:
    """`pipeline.findings.model.Lesion` without its mask; ``measurements`` are coded, in mm and mm³."""

    tracking_id: str
    tracking_uid: str
    label: str
    measurements: tuple[Measurement, ...]

    @classmethod
    def of(cls, lesion: Lesion) -> ReportedLesion:
        return cls(lesion.tracking_id, lesion.tracking_uid, lesion.label, measurements.of_lesion(lesion))

    def value(self, name: str) -> float:
        """The value of the measurement called ``name``.

        Raises
        ------
        KeyError
            where the lesion has no such measurement.
        """
        for item in self.measurements:
            if item.name == name:
                return item.value
        raise KeyError(name)


@dataclass(frozen=True)
class Refusal:
    """Why a series was not read: the stable ``code`` of `pipeline.errors` and its ``reason`` in words."""

    code: str
    reason: str


@dataclass(frozen=True)
class ReportedFindings:
    """`pipeline.findings.model.Findings` without pixels; the largest lesion comes first.

    ``revision`` counts the revisions of the series from 1: the findings of a later one replace those of an earlier one.
    A refused series has a ``refusal``, no predicted class, no probabilities and no lesions.
    """

    outcome: Outcome
    model: ModelIdentity
    predicted_class: str = ""
    probabilities: tuple[ClassProbability, ...] = ()
    lesions: tuple[ReportedLesion, ...] = ()
    caveats: tuple[Caveat, ...] = ()
    revision: int = 1
    refusal: Refusal | None = None

    @classmethod
    def of(cls, findings: Findings, revision: int = 1) -> ReportedFindings:
        return cls(
            outcome=findings.outcome,
            model=findings.model,
            predicted_class=findings.predicted_class,
            probabilities=findings.probabilities,
            lesions=tuple(ReportedLesion.of(lesion) for lesion in findings.lesions),
            caveats=findings.caveats,
            revision=revision,
        )

    @property
    def share(self) -> float:
        """Probability of the predicted class, 0..1."""
        return next(item.probability for item in self.probabilities if item.name == self.predicted_class)
