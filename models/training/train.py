"""Training a bundle's network by the recipe in its ``configs/train.json``.

``python -m models.training.train brain_mri_tumor --data DIR --out runs/brain`` (or ``candela models train``) makes
``model.safetensors`` in OUT. A run that was cut off goes on from its last checkpoint when it is started again.
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from models.networks import RegionNet, SliceAnswer
from models.registry import get
from models.runtime import channels_last
from models.training.augment import Batch, change_look, change_shape, mirror_over_lesion, outliers, paste_lesions
from models.training.data import Pictures, healthy, joined, tumours, without_tumour
from models.training.evaluate import answers, slice_figures
from models.training.plan import Plan, read_plan
from pipeline.errors import EmptyInput
from pipeline.preprocess import normalise

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "model.safetensors"
LOG = "log.csv"
SETTLING = 24
"""Batches over which the averaged weights' batch statistics are taken."""
COLUMNS = ("step", "seconds", "loss", "accuracy4", "accuracy3", "no_tumour", "dice_mean", "dice_median")


def train(name: str, data: Path, out: Path, *, config: Path | None = None) -> Path:
    """Train the network of bundle ``name`` on ``data``; returns the path of the finished weights in ``out``.

    ``config`` replaces the bundle's own ``configs/train.json``.

    Raises
    ------
    EmptyInput
        where ``data`` does not hold the pictures.
    """
    if not (data / "brain_t1ce" / "index.csv").is_file():
        raise EmptyInput("No training data here.", where=str(data), todo="Give a folder with brain_t1ce/index.csv.")
    plan = read_plan(config or get(name).folder / "configs" / "train.json")
    out.mkdir(parents=True, exist_ok=True)
    run = Run(plan, data, out)
    run.resume()
    run.finish()
    return out / WEIGHTS


class Run:
    """One training run: pictures, network, optimiser, and where it stands."""

    def __init__(self, plan: Plan, data: Path, out: Path) -> None:
        self.plan, self.out = plan, out
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(plan.seed)
        self.rng = torch.Generator().manual_seed(plan.seed)
        self.tumour, self.none, self.healthy, self.validation = pictures(plan, data)
        counts = np.bincount(self.tumour.labels, minlength=len(plan.classes))
        self.tumour_weights = torch.from_numpy(counts[self.tumour.labels] ** -0.5)
        self.net = channels_last(RegionNet(**vars(plan.network)).to(self.device))
        averaging: Any = get_ema_multi_avg_fn(plan.ema)  # type: ignore[no-untyped-call]  # torch has no types here
        self.average = AveragedModel(self.net, multi_avg_fn=averaging)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), plan.rate(0), weight_decay=plan.weight_decay)
        self.step = 0

    def resume(self) -> None:
        """Go on from the checkpoint in OUT, where there is one."""
        path = self.out / CHECKPOINT
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        for part in ("net", "average", "optimiser"):
            getattr(self, part).load_state_dict(state[part])
        self.rng.set_state(state["rng"].cpu())
        self.step = state["step"]

    def finish(self) -> None:
        """Take the remaining steps; evaluate and save every ``save_every`` of them."""
        start, losses = time.monotonic(), []
        progress = tqdm(total=self.plan.steps, initial=self.step, desc="training", unit="step", mininterval=10)
        while self.step < self.plan.steps:
            losses.append(self._advance())
            progress.update()
            if self.step % self.plan.save_every == 0 or self.step == self.plan.steps:
                self._settle()
                self._save()
                figures = slice_figures(answers(self.average.module, self.validation), self.validation)
                self._log([self.step, round(time.monotonic() - start), np.mean(losses), *astuple(figures)])
                losses.clear()
        progress.close()

    def _advance(self) -> float:
        self.net.train()
        batch = self.batch()
        images = normalise(batch.images).to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16):
            answer = self.net(images)
        loss = objective(answer, batch)
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate(self.step)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        self.optimiser.step()
        self.average.update_parameters(self.net)
        self.step += 1
        return float(loss.detach())

    def batch(self) -> Batch:
        """A fresh, randomly changed batch."""
        mix, classes = self.plan.mixture(self.step), len(self.plan.classes)
        which = torch.multinomial(self.tumour_weights, mix.tumour, replacement=True, generator=self.rng)
        chosen = [self.tumour.take(which.numpy())]
        for pool, count in ((self.none, mix.no_tumour), (self.healthy, mix.healthy)):
            chosen.append(pool.take(torch.randint(len(pool), (count,), generator=self.rng).numpy()))
        images, masks = _tensors(chosen)
        labels = torch.from_numpy(np.concatenate([part.labels for part in chosen]))
        batch = Batch(images, masks, functional.one_hot(labels, classes).float(), torch.ones(len(images)))
        symmetric = torch.zeros(len(images), dtype=torch.bool)
        symmetric[: mix.tumour] = torch.from_numpy(chosen[0].symmetric)
        donors = torch.multinomial(self.tumour_weights, mix.tumour, replacement=True, generator=self.rng)
        paste_lesions(batch, *_tensors([self.tumour.take(donors.numpy())]), self.plan.paste, self.rng)
        mirror_over_lesion(batch, symmetric, self.plan.mirror, self.rng)
        odd = outliers(images[torch.randint(len(images), (mix.outlier,), generator=self.rng)], self.rng)
        batch.images = torch.cat([batch.images, odd])
        batch.masks = torch.cat([batch.masks, torch.zeros_like(odd)])
        nothing = torch.zeros(mix.outlier, classes)
        nothing[:, -1] = 1
        batch.allowed = torch.cat([batch.allowed, nothing])
        batch.head = torch.cat([batch.head, torch.zeros(mix.outlier)])
        change_shape(batch, self.rng)
        change_look(batch, self.rng)
        return batch

    def _settle(self) -> None:
        """Take the averaged weights' own batch statistics: those of the weights that they average do not fit."""
        norms = [part for part in self.average.modules() if isinstance(part, nn.BatchNorm2d)]
        for part in norms:
            part.reset_running_stats()
            part.momentum = None  # a plain mean over all batches
        self.average.train()
        state = self.rng.get_state()
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16):
            for _ in range(SETTLING):
                images = normalise(self.batch().images)
                self.average(images.to(self.device, memory_format=torch.channels_last))
        self.rng.set_state(state)
        self.average.eval()

    def _save(self) -> None:
        weights = {k: v.detach().half().contiguous() if v.is_floating_point() else v for k, v in self._averaged()}
        save_file(weights, self.out / WEIGHTS)
        state = {part: getattr(self, part).state_dict() for part in ("net", "average", "optimiser")}
        torch.save({**state, "rng": self.rng.get_state(), "step": self.step}, self.out / (CHECKPOINT + ".part"))
        (self.out / (CHECKPOINT + ".part")).replace(self.out / CHECKPOINT)

    def _averaged(self) -> list[tuple[str, Tensor]]:
        return list(self.average.module.state_dict().items())

    def _log(self, values: list[Any]) -> None:
        path = self.out / LOG
        fresh = not path.exists()
        with path.open("a", newline="") as stream:
            writer = csv.writer(stream)
            if fresh:
                writer.writerow(COLUMNS)
            writer.writerow([round(float(value), 4) for value in values])


