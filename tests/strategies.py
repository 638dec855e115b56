"""Hypothesis strategies that new features join."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from pipeline.phantom import Header, series_from_arrays

finite = st.floats(-1, 1, allow_nan=False)


@st.composite
def rotations(draw: st.DrawFn) -> np.ndarray:
    """A random proper rotation, 3×3."""
    quaternion = np.array([draw(finite) for _ in range(4)])
    norm = np.linalg.norm(quaternion)
    return np.eye(3) if norm < 1e-3 else Rotation.from_quat(quaternion / norm).as_matrix()


@st.composite
def oblique_series(draw: st.DrawFn) -> tuple[list[Dataset], np.ndarray]:
    """A regular series in any orientation, order and spacing, and its true affine (slice, row, column) → LPS mm.

    Every instance's pixels all hold its true plane index, so that the order can be read back.
    """
    count = draw(st.integers(3, 9))
    rows, columns = draw(st.integers(2, 5)), draw(st.integers(2, 5))
    pixel = draw(st.floats(0.2, 3)), draw(st.floats(0.2, 3))
    step = draw(st.floats(0.5, 10))
    rotation = draw(rotations())
    origin = np.array([draw(st.floats(-300, 300)) for _ in range(3)])
    across, down = rotation[:, 0], rotation[:, 1]
    normal = np.cross(across, down)
    array = np.broadcast_to(np.arange(count)[:, None, None], (count, rows, columns))
    made = series_from_arrays(array, plane="axial", pixel_spacing=1, slice_spacing=1, header=Header(key="property"))
    for index, ds in enumerate(made):
        ds.ImageOrientationPatient = [float(value) for value in (*across, *down)]
        ds.ImagePositionPatient = [float(value) for value in origin + normal * step * index]
        ds.PixelSpacing = [pixel[0], pixel[1]]
        ds.InstanceNumber = draw(st.integers(1, 1000))  # numbers lie; positions decide
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = normal * step, down * pixel[0], across * pixel[1]
    affine[:3, 3] = origin
    return draw(st.permutations(made)), affine
