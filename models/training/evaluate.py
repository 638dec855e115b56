"""Figures on the fold that was not trained on, on whole series, and on what is no head at all.

``python -m models.training.evaluate brain_mri_tumor --data DIR`` prints them as JSON; the model card quotes them.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydicom.dataset import Dataset
from scipy.ndimage import distance_transform_edt
from scipy.optimize import minimize_scalar
from torch import nn

from models.registry import get
from models.runtime import ResidentModel, choose_device
from models.series import SlabAnswers, aggregate
from models.training.data import Pictures, joined, tumours, without_tumour
from models.training.plan import Plan, read_plan
from pipeline.errors import MissingSlices, Refused
from pipeline.geometry import build_volume
from pipeline.intake import read_path
from pipeline.preprocess import normalise
from pipeline.volume import Volume

BINS = 10
SERIES_SPACING_MM = 6.0
NEIGHBOURS = 0.8
"""Correlation from which two pictures that follow each other are taken for neighbouring slices of one patient."""
LEAST_RUN = 3
POINTING_MM = 10.0
"""Half of the 16 network pixels, 25 mm, that one cell of the heat map covers, rounded down."""


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
    """Logits (N, classes), mask probabilities float16 (N, M, M) and head logits (N,) for N pictures."""

    logits: npt.NDArray[np.float32]
    masks: npt.NDArray[np.float16]
    head: npt.NDArray[np.float32]


def answers(net: nn.Module, pictures: Pictures, *, bf16: bool = True, size: int = 32) -> SliceAnswers:
    """What ``net`` says of ``pictures``, preprocessed as in inference."""
    device = next(net.parameters()).device
    net.eval()
    logits, masks, head = [], [], []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for start in range(0, len(pictures), size):
            images = torch.from_numpy(pictures.images[start : start + size])[:, None].float()
            answer = net(normalise(images).to(device, memory_format=torch.channels_last))
            logits.append(answer.classes.float().cpu().numpy())
            masks.append(torch.sigmoid(answer.mask.float())[:, 0].half().cpu().numpy())
            head.append(answer.head.float().cpu().numpy())
    return SliceAnswers(np.concatenate(logits), np.concatenate(masks), np.concatenate(head))


def dice(found: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Dice by picture, (N,), of masks (N, M, M); NaN where both are empty."""
    total = found.sum((1, 2)) + truth.sum((1, 2))
    return np.asarray(2 * (found & truth).sum((1, 2)) / np.where(total == 0, np.nan, total))


def slice_figures(said: SliceAnswers, pictures: Pictures) -> SliceFigures:
    """Figures of what was ``said`` of ``pictures``; the last class is the one without a tumour."""
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


def calibration_error(logits: npt.NDArray[np.float32], truth: npt.NDArray[np.int64], temperature: float) -> float:
    """Expected calibration error of the top class, ten equal bins."""
    probability = _softmax(logits / temperature)
    top, right = probability.max(1), probability.argmax(1) == truth
    which = np.minimum((top * BINS).astype(int), BINS - 1)
    gaps = [abs(right[which == b].mean() - top[which == b].mean()) * (which == b).mean() for b in np.unique(which)]
    return float(sum(gaps))


def fit_temperature(logits: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> float:
    """The temperature with the least cross-entropy."""

    def loss(log_temperature: float) -> float:
        probability = _softmax(logits / np.exp(log_temperature))
        return float(-np.log(probability[np.arange(len(truth)), truth] + 1e-9).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-1.5, 1.5), method="bounded").x))


def validation(plan: Plan, data: Path) -> tuple[Pictures, Pictures]:
    """Tumour and no-tumour pictures of the validation fold."""
    parts = (
        tumours(data, plan.classes, plan.recipe, plan.picture_field_mm),
        without_tumour(data, plan.classes, plan.recipe, plan.picture_field_mm, excluded=plan.excluded_groups),
    )
    first, second = (part.take(part.folds == plan.validate_fold) for part in parts)
    return first, second


