"""A network's answers for held-out slices, and their figures: by fold, pooled, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.evaluation.held_out import Set
from models.evaluation.metrics import (
    Bools,
    Curves,
    Floats,
    Interval,
    Ints,
    across,
    bootstrap,
    confusion,
    cross_fitted_temperature,
    curves,
    dice,
    expected_error,
    fit_temperature,
    hausdorff95,
    reliability,
    softmax,
    thirds,
)
from models.training.data import Pictures
from pipeline.preprocess.intensity import NormalizeHeadIntensity

THIRDS = ("small", "middle", "large")


@dataclass(frozen=True)
class SliceFigures:
    """Of the validation fold: accuracy over all classes, over the tumour classes on tumour slices, share of
    no-tumour slices called so, Dice of tumour slices.
    """

    accuracy: float
    tumour_accuracy: float
    none_accuracy: float
    dice_mean: float
    dice_median: float


@dataclass(frozen=True)
class SliceAnswers:
    """Logits (N, classes), mask probabilities float16 (N, M, M) and head logits (N,) for N pictures.

    The head logits are NaN where the network has no head output.
    """

    logits: npt.NDArray[np.float32]
    masks: npt.NDArray[np.float16]
    head: npt.NDArray[np.float32]


def answers(net: nn.Module, pictures: Pictures, *, bf16: bool = True, size: int = 32) -> SliceAnswers:
    """The answers of ``net`` for ``pictures``, preprocessed as in inference."""
    device = next(net.parameters()).device
    net.eval()
    logits, masks, heads = [], [], []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for start in range(0, len(pictures), size):
            images = torch.from_numpy(pictures.images[start : start + size])[:, None].float()
            classes, mask, *head = net(NormalizeHeadIntensity()(images).to(device, memory_format=torch.channels_last))
            logits.append(classes.float().cpu().numpy())
            masks.append(torch.sigmoid(mask.float())[:, 0].half().cpu().numpy())
            heads.append(head[0].float().cpu().numpy() if head else np.full(len(images), np.nan, dtype=np.float32))
    return SliceAnswers(np.concatenate(logits), np.concatenate(masks), np.concatenate(heads))


def slice_figures(said: SliceAnswers, pictures: Pictures) -> SliceFigures:
    """Figures of the answers ``said`` for ``pictures``; the last class is the one without a tumour."""
    none = said.logits.shape[1] - 1
    truth = pictures.labels
    tumour = truth != none
    overlap = dice(said.masks[tumour] > 0.5, pictures.masks[tumour])
    called = said.logits.argmax(1)
    return SliceFigures(
        accuracy=float((called == truth).mean()),
        tumour_accuracy=float((said.logits[tumour, :none].argmax(1) == truth[tumour]).mean()),
        none_accuracy=float((called[~tumour] == none).mean()),
        dice_mean=float(np.nanmean(overlap)),
        dice_median=float(np.nanmedian(overlap)),
    )


@dataclass(frozen=True)
class Cases:
    """Measurements of N held-out slices, one row each, by networks that had not seen their fold.

    ``truth``, ``fold``, ``cluster`` (N,) int; ``plane``, ``name`` (N,) str, as in `Set`; ``logits`` (N, classes);
    ``head`` (N,) head logit; ``dice`` (N,) and ``hausdorff_mm`` (N,), NaN where not defined; ``size_mm2`` (N,) area of
    the drawn lesion; ``found`` bool (N, M, M) what was outlined.
    """

    truth: Ints
    fold: Ints
    cluster: Ints
    plane: npt.NDArray[np.str_]
    name: npt.NDArray[np.str_]
    logits: npt.NDArray[np.float32]
    head: npt.NDArray[np.float32]
    dice: Floats
    hausdorff_mm: Floats
    size_mm2: Floats
    found: Bools

    @property
    def none(self) -> int:
        """The class without a tumour: the last."""
        return int(self.logits.shape[1]) - 1

    @property
    def tumour(self) -> Bools:
        return np.asarray(self.truth != self.none)

    @property
    def called(self) -> Ints:
        """The most probable class."""
        return np.asarray(self.logits.argmax(1), dtype=np.int64)

    @property
    def kind(self) -> Ints:
        """The most probable of the tumour classes."""
        return np.asarray(self.logits[:, : self.none].argmax(1), dtype=np.int64)

    @property
    def part(self) -> Ints:
        """The parts for cross-fitting temperatures: the folds, or two halves of each class of a single fold, by
        cluster.
        """
        if len(np.unique(self.fold)) > 1:
            return self.fold
        half = np.zeros(len(self.truth), dtype=np.int64)
        for label in np.unique(self.truth):
            clusters = np.unique(self.cluster[self.truth == label])
            half[np.isin(self.cluster, clusters[len(clusters) // 2 :]) & (self.truth == label)] = 1
        return half

    @property
    def probabilities(self) -> Floats:
        """(N, classes), by a temperature that was fitted on other folds (or the other half)."""
        return softmax(self.logits, cross_fitted_temperature(self.logits, self.truth, self.part))


def measured(said: SliceAnswers, held: Set, *, threshold: float, pixel_mm: float) -> Cases:
    """Measure the answers ``said`` for the pictures ``held``; ``threshold`` is the mask probability
    of a lesion pixel.
    """
    found, truth = said.masks >= threshold, held.pictures.masks
    return Cases(
        truth=held.pictures.labels,
        fold=held.pictures.folds,
        cluster=held.cluster,
        plane=held.plane,
        name=held.name,
        logits=said.logits,
        head=said.head,
        dice=np.where(truth.any((1, 2)), dice(found, truth), np.nan),
        hausdorff_mm=hausdorff95(found, truth, pixel_mm),
        size_mm2=truth.sum((1, 2)) * pixel_mm**2,
        found=found,
    )


def pooled(parts: Sequence[Cases]) -> Cases:
    """Cases of several folds, one after the other."""
    names = Cases.__dataclass_fields__
    return Cases(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def taken(cases: Cases, which: npt.NDArray[Any]) -> Cases:
    """The rows of ``cases`` that ``which`` names."""
    return Cases(**{name: getattr(cases, name)[which] for name in Cases.__dataclass_fields__})


def headline(cases: Cases) -> dict[str, float]:
    """The figures by which folds are compared."""
    tumour = cases.tumour
    return {
        "accuracy": float((cases.called == cases.truth).mean()),
        "tumour_accuracy": float((cases.kind == cases.truth)[tumour].mean()),
        "none_accuracy": float((cases.called == cases.truth)[~tumour].mean()),
        "dice_mean": float(np.mean(cases.dice[tumour])),
        "dice_median": float(np.median(cases.dice[tumour])),
        "hausdorff95_mm_median": float(np.nanmedian(cases.hausdorff_mm[tumour])),
        "outlined_at_all": float(cases.found[tumour].any((1, 2)).mean()),
        "ece_raw": expected_error(reliability(softmax(cases.logits), cases.truth)),
    }


def figures(cases: Cases, classes: tuple[str, ...], *, wrong_outlines: Collection[str] = ()) -> dict[str, Any]:
    """Every figure of slices, JSON-ready: pooled with bootstrap intervals, by fold, class, plane and lesion size.

    All figures are of all slices. ``wrong_outlines`` names (without folder and suffix) those whose drawn outline misses
    the lesion; the overlap is also given without them.
    """
    folds = [int(fold) for fold in np.unique(cases.fold)]
    probabilities = cases.probabilities
    by_fold = {}
    for fold in folds:
        own = cases.fold == fold
        ece = expected_error(reliability(probabilities[own], cases.truth[own]))
        by_fold[fold] = headline(taken(cases, own)) | {"ece": ece}
    return {
        "folds": folds,
        "slices": {name: int((cases.truth == k).sum()) for k, name in enumerate(classes)},
        "clusters": len(np.unique(cases.cluster)),
        "pooled": {name: _shown(value) for name, value in intervals(cases).items()},
        "by_fold": {str(fold): _rounded(values) for fold, values in by_fold.items()},
        "across_folds": {
            name: _shown(across([values[name] for values in by_fold.values()])) for name in by_fold[folds[0]]
        },
        "confusion": confusion(cases.truth, cases.called, len(classes)).tolist(),
        "confusion_tumours": confusion(cases.truth[cases.tumour], cases.kind[cases.tumour], cases.none).tolist(),
        "by_class": {name: _of_class(cases, k) for k, name in enumerate(classes)},
        "segmentation": segmentation(cases, classes),
        "segmentation_of_right_outlines": _of_right_outlines(cases, classes, wrong_outlines),
        "calibration": _calibration(cases),
        "head_on_slices": round(float((cases.head > 0).mean()), 4),
    }


def intervals(cases: Cases) -> dict[str, Interval]:
    """The pooled figures with intervals over clusters, see `held_out.stretches`."""
    right = (cases.called == cases.truth).astype(float)
    tumour, kind = cases.tumour, (cases.kind == cases.truth).astype(float)
    made: dict[str, tuple[Floats, Bools, Callable[[Floats], float]]] = {
        "accuracy": (right, np.ones(len(right), dtype=bool), np.mean),
        "tumour_accuracy": (kind, tumour, np.mean),
        "none_accuracy": (right, ~tumour, np.mean),
        "dice_mean": (cases.dice, tumour, np.mean),
        "dice_median": (cases.dice, tumour, np.median),
        "hausdorff95_mm_median": (cases.hausdorff_mm, tumour, np.nanmedian),
    }
    return {name: _interval(values[which], cases.cluster[which], by) for name, (values, which, by) in made.items()}


def segmentation(cases: Cases, classes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Dice and Hausdorff distance of the tumour slices by class, plane and third of lesion size."""
    tumours = taken(cases, cases.tumour)
    third = thirds(tumours.size_mm2)
    edges = np.quantile(tumours.size_mm2, (1 / 3, 2 / 3))
    return {
        "class": {name: _overlap(taken(tumours, tumours.truth == k)) for k, name in enumerate(classes[:-1])},
        "plane": {
            str(name): _overlap(taken(tumours, tumours.plane == name)) for name in np.unique(tumours.plane) if name
        },
        "size": {name: _overlap(taken(tumours, third == k)) for k, name in enumerate(THIRDS)}
        | {"edges_mm2": [round(float(edge), 1) for edge in edges]},
    }


