"""Heads that are drawn in any pose and contrast, as volumes and as series: each seed is another person.

Unlike the phantom's (`pipeline.phantom`), left and right differ, as in real heads: a registration is told from its
mirror image by that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from scipy.ndimage import gaussian_filter, map_coordinates

from pipeline.findings.identity import derived_uid
from pipeline.geometry.volume import Affine, Volume
from pipeline.phantom import Header, series_from_arrays

Array = npt.NDArray[np.float64]
TISSUES = ("air", "scalp", "skull", "fluid", "cortex", "white", "nucleus", "lesion")
SIGNAL = {
    "t1": (0, 1000, 100, 190, 470, 640, 520, 450),
    "t1c": (0, 1000, 100, 190, 480, 650, 530, 1150),
    "t2": (0, 500, 80, 1100, 640, 430, 520, 900),
    "flair": (0, 600, 80, 120, 640, 470, 560, 980),
}
"""Signal of each tissue, by contrast."""
LESION = ((27.0, -18.0, 16.0), 14.0)
"""Centre (LPS, mm) and radius."""
FIELD_MM = 3.0


def tissues(points: Array, seed: int, *, lesion: bool = True) -> npt.NDArray[np.int_]:
    """Index of the tissue (`TISSUES`) at ``points`` (..., 3), LPS in mm, of the head ``seed``, whose middle is at 0."""
    rng = np.random.default_rng(seed)
    side = int(260 / FIELD_MM)
    fields = [gaussian_filter(rng.standard_normal((side,) * 3), width) for width in (2.0, 4.0)]
    place = np.moveaxis(points / FIELD_MM + (side - 1) / 2, -1, 0)
    folds, broad = (map_coordinates(field / field.std(), place, order=1, mode="nearest") for field in fields)
    size = rng.uniform(0.92, 1.08, 3)
    x, y, z = np.moveaxis(points / size, -1, 0)

    def radius(a: float, b: float, c: float, centre: Sequence[float] = (0.0, 0.0, 0.0)) -> Array:
        found: Array = np.sqrt(((x - centre[0]) / a) ** 2 + ((y - centre[1]) / b) ** 2 + ((z - centre[2]) / c) ** 2)
        return found

    head, skull, brain = radius(79, 99, 88), radius(73, 93, 82), radius(66, 85, 75)
    found = np.where(head < 1, 1, 0)
    found = np.where(skull < 1, 2, found)
    found = np.where(brain < 1.03, 3, found)
    found = np.where(brain < 0.98 + 0.03 * folds, 4, found)
    found = np.where(brain < 0.83 + 0.09 * folds + 0.05 * broad, 5, found)
    found = np.where((np.abs(x + 2 * broad) < 1.6) & (brain < 1), 3, found)
    for way in (-1.0, 1.0):
        moved = rng.uniform(-4, 4, 3)
        centre = np.array((way * 12, 4, 12)) + moved
        found = np.where(radius(7, 26, 10, centre) < 1 + 0.2 * broad, 3, found)
        centre = np.array((way * 24, -2, -4)) + moved
        found = np.where(radius(12, 15, 12, centre) < 1 + 0.2 * broad, 6, found)
    if lesion:
        found = np.where(np.linalg.norm(points - np.array(LESION[0]), axis=-1) < LESION[1], 7, found)
    return found


def grid(shape: tuple[int, int, int], spacing: tuple[float, float, float], *, motion: Affine | None = None) -> Affine:
    """An affine of axial slices around 0, as scanners lay them, then moved by ``motion``: LPS mm to LPS mm."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1] * np.array(spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine if motion is None else motion @ affine


def motion(degrees: float, shift: Sequence[float], axis: Sequence[float] = (0.3, -0.5, 0.8)) -> Affine:
    """A rotation about ``axis`` through 0, then a shift in mm (Rodrigues)."""
    one = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -one[2], one[1]], [one[2], 0, -one[0]], [-one[1], one[0], 0]])
    angle = np.deg2rad(degrees)
    made = np.eye(4)
    made[:3, :3] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    made[:3, 3] = shift
    return made


