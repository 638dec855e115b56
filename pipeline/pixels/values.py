"""Pixel data as modality values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pipeline.errors import BadPixels
from pipeline.pixels.decoding import Layout, Stored, StoredPixels
from pipeline.pixels.modality_lut import mirror, nothing_there, to_modality
from pipeline.reading.slices import Plane

FloatArray = npt.NDArray[np.float32]


def pixel_values(plane: Plane) -> FloatArray:
    """Modality values of one slice of a grey image, float32 (rows, columns).

    Rescale or Modality LUT are applied, unused bits cut off, MONOCHROME1 mirrored where values have no unit (see
    `pipeline.pixels.modality_lut`), and padding made air or no signal. One frame is decoded, whatever the instance
    holds. Integers above 2²⁴ lose their last bits in float32.

    Raises
    ------
    BadPixels
        where the pixel data is not grey, not of the size it claims, cannot be decoded, or not finite.
    """
    pixels = plane.pixels or StoredPixels(plane.instance)
    layout = pixels.layout
    cells = pixels.cells(plane.frame or 1)
    stored = layout.significant(cells)
    values = to_modality(stored, plane.ds, plane.where)
    mirrored = mirror(plane.ds, layout, plane.where)
    if mirrored is not None:
        values = mirrored - values
    padding = _padding(cells, stored, plane.ds, layout, plane.where)
    if padding is not None:
        values[padding] = nothing_there(plane.ds)
    with np.errstate(over="ignore"):
        result: FloatArray = values.astype(np.float32)
    if not np.isfinite(result).all():
        raise BadPixels(
            "The image holds values that are not finite.", where=plane.where, todo="Send the original images."
        )
    return result


def _padding(cells: Stored, stored: Stored, ds: Dataset, layout: Layout, where: str) -> npt.NDArray[np.bool_] | None:
    """Where there is no image (PS3.3 C.7.5.1.1.2, C.7.6.3.1.1): a mask, or None where nothing is said to be padded."""
    kind = "FloatPixelPadding" if layout.is_float else "PixelPadding"
    if layout.element == "DoubleFloatPixelData":
        kind = "DoubleFloatPixelPadding"
    value, limit = (_number(ds, f"{kind}{part}", where) for part in ("Value", "RangeLimit"))
    if value is None:
        return None
    limit = value if limit is None else limit
    if layout.is_float:
        return (stored >= min(value, limit)) & (stored <= max(value, limit))
    ends = sorted(_as_signed_as(layout, int(end)) for end in (value, limit))
    least, greatest = layout.limits
    # A padding beyond the stored bits, against PS3.3 yet seen, is told from the image by the bits that are cut off.
    source = stored if least <= ends[0] and ends[1] <= greatest else cells
    return (source >= ends[0]) & (source <= ends[1])


def _number(ds: Dataset, keyword: str, where: str) -> float | None:
    value = ds.get(keyword)
    if value is None or value == "":
        return None
    if not isinstance(value, int | float):
        raise BadPixels(f"{keyword} is not one number.", where=where, todo="Send the original images.")
    return value


def _as_signed_as(layout: Layout, value: int) -> int:
    """``value`` in the pixels' representation: its VR may be US where they are signed, or SS where they are not."""
    value %= 1 << layout.allocated
    return value - (1 << layout.allocated) if layout.signed and value >> (layout.allocated - 1) else value
