"""The parameters of a bundle's preprocessing, without code that needs torch, since the receiver reads contracts too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """The parameters of a bundle's preprocessing.

    ``matrix`` is the side of the network's input in pixels, ``pixel_mm`` their size; planes closer than ``slab_mm``
    are averaged to slabs of about that thickness.
    """

    matrix: int
    pixel_mm: float
    slab_mm: float
