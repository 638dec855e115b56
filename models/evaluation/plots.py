"""The figures of an evaluation as plots: plain, legible in print, distinguishable without colour vision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.evaluation.figures import THIRDS, Cases, curves_by_class, headline, taken
from models.evaluation.metrics import BINS, across, confusion, expected_error, reliability, softmax, thirds
from models.evaluation.operating import curve, tumour_probability

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's palette, which people with any colour vision tell apart."""
STYLES = ("-", "--", "-.", ":")
GREY, FAINT = "#4d4d4d", "#c9c9c9"
LOOK: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
    "svg.hashsalt": "candela",  # the same figures give the same file
    "svg.fonttype": "path",
}


def write_plots(cases: Cases, classes: tuple[str, ...], out: Path, limits: Mapping[str, float]) -> list[Path]:
    """Every plot of ``cases`` as SVG in ``out`` (made where missing); returns the paths.

    ``limits`` on the probability of a tumour are marked by name on the curve of operating points.
    """
    names = tuple(name.replace("_", " ") for name in classes)
    plots: dict[str, Callable[[], Figure]] = {
        "reliability": lambda: reliability_diagram(cases),
        "confusion": lambda: confusion_matrix(cases, names),
        "curves": lambda: roc_and_pr(cases, names),
        "operating": lambda: operating_curve(cases, names, limits),
        "dice-by-class": lambda: dice_by(cases, names),
        "dice-by-size": lambda: dice_by_size(cases, names),
        "folds": lambda: by_fold(cases),
    }
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, plot in plots.items():
        with mpl.rc_context(LOOK):
            figure = plot()
            figure.savefig(out / f"{name}.svg", metadata={"Date": None}, facecolor="white", dpi=150)
        paths.append(out / f"{name}.svg")
    return paths


def reliability_diagram(cases: Cases) -> Figure:
    """Share of right answers against the probability that was given, raw and calibrated, with the count of each bin."""
    figure, (above, below) = new_axes(4.4, 5.0, rows=2, height_ratios=(4, 1), sharex=True)
    above.plot([0, 1], [0, 1], color=FAINT, lw=1)
    for k, (label, probabilities) in enumerate(
        (("raw", softmax(cases.logits)), ("calibrated", cases.probabilities)),
    ):
        bins = reliability(probabilities, cases.truth)
        filled = [part for part in bins if part.count]
        above.plot(
            [part.probability for part in filled],
            [part.right for part in filled],
            marker="os"[k],
            ms=5,
            lw=1.5,
            ls=STYLES[1 - k],
            color=COLOURS[1 - k],
            label=f"{label}, expected error {expected_error(bins):.3f}",
        )
        below.bar(
            (np.arange(BINS) + 0.3 + 0.4 * k) / BINS,
            [part.count for part in bins],
            width=0.035,
            color=COLOURS[1 - k],
        )
    above.set(ylabel="share that was right", ylim=(0, 1.02), title="Reliability of the slice's class")
    above.legend(loc="lower right")
    below.set(xlabel="probability of the answer", ylabel="slices", yscale="log", xlim=(0, 1))
    return figure


def confusion_matrix(cases: Cases, names: Sequence[str]) -> Figure:
    """Truth by row, answer by column: counts, shaded by the share of the row."""
    figure, (axes,) = new_axes(4.6, 4.0)
    table = confusion(cases.truth, cases.called, len(names))
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row in range(len(names)):
        for column in range(len(names)):
            axes.text(
                column,
                row,
                f"{table[row, column]}\n{share[row, column]:.0%}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if share[row, column] > 0.55 else "black",
            )
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="answer", ylabel="truth", title="Slices of held-out patients")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def roc_and_pr(cases: Cases, names: Sequence[str]) -> Figure:
    """ROC and precision-recall curve of each class against the rest."""
    figure, (left, right) = new_axes(8.4, 4.0, columns=2)
    for k, (name, found) in enumerate(zip(names, curves_by_class(cases), strict=True)):
        line: dict[str, Any] = {"color": COLOURS[k % len(COLOURS)], "ls": STYLES[k % len(STYLES)], "lw": 1.5}
        left.step(found.false_positive, found.recall, where="post", label=f"{name}, area {found.auc:.3f}", **line)
        right.step(
            found.recall, found.precision, where="pre", label=f"{name}, average {found.average_precision:.3f}", **line
        )
    left.set(xlabel="1 − specificity", ylabel="sensitivity", title="ROC, each class against the rest")
    right.set(xlabel="recall", ylabel="precision", title="Precision and recall")
    for axes in (left, right):
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        axes.legend(loc="lower center" if axes is right else "lower right")
    return figure


def operating_curve(cases: Cases, names: Sequence[str], limits: Mapping[str, float]) -> Figure:
    """Share of each kind's slices that are called a tumour, against the share of slices without one that are."""
    figure, (axes,) = new_axes(5.4, 4.2)
    for k, name in enumerate(names[:-1]):
        alarms, found = curve(cases, cases.truth == k)
        axes.step(alarms, found, where="post", color=COLOURS[k], ls=STYLES[k % len(STYLES)], lw=1.5, label=name)
    said = tumour_probability(cases)
    for k, (name, limit) in enumerate(limits.items()):
        alarms_at = float((said[~cases.tumour] >= limit).mean())
        axes.axvline(alarms_at, color=GREY, lw=0.8, ls=":")
        axes.text(alarms_at + 0.003, 0.52 + 0.04 * k, f"{name} {limit:g}", fontsize=8, color=GREY)
    axes.set(xlim=(-0.003, 0.25), ylim=(0.5, 1.01), xlabel="false alarms: share of slices without a tumour")
    axes.set(ylabel="sensitivity: share of the kind's slices", title="Called a tumour, by the limit on its probability")
    axes.legend(loc="lower right")
    return figure


