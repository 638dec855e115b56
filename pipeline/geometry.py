"""From instances to a volume: order and spacing from positions, never from numbers or thickness.

PS3.3 C.7.6.2.1.1 gives the mapping from pixel to patient that the affine follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pipeline.errors import BadGeometry, BadPixels, DuplicateSlices, MissingSlices, MixedGeometry
from pipeline.volume import FloatArray, Volume

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
    for ds in datasets:
        _check_attributes(ds)
    _check_same(datasets)
    across, down = _directions(datasets[0])
    normal = np.cross(across, down)
    origins = np.array([ds.ImagePositionPatient for ds in datasets], dtype=np.float64)
    order = np.argsort(origins @ normal, kind="stable")
    planes = [datasets[index] for index in order]
    origins = origins[order]
    spacing = _slice_spacing(planes, origins @ normal)
    _check_drift(planes, origins, normal)
    affine = np.eye(4)
    affine[:3, 0] = normal * spacing
    affine[:3, 1] = down * float(planes[0].PixelSpacing[0])
    affine[:3, 2] = across * float(planes[0].PixelSpacing[1])
    affine[:3, 3] = origins[0]
    array = np.stack([pixel_values(ds) for ds in planes])
    return Volume(array=array, affine=affine, sources=tuple(planes))


def pixel_values(ds: Dataset) -> FloatArray:
    """Modality values of a single-frame grey image, float32 (rows, columns).

    Raises
    ------
    BadPixels
        where the pixel data is not grey, shorter than it claims, cannot be decoded, or not finite.
    """
    where = _where(ds)
    if ds.get("SamplesPerPixel", 1) != 1 or ds.get("PhotometricInterpretation") != "MONOCHROME2":
        raise BadPixels(
            f"The image is {ds.get('PhotometricInterpretation')}, not MONOCHROME2.",
            where=where,
            todo="Send the original grey images.",
        )
    syntax = ds.file_meta.TransferSyntaxUID
    expected = int(ds.Rows) * int(ds.Columns) * int(ds.BitsAllocated) // 8
    if not syntax.is_encapsulated and len(ds.PixelData) < expected:
        raise BadPixels(
            f"The pixel data has {len(ds.PixelData)} bytes where the header claims {expected}.",
            where=where,
            todo="Send it again; the sender cut it short.",
        )
    try:
        stored = ds.pixel_array
    except (ValueError, RuntimeError, AttributeError, NotImplementedError, KeyError, TypeError, OSError) as error:
        raise BadPixels(
            f"The pixel data ({syntax.name}) cannot be decoded.", where=where, todo="Send it again, uncompressed."
        ) from error
    if stored.shape != (ds.Rows, ds.Columns):
        raise BadPixels(f"The pixel data decodes to {stored.shape}.", where=where, todo="Send it again.")
    values = stored.astype(np.float32)
    values = values * np.float32(ds.get("RescaleSlope") or 1) + np.float32(ds.get("RescaleIntercept") or 0)
    if not np.isfinite(values).all():
        raise BadPixels("The image holds values that are not finite.", where=where, todo="Send the original images.")
    result: FloatArray = values.astype(np.float32)
    return result


def _where(ds: Dataset) -> str:
    return f"instance {ds.SOPInstanceUID}"


def _check_attributes(ds: Dataset) -> None:
    if int(ds.get("NumberOfFrames") or 1) > 1:
        raise BadGeometry(
            f"The instance is a multi-frame {ds.SOPClassUID.name}; only single-frame images are read.",
            where=_where(ds),
            todo="Send the series as classic single-frame images.",
        )
    if "MOSAIC" in (ds.get("ImageType") or ()):
        raise BadGeometry(
            "The instance is a Siemens mosaic: many slices in one image.",
            where=_where(ds),
            todo="Send the series as single slices.",
        )
    lengths = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
    for keyword, length in lengths.items():
        value = ds.get(keyword)
        if value is None or len(value) != length or any(part is None for part in value):
            raise BadGeometry(
                f"{keyword} is missing or has not {length} values: the image has no known place in the patient.",
                where=_where(ds),
                todo="Send the original images rather than a screen capture.",
            )
        if not np.isfinite(np.array(value, dtype=np.float64)).all():
            raise BadGeometry(f"{keyword} holds a value that is no number.", where=_where(ds), todo="Send it again.")
    if min(float(part) for part in ds.PixelSpacing) <= 0:
        raise BadGeometry("PixelSpacing is not positive.", where=_where(ds), todo="Send the original images.")


def _check_same(datasets: Sequence[Dataset]) -> None:
    """Matrix, pixel spacing, orientation and frame of reference are those of the first instance."""
    first = datasets[0]
    for ds in datasets[1:]:
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
            f"The instance has {what}.", where=_where(ds), todo="Send each stack as a series of its own."
        )


def _floats(values: Sequence[float]) -> Vector:
    return np.array(values, dtype=np.float64)


def _directions(ds: Dataset) -> tuple[Vector, Vector]:
    """Unit vectors (LPS) of increasing column index and of increasing row index."""
    cosines = _floats(ds.ImageOrientationPatient)
    across, down = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(across), np.linalg.norm(down)
    if not np.allclose(lengths, 1, atol=ORIENTATION_TOLERANCE) or abs(across @ down) > ORIENTATION_TOLERANCE:
        raise BadGeometry(
            "ImageOrientationPatient is not two perpendicular unit vectors.",
            where=_where(ds),
            todo="Send the original images.",
        )
    return across / lengths[0], down / lengths[1]


def _slice_spacing(planes: Sequence[Dataset], positions: Vector) -> float:
    """Distance between neighbouring planes in mm; ``positions`` ascend along the normal."""
    if len(planes) < LEAST_SLICES:
        raise BadGeometry(
            f"The series has {len(planes)} slices; a volume needs at least {LEAST_SLICES}.",
            where=f"series {planes[0].SeriesInstanceUID}",
            todo="Send the whole series.",
        )
    steps = np.diff(positions)
    close = np.flatnonzero(steps < SAME_POSITION_MM)
    if close.size:
        at = int(close[0])
        raise DuplicateSlices(
            f"{close.size} slices share their position with another (several echoes, time points or phases?); the first"
            f" pair is {planes[at].SOPInstanceUID} and {planes[at + 1].SOPInstanceUID}.",
            where=f"series {planes[0].SeriesInstanceUID}",
            todo="Send each echo, time point or phase as a series of its own.",
        )
    median = float(np.median(steps))
    tolerance = max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE * median)
    uneven = np.flatnonzero(np.abs(steps - median) > tolerance)
    if uneven.size:
        at = int(uneven[np.argmax(steps[uneven])])
        between = f"between {planes[at].SOPInstanceUID} and {planes[at + 1].SOPInstanceUID}"
        series = f"series {planes[0].SeriesInstanceUID}"
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


def _check_drift(planes: Sequence[Dataset], origins: Vector, normal: Vector) -> None:
    """Origins lie on one line along the normal: no sheared stack (gantry tilt), no patient who moved."""
    offsets = origins - origins[0]
    drift = np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1)
    worst = int(np.argmax(drift))
    if drift[worst] > IN_PLANE_DRIFT_MM:
        raise BadGeometry(
            f"The stack is sheared: a plane lies {drift[worst]:.2f} mm off the line of the first plane's normal.",
            where=_where(planes[worst]),
            todo="Send a series whose slices stack squarely.",
        )
