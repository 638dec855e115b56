"""The pictures of an evaluation by held-out fold, grouped as far as they are known to belong together."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.training.data import Pictures, joined, tumours, without_tumour
from models.training.plan import Plan
from pipeline.errors import EmptyInput, Refused

PLANES = Path(__file__).with_name("planes.csv")
"""Plane of each tumour slice: sorted by a classifier of shape, then checked by eye one by one; 12 were corrected."""
NEIGHBOURS = 0.8
"""From this correlation on, two consecutive pictures count as neighbouring slices of one patient."""
LEAST_RUN = 3

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Set:
    """Pictures with, by picture, (N,): the ``cluster`` that it belongs to, its ``plane`` and its file ``name``.

    Pictures of one patient are likely, but not certain, to lie in one cluster (see `stretches`). The plane is "" where
    it is not known.
    """

    pictures: Pictures
    cluster: Ints
    plane: npt.NDArray[np.str_]
    name: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, which: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Set:
        return Set(self.pictures.take(which), self.cluster[which], self.plane[which], self.name[which])


def every_picture(plan: Plan, data: Path) -> Set:
    """All tumour pictures, then all pictures without a tumour, of every fold.

    Raises
    ------
    EmptyInput
        where ``data`` does not hold them.
    """
    index, free = data / "brain_t1ce" / "index.csv", data / "brain_notumor" / "index.csv"
    for path in (index, free):
        if not path.is_file():
            raise EmptyInput(
                "No pictures to evaluate on.", where=str(path), todo="Give a folder with brain_t1ce and brain_notumor."
            )
    with_tumour = tumours(data, plan.classes, plan.recipe, plan.picture_field_mm)
    none = without_tumour(data, plan.classes, plan.recipe, plan.picture_field_mm, excluded=plan.excluded_groups)
    planes = {row["image"]: row["plane"] for row in _rows(PLANES)}
    names = [row["image"] for row in _rows(index)]
    others = [row for row in _rows(free) if int(row["group"]) not in plan.excluded_groups]
    first = stretches(with_tumour)
    groups = np.array([int(row["group"]) for row in others], dtype=np.int64)
    return Set(
        joined(with_tumour, none),
        np.concatenate([first, groups + first.max() + 1]),
        np.array([planes.get(name, "") for name in names] + [""] * len(others)),
        np.array(names + [row["image"] for row in others]),
    )


def held_out(everything: Set, fold: int) -> Set:
    """The pictures of one fold.

    Raises
    ------
    Refused
        where there are none.
    """
    which = everything.pictures.folds == fold
    if not which.any():
        known = ", ".join(str(k) for k in np.unique(everything.pictures.folds))
        raise Refused(f"There are no pictures of fold {fold}.", todo=f"The data hold folds {known}.")
    return everything.take(which)


def validation(plan: Plan, data: Path, fold: int) -> tuple[Pictures, Pictures]:
    """Tumour and no-tumour pictures of one fold."""
    held = held_out(every_picture(plan, data), fold).pictures
    tumour = held.labels != len(plan.classes) - 1
    return held.take(tumour), held.take(~tumour)


def stretches(pictures: Pictures) -> Ints:
    """The number of the stretch, (N,), that each picture of an index lies in: pictures in a row of one label and fold.

    The data name no patients. Folds were dealt by patient and the index is sorted by scan, so a change of fold is a
    change of patient; within a stretch there are one or a few patients. A patient scanned in several planes may be in
    several stretches: intervals over stretches are a little too narrow, those over single slices would be far too.
    """
    changes = (np.diff(pictures.labels) != 0) | (np.diff(pictures.folds) != 0)
    return np.concatenate([[0], np.cumsum(changes)]).astype(np.int64)


def neighbours(pictures: Pictures) -> list[list[int]]:
    """Indices of pictures that follow each other, have one label and look alike, in runs of `LEAST_RUN` or more.

    The data name no patients; such pictures are very likely neighbouring slices of one.
    """
    runs: list[list[int]] = [[0]]
    for k in range(1, len(pictures)):
        same = pictures.labels[k] == pictures.labels[k - 1]
        alike = np.corrcoef(pictures.images[k - 1].ravel(), pictures.images[k].ravel())[0, 1] >= NEIGHBOURS
        if same and alike:
            runs[-1].append(k)
        else:
            runs.append([k])
    return [run for run in runs if len(run) >= LEAST_RUN]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))