def dice_by(cases: Cases, names: Sequence[str]) -> Figure:
    """Distribution of Dice by class and by plane: every slice a dot, the box from quarter to three quarters."""
    tumours = taken(cases, cases.tumour)
    groups = {name: tumours.dice[tumours.truth == k] for k, name in enumerate(names[:-1])}
    groups |= {str(plane): tumours.dice[tumours.plane == plane] for plane in np.unique(tumours.plane) if plane}
    groups = {name: values for name, values in groups.items() if len(values)}
    figure, (axes,) = new_axes(1.2 + 1.05 * len(groups), 3.8)
    rng = np.random.default_rng(0)
    for k, (name, values) in enumerate(groups.items()):
        colour = COLOURS[k] if name in names else GREY
        axes.scatter(
            k + rng.uniform(-0.3, 0.3, len(values)), values, s=5, color=colour, alpha=0.25, lw=0, rasterized=True
        )
        axes.boxplot(
            [values],
            positions=[k],
            widths=0.5,
            showfliers=False,
            whis=(5, 95),
            medianprops={"color": "black", "lw": 1.5},
            boxprops={"color": colour},
            whiskerprops={"color": colour},
            capprops={"color": colour},
        )
        axes.text(k, 1.03, f"{np.median(values):.2f}", ha="center", fontsize=8, color=GREY)
    axes.set_xticks(range(len(groups)), [f"{name}\n{len(values)}" for name, values in groups.items()])
    axes.set(ylabel="Dice", ylim=(-0.02, 1.08), yticks=np.arange(0, 1.1, 0.2))
    axes.set_title("Overlap with the drawn outline by class and plane (median above)", pad=14)
    return figure


def dice_by_size(cases: Cases, names: Sequence[str]) -> Figure:
    """Dice against the lesion's area in its slice, with the median of each third."""
    tumours = taken(cases, cases.tumour)
    figure, (axes,) = new_axes(6.0, 3.8)
    for k, name in enumerate(names[:-1]):
        own = tumours.truth == k
        axes.scatter(
            tumours.size_mm2[own],
            tumours.dice[own],
            s=9,
            alpha=0.5,
            lw=0,
            rasterized=True,  # a thousand dots as vectors make a heavy file
            color=COLOURS[k],
            marker="o^s"[k % 3],
            label=name,
        )
    third = thirds(tumours.size_mm2)
    for k in range(len(THIRDS)):
        own = third == k
        if own.any():
            ends = tumours.size_mm2[own].min(), tumours.size_mm2[own].max()
            axes.hlines(np.median(tumours.dice[own]), *ends, color="black", lw=2)
    axes.set(xscale="log", xlabel="area of the drawn lesion in the slice, mm²", ylabel="Dice", ylim=(-0.02, 1.02))
    axes.set_title("Overlap by lesion size (bars: median of each third)")
    legend = axes.legend(loc="lower right", markerscale=1.6)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_rasterized(rasterized=False)  # a dot alone on its own raster is lost
            handle.set_alpha(1)
    return figure


def by_fold(cases: Cases) -> Figure:
    """The headline figures of each held-out fold, with their mean and, of two folds or more, its 95 % interval."""
    shown = {
        "tumour_accuracy": "class of\ntumour slices",
        "accuracy": "class of\nall slices",
        "none_accuracy": "no tumour\ncalled so",
        "dice_mean": "Dice,\nmean",
        "dice_median": "Dice,\nmedian",
    }
    folds = [int(fold) for fold in np.unique(cases.fold)]
    values = [headline(taken(cases, cases.fold == fold)) for fold in folds]
    figure, (axes,) = new_axes(6.4, 3.6)
    for k, name in enumerate(shown):
        own = [value[name] for value in values]
        offsets = (np.arange(len(own)) - (len(own) - 1) / 2) * 0.12
        for fold, offset, value in zip(folds, offsets, own, strict=True):
            axes.text(k + offset, value, str(fold), ha="center", va="center", fontsize=8, color=COLOURS[0])
        mean = across(own)
        if len(own) > 1:
            axes.errorbar(
                k + 0.36,
                mean.value,
                yerr=[[mean.value - mean.low], [min(mean.high, 1.0) - mean.value]],
                fmt="D",
                ms=4,
                color=COLOURS[1],
                capsize=3,
            )
        axes.text(k + 0.36, min(own) - 0.03, f"{mean.value:.3f}", ha="center", fontsize=8, color=GREY)
    lowest = min(min(value[name] for name in shown) for value in values)
    axes.set_xticks(range(len(shown)), list(shown.values()))
    axes.set(ylim=(max(0.0, lowest - 0.15), 1.01), xlim=(-0.4, len(shown) - 0.4))
    axes.set_title("By held-out fold (number), mean and its 95 % interval" if len(folds) > 1 else f"Fold {folds[0]}")
    axes.grid(axis="y", color=FAINT, lw=0.5)
    axes.set_axisbelow(True)
    return figure


def new_axes(
    width: float, height: float, *, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, tuple[Axes, ...]]:
    """A figure of ``width`` by ``height`` inches without pyplot's global state, and its axes in reading order."""
    figure = Figure(figsize=(width, height), layout="constrained")
    made = figure.subplots(rows, columns, squeeze=False, **_grid(options))
    return figure, tuple(made.flat)


def _grid(options: dict[str, Any]) -> dict[str, Any]:
    ratios = options.pop("height_ratios", None)
    return options | ({"gridspec_kw": {"height_ratios": ratios}} if ratios else {})
