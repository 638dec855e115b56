"""Checks of the heat map: it must point at the lesion, depend on the weights, and move with the lesion.

The randomisation follows Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018; the pointing game Zhang et al.,
Top-down neural attention by excitation backprop, IJCV 2018.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import distance_transform_edt
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from models.evaluation.counterfactual import lesion_moved, one_sided
from models.evaluation.metrics import Bools
from models.explain import LAYER, Explainer
from models.training.data import Pictures
from pipeline.preprocess.intensity import NormalizeHeadIntensity

Maps = npt.NDArray[np.float32]

WITHIN_MM = 10.0
"""Distance of the hottest pixel from the lesion within which it counts as a hit."""
STAGES = 8
SHIFT_PIXELS = 12


@dataclass(frozen=True)
class Pointing:
    """How heat maps match drawn lesions.

    ``hits``: share of pictures whose hottest pixel is within `WITHIN_MM` of the lesion; ``inside``: share whose hottest
    pixel is in it; ``energy``: mean share of the heat inside it; ``chance``: mean share of the picture that it covers,
    which is the energy of a map that knows nothing; ``empty``: share of maps without any heat, which count as misses.
    """

    pictures: int
    hits: float
    inside: float
    energy: float
    chance: float
    empty: float


@dataclass(frozen=True)
class RandomisedStage:
    """Similarity of heat maps before and after the weights of some modules were made random, means over pictures.

    ``module`` is the last that was randomised, ``share`` the part of all weighted modules that were; ``spearman`` is
    the rank correlation over pixels, ``ssim`` the structural similarity of maps scaled to 0..1; an empty map is like
    none.
    """

    module: str
    share: float
    spearman: float
    ssim: float
    empty: float


def pointing(maps: Maps, masks: Bools, pixel_mm: float) -> Pointing:
    """How ``maps`` (N, M, M), 0 or above, match the lesions ``masks`` (N, M, M)."""
    away = hottest_distance(maps, masks, pixel_mm)
    total = maps.sum((1, 2))
    energy = (maps * masks).sum((1, 2)) / np.where(total > 0, total, 1.0)
    return Pointing(
        pictures=len(maps),
        hits=_mean(away <= WITHIN_MM),
        inside=_mean(away == 0),
        energy=_mean(energy),
        chance=_mean(masks),
        empty=_mean(total <= 0),
    )


def hottest_distance(maps: Maps, masks: Bools, pixel_mm: float) -> npt.NDArray[np.float64]:
    """Distance in mm of each map's hottest pixel from the lesion, (N,); 0 inside, infinite where there is no heat."""
    distances = []
    for heat, mask in zip(maps, masks, strict=True):
        away = distance_transform_edt(~mask) * pixel_mm
        distances.append(float(away.flat[int(heat.argmax())]) if heat.max() > 0 else np.inf)
    return np.array(distances)


def heat(explainer: Explainer, pictures: Pictures) -> Maps:
    """Grad-CAM of each picture's own class, (N, M, M)."""
    images = NormalizeHeadIntensity()(torch.from_numpy(pictures.images)[:, None].float())
    maps = torch.zeros(images.shape)
    for label in np.unique(pictures.labels):
        which = torch.from_numpy(np.flatnonzero(pictures.labels == label))
        maps[which] = explainer.class_activation(_laid_out(images[which]), int(label)).cpu()
    return np.asarray(np.nan_to_num(maps[:, 0].numpy()), dtype=np.float32)


def checks(
    network: nn.Module, pictures: Pictures, pixel_mm: float, *, layer: str = LAYER, sample: int = 24
) -> dict[str, Any]:
    """Pointing on all ``pictures`` (tumour slices), and the sanity checks on ``sample`` of them, JSON-ready.

    ``layer`` is the network's module that Grad-CAM looks at.
    """
    explainer = Explainer(network, layer)
    maps = heat(explainer, pictures)
    few = np.unique(np.linspace(0, len(pictures) - 1, sample).astype(int))
    halves = np.flatnonzero(one_sided(pictures))
    return {
        "pointing": _rounded(pointing(maps, pictures.masks, pixel_mm)),
        "by_class": {
            str(label): _rounded(pointing(maps[own], pictures.masks[own], pixel_mm))
            for label in np.unique(pictures.labels)
            for own in [pictures.labels == label]
        },
        "randomised": [_rounded(stage) for stage in randomisation(network, pictures.take(few), layer=layer)],
        "between_pictures": round(_between(maps[few]), 4),
        "lesion_moved": moved(explainer, pictures.take(halves), pixel_mm) if len(halves) else {"pictures": 0},
        "picture_shifted": shifted(explainer, pictures.take(few), pixel_mm),
    }


