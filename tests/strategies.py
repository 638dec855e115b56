"""Hypothesis strategies that new features join."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from pipeline.phantom import DIRECTIONS, Header, series_from_arrays
from pipeline.preprocess.recipe import Recipe

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


@dataclass(frozen=True)
class Landmarked:
    """A series with a ball in it.

    ``datasets`` in any order; ``centre`` (3,) and ``radius`` of the ball, LPS and mm; ``recipe`` what a network asks
    for; ``plane`` how the slices lie before they were turned by ``turn``, a rotation vector in degrees.
    """

    datasets: list[Dataset]
    centre: np.ndarray
    radius: float
    recipe: Recipe
    plane: str
    turn: np.ndarray


@st.composite
def landmarked_series(draw: st.DrawFn, *, oblique: bool = True) -> Landmarked:
    """A head-like block with a brighter ball, in any plane, turned, mirrored, cropped, tilted, thick or thin."""
    plane = draw(st.sampled_from(sorted(DIRECTIONS)))
    turn = np.array([draw(st.floats(-30, 30)) for _ in range(3)]) if oblique else np.zeros(3)
    rotation = Rotation.from_rotvec(turn, degrees=True).as_matrix()
    across, down = (rotation @ np.array(vector) for vector in DIRECTIONS[plane])
    if draw(st.booleans()):  # rows stored as columns
        across, down = down, across
    across, down = across * draw(st.sampled_from([-1, 1])), down * draw(st.sampled_from([-1, 1]))
    normal = np.cross(across, down)
    step = draw(st.floats(1, 8))
    row_mm, column_mm = draw(st.floats(0.9, 3)), draw(st.floats(0.9, 3))
    shape = draw(st.integers(max(4, round(30 / step)), max(5, round(60 / step)))), 56, draw(st.integers(48, 64))
    slope = across * draw(st.sampled_from([0.0, 0.0, 0.2])) if oblique else 0 * across  # a tilted gantry at times
    k, r, c = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    points = k[..., None] * step * (normal + slope) + r[..., None] * row_mm * down + c[..., None] * column_mm * across
    ranges = zip(shape, (step, row_mm, column_mm), strict=True)
    inside = np.array([draw(st.floats(-0.2, 0.2)) * n * mm for n, mm in ranges])
    centre = inside @ np.array([normal + slope, down, across])
    radius = 12.0
    away = points - centre
    array = np.where(np.abs(away).max(axis=-1) < 40, 400, 0)
    array = np.where(np.linalg.norm(away, axis=-1) < radius, 1500, array)
    made = series_from_arrays(array, plane="axial", pixel_spacing=1, slice_spacing=1, header=Header(key="landmark"))
    origin = np.array([draw(st.floats(-200, 200)) for _ in range(3)])
    for index, ds in enumerate(made):
        ds.ImageOrientationPatient = [float(value) for value in (*across, *down)]
        ds.ImagePositionPatient = [float(value) for value in origin + points[index, 0, 0]]
        ds.PixelSpacing = [row_mm, column_mm]
    recipe = Recipe(matrix=64, pixel_mm=draw(st.floats(1.5, 2.5)), slab_mm=draw(st.sampled_from([1.0, 4.0, 6.0])))
    return Landmarked(draw(st.permutations(made)), origin + centre, radius, recipe, plane, turn)
