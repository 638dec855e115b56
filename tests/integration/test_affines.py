"""Our affines and voxels are those of dcm2niix and SimpleITK, on made series and on every real one at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from pipeline import phantom
from pipeline.errors import Refused
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import Volume
from pipeline.phantom import Header, series_from_arrays
from pipeline.reading.files import read_files
from tests.conftest import DATA
from tests.shapes import enhanced
from tools.geometry_readers import (
    AGREE_MM,
    Comparison,
    Grid,
    compare,
    dcm2niix,
    has_dcm2niix,
    series_in,
    simpleitk,
)

READERS = {"dcm2niix": dcm2niix, "SimpleITK": simpleitk}


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> str:
    if request.param == "dcm2niix" and not has_dcm2niix():
        pytest.skip("dcm2niix is not installed (Debian package dcm2niix)")
    return str(request.param)


def turned(seed: int) -> list[Dataset]:
    """A series of noise in a random orientation, spacing, place and order of files."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(4, 12)), int(rng.integers(12, 40)), int(rng.integers(12, 40)))
    rotation = Rotation.random(random_state=seed).as_matrix()
    across, down, normal = rotation.T
    origin, step = rng.uniform(-150, 150, 3), float(rng.uniform(0.8, 7))
    made = series_from_arrays(
        rng.integers(0, 4096, shape),
        plane="axial",
        pixel_spacing=1,
        slice_spacing=step,
        header=Header(key=f"turn{seed}"),
    )
    for index, ds in enumerate(made):
        ds.ImageOrientationPatient = [round(float(value), 9) for value in (*across, *down)]
        ds.ImagePositionPatient = [round(float(value), 6) for value in origin + normal * step * index]
        ds.PixelSpacing = (
            [round(float(value), 4) for value in rng.uniform(0.3, 3, 2)] if index == 0 else made[0].PixelSpacing
        )
        ds.SliceThickness = ds.SpacingBetweenSlices = round(step, 5)
        ds.InstanceNumber = len(made) - index  # numbers run against the positions
    return [made[index] for index in rng.permutation(len(made))]


def saved(datasets: Sequence[Dataset], folder: Path) -> list[Path]:
    phantom.save(datasets, folder)
    return sorted(folder.iterdir())


def assert_same(volume: Volume, found: Comparison) -> None:
    assert found.mm < AGREE_MM, f"{found.mm} mm apart"
    assert found.voxels, "other values"
    assert volume.array.std() > 0, "a flat volume proves nothing"


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(4, 12))])
def test_series_in_any_orientation(seed: int, reader: str, tmp_path: Path) -> None:
    datasets = turned(seed)
    volume = build_volume(datasets)
    assert_same(volume, compare(volume, READERS[reader](saved(datasets, tmp_path / "s"))))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_phantom(plane: phantom.Plane, reader: str, tmp_path: Path) -> None:
    datasets = phantom.head_phantom(slices=8, matrix=32, plane=plane)
    volume = build_volume(datasets)
    assert_same(volume, compare(volume, READERS[reader](saved(datasets, tmp_path / "s"))))


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("seed", [1, 5])
def test_enhanced_objects(seed: int, order: str, reader: str, tmp_path: Path) -> None:
    """The frames of one multi-frame object; both readers take the order of frames as that of slices."""
    normal_first = sorted(turned(seed), key=lambda ds: -int(ds.InstanceNumber))
    ds = enhanced(normal_first if order == "ascending" else normal_first[::-1])
    volume = build_volume([ds])
    assert_same(volume, compare(volume, READERS[reader](saved([ds], tmp_path / "s"))))


def test_the_comparison_can_fail(tmp_path: Path) -> None:
    """Another reader's volume that is mirrored, shifted by a micrometre too many, or of other values is told."""
    volume = build_volume(turned(2))
    same = Grid(volume.array, volume.affine)
    assert compare(volume, [same]) == Comparison(0.0, voxels=True)
    mirrored = volume.affine.copy()
    mirrored[:, 0] *= -1
    assert compare(volume, [Grid(volume.array, mirrored)]).mm == np.inf
    shifted = volume.affine.copy()
    shifted[0, 3] += 2 * AGREE_MM
    assert compare(volume, [Grid(volume.array, shifted)]).mm == pytest.approx(2 * AGREE_MM)
    assert not compare(volume, [Grid(volume.array[::-1], volume.affine)]).voxels
    reversed_grid = Grid(volume.array[::-1], volume.affine @ reversal(volume))
    assert compare(volume, [reversed_grid]) == Comparison(pytest.approx(0.0, abs=1e-9), voxels=True)


