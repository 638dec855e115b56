"""Training the ``head`` outputs of a finished model alone: what shows a head and what does not.

``python -m models.training.head brain_mri_tumor --data DIR --out OUT`` takes the networks as they are, shows each the
pictures that it may see (its own fold and series stay unseen) and things that are no head, and writes
``model.safetensors`` with new head outputs in OUT. Classes and outlines stay as they were to the bit. It needs no GPU;
a run that was cut off goes on with the features that it has. ``head.json`` beside the weights holds the figures.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from models.bundle import sha256
from models.evaluation.members import members_of
from models.loading import build_network
from models.registry import get
from models.training.head_features import CUT, HEADS, Part, parts
from models.training.plan import HeadPlan, Plan, read_plan

WEIGHTS, FIGURES = "model.safetensors", "head.json"
SMOOTHED = 0.01
"""Label smoothing: the networks' own training also aims at 0.01 and 0.99."""
LEFT_OUT = (
    ("kiwi", "onion", "apple", "bottles", "lattice", "hand", "animal"),
    ("citrus", "pomegranate", "bag of fruit", "gel", "double-walled vessel", "limb"),
    ("melon", "pineapple", "tomato", "stone fruit", "ACR-like cylinder", "spheres", "tubes", "joint", "trunk"),
)
"""Kinds that are left out of training together, to measure the answers for unseen kinds."""


@dataclass(frozen=True)
class Seen:
    """Features (N, C) of one network's pictures, and their truth (N,): 1 for a head."""

    features: Tensor
    head: Tensor


def train_heads(name: str, data: Path, out: Path, *, folders: tuple[Path, ...] = ()) -> Path:
    """New head outputs for bundle ``name``; returns the path of the weights in ``out``.

    ``folders`` are where other bundles than the shipped ones lie.

    Raises
    ------
    EmptyInput
        where ``data`` does not hold the pictures.
    BadModel
        where the bundle is broken.
    """
    bundle = get(name, folders).bundle
    plan = read_plan(bundle.folder / "configs" / "train.json")
    members = members_of(build_network(bundle), plan)
    weights = load_file(bundle.weights)
    out.mkdir(parents=True, exist_ok=True)
    encoders = {key: value for key, value in sorted(weights.items()) if ".head." not in key}
    found = list(parts(plan, data, list(members.values()), out / "features", network=_digest(encoders)))
    figures: dict[str, Any] = {}
    for number, (fold, member) in enumerate(members.items()):
        start = cast("nn.Sequential", member.head)
        fitted = fit(seen_by(found, number, fold, plan), start, plan.head)
        for key, value in fitted.state_dict().items():
            place = f"members.{number}.head.{key}" if len(members) > 1 else f"head.{key}"
            weights[place] = value.half().contiguous()
        figures[str(fold)] = figures_of(found, number, fold, plan, (start, fitted))
    save_file(weights, out / WEIGHTS)
    (out / FIGURES).write_text(json.dumps({"sha256": sha256(out / WEIGHTS), "members": figures}, indent=1) + "\n")
    return out / WEIGHTS


def seen_by(found: list[Part], number: int, fold: int, plan: Plan, *, without: tuple[str, ...] = ()) -> Seen:
    """The training features of member ``number``, which does not see ``fold``; kinds in ``without`` are left out."""
    features, heads = [], []
    for part in found:
        if part.name in without:
            continue
        may = may_see(part, fold, plan)
        for some in (part.plain, part.changed):
            if some.shape[1]:
                features.append(some[number][may])
                heads.append(np.full(int(may.sum()), float(part.name in HEADS)))
    return Seen(torch.from_numpy(np.concatenate(features)).float(), torch.from_numpy(np.concatenate(heads)).float())


def may_see(part: Part, fold: int, plan: Plan) -> npt.NDArray[np.bool_]:
    """Which pictures of ``part``, (N,), the member without ``fold`` may be trained on."""
    if part.name == "healthy":
        kept = [plan.healthy_series.index(name) for name in plan.unseen_series.get(fold, ())]
        return ~np.isin(part.groups, kept)
    if part.name in (*HEADS, CUT):
        return np.isin(part.groups, [other for other in plan.folds if other != fold])
    return np.ones(len(part.groups), dtype=bool)


