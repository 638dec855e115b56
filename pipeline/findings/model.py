"""The findings of a model in one series: the typed value from which all result objects and FHIR resources are built.

One type holds every kind of answer (`AnswerKind`): what a kind does not have is empty or None, and results leave it
out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.caveats import Caveat
from pipeline.findings.codes import (
    BILATERAL,
    GRAD_CAM,
    LEFT,
    MR_BRAIN,
    NEOPLASM,
    RIGHT,
    ClassTerm,
    Code,
    class_term,
)
from pipeline.findings.measurements import Measurement

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
Part = tuple[slice, slice, slice]
"""A part of a volume: slices, rows, columns."""


class AnswerKind(StrEnum):
    """What a model answers."""

    SEGMENTATION = "segmentation"
    CLASSIFICATION = "classification"
    DETECTION = "detection"
    REGRESSION = "regression"
    LESION = "lesion"
    """Lesions and their class, by a network that Candela reads slab after slab: `Prediction`."""


class Outcome(StrEnum):
    """The outcomes of a series."""

    FINDING = "finding"
    NO_FINDING = "no_finding"
    INDETERMINATE = "indeterminate"
    MEASURED = "measured"
    """The model looks for nothing that is present or absent: it measures anatomy, a class or a quantity."""
    REFUSED = "refused"


SEEKS: frozenset[Outcome] = frozenset({Outcome.FINDING, Outcome.NO_FINDING, Outcome.INDETERMINATE})
"""The outcomes that state whether the model's target is present."""


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
    states; None for a model that looks for nothing (`Outcome.MEASURED`). ``needs`` are the conditions of a negative
    answer. ``procedure`` is the code of the procedure that reports name; ``body_part`` a value of Body Part Examined
    for images that state none, empty where the bundle states none either. ``projection``: the model reads radiographs.
    """

    name: str
    title: str
    version: str
    digest: str
    manufacturer: str = "Candela"
    parameters: tuple[str, ...] = ()
    terms: tuple[ClassTerm, ...] = ()
    target: Code | None = NEOPLASM
    needs: Needs = Needs()
    kind: AnswerKind = AnswerKind.LESION
    procedure: Code = MR_BRAIN
    body_part: str = "HEAD"
    projection: bool = False

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
class Voxels:
    """Some voxels of a volume of ``shape`` (slices, rows, columns): ``inside`` fills its part ``box``.

    Only that part is stored: a body has a hundred structures, and a volume hundreds of millions of voxels.
    """

    shape: tuple[int, int, int]
    box: Part
    inside: BoolArray

    @classmethod
    def of(cls, mask: BoolArray) -> Voxels:
        """The voxels of a mask with the shape of the volume (slices, rows, columns)."""
        filled = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
        spans = [(int(one[0]), int(one[-1]) + 1) if len(one) else (0, 0) for one in filled]
        box = slice(*spans[0]), slice(*spans[1]), slice(*spans[2])
        slices, rows, columns = mask.shape
        return cls((slices, rows, columns), box, np.ascontiguousarray(mask[box]))

    def plane(self, index: int) -> BoolArray:
        """Plane ``index``, (rows, columns)."""
        plane = np.zeros(self.shape[1:], dtype=np.bool_)
        first = self.box[0].start
        if first <= index < self.box[0].stop:
            plane[self.box[1:]] = self.inside[index - first]
        return plane

    def whole(self) -> BoolArray:
        """The mask with the shape of the volume; made anew by each call."""
        mask = np.zeros(
            self.shape, dtype=np.bool_
        )  # the operating system allocates memory only for the pages of the box
        mask[self.box] = self.inside
        return mask

    @cached_property
    def slices(self) -> tuple[int, ...]:
        """Indices of the planes that they touch, ascending."""
        return tuple(int(k) + self.box[0].start for k in np.flatnonzero(self.inside.any(axis=(1, 2))))


class Side(StrEnum):
    """Where a lesion lies in the head, as seen from the patient (`pipeline.findings.sides`)."""

    LEFT = "left"
    RIGHT = "right"
    BOTH = "both_sides"
    """It reaches beyond the midline on either side."""
    MIDLINE = "midline"
    """It touches the midline."""

    @property
    def laterality(self) -> Code | None:
        """Of PS3.16 CID 244; None for the midline, which has none."""
        return {Side.LEFT: LEFT, Side.RIGHT: RIGHT, Side.BOTH: BILATERAL}.get(self)


@dataclass(frozen=True)
class Region:
    """A region of interest: a lesion, a segmented structure, or a detected object.

    ``label`` is its class. ``voxels`` are on the source pixels; those of a detected object (``boxed``) fill its box,
    and no result calls them an outline. ``measurements`` are coded, in mm, mm³ or modality values. ``tracking_uid`` is
    the same in SEG, SR, presentation state and FHIR. ``long_axis`` and ``short_axis`` lie in the plane where a lesion
    is longest, the short axis perpendicular to the long one; None for regions that are not measured so. ``images``
    are the numbers under which a PACS lists the planes that it touches, in their order; empty where it lists none.
    ``side`` is None where the images do not tell.
    """

    tracking_id: str
    tracking_uid: str
    label: str
    voxels: Voxels
    measurements: tuple[Measurement, ...]
    key_slice: int
    """Index of the plane where the region's area is largest."""
    long_axis: Diameter | None = None
    short_axis: Diameter | None = None
    boxed: bool = False
    images: tuple[int, ...] = ()
    side: Side | None = None

    @property
    def mask(self) -> BoolArray:
        """The region in the shape of the volume, (slices, rows, columns); made anew by each call."""
        return self.voxels.whole()

    @property
    def slices(self) -> tuple[int, ...]:
        """Indices of the planes that the region touches, ascending."""
        return self.voxels.slices

    @property
    def axes(self) -> tuple[Diameter, ...]:
        """Long and short axis; empty where they are not measured."""
        return tuple(axis for axis in (self.long_axis, self.short_axis) if axis is not None)

    @property
    def measured_slice(self) -> int:
        """The plane in which it is measured: that of its long axis, else the key slice."""
        return self.key_slice if self.long_axis is None else self.long_axis.slice_index

    def value(self, name: str) -> float | None:
        """The value of the measurement called ``name``; None if the region has no such measurement."""
        return next((item.value for item in self.measurements if item.name == name), None)


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
    """A model's answer for one volume, regions measured. Fields as in `Prediction`.

    ``predicted_class`` is empty, and ``probabilities`` are, for answers that are no classes. ``probabilities`` are in
    the order of the model's classes; of lesions the last class means that there is none. ``suggested`` are the classes
    that hold, for models that judge each class alone. ``regions`` are lesions largest first, structures in the bundle's
    order, detected objects the likeliest first. ``heatmap`` is None where nothing explains the answer; it is of class
    ``explained`` (empty: the predicted one), computed by ``technique`` (PS3.16 CID 217). ``quantities`` are the numbers
    that a regression estimates.
    """

    outcome: Outcome
    predicted_class: str
    probabilities: tuple[ClassProbability, ...]
    regions: tuple[Region, ...]
    heatmap: FloatArray | None
    key_slice: int
    model: ModelIdentity
    caveats: tuple[Caveat, ...] = ()
    suggested: tuple[str, ...] = ()
    quantities: tuple[Measurement, ...] = ()
    explained: str = ""
    technique: Code = GRAD_CAM

    def probability(self, name: str) -> float:
        """Probability of class ``name``; KeyError where the model has no such class."""
        for item in self.probabilities:
            if item.name == name:
                return item.probability
        raise KeyError(name)
