"""Independent readers of DICOM geometry for comparison: dcm2niix, and SimpleITK (which reads by GDCM)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813
from pydicom.errors import InvalidDicomError

from pipeline.geometry.volume import Volume

AGREE_MM = 1e-3


@dataclass(frozen=True, eq=False)
class Grid:
    """A volume as another reader gives it: ``affine`` (4, 4) maps indices in ``array``'s own order to LPS, mm."""

    array: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """``mm``: largest distance between the two positions of a voxel; inf where their voxels do not share one grid.

    ``voxels``: whether each voxel has the same value in both.
    """

    mm: float
    voxels: bool


def series_in(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """Name and DICOM files of each series under ``folder``, named after the folder that it lies in."""
    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        try:
            ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
        except (InvalidDicomError, OSError):
            continue
        place = path.parent.relative_to(folder)
        found[str(place) if place.parts else folder.name, str(ds.get("SeriesInstanceUID", ""))].append(path)
    named: dict[str, list[list[Path]]] = defaultdict(list)
    for (name, _), paths in found.items():
        named[name].append(paths)
    for name, several in named.items():
        for number, paths in enumerate(several, start=1):
            yield (name if len(several) == 1 else f"{name} ({number})"), paths


def compare(volume: Volume, grids: Sequence[Grid]) -> Comparison:
    """``volume`` against that of ``grids`` which is nearest to it: other readers make several of some series."""
    found = [_compare(volume, grid) for grid in grids]
    return min(found, key=lambda item: (not item.voxels, item.mm), default=Comparison(np.inf, voxels=False))


def _compare(volume: Volume, grid: Grid) -> Comparison:
    """Readers order and mirror voxels differently, so they are matched by position."""
    exact = np.linalg.inv(grid.affine) @ volume.affine
    whole = np.round(exact)
    turn, offset = whole[:3, :3].astype(int), whole[:3, 3].astype(int)
    if not (np.array_equal(np.abs(turn).sum(0), [1, 1, 1]) and np.array_equal(np.abs(turn).sum(1), [1, 1, 1])):
        return Comparison(np.inf, voxels=False)
    axes = np.abs(turn).argmax(axis=0)
    signs = turn.sum(axis=0)
    array = grid.array.transpose(axes)
    starts = np.where(signs > 0, 0, np.array(array.shape) - 1)
    if array.shape != volume.shape or not np.array_equal(offset[axes], starts):
        return Comparison(np.inf, voxels=False)
    ends = np.array(volume.shape) - 1
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*ends, 1]
    apart = (corners @ (volume.affine - grid.affine @ whole).T)[:, :3]
    turned = array[tuple(slice(None, None, int(sign)) for sign in signs)]
    return Comparison(float(np.linalg.norm(apart, axis=1).max()), bool(np.allclose(turned, volume.array, rtol=1e-5)))


def dcm2niix(paths: Sequence[Path]) -> tuple[Grid, ...]:
    """The volumes that dcm2niix makes of the files: one for each NIfTI file, for each time point of a 4D one.

    Those that it resampled (``_Eq``: uneven spacing, ``_Tilt``: gantry tilt) are left out.
    """
    with _folder_of(paths) as folder, tempfile.TemporaryDirectory() as out:
        # -p n: Philips values by the rescale slope, as every other reader takes them
        command = ["dcm2niix", "-b", "n", "-z", "n", "-p", "n", "-f", "made_%s", "-o", out, str(folder)]
        subprocess.run(command, check=False, capture_output=True, timeout=300)
        made = [path for path in sorted(Path(out).glob("*.nii")) if "_Eq" not in path.name and "_Tilt" not in path.name]
        return tuple(grid for path in made for grid in _nifti(path))


def has_dcm2niix() -> bool:
    return shutil.which("dcm2niix") is not None


def _nifti(path: Path) -> Iterator[Grid]:
    image = nib.load(path)
    values = np.asanyarray(image.dataobj)
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    if values.ndim == 3:
        yield Grid(values, to_lps)
    elif values.ndim == 4:
        for time in range(values.shape[3]):
            yield Grid(values[..., time], to_lps)


def simpleitk(paths: Sequence[Path]) -> tuple[Grid, ...]:
    """The volumes that SimpleITK reads, LPS as it is there: one of each multi-frame object, one of all other files."""
    tags = ["NumberOfFrames"]
    multi = [path for path in paths if "NumberOfFrames" in pydicom.dcmread(path, specific_tags=tags)]
    images = [image for path in multi for image in _images([path])]
    images += _images([path for path in paths if path not in multi])
    return tuple(from_simpleitk(image) for image in images if image.GetDimension() == 3)


def _images(paths: Sequence[Path]) -> list[sitk.Image]:
    """The images that ITK reads from the files; none where it finds no image."""
    if not paths:
        return []
    try:
        if len(paths) == 1:
            return [sitk.ReadImage(str(paths[0]))]
        with _folder_of(paths) as folder:
            reader = sitk.ImageSeriesReader()
            reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
            return [reader.Execute()]
    except RuntimeError:
        return []


def from_simpleitk(image: sitk.Image) -> Grid:
    """The array index runs (z, y, x), ITK's own (x, y, z)."""
    directions = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions[:, ::-1], image.GetOrigin()
    return Grid(sitk.GetArrayFromImage(image), affine)


@contextmanager
def _folder_of(paths: Sequence[Path]) -> Iterator[Path]:
    """A folder that holds the files alone: both readers take whole folders."""
    with tempfile.TemporaryDirectory() as name:
        for number, path in enumerate(paths):
            (Path(name) / f"{number:05d}.dcm").symlink_to(path.resolve())
        yield Path(name)
