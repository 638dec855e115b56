"""A head phantom with a lesion, as a classic MR series; also honest headers around given arrays.

The demo and the tests need a series that may be published. This one is computed: ellipsoids for scalp, skull, brain
and ventricles, a noise field for the folds, and one ball that enhances. It is not a patient, and every header says so
(QualityControlImage YES, PS3.3 C.8.3.1; the description ends in "phantom").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from scipy.ndimage import gaussian_filter

from pipeline.findings.identity import derived_uid

Plane = Literal["axial", "coronal", "sagittal"]
Vector = tuple[float, float, float]
Grid = npt.NDArray[np.float64]

# Direction (LPS) of increasing column index, then of increasing row index: how each plane is displayed.
DIRECTIONS: dict[Plane, tuple[Vector, Vector]] = {
    "axial": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
}
FIELD_OF_VIEW = 240.0
COVERAGE: dict[Plane, float] = {"axial": 120.0, "coronal": 130.0, "sagittal": 76.0}
"""Thickness in mm of the stack of slices: the part of the head with brain and skull, without neck and face."""
LEFT_TO_RIGHT: dict[Plane, int] = {"axial": 2, "coronal": 2, "sagittal": 0}
"""The array axis, of (slices, rows, columns), along which left and right lie."""
LESION_CENTRE: Vector = (27.0, -18.0, 16.0)
LESION_RADIUS = 14.0


@dataclass(frozen=True)
class Header:
    """Header values of a computed series."""

    patient_id: str = "CANDELA-PHANTOM"
    patient_name: str = "Phantom^Candela"
    study_description: str = "MR HEAD PHANTOM"
    series_description: str = "T1 SE POST GD phantom"
    accession_number: str = "PHANTOM-1"
    body_part: str = "BRAIN"
    key: str = "phantom"
    """The key from which the UIDs of the series are derived."""


def head_phantom(
    *,
    slices: int = 24,
    matrix: int = 256,
    plane: Plane = "axial",
    lesion: bool = True,
    seed: int = 0,
    header: Header | None = None,
) -> tuple[Dataset, ...]:
    """The phantom's instances, in ascending order along the slice normal, with pixel data and file meta.

    ``matrix`` is rows and columns over a 240 mm field of view; the slices cover the head. The lesion, where wanted,
    is a ball of 14 mm radius around `LESION_CENTRE` (LPS, mm). The same arguments give the same bytes.
    """
    signal, spacing, thickness = _drawn(slices, matrix, plane, lesion=lesion, seed=seed)
    kind = "lesion" if lesion else "healthy"
    made = header or Header(key=f"phantom/{plane}/{slices}/{matrix}/{kind}/{seed}")
    return series_from_arrays(signal, plane=plane, pixel_spacing=spacing, slice_spacing=thickness, header=made)


def lesion_mask(datasets: Iterable[Dataset]) -> npt.NDArray[np.bool_]:
    """Mask of the phantom's lesion, (slices, rows, columns), on the pixels of ``datasets`` in their order."""
    planes = []
    for ds in datasets:
        origin = np.array(ds.ImagePositionPatient, dtype=np.float64)
        along_columns = np.array(ds.ImageOrientationPatient[:3], dtype=np.float64) * float(ds.PixelSpacing[1])
        along_rows = np.array(ds.ImageOrientationPatient[3:], dtype=np.float64) * float(ds.PixelSpacing[0])
        rows, columns = np.mgrid[0 : ds.Rows, 0 : ds.Columns]
        points = origin + rows[..., None] * along_rows + columns[..., None] * along_columns
        planes.append(np.linalg.norm(points - np.array(LESION_CENTRE), axis=-1) < LESION_RADIUS)
    return np.stack(planes)


def series_from_arrays(
    array: npt.NDArray[np.floating] | npt.NDArray[np.integer],
    *,
    plane: Plane,
    pixel_spacing: float,
    slice_spacing: float,
    header: Header,
) -> tuple[Dataset, ...]:
    """Classic MR instances around ``array`` (slices, rows, columns; values 0..4095), centred on the patient's origin.

    Spacings in mm. Rows of the array are displayed downwards and columns to the right, in the plane's usual way.
    """
    across, down = (np.array(vector) for vector in DIRECTIONS[plane])
    normal = np.cross(across, down)
    count, rows, columns = array.shape
    first = (
        -across * pixel_spacing * (columns - 1) / 2
        - down * pixel_spacing * (rows - 1) / 2
        - normal * slice_spacing * (count - 1) / 2
    )
    study, series, frame = (derived_uid("made", header.key, what) for what in ("study", "series", "frame"))
    instances = []
    for index in range(count):
        ds = instance_of(header)
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.SOPInstanceUID = derived_uid("made", header.key, f"{index}")
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.InstanceNumber = index + 1
        ds.ImageOrientationPatient = [float(value) for value in (*across, *down)]
        ds.ImagePositionPatient = [round(float(value), 6) for value in first + normal * slice_spacing * index]
        ds.SliceThickness = ds.SpacingBetweenSlices = round(slice_spacing, 6)
        ds.PixelSpacing = [round(pixel_spacing, 6)] * 2
        ds.Rows, ds.Columns = rows, columns
        ds.PixelData = np.clip(array[index], 0, 4095).astype("<u2").tobytes()
        ds["PixelData"].VR = "OW"
        instances.append(ds)
    return tuple(instances)


