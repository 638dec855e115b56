"""The measurements of a finding, named and coded once, for report, FHIR and pages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from pipeline.findings import codes
from pipeline.findings.codes import Code

if TYPE_CHECKING:  # `pipeline.findings.model` is made of measurements
    from pipeline.findings.identity import RunIdentity
    from pipeline.findings.model import Region

FIGURES = 4
"""Significant digits of an estimated quantity: what a network computes has no more."""


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


INTENSITIES: Mapping[str, tuple[str, Code, Code]] = MappingProxyType(
    {
        "MR": ("mean_intensity", codes.MR_SIGNAL_INTENSITY, codes.ARBITRARY_UNIT),
        "CT": ("mean_attenuation", codes.ATTENUATION_COEFFICIENT, codes.HOUNSFIELD_UNIT),
    }
)
"""By Modality: name, code and unit of the mean of a region's modality values. Values of other modalities depend on
attributes that are not read (PET), or on the exposure (projections): their means are left out."""


def volume(mm3: float) -> Measurement:
    """The volume of a region in mm³."""
    return Measurement("volume", codes.VOLUME, mm3, codes.CUBIC_MILLIMETER)


def area(mm2: float) -> Measurement:
    """The area of a region of a radiograph in mm²."""
    return Measurement("area", codes.AREA, mm2, codes.SQUARE_MILLIMETER)


def length(name: str, code: Code, mm: float) -> Measurement:
    """A length in mm."""
    return Measurement(name, code, mm, codes.MILLIMETER)


def mean_value(modality: str, value: float) -> tuple[Measurement, ...]:
    """The mean modality value of a region on images of ``modality``; empty where it has no unit (`INTENSITIES`)."""
    if modality not in INTENSITIES:
        return ()
    name, code, unit = INTENSITIES[modality]
    return (Measurement(name, code, value, unit, derivation=codes.MEAN),)


def of_probability(probability: float) -> Measurement:
    """The probability (0..1) of one class."""
    return Measurement("probability", codes.PROBABILITY, probability, codes.NO_UNITS, digits=4)


def score(value: float) -> Measurement:
    """The score (0..1) of one detected object."""
    return Measurement("score", codes.PROBABILITY, value, codes.NO_UNITS, digits=4)


def estimate(name: str, code: Code, value: float, unit: Code) -> Measurement:
    """A number that a network estimated, with `FIGURES` significant digits."""
    whole = math.floor(math.log10(abs(value))) + 1 if value else 1
    return Measurement(name, code, value, unit, digits=max(0, FIGURES - whole))


def region_observation_uid(run: RunIdentity, region: Region, name: str) -> str:
    """Observation UID (0040,A171) of measurement ``name`` of ``region``, the same in every report of the run."""
    return run.uid("observation", "lesion", region.tracking_id, name)


def probability_observation_uid(run: RunIdentity, class_name: str) -> str:
    """Observation UID of the probability of class ``class_name``."""
    return run.uid("observation", "probability", class_name)


def quantity_observation_uid(run: RunIdentity, name: str) -> str:
    """Observation UID of the estimated quantity called ``name``."""
    return run.uid("observation", "quantity", name)
