"""From instances to a volume: the planes, their stacks, the one that is read, its lattice, its pixels.

PS3.3 C.7.6.2.1.1 gives the mapping from pixel to patient that the affine follows. docs/intake.md tells the rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from pipeline.errors import BadGeometry
from pipeline.geometry.image_plane import PlacedPlane, placed
from pipeline.geometry.slice_spacing import Lattice, lattice
from pipeline.geometry.stacks import Choice, Prefer, choose
from pipeline.geometry.volume import Volume
from pipeline.pixels.values import pixel_values
from pipeline.reading.slices import planes_of
from pipeline.reading.validation import unreadable_note


def build_volume(datasets: Sequence[Dataset], *, prefer: Prefer | None = None) -> Volume:
    """One regular volume from the instances of a series, in any order.

    ``prefer`` tells how well a stack with a given header suits the reader; it decides where the series holds several
    (see `pipeline.geometry.stacks.choose`).

    Returns
    -------
    Volume
        planes ascending along cross(row direction, column direction); modality values.

    Raises
    ------
    BadGeometry, MissingSlices, DuplicateSlices, MixedGeometry, BadPixels
        naming the instances concerned and what to do.
    """
    choice = choose([placed(plane) for plane in planes_of(datasets)], prefer)
    regular = _lattice(choice)
    planes = [plane.plane for plane in regular.planes]
    return Volume(
        array=np.stack([pixel_values(plane) for plane in planes]),
        affine=regular.affine,
        sources=tuple(plane.ds for plane in planes),
        frames=tuple(plane.frame for plane in planes),
        notes=(*choice.notes, *regular.notes, *_repairs(regular.planes)),
    )


def _lattice(choice: Choice) -> Lattice:
    """The chosen stack's lattice; where it is refused, the reason also tells what had been left out before."""
    try:
        return lattice(choice.stack.planes)
    except BadGeometry as error:
        if not choice.notes:
            raise
        raise type(error)(" ".join((error.what, *choice.notes)), where=error.where, todo=error.todo) from error


def _repairs(planes: Sequence[PlacedPlane]) -> tuple[str, ...]:
    notes = [*unreadable_note(name for plane in planes for name in plane.plane.left_out)]
    off = max(plane.repaired for plane in planes)
    if off:
        notes.append(f"The image orientation is not quite perpendicular ({off:.4f}); the nearest that is was taken.")
    if not planes[0].ds.get("FrameOfReferenceUID"):
        notes.append("The images name no frame of reference: viewers may not link the results to other series.")
    return tuple(notes)
