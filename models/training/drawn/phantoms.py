"""Test objects as MR shows them: cylinders with inserts, arrays of tubes, bottles, gels, spheres within spheres."""

from __future__ import annotations

import numpy as np

from models.training.drawn.scenes import (
    Floats,
    Kind,
    Scene,
    across,
    angle,
    between,
    off_axis,
    radius,
    scattered,
    texture,
    turned,
)

FLAT = np.array([1, 1, 0], dtype=np.float32)


def acr(rng: np.random.Generator) -> Scene:
    """A filled cylinder whose levels hold a grid, rows of holes, a wedge, a ring of discs, or nothing."""
    size, half = between(rng, 75, 105), between(rng, 60, 90)
    fill, solid, wall = between(rng, 0.4, 1), between(rng, 0, 0.25), between(rng, 0, 8)
    step, bar, levels = between(rng, 8, 18), between(rng, 1.5, 5), rng.permutation(6)
    height = 2 * half / 6
    discs = rng.uniform(0.2, 1, size=12) * fill
    corner = rng.uniform(-0.3, 0.3, size=2) * size
    boxed = rng.random() < 0.5

    def scene(points: Floats) -> Floats:
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        axis = off_axis(points)
        signal = np.full(axis.shape, fill, dtype=np.float32)
        level = levels[np.clip(((z + half) / height).astype(int), 0, 5)]
        grid = (np.abs(((x / step) % 1) - 0.5) * step < bar / 2) | (np.abs(((y / step) % 1) - 0.5) * step < bar / 2)
        signal[(level == 0) & grid & (axis < 0.8 * size)] = solid
        block = (np.abs(x - corner[0]) < 35) & (np.abs(y - corner[1]) < 25)
        holes = (np.sin(x * 2) * np.sin(y * 2)) < 0.3
        signal[(level == 1) & block] = solid
        signal[(level == 1) & block & ~holes] = fill
        signal[(level == 2) & (np.abs(y) < 8) & (np.abs(x) < 0.85 * size) & (x * 0.1 + z % 20 > 8)] = solid
        spoke = (((angle(points) / 6.283 + 0.5) * 12).astype(int)) % 12
        disc = np.abs(np.sin(angle(points) * 6)) * axis < 0.12 * size
        signal[(level == 3) & disc & (axis < 0.7 * size)] = discs[spoke][(level == 3) & disc & (axis < 0.7 * size)]
        if boxed:
            signal[(level == 4) & (np.maximum(np.abs(x), np.abs(y)) > 0.6 * size)] = solid
        signal[axis > size] = solid
        signal[(axis > size + wall) | (np.abs(z) > half)] = 0
        return signal

    return turned(scene, rng, 0.15)


def tubes(rng: np.random.Generator) -> Scene:
    """Vials or rods side by side in a vessel, or in air, each with its own filling."""
    vessel, power = np.array([between(rng, 70, 110), between(rng, 60, 105), 80.0]), float(rng.choice([2, 2, 8]))
    apart, size = between(rng, 22, 45), between(rng, 0.25, 0.47)
    bath, walls = (between(rng, 0.2, 0.9) if rng.random() < 0.7 else 0.0), between(rng, 0.0, 3.0)
    values, shift = rng.uniform(0, 1, size=(17, 17)), between(rng, 0, 0.5)

    def scene(points: Floats) -> Floats:
        row = np.round(points[..., 1] / apart)
        column = np.round(points[..., 0] / apart - shift * (row % 2))
        away = np.hypot(points[..., 0] - (column + shift * (row % 2)) * apart, points[..., 1] - row * apart)
        outer = radius(points, (0, 0, 0), vessel, power)
        signal = np.full(outer.shape, bath, dtype=np.float32)
        inside = (away < size * apart) & (outer < 0.92)
        signal[inside] = values[column.astype(int) % 17, row.astype(int) % 17][inside]
        signal[inside & (away > size * apart - walls)] = 0
        signal[outer > 1] = 0
        return signal

    return turned(scene, rng, 0.3)


def spheres(rng: np.random.Generator) -> Scene:
    """A ball of water or agar: even, with balls in it, plates of them, or a ball within a ball within a ball."""
    size, fill = between(rng, 60, 110), between(rng, 0.4, 1)
    shells = sorted(rng.uniform(0.2, 0.97, size=int(rng.integers(0, 4))), reverse=True)
    greys = rng.uniform(0, 1, size=4)
    places = scattered(rng, int(rng.integers(0, 16)), (size, size, size), 0.75)
    small, values = rng.uniform(5, 22, size=16), rng.uniform(0, 1, size=16)
    plates, grain, depth = rng.random() < 0.4, texture(rng, between(rng, 20, 80)), between(rng, 0, 0.12)
    gap, bubble = between(rng, 25, 45), between(rng, 0.6, 1.3)

    def scene(points: Floats) -> Floats:
        r = radius(points, (0, 0, 0), (size, size, size))
        signal = fill * (1 + depth * grain(points))
        for shell, grey in zip(shells, greys, strict=False):
            signal[r < shell] = grey
        for place, width, value in zip(places, small, values, strict=False):
            signal[radius(points, place, (width, width, width)) < 1] = value
        if plates:
            near = points - np.round(points / gap) * gap
            signal[(np.linalg.norm(near, axis=-1) < gap * 0.25) & (r < 0.85)] = greys[3]
        signal[points[..., 1] < -bubble * size] = 0  # the bubble of air on top
        signal[r > 1] = 0
        return signal

    return turned(scene, rng, 0.2)


