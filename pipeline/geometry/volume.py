"""A series as a volume with its position in the patient; or one radiograph, which has no such position."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pipeline.caveats import Caveat

FloatArray = npt.NDArray[np.float32]
Affine = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Volume:
    """Voxels of one series, ordered along the slice normal; or the pixels of one projection, as a single slice.

    Attributes
    ----------
    array : float32, (slices, rows, columns), modality values (rescale slope and intercept applied).
    affine : float64, (4, 4). Maps the array index (slice, row, column, 1) to patient coordinates in mm, LPS
        (x to the patient's left, y to posterior, z to head; PS3.3 C.7.6.2.1.1), at the voxel's centre.
    sources : the header of each plane in classic form (see `pipeline.reading.slices.Slice.ds`), with or without pixel
        data, in the order of ``array``'s first axis.
    frames : the frame number, from 1, of each plane within its multi-frame instance; None for a single-frame instance.
        Empty stands for "all single-frame".
    caveats : what was left out or repaired to make one regular volume.
    subject : patient and study of the results (see `pipeline.patient.subject.Subject.header`); None where the instances
        were not compared.
    projection : the image is a radiograph (see `pipeline.geometry.projection`), one slice of no thickness: ``affine``
        maps to mm in the image's own plane (x along the columns, y along the rows), not to the patient; volumes in mm³
        mean nothing.
    """

    array: FloatArray
    affine: Affine
    sources: tuple[Dataset, ...]
    frames: tuple[int | None, ...] = ()
    caveats: tuple[Caveat, ...] = ()
    subject: Dataset | None = None
    projection: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        slices, rows, columns = self.array.shape
        return slices, rows, columns

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbours along (slice, row index, column index)."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(lengths[0]), float(lengths[1]), float(lengths[2])

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel in mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def frame(self, index: int) -> int | None:
        """Frame number, from 1, of plane ``index`` within its instance; None for a single-frame instance."""
        return self.frames[index] if self.frames else None

    @property
    def identity(self) -> Dataset:
        """The header whose patient and study every result carries."""
        return self.sources[0] if self.subject is None else self.subject

    @property
    def modality(self) -> str:
        """Modality (0008,0060) of the images, in capitals; empty where they state none."""
        return str(self.sources[0].get("Modality") or "").upper() if self.sources else ""

    @property
    def series_instance_uid(self) -> str:
        return str(self.sources[0].SeriesInstanceUID)

    @property
    def study_instance_uid(self) -> str:
        return str(self.sources[0].StudyInstanceUID)

    def to_patient(self, index: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Patient coordinates (..., 3) in mm, LPS, of array indices (..., 3) given as (slice, row, column)."""
        points = np.asarray(index, dtype=np.float64)
        return points @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Array indices (..., 3), (slice, row, column) with fractions, of patient coordinates (..., 3) in mm, LPS."""
        away = np.asarray(points, dtype=np.float64) - self.affine[:3, 3]
        return away @ np.linalg.inv(self.affine[:3, :3]).T
