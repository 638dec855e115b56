"""From instances to a volume: order and spacing from positions, never from numbers or thickness.

PS3.3 C.7.6.2.1.1 gives the mapping from pixel to patient that the affine follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pipeline.errors import BadGeometry, DuplicateSlices, MissingSlices, MixedGeometry
from pipeline.pixels import pixel_values
from pipeline.planes import Plane, planes_of
from pipeline.volume import Volume

Vector = npt.NDArray[np.float64]

SAME_POSITION_MM = 0.01
"""Two planes nearer than this share one position: scanners write positions with at least two decimals."""
SPACING_TOLERANCE = 0.02
"""Share of the median spacing by which a single step may differ: rounding of positions to 0.1 mm on 5 mm slices."""
SPACING_TOLERANCE_MM = 0.05
IN_PLANE_DRIFT_MM = 0.5
"""How far a plane's origin may lie off the common normal: half a pixel of a usual head scan."""
ORIENTATION_TOLERANCE = 1e-3
"""On direction cosines, which scanners write with six decimals; 0.06 degrees."""
LEAST_SLICES = 3
"""Fewer planes do not make a volume whose regularity could be checked."""


def build_volume(datasets: Sequence[Dataset]) -> Volume:
    """One regular volume from the classic single-frame instances of a series, in any order.

    Returns
    -------
    Volume
        planes ascending along cross(row direction, column direction); rescale slope and intercept applied.

    Raises
    ------
    BadGeometry, MissingSlices, DuplicateSlices, MixedGeometry, BadPixels
        naming the instances concerned and what to do.
    """
    given = planes_of(datasets)
    for plane in given:
        _check_attributes(plane)
    _check_same(given)
    across, down = _directions(given[0])
    normal = np.cross(across, down)
    origins = np.array([plane.ds.ImagePositionPatient for plane in given], dtype=np.float64)
    order = np.argsort(origins @ normal, kind="stable")
    planes = [given[index] for index in order]
    origins = origins[order]
    spacing = _slice_spacing(planes, origins @ normal)
    _check_drift(planes, origins, normal)
    affine = np.eye(4)
    affine[:3, 0] = normal * spacing
    affine[:3, 1] = down * float(planes[0].ds.PixelSpacing[0])
    affine[:3, 2] = across * float(planes[0].ds.PixelSpacing[1])
    affine[:3, 3] = origins[0]
    return Volume(
        array=np.stack([pixel_values(plane) for plane in planes]),
        affine=affine,
        sources=tuple(plane.ds for plane in planes),
        frames=tuple(plane.frame for plane in planes),
    )


def _check_attributes(plane: Plane) -> None:
    ds = plane.ds
    lengths = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
    for keyword, length in lengths.items():
        value = ds.get(keyword)
        if value is None or len(value) != length or any(part is None for part in value):
            raise BadGeometry(
                f"{keyword} is missing or has not {length} values: the image has no known place in the patient.",
                where=plane.where,
                todo="Send the original images rather than a screen capture.",
            )
        if not np.isfinite(np.array(value, dtype=np.float64)).all():
            raise BadGeometry(f"{keyword} holds a value that is no number.", where=plane.where, todo="Send it again.")
    if min(float(part) for part in ds.PixelSpacing) <= 0:
        raise BadGeometry("PixelSpacing is not positive.", where=plane.where, todo="Send the original images.")


def _check_same(planes: Sequence[Plane]) -> None:
    """Matrix, pixel spacing, orientation and frame of reference are those of the first instance."""
    first = planes[0].ds
    for plane in planes[1:]:
        ds = plane.ds
        if (ds.Rows, ds.Columns) != (first.Rows, first.Columns):
            what = f"matrix {ds.Rows}×{ds.Columns}, others {first.Rows}×{first.Columns}"
        elif not np.allclose(_floats(ds.PixelSpacing), _floats(first.PixelSpacing), rtol=1e-4):
            what = "another PixelSpacing"
        elif not np.allclose(
            _floats(ds.ImageOrientationPatient), _floats(first.ImageOrientationPatient), atol=ORIENTATION_TOLERANCE
        ):
            what = "another ImageOrientationPatient (a localiser or a second stack?)"
        elif ds.get("FrameOfReferenceUID") != first.get("FrameOfReferenceUID"):
            what = "another FrameOfReferenceUID"
        else:
            continue
        raise MixedGeometry(
            f"The instance has {what}.", where=plane.where, todo="Send each stack as a series of its own."
        )


def _floats(values: Sequence[float]) -> Vector:
    return np.array(values, dtype=np.float64)


def _directions(plane: Plane) -> tuple[Vector, Vector]:
    """Unit vectors (LPS) of increasing column index and of increasing row index."""
    cosines = _floats(plane.ds.ImageOrientationPatient)
    across, down = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(across), np.linalg.norm(down)
    if not np.allclose(lengths, 1, atol=ORIENTATION_TOLERANCE) or abs(across @ down) > ORIENTATION_TOLERANCE:
        raise BadGeometry(
            "ImageOrientationPatient is not two perpendicular unit vectors.",
            where=plane.where,
            todo="Send the original images.",
        )
    return across / lengths[0], down / lengths[1]


def _slice_spacing(planes: Sequence[Plane], positions: Vector) -> float:
    """Distance between neighbouring planes in mm; ``positions`` ascend along the normal."""
    if len(planes) < LEAST_SLICES:
        raise BadGeometry(
            f"The series has {len(planes)} slices; a volume needs at least {LEAST_SLICES}.",
            where=f"series {planes[0].ds.SeriesInstanceUID}",
            todo="Send the whole series.",
        )
    steps = np.diff(positions)
    close = np.flatnonzero(steps < SAME_POSITION_MM)
    if close.size:
        at = int(close[0])
        raise DuplicateSlices(
            f"{close.size} slices share their position with another (several echoes, time points or phases?); the first"
            f" pair is {planes[at].where} and {planes[at + 1].where}.",
            where=f"series {planes[0].ds.SeriesInstanceUID}",
            todo="Send each echo, time point or phase as a series of its own.",
        )
    median = float(np.median(steps))
    tolerance = max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE * median)
    uneven = np.flatnonzero(np.abs(steps - median) > tolerance)
    if uneven.size:
        at = int(uneven[np.argmax(steps[uneven])])
        between = f"between {planes[at].where} and {planes[at + 1].where}"
        series = f"series {planes[0].ds.SeriesInstanceUID}"
        if steps[at] > 1.5 * median:
            raise MissingSlices(
                f"A gap of {steps[at]:.2f} mm where slices are {median:.2f} mm apart, {between}: about"
                f" {round(steps[at] / median) - 1} slices are missing.",
                where=series,
                todo="Send the missing slices; the series is then read again.",
            )
        raise BadGeometry(
            f"The slice spacing varies: {steps[at]:.2f} mm {between}, {median:.2f} mm elsewhere.",
            where=series,
            todo="Send a series of evenly spaced slices.",
        )
    return float((positions[-1] - positions[0]) / (len(planes) - 1))


def _check_drift(planes: Sequence[Plane], origins: Vector, normal: Vector) -> None:
    """Origins lie on one line along the normal: no sheared stack (gantry tilt), no patient who moved."""
    offsets = origins - origins[0]
    drift = np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1)
    worst = int(np.argmax(drift))
    if drift[worst] > IN_PLANE_DRIFT_MM:
        raise BadGeometry(
            f"The stack is sheared: a plane lies {drift[worst]:.2f} mm off the line of the first plane's normal.",
            where=planes[worst].where,
            todo="Send a series whose slices stack squarely.",
        )