def evaluate(name: str, data: Path, *, folders: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Every figure of the card, JSON-ready.

    The temperature that is proposed is fitted on one half of the validation fold (the first half of each class, in
    the order of the index, so that neighbouring slices stay together); the calibration error is of the other half.
    """
    bundle = get(name, folders).bundle
    plan = read_plan(bundle.folder / "configs" / "train.json")
    model = ResidentModel(bundle, choose_device("auto", cuda=torch.cuda.is_available()))
    with_tumour, none = validation(plan, data)
    pictures = joined(with_tumour, none)
    said = answers(model.network, pictures, bf16=bundle.contract.bf16_on_cpu)
    low = answers(model.network, pictures, bf16=True)
    truth = pictures.labels
    called = said.logits.argmax(1)
    overlap = dice(said.masks > 0.5, pictures.masks)
    first = np.concatenate([np.flatnonzero(truth == c)[: (truth == c).sum() // 2] for c in range(len(plan.classes))])
    second = np.setdiff1d(np.arange(len(truth)), first)
    return {
        "model": {"version": bundle.contract.version, "digest": bundle.digest},
        "fold": plan.validate_fold,
        "slices": {c: int((truth == k).sum()) for k, c in enumerate(plan.classes)},
        "figures": {k: round(v, 4) for k, v in asdict(slice_figures(said, pictures)).items()},
        "confusion": [
            [int(((truth == a) & (called == b)).sum()) for b in range(len(plan.classes))]
            for a in range(len(plan.classes))
        ],
        "recall": {c: round(float((called[truth == k] == k).mean()), 4) for k, c in enumerate(plan.classes)},
        "dice": {
            c: [round(float(np.nanmean(overlap[truth == k])), 4), round(float(np.nanmedian(overlap[truth == k])), 4)]
            for k, c in enumerate(plan.classes[:-1])
        },
        "temperature_proposed": round(fit_temperature(said.logits[first], truth[first]), 3),
        "ece_raw": round(calibration_error(said.logits, truth, 1.0), 4),
        "ece_other_half": round(calibration_error(said.logits[second], truth[second], bundle.contract.temperature), 4),
        "bf16_agreement": round(float((low.logits.argmax(1) == called).mean()), 4),
        "head_on_slices": round(float((said.head > 0).mean()), 4),
        "runs": _runs_of_slices(model, with_tumour, said),
        "explanation": _explanations(model, with_tumour),
        "series": {folder.name: _series(model, folder) for folder in sorted((data / "dicom").iterdir())},
    }


def neighbours(pictures: Pictures) -> list[list[int]]:
    """Indices of pictures that follow each other, have one label and look alike, in runs of `LEAST_RUN` or more.

    The data name no patients; such pictures are very likely neighbouring slices of one.
    """
    runs: list[list[int]] = [[0]]
    for k in range(1, len(pictures)):
        same = pictures.labels[k] == pictures.labels[k - 1]
        alike = np.corrcoef(pictures.images[k - 1].ravel(), pictures.images[k].ravel())[0, 1] >= NEIGHBOURS
        if same and alike:
            runs[-1].append(k)
        else:
            runs.append([k])
    return [run for run in runs if len(run) >= LEAST_RUN]


def _runs_of_slices(model: ResidentModel, pictures: Pictures, said: SliceAnswers) -> dict[str, Any]:
    """Series-level answers on runs of neighbouring tumour slices, 6 mm apart, as the data set orders them."""
    contract = model.contract
    runs = neighbours(pictures)
    outcomes: dict[str, int] = {}
    right, sure = 0, []
    for run in runs:
        answer = aggregate(
            SlabAnswers(
                _softmax(said.logits[run] / contract.temperature).astype(np.float32),
                said.masks[run].astype(np.float32),
                said.head[run],
            ),
            contract,
            SERIES_SPACING_MM,
        )
        outcomes[str(answer.outcome)] = outcomes.get(str(answer.outcome), 0) + 1
        sure.append(1 - answer.probabilities[-1])
        right += int(answer.predicted == pictures.labels[run[0]])
    return {
        "count": len(runs),
        "outcomes": outcomes,
        "right_class": round(right / max(1, len(runs)), 4),
        "tumour_probability_quantiles": {f"{q:g}": round(float(np.quantile(sure, q)), 3) for q in (0, 0.05, 0.25, 0.5)},
    }


def _explanations(model: ResidentModel, pictures: Pictures) -> dict[str, float]:
    """How Grad-CAM of the true class lies on the drawn lesion, on every fourth tumour picture.

    ``pointing``: share of pictures whose hottest pixel is within `POINTING_MM` of the lesion. ``energy``: mean share of
    the heat inside it; ``area``: mean share of the picture that it covers, which is what chance would give.
    """
    chosen = pictures.take(np.arange(0, len(pictures), 4))
    images = normalise(torch.from_numpy(chosen.images)[:, None].float())
    hits, energy = [], []
    for k, label in enumerate(chosen.labels):
        heat = model.explainer.class_activation(images[k : k + 1], int(label))[0, 0].numpy()
        away = distance_transform_edt(~chosen.masks[k]) * model.contract.recipe.pixel_mm
        hits.append(heat.max() > 0 and float(away.flat[int(heat.argmax())]) <= POINTING_MM)
        energy.append(heat[chosen.masks[k]].sum() / max(heat.sum(), 1e-9))
    return {
        "pointing": round(float(np.mean(hits)), 4),
        "energy": round(float(np.mean(energy)), 4),
        "area": round(float(chosen.masks.mean()), 4),
    }


def _series(model: ResidentModel, folder: Path) -> dict[str, Any]:
    """What the header check and the pixels of one series lead to; the pixels are read even where the header refuses."""
    answer: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            series = read_path(folder)
            volume, kept = _volume(series.datasets)
        except Refused as refusal:
            return {"volume": refusal.code}
        if kept < len(series.datasets):
            answer["volume"] = f"gaps; the longest run of {kept} of {len(series.datasets)} slices was read"
        try:
            model.check(series.header)
            answer["header"] = "taken"
        except Refused as refusal:
            answer["header"] = refusal.code
    try:
        prediction = model.predict(volume)
    except Refused as refusal:
        return {**answer, "pixels": refusal.code, "why": str(refusal)}
    probabilities = {item.name: round(item.probability, 3) for item in prediction.probabilities}
    return {**answer, "pixels": str(prediction.outcome), "probabilities": probabilities}


def _volume(datasets: Sequence[Dataset]) -> tuple[Volume, int]:
    """The volume of a series; where slices are missing, of its longest run without a gap; and how many slices it has.

    The product refuses a series with gaps. Here it is about the model alone.
    """
    try:
        return build_volume(datasets), len(datasets)
    except MissingSlices:
        orientation = np.array(datasets[0].ImageOrientationPatient, dtype=float)
        normal = np.cross(orientation[:3], orientation[3:])
        places = np.array([np.dot(normal, np.array(ds.ImagePositionPatient, dtype=float)) for ds in datasets])
        order = np.argsort(places)
        steps = np.diff(places[order])
        cuts = [0, *(np.flatnonzero(steps > 1.5 * np.median(steps)) + 1), len(datasets)]
        first, last = max(pairwise(cuts), key=lambda run: run[1] - run[0])
        return build_volume([datasets[k] for k in order[first:last]]), int(last - first)


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    print(json.dumps(evaluate(arguments.name, arguments.data), indent=1))  # noqa: T201 - this is what the command is for


if __name__ == "__main__":
    main()
