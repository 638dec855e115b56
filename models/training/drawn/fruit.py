"""Fruit and vegetables as MR shows them: wet flesh, dark septa and stones, rinds of a few millimetres, seeds."""

from __future__ import annotations

import numpy as np

from models.training.drawn.scenes import (
    Floats,
    Kind,
    Scene,
    angle,
    between,
    cells,
    lumpy,
    off_axis,
    radius,
    scattered,
    texture,
    turned,
)

FARTHEST = 160.0
"""No fruit reaches farther from its middle, in mm."""


def _body(rng: np.random.Generator, low: float = 55, high: float = 100) -> Floats:
    """Half axes in mm: of a fruit as large as a head, or of some packed together."""
    middle = between(rng, low, high)
    return np.array([middle * between(rng, 0.9, 1.1), middle * between(rng, 0.9, 1.1), middle * between(rng, 0.7, 1.3)])


def _seeds(points: Floats, signal: Floats, places: Floats, size: Floats, value: float) -> None:
    for place in places:
        away = np.abs(points - np.asarray(place, dtype=np.float32))
        near = (away < np.asarray(size, dtype=np.float32)).all(axis=-1)
        signal[near] = np.where(radius(points[near], place, size) < 1, value, signal[near])


def citrus(rng: np.random.Generator) -> Scene:
    """Orange, grapefruit, pomelo: oily peel, dry pith, wedges with thin skins around a core, sacs within them."""
    radii, wedges = _body(rng), int(rng.integers(8, 15))
    size = float(radii.mean())
    peel, pith = between(rng, 1.5, 4) / size, between(rng, 2, 18) / size
    bright, dark, flesh = between(rng, 0.2, 1.0), between(rng, 0.02, 0.45), between(rng, 0.35, 1.0)
    skin, core, turn = between(rng, 0.6, 2.0), between(rng, 2, 9), between(rng, 0, 6)
    sacs, wobble, shape = texture(rng, between(rng, 3, 9)), texture(rng, 25, 5), lumpy(rng, 0.015, 30)
    grain = between(rng, 0.03, 0.2)

    def scene(points: Floats) -> Floats:
        r = radius(points, (0, 0, 0), radii) * shape(points)
        part = (angle(points) + 0.12 * wobble(points) + turn) * wedges / 2
        septum = np.abs(np.sin(part)) * off_axis(points) * 2 / wedges
        signal = flesh * (1 + grain * sacs(points))
        signal[(septum < skin) | (off_axis(points) < core)] = dark
        signal[r > 1 - peel - pith] = dark
        signal[r > 1 - peel] = bright
        signal[r > 1] = 0
        return signal

    return turned(scene, rng)


def melon(rng: np.random.Generator) -> Scene:
    """Melon, watermelon, pumpkin: a rind, flesh, and seeds in rows or in a hollow full of strings; some are ribbed."""
    radii, ribs = _body(rng, 65, 110), int(rng.integers(6, 16))
    size = float(radii.mean())
    rind, ribbed = between(rng, 2, 14) / size, between(rng, 0, 0.07)
    outer, flesh, inner = between(rng, 0.05, 0.9), between(rng, 0.4, 1.0), between(rng, 0.0, 1.0)
    hollow = between(rng, 0.25, 0.6) if rng.random() < 0.6 else 0.0
    strings, grain = texture(rng, between(rng, 4, 12)), texture(rng, between(rng, 6, 30))
    places = scattered(rng, 60, radii, max(hollow, 0.65))
    kernel, value = rng.uniform(2, 6, size=3), between(rng, 0.0, 1.0)
    depth = between(rng, 0.02, 0.2)

    def scene(points: Floats) -> Floats:
        r = radius(points, (0, 0, 0), radii) * (1 + ribbed * np.abs(np.sin(angle(points) * ribs / 2)))
        signal = flesh * (1 + depth * grain(points)) * (0.75 + 0.25 * np.minimum(r, 1))
        within = r < hollow
        signal[within] = (inner * (0.5 + 0.5 * (strings(points) > 0)))[within]
        _seeds(points, signal, places, kernel, value)
        signal[r > 1 - rind] = outer
        signal[r > 1] = 0
        return signal

    return turned(scene, rng)


