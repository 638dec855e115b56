"""How far the picture's source gives the answer away, and how far the network takes that way.

``python -m models.evaluation.shortcut brain_mri_tumor --data DIR --out DIR`` first tells tumour slices from the
others by what holds no disease: the rim of the picture, a picture blurred to 16 by 16, its histogram. Then it changes
the look of
held-out slices without changing what they show, or what they show without changing the look, and asks the network.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize
from scipy.special import expit
from skimage.exposure import match_histograms
from torch import Tensor, nn
from torch.nn import functional

from models.evaluation.counterfactual import lesion_removed, one_sided
from models.evaluation.figures import answers
from models.evaluation.held_out import every_picture, held_out
from models.evaluation.members import members_of
from models.evaluation.metrics import Bools, Floats, Ints, bootstrap, curves, softmax
from models.evaluation.plots import COLOURS, FAINT, GREY, LOOK, new_axes
from models.evaluation.runs import longest_run
from models.loading import build_network
from models.registry import get
from models.runtime import channels_last
from models.training.data import Pictures
from models.training.plan import Plan, read_plan
from models.workflow.volumes.image import as_image
from pipeline.preprocess.intensity import NormalizeHeadIntensity
from pipeline.preprocess.slabs import SampleSlabs
from pipeline.reading.files import read_path

SMALL = 16
RIM = 0.12
"""Share of the picture's width, on each side, that counts as rim."""
LEVELS = 32
RIDGE = 3.0
HEALTHY = ("uih_umr770_t1_sag", "siemens_trio_t1_sag", "siemens_prisma_t1_sag_2d_HFS")

Features = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cheat:
    """What a model that sees no disease reaches: area under the ROC curve over all held-out folds, 95 % interval."""

    auc: float
    low: float
    high: float
    by_fold: tuple[float, ...]


@dataclass(frozen=True)
class Change:
    """The network's tumour probability of the same slices before and after a change.

    ``before``, ``after``: median probability; ``called_before``, ``called_after``: share of slices called a tumour;
    ``moved``: mean absolute change of the probability.
    """

    slices: int
    before: float
    after: float
    called_before: float
    called_after: float
    moved: float


