"""The figures of an evaluation as tables for the model card, so that no figure in it is copied by hand.

`models.evaluation.evaluate` writes them as ``figures.md`` beside `evaluation.json`; `put_in` sets them into the card
between its two marks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import BadModel

BEGIN, END = "<!-- figures: made by `candela models evaluate`, not by hand -->", "<!-- end of figures -->"


def tables(result: dict[str, Any]) -> str:
    """The results of `models.evaluation.evaluate.evaluate` as Markdown."""
    parts = [
        _by_fold(result),
        _confusion(result["confusion"], tuple(result["slices"])),
        _classes(result["by_class"]),
        _operating(result["operating"]),
        _overlap(result),
        _calibration(result["calibration"]),
        _runs(result["runs"]),
        _series(result["series"]),
        _unseen(result["series_unseen"]),
        _scope(result["scope"]),
        _explanation(result["explanation"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def put_in(card: Path, result: dict[str, Any]) -> None:
    """Set the tables of ``result`` into ``card`` between its marks.

    Raises
    ------
    BadModel
        where the card lacks them.
    """
    text = card.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise BadModel("The card has no place for figures.", where=str(card), todo=f"Write {BEGIN} and {END} into it.")
    before, rest = text.split(BEGIN)
    card.write_text(f"{before}{BEGIN}\n{tables(result)}{END}{rest.split(END)[1]}")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _mm(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _interval(values: list[float | None], shown: Callable[[float | None], str]) -> str:
    value, low, high = values
    return shown(value) if low is None or high is None else f"{shown(value)} ({shown(low)} to {shown(high)})"


HEADLINE = {
    "tumour_accuracy": ("three kinds, on tumour slices", _share),
    "accuracy": ("four classes", _share),
    "none_accuracy": ("no-tumour slices called so", _share),
    "dice_mean": ("Dice on tumour slices, mean", _number),
    "dice_median": ("Dice on tumour slices, median", _number),
    "hausdorff95_mm_median": ("95 % Hausdorff distance, median, mm", _mm),
    "outlined_at_all": ("tumour slices outlined at all", _share),
    "ece": ("expected calibration error", _number),
}
"""Name and format of each headline figure."""


def _by_fold(result: dict[str, Any]) -> str:
    folds = [str(fold) for fold in result["folds"]]
    slices = ", ".join(f"{count} {name}" for name, count in result["slices"].items())
    rows = []
    for key, (name, shown) in HEADLINE.items():
        pooled = result["pooled"].get(key) or ([result["calibration"]["ece"], None, None] if key == "ece" else None)
        rows.append(
            [
                name,
                _interval(pooled, shown) if pooled else "",
                _interval(result["across_folds"][key], shown),
                *(shown(result["by_fold"][fold][key]) for fold in folds),
            ]
        )
    head = ["", "all slices (95 % interval)", "mean of folds (interval)", *(f"fold {fold}" for fold in folds)]
    return (
        f"**Held-out slices** ({slices}), each asked of the network that did not see its fold:\n\n{_table(head, rows)}"
    )


def _confusion(counts: list[list[int]], classes: tuple[str, ...]) -> str:
    rows = [[f"**{name}**", *map(str, row)] for name, row in zip(classes, counts, strict=True)]
    return _table(["truth ↓, said →", *classes], rows)


def _classes(by_class: dict[str, Any]) -> str:
    rows = [
        [
            name,
            _interval(own["recall"], _share),
            _share(own["precision"]),
            _number(own["auc"]),
            _number(own["average_precision"]),
        ]
        for name, own in by_class.items()
    ]
    return _table(["", "recall", "precision", "area under ROC", "average precision"], rows)


def _operating(found: dict[str, Any]) -> str:
    points = [(f"{own['limit']:g}", own["name"], own) for own in found["limits"]]
    points += [
        (f"{own['limit']:.2f}", f"{_share(float(share))} of slices without a tumour below", own)
        for share, own in found["specificity"].items()
    ]
    kinds = list(points[0][2]["by_class"])
    rows = [
        [limit, name, _share(own["false_alarms"]), *(_share(own["by_class"][kind]) for kind in kinds)]
        for limit, name, own in points
    ]
    head = ["limit", "", "false alarms", *kinds]
    return (
        "**Operating points**: the share of single slices whose probability of a tumour reaches a limit. A series "
        "answers by all its slices, so these are not its rates.\n\n" + _table(head, rows)
    )


def _overlap(result: dict[str, Any]) -> str:
    groups = [
        (name, own) for kind in result["segmentation"].values() for name, own in kind.items() if name != "edges_mm2"
    ]
    right = result["segmentation_of_right_outlines"]
    groups += [
        (f"{name}, {right['left_out']} wrong outlines left out" if name == "all" else f"{name}, likewise", own)
        for name, own in right.items()
        if name != "left_out"
    ]
    rows = [
        [
            name,
            str(own["slices"]),
            _share(own["accuracy"]),
            _interval(own["dice_mean"], _number),
            _number(own["dice_median"]),
            _mm(own["hausdorff95_mm_median"]),
            _share(own["not_outlined"]),
        ]
        for name, own in groups
        if own["slices"]
    ]
    small, large = result["segmentation"]["size"]["edges_mm2"]
    head = ["", "slices", "kind right", "Dice mean", "median", "95 % Hausdorff mm", "not outlined"]
    return f"{_table(head, rows)}\n\nSmall is below {small:.0f} mm² of outline, large above {large:.0f} mm²."


def _calibration(found: dict[str, Any]) -> str:
    temperatures = ", ".join(_number(value) for value in found["temperatures"])
    rows = [
        [str(part["count"]), _share(part["probability"]), _share(part["right"])]
        for part in found["bins"]
        if part["count"]
    ]
    return (
        f"**Calibration** of single slices: expected error {_number(found['ece_raw'])} as the networks say it, "
        f"{_number(found['ece'])} by temperatures that were fitted on the other folds ({temperatures}), "
        f"{_number(found['ece_of_tumour_slices'])} of tumour slices alone.\n\n"
        + _table(["slices", "mean probability", "right"], rows)
    )


def _runs(found: dict[str, Any]) -> str:
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(found["outcomes"].items()))
    return (
        f"**Runs of neighbouring tumour slices** as series, by the network that did not see them: {found['count']}, of "
        f"them {outcomes}; the right kind in {_share(found['right_class'])}. They hold lesion slices only: they show "
        "sensitivity and nothing else."
    )


def _said(answer: dict[str, Any]) -> str:
    if "probabilities" not in answer:
        return str(answer.get("pixels", "not reached"))
    return f"{answer['pixels']} (tumour {1 - list(answer['probabilities'].values())[-1]:.2f})"


def _series(found: dict[str, Any]) -> str:
    rows: list[list[str]] = []
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, row in found.items():
        folder, _, number = name.partition(" #")
        answer = (folder, str(row.get("volume", "whole")), str(row.get("header", "not reached")), _said(row))
        alike.setdefault(answer, []).append(number)
    for (folder, *said), numbers in alike.items():
        which = f" #{numbers[0]}" if numbers[0] else ""
        rows.append([f"`{folder}`{which}{f' to #{numbers[-1]}' if len(numbers) > 1 else ''}", *said])
    return "**Real series**, by the shipped weights:\n\n" + _table(
        ["series", "volume", "header check", "pixels alone"], rows
    )


def _unseen(found: dict[str, Any]) -> str:
    rows = [
        [f"`{name}`", f"without fold {fold}", _said(answer)]
        for name, row in found.items()
        for fold, answer in row.items()
    ]
    if not rows:
        return ""
    return "**Healthy series by networks that had not seen them**, one network each:\n\n" + _table(
        ["series", "network", "pixels alone"], rows
    )


def _scope(found: dict[str, Any]) -> str:
    rows = [
        [
            kind,
            "a head" if row["head"] else "no head",
            ", ".join(f"{n} {what}" for what, n in row.items() if what != "head"),
        ]
        for kind, row in found["kinds"].items()
    ]
    return "**Drawn and cut volumes**:\n\n" + _table(["volume", "shows", "answers"], rows)


def _explanation(found: dict[str, Any]) -> str:
    rows = [
        [
            f"fold {fold}",
            _share(own["pointing"]["hits"]),
            _share(own["pointing"]["energy"]),
            _share(own["pointing"]["chance"]),
            _share(own["lesion_moved"].get("followed")),
            _number(own["randomised"][-1]["spearman"]),
            _mm(own["picture_shifted"]["median_error_mm"]),
        ]
        for fold, own in found.items()
    ]
    head = [
        "heat map",
        "hottest pixel within 10 mm of the lesion",
        "heat inside the lesion",
        "by chance",
        "follows a moved lesion",
        "rank correlation with random weights",
        "error after a shift, mm",
    ]
    return _table(head, rows)