def kiwi(rng: np.random.Generator) -> Scene:
    """Kiwi, fig, cucumber: a pale core, rays, and seeds that stand around it."""
    radii = _body(rng, 45, 90)
    core, ring = between(rng, 0.15, 0.35), between(rng, 0.35, 0.6)
    rays, flesh, middle = int(rng.integers(18, 45)), between(rng, 0.4, 1), between(rng, 0.3, 1)
    strength, grain, seed = between(rng, 0.1, 0.5), texture(rng, 8), between(rng, 0.0, 0.3)
    skin = between(rng, 0.01, 0.04)

    def scene(points: Floats) -> Floats:
        r = radius(points, (0, 0, 0), radii)
        round_axis = off_axis(points) / radii[0]
        wave = np.cos(angle(points) * rays)
        signal: Floats = flesh * (1 - strength * (wave > 0.3) * (round_axis > core)) * (1 + 0.08 * grain(points))
        rows = (np.abs(round_axis - ring) < 0.06) & (wave > 0.5) & (np.sin(points[..., 2] / 2.5) > 0)
        signal[rows] = seed
        signal[(round_axis < core) & (r < 0.8)] = middle
        signal[r > 1 - skin] = 0.2
        signal[r > 1] = 0
        return signal

    return turned(scene, rng)


def pineapple(rng: np.random.Generator) -> Scene:
    """Pineapple, jackfruit, custard apple: a core, units packed in spirals around it, dark eyes below the skin."""
    radii = _body(rng, 55, 85) * (1, 1, between(rng, 1.2, 1.7))
    rows, turns = int(rng.integers(8, 16)), between(rng, 12, 30)
    core, flesh, dark = between(rng, 0.12, 0.3), between(rng, 0.4, 1), between(rng, 0.02, 0.4)
    grain, fibres = texture(rng, 6), texture(rng, between(rng, 3, 8))
    power, crown = between(rng, 2.2, 3.5), rng.random() < 0.5

    def scene(points: Floats) -> Floats:
        r = radius(points, (0, 0, 0), radii, power)
        phi, z = angle(points), points[..., 2]
        unit = np.cos(rows * phi + z / turns * 6.28) + np.cos(rows * phi - z / turns * 6.28)
        signal = flesh * (1 + 0.12 * grain(points)) * (0.7 + 0.3 * np.minimum(r, 1))
        signal[(unit < -0.9) & (r > 0.45)] *= 0.55
        signal[(np.abs(r - 0.85) < 0.06) & (unit > 1.1)] = dark
        signal[off_axis(points) < core * radii[0]] = flesh * 0.6
        signal[r > 0.95 + 0.03 * unit] = 0
        if crown:
            leaf = (z > radii[2] * 0.95) & (off_axis(points) < 30) & (fibres(points * (1, 1, 0.15)) > 0.2)
            signal[leaf] = dark + 0.2
        return signal

    return turned(scene, rng)


def tomato(rng: np.random.Generator) -> Scene:
    """Tomato, pepper, aubergine: a wall, chambers of jelly or air, and fleshy partitions between them."""
    radii, chambers = _body(rng) * (1, 1, 0.85), int(rng.integers(2, 7))
    wall, partition = between(rng, 0.08, 0.22), between(rng, 4, 14)
    flesh, jelly = between(rng, 0.4, 0.9), between(rng, 0.0, 1.0)
    grain, core, places = texture(rng, 10), between(rng, 8, 22), scattered(rng, 50, radii, 0.75)
    shape, bumps = lumpy(rng, 0.02, 35), between(rng, 0, 0.06)

    def scene(points: Floats) -> Floats:
        r = radius(points, (0, 0, 0), radii) * shape(points) * (1 + bumps * np.cos(angle(points) * chambers))
        septum = np.abs(np.sin(angle(points) * chambers / 2)) * off_axis(points) * 2 / chambers
        signal = np.full(r.shape, jelly, dtype=np.float32)
        _seeds(points, signal, places, np.array([3, 3, 4]), 0.3)
        solid = (septum < partition / 2) | (off_axis(points) < core) | (r > 1 - wall)
        signal[solid] = (flesh * (1 + 0.1 * grain(points)))[solid]
        signal[r > 1] = 0
        return signal

    return turned(scene, rng)


def onion(rng: np.random.Generator) -> Scene:
    """Onion, cabbage, leek: shells within shells, not quite round, some with two hearts."""
    radii, layers = _body(rng), between(rng, 5, 14)
    wobble, strength = texture(rng, 40, 6), between(rng, 0.01, 0.09)
    low, high, share = between(rng, 0, 0.4), between(rng, 0.5, 1), between(rng, -0.7, 0.7)
    heart = np.array([between(rng, -18, 18), between(rng, -10, 10), 0])
    double, grain = rng.random() < 0.4, texture(rng, 6)

    def scene(points: Floats) -> Floats:
        outer = radius(points, (0, 0, 0), radii)
        r = outer + strength * wobble(points)
        if double:
            two = np.minimum(radius(points, heart, radii * 0.5), radius(points, -heart, radii * 0.5))
            r = np.where(two < 0.8, two, r)
        signal = np.where(np.sin(r * layers * 6.28) > share, high, low) * (1 + 0.08 * grain(points))
        signal[outer > 1] = 0
        return np.asarray(signal)

    return turned(scene, rng)


