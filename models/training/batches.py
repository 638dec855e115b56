"""The batches of a training run: what is drawn at each step, and how it is changed.

A batch is a function of the recipe, the fold and the number of its step alone: a run that was cut off goes on with the
batches that it would have had, and any number of processes can make them ahead of the network.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from models.training.augment import (
    Batch,
    change_look,
    change_shape,
    cover_lesions,
    mirror_over_lesion,
    outliers,
    paste_lesions,
)
from models.training.data import Pictures, echo_planar, healthy, joined, tumour_names, tumours, without_tumour
from models.training.plan import Mixture, Plan

ECHO_PLANAR = 0.3
"""Share of batches in which one picture that is out of scope is an echo-planar frame; the others are drawn."""
DONORS = 3
"""For each tumour slice of a batch, so many others are drawn that may give it, or a healthy one, what is theirs."""
SEEDS_OF_A_FOLD = 10_000_000
"""Seeds of batches are so far apart from fold to fold: more steps than any run takes."""


class Batches(Dataset[Batch]):
    """The batch of every step of the run that does not look at ``fold``.

    ``tumour``, ``none``, ``healthy`` and ``echo_planar`` are the pictures to train on, ``validation`` those of the
    fold.
    """

    def __init__(self, plan: Plan, data: Path, fold: int) -> None:
        self.plan, self.fold = plan, fold
        self.tumour, self.none, self.healthy, self.validation = pictures(plan, data, fold)
        self.echo_planar = echo_planar(data, list(plan.echo_planar_series), plan.classes, plan.recipe)
        self._tumour_weights = _even(self.tumour.labels, 0.5)
        self._healthy_weights = _even(self.healthy.folds, 1.0)

    def __len__(self) -> int:
        return self.plan.steps

    def __getitem__(self, step: int) -> Batch:
        rng = torch.Generator().manual_seed((self.plan.seed + self.fold) * SEEDS_OF_A_FOLD + step)
        plan, mix, stage = self.plan, self.plan.cycle(step).batch, self.plan.stage(step)
        batch, symmetric = self._drawn(mix, stage.matrix, rng)
        donors = _tensors([self.tumour.take(self._tumours(DONORS * mix.tumour, rng))], stage.matrix)
        mirror_over_lesion(batch, symmetric, plan.mirror, rng)
        cover_lesions(batch, *donors, plan.cover, rng)
        paste_lesions(batch, *donors, plan.paste, rng)
        self._add_outliers(batch, mix.outlier, rng)
        change_shape(batch, rng, stage.strength)
        change_look(batch, rng, plan.look * stage.strength)
        return batch

    def ahead(self, first: int, *, workers: int) -> DataLoader[Batch]:
        """The batches from step ``first`` to the last, made by ``workers`` processes beside this one, or by this."""
        return DataLoader(
            self,
            batch_size=None,
            sampler=range(first, len(self)),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=torch.cuda.is_available(),
        )

    def _tumours(self, count: int, rng: torch.Generator) -> npt.NDArray[np.int64]:
        return torch.multinomial(self._tumour_weights, count, replacement=True, generator=rng).numpy()

    def _drawn(self, mix: Mixture, matrix: int, rng: torch.Generator) -> tuple[Batch, Tensor]:
        """Heads with and without tumours as they are, and which of them are symmetric tumour slices, (N,)."""
        chosen = [self.tumour.take(self._tumours(mix.tumour, rng))]
        chosen.append(self.none.take(torch.randint(len(self.none), (mix.no_tumour,), generator=rng).numpy()))
        heads = torch.multinomial(self._healthy_weights, max(mix.healthy, 1), replacement=True, generator=rng)
        chosen.append(self.healthy.take(heads[: mix.healthy].numpy()))
        images, masks = _tensors(chosen, matrix)
        labels = torch.from_numpy(np.concatenate([part.labels for part in chosen]))
        symmetric = torch.zeros(len(images), dtype=torch.bool)
        symmetric[: mix.tumour] = torch.from_numpy(chosen[0].symmetric)
        allowed = functional.one_hot(labels, len(self.plan.classes)).float()
        return Batch(images, masks, allowed, torch.ones(len(images))), symmetric

    def _add_outliers(self, batch: Batch, count: int, rng: torch.Generator) -> None:
        """Put ``count`` pictures behind the others that show no head, or one that no such model should read."""
        chosen = torch.randint(len(batch.images), (count,), generator=rng)
        odd = outliers(batch.images[chosen], rng)
        if count and len(self.echo_planar) and float(torch.rand(1, generator=rng)) < ECHO_PLANAR:
            frame = torch.randint(len(self.echo_planar), (1,), generator=rng).numpy()
            odd[:1] = _tensors([self.echo_planar.take(frame)], odd.shape[-1])[0]
        nothing = torch.zeros(count, batch.allowed.shape[1])
        nothing[:, -1] = 1
        batch.images = torch.cat([batch.images, odd])
        batch.masks = torch.cat([batch.masks, torch.zeros_like(odd)])
        batch.allowed = torch.cat([batch.allowed, nothing])
        batch.head = torch.cat([batch.head, torch.zeros(count)])


def pictures(plan: Plan, data: Path, fold: int) -> tuple[Pictures, Pictures, Pictures, Pictures]:
    """Tumour, no-tumour and healthy pictures to train on, and those of the ``fold`` that is held out.

    The healthy series that the recipe keeps from the network of this fold are left out as well, and of the pictures to
    train on those whose outline is wrong.
    """
    with_tumour = tumours(data, plan.classes, plan.recipe, plan.picture_field_mm)
    none = without_tumour(data, plan.classes, plan.recipe, plan.picture_field_mm, excluded=plan.excluded_groups)
    series = [name for name in plan.healthy_series if name not in plan.unseen_series.get(fold, ())]
    heads = healthy(data, series, plan.classes, plan.recipe)
    seen = [other for other in plan.folds if other != fold]
    outlined = ~np.isin(tumour_names(data), plan.excluded_outlines)
    train_tumour = with_tumour.take(np.isin(with_tumour.folds, seen) & outlined)
    train_none = none.take(np.isin(none.folds, seen))
    held = (part.take(part.folds == fold) for part in (with_tumour, none))
    return train_tumour, train_none, heads, joined(*held)


def _even(kinds: npt.NDArray[np.int64], power: float) -> Tensor:
    """Weights by which rare ``kinds`` are drawn more often: the number of their kind to the minus ``power``."""
    return torch.from_numpy(np.bincount(kinds)[kinds] ** -power)


def _tensors(parts: list[Pictures], matrix: int) -> tuple[Tensor, Tensor]:
    """Images 0..1 and masks, (N, 1, matrix, matrix)."""
    images = torch.from_numpy(np.concatenate([part.images for part in parts]))[:, None].float() / 255
    masks = torch.from_numpy(np.concatenate([part.masks for part in parts]))[:, None].float()
    if images.shape[-1] != matrix:
        images = functional.interpolate(images, size=(matrix, matrix), mode="bilinear", antialias=True)
        masks = (functional.interpolate(masks, size=(matrix, matrix), mode="area") >= 0.5).float()
    return images, masks
