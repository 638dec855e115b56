"""Head phantoms with a lesion that has no symmetry, and what the pipeline makes of them.

Whatever a viewer mirrors, swaps or shifts shows on them: the lesion is unlike each of its mirror images along every
axis, its first and last slices differ, it lies off the centre, and the planes are not square.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from scipy.ndimage import gaussian_filter

from pipeline import phantom
from pipeline.findings.model import ClassProbability, ModelIdentity, Outcome, Prediction
from pipeline.geometry.volume import Volume
from pipeline.process import Processed, process
from pipeline.reading.files import Series
from pipeline.results.profile import KINDS, PRESETS, Profile

Name = Literal["axial", "coronal", "sagittal", "oblique"]
BoolArray = npt.NDArray[np.bool_]
PLANES: dict[Name, phantom.Plane] = {
    "axial": "axial",
    "coronal": "coronal",
    "sagittal": "sagittal",
    "oblique": "axial",
}
TILT = {"oblique": (18.0, -12.0)}
"""Degrees about the patient's x axis, then y axis."""
SLICES, ROWS, COLUMNS, MATRIX = 16, 120, 96, 128
BOXES = (
    ((20, 40), (-28, -10), (4, 28)),  # the body
    ((40, 56), (-26, -18), (14, 24)),  # an arm to the patient's left
    ((22, 30), (-48, -28), (4, 14)),  # one to anterior
    ((20, 27), (-18, -10), (28, 42)),  # one to the head
)
"""(x, y, z) ranges in mm, LPS."""
SIGNAL = 1500.0
PROFILES = {
    "orthanc-ohif": PRESETS["orthanc-ohif"],
    "generic-pacs": PRESETS["generic-pacs"],
    "everything": Profile(objects=KINDS, omit_empty_frames=False, heatmap_planes="all"),
    "turned": Profile(objects=("heatmap",), heatmap_frame_order="descending", heatmap_planes="all"),
}
"""The forms that are looked at, all in one study: an object of another form is another object, in another series."""


