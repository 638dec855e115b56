"""The one boundary between Candela's volumes and MONAI's images.

Candela: array index (slice, row, column), patient coordinates LPS in mm. MONAI: tensor (channel, X, Y, Z) with X the
column, Y the row and Z the slice, as NIfTI files have them, and an affine from (X, Y, Z) to RAS in mm. RAS is LPS with
the signs of x and y turned (x to the right, y to the front): `pipeline.geometry.ras.to_ras` turns them, for NIfTI files
and for MONAI alike, and nothing else does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from pipeline.geometry.ras import to_ras
from pipeline.geometry.volume import Affine, FloatArray, Volume

SAME_MM = 1e-3
"""How far, in mm at the grid's corners, two affines may differ and still be one grid."""


def ras_affine(volume: Volume) -> Affine:
    """Maps (column, row, slice, 1) of ``volume`` to patient coordinates in mm, RAS."""
    return to_ras(volume.affine)


def projection_affine(volume: Volume) -> Affine:
    """Maps (column, row, 0, 1) of a projection to mm in its own plane: its pixels have no place in the patient."""
    _, row_mm, column_mm = volume.spacing
    return np.diag([column_mm, row_mm, 1.0, 1.0])


def spatial(volume: Volume, *, projection: bool) -> FloatArray:
    """The voxels as MONAI orders them, (X, Y, Z), or (X, Y) of a projection: a view, nothing is copied."""
    return volume.array[0].T if projection else volume.array.T


def as_image(volume: Volume) -> MetaTensor:
    """``volume`` as MONAI's image (1, X, Y, Z) with its affine to RAS. Its array is not copied: change it nowhere."""
    voxels = torch.from_numpy(np.ascontiguousarray(volume.array)).permute(2, 1, 0)[None]
    return MetaTensor(voxels, affine=torch.from_numpy(ras_affine(volume)))


def to_source(tensor: Tensor) -> npt.NDArray[np.generic]:
    """A tensor (channel, X, Y, Z) or (channel, X, Y) on the source grid as (channel, slice, row, column)."""
    array = tensor.detach().as_subclass(Tensor).cpu()
    turned = array.permute(0, 3, 2, 1) if array.ndim == 4 else array.permute(0, 2, 1)[:, None]
    found: npt.NDArray[np.generic] = turned.numpy()
    return found


def same_grid(shape: tuple[int, ...], affine: Affine, other_shape: tuple[int, ...], other: Affine) -> bool:
    """Whether two grids of (X, Y, Z) coincide to a thousandth of a millimetre at each corner."""
    if shape != other_shape:
        return False
    corners = np.array(np.meshgrid(*[(0, side - 1) for side in (*shape, 1, 1)[:3]], indexing="ij")).reshape(3, -1)
    away = (affine - other)[:3] @ np.vstack([corners, np.ones(corners.shape[1])])
    return bool(np.abs(away).max() <= SAME_MM)
