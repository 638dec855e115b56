"""Pictures and volumes of drawn things, as a scanner gives them: slabs, coils, bias, ringing and Rician noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.training.drawn.scenes import Floats, Scene, between
from pipeline.geometry.volume import FloatArray, Volume

AXES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
"""Columns, rows and normal of axial, coronal and sagittal planes, as axes of the patient."""


def picture(scene: Scene, rng: np.random.Generator, matrix: int, pixel_mm: float) -> FloatArray:
    """One slab through ``scene``, (matrix, matrix), 0..1, in any of three planes, tilted a little, off the middle."""
    columns, rows, normal = AXES[int(rng.integers(3))]
    axis = (np.arange(matrix, dtype=np.float32) - (matrix - 1) / 2) * pixel_mm
    points = np.zeros((matrix, matrix, 3), dtype=np.float32)
    points[..., columns], points[..., rows] = axis[None], axis[:, None]
    tilt = rng.normal(0, 0.12, size=2)
    points[..., normal] = between(rng, -60, 60) + tilt[0] * axis[None] + tilt[1] * axis[:, None]
    points[..., rows] += between(rng, -15, 15)
    points[..., columns] += between(rng, -15, 15)
    thickness = between(rng, 1, 7)
    planes = []
    for part in (-1 / 3, 1 / 3):
        points[..., normal] += part * thickness
        planes.append(scene(points))
        points[..., normal] -= part * thickness
    made: FloatArray = acquired(np.mean(planes, axis=0)[None], rng)[0]
    return made


def volume(
    scene: Scene,
    rng: np.random.Generator,
    *,
    plane: int = 0,
    slices: int = 12,
    matrix: int = 128,
    field_mm: float = 240.0,
    extent_mm: float = 130.0,
) -> Volume:
    """A series of ``scene`` over ``extent_mm`` along the normal of ``plane`` (0 axial, 1 coronal, 2 sagittal)."""
    columns, rows, normal = AXES[plane]
    pixel_mm, step_mm = field_mm / matrix, extent_mm / slices
    axis = (np.arange(matrix, dtype=np.float32) - (matrix - 1) / 2) * pixel_mm
    down = -1.0 if rows == 2 else 1.0  # rows run from the head to the feet
    array = np.zeros((slices, matrix, matrix), dtype=np.float32)
    affine = np.zeros((4, 4))
    affine[normal, 0], affine[rows, 1], affine[columns, 2], affine[3, 3] = step_mm, down * pixel_mm, pixel_mm, 1.0
    for k in range(slices):
        points = np.zeros((matrix, matrix, 3), dtype=np.float32)
        points[..., columns], points[..., rows] = axis[None], down * axis[:, None]
        points[..., normal] = (k - (slices - 1) / 2) * step_mm
        array[k] = scene(points)
    return Volume(acquired(array, rng) * 1000, affine, ())


def acquired(planes: npt.NDArray[np.floating], rng: np.random.Generator) -> FloatArray:
    """``planes`` (n, rows, columns) of pure signal as magnitude images: the same coils and noise for all of them."""
    shaded: Floats = np.asarray(planes, dtype=np.float32) * _coils(planes.shape[-2:], rng)
    if rng.random() < 0.6:
        shaded = _band_limited(shaded, between(rng, 0.35, 0.95))
    noise = between(rng, 0.002, 0.06)
    real = shaded + rng.normal(0, noise, size=shaded.shape)
    magnitude = np.hypot(real, rng.normal(0, noise, size=shaded.shape))
    gamma = between(rng, 0.6, 1.6)
    return np.asarray((magnitude / max(float(np.quantile(magnitude, 0.999)), 1e-6)) ** gamma, dtype=np.float32)


def _coils(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Sensitivity of a few coils around the field, root of the sum of squares; even where it was corrected."""
    if rng.random() < 0.3:
        return np.ones(shape, dtype=np.float32)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    count, turn, width = int(rng.integers(1, 9)), between(rng, 0, 6.3), between(rng, 0.8, 2.5)
    total = np.zeros(shape)
    for k in range(count):
        at = turn + 2 * np.pi * k / count
        total += np.exp(-((y - 1.3 * np.sin(at)) ** 2 + (x - 1.3 * np.cos(at)) ** 2) / width**2) ** 2
    return np.asarray(np.sqrt(total / total.max()))


def _band_limited(planes: Floats, share: float) -> Floats:
    """The inner ``share`` of k-space along rows and columns, cut off sharply: blur and Gibbs ringing."""
    spectrum = np.fft.fft2(planes)
    for axis in (-2, -1):
        near = np.abs(np.fft.fftfreq(planes.shape[axis])) <= share / 2
        spectrum = spectrum * (near[:, None] if axis == -2 else near)
    return np.asarray(np.abs(np.fft.ifft2(spectrum)))
