"""Parts of bodies other than heads: limbs, joints, trunks, hands, animals."""

from __future__ import annotations

import numpy as np

from models.training.drawn.scenes import (
    Floats,
    Kind,
    Scene,
    across,
    between,
    lumpy,
    radius,
    scattered,
    texture,
    turned,
)

FLAT = np.array([1, 1, 0], dtype=np.float32)


def _bone(signal: Floats, r: Floats, marrow: float, cortex: float = 1.2) -> None:
    """A bone whose ``r`` is 1 at the marrow's border: dark cortex around."""
    signal[r < cortex] = 0.04
    signal[r < 1] = marrow


def limb(rng: np.random.Generator) -> Scene:
    """Thigh, calf, arm, or two of them side by side: fat below the skin, muscles with fat between, long bones."""
    count, bones = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    wide = between(rng, 60, 95) if count == 1 else between(rng, 42, 58)
    fat, muscle, coat = between(rng, 0.6, 1), between(rng, 0.2, 0.6), between(rng, 0.03, 0.3)
    fascia, streaks, shape = texture(rng, 28), texture(rng, 7), lumpy(rng, 0.04, 60)
    bone, marrow = between(rng, 8, 17), between(rng, 0.5, 1)
    places = scattered(rng, bones, (wide, wide, 1), 0.4)
    slant, taper = rng.normal(0, 0.15, size=2), between(rng, -0.003, 0.003)

    def one(points: Floats) -> Floats:
        away = np.hypot(points[..., 0], points[..., 1] * 1.08) / (wide * (1 + taper * points[..., 2]))
        r = away * shape(points)
        signal = muscle * (1 + 0.1 * streaks(points))
        signal[np.abs(fascia(points)) < 0.09] = fat * 0.8
        for place in places:
            centre = place[:2] + slant * points[..., 2:3]
            _bone(signal, np.linalg.norm(points[..., :2] - centre, axis=-1) / bone, marrow)
        signal[r > 1 - coat] = fat
        signal[r > 1] = 0
        return np.asarray(signal)

    def scene(points: Floats) -> Floats:
        if count == 1:
            return one(points)
        apart = np.array([wide * 1.05, 0, 0], dtype=np.float32)
        mirrored = points * np.array([-1, 1, 1], dtype=np.float32)
        return np.maximum(one(points - apart), one(mirrored - apart))

    return turned(scene, rng, 0.3 if rng.random() < 0.6 else np.pi)


def joint(rng: np.random.Generator) -> Scene:
    """Knee, ankle, elbow, shoulder: two or three bone ends with cartilage between, muscle and fat around."""
    wide, fat, muscle = between(rng, 55, 85), between(rng, 0.6, 1), between(rng, 0.15, 0.6)
    marrow, gap, cup = between(rng, 0.5, 1), between(rng, 2, 7), between(rng, 0.5, 1.1)
    streaks, coat, shape = texture(rng, 9), between(rng, 0.03, 0.2), lumpy(rng, 0.05, 50)
    knob, shaft = between(rng, 26, 44), between(rng, 12, 20)
    split, cap, cartilage = between(rng, 0, 20), between(rng, 12, 24), between(rng, 0.3, 0.9)

    def scene(points: Floats) -> Floats:
        r = np.hypot(points[..., 0], points[..., 1]) / wide * shape(points)
        signal = muscle * (1 + 0.12 * streaks(points))
        low, high = np.array([0, 0, -gap - knob * cup]), np.array([0, 0, gap + knob])
        for side in (-1, 1):
            end = radius(points, high + np.array([side * split, 0, 0]), (knob * 0.8, knob, knob))
            signal[end < 1.15] = cartilage
            _bone(signal, end, marrow, 1.05)
        flat = radius(points, low, (knob * 1.4, knob, knob * cup), 3)
        signal[flat < 1.12] = cartilage
        _bone(signal, flat, marrow, 1.05)
        _bone(signal, across(points, high, (0, 0, 150)) / shaft, marrow)
        _bone(signal, across(points, low, (0, 0, -150)) / shaft, marrow)
        _bone(signal, radius(points, (0, -knob - 12, 12), (cap, cap / 2, cap)), marrow)
        signal[r > 1 - coat] = fat
        signal[r > 1] = 0
        return np.asarray(signal)

    return turned(scene, rng, 0.35)


