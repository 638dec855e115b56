"""A volume's voxels on another grid, by SimpleITK.

Both grids are handed to ITK by their indices, and the transform between indices carries the affines: so a grid may also
be sheared (tilted gantry), which ITK's own origin, spacing and direction cannot say.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - as ITK's own examples name it

from pipeline.geometry.volume import Affine, FloatArray, Volume

TURNED = np.eye(4)[[2, 1, 0, 3]]
"""From (slice, row, column, 1) to ITK's (x, y, z, 1), and back."""
sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
"""The sums of a registration depend on the order of its threads; a result must not. A filter's own number of threads
does not reach every sum (2.5.7), so it is set for the whole process; nothing else in Candela uses ITK."""


def resample(
    moving: Volume, shape: tuple[int, int, int], affine: Affine, to_moving: Affine | None = None
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """The voxels of ``moving`` on the grid of ``shape`` (slices, rows, columns) and ``affine``, and where it has some.

    Linear between voxel centres; the outermost voxels hold to their edges. Beyond, outside of the field of view, stands
    the least value of ``moving``: air. ``to_moving`` (4, 4) takes the patient coordinates of the grid (LPS, mm) to
    those of ``moving``; by default they are the same.
    """
    between = np.linalg.inv(moving.affine) @ (np.eye(4) if to_moving is None else to_moving) @ affine
    between = TURNED @ between @ TURNED
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(between[:3, :3].ravel().tolist())
    transform.SetTranslation(between[:3, 3].tolist())
    lowest = float(moving.array.min())
    image = sitk.GetImageFromArray(np.ascontiguousarray(moving.array, dtype=np.float32))
    found = _filter(shape, transform, sitk.sitkLinear, lowest).Execute(image)
    values: FloatArray = sitk.GetArrayFromImage(found)
    return values, _inside(between, shape, moving.shape)


def _filter(
    shape: tuple[int, int, int], transform: sitk.Transform, interpolator: int, outside: float
) -> sitk.ResampleImageFilter:
    made = sitk.ResampleImageFilter()
    made.SetSize(shape[::-1])
    made.SetTransform(transform)
    made.SetInterpolator(interpolator)
    made.SetDefaultPixelValue(outside)
    return made


def _inside(between: Affine, shape: tuple[int, int, int], moving: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Where an index (x, y, z) of the grid falls within the voxels of ``moving``."""
    inside = np.ones(shape, dtype=np.bool_)
    z, y, x = (np.arange(size, dtype=np.float32) for size in shape)
    for row, size in zip(between[:3].astype(np.float32), moving[::-1], strict=True):
        place = row[0] * x + row[1] * y[:, None] + (row[2] * z[:, None, None] + row[3])
        inside &= (place >= -0.5) & (place <= size - 0.5)
    return inside