def study(name: str, data: Path, *, folders: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Both parts, JSON-ready. Raises as `models.evaluation.evaluate.evaluate`."""
    bundle = get(name, folders).bundle
    plan = read_plan(bundle.folder / "configs" / "train.json")
    everything = every_picture(plan, data)
    pictures, none = everything.pictures, len(plan.classes) - 1
    tumour = pictures.labels != none
    cheats = {
        what: asdict(cheat(features(pictures, what), tumour, pictures.folds, everything.cluster)) for what in FEATURES
    }
    fold, network = max(members_of(channels_last(build_network(bundle)), plan).items())
    return {
        "model": {"version": bundle.contract.version, "digest": bundle.digest},
        "without_disease": cheats,
        "network": probe(network, held_out(everything, fold).pictures, none, temperature=bundle.contract.temperature),
        "healthy_slices": healthy_slices(network, plan, data, bundle.contract.temperature),
    }


def cheat(values: Features, tumour: Bools, folds: Ints, clusters: Ints) -> Cheat:
    """Logistic regression on ``values`` (N, features), each fold answered by the others."""
    score = np.full(len(tumour), np.nan)
    for fold in np.unique(folds):
        held = folds == fold
        score[held] = fitted(values[~held], tumour[~held]).log_odds(values[held])
    found = bootstrap(lambda rows: curves(score[rows], tumour[rows]).auc, clusters, draws=200)
    by_fold = tuple(round(curves(score[folds == k], tumour[folds == k]).auc, 4) for k in np.unique(folds))
    return Cheat(round(found.value, 4), round(found.low, 4), round(found.high, 4), by_fold)


@dataclass(frozen=True)
class Logistic:
    """Logistic regression: ``mean``, ``scale`` (features,) standardise; ``weights`` (features + 1,) end in the bias."""

    mean: Floats
    scale: Floats
    weights: Floats

    def log_odds(self, values: Features) -> Floats:
        """(N,) of values (N, features)."""
        return np.asarray(_standard(values, self.mean, self.scale) @ self.weights)


def fitted(values: Features, positive: Bools) -> Logistic:
    """Logistic regression of ``positive`` (N,) on ``values`` (N, features), standardised, with an L2 penalty."""
    mean, scale = values.mean(0), values.std(0) + 1e-6
    inputs, truth = _standard(values, mean, scale), positive.astype(np.float64)

    def loss(weights: Floats) -> tuple[float, Floats]:
        odds = inputs @ weights
        kept = np.append(weights[:-1], 0.0)  # the bias is not held back
        value = np.logaddexp(0, odds).sum() - truth @ odds + RIDGE * kept @ kept
        return float(value), inputs.T @ (expit(odds) - truth) + 2 * RIDGE * kept

    start = np.zeros(inputs.shape[1])
    return Logistic(mean, scale, minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x)


def _standard(values: Features, mean: Floats, scale: Floats) -> Features:
    return np.column_stack([(values - mean) / scale, np.ones(len(values))])


def features(pictures: Pictures, what: str) -> Features:
    """(N, features) of what ``what`` in `FEATURES` names, of pictures as the network reads them, normalised."""
    images = NormalizeHeadIntensity()(torch.from_numpy(pictures.images)[:, None].float())
    return FEATURES[what](images)


def _rim(images: Tensor) -> Features:
    """The outer ring of each picture, everything within it blanked, at a coarse grid."""
    width = round(RIM * images.shape[-1])
    kept = images.clone()
    kept[:, :, width:-width, width:-width] = 0
    return _coarse(kept, 2 * SMALL)


def _blurred(images: Tensor) -> Features:
    """Each picture at 16 by 16 pixels: at that size hardly a lesion is visible."""
    return _coarse(images, SMALL)


def _look(images: Tensor) -> Features:
    """How often each brightness is in a picture, how sharp and how noisy it is: nothing of where."""
    return np.stack([_look_of(image) for image in images[:, 0].numpy()])


def _look_of(image: npt.NDArray[np.float32]) -> Floats:
    counts = np.histogram(image, LEVELS, (-3, 4))[0] / image.size
    detail = [image - gaussian_filter(image, width) for width in (0.7, 1.5, 3.0)]
    air = image <= np.quantile(image, 0.3)
    return np.array([*counts, *(part.std() for part in detail), *(part[air].std() for part in detail)])


def _coarse(images: Tensor, side: int) -> Features:
    return functional.adaptive_avg_pool2d(images, side).flatten(1).numpy().astype(np.float64)


FEATURES: dict[str, Callable[[Tensor], Features]] = {"rim": _rim, "blurred": _blurred, "look": _look}
"""What holds next to no disease, by name."""


def probe(network: nn.Module, pictures: Pictures, none: int, *, temperature: float) -> dict[str, Any]:
    """The answers of ``network`` for held-out ``pictures`` whose look, or whose lesion, was changed; JSON-ready."""
    tumour, free = pictures.take(pictures.labels != none), pictures.take(pictures.labels == none)
    halves = tumour.take(np.flatnonzero(one_sided(tumour)))

    def said(which: Pictures) -> Floats:
        return np.asarray(1 - softmax(answers(network, which, bf16=False).logits, temperature)[:, -1])

    restyled = {"tumour": styled(tumour, free), "free": styled(free, tumour)}
    before = {"tumour": said(tumour), "free": said(free)}
    after = {name: said(which) for name, which in restyled.items()}
    truth = np.concatenate([np.ones(len(tumour), dtype=bool), np.zeros(len(free), dtype=bool)])
    return {
        "tumour_in_the_other_look": asdict(change(before["tumour"], after["tumour"])),
        "no_tumour_in_the_tumours_look": asdict(change(before["free"], after["free"])),
        "lesion_removed": asdict(change(said(halves), said(lesion_removed(halves)))) if len(halves) else None,
        "auc": {
            "as_they_are": round(curves(np.concatenate([before["tumour"], before["free"]]), truth).auc, 4),
            "looks_exchanged": round(curves(np.concatenate([after["tumour"], after["free"]]), truth).auc, 4),
        },
    }


def styled(pictures: Pictures, others: Pictures, *, seed: int = 0) -> Pictures:
    """``pictures`` each with the histogram of a picture of ``others``: another hospital's look on the same anatomy."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(others), size=len(pictures))
    images = [
        _matched(image, others.images[k]).round().astype(np.uint8)
        for image, k in zip(pictures.images, drawn, strict=True)
    ]
    return Pictures(np.stack(images), pictures.masks, pictures.labels, pictures.folds, pictures.symmetric)


def change(before: Floats, after: Floats) -> Change:
    """How a change of the same slices moved the tumour probabilities ``before`` to ``after``, (N,) each."""
    return Change(
        slices=len(before),
        before=round(float(np.median(before)), 4),
        after=round(float(np.median(after)), 4),
        called_before=round(float((before > 0.5).mean()), 4),
        called_after=round(float((after > 0.5).mean()), 4),
        moved=round(float(np.abs(after - before).mean()), 4),
    )


def _matched(image: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Only the head's histogram is matched: how much air surrounds a head is no matter of look."""
    inside, theirs = (picture > 0.1 * np.quantile(picture, 0.995) for picture in (image, other))
    result = image.astype(np.float64)
    if inside.any() and theirs.any():
        result[inside] = match_histograms(image[inside].astype(np.float64), other[theirs].astype(np.float64))
    return np.clip(result, 0, 255)


def healthy_slices(network: nn.Module, plan: Plan, data: Path, temperature: float) -> dict[str, dict[str, Any]]:
    """Single slices of real heads without a known tumour, as they were acquired: how many are called a tumour."""
    table = {}
    for name in HEALTHY:
        if (data / "dicom" / name).is_dir():
            slices = _slices(data / "dicom" / name, plan)
            probability = 1 - softmax(answers(network, slices, bf16=False).logits, temperature)[:, -1]
            table[name] = {
                "slices": len(slices),
                "called_tumour": round(float((probability > 0.5).mean()), 4),
                "median_probability": round(float(np.median(probability)), 4),
                "in_training": name in plan.healthy_series,
            }
    return table


def _slices(folder: Path, plan: Plan) -> Pictures:
    """The slabs of a series that hold more than a rim of head, as pictures without a mask."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume, _ = longest_run(read_path(folder).datasets)
    stack = SampleSlabs(**vars(plan.recipe))(as_image(volume))[0].numpy()
    scaled = np.clip(stack / np.quantile(stack, 0.997), 0, 1)
    images = (255 * scaled[(scaled > 0.2).mean((1, 2)) > 0.03]).astype(np.uint8)
    labels = np.full(len(images), len(plan.classes) - 1)
    nothing = np.zeros(images.shape, dtype=bool)
    return Pictures(images, nothing, labels, np.zeros(len(images), dtype=np.int64), np.zeros(len(images), dtype=bool))


def plot(result: dict[str, Any], path: Path) -> None:
    """Both parts side by side, as SVG: what the source reveals, and the network's answers for changed slices."""
    with mpl.rc_context(LOOK):
        figure, (left, right) = new_axes(9.0, 3.8, columns=2)
        names = {"rim": "rim of the\npicture", "blurred": "blurred\nto 16 × 16", "look": "histogram,\nsharpness"}
        for k, name in enumerate(names):
            found = result["without_disease"][name]
            whiskers = [[found["auc"] - found["low"]], [found["high"] - found["auc"]]]
            left.errorbar(k, found["auc"], yerr=whiskers, fmt="o", color=COLOURS[0], capsize=3)
            left.text(k + 0.1, found["auc"], f"{found['auc']:.3f}", color=GREY, va="center", fontsize=8)
        left.axhline(0.5, color=FAINT, lw=1)
        left.text(2.45, 0.51, "chance", color=GREY, ha="right", fontsize=8)
        left.set_xticks(range(3), list(names.values()))
        left.set(xlim=(-0.5, 2.5), ylim=(0.45, 1.01), ylabel="area under ROC")
        left.set_title("Told by the source, with no disease in sight")
        changes = {
            "tumour_in_the_other_look": "tumour, in the\nother look",
            "no_tumour_in_the_tumours_look": "no tumour, in the\ntumours' look",
            "lesion_removed": "tumour, lesion\nmirrored over",
        }
        for k, name in enumerate(changes):
            found = result["network"][name]
            if found is None:
                continue
            ends = (found["called_before"], found["called_after"])
            right.plot([k - 0.15, k + 0.15], ends, color=GREY, lw=1)
            for offset, value, colour, label in zip(
                (-0.15, 0.15), ends, COLOURS, ("as it is", "changed"), strict=False
            ):
                right.plot(k + offset, value, "o", color=colour, label=label if k == 0 else None)
                side = "right" if offset < 0 else "left"
                right.text(k + 1.4 * offset, value, f"{value:.0%}", ha=side, va="center", fontsize=8, color=GREY)
        right.set_xticks(range(3), list(changes.values()))
        right.set(xlim=(-0.5, 2.5), ylim=(-0.03, 1.12), ylabel="share called a tumour")
        right.set_title("What the network calls a tumour (held-out fold)")
        right.legend(loc="center left")
        figure.savefig(path, metadata={"Date": None}, facecolor="white")


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", default="brain_mri_tumor")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    result = study(arguments.name, arguments.data)
    text = json.dumps(result, indent=1)
    print(text)  # noqa: T201 - this is what the command is for
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "shortcut.json").write_text(text + "\n")
        plot(result, arguments.out / "shortcut.svg")


if __name__ == "__main__":
    main()
