"""What a bundle's postprocessing left, checked against its contract, as a typed answer on the source grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from models.contract import ClassificationBlock, DetectionBlock, LesionBlock, RegressionBlock, SegmentationBlock
from models.workflow.installing.bundle import WorkflowBundle, code
from models.workflow.volumes import boxes
from models.workflow.volumes.grids import Grids
from models.workflow.volumes.image import to_source
from pipeline.errors import BadModel
from pipeline.findings.answers import Answer, Classification, Detection, Quantity, Regression, Segmentation

PREDICTION = "pred"
"""The key of a network's output in MONAI's engines."""
HOLDS = 0.5
"""The score from which a class holds where the contract names no threshold."""
CONTRACT = "Correct the answer in configs/candela.json, or the bundle's postprocessing: docs/bundles.md."


@dataclass(frozen=True)
class Reader:
    """Reads the answer of ``bundle`` from the dict that its postprocessing gave; ``grids`` is where it must lie."""

    bundle: WorkflowBundle
    grids: Grids
    box_mode: str | type

    def answer(self, data: Mapping[str, Any]) -> Answer:
        """The typed answer.

        Raises
        ------
        BadModel
            where a value is not finite, or the number of channels, a label, the grid or the shape is not what the
            contract says.
        """
        match self.bundle.contract.answer:
            case SegmentationBlock() as block:
                return self._segmentation(block, self._tensor(data, PREDICTION))
            case ClassificationBlock() as block:
                return self._classification(block, self._tensor(data, PREDICTION))
            case RegressionBlock() as block:
                return self._regression(block, self._tensor(data, PREDICTION))
            case DetectionBlock() as block:
                return self._detection(block, data)
            case LesionBlock():
                raise self.refusal("The bundle is read slab after slab; it has no workflow of its own.")

    def refusal(self, what: str, todo: str = CONTRACT) -> BadModel:
        """The refusal of an answer of this bundle."""
        return BadModel(what, where=str(self.bundle.folder), todo=todo)

    def _segmentation(self, block: SegmentationBlock, found: Tensor) -> Segmentation:
        if found.ndim < 3 or found.shape[0] != block.channels:
            raise self.refusal(
                f"The output has shape {_shape(found)}; the contract says {block.channels:,} channels on a grid."
            )
        placed = to_source(self.grids.on_source(found))
        structures = self.bundle.concepts
        if block.form == "channels":
            chosen = [placed[item.value] >= block.threshold for item in structures]
            return Segmentation(structures, np.stack(chosen), block.separate)
        labels = placed[0]
        whole = np.asarray(labels).astype(np.uint8)
        known = {0, *(item.value for item in structures)}
        if not np.array_equal(whole, labels):
            raise self.refusal("The label map holds values that are no labels: fractions, or numbers beyond 255.")
        unknown = [
            int(value) for value in np.flatnonzero(np.bincount(whole.ravel(), minlength=256)) if value not in known
        ]
        if unknown:
            raise self.refusal(f"The label map holds labels that the contract does not name: {unknown[:10]}.")
        return Segmentation(structures, np.ascontiguousarray(whole), block.separate)

    def _classification(self, block: ClassificationBlock, found: Tensor) -> Classification:
        values = self._row(found, len(block.classes)) / block.temperature
        if block.activation == "softmax":
            values = torch.softmax(values, dim=0)
        elif block.activation == "sigmoid":
            values = torch.sigmoid(values)
        if bool(((values < 0) | (values > 1)).any()):
            raise self.refusal(
                f"The scores lie between {float(values.min()):.3g} and {float(values.max()):.3g}, not in 0..1.",
                "Set answer.activation in configs/candela.json to softmax or sigmoid where the bundle gives logits.",
            )
        return Classification(
            classes=self.bundle.concepts,
            scores=tuple(map(float, values)),
            exclusive=block.exclusive,
            thresholds=tuple(block.thresholds.get(item.name, HOLDS) for item in block.classes),
            none=block.none,
            calibrated=block.temperature != 1.0,
        )

    def _regression(self, block: RegressionBlock, found: Tensor) -> Regression:
        values = self._row(found, len(block.quantities))
        quantities = []
        for item, named, value in zip(block.quantities, self.bundle.concepts, map(float, values), strict=True):
            least = -np.inf if item.minimum is None else item.minimum
            most = np.inf if item.maximum is None else item.maximum
            if not least <= value <= most:
                raise self.refusal(f"{item.name} is {value:.6g}; the contract says {least:g} to {most:g}.")
            quantities.append(Quantity(named, value, code(item.unit)))
        return Regression(tuple(quantities))

    def _detection(self, block: DetectionBlock, data: Mapping[str, Any]) -> Detection:
        found = self._tensor(data, block.box_key)
        labels, scores = (self._tensor(data, key).flatten() for key in (block.label_key, block.score_key))
        if not len(found) == len(labels) == len(scores):
            raise self.refusal(f"There are {len(found)} boxes, {len(labels)} labels and {len(scores)} scores.")
        classes = {item.value: item for item in self.bundle.concepts}
        unknown = sorted({int(label) for label in labels} - set(classes))
        if unknown:
            raise self.refusal(f"Boxes have labels that the contract does not name: {unknown[:10]}.")
        if bool(((scores < 0) | (scores > 1)).any()):
            raise self.refusal("The scores of boxes do not lie in 0..1.")
        try:
            placed = boxes.placed(found, self.box_mode, self.grids)
        except ValueError as error:
            raise self.refusal(f"The boxes are no boxes: {error}") from error
        kept = [
            boxes.box(classes[int(label)], float(score), corners, self.grids)
            for label, score, corners in zip(labels, scores, placed, strict=True)
            if float(score) >= block.score
        ]
        return Detection(self.bundle.concepts, tuple(sorted(kept, key=lambda item: -item.score)))

    def _row(self, found: Tensor, count: int) -> Tensor:
        if found.numel() != count:
            raise self.refusal(f"The output has shape {_shape(found)}; the contract says {count:,} values.")
        return found.as_subclass(Tensor).detach().cpu().double().flatten()

    def _tensor(self, data: Mapping[str, Any], key: str) -> Tensor:
        found = data.get(key)
        if isinstance(found, np.ndarray):
            found = torch.from_numpy(found)
        if not isinstance(found, Tensor):
            what = "nothing" if found is None else f"a {type(found).__name__}"
            raise self.refusal(f"The postprocessing gives {what} as {key!r}, where a tensor is wanted.")
        refuse_not_numbers(found, key, str(self.bundle.folder))
        return found


def refuse_not_numbers(found: Tensor, key: str, where: str) -> None:
    """Refuse an output, called ``key``, that holds NaN or infinity; channel by channel, since it may be large.

    Raises
    ------
    BadModel
        where it does.
    """
    if not found.is_floating_point():
        return
    plain = found.as_subclass(Tensor)
    if not all(bool(torch.isfinite(part).all()) for part in (plain if plain.ndim > 1 else (plain,))):
        raise BadModel(
            f"The output {key!r} holds values that are not numbers.", where=where, todo="Ask the bundle's publisher."
        )


def _shape(found: Tensor) -> str:
    return "×".join(f"{side:,}" for side in found.shape) or "()"


def as_prediction(found: Tensor, image: Tensor) -> Tensor:
    """A network's output for one image, as MONAI's engines hand it to postprocessing: with the image's metadata."""
    if not isinstance(image, MetaTensor):
        return found
    return MetaTensor(found.as_subclass(Tensor), meta=image.meta, applied_operations=image.applied_operations)
