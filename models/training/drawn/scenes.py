"""Building blocks of drawn objects: points in mm, distances, textures, and solids that are painted one over another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]
Scene = Callable[[Floats], Floats]
"""Signal, 0 to about 1, at points (..., 3) in mm: right to left, front to back, feet to head, 0 in the middle."""
Kind = Callable[[np.random.Generator], Scene]
"""A kind of thing: each generator state gives another one of it."""


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number from ``low`` to ``high``."""
    return float(rng.uniform(low, high))


def texture(rng: np.random.Generator, grain_mm: float, waves: int = 10) -> Scene:
    """A smooth random field of zero mean and about unit deviation whose structures are about ``grain_mm`` wide."""
    direction = rng.normal(size=(waves, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    number = direction * (np.pi / grain_mm * rng.uniform(0.5, 1.3, size=(waves, 1)))
    phase = rng.uniform(0, 2 * np.pi, size=waves)

    def field(points: Floats) -> Floats:
        total = np.zeros(points.shape[:-1], dtype=np.float32)
        for wave, start in zip(number.astype(np.float32), phase, strict=True):
            total += np.cos(points @ wave + np.float32(start))
        return np.asarray(total * np.sqrt(2 / waves))

    return field


def radius(points: Floats, centre: Any, radii: Any, power: float = 2.0) -> Floats:
    """1 on the surface of a (super)ellipsoid, less inside; ``centre`` and ``radii`` in mm."""
    away = np.abs((points - np.asarray(centre, dtype=np.float32)) / np.asarray(radii, dtype=np.float32))
    if power == 2.0:
        return np.asarray(np.sqrt((away**2).sum(axis=-1)))
    return np.asarray((away**power).sum(axis=-1) ** (1 / power))


def across(points: Floats, start: Any, end: Any) -> Floats:
    """Distance in mm from the straight piece between ``start`` and ``end``: a limb, a rod, a tail."""
    tail, run = np.asarray(start, dtype=np.float32), np.asarray(end, dtype=np.float32) - np.asarray(start, np.float32)
    share = np.clip(((points - tail) @ run) / max(float(run @ run), 1e-6), 0, 1)
    return np.asarray(np.linalg.norm(points - tail - share[..., None] * run, axis=-1))


def turned(scene: Scene, rng: np.random.Generator, most: float = np.pi) -> Scene:
    """``scene`` turned about three axes by up to ``most`` radians each."""
    a, b, c = rng.uniform(-most, most, size=3)
    ca, sa, cb, sb, cc, sc = np.cos(a), np.sin(a), np.cos(b), np.sin(b), np.cos(c), np.sin(c)
    matrix = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]]) @ np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    matrix = (matrix @ np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])).astype(np.float32)
    return lambda points: scene(points @ matrix)


def lumpy(rng: np.random.Generator, share: float, grain_mm: float) -> Scene:
    """A factor around 1 for radii: surfaces that are not quite round."""
    field = texture(rng, grain_mm, waves=6)
    return lambda points: 1 + share * field(points)


def angle(points: Floats) -> Floats:
    """The angle about the third axis, -pi to pi."""
    return np.asarray(np.arctan2(points[..., 1], points[..., 0]))


def off_axis(points: Floats) -> Floats:
    """Distance in mm from the third axis."""
    return np.asarray(np.hypot(points[..., 0], points[..., 1]))


def scattered(rng: np.random.Generator, count: int, radii: Any, share: float = 0.8) -> Floats:
    """``count`` points spread evenly within ``share`` of an ellipsoid, (count, 3)."""
    away = rng.normal(size=(count, 3))
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    return np.asarray(away * rng.uniform(0, 1, size=(count, 1)) ** (1 / 3) * share * np.asarray(radii))


def cells(rng: np.random.Generator, radii: Any, count: int) -> Callable[[Floats], tuple[Floats, npt.NDArray[np.intp]]]:
    """A Voronoi partition: how much farther the second seed is than the first, in mm, and the number of the first."""
    seeds = scattered(rng, count, radii, 1.0).astype(np.float32)

    def nearest(points: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
        flat = points.reshape(-1, 3).astype(np.float32)
        away = np.sqrt(np.maximum((flat**2).sum(1)[:, None] - 2 * flat @ seeds.T + (seeds**2).sum(1), 0))
        first = away.argmin(axis=1)
        two = np.partition(away, 1, axis=1)
        shape = points.shape[:-1]
        return (two[:, 1] - two[:, 0]).reshape(shape), first.reshape(shape)

    return nearest
