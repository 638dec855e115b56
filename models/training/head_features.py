"""The features of pictures on which the finished networks' head outputs are based, computed once and stored.

A network's ``head`` output is a small perceptron over the mean and the largest of its deepest features. Training that
alone needs those features and no GPU. Pictures come in parts of one origin; each part is a file in a folder, so that a
run that was cut off goes on with the next part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.networks import PretrainedRegionNet
from models.training.augment import Batch, change_look, change_shape, outliers
from models.training.data import Pictures, echo_planar, healthy, tumours, without_tumour
from models.training.drawn.kinds import KINDS, drawn
from models.training.plan import Plan
from pipeline.preprocess.intensity import NormalizeHeadIntensity

HEADS = ("tumour", "no tumour", "healthy")
"""Parts that show heads; all others show none."""
CUT = "patterns, noise, heads cut up"
FRAMES = "echo-planar frames"
AT_ONCE = 16


@dataclass(frozen=True)
class Part:
    """Features of pictures of one origin.

    ``name`` is one of `HEADS`, a kind that is drawn, `CUT` or `FRAMES`. ``groups`` (N,): the fold of a picture, for
    healthy heads the number of their series, -1 where every network may see it. ``plain`` (members, N, C) are features
    of the pictures as they are, ``changed`` of the same with shape and look changed; of drawn kinds there are none of
    these, for each drawing has its own shape and look.
    """

    name: str
    groups: npt.NDArray[np.int64]
    plain: npt.NDArray[np.float16]
    changed: npt.NDArray[np.float16]


def parts(plan: Plan, data: Path, members: list[nn.Module], folder: Path, *, network: str) -> Iterator[Part]:
    """Every part, from ``folder`` where it is kept already; ``network`` is the digest of the networks' weights."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*HEADS, FRAMES, CUT, *sorted(KINDS)):
        recipe = hashlib.sha256(f"{network} {plan.recipe} {plan.head} {name}".encode()).hexdigest()[:16]
        path = folder / f"{recipe}.npz"
        if not path.is_file():
            images, groups = _pictures(name, plan, data)
            plain = _features(images, members)
            changed = plain[:, :0] if name in KINDS else _features(_changed(images, plan, name), members)
            half = path.with_suffix(".part")
            with half.open("wb") as stream:
                np.savez(stream, groups=groups, plain=plain, changed=changed)
            half.replace(path)
        with np.load(path) as kept:
            yield Part(name, kept["groups"], kept["plain"], kept["changed"])


def _pictures(name: str, plan: Plan, data: Path) -> tuple[Tensor, npt.NDArray[np.int64]]:
    """Pictures 0..1 (N, 1, M, M) of one part, and their groups."""
    if name in KINDS:
        images = drawn(name, plan.head.drawn, plan.recipe, plan.head.seed)
        return _tensor(images), np.full(len(images), -1)
    if name == FRAMES:
        frames = echo_planar(data, list(plan.echo_planar_series), plan.classes, plan.recipe)
        few = _tensor(frames.images[:: plan.head.every])
        return few, np.full(len(few), -1)
    if name == CUT:
        rng = torch.Generator().manual_seed(plan.head.seed)
        heads = _heads("no tumour", plan, data)
        chosen = torch.randint(len(heads), (plan.head.cut,), generator=rng)
        return outliers(_tensor(heads.images[chosen.numpy()]), rng), heads.folds[chosen.numpy()]
    return heads_of(name, plan, data, plan.head.every)


def heads_of(name: str, plan: Plan, data: Path, every: int) -> tuple[Tensor, npt.NDArray[np.int64]]:
    """One of ``every`` so many pictures of heads 0..1 (N, 1, M, M) of one of `HEADS`, and their folds or series."""
    heads = _heads(name, plan, data)
    return _tensor(heads.images[::every]), heads.folds[::every]


def _heads(name: str, plan: Plan, data: Path) -> Pictures:
    if name == "tumour":
        return tumours(data, plan.classes, plan.recipe, plan.picture_field_mm)
    if name == "no tumour":
        return without_tumour(data, plan.classes, plan.recipe, plan.picture_field_mm, excluded=plan.excluded_groups)
    return healthy(data, list(plan.healthy_series), plan.classes, plan.recipe)


def _tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images)[:, None].float() / 255


def _changed(images: Tensor, plan: Plan, name: str) -> Tensor:
    return looks_changed(images, plan.head.strength, plan.head.seed + sum(name.encode()))


def looks_changed(images: Tensor, strength: float, seed: int) -> Tensor:
    """``images`` (N, 1, M, M) with shape and look changed, as a training batch would show them."""
    if not len(images):
        return images
    rng = torch.Generator().manual_seed(seed)
    done = []
    for few in torch.split(images, AT_ONCE):
        nothing = torch.zeros(len(few), 1)
        batch = Batch(few.clone(), torch.zeros_like(few), nothing, nothing)
        change_shape(batch, rng, strength)
        change_look(batch, rng, strength)
        done.append(batch.images)
    return torch.cat(done)


def _features(images: Tensor, members: list[nn.Module]) -> npt.NDArray[np.float16]:
    """(members, N, C): mean and maximum of each member's deepest features."""
    if not len(images):
        return np.zeros((len(members), 0, 0), dtype=np.float16)
    found = []
    with torch.inference_mode():
        for few in torch.split(images, AT_ONCE):
            inputs = NormalizeHeadIntensity()(few).contiguous(memory_format=torch.channels_last)
            found.append(torch.stack([whole_of(cast("PretrainedRegionNet", member), inputs) for member in members]))
    return torch.cat(found, dim=1).half().numpy()


def whole_of(member: PretrainedRegionNet, inputs: Tensor) -> Tensor:
    """The input of ``member``'s head output for normalised inputs (N, 1, M, M): (N, 2 x channels)."""
    return PretrainedRegionNet.whole(member.bottom(member.encoder(inputs)[-1]))