def drawn(
    affine: Affine,
    shape: tuple[int, int, int],
    *,
    contrast: str = "t1",
    seed: int = 1,
    pose: Affine | None = None,
    noise: int = 0,
    lesion: bool = True,
) -> npt.NDArray[np.float32]:
    """The voxels (slices, rows, columns) of the head ``seed`` on a grid. ``pose``: where the head lies (from 0)."""
    index = np.moveaxis(np.indices(shape, dtype=np.float64), 0, -1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    if pose is not None:
        back = np.linalg.inv(pose)
        points = points @ back[:3, :3].T + back[:3, 3]
    signal = np.array(SIGNAL[contrast], dtype=np.float64)[tissues(points, seed, lesion=lesion)]
    blurred = gaussian_filter(signal, 0.5)
    rng = np.random.default_rng(noise)
    shaken = np.hypot(blurred + rng.normal(0, 14, shape), rng.normal(0, 14, shape))
    return shaken.astype(np.float32)


def volume(
    shape: tuple[int, int, int] = (48, 80, 80),
    spacing: tuple[float, float, float] = (4.0, 2.75, 2.75),
    *,
    contrast: str = "t1",
    seed: int = 1,
    pose: Affine | None = None,
    frame: str = "1.2.1",
    uid: str = "1.2.3",
    **more: object,
) -> Volume:
    """A volume with as much of a header as bringing it onto a grid asks for."""
    affine = grid(shape, spacing)
    header = Dataset()
    header.SeriesInstanceUID, header.StudyInstanceUID, header.FrameOfReferenceUID = uid, "1.2", frame
    header.BodyPartExamined = "BRAIN"
    for keyword, value in more.items():
        setattr(header, keyword, value)
    array = drawn(affine, shape, contrast=contrast, seed=seed, pose=pose, noise=len(uid))
    return Volume(array, affine, (header,) * shape[0])


TIMES = {
    "t1": {"RepetitionTime": "500", "EchoTime": "15", "ContrastBolusAgent": ""},
    "t1c": {"RepetitionTime": "500", "EchoTime": "15", "ContrastBolusAgent": "SIMULATED"},
    "t2": {"RepetitionTime": "4000", "EchoTime": "100", "ContrastBolusAgent": ""},
    "flair": {
        "ScanningSequence": ["SE", "IR"],
        "RepetitionTime": "9000",
        "EchoTime": "120",
        "InversionTime": "2500",
        "ContrastBolusAgent": "",
    },
}
"""What the header of each contrast says beside `pipeline.phantom`'s."""


def series(
    contrast: str,
    *,
    name: str = "",
    shape: tuple[int, int, int] = (20, 40, 40),
    spacing: tuple[float, float] = (8.0, 5.5),
    seed: int = 1,
    pose: Affine | None = None,
    frame: str = "frame",
    key: str = "heads",
    **values: object,
) -> tuple[Dataset, ...]:
    """One series of the study ``key``: axial slices ``spacing`` (between slices, of pixels; mm), as instances."""
    slice_mm, pixel_mm = spacing
    array = drawn(grid(shape, (slice_mm, pixel_mm, pixel_mm)), shape, contrast=contrast, seed=seed, pose=pose)
    header = Header(key=f"{key}/{name or contrast}", series_description=f"{contrast} phantom")
    made = series_from_arrays(array, plane="axial", pixel_spacing=pixel_mm, slice_spacing=slice_mm, header=header)
    for ds in made:
        ds.StudyInstanceUID, ds.FrameOfReferenceUID = derived_uid("made", key), derived_uid("made", key, frame)
        ds.SeriesNumber = 1 + list(SIGNAL).index(contrast)
        for keyword, value in {**TIMES[contrast], **values}.items():
            setattr(ds, keyword, value)
    return made
