"""Boxes of a detector, from the grid that its network read to the source and the patient."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data.box_utils import convert_box_mode
from torch import Tensor

from models.workflow.volumes.grids import Grids
from pipeline.findings.answers import Box, Concept

STANDARD = "xyzxyz"
Corners = npt.NDArray[np.float64]


def placed(found: Tensor, mode: str | type, grids: Grids) -> list[Corners]:
    """The corners of boxes (n, 4 or 6), in ``mode`` on the network's grid, as source indices (slice, row, column).

    MONAI's step to world coordinates takes two opposite corners through the affine, which is wrong for oblique series;
    here all eight (four of a projection) are taken.

    Raises
    ------
    ValueError
        where they are no boxes: of another width, or with an end before its beginning.
    """
    axes = 2 if grids.projection else 3
    if found.numel() == 0:
        return []
    if found.ndim != 2 or found.shape[1] != 2 * axes:
        raise ValueError(f"shape {tuple(found.shape)}, {2 * axes} numbers each are wanted")
    plain: Any = found.as_subclass(Tensor).detach().cpu().double().numpy()
    if mode != STANDARD:
        plain = convert_box_mode(plain, src_mode=mode, dst_mode="xyxy" if axes == 2 else STANDARD)
    ends = np.asarray(plain).reshape(-1, 2, axes)
    if (ends[:, 1] < ends[:, 0]).any():
        raise ValueError("a box ends before it begins")
    return [grids.source_index(_corners(low, high)) for low, high in ends]


def box(finding: Concept, score: float, corners: Corners, grids: Grids) -> Box:
    """One detected object with its place in the patient."""
    return Box(finding, score, corners, None if grids.projection else grids.source.to_patient(corners))


def _corners(low: Corners, high: Corners) -> Corners:
    points = np.array(list(product(*zip(low, high, strict=True))), dtype=np.float64)
    return np.hstack([points, np.zeros((len(points), 3 - points.shape[1]))])
