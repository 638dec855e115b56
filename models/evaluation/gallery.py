"""Contact sheets of held-out slices: the worst and the typical, with the drawn and the found outline.

They show pictures of the data set: observe its licence before sharing them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from models.evaluation.figures import Cases
from models.evaluation.held_out import Set
from models.evaluation.metrics import Floats
from models.evaluation.plots import LOOK

COLUMNS, ROWS = 6, 4
TRUE, FOUND = "#56B4E9", "#E69F00"
"""Sky blue and orange: apart for every colour vision, and on grey."""
GROUND, TEXT = "#101214", "#d6d9de"


def write_gallery(cases: Cases, held: Set, classes: tuple[str, ...], out: Path) -> list[Path]:
    """The sheets as PNG in ``out`` (made where missing); ``held`` are the pictures of ``cases``, in their order."""
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, (title, rows) in chosen(cases, classes).items():
        if len(rows):
            paths.append(out / f"{name}.png")
            _sheet(title, rows, cases, held, classes).savefig(paths[-1], dpi=110, facecolor=GROUND)
    return paths


def chosen(cases: Cases, classes: tuple[str, ...]) -> dict[str, tuple[str, npt.NDArray[np.int64]]]:
    """Title and row numbers of each sheet, the most telling first."""
    most = COLUMNS * ROWS
    tumour, right = cases.tumour, cases.called == cases.truth
    sure = cases.probabilities.max(1)
    sheets = {
        "worst-outlines": ("Worst outlines", _first(np.argsort(np.where(tumour, cases.dice, np.inf)), most, tumour)),
        "wrong-class": (
            "Wrong kind or missed, the surest first",
            _first(np.argsort(-np.where(tumour & ~right, sure, -1.0)), most, tumour & ~right),
        ),
        "false-alarms": (
            "Called a tumour where there is none, the surest first",
            _first(np.argsort(-np.where(~tumour & ~right, sure, -1.0)), most, ~tumour & ~right),
        ),
    }
    for k, name in enumerate(classes[:-1]):
        own = cases.truth == k
        if own.any():
            away = np.abs(cases.dice - np.median(cases.dice[own]))
            order = np.argsort(np.where(own, away, np.inf))
            sheets[f"typical-{name}"] = (f"Typical: {name.replace('_', ' ')}", _first(order, most, own))
    return sheets


def _first(order: npt.NDArray[np.int64], most: int, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    return order[among[order]][:most]


def _sheet(title: str, rows: npt.NDArray[np.int64], cases: Cases, held: Set, classes: Sequence[str]) -> Figure:
    count = -(-len(rows) // COLUMNS)
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(2.05 * COLUMNS, 2.35 * count + 0.6), layout="constrained")
        figure.suptitle(title, color=TEXT, x=0.01, ha="left", fontsize=13)
        figure.legend(
            handles=[Line2D([], [], color=TRUE, label="drawn"), Line2D([], [], color=FOUND, label="found")],
            loc="upper right",
            ncols=2,
            labelcolor=TEXT,
        )
        probabilities = cases.probabilities
        for axes, row in zip(figure.subplots(count, COLUMNS, squeeze=False).flat, rows, strict=False):
            picture = held.pictures.images[row].astype(np.float64)
            axes.imshow(picture, cmap="gray", vmin=0, vmax=max(1.0, float(np.quantile(picture, 0.995))))
            for mask, colour in ((held.pictures.masks[row], TRUE), (cases.found[row], FOUND)):
                if mask.any():
                    axes.contour(mask, [0.5], colors=colour, linewidths=1)
            axes.set_title(_caption(cases, probabilities, row, classes), fontsize=7, color=TEXT)
        for axes in figure.axes:
            axes.axis("off")
    return figure


def _caption(cases: Cases, probabilities: Floats, row: int, classes: Sequence[str]) -> str:
    truth, called = (classes[k].replace("_", " ") for k in (cases.truth[row], cases.called[row]))
    overlap = "" if np.isnan(cases.dice[row]) else f", Dice {cases.dice[row]:.2f}"
    return f"{Path(str(cases.name[row])).stem}: {truth}\nsaid {called} {probabilities[row].max():.2f}{overlap}"
