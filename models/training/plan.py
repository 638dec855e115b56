"""``configs/train.json`` of a bundle as a typed value."""

from __future__ import annotations

import json
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
    steps: int
    batch: Mixture
    learning_rate: float
    weight_decay: float
    ema: float
    mirror: float
    paste: float
    save_every: int


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
            steps=raw["steps"],
            batch=Mixture(**raw["batch"]),
            learning_rate=raw["learning_rate"],
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