@dataclass(frozen=True)
class Acquisition:
    """A series, where its lesion is, and every result of it.

    ``mask`` is (slices, rows, columns) on the pixels of ``datasets``, in their order.
    """

    name: Name
    datasets: tuple[Dataset, ...]
    mask: BoolArray

    @functools.cached_property
    def processed(self) -> Processed:
        """Every result, in the form of each of `PROFILES`."""
        ticks = itertools.count()
        return process(
            Series(self.datasets),
            KnowsTheLesion(self.mask),
            now=lambda: float(next(ticks)),
            recorded=datetime(2026, 1, 5, 10, 15, tzinfo=UTC),
            profiles=PROFILES,
        )

    @property
    def study_instance_uid(self) -> str:
        return str(self.datasets[0].StudyInstanceUID)

    @property
    def series_instance_uid(self) -> str:
        return str(self.datasets[0].SeriesInstanceUID)

    @property
    def lesion_slices(self) -> tuple[int, ...]:
        """The planes that the lesion touches, ascending."""
        return tuple(int(k) for k in np.flatnonzero(self.mask.any(axis=(1, 2))))

    @property
    def first_middle_last(self) -> tuple[int, int, int]:
        """The first, middle and last plane of the lesion."""
        slices = self.lesion_slices
        return slices[0], slices[len(slices) // 2], slices[-1]

    def results(self, role: str, profile: str = "orthanc-ohif") -> list[Dataset]:
        """The result objects of ``role`` that destinations with ``profile`` get."""
        return [item.dataset for item in self.processed.objects if item.role == role and profile in item.profiles]


class KnowsTheLesion:
    """A model that outlines ``mask``: what the viewers show can be held against what is known."""

    identity = ModelIdentity(
        name="known_lesion",
        title="Known lesion",
        version="1.0.0",
        digest="0123456789abcdef" * 4,
        parameters=("made=1",),
    )
    classes = ("glioma", "meningioma", "pituitary_tumor", "no_tumor")

    def __init__(self, mask: BoolArray) -> None:
        self._mask = mask

    def check(self, header: Dataset) -> tuple[str, ...]:
        return ()

    def predict(self, volume: Volume) -> Prediction:
        assert volume.shape == self._mask.shape
        heatmap = gaussian_filter(self._mask.astype(np.float32), (1, 4, 4))
        shares = (0.86, 0.09, 0.03, 0.02)
        return Prediction(
            outcome=Outcome.FINDING,
            predicted_class="glioma",
            probabilities=tuple(ClassProbability(*pair) for pair in zip(self.classes, shares, strict=True)),
            mask=self._mask,
            heatmap=(heatmap / heatmap.max()).astype(np.float32),
            key_slice=int(np.argmax(self._mask.sum(axis=(1, 2)))),
        )


@functools.cache
def acquire(name: Name) -> Acquisition:
    """The phantom in the planes of ``name``."""
    datasets = _series(name)
    return Acquisition(name, datasets, lesion(datasets))


def lesion(datasets: tuple[Dataset, ...]) -> BoolArray:
    """Where the lesion is, (slices, rows, columns), on the pixels of ``datasets``."""
    planes = []
    for ds in datasets:
        origin = np.array(ds.ImagePositionPatient, dtype=np.float64)
        across = np.array(ds.ImageOrientationPatient[:3], dtype=np.float64) * float(ds.PixelSpacing[1])
        down = np.array(ds.ImageOrientationPatient[3:], dtype=np.float64) * float(ds.PixelSpacing[0])
        rows, columns = np.mgrid[0 : ds.Rows, 0 : ds.Columns]
        points = origin + rows[..., None] * down + columns[..., None] * across
        planes.append(np.any([_inside(points, box) for box in BOXES], axis=0))
    return np.stack(planes)


def save(datasets: list[Dataset] | tuple[Dataset, ...], folder: Path) -> list[Path]:
    """Each of ``datasets`` as a file in ``folder``, named by its UID."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{ds.SOPInstanceUID}.dcm" for ds in datasets]
    for ds, path in zip(datasets, paths, strict=True):
        ds.save_as(path, enforce_file_format=True)
    return paths


def _inside(points: npt.NDArray[np.float64], box: tuple[tuple[float, float], ...]) -> BoolArray:
    inside = [(points[..., axis] >= low) & (points[..., axis] < high) for axis, (low, high) in enumerate(box)]
    return np.all(inside, axis=0)


def _series(name: Name) -> tuple[Dataset, ...]:
    plane = PLANES[name]
    head = phantom.head_phantom(slices=SLICES, matrix=MATRIX, plane=plane, lesion=False)
    top, left = MATRIX - ROWS, (MATRIX - COLUMNS) // 2
    signal = np.stack([ds.pixel_array[top:, left : left + COLUMNS] for ds in head])
    header = phantom.Header(
        key=f"viewer/{name}", patient_id=f"VIEWER-{name.upper()}", series_description=f"T1 POST {name} phantom"
    )
    made = phantom.series_from_arrays(
        signal,
        plane=plane,
        pixel_spacing=phantom.FIELD_OF_VIEW / MATRIX,
        slice_spacing=phantom.COVERAGE[plane] / SLICES,
        header=header,
    )
    if name in TILT:
        _tilt(made, *TILT[name])
    for ds, outlined, pixels in zip(made, lesion(made), signal, strict=True):
        ds.PixelData = np.where(outlined, SIGNAL, pixels).astype("<u2").tobytes()
        ds["PixelData"].VR = "OW"
    return made


def _tilt(datasets: tuple[Dataset, ...], about_x: float, about_y: float) -> None:
    """Turn the planes about the patient's origin; degrees."""
    a, b = np.deg2rad([about_x, about_y])
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turn = turn_y @ turn_x
    for ds in datasets:
        orientation = np.array(ds.ImageOrientationPatient, dtype=np.float64).reshape(2, 3) @ turn.T
        ds.ImageOrientationPatient = [round(float(value), 6) for value in orientation.ravel()]
        position = np.array(ds.ImagePositionPatient, dtype=np.float64) @ turn.T
        ds.ImagePositionPatient = [round(float(value), 6) for value in position]
