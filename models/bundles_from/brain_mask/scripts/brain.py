"""deepbet's two passes as one network: the first finds the brain's box, the second reads that box.

Nearest neighbours, quantiles, normalisation and margin are deepbet 1.0.2's (`deepbet/bet.py`, `deepbet/utils.py`). This
file is a script of the bundle and imports nothing of Candela.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import label
from torch import Tensor, nn
from torch.nn import functional

COARSE = (128, 128, 128)
FINE = (256, 256, 256)
MARGIN = 0.1
"""Share of the box's side that is added at each of its ends."""
FOREGROUND = 0.02
"""Share of a plane that the brain must fill for the plane to lie in the box."""


class TwoPass(nn.Module):
    """``box`` and ``main`` are deepbet's networks: one image in (1, 1, X, Y, Z), background and brain out.

    ``forward`` takes one image (1, 1, X, Y, Z), oriented to RAS, and gives the probability of brain on the same grid.
    """

    def __init__(self, box: nn.Module, main: nn.Module) -> None:
        super().__init__()
        self.box, self.main = box, main

    def forward(self, image: Tensor) -> Tensor:
        whole = torch.nan_to_num(image)
        coarse = _resized(whole, COARSE)
        low, high = coarse.quantile(0.005), coarse.quantile(0.995)
        window = _window(self.box(_normal(coarse, low, high))[0, 1] > 0.5, image.shape[2:])
        part = whole[window]
        brain = self.main(_normal(_resized(part, FINE), low, high))[:, 1:2]
        found = torch.zeros_like(whole)
        found[window] = _resized(brain, tuple(part.shape[2:]))
        return found


def _resized(image: Tensor, shape: tuple[int, ...]) -> Tensor:
    return functional.interpolate(image, shape, mode="nearest-exact")


def _normal(image: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """``image`` between two quantiles, with the mean and deviation that deepbet was trained with."""
    cut = ((image - low) / (high - low)).clamp(min=0, max=1)
    return 0.226 * (cut - cut.mean()) / cut.std() + 0.449


def _window(brain: Tensor, shape: torch.Size) -> tuple[slice, ...]:
    """The slices of an image of ``shape`` (X, Y, Z) that hold the largest part of ``brain``, with a margin.

    Raises
    ------
    ValueError
        where there is no brain to put a box around.
    """
    parts, count = label(brain.cpu().numpy(), structure=np.ones((3, 3, 3)))
    if count == 0:
        raise ValueError("the images show no brain")
    mask = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    found = [slice(None), slice(None)]
    for axis, side in enumerate(shape):
        others = tuple(other for other in range(3) if other != axis)
        planes = np.flatnonzero(mask.mean(axis=others) > FOREGROUND)
        if not len(planes):
            raise ValueError("the images show too little brain")
        scale = side / mask.shape[axis]
        centre = round(scale * (planes[-1] + 1 + planes[0]) / 2)
        size = round((1 + 2 * MARGIN) * scale * (planes[-1] + 1 - planes[0]))
        found.append(slice(max(0, int(centre - size / 2)), min(side, int(centre + size / 2))))
    return tuple(found)
