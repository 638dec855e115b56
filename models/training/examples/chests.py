"""Drawn projections of a chest: lungs, ribs, spine and heart, with an effusion, a pneumothorax, nodules, a pacemaker.

An image is (rows, columns), dense bright as in MONOCHROME2, the patient's right on the left side. Lengths are shares of
the image: 0 at the top and the left, 1 at the bottom and the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter

from models.training.drawn.scenes import Floats, between
from pipeline.geometry.volume import Volume

EFFUSION, PNEUMOTHORAX = "pleural_effusion", "pneumothorax"
NODULE, PACEMAKER = "nodule", "pacemaker"
SIDE_MM: Final = 400.0
"""Side of the detector."""


@dataclass(frozen=True)
class Lung:
    """An upright half ellipse: ``x`` of its middle, its half width, and its top and base."""

    x: float
    half: float
    top: float
    base: float


@dataclass(frozen=True)
class Chest:
    """A drawn projection: ``image`` (rows, columns), ``findings`` by name, and ``boxes`` by name.

    A box is (left, top, right, bottom) in pixels, the ends included.
    """

    image: Floats
    findings: frozenset[str]
    boxes: tuple[tuple[str, tuple[float, float, float, float]], ...]

    @property
    def volume(self) -> Volume:
        """The image as a volume of one plane, with the spacing of its detector."""
        affine = np.eye(4)
        affine[:3, :3] = np.diag([1.0, SIDE_MM / self.image.shape[0], SIDE_MM / self.image.shape[1]])[::-1]
        return Volume(array=self.image[None].astype(np.float32), affine=affine, sources=())


class _Canvas:
    """Attenuation, painted share by share of the image."""

    def __init__(self, side: int) -> None:
        centres = (np.arange(side) + 0.5) / side
        self.y, self.x = np.meshgrid(centres, centres, indexing="ij")
        self.side = side
        self.dense = np.zeros((side, side))

    def ellipse(self, x: float, y: float, across: float, down: float) -> Floats:
        return np.asarray(((self.x - x) / across) ** 2 + ((self.y - y) / down) ** 2)


def chest(seed: int, side: int = 256, *, objects: bool = False) -> Chest:
    """A drawn chest of ``side``² pixels; the same seed gives the same chest.

    With ``objects`` it has nodules and a pacemaker by chance, and no effusion or pneumothorax; without it is the other
    way round.
    """
    rng = np.random.default_rng([seed, 1895])
    canvas = _Canvas(side)
    lungs = _body(rng, canvas)
    findings: set[str] = set()
    boxes: list[tuple[str, tuple[float, float, float, float]]] = []
    if objects:
        _nodules(rng, canvas, lungs, boxes)
        if rng.random() < 0.4:
            _pacemaker(rng, canvas, boxes)
    else:
        if rng.random() < 0.5:
            findings.add(EFFUSION)
            _effusion(rng, canvas, lungs[int(rng.integers(2))])
        if rng.random() < 0.5:
            findings.add(PNEUMOTHORAX)
            _pneumothorax(rng, canvas, lungs[int(rng.integers(2))])
    return Chest(_exposed(rng, canvas), frozenset(findings), tuple(boxes))


def _inside(canvas: _Canvas, lung: Lung) -> Floats:
    """Below 1 inside of ``lung``."""
    down = lung.base - lung.top
    found = canvas.ellipse(lung.x, lung.base, lung.half, down)
    return np.asarray(np.where(canvas.y > lung.base + 0.12 * np.abs(canvas.x - lung.x) / lung.half, 9.0, found))


def _body(rng: np.random.Generator, canvas: _Canvas) -> tuple[Lung, Lung]:
    """The chest without findings; returns its right and its left lung."""
    middle = 0.5 + rng.normal(0, 0.015)
    trunk = np.abs(canvas.x - middle) / between(rng, 0.42, 0.48)
    canvas.dense += np.where(trunk < 1, 0.75 * np.sqrt(np.clip(1 - trunk**2, 0, 1)) + 0.1, 0.0)
    apart, half = between(rng, 0.19, 0.22), between(rng, 0.135, 0.165)
    base = between(rng, 0.70, 0.78)
    lungs = (
        Lung(middle - apart, half, between(rng, 0.12, 0.18), base - between(rng, 0.0, 0.03)),
        Lung(middle + apart, half, between(rng, 0.12, 0.18), base),
    )
    air = between(rng, 0.38, 0.48)
    for lung in lungs:
        canvas.dense -= air * np.clip(1.15 - _inside(canvas, lung), 0, 1) ** 0.35
    canvas.dense += 0.30 * (np.abs(canvas.x - middle) < between(rng, 0.035, 0.05))
    heart = canvas.ellipse(middle + 0.05, base - 0.09, between(rng, 0.12, 0.16), between(rng, 0.13, 0.17))
    canvas.dense += 0.35 * np.clip(1.2 - heart, 0, 1)
    _ribs(rng, canvas, middle)
    return lungs


def _ribs(rng: np.random.Generator, canvas: _Canvas, middle: float) -> None:
    gap, thick, bow = between(rng, 0.075, 0.095), between(rng, 0.009, 0.014), between(rng, 0.25, 0.5)
    away = np.abs(canvas.x - middle)
    for number in range(9):
        line = 0.10 + number * gap + bow * (away - 0.2) ** 2 + 0.25 * away
        near = np.abs(canvas.y - line) / thick
        canvas.dense += 0.10 * np.clip(1 - near, 0, 1) * (away > 0.03) * (away < 0.40)
    for turned in (-1, 1):  # collar bones
        line = 0.13 - 0.12 * turned * (canvas.x - middle)
        canvas.dense += 0.12 * (np.abs(canvas.y - line) < thick) * (turned * (canvas.x - middle) > 0.04) * (away < 0.36)


def _effusion(rng: np.random.Generator, canvas: _Canvas, lung: Lung) -> None:
    """Water at the base of the lung, its surface rising to the sides (a meniscus)."""
    deep = between(rng, 0.10, 0.30)
    level = lung.base - deep + 0.10 * (1 - np.minimum(1, np.abs(canvas.x - lung.x) / lung.half) ** 2)
    within = (_inside(canvas, lung) < 1.1) & (canvas.y > level)
    canvas.dense += 0.42 * gaussian_filter(within.astype(float), canvas.side / 130)


def _pneumothorax(rng: np.random.Generator, canvas: _Canvas, lung: Lung) -> None:
    """Air around a lung that has shrunk: darker at the rim, a thin bright line, the lung itself denser."""
    share = between(rng, 0.70, 0.84)
    smaller = Lung(lung.x, lung.half * share, lung.base - (lung.base - lung.top) * share, lung.base)
    inner, outer = _inside(canvas, smaller), _inside(canvas, lung)
    canvas.dense -= 0.16 * ((outer < 1) & (inner >= 1))
    canvas.dense += 0.10 * (inner < 1)
    canvas.dense += 0.12 * (np.abs(inner - 1) < 0.035)


def _nodules(rng: np.random.Generator, canvas: _Canvas, lungs: tuple[Lung, Lung], boxes: list) -> None:  # type: ignore[type-arg]
    """None to three round shadows in the lungs, apart from each other."""
    places: list[tuple[float, float, float]] = []
    for _ in range(int(rng.integers(0, 4))):
        lung = lungs[int(rng.integers(2))]
        size = between(rng, 0.022, 0.045)
        x = lung.x + between(rng, -0.55, 0.55) * lung.half
        y = between(rng, lung.top + 0.35 * (lung.base - lung.top), lung.base - 0.08)
        if any(np.hypot(x - a, y - b) < size + c + 0.03 for a, b, c in places):
            continue
        places.append((x, y, size))
        wide, high = size * between(rng, 0.9, 1.1), size * between(rng, 0.9, 1.1)
        canvas.dense += between(rng, 0.20, 0.32) * np.clip(1.3 - canvas.ellipse(x, y, wide, high), 0, 1) ** 0.5
        boxes.append((NODULE, _box(canvas, x, y, wide * 1.07, high * 1.07)))


def _pacemaker(rng: np.random.Generator, canvas: _Canvas, boxes: list) -> None:  # type: ignore[type-arg]
    """A can of metal below a collar bone, with a lead to the heart."""
    side = rng.choice((-1, 1))
    x, y = 0.5 + side * between(rng, 0.20, 0.28), between(rng, 0.22, 0.30)
    wide, high = between(rng, 0.045, 0.06), between(rng, 0.04, 0.055)
    can = np.maximum(np.abs(canvas.x - x) / wide, np.abs(canvas.y - y) / high)
    canvas.dense += 0.8 * (can < 1)
    lead = x + (0.53 - x) * np.clip((canvas.y - y) / 0.4, 0, 1) ** 1.5
    canvas.dense += 0.35 * (np.abs(canvas.x - lead) < 0.004) * (canvas.y > y) * (canvas.y < y + 0.4)
    boxes.append((PACEMAKER, _box(canvas, x, y, wide, high)))


def _box(canvas: _Canvas, x: float, y: float, across: float, down: float) -> tuple[float, float, float, float]:
    edges = np.array([x - across, y - down, x + across, y + down]) * canvas.side - 0.5
    left, top, right, bottom = (float(edge) for edge in edges)
    return left, top, right, bottom


def _exposed(rng: np.random.Generator, canvas: _Canvas) -> Floats:
    """What a detector makes of the attenuation: gain, blur, grain, 12 bits."""
    dense = gaussian_filter(canvas.dense, canvas.side / 300)
    dense += rng.normal(0, between(rng, 0.01, 0.03), dense.shape)
    return np.asarray(np.clip(600 + dense * between(rng, 1600, 2600), 0, 4095).round(), dtype=np.float32)