@torch.enable_grad()
def fit(seen: Seen, start: nn.Sequential, head: HeadPlan) -> nn.Sequential:
    """The head output ``start`` trained on with ``seen``; the same input gives the same weights."""
    torch.manual_seed(head.seed)
    mean, deviation = seen.features.mean(0), seen.features.std(0).clamp(min=1e-2)
    inputs = (seen.features - mean) / deviation
    net = copy.deepcopy(start).train().requires_grad_(requires_grad=True)
    first = cast("nn.Linear", net[0])
    with torch.no_grad():  # features are trained on at one scale each, which the first layer's weights take over
        first.bias.add_(first.weight @ mean)
        first.weight.mul_(deviation)
    optimiser = torch.optim.AdamW(net.parameters(), head.rate, weight_decay=head.weight_decay)
    yes, no = (torch.nonzero(seen.head == kind).flatten() for kind in (1, 0))
    steps = head.epochs * max(1, len(yes) // head.batch)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        chosen = torch.cat([kind[torch.randint(len(kind), (head.batch,))] for kind in (yes, no)])
        said = net(functional.dropout(inputs[chosen], head.dropout)).squeeze(1)
        loss = functional.binary_cross_entropy_with_logits(said, seen.head[chosen] * (1 - 2 * SMOOTHED) + SMOOTHED)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        optimiser.step()
        rate.step()
    with torch.no_grad():
        first.weight.div_(deviation)
        first.bias.sub_(first.weight @ mean)
    return net.eval()


def likeness(part: Part, number: int, fitted: nn.Sequential) -> npt.NDArray[np.float32]:
    """The probability of a head, (N,), that member ``number`` gives for the pictures of ``part`` as they are."""
    with torch.inference_mode():
        said: npt.NDArray[np.float32] = (
            fitted(torch.from_numpy(part.plain[number]).float()).sigmoid().squeeze(1).numpy()
        )
    return said


def figures_of(
    found: list[Part], number: int, fold: int, plan: Plan, outputs: tuple[nn.Sequential, nn.Sequential]
) -> dict[str, Any]:
    """Single pictures: heads that the member has not seen, and kinds that a head output trained without them saw not.

    ``outputs`` are the head output before and after. For each part: the count, the median probability of a head, and
    the share below (heads) or from (others) some limits, ``before`` and ``after`` training.
    """
    start, fitted = outputs
    table: dict[str, Any] = {}
    for part in found:
        which = ~may_see(part, fold, plan)
        if part.name in HEADS and which.any():
            before, after = (likeness(part, number, output)[which] for output in (start, fitted))
            table[part.name] = {"before": _shares(before, below=True), "after": _shares(after, below=True)}
    for without in LEFT_OUT:
        blind = fit(seen_by(found, number, fold, plan, without=without), start, plan.head)
        for part in found:
            if part.name in without:
                before, after = (likeness(part, number, output) for output in (start, blind))
                table[part.name] = {"before": _shares(before, below=False), "after": _shares(after, below=False)}
    return table


def _shares(said: npt.NDArray[np.float32], *, below: bool) -> dict[str, Any]:
    limits = (0.3, 0.5, 0.7, 0.8, 0.9)
    wrong = {f"{limit:g}": round(float(((said < limit) == below).mean()), 4) for limit in limits}
    return {"pictures": len(said), "median": round(float(np.median(said)), 4), "below" if below else "from": wrong}


def _digest(weights: dict[str, Tensor]) -> str:
    """SHA-256 (hex) of the networks without their head outputs: features that others gave are not taken for theirs."""
    digest = hashlib.sha256()
    for key, value in weights.items():
        digest.update(key.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    train_heads(arguments.name, arguments.data, arguments.out)


if __name__ == "__main__":
    main()