def _of_right_outlines(cases: Cases, classes: tuple[str, ...], wrong: Collection[str]) -> dict[str, Any]:
    kept = cases.tumour & np.array([Path(name).stem not in wrong for name in cases.name])
    right = taken(cases, kept)
    return {
        "left_out": int(cases.tumour.sum() - kept.sum()),
        "all": _overlap(right),
        **{name: _overlap(taken(right, right.truth == k)) for k, name in enumerate(classes[:-1])},
    }


def curves_by_class(cases: Cases) -> tuple[Curves, ...]:
    """One class against the rest, in the order of the classes."""
    probabilities = cases.probabilities
    return tuple(curves(probabilities[:, k], cases.truth == k) for k in range(cases.none + 1))


def _overlap(cases: Cases) -> dict[str, Any]:
    if not len(cases.truth):
        return {"slices": 0}
    missed = ~cases.found.any((1, 2))
    distances = cases.hausdorff_mm[~missed]
    return {
        "slices": len(cases.truth),
        "accuracy": round(float((cases.kind == cases.truth).mean()), 4),
        "dice_mean": _shown(_interval(cases.dice, cases.cluster, np.mean)),
        "dice_median": round(float(np.median(cases.dice)), 4),
        "hausdorff95_mm_median": round(float(np.median(distances)), 2) if len(distances) else None,
        "hausdorff95_mm_mean": round(float(np.mean(distances)), 2) if len(distances) else None,
        "not_outlined": round(float(missed.mean()), 4),
    }


