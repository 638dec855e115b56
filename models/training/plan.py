"""``configs/train.json`` of a bundle as a typed value."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.bundle import METADATA, read_recipe
from pipeline.errors import BadModel
from pipeline.preprocess.recipe import Recipe


@dataclass(frozen=True)
class Network:
    """Arguments of `models.networks.PretrainedRegionNet`."""

    classes: int
    widths: tuple[int, ...]
    dropout: float


@dataclass(frozen=True)
class Mixture:
    """How many pictures of each kind make a batch."""

    tumour: int
    no_tumour: int
    healthy: int
    outlier: int


@dataclass(frozen=True)
class Stage:
    """``steps`` at one resolution: the same field of view on ``matrix`` by ``matrix`` pixels.

    ``strength`` is that of the random changes: it multiplies how far shapes are changed and the share of pictures whose
    look is.
    """

    steps: int
    matrix: int
    strength: float = 1.0


@dataclass(frozen=True)
class Cycle:
    """One rise and fall of the learning rate over its stages: a cosine up to ``peak`` in a twentieth, a cosine down.

    ``batch`` is what its batches are made of. ``depthwise`` is whether the encoder's depthwise convolutions are
    trained, and ``bf16`` whether a CPU computes in bfloat16 as a GPU does: without the first and with the second a step
    takes half the time.
    """

    peak: float
    stages: tuple[Stage, ...]
    batch: Mixture
    depthwise: bool = True
    bf16: bool = False

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def stage(self, step: int) -> Stage:
        """The stage that ``step`` of this cycle is in; after its last step, the last one."""
        for stage in self.stages[:-1]:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self.stages[-1]

    def rate(self, step: int) -> float:
        """The learning rate at ``step`` of this cycle."""
        rise = self.steps / 20
        part = step / rise if step < rise else 1 + (step - rise) / (self.steps - rise)
        return self.peak * (0.002 + 0.998 * (1 - math.cos(math.pi * part)) / 2)


@dataclass(frozen=True)
class HeadPlan:
    """How the head outputs are trained once the networks are finished (see `models.training.head`).

    One of ``every`` so many pictures of heads and of echo-planar frames is shown: neighbouring slices add little.
    Beside them ``drawn`` pictures of each drawn kind and ``cut`` of patterns, noise and heads cut up; what is not drawn
    is shown as it is and changed with ``strength``. ``epochs`` of AdamW with ``batch`` features of heads and as many of
    other things, the ``rate`` falling as a cosine; ``dropout`` of features.
    """

    every: int
    drawn: int
    cut: int
    strength: float
    epochs: int
    batch: int
    rate: float
    weight_decay: float
    dropout: float
    seed: int


@dataclass(frozen=True)
class AnatomyPlan:
    """How to compute the statistics of heads with which `models.anatomy` measures distances.

    One of ``every`` so many pictures of heads, as it is: with shapes and looks changed at random the statistics become
    so wide that fruit lies within them. ``shrink`` times the mean variance is added to all directions, so that one in
    which the heads at hand hardly differ does not decide alone.
    """

    every: int
    shrink: float


@dataclass(frozen=True)
class Plan:
    """All parameters that determine a training run.

    One network is trained for each of ``members``, the fold that it does not see; it sees the other ``folds``.
    ``mirror`` and ``cover`` are the shares of tumour slices whose lesion is hidden under the other half of the head and
    under a look-alike's tissue, where that can be done, ``paste`` that of slices without one that get one pasted in,
    ``look`` that of pictures whose look is changed (see `models.training.augment`). ``encoder_rate`` times the
    size of an encoder's tensor (root mean square) is its share of the learning rate; ``frozen_blocks`` of the encoder's
    blocks are not trained. ``unseen_series`` names, by member, the healthy series that it does not see either;
    ``echo_planar_series`` are shown to every member as what is out of scope. Pictures in ``excluded_outlines`` are not
    trained on: their outline lies where the lesion is not.
    """

    recipe: Recipe
    network: Network
    classes: tuple[str, ...]
    folds: tuple[int, ...]
    members: tuple[int, ...]
    healthy_series: tuple[str, ...]
    unseen_series: dict[int, tuple[str, ...]]
    echo_planar_series: tuple[str, ...]
    picture_field_mm: float
    excluded_groups: frozenset[int]
    excluded_outlines: tuple[str, ...]
    seed: int
    cycles: tuple[Cycle, ...]
    encoder_rate: float
    frozen_blocks: int
    weight_decay: float
    ema: float
    mirror: float
    cover: float
    paste: float
    look: float
    save_every: int
    head: HeadPlan
    anatomy: AnatomyPlan

    @property
    def steps(self) -> int:
        return sum(cycle.steps for cycle in self.cycles)

    def rate(self, step: int) -> float:
        """The learning rate at ``step`` of the whole run."""
        cycle, within = self._place(step)
        return cycle.rate(within) if within < cycle.steps else 0.0

    def cycle(self, step: int) -> Cycle:
        """The cycle that ``step`` of the whole run is in; after the last step, the last cycle."""
        return self._place(step)[0]

    def _place(self, step: int) -> tuple[Cycle, int]:
        """The cycle of ``step``, and the step within it."""
        for cycle in self.cycles[:-1]:
            if step < cycle.steps:
                return cycle, step
            step -= cycle.steps
        return self.cycles[-1], step

    def stage(self, step: int) -> Stage:
        """The stage that ``step`` of the whole run is in; after the last step, the last stage."""
        cycle, within = self._place(step)
        return cycle.stage(within)


def read_plan(path: Path) -> Plan:
    """The plan in ``path``.

    Raises
    ------
    BadModel
        where it is absent or lacks a field, or names another preprocessing than the bundle that it lies in.
    """
    try:
        raw = json.loads(path.read_text())
        return Plan(
            recipe=_recipe(raw, path),
            network=Network(**{**raw["network"], "widths": tuple(raw["network"]["widths"])}),
            classes=tuple(raw["classes"]),
            folds=tuple(raw["folds"]),
            members=tuple(raw["members"]),
            healthy_series=tuple(raw["healthy_series"]),
            unseen_series={int(fold): tuple(names) for fold, names in raw["unseen_series"].items()},
            echo_planar_series=tuple(raw["echo_planar_series"]),
            picture_field_mm=raw["picture_field_mm"],
            excluded_groups=frozenset(raw["excluded_groups"]),
            excluded_outlines=tuple(raw["excluded_outlines"]),
            seed=raw["seed"],
            cycles=tuple(_cycle(one) for one in raw["cycles"]),
            encoder_rate=raw["encoder_rate"],
            frozen_blocks=raw["frozen_blocks"],
            weight_decay=raw["weight_decay"],
            ema=raw["ema"],
            mirror=raw["mirror"],
            cover=raw["cover"],
            paste=raw["paste"],
            look=raw["look"],
            save_every=raw["save_every"],
            head=HeadPlan(**raw["head"]),
            anatomy=AnatomyPlan(**raw["anatomy"]),
        )
    except OSError as error:
        raise BadModel("The training configuration cannot be read.", where=str(path), todo=str(error)) from error
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise BadModel(
            "The training configuration is not complete.", where=str(path), todo=f"Mend it: {error!r}."
        ) from error


def _recipe(raw: dict[str, Any], path: Path) -> Recipe:
    """The preprocessing of the bundle that ``path`` lies in; a plan that lies in none names its own."""
    own = Recipe(**raw["recipe"]) if "recipe" in raw else None
    if not (path.parent / METADATA.name).is_file():
        if own is None:
            raise KeyError("recipe")
        return own
    recipe = read_recipe(path.parent.parent)
    if own not in (None, recipe):
        raise BadModel(
            "train.json and metadata.json name different preprocessing.",
            where=str(path),
            todo="Leave recipe out of train.json: the bundle's own counts.",
        )
    return recipe


def _cycle(raw: dict[str, Any]) -> Cycle:
    stages = tuple(Stage(**stage) for stage in raw["stages"])
    return Cycle(**{**raw, "stages": stages, "batch": Mixture(**raw["batch"])})
