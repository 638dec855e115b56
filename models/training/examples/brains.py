"""Drawn heads with and without a tumour, as four MR series would show them.

A `Head` is a function of patient coordinates, so that one head can be imaged on any grid: as the series of a study and,
for the truth, on whatever grid a network reads. Tissues have a signal for each weighting, as a reader of MR would
expect: water is dark on T1 and FLAIR and bright on T2, oedema is bright on T2 and FLAIR, and the rim of the tumour
enhances.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from models.training.drawn.scenes import Bools, Floats, between, lumpy, radius, texture
from pipeline.geometry.volume import Affine, Volume

WEIGHTINGS: Final = ("t1", "t1c", "t2", "flair")
REGIONS: Final = ("tumor_core", "whole_tumor", "enhancing_tumor")
"""In the order of the zoo's brats_mri_segmentation: what enhances lies in the core, the core in the whole tumour."""

AIR, SCALP, SKULL, WATER, CORTEX, WHITE, OEDEMA, NECROSIS, RIM = range(9)
SIGNAL: Final = {
    "t1": (0.0, 0.9, 0.1, 0.15, 0.48, 0.68, 0.38, 0.22, 0.42),
    "t1c": (0.0, 0.9, 0.1, 0.16, 0.52, 0.70, 0.40, 0.24, 1.10),
    "t2": (0.0, 0.7, 0.1, 1.00, 0.58, 0.42, 0.80, 0.90, 0.60),
    "flair": (0.0, 0.6, 0.1, 0.10, 0.55, 0.45, 0.92, 0.35, 0.70),
}
"""Of each tissue by its number, 0 to about 1."""
SCALE: Final = 1000.0


@dataclass(frozen=True)
class Head:
    """``tissue`` gives the number of the tissue at points (..., 3), LPS in mm, the middle of the head at 0."""

    tissue: Callable[[Floats], npt.NDArray[np.intp]]

    def regions(self, points: Floats) -> Bools:
        """Where the three nested regions are: (regions, ...) for points (..., 3), LPS in mm."""
        tissue = self.tissue(points)
        core = (tissue == NECROSIS) | (tissue == RIM)
        return np.stack([core, core | (tissue == OEDEMA), tissue == RIM])


def head(rng: np.random.Generator, *, tumour: bool) -> Head:
    """A head of ``rng``'s: adult sizes, ventricles, folds, and where ``tumour`` one tumour of 14 to 26 mm radius."""
    size = np.array([between(rng, 62, 72), between(rng, 78, 92), between(rng, 66, 78)])
    folds, shape = texture(rng, 9, 8), lumpy(rng, 0.03, 50)
    horns = np.array([between(rng, 5, 9), between(rng, 20, 30), between(rng, 8, 13)])
    apart = between(rng, 9, 14)
    paint = _tumour(rng, size) if tumour else None

    def tissue(points: Floats) -> npt.NDArray[np.intp]:
        brain = radius(points, (0, 0, 0), size, 2.5) * shape(points)
        ripple = folds(points)
        found = np.full(brain.shape, AIR, dtype=np.intp)
        found[brain < 1.24] = SCALP
        found[brain < 1.15] = SKULL
        found[brain < 1.05] = WATER
        found[brain < 1 + 0.03 * ripple] = CORTEX
        found[brain < 0.86 + 0.08 * ripple] = WHITE
        found[(np.abs(points[..., 0]) < 1.5) & (brain < 1.05)] = WATER
        for side in (-1, 1):
            found[radius(points, (side * apart, 0, 8), horns) < 1 + 0.1 * ripple] = WATER
        if paint is not None:
            paint(points, found, brain < 0.99)
        return found

    return Head(tissue)


def _tumour(rng: np.random.Generator, size: Floats) -> Callable[[Floats, npt.NDArray[np.intp], Bools], None]:
    """What paints oedema, rim and necrosis over the tissues of a brain."""
    side = rng.choice((-1, 1))
    centre = size * np.array([side * between(rng, 0.3, 0.55), between(rng, -0.45, 0.45), between(rng, -0.35, 0.45)])
    whole = between(rng, 18, 28) * rng.uniform(0.85, 1.15, size=3)
    core, necrosis = between(rng, 0.55, 0.72), between(rng, 0.45, 0.65)
    edge, inner = lumpy(rng, 0.10, 20), lumpy(rng, 0.07, 14)

    def paint(points: Floats, found: npt.NDArray[np.intp], brain: Bools) -> None:
        away = radius(points, centre, whole)
        outer, middle = away * edge(points), away * inner(points) / core
        found[(outer < 1) & brain] = OEDEMA
        found[(middle < 1) & brain] = RIM
        found[(middle < necrosis) & brain] = NECROSIS

    return paint


@dataclass(frozen=True)
class Study:
    """``series`` by weighting on one grid; ``regions`` (regions, slices, rows, columns), the truth on it."""

    head: Head
    series: dict[str, Volume]
    regions: Bools


def study(seed: int, *, tumour: bool | None = None) -> Study:
    """Four axial series of one drawn head, the same for the same seed; without ``tumour`` six in seven have one.

    Slices, pixels, tilt, contrast, coil and noise differ from study to study, within what a scanner does.
    """
    rng = np.random.default_rng([seed, 4711])
    drawn = head(rng, tumour=bool(rng.random() < 6 / 7) if tumour is None else tumour)
    affine, shape = _grid(rng)
    points = grid_points(affine, shape)
    tissue = drawn.tissue(points)
    grain = texture(rng, 12)(points)
    series = {name: _imaged(rng, SIGNAL[name], tissue, grain, points, affine) for name in WEIGHTINGS}
    return Study(drawn, series, drawn.regions(points))


def grid_points(affine: Affine, shape: tuple[int, ...]) -> Floats:
    """Patient coordinates (..., 3), LPS in mm, of each voxel of a grid of ``shape`` whose index ``affine`` takes."""
    index = np.stack(np.meshgrid(*[np.arange(side) for side in shape], indexing="ij"), axis=-1)
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3], dtype=np.float32)


def _grid(rng: np.random.Generator) -> tuple[Affine, tuple[int, int, int]]:
    """Affine and shape of an axial stack around the head, tilted by a few degrees."""
    spacing = np.array([between(rng, 4.0, 6.0), *[between(rng, 1.6, 2.4)] * 2])
    side = int(np.ceil(235 / spacing[1]))
    shape = (int(np.ceil(190 / spacing[0])), side, side)
    tilt = np.deg2rad(between(rng, -12, 12))
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing[::-1])[:, ::-1]
    affine[:3, 3] = rng.uniform(-5, 5, size=3) - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine, shape


def _imaged(
    rng: np.random.Generator,
    signal: tuple[float, ...],
    tissue: npt.NDArray[np.intp],
    grain: Floats,
    points: Floats,
    affine: Affine,
) -> Volume:
    """One series of a head: its tissues' signal, the coil's shading, blur and Rician noise."""
    values = np.array(signal) * rng.uniform(0.92, 1.08, size=len(signal))
    clean: Any = values[tissue] * (1 + 0.03 * grain)
    coil = 1 + points @ rng.uniform(-0.0015, 0.0015, size=3)
    clean = gaussian_filter(clean * coil, (0, 0.6, 0.6))
    noise = rng.normal(0, between(rng, 0.015, 0.04), size=(2, *tissue.shape))
    gain = SCALE * between(rng, 0.6, 1.6)
    array = np.hypot(clean + noise[0], noise[1]) * gain
    return Volume(array=array.astype(np.float32), affine=affine, sources=())
