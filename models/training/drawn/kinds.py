"""All drawn kinds by name, and sets of pictures of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.training.drawn.bodies import BODIES
from models.training.drawn.fruit import FRUIT
from models.training.drawn.imaging import picture
from models.training.drawn.phantoms import PHANTOMS
from models.training.drawn.scenes import Kind
from pipeline.preprocess.recipe import Recipe

KINDS: dict[str, Kind] = {**FRUIT, **PHANTOMS, **BODIES}
LEAST_SHOWN = 0.05
"""Share of a picture that must stand out; a plane that passes by the thing shows noise, which is drawn elsewhere."""


def drawn(kind: str, count: int, recipe: Recipe, seed: int) -> npt.NDArray[np.uint8]:
    """``count`` pictures of ``kind``, (count, M, M); each depends on ``seed``, the kind and its own number alone."""
    made: list[npt.NDArray[np.uint8]] = []
    number = 0
    while len(made) < count:
        rng = np.random.default_rng([seed, *kind.encode(), number])
        image = np.clip(picture(KINDS[kind](rng), rng, recipe.matrix, recipe.pixel_mm), 0, 1)
        if (image > 0.25).mean() > LEAST_SHOWN:
            made.append((255 * image).astype(np.uint8))
        number += 1
    return np.stack(made)