def apple(rng: np.random.Generator) -> Scene:
    """Apple, pear, potato: even flesh with a star of five chambers, or veins, or nothing."""
    radii, flesh = _body(rng), between(rng, 0.4, 1.0)
    star, dark, grain = between(rng, 8, 25), between(rng, 0, 0.4), texture(rng, between(rng, 5, 30))
    depth, dimple, line = between(rng, 0.02, 0.2), between(rng, 0, 0.3), between(rng, 0.6, 0.8)
    empty = rng.random() < 0.3

    def scene(points: Floats) -> Floats:
        r = radius(points, (0, 0, 0), radii)
        r = r + dimple * np.exp(-((off_axis(points) / 18) ** 2))
        signal = flesh * (1 + depth * grain(points))
        if not empty:
            petal = star * (0.55 + 0.45 * np.cos(5 * angle(points)))
            signal[(off_axis(points) < petal) & (np.abs(points[..., 2]) < star)] = dark
            signal[np.abs(r - line) < 0.015] = flesh * 0.6
        signal[r > 1] = 0
        return signal

    return turned(scene, rng)


def stone_fruit(rng: np.random.Generator) -> Scene:
    """Avocado, mango, peach, coconut, walnut: a shell or skin, flesh, a stone, and what is in the stone."""
    radii = _body(rng) * (1, between(rng, 0.75, 1), 1)
    shell, dark = between(rng, 0.02, 0.14), between(rng, 0, 0.3)
    flesh, kernel = between(rng, 0.3, 1), between(rng, 0, 1)
    stone, crust = between(rng, 0.3, 0.8), between(rng, 0.03, 0.1)
    folds, fold = texture(rng, between(rng, 8, 20)), between(rng, 0, 0.12)
    cleft, grain = between(rng, 0, 6), texture(rng, 12)

    def scene(points: Floats) -> Floats:
        r = radius(points, (0, 0, 0), radii)
        inner = r + fold * folds(points)
        signal = flesh * (1 + 0.1 * grain(points))
        signal[inner < stone] = dark
        within = inner < stone - crust
        signal[within] = kernel
        signal[within & (np.abs(points[..., 0]) < cleft)] = dark
        signal[r > 1 - shell] = dark
        signal[r > 1] = 0
        return signal

    return turned(scene, rng)


def pomegranate(rng: np.random.Generator) -> Scene:
    """Pomegranate, raspberry, maize: grains packed into cells with membranes between."""
    radii = _body(rng)
    packed, skin = cells(rng, radii, int(rng.integers(60, 220))), between(rng, 0.03, 0.14)
    gap, dark, rind = between(rng, 0.8, 3), between(rng, 0, 0.3), between(rng, 0.1, 0.8)
    values = rng.uniform(0.5, 1, size=256)
    pip = between(rng, 9, 14)

    def scene(points: Floats) -> Floats:
        r = radius(points, (0, 0, 0), radii)
        margin, number = packed(points)
        signal = np.where(margin < gap, dark, values[number])
        signal[margin > pip] = 0.25
        signal[r > 1 - skin] = rind
        signal[r > 1] = 0
        return np.asarray(signal)

    return turned(scene, rng)


def bag(rng: np.random.Generator) -> Scene:
    """Some small fruit side by side: grapes, cherries, a net of oranges."""
    makers: tuple[Kind, ...] = (citrus, apple, kiwi, stone_fruit, tomato)
    make, size = makers[int(rng.integers(len(makers)))], between(rng, 0.22, 0.5)
    places = scattered(rng, int(rng.integers(4, 14)), (95, 95, 80), 0.9)
    fruit = [make(rng) for _ in places[:3]]

    def scene(points: Floats) -> Floats:
        signal = np.zeros(points.shape[:-1], dtype=np.float32)
        for k, place in enumerate(places.astype(np.float32)):
            away = (points - place) / np.float32(size)
            near = np.abs(away).max(axis=-1) < FARTHEST
            signal[near] = np.maximum(signal[near], fruit[k % len(fruit)](away[near]))
        return signal

    return scene


FRUIT: dict[str, Kind] = {
    "citrus": citrus,
    "melon": melon,
    "kiwi": kiwi,
    "pineapple": pineapple,
    "tomato": tomato,
    "onion": onion,
    "apple": apple,
    "stone fruit": stone_fruit,
    "pomegranate": pomegranate,
    "bag of fruit": bag,
}