def randomisation(
    network: nn.Module, pictures: Pictures, *, layer: str = LAYER, seed: int = 0
) -> list[RandomisedStage]:
    """Similarity to the true heat maps while weights are randomised from the output down to the input, in steps.

    Maps that stay similar would show the picture's edges and not what the network learnt.
    """
    before = heat(Explainer(network, layer), pictures)
    stages = []
    for module, share, changed in cascade(network, seed=seed):
        after = heat(Explainer(changed, layer), pictures)
        ranks, likeness = zip(*(_alike(a, b) for a, b in zip(before, after, strict=True)), strict=True)
        stages.append(RandomisedStage(module, share, _mean(ranks), _mean(likeness), _mean(after.max((1, 2)) <= 0)))
    return stages


def cascade(network: nn.Module, *, seed: int) -> Iterator[tuple[str, float, nn.Module]]:
    """Copies of ``network`` with ever more modules reset to random weights, the last defined first.

    Yields the name of the module that was reached, the share of modules that are random, and the changed network: after
    each of the two topmost modules, then in equal steps down to all of them.
    """
    changed = copy.deepcopy(network)
    names = [name for name, part in changed.named_modules() if list(part.parameters(recurse=False))][::-1]
    reached = {1, 2, *np.linspace(0, len(names), STAGES - 1).round().astype(int)[1:].tolist()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for count, name in enumerate(names, start=1):
            _reset(changed.get_submodule(name))
            if count in reached:
                yield name, round(count / len(names), 3), changed


def moved(explainer: Explainer, pictures: Pictures, pixel_mm: float) -> dict[str, Any]:
    """Whether the heat follows a lesion that was put into the other half of the head, all else left as it was.

    ``followed``: of the pictures whose hottest pixel was at the lesion, the share in which it is at the new place
    afterwards; ``stayed``: in which it is at the old one. ``energy_new_place``, ``energy_old_place``: mean share of the
    heat inside each place, before and after.
    """
    after = lesion_moved(pictures)
    first, second = heat(explainer, pictures), heat(explainer, after)
    hit = hottest_distance(first, pictures.masks, pixel_mm) <= WITHIN_MM
    new = hottest_distance(second, after.masks, pixel_mm) <= WITHIN_MM
    old = hottest_distance(second, pictures.masks, pixel_mm) <= WITHIN_MM
    return {
        "pictures": len(pictures),
        "at_the_lesion_before": int(hit.sum()),
        "followed": round(_mean(new[hit]), 4),
        "stayed": round(_mean(old[hit]), 4),
        "energy_new_place": [round(pointing(m, after.masks, pixel_mm).energy, 4) for m in (first, second)],
        "energy_old_place": [round(pointing(m, pictures.masks, pixel_mm).energy, 4) for m in (first, second)],
    }


def shifted(explainer: Explainer, pictures: Pictures, pixel_mm: float) -> dict[str, Any]:
    """Whether the heat moves by as much as the whole picture was moved: error of its centre of mass in mm."""
    rolled = Pictures(
        np.roll(pictures.images, SHIFT_PIXELS, axis=2),
        np.roll(pictures.masks, SHIFT_PIXELS, axis=2),
        pictures.labels,
        pictures.folds,
        pictures.symmetric,
    )
    first, second = heat(explainer, pictures), heat(explainer, rolled)
    warm = (first.max((1, 2)) > 0) & (second.max((1, 2)) > 0)
    step = (_centre(second[warm]) - _centre(first[warm])) * pixel_mm
    error = np.hypot(step[:, 0], step[:, 1] - SHIFT_PIXELS * pixel_mm)
    return {
        "pictures": int(warm.sum()),
        "shift_mm": round(SHIFT_PIXELS * pixel_mm, 2),
        "median_error_mm": round(float(np.median(error)), 2) if warm.any() else None,
    }


def _reset(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            parameter.copy_(torch.randn(parameter.shape) * 0.02)


def _alike(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Rank correlation and structural similarity of two maps; 0 where one has no heat."""
    if first.max() <= first.min() or second.max() <= second.min():
        return 0.0, 0.0
    rank = float(spearmanr(first.ravel(), second.ravel()).statistic)
    scaled = [(heat - heat.min()) / (heat.max() - heat.min()) for heat in (first, second)]
    likeness = structural_similarity(*scaled, data_range=1.0)  # type: ignore[no-untyped-call]  # no types there
    return rank, float(likeness)


def _between(maps: Maps) -> float:
    """Mean rank correlation of the maps of different pictures: what "not alike" means on these."""
    return _mean([_alike(a, b)[0] for a, b in zip(maps, np.roll(maps, 1, axis=0), strict=True)])


def _centre(maps: Maps) -> npt.NDArray[np.float64]:
    """Centre of mass (row, column) of each map, (N, 2)."""
    rows, columns = np.arange(maps.shape[1]), np.arange(maps.shape[2])
    total = maps.sum((1, 2)).astype(np.float64)
    return np.stack([(maps.sum(2) @ rows) / total, (maps.sum(1) @ columns) / total], axis=1)


def _laid_out(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _mean(values: Any) -> float:
    return float(np.mean(values)) if np.size(values) else float("nan")


def _rounded(measured: Pointing | RandomisedStage) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(measured).items()}
