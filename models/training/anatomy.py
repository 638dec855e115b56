"""What heads look like to an encoder of photographs: the statistics that `models.anatomy` measures distances by.

``python -m models.training.anatomy brain_mri_tumor --data DIR --out OUT`` writes ``anatomy.safetensors`` and
``anatomy.json`` in OUT: distances of heads that the statistics were made without, by fold and healthy series. Only
heads are shown. It takes a minute on two cores.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from models.anatomy import AT_ONCE, Described
from models.registry import get
from models.training.head_features import HEADS, heads_of
from models.training.plan import AnatomyPlan, Plan, read_plan
from models.training.train import imagenet_weights
from pipeline.preprocess.intensity import NormalizeHeadIntensity

COARSER = (1.7, 2.4)
WEIGHTS, FIGURES = "anatomy.safetensors", "anatomy.json"


@dataclass(frozen=True)
class Statistics:
    """Mean (C,) and a matrix (C, C) that makes the spread of heads one in every direction."""

    mean: Tensor
    whiten: Tensor

    def distances(self, descriptions: Tensor) -> npt.NDArray[np.float32]:
        """Of descriptions (N, C), as `models.anatomy.Likeness` computes them, (N,)."""
        found: npt.NDArray[np.float32] = ((descriptions - self.mean) @ self.whiten).square().mean(dim=1).sqrt().numpy()
        return found


@dataclass(frozen=True)
class Heads:
    """Descriptions (N, C) of heads of one origin, and the group of each, (N,): its fold or series."""

    name: str
    descriptions: Tensor
    groups: npt.NDArray[np.int64]


def train_anatomy(name: str, data: Path, out: Path, *, folders: tuple[Path, ...] = ()) -> Path:
    """The statistics for bundle ``name``; returns the path of the weights in ``out``.

    ``folders`` are where other bundles than the shipped ones lie.

    Raises
    ------
    EmptyInput
        where ``data`` does not hold the pictures.
    BadModel
        where the bundle is broken, or the encoder's weights are not installed.
    """
    plan = read_plan(get(name, folders).bundle.folder / "configs" / "train.json")
    described = Described()
    described.encoder.load_imagenet(imagenet_weights())
    halved = {key: value.half().contiguous() for key, value in described.state_dict().items()}
    described.load_state_dict({key: value.float() for key, value in halved.items()})
    described.eval()
    heads = [_heads(part, plan, data, described) for part in HEADS]
    out.mkdir(parents=True, exist_ok=True)
    final = statistics_of(heads, plan.anatomy)
    save_file({**halved, "mean": final.mean, "whiten": final.whiten.contiguous()}, out / WEIGHTS)
    (out / FIGURES).write_text(json.dumps(figures(heads, plan), indent=1) + "\n")
    return out / WEIGHTS


def statistics_of(
    heads: list[Heads], anatomy: AnatomyPlan, *, fold: int | None = None, series: tuple[int, ...] = ()
) -> Statistics:
    """Statistics of all ``heads``, or of those outside of ``fold`` and of the healthy series numbered ``series``."""
    rows = []
    for part in heads:
        left_out = np.isin(part.groups, np.array(series if part.name == "healthy" else [fold or 0]))
        rows.append(part.descriptions[~left_out])
    every = torch.cat(rows).double()
    mean = every.mean(0)
    spread = torch.cov(every.T)
    spread += anatomy.shrink * spread.trace() / len(spread) * torch.eye(len(spread), dtype=spread.dtype)
    values, directions = torch.linalg.eigh(spread)
    return Statistics(mean.float(), (directions / values.sqrt()).float())


def figures(heads: list[Heads], plan: Plan) -> dict[str, Any]:
    """Quantiles of the distances of heads from statistics made without their fold or series."""
    table: dict[str, Any] = {}
    for fold in plan.members:
        unseen = tuple(plan.healthy_series.index(name) for name in plan.unseen_series.get(fold, ()))
        own = statistics_of(heads, plan.anatomy, fold=fold, series=unseen)
        for part in heads:
            if part.name != "healthy":
                table[f"{part.name}, fold {fold}"] = _quantiles(own.distances(part.descriptions[part.groups == fold]))
        for number in unseen:
            (healthy,) = (part for part in heads if part.name == "healthy")
            found = own.distances(healthy.descriptions[healthy.groups == number])
            table[f"{plan.healthy_series[number]}, without fold {fold}"] = _quantiles(found)
    return table


def _quantiles(distances: npt.NDArray[np.float32]) -> dict[str, Any]:
    if not len(distances):
        return {"pictures": 0}
    shown = {f"{q:g}": round(float(np.quantile(distances, q)), 3) for q in (0.5, 0.95, 0.99, 1)}
    return {"pictures": len(distances), **shown}


def _heads(name: str, plan: Plan, data: Path, described: Described) -> Heads:
    images, groups = heads_of(name, plan, data, plan.anatomy.every)
    if name == "healthy":  # series of coarse pixels are heads as well
        coarse = torch.cat([images, *(_blurred(images[::2], factor) for factor in COARSER)])
        images, groups = coarse, np.concatenate([groups, *(groups[::2] for _ in COARSER)])
    return Heads(name, _described(images, described), groups)


def _blurred(images: Tensor, factor: float) -> Tensor:
    """``images`` as pixels ``factor`` times as large would show them."""
    small = functional.interpolate(images, scale_factor=1 / factor, mode="bilinear", antialias=True)
    return functional.interpolate(small, size=images.shape[-2:], mode="bilinear")


def _described(images: Tensor, described: Described) -> Tensor:
    with torch.inference_mode():
        parts = [
            described(NormalizeHeadIntensity()(few).contiguous(memory_format=torch.channels_last))
            for few in torch.split(images, AT_ONCE)
        ]
    return torch.cat(parts) if parts else torch.zeros(0, 112)


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    train_anatomy(arguments.name, arguments.data, arguments.out)


if __name__ == "__main__":
    main()
