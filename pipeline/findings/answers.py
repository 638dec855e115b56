"""The kinds of answer that a bundle's own workflow gives, as values on the grid of the source.

`pipeline.findings.model.Prediction` is the answer of the networks that read slab after slab; these are the answers of
any MONAI bundle (`models.workflow`). `pipeline.findings.from_answer` makes findings of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.caveats import Caveat
from pipeline.findings.codes import Code
from pipeline.findings.model import BoolArray, FloatArray


@dataclass(frozen=True)
class Concept:
    """A structure, class or quantity as the bundle's candela block names it.

    ``value`` is its label in a label map, its channel, or its place among a network's outputs. ``category`` is the
    Segmented Property Category (PS3.3 C.8.20.2) of a structure, None where the block gives none.
    """

    value: int
    name: str
    title: str
    code: Code
    category: Code | None = None


@dataclass(frozen=True)
class Explanation:
    """What in the images speaks for ``name``, a class or structure of the answer.

    ``heatmap`` is float32 on the source grid, (slices, rows, columns), 0..1 over the whole volume; ``technique`` the
    code of how it was computed (PS3.16 CID 217).
    """

    name: str
    heatmap: FloatArray
    technique: Code


@dataclass(frozen=True)
class Segmentation:
    """Where structures are.

    ``array`` is on the source grid: a label map, uint8 (slices, rows, columns), whose values are those of
    ``structures`` or 0; or one mask for each structure, bool (structures, slices, rows, columns), which may overlap.
    ``separate``: each connected part of a structure is reported by itself, as lesions are.
    """

    structures: tuple[Concept, ...]
    array: npt.NDArray[np.uint8] | BoolArray
    separate: bool = False
    explanation: Explanation | None = None

    @property
    def overlapping(self) -> bool:
        """Whether each structure has a mask of its own."""
        return self.array.ndim == 4

    def mask(self, structure: Concept) -> BoolArray:
        """Where ``structure`` is, (slices, rows, columns)."""
        if self.overlapping:
            return np.asarray(self.array[self.structures.index(structure)], dtype=np.bool_)
        return np.asarray(self.array == structure.value)

    def mask_of(self, name: str) -> BoolArray:
        """Where the structure called ``name`` is; StopIteration where there is no such structure."""
        return self.mask(next(item for item in self.structures if item.name == name))


@dataclass(frozen=True)
class Classification:
    """What the images show as a whole: for each of ``classes`` a score in 0..1.

    ``exclusive``: exactly one class holds (multi-class); otherwise each is judged alone (multi-label). The scores of
    exclusive classes add up to 1 only where the bundle's last activation is a softmax. ``thresholds``: the score of
    each class from which it holds. ``none`` is the name of the class that says that nothing was found. ``calibrated``:
    the scores were calibrated to be probabilities.
    """

    classes: tuple[Concept, ...]
    scores: tuple[float, ...]
    exclusive: bool
    thresholds: tuple[float, ...]
    none: str | None = None
    calibrated: bool = False
    explanation: Explanation | None = None

    @property
    def likeliest(self) -> Concept:
        """The class with the highest score."""
        return self.classes[int(np.argmax(self.scores))]


@dataclass(frozen=True)
class Box:
    """One detected object.

    ``corners`` are the eight corners (four for a projection) as array indices (slice, row, column) with fractions,
    (8, 3); ``patient`` the same corners in patient coordinates, LPS, in mm, or None for a projection, whose pixels have
    no place in the patient. A box may be oblique to the patient's axes: it is parallel to the axes of the grid that the
    network read. ``score`` is in 0..1.
    """

    finding: Concept
    score: float
    corners: npt.NDArray[np.float64]
    patient: npt.NDArray[np.float64] | None


@dataclass(frozen=True)
class Detection:
    """Detected objects, the highest score first; none where the bundle found nothing."""

    classes: tuple[Concept, ...]
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Quantity:
    """A number that a network estimated, with its UCUM ``unit``."""

    concept: Concept
    value: float
    unit: Code


@dataclass(frozen=True)
class Regression:
    """The numbers that a bundle estimates."""

    quantities: tuple[Quantity, ...]


Answer = Segmentation | Classification | Detection | Regression
KeyImage = Literal["largest", "strongest", "middle"]


@dataclass(frozen=True)
class Answered:
    """The answer of a workflow, and which image results show first: where the most was found (``largest``), the
    likeliest object (``strongest``), or the middle of the stack.
    """

    answer: Answer
    key_image: KeyImage = "largest"
    caveats: tuple[Caveat, ...] = ()
