"""Evaluation on folds outside of training, on whole series, and on objects that are not heads.

``python -m models.evaluation.evaluate brain_mri_tumor --data DIR`` (or ``candela models evaluate``) prints them as
JSON; the model card quotes them. With ``--out`` they are kept there with plots and a gallery of failures; with
``--weights-dir`` each ``foldK.safetensors`` in it is evaluated on the fold K that it was trained without.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy.special import expit
from torch import nn

from models.bundle import Contract, sha256
from models.evaluation.card import tables
from models.evaluation.explained import checks
from models.evaluation.figures import Cases, SliceAnswers, answers, figures, measured, pooled
from models.evaluation.gallery import write_gallery
from models.evaluation.held_out import Set, every_picture, held_out, neighbours, validation
from models.evaluation.members import members_of
from models.evaluation.metrics import dice, softmax
from models.evaluation.operating import operating_points
from models.evaluation.plots import write_plots
from models.evaluation.scope import real_series, synthetic, unseen_series
from models.networks import PretrainedRegionNet
from models.registry import get
from models.runtime import ResidentModel, channels_last, choose_device
from models.series import SlabAnswers, aggregate
from models.training.plan import Plan, read_plan
from pipeline.errors import BadModel, Refused

__all__ = ["answers", "dice", "evaluate", "neighbours", "validation"]

EVALUATION, FIGURES = "evaluation.json", "figures.md"
SERIES_SPACING_MM = 6.0
EVERY = 8
"""One of this many tumour slices is explained: neighbours add little, and Grad-CAM is slow."""

Tell = Callable[[str, float], None]
"""Called with the name of the stage and the finished share, 0..1, of the work."""


@dataclass(frozen=True)
class _Fold:
    """One held-out fold: its pictures, the network that did not see them, its answers, and the measurements."""

    number: int
    held: Set
    network: nn.Module
    contract: Contract
    said: SliceAnswers
    cases: Cases


def evaluate(
    name: str,
    data: Path,
    *,
    folders: tuple[Path, ...] = (),
    weights: Mapping[int, Path] | None = None,
    fold: int | None = None,
    out: Path | None = None,
    tell: Tell = lambda _stage, _done: None,
) -> dict[str, Any]:
    """Every figure of the card, JSON-ready.

    Parameters
    ----------
    name, folders : the bundle, and where others than the shipped ones lie.
    data : folder with ``brain_t1ce``, ``brain_notumor`` and ``dicom``.
    weights : safetensors by the fold that they were trained without; each is asked about that fold only. Without it
        each member of the bundle's network is asked about the fold that its ``configs/train.json`` says it did not see.
    fold : only this fold.
    out : where `EVALUATION`, `FIGURES` (the card's tables), plots (SVG) and gallery (PNG) are written; the gallery
        shows pictures of the data set.
    tell : called with the progress.

    Whole series and volumes out of scope are always evaluated with the bundle's own weights.

    Raises
    ------
    EmptyInput
        where ``data`` does not hold the pictures.
    Refused
        where ``fold`` was trained on, or the data have no such fold.
    BadModel
        where bundle or weights are broken, or weights are missing.
    """
    bundle = get(name, folders).bundle
    plan = read_plan(bundle.folder / "configs" / "train.json")
    shipped = ResidentModel(bundle, _device())
    asked = _asked(
        members_of(shipped.network, plan) if weights is None else _read(weights, plan, fold), fold, str(bundle.folder)
    )
    tell("reading the pictures", 0.0)
    everything = every_picture(plan, data)
    folds = []
    for k, (number, network) in enumerate(sorted(asked.items())):
        tell(f"fold {number}: slices", 0.05 + 0.35 * k / len(asked))
        folds.append(_fold(number, held_out(everything, number), network, bundle.contract))
    tell("intervals and curves", 0.4)
    cases = pooled([one.cases for one in folds])
    explained = {}
    for k, one in enumerate(folds):
        tell(f"fold {one.number}: heat maps", 0.5 + 0.3 * k / len(folds))
        explained[str(one.number)] = _explained(one)
    tell("whole series and what is out of scope", 0.8)
    result: dict[str, Any] = _finite(
        {
            "model": {
                "version": bundle.contract.version,
                "digest": bundle.digest,
                "weights_sha256": bundle.contract.sha256,
            },
            "weights": {str(one): sha256(path) for one, path in sorted((weights or {}).items()) if one in asked},
            **figures(cases, plan.classes, wrong_outlines=plan.excluded_outlines),
            "operating": operating_points(cases, plan.classes, shipped_limits(bundle.contract)),
            "temperature_shipped": bundle.contract.temperature,
            "bf16_agreement": round(_bf16_agreement(folds[-1]), 4),
            "runs": _runs(folds),
            "explanation": explained,
            "series": real_series(shipped, data),
            "series_unseen": unseen_series(shipped, asked, plan, data),
            "scope": synthetic(shipped, data),
        }
    )
    if out is not None:
        tell("plots and gallery", 0.95)
        out.mkdir(parents=True, exist_ok=True)
        (out / EVALUATION).write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
        (out / FIGURES).write_text(tables(result))
        write_plots(cases, plan.classes, out / "plots", shipped_limits(bundle.contract))
        which = np.concatenate([np.flatnonzero(everything.pictures.folds == one.number) for one in folds])
        write_gallery(cases, everything.take(which), plan.classes, out / "gallery")
    tell("done", 1.0)
    return result


def shipped_limits(contract: Contract) -> dict[str, float]:
    """The limits on a series' probability of a tumour, by what they decide."""
    return {"no finding below": contract.thresholds.no_finding, "finding from": contract.thresholds.finding}


def weights_in(folder: Path) -> dict[int, Path]:
    """The files ``foldK.safetensors`` in ``folder``, by K.

    Raises
    ------
    BadModel
        where there are none.
    """
    found = {int(path.stem[4:]): path for path in folder.glob("fold*.safetensors") if path.stem[4:].isdecimal()}
    if not found:
        raise BadModel(
            "There are no weights by fold here.",
            where=str(folder),
            todo="Name them foldK.safetensors, K the held-out fold.",
        )
    return found


def _read(weights: Mapping[int, Path], plan: Plan, fold: int | None) -> dict[int, nn.Module]:
    """Networks with the weights in files, by the fold that each did not see."""
    if fold is not None and fold not in weights:
        raise BadModel(f"There are no weights for fold {fold}.", todo="Train them with `candela models train --fold`.")
    networks: dict[int, nn.Module] = {}
    for number, path in weights.items():
        network = PretrainedRegionNet(**vars(plan.network))
        try:
            network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()})
        except (OSError, RuntimeError, SafetensorError) as error:
            raise BadModel(
                "The weights cannot be read or do not fit the recipe's network.",
                where=str(path),
                todo="Train them with `candela models train --fold`.",
            ) from error
        networks[number] = channels_last(network.to(_device())).eval().requires_grad_(requires_grad=False)
    return networks