def save(datasets: Iterable[Dataset], folder: Path) -> list[Path]:
    """Write each instance to ``folder`` (created where missing) as IM0001.dcm, ... and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, ds in enumerate(datasets, start=1):
        path = folder / f"IM{number:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def instance_of(header: Header) -> Dataset:
    """An MR instance without geometry or pixels; T1 spin echo, contrast declared as simulated."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = MRImageStorage
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "SE"]
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260105"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
    ds.AccessionNumber = header.accession_number
    ds.Modality = "MR"
    ds.Manufacturer = "Phantom"
    ds.ManufacturerModelName = "Computed head"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = header.study_description
    ds.SeriesDescription = header.series_description
    ds.PatientName = header.patient_name
    ds.PatientID = header.patient_id
    ds.PatientBirthDate = ""
    ds.PatientSex = "O"
    ds.BodyPartExamined = header.body_part
    ds.PatientPosition = "HFS"
    ds.ContrastBolusAgent = "SIMULATED"
    ds.QualityControlImage = "YES"
    ds.ScanningSequence = "SE"
    ds.SequenceVariant = "NONE"
    ds.ScanOptions = ""
    ds.MRAcquisitionType = "2D"
    ds.RepetitionTime = "500"
    ds.EchoTime = "15"
    ds.EchoTrainLength = "1"
    ds.MagneticFieldStrength = "1.5"
    ds.FlipAngle = "90"
    ds.StudyID = "1"
    ds.SeriesNumber = 3
    ds.AcquisitionNumber = 1
    ds.PositionReferenceIndicator = ""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth = "600", "1200"
    return ds


@lru_cache(maxsize=16)
def _drawn(slices: int, matrix: int, plane: Plane, *, lesion: bool, seed: int) -> tuple[Grid, float, float]:
    """The signal (slices, rows, columns), not to be written to, and the spacing of pixels and of slices in mm."""
    spacing, thickness = FIELD_OF_VIEW / matrix, COVERAGE[plane] / slices
    signal = _signal(
        _grid(slices, matrix, spacing, thickness, plane), spacing, thickness, plane, lesion=lesion, seed=seed
    )
    signal.flags.writeable = False
    return signal, spacing, thickness


def _grid(slices: int, matrix: int, spacing: float, thickness: float, plane: Plane) -> Grid:
    """Patient coordinates (slices, rows, columns, 3) of every voxel's centre, LPS, mm."""
    across, down = (np.array(vector) for vector in DIRECTIONS[plane])
    normal = np.cross(across, down)
    k, r, c = np.meshgrid(
        (np.arange(slices) - (slices - 1) / 2) * thickness,
        (np.arange(matrix) - (matrix - 1) / 2) * spacing,
        (np.arange(matrix) - (matrix - 1) / 2) * spacing,
        indexing="ij",
    )
    points: Grid = k[..., None] * normal + r[..., None] * down + c[..., None] * across
    return points


def _signal(points: Grid, spacing: float, thickness: float, plane: Plane, *, lesion: bool, seed: int) -> Grid:
    """T1-weighted signal, 0..4095, at ``points``, a grid around the origin."""
    rng = np.random.default_rng(seed)
    x, y, z = np.moveaxis(points, -1, 0)
    folds = rng.standard_normal(x.shape)
    folds = gaussian_filter(folds, (4.0 / thickness, 4.0 / spacing, 4.0 / spacing))
    folds += np.flip(folds, axis=LEFT_TO_RIGHT[plane])  # both halves fold alike: asymmetry would read as disease
    folds /= max(float(np.abs(folds).max()), 1e-9)

    def radius(a: float, b: float, c: float, centre: Vector = (0.0, 0.0, 0.0)) -> Grid:
        flat = ((x - centre[0]) / a) ** 2 + ((y - centre[1]) / b) ** 2
        value: Grid = np.sqrt(flat + np.abs((z - centre[2]) / c) ** 3)  # a head is squarer than an egg
        return value

    head, skull, brain = radius(79, 99, 88), radius(73, 93, 82), radius(66, 85, 75)
    signal = np.where(head < 1, 1050.0, 0.0)  # scalp fat
    signal = np.where(skull < 1, 120.0, signal)
    signal = np.where(brain < 1.03, 190.0, signal)  # cerebrospinal fluid
    signal = np.where(brain < 1 + 0.1 * folds, 470.0, signal)  # cortex
    signal = np.where(brain < 0.86 + 0.35 * folds, 640.0, signal)  # white matter
    signal = np.where((np.abs(x) < 1.6 + 2 * folds) & (brain < 1), 210.0, signal)  # fissure
    for side in (-1.0, 1.0):
        signal = np.where(radius(6, 26, 10, (side * 11, 4, 12)) < 1 + 0.3 * folds, 170.0, signal)  # ventricles
        signal = np.where(radius(12, 15, 12, (side * 22, -2, -2)) < 1 + 0.2 * folds, 520.0, signal)  # basal ganglia
    signal += np.where(brain < 1, 60.0 * folds, 0.0)
    if lesion:
        distance = np.linalg.norm(points - np.array(LESION_CENTRE), axis=-1)
        signal = np.where(distance < LESION_RADIUS, 1150.0 + 80.0 * folds, signal)
        oedema = (distance >= LESION_RADIUS) & (distance < LESION_RADIUS + 7 + 8 * folds) & (brain < 0.95)
        signal = np.where(oedema, 380.0, signal)
    coil = 1.0 + 0.12 * (y / 100.0) - 0.08 * (x / 80.0)
    blurred = gaussian_filter(signal * coil, (0, 0.7, 0.7))
    noise = rng.normal(0.0, 14.0, (2, *x.shape))
    noisy: Grid = np.hypot(blurred + noise[0], noise[1])  # Rician: magnitude of a complex signal
    return noisy