def _of_class(cases: Cases, k: int) -> dict[str, Any]:
    found = curves_by_class(cases)[k]
    is_class, called = cases.truth == k, cases.called == k
    recall = _interval((cases.called == k)[is_class].astype(float), cases.cluster[is_class], np.mean)
    return {
        "recall": _shown(recall),
        "precision": round(float(is_class[called].mean()), 4) if called.any() else None,
        "auc": round(found.auc, 4),
        "average_precision": round(found.average_precision, 4),
    }


def _calibration(cases: Cases) -> dict[str, Any]:
    tumours = taken(cases, cases.tumour)
    temperatures = cross_fitted_temperature(cases.logits, cases.truth, cases.part)
    return {
        "temperatures": sorted({round(float(value), 3) for value in temperatures}),
        "temperature_of_all": round(fit_temperature(cases.logits, cases.truth), 3),
        "ece": round(expected_error(reliability(cases.probabilities, cases.truth)), 4),
        "ece_raw": round(expected_error(reliability(softmax(cases.logits), cases.truth)), 4),
        "ece_of_tumour_slices": round(expected_error(reliability(cases.probabilities[cases.tumour], tumours.truth)), 4),
        "bins": [
            {name: _number(value) for name, value in asdict(part).items()}
            for part in reliability(cases.probabilities, cases.truth)
        ],
    }


def _interval(values: Floats, clusters: Ints, by: Callable[[Floats], float]) -> Interval:
    return bootstrap(lambda rows: float(by(values[rows])), clusters)


def _shown(interval: Interval) -> list[float | None]:
    return [_number(value) for value in (interval.value, interval.low, interval.high)]


def _rounded(values: dict[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