def reversal(volume: Volume) -> np.ndarray:
    """The affine of the index that counts slices from the other end."""
    turn = np.diag([-1.0, 1.0, 1.0, 1.0])
    turn[0, 3] = volume.shape[0] - 1
    return turn


FOLDERS = sorted(path.name for path in (DATA / "dicom").iterdir()) if DATA.is_dir() else ["(absent)"]
ROUNDED_STEPS = {"ge_signa_pd_ax": 0.1}
"""Series whose positions are rounded, and to what (mm). dcm2niix takes the first step for all, so that the error grows
from slice to slice; ours and ITK's mean step keeps every slice within the rounding of where its header says."""
LACKING_A_SLICE = ("siemens_trio_t1_sag", "siemens_trio_t2_ax")
"""Refused as they are; their longest run of slices without a gap is compared."""


SHORT = ("uih_umr770_t1_sag", "siemens_trio_t2_ax", "philips_enhanced_elition")
"""Those that every run compares: rounded angles, a gap, frames of an enhanced object."""


@pytest.mark.parametrize(
    "folder", [name if name in SHORT else pytest.param(name, marks=pytest.mark.nightly) for name in FOLDERS]
)
def test_real_series(folder: str, reader: str, real_data: Path) -> None:
    """Every volume that we read of a real series lies where the others put it, to a micrometre, with equal values."""
    for _, found in series_in(real_data / "dicom" / folder):
        paths = _longest_run(found) if folder in LACKING_A_SLICE else found
        try:
            volume = build_volume(read_files(paths, paths[0].parent).datasets)
        except Refused:
            if folder in READ:
                raise
            continue
        comparison = compare(volume, READERS[reader](paths))
        if reader == "dcm2niix" and folder in ROUNDED_STEPS:
            _assert_first_step_explains(volume, dcm2niix(paths), ROUNDED_STEPS[folder])
        else:
            assert_same(volume, comparison)


READ = (
    *(
        "uih_umr770_t1_sag",
        "siemens_prisma_t1_sag_2d_HFS",
        "ge_signa_pd_ax",
        "siemens_trio_t1_sag",
        "siemens_trio_t2_ax",
    ),
    *("NOTBRAIN_ge_pioneer_t1_ax_phantom", "NOTBRAIN_ge_genesis_wrist_cor"),
)
"""Folders whose every series is a volume: none may be refused unseen. The others hold mosaics, several echoes or time
points, and objects without images; what is refused of them, docs/intake.md says."""


def _longest_run(paths: Sequence[Path]) -> list[Path]:
    """The files on the longer side of the widest gap."""
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    cosines = np.array(headers[0].ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    positions = np.array([np.array(ds.ImagePositionPatient, float) @ normal for ds in headers])
    order = np.argsort(positions)
    gap = int(np.argmax(np.diff(positions[order]))) + 1
    parts = [order[:gap], order[gap:]]
    return [paths[index] for index in max(parts, key=len)]


def _assert_first_step_explains(volume: Volume, grids: Sequence[Grid], rounding: float) -> None:
    """The affine with the first step for all is the other's; ours keeps each slice within the rounding."""
    origins = np.array([ds.ImagePositionPatient for ds in volume.sources], float)
    steps = np.arange(len(origins))[:, None]
    first_step = volume.affine.copy()
    normal = volume.affine[:3, 0] / np.linalg.norm(volume.affine[:3, 0])
    first_step[:3, 0] = normal * np.linalg.norm(origins[1] - origins[0])
    assert compare(Volume(volume.array, first_step, volume.sources), grids) == Comparison(
        pytest.approx(0, abs=AGREE_MM), voxels=True
    )
    ours = np.abs(volume.affine[:3, 3] + steps * volume.affine[:3, 0] - origins).max()
    theirs = np.abs(first_step[:3, 3] + steps * first_step[:3, 0] - origins).max()
    assert ours <= rounding < theirs