def objective(answer: SliceAnswer, batch: Batch) -> Tensor:
    """Class, mask and head loss of a batch; the class loss takes any allowed class as right."""
    allowed = batch.allowed.to(answer.classes.device)
    masks, head = batch.masks.to(answer.mask.device), batch.head.to(answer.head.device)
    logp = functional.log_softmax(answer.classes.float(), dim=1)
    right = torch.logsumexp(logp.masked_fill(allowed == 0, -torch.inf), dim=1)
    classes = -right.mean() - 0.03 * logp.mean()
    mask = answer.mask.float()
    probability = torch.sigmoid(mask)
    both = (probability * masks).sum((1, 2, 3))
    dice = 1 - (2 * both + 1) / (probability.sum((1, 2, 3)) + masks.sum((1, 2, 3)) + 1)
    has = (masks.sum((1, 2, 3)) > 0).float()
    overlap = (dice * has).sum() / has.sum().clamp(min=1)
    pixels = functional.binary_cross_entropy_with_logits(mask, masks, pos_weight=torch.tensor(3.0, device=mask.device))
    heads = functional.binary_cross_entropy_with_logits(answer.head.float(), head * 0.98 + 0.01)
    return classes + overlap + pixels + 0.3 * heads


def pictures(plan: Plan, data: Path) -> tuple[Pictures, Pictures, Pictures, Pictures]:
    """Tumour, no-tumour and healthy pictures to train on, and the validation fold's."""
    with_tumour = tumours(data, plan.classes, plan.recipe, plan.picture_field_mm)
    none = without_tumour(data, plan.classes, plan.recipe, plan.picture_field_mm, excluded=plan.excluded_groups)
    heads = healthy(data, list(plan.healthy_series), plan.classes, plan.recipe)
    train_tumour, train_none = (part.take(np.isin(part.folds, plan.train_folds)) for part in (with_tumour, none))
    held = (part.take(part.folds == plan.validate_fold) for part in (with_tumour, none))
    return train_tumour, train_none, heads, joined(*held)


def _tensors(parts: list[Pictures]) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(np.concatenate([part.images for part in parts]))[:, None].float() / 255
    masks = torch.from_numpy(np.concatenate([part.masks for part in parts]))[:, None].float()
    return images, masks


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    arguments = parser.parse_args()
    train(arguments.name, arguments.data, arguments.out, config=arguments.config)


if __name__ == "__main__":
    main()
