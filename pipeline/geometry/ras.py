"""RAS, as NIfTI files and MONAI have patient coordinates, and LPS, as DICOM has them: the one place that turns them."""

from __future__ import annotations

import numpy as np

from pipeline.geometry.volume import Affine


def to_ras(affine: Affine) -> Affine:
    """From array index (slice, row, column, 1) → LPS, mm to NIfTI index (column, row, slice, 1) → RAS, mm; (4, 4).

    It is its own inverse: an affine of NIfTI's kind comes back as Candela's.
    """
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine[:, [2, 1, 0, 3]]
