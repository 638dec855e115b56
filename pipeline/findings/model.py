"""The findings of a model in one series: the typed value from which all result objects and FHIR resources are built."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.caveats import Caveat
from pipeline.findings.codes import NEOPLASM, ClassTerm, Code, class_term

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]


class Outcome(StrEnum):
    """The four outcomes of a series."""

    FINDING = "finding"
    NO_FINDING = "no_finding"
    INDETERMINATE = "indeterminate"
    REFUSED = "refused"


@dataclass(frozen=True)
class Needs:
    """What a volume must cover for a negative answer; None where the bundle states no limit.

    ``coverage_mm``: least extent of the stack along the slice normal, in mm; ``spacing_mm``: greatest distance between
    neighbouring slices, in mm.
    """

    coverage_mm: float | None = None
    spacing_mm: float | None = None


@dataclass(frozen=True)
class ModelIdentity:
    """The algorithm that gave the answer.

    ``digest`` is a SHA-256 (64 hex digits) over the bundle's files and the version of the code that runs it, so that it
    changes when the answer may. ``name`` is the registry name (``brain_mri_tumor``), ``title`` the name for readers.
    ``parameters`` are short strings such as ``"threshold=0.5"`` (TID 4019 algorithm parameters). ``terms`` are the
    bundle's names and codes of the classes. ``target`` is the code of what the model looks for, whose presence a report
    states. ``needs`` are the conditions of a negative answer.
    """

    name: str
    title: str
    version: str
    digest: str
    manufacturer: str = "Candela"
    parameters: tuple[str, ...] = ()
    terms: tuple[ClassTerm, ...] = ()
    target: Code = NEOPLASM
    needs: Needs = Needs()

    def term(self, name: str) -> ClassTerm:
        """The term of class ``name``: the bundle's, else that of `pipeline.findings.codes`."""
        return next((term for term in self.terms if term.name == name), None) or class_term(name)


@dataclass(frozen=True)
class ClassProbability:
    """One class of the model card and its probability in 0..1; those of one answer add up to 1."""

    name: str
    probability: float


@dataclass(frozen=True)
class Diameter:
    """A straight line across a lesion within one source plane.

    ``start`` and ``end`` are (row, column) in the pixel grid of plane ``slice_index``, pixel centres at integers;
    ``length_mm`` is their distance in the patient.
    """

    slice_index: int
    start: tuple[float, float]
    end: tuple[float, float]
    length_mm: float


@dataclass(frozen=True)
class Lesion:
    """One connected region that the model outlined.

    ``mask`` has the shape of the volume, (slices, rows, columns), on the exact source pixels.
    ``tracking_uid`` is the same in SEG, SR, presentation state and FHIR. ``long_axis`` and ``short_axis`` lie in the
    plane where the lesion is longest, the short axis perpendicular to the long one.
    """

    tracking_id: str
    tracking_uid: str
    label: str
    mask: BoolArray
    volume_mm3: float
    long_axis: Diameter
    short_axis: Diameter
    mean_intensity: float
    key_slice: int
    """Index of the plane where the lesion's area is largest."""

    @cached_property
    def slices(self) -> tuple[int, ...]:
        """Indices of the planes that the lesion touches, ascending."""
        return tuple(int(k) for k in np.flatnonzero(self.mask.any(axis=(1, 2))))


@dataclass(frozen=True)
class Prediction:
    """A model's answer by voxel, before regions are measured.

    ``mask`` and ``heatmap`` have the shape of the volume, (slices, rows, columns), on the source pixels: ``mask`` is
    where the lesion is (all False where the model outlines none), ``heatmap`` the class activation map of
    ``predicted_class``, 0..1 over the whole volume. ``key_slice`` is the plane to look at first. ``caveats`` state what
    limits the answer (for instance that the series lies outside the validated protocol).
    """

    outcome: Outcome
    predicted_class: str
    probabilities: tuple[ClassProbability, ...]
    mask: BoolArray
    heatmap: FloatArray
    key_slice: int
    caveats: tuple[Caveat, ...] = ()


@dataclass(frozen=True)
class Findings:
    """A model's answer for one volume, regions measured. Fields as in `Prediction`; lesions largest first.

    ``probabilities`` are in the order of the model's classes; the last class means that there is no lesion.
    """

    outcome: Outcome
    predicted_class: str
    probabilities: tuple[ClassProbability, ...]
    lesions: tuple[Lesion, ...]
    heatmap: FloatArray
    key_slice: int
    model: ModelIdentity
    caveats: tuple[Caveat, ...] = ()

    def probability(self, name: str) -> float:
        """Probability of class ``name``; KeyError where the model has no such class."""
        for item in self.probabilities:
            if item.name == name:
                return item.probability
        raise KeyError(name)
