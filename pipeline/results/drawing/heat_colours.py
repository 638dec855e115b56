"""The colours of the class activation: perceptually uniform as they are seen, over grey tissue.

A colour map is uniform on its own ("inferno" is); laid over a picture with an opacity that grows with the activation it
is no longer. So the way from bare tissue to the strongest colour is measured in CIELAB and walked in equal steps: an
equal step in activation is an equal step to the eye, wherever the tissue under it is of a middle grey. Lightness grows
all the way, so the order is kept in grey and for every kind of colour blindness.
"""

from __future__ import annotations

from functools import lru_cache

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from skimage.color import rgb2lab

Pixels = npt.NDArray[np.uint8]
FloatImage = npt.NDArray[np.float32]

COLOUR_MAP = "inferno"
COLOURS = (0.5, 0.92)
"""The part of the colour map that is used: below it is darker than tissue, above it paler than any outline."""
FAINTEST, MOST_OPAQUE = 0.1, 0.65
"""Activation up to the first is not coloured; the second is the opacity of the strongest: anatomy shows through."""
TISSUE = 96
"""Grey value (of 255) that the colours are uniform over: white and grey matter of a T1 image at its usual window."""
LEVELS = 256


def blend(picture: Pixels, activation: FloatImage) -> Pixels:
    """``picture`` (rows, columns, 3) with ``activation`` (rows, columns; 0..1, not a number counts as 0) over it."""
    level = np.clip(np.nan_to_num(activation) * (LEVELS - 1) + 0.5, 0, LEVELS - 1).astype(np.uint8)
    colours, opacity = scale()
    coloured = opacity[level] > 0
    result = picture.copy()
    if coloured.any():
        share = opacity[level[coloured]][:, None]
        shown = picture[coloured] * (1 - share) + colours[level[coloured]] * share
        result[coloured] = (shown + 0.5).astype(np.uint8)
    return result


@lru_cache(maxsize=1)
def scale() -> tuple[FloatImage, FloatImage]:
    """Colour (256, 3), 0..255, and opacity (256,), 0..1, of each level of activation."""
    way = np.linspace(0, 1, 2048)
    colours, opacity = _colours(way), _opacity(way)
    seen = TISSUE * (1 - opacity[:, None]) + colours * opacity[:, None]
    lab = rgb2lab(seen[None] / 255)[0]
    gone = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(lab, axis=0), axis=1))])
    strength = np.clip((np.linspace(0, 1, LEVELS) - FAINTEST) / (1 - FAINTEST), 0, 1)
    at = np.interp(strength * gone[-1], gone, way)
    return _colours(at).astype(np.float32), _opacity(at).astype(np.float32)


def _colours(way: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    first, last = COLOURS
    table = np.asarray(mpl.colormaps[COLOUR_MAP](np.linspace(first, last, LEVELS)), dtype=np.float64)[:, :3] * 255
    places = np.linspace(0, 1, LEVELS)
    return np.stack([np.interp(way, places, table[:, channel]) for channel in range(3)], axis=1)


def _opacity(way: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return MOST_OPAQUE * way**0.75
