"""``configs/train.json`` of a bundle as a typed value."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import BadModel
from pipeline.preprocess_recipe import Recipe


@dataclass(frozen=True)
class Network:
    """Arguments of `models.networks.RegionNet`."""

    classes: int
    filters: int
    dropout: float


@dataclass(frozen=True)
class Mixture:
    """How many pictures of each kind make a batch."""

    tumour: int
    no_tumour: int
    healthy: int
    outlier: int


@dataclass(frozen=True)
class Cycle:
    """One rise and fall of the learning rate: a cosine up to ``peak`` over an eighth of ``steps``, a cosine down.

    ``batch`` is the mixture of its batches.
    """

    steps: int
    peak: float
    batch: Mixture

    def rate(self, step: int) -> float:
        """The learning rate at ``step`` of this cycle."""
        rise = self.steps / 8
        part = step / rise if step < rise else 1 + (step - rise) / (self.steps - rise)
        return self.peak * (0.001 + 0.999 * (1 - math.cos(math.pi * part)) / 2)


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a training run makes."""

    recipe: Recipe
    network: Network
    classes: tuple[str, ...]
    train_folds: tuple[int, ...]
    validate_fold: int
    healthy_series: tuple[str, ...]
    held_out_series: tuple[str, ...]
    picture_field_mm: float
    excluded_groups: frozenset[int]
    seed: int
    cycles: tuple[Cycle, ...]
    weight_decay: float
    ema: float
    mirror: float
    paste: float
    save_every: int

    @property
    def steps(self) -> int:
        return sum(cycle.steps for cycle in self.cycles)

    def rate(self, step: int) -> float:
        """The learning rate at ``step`` of the whole run."""
        cycle, within = self._at(step)
        return cycle.rate(within)

    def mixture(self, step: int) -> Mixture:
        """The mixture of the batch at ``step`` of the whole run."""
        return self._at(step)[0].batch

    def _at(self, step: int) -> tuple[Cycle, int]:
        for cycle in self.cycles:
            if step < cycle.steps:
                return cycle, step
            step -= cycle.steps
        return self.cycles[-1], self.cycles[-1].steps


def read_plan(path: Path) -> Plan:
    """The plan in ``path``.

    Raises
    ------
    BadModel
        where it is absent or lacks a field.
    """
    try:
        raw = json.loads(path.read_text())
        return Plan(
            recipe=Recipe(**raw["recipe"]),
            network=Network(**raw["network"]),
            classes=tuple(raw["classes"]),
            train_folds=tuple(raw["folds"]["train"]),
            validate_fold=raw["folds"]["validate"],
            healthy_series=tuple(raw["healthy_series"]),
            held_out_series=tuple(raw["held_out_series"]),
            picture_field_mm=raw["picture_field_mm"],
            excluded_groups=frozenset(raw["excluded_groups"]),
            seed=raw["seed"],
            cycles=tuple(Cycle(**{**cycle, "batch": Mixture(**cycle["batch"])}) for cycle in raw["cycles"]),
            weight_decay=raw["weight_decay"],
            ema=raw["ema"],
            mirror=raw["mirror"],
            paste=raw["paste"],
            save_every=raw["save_every"],
        )
    except OSError as error:
        raise BadModel("The training configuration cannot be read.", where=str(path), todo=str(error)) from error
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise BadModel(
            "The training configuration is not complete.", where=str(path), todo=f"Mend it: {error!r}."
        ) from error
