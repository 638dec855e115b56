"""From instances to a volume: image planes, stacks, the stack that is read, its slice grid, its pixels.

The affine follows the mapping from pixel to patient of PS3.3 C.7.6.2.1.1. docs/intake.md states the rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadGeometry
from pipeline.geometry.image_plane import ImagePlane
from pipeline.geometry.slice_spacing import SliceGrid, slice_grid
from pipeline.geometry.stacks import ChosenStack, Prefer, choose
from pipeline.geometry.volume import Volume
from pipeline.pixels.values import pixel_values
from pipeline.reading.slices import slices_of
from pipeline.reading.validation import unreadable_caveats


def build_volume(datasets: Sequence[Dataset], *, prefer: Prefer | None = None) -> Volume:
    """One regular volume from the instances of a series, in any order.

    ``prefer`` scores a stack by its header. It decides between the stacks where the series holds several (see
    `pipeline.geometry.stacks.choose`).

    Returns
    -------
    Volume
        planes ascending along cross(row direction, column direction); modality values.

    Raises
    ------
    BadGeometry, MissingSlices, DuplicateSlices, MixedGeometry, BadPixels
        naming the instances concerned and what to do.
    """
    choice = choose([ImagePlane.of(one) for one in slices_of(datasets)], prefer)
    grid = _grid(choice)
    slices = [plane.source for plane in grid.planes]
    return Volume(
        array=np.stack([pixel_values(one) for one in slices]),
        affine=grid.affine,
        sources=tuple(one.ds for one in slices),
        frames=tuple(one.frame for one in slices),
        caveats=(*choice.caveats, *grid.caveats, *_repairs(grid.planes)),
    )


def _grid(choice: ChosenStack) -> SliceGrid:
    """The slice grid of the chosen stack. If it is refused, the error also names the stacks that were left out."""
    try:
        return slice_grid(choice.stack.planes)
    except BadGeometry as error:
        if not choice.others:
            raise
        raise type(error)(f"{error.what} {choice}", where=error.where, todo=error.todo) from error


def _repairs(planes: Sequence[ImagePlane]) -> tuple[Caveat, ...]:
    caveats = [*unreadable_caveats(name for plane in planes for name in plane.source.left_out)]
    off = max(plane.deviation for plane in planes)
    if off:
        caveats.append(Caveat(CaveatCode.ORIENTATION_NOT_PERPENDICULAR, {"off": round(off, 6)}))
    if not planes[0].ds.get("FrameOfReferenceUID"):
        caveats.append(Caveat(CaveatCode.FRAME_OF_REFERENCE_ABSENT))
    return tuple(caveats)