def bottles(rng: np.random.Generator) -> Scene:
    """Bottles with shoulders, necks and caps, or cans and jars: one, or several side by side, upright or lying."""
    count = int(rng.integers(1, 5))
    wide = between(rng, 60, 95) if count == 1 else between(rng, 26, 55)
    half, neck, wall = between(rng, 70, 120), between(rng, 0.2, 0.5), between(rng, 0, 4)
    fills = rng.uniform(0.3, 1, size=5)
    places = [(k - (count - 1) / 2) * 2.1 * wide for k in range(count)]
    full, dent = between(rng, 0.3, 1.2), between(rng, 0, 0.15)
    corners = float(rng.choice([2, 2, 4, 8]))

    def scene(points: Floats) -> Floats:
        signal = np.zeros(points.shape[:-1], dtype=np.float32)
        z = points[..., 2]
        shoulder = np.clip((half - z) / (0.5 * half), neck, 1) * (1 - dent * np.abs(np.sin(z / 14)))
        for place, fill in zip(places, fills, strict=False):
            flat = points * FLAT
            r = radius(flat, (place, 0, 0), (wide, wide, 1e6), corners) / shoulder
            signal[(r < 1) & (np.abs(z) < half)] = fill
            signal[(r < 1) & (r > 1 - wall / wide) & (np.abs(z) < half)] = 0
        signal[points[..., 1] < -full * wide] = 0
        return signal

    return turned(scene, rng, np.pi if rng.random() < 0.5 else 0.2)


def gel(rng: np.random.Generator) -> Scene:
    """A box, tub or bag of gel: layers, lumps, bubbles, a mould's shape."""
    radii, power = np.array([between(rng, 60, 115), between(rng, 50, 110), between(rng, 50, 90)]), between(rng, 2.5, 12)
    grain, depth = texture(rng, between(rng, 8, 50)), between(rng, 0.02, 0.5)
    layer, greys = between(rng, 15, 60), rng.uniform(0.15, 1, size=3)
    places = scattered(rng, int(rng.integers(0, 12)), radii, 0.8)
    widths, values = rng.uniform(4, 28, size=(12, 3)), rng.uniform(0, 1, size=12)
    bent = texture(rng, 60)

    def scene(points: Floats) -> Floats:
        r = radius(points, (0, 0, 0), radii, power)
        number = ((points[..., 1] + 6 * bent(points)) / layer).astype(int) % 3
        signal = greys[number] * (1 + depth * grain(points))
        for place, width, value in zip(places, widths, values, strict=False):
            signal[radius(points, place, width) < 1] = value
        signal[r > 1] = 0
        return np.asarray(signal)

    return turned(scene, rng, 0.4)


def lattice(rng: np.random.Generator) -> Scene:
    """A structure for distortion or diffusion: plates, honeycomb, fibres around a core, a maze, pins."""
    size, step, bar = between(rng, 70, 110), between(rng, 6, 22), between(rng, 0.12, 0.5)
    kind, low, high = int(rng.integers(4)), between(rng, 0, 0.3), between(rng, 0.4, 1)
    power, waves = float(rng.choice([2, 8])), texture(rng, between(rng, 6, 14))

    def scene(points: Floats) -> Floats:
        x, y, z = points[..., 0] / step, points[..., 1] / step, points[..., 2] / step
        if kind == 0:
            hit = (np.abs(x % 1 - 0.5) < bar / 2) | (np.abs(y % 1 - 0.5) < bar / 2) | (np.abs(z % 1 - 0.5) < bar / 2)
        elif kind == 1:
            hit = (np.cos(6.28 * x) + np.cos(3.14 * x + 5.44 * y) + np.cos(3.14 * x - 5.44 * y)) > 3 * (0.9 - bar * 1.5)
        elif kind == 2:
            hit = np.sin(off_axis(points) / step * 6.28) > 1 - 2 * bar
        else:
            hit = waves(points) > 1 - 2 * bar
        signal = np.where(hit, low, high).astype(np.float32)
        signal[radius(points, (0, 0, 0), (size, size, size), power) > 1] = 0
        return signal

    return turned(scene, rng, 0.5)


def shell(rng: np.random.Generator) -> Scene:
    """A vessel with double walls, as wide as a head: bright jacket, dark wall, and simple things in the filling.

    Its layers are those of scalp and skull; what is inside is not a brain.
    """
    radii = np.array([between(rng, 65, 80), between(rng, 75, 98), between(rng, 65, 90)])
    jacket, wall = between(rng, 0.03, 0.1), between(rng, 0.03, 0.12)
    coat, dark, fill = between(rng, 0.3, 1), between(rng, 0, 0.15), between(rng, 0.3, 1)
    places = scattered(rng, int(rng.integers(0, 7)), radii, 0.6)
    widths, values = rng.uniform(5, 30, size=(7, 3)), rng.uniform(0, 1, size=7)
    rod, rods, grain = between(rng, 4, 10), rng.random() < 0.4, texture(rng, 40)
    pins = scattered(rng, 5, radii, 0.7)

    def scene(points: Floats) -> Floats:
        r = radius(points, (0, 0, 0), radii)
        signal = fill * (1 + 0.05 * grain(points))
        for place, width, value in zip(places, widths, values, strict=False):
            signal[radius(points, place, width) < 1] = value
        if rods:
            for pin in pins:
                signal[across(points, (pin[0], pin[1], -90), (pin[0], pin[1], 90)) < rod] = dark
        signal[r > 1 - jacket - wall] = dark
        signal[r > 1 - jacket] = coat
        signal[r > 1] = 0
        return np.asarray(signal)

    return turned(scene, rng, 0.4)


PHANTOMS: dict[str, Kind] = {
    "ACR-like cylinder": acr,
    "tubes": tubes,
    "spheres": spheres,
    "bottles": bottles,
    "gel": gel,
    "lattice": lattice,
    "double-walled vessel": shell,
}
