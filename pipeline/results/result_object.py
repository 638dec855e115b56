"""One DICOM object of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset


@dataclass(frozen=True)
class ResultObject:
    """One DICOM object made for a series.

    ``role`` is its kind (see `pipeline.results.profile.ObjectKind`); ``filename`` is unique within the run. ``preview``
    is what a reader would see, uint8 (rows, columns, 3) RGB, for objects that are pictures. ``profiles`` are the names
    of the profiles whose destinations get it.
    """

    role: str
    filename: str
    dataset: Dataset
    preview: npt.NDArray[np.uint8] | None = None
    profiles: tuple[str, ...] = ()
