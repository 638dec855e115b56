"""The measurements of a finding, named and coded once, for report, FHIR and pages."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.findings.identity import RunIdentity
from pipeline.findings.model import Lesion


@dataclass(frozen=True)
class Measurement:
    """One number with its code and unit.

    ``name`` is its place in identifiers, ``digits`` how many digits follow the point. ``derivation`` says how it was
    derived from many values (PS3.16 CID 7464), if it was.
    """

    name: str
    code: Code
    value: float
    unit: Code
    digits: int = 1
    derivation: Code | None = None


def of_lesion(lesion: Lesion) -> tuple[Measurement, ...]:
    """Volume, long axis, short axis, mean signal; in this order."""
    return (
        Measurement("volume", codes.VOLUME, lesion.volume_mm3, codes.CUBIC_MILLIMETER),
        Measurement("long_axis", codes.LONG_AXIS, lesion.long_axis.length_mm, codes.MILLIMETER),
        Measurement("short_axis", codes.SHORT_AXIS, lesion.short_axis.length_mm, codes.MILLIMETER),
        Measurement(
            "mean_intensity",
            codes.MR_SIGNAL_INTENSITY,
            lesion.mean_intensity,
            codes.ARBITRARY_UNIT,
            derivation=codes.MEAN,
        ),
    )


def of_probability(probability: float) -> Measurement:
    """The probability (0..1) of one class."""
    return Measurement("probability", codes.PROBABILITY, probability, codes.NO_UNITS, digits=4)


def lesion_observation_uid(run: RunIdentity, lesion: Lesion, name: str) -> str:
    """Observation UID (0040,A171) of measurement ``name`` of ``lesion``, the same in every report of the run."""
    return run.uid("observation", "lesion", lesion.tracking_id, name)


def probability_observation_uid(run: RunIdentity, class_name: str) -> str:
    """Observation UID of the probability of class ``class_name``."""
    return run.uid("observation", "probability", class_name)
