"""Ablation: the effect of each step against the shortcut, by short training runs that leave one out.

``python -m models.evaluation.ablation brain_mri_tumor --data DIR --out runs/ablation`` trains one small run for each of
`VARIANTS` without the recipe's last fold. It evaluates the run on that fold, on the same slices in the other source's
look, on slices whose lesion was mirrored away, and on the healthy series that no variant trained on. The runs are far
shorter than the recipe's, so they can only be compared with each other.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.evaluation.figures import answers, slice_figures
from models.evaluation.shortcut import healthy_slices, probe
from models.networks import Features, PretrainedRegionNet, SliceAnswer
from models.registry import get
from models.training.plan import Cycle, Mixture, Plan, Stage, read_plan
from models.training.train import Run

EMA = 0.99
"""Decay of the averaged weights: that of a long run would remember the beginning of a short one."""
STEPS, MATRIX, PEAK, BATCH = 500, 96, 0.0015, Mixture(tumour=12, no_tumour=3, healthy=4, outlier=1)


class WholeImageNet(PretrainedRegionNet):
    """The network with the way to the shortcut left open: the class head also sees the average of the whole image."""

    def __init__(self, *, classes: int, widths: tuple[int, ...], dropout: float) -> None:
        super().__init__(classes=classes, widths=widths, dropout=dropout)
        first = cast("nn.Linear", self.context[0])
        self.context[0] = nn.Linear(first.in_features + 2 * widths[2], first.out_features)

    def answer(self, features: Features, pixels: Tensor) -> SliceAnswer:
        whole = features.seen.float()
        style = torch.cat([whole.mean((2, 3)), whole.amax((2, 3))], dim=1)
        mask, region = self.region(features, pixels)
        return self.judged(features, mask, torch.cat([region, style], dim=1))


@dataclass(frozen=True)
class Variant:
    """A recipe with one step left out, and the network that it trains."""

    name: str
    change: Callable[[Plan], Plan]
    network: type[PretrainedRegionNet] = PretrainedRegionNet


def _same(plan: Plan) -> Plan:
    return plan


def _without(plan: Plan, **kinds: int) -> Plan:
    """``plan`` with ``kinds`` of pictures, by name, left out of every batch (0 of each)."""
    return replace(plan, cycles=tuple(replace(cycle, batch=replace(cycle.batch, **kinds)) for cycle in plan.cycles))


def _bare(plan: Plan) -> Plan:
    bare = _without(plan, healthy=0, outlier=0)
    return replace(bare, look=0.0, mirror=0.0, cover=0.0, paste=0.0, excluded_groups=frozenset(), excluded_outlines=())


VARIANTS = (
    Variant("every step", _same),
    Variant("no change of look", lambda plan: replace(plan, look=0.0)),
    Variant("no lesion hidden", lambda plan: replace(plan, mirror=0.0, cover=0.0)),
    Variant("no lesion pasted in", lambda plan: replace(plan, paste=0.0)),
    Variant("no healthy heads", lambda plan: _without(plan, healthy=0)),
    Variant("no-tumour pictures not cleaned", lambda plan: replace(plan, excluded_groups=frozenset())),
    Variant("wrong outlines left in", lambda plan: replace(plan, excluded_outlines=())),
    Variant("class from the whole image", _same, WholeImageNet),
    Variant("none of them", _bare, WholeImageNet),
)
"""The compared variants: the recipe, the recipe without one step, and the recipe without any."""


def shortened(plan: Plan, *, steps: int = STEPS, matrix: int = MATRIX) -> Plan:
    """``plan`` cut to a short run that sees one healthy series, so that the others can be asked about."""
    cycle = Cycle(PEAK, (Stage(steps, matrix),), BATCH)
    shown = plan.healthy_series[:1]
    return replace(plan, cycles=(cycle,), ema=EMA, healthy_series=shown, unseen_series={}, save_every=steps)


def ablation(
    name: str, data: Path, out: Path, *, folders: tuple[Path, ...] = (), steps: int = STEPS, matrix: int = MATRIX
) -> dict[str, Any]:
    """One row of figures by variant, JSON-ready; finished variants are not trained again. Raises as `train.train`."""
    whole = read_plan(get(name, folders).folder / "configs" / "train.json")
    plan, fold = shortened(whole, steps=steps, matrix=matrix), whole.folds[-1]
    rows: dict[str, Any] = {}
    for number, variant in enumerate(VARIANTS):
        folder = out / f"variant{number}"
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(variant.change(plan), data, folder, fold, network=variant.network)
        run.resume()
        run.finish()
        rows[variant.name] = _row(run, whole, data, plan.healthy_series)
        (out / "ablation.json").write_text(json.dumps(rows, indent=1) + "\n")
    return rows


def _row(run: Run, plan: Plan, data: Path, trained_on: tuple[str, ...]) -> dict[str, Any]:
    network, none = run.average.module.eval(), len(plan.classes) - 1
    held = run.batches.validation
    clean = slice_figures(answers(network, held, bf16=False), held)
    healthy = healthy_slices(network, plan, data, 1.0)
    return {
        "held_out": {key: round(value, 4) for key, value in asdict(clean).items()},
        **probe(network, held, none, temperature=1.0),
        "healthy_called_tumour": {
            series: row["called_tumour"] for series, row in healthy.items() if series not in trained_on
        },
    }


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", default="brain_mri_tumor")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    rows = ablation(arguments.name, arguments.data, arguments.out, steps=arguments.steps)
    print(json.dumps(rows, indent=1))  # noqa: T201 - this is what the command is for


if __name__ == "__main__":
    main()
