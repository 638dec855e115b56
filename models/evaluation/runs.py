"""Volumes and pictures to train or try a model on, of series that the product itself would refuse."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from pydicom.dataset import Dataset

from pipeline.errors import MissingSlices
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import FloatArray, Volume

IMAGES_IN_MOSAIC = (0x0019, 0x100A)
"""Siemens' private count of tiles."""


def longest_run(datasets: Sequence[Dataset]) -> tuple[Volume, int]:
    """The volume of a series; where slices are missing, of its longest run without a gap; and how many slices it has.

    The product refuses a series with gaps. Here it is about the model alone.
    """
    try:
        volume = build_volume(datasets)
    except MissingSlices:
        if any("ImagePositionPatient" not in ds for ds in datasets):  # frames of a multi-frame object
            raise
        orientation = np.array(datasets[0].ImageOrientationPatient, dtype=float)
        normal = np.cross(orientation[:3], orientation[3:])
        places = np.array([np.dot(normal, np.array(ds.ImagePositionPatient, dtype=float)) for ds in datasets])
        order = np.argsort(places)
        steps = np.diff(places[order])
        cuts = [0, *(np.flatnonzero(steps > 1.5 * np.median(steps)) + 1), len(datasets)]
        first, last = max(pairwise(cuts), key=lambda run: run[1] - run[0])
        return build_volume([datasets[k] for k in order[first:last]]), int(last - first)
    return volume, len(volume.array)


def tiles_of(ds: Dataset) -> FloatArray:
    """The frames of a Siemens mosaic, (frames, rows, columns), as they lie in it."""
    values = ds.pixel_array.astype(np.float32)
    count = int(ds[IMAGES_IN_MOSAIC].value)
    side = int(np.ceil(np.sqrt(count)))
    rows, columns = values.shape[0] // side, values.shape[1] // side
    return values.reshape(side, rows, side, columns).swapaxes(1, 2).reshape(-1, rows, columns)[:count]