def _asked(networks: dict[int, nn.Module], fold: int | None, where: str) -> dict[int, nn.Module]:
    """``networks``, or of them the one for ``fold``."""
    if fold is None:
        return networks
    if fold not in networks:
        known = ", ".join(str(one) for one in sorted(networks))
        raise Refused(
            f"No network here was trained without fold {fold}: figures on it would say nothing.",
            where=where,
            todo=f"Take one of the folds {known}, or weights that were trained without fold {fold}.",
        )
    return {fold: networks[fold]}


def _device() -> torch.device:
    return choose_device("auto", cuda=torch.cuda.is_available())


def _fold(number: int, held: Set, network: nn.Module, contract: Contract) -> _Fold:
    said = answers(network, held.pictures, bf16=contract.bf16_on_cpu)
    cases = measured(said, held, threshold=contract.thresholds.mask, pixel_mm=contract.recipe.pixel_mm)
    return _Fold(number, held, network, contract, said, cases)


def _explained(fold: _Fold) -> dict[str, Any]:
    tumours = fold.held.pictures.take(fold.cases.tumour)
    few = tumours.take(np.arange(0, len(tumours), EVERY))
    contract = fold.contract
    found = checks(fold.network, few, contract.recipe.pixel_mm, layer=contract.grad_cam_layer)
    found["by_class"] = {contract.classes[int(k)]: own for k, own in found["by_class"].items()}
    return found


def _bf16_agreement(fold: _Fold) -> float:
    """Share of slices whose class is the same in bfloat16 as in what was measured."""
    low = answers(fold.network, fold.held.pictures, bf16=True)
    return float((low.logits.argmax(1) == fold.cases.called).mean())


def _runs(folds: list[_Fold]) -> dict[str, Any]:
    """Series-level answers on runs of neighbouring tumour slices, 6 mm apart, as the data set orders them."""
    outcomes: dict[str, int] = {}
    right, sure = 0, []
    for fold in folds:
        contract, said = fold.contract, fold.said
        rows = np.flatnonzero(fold.cases.tumour)
        for run in neighbours(fold.held.pictures.take(rows)):
            which = rows[run]
            slabs = SlabAnswers(
                softmax(said.logits[which], contract.temperature).astype(np.float32),
                said.masks[which].astype(np.float32),
                expit(said.head[which]),
            )
            answer = aggregate(slabs, contract, SERIES_SPACING_MM)
            outcomes[str(answer.outcome)] = outcomes.get(str(answer.outcome), 0) + 1
            sure.append(1 - answer.probabilities[-1])
            right += int(answer.predicted == fold.held.pictures.labels[which[0]])
    quantiles = {f"{q:g}": round(float(np.quantile(sure, q)), 3) for q in (0, 0.05, 0.25, 0.5)} if sure else {}
    return {
        "count": len(sure),
        "outcomes": outcomes,
        "right_class": round(right / max(1, len(sure)), 4),
        "tumour_probability_quantiles": quantiles,
    }


def _finite(value: Any) -> Any:
    """``value`` with None for every number that is not finite: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--fold", type=int)
    parser.add_argument("--weights-dir", type=Path)
    arguments = parser.parse_args()
    weights = weights_in(arguments.weights_dir) if arguments.weights_dir else None
    result = evaluate(arguments.name, arguments.data, weights=weights, fold=arguments.fold, out=arguments.out)
    print(json.dumps(result, indent=1))  # noqa: T201 - this is what the command is for


if __name__ == "__main__":
    main()