def trunk(rng: np.random.Generator) -> Scene:
    """Abdomen, pelvis or chest of a person smaller than the field: fat, wall, organs, spine, gut, air."""
    radii = np.array([between(rng, 95, 125), between(rng, 70, 95), 200.0])
    fat, coat, muscle = between(rng, 0.6, 1), between(rng, 0.05, 0.25), between(rng, 0.2, 0.5)
    count = int(rng.integers(4, 11))
    places, values = scattered(rng, count, radii * (1, 1, 0.4), 0.75), rng.uniform(0, 1, size=count)
    sizes, grain = rng.uniform(12, 52, size=(count, 3)), texture(rng, 8)
    loops, lung, marrow = texture(rng, between(rng, 10, 18)), rng.random() < 0.3, between(rng, 0.4, 0.9)
    spine = np.array([0, radii[1] * 0.55, 0])

    def scene(points: Floats) -> Floats:
        r = radius(points, (0, 0, 0), radii, 2.4)
        signal = np.where(loops(points) > 0.2, muscle, fat * 0.8) * (1 + 0.05 * grain(points))
        for place, value, size in zip(places, values, sizes, strict=True):
            signal[radius(points, place, size) < 1] = value
        if lung:
            for side in (-1, 1):
                signal[radius(points, (side * radii[0] * 0.5, 0, 0), (radii[0] * 0.38, radii[1] * 0.7, 150)) < 1] = 0.03
        disc = np.abs(points[..., 2] / 30 % 1 - 0.5) < 0.12
        body = radius(points * FLAT, spine, (22, 18, 1))
        _bone(signal, body, marrow, 1.1)
        signal[(body < 1) & disc] = 0.2
        signal[radius(points * FLAT, spine + np.array([0, 28, 0]), (9, 8, 1)) < 1] = 0.45
        signal[r > 1 - coat / 2] = muscle
        signal[r > 1 - coat / 2 + 0.04] = fat
        signal[r > 1 + coat / 2] = 0
        return np.asarray(signal)

    return turned(scene, rng, 0.15)


def hand(rng: np.random.Generator) -> Scene:
    """Wrist, hand or foot: many small bones close together, or rays side by side."""
    radii = np.array([between(rng, 48, 75), between(rng, 25, 60), 140.0])
    fat, muscle, marrow = between(rng, 0.5, 1), between(rng, 0.15, 0.5), between(rng, 0.5, 1)
    rows = int(rng.integers(2, 4))
    pebbles = [
        np.array([(k - 1.5) * radii[0] * 0.45, between(rng, -6, 6), (row - 1) * 22 + between(rng, -4, 4)])
        for row in range(rows)
        for k in range(4)
    ]
    sizes, ray, grain = rng.uniform(8, 14, size=(len(pebbles), 3)), between(rng, 6, 10), texture(rng, 6)

    def scene(points: Floats) -> Floats:
        r = radius(points, (0, 0, 0), radii, 2.5)
        signal = muscle * (1 + 0.15 * grain(points))
        for pebble, size in zip(pebbles, sizes, strict=True):
            _bone(signal, radius(points, pebble, size), marrow, 1.12)
        for k in range(5):
            x = (k - 2) * radii[0] * 0.38
            _bone(signal, across(points, (x, 0, rows * 22), (x * 1.5, 0, 160)) / ray, marrow)
        for side in (-1, 1):
            x = side * radii[0] * 0.45
            _bone(signal, across(points, (x, 0, -40), (x * 0.8, 0, -160)) / (1.7 * ray), marrow)
        signal[r > 0.93] = fat
        signal[r > 1] = 0
        return np.asarray(signal)

    return turned(scene, rng, 0.5)


def animal(rng: np.random.Generator) -> Scene:
    """A mouse, cat, bird or fish enlarged or small, whole: trunk, small skull, limbs or fins, tail, organs, spine."""
    size, long = between(rng, 40, 70), between(rng, 60, 120)
    fat, muscle, marrow = between(rng, 0.5, 1), between(rng, 0.2, 0.6), between(rng, 0.4, 1)
    count = int(rng.integers(3, 9))
    places = scattered(rng, count, (size, size * 0.8, long), 0.7)
    sizes, values = rng.uniform(5, 30, size=(count, 3)), rng.uniform(0, 1, size=count)
    grain, nose, limbs = texture(rng, 8), between(rng, 0.3, 0.6), rng.random() < 0.7
    shape, skin = lumpy(rng, 0.06, 40), between(rng, 0.02, 0.15)

    def scene(points: Floats) -> Floats:
        body = radius(points, (0, 0, 0), (size, size * 0.8, long)) * shape(points)
        head = radius(points, (0, 0, long * 1.05), (size * nose, size * nose, size * nose * 1.5))
        out = np.minimum(body, head)
        if limbs:
            for x, z in ((-1, 0.6), (1, 0.6), (-1, -0.6), (1, -0.6)):
                leg = across(points, (x * size * 0.6, 0, z * long), (x * size * 1.2, -size * 1.2, z * long))
                out = np.minimum(out, leg / (size * 0.22))
        signal = muscle * (1 + 0.15 * grain(points))
        for place, width, value in zip(places, sizes, values, strict=True):
            signal[radius(points, place, width) < 1] = value
        spine = across(points, (0, size * 0.55, -long * 1.5), (0, size * 0.45, long))
        _bone(signal, spine / (size * 0.09), marrow, 1.5)
        signal[out > 1 - skin] = fat
        signal[out > 1] = 0
        return np.asarray(signal)

    return turned(scene, rng)


BODIES: dict[str, Kind] = {
    "limb": limb,
    "joint": joint,
    "trunk": trunk,
    "hand": hand,
    "animal": animal,
}
