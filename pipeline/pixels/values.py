"""Pixel data as modality values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pipeline.errors import BadPixels
from pipeline.pixels.decoding import Layout, Stored, StoredPixels
from pipeline.pixels.modality_lut import mirror, nothing_there, to_modality
from pipeline.reading.slices import Slice

FloatArray = npt.NDArray[np.float32]


def pixel_values(source: Slice) -> FloatArray:
    """Modality values of one slice of a grey image, float32 (rows, columns).

    The function applies Rescale or the Modality LUT, cuts off unused bits, mirrors MONOCHROME1 where values have no
    unit (see `pipeline.pixels.modality_lut`), and sets padding to air or to no signal. It decodes one frame, however
    many the instance holds. Integers above 2²⁴ lose their last bits in float32.

    Raises
    ------
    BadPixels
        where the pixel data is not grey, not of the stated size, not finite, or cannot be decoded.
    """
    pixels = source.pixels or StoredPixels(source.instance)
    layout = pixels.layout
    cells = pixels.cells(source.frame or 1)
    stored = layout.significant(cells)
    values = to_modality(stored, source.ds, source.where)
    mirrored = mirror(source.ds, layout, source.where)
    if mirrored is not None:
        values = mirrored - values
    padding = _padding(cells, stored, source.ds, layout, source.where)
    if padding is not None:
        values[padding] = nothing_there(source.ds)
    with np.errstate(over="ignore"):
        result: FloatArray = values.astype(np.float32)
    if not np.isfinite(result).all():
        raise BadPixels(
            "The image holds values that are not finite.", where=source.where, todo="Send the original images."
        )
    return result


def _padding(cells: Stored, stored: Stored, ds: Dataset, layout: Layout, where: str) -> npt.NDArray[np.bool_] | None:
    """Mask of the padded pixels (PS3.3 C.7.5.1.1.2, C.7.6.3.1.1); None where the header states no padding."""
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
    # PS3.3 forbids a padding value beyond the stored bits, but scanners write one: the unused bits then mark it.
    shown = stored if least <= ends[0] and ends[1] <= greatest else cells
    return (shown >= ends[0]) & (shown <= ends[1])


def _number(ds: Dataset, keyword: str, where: str) -> float | None:
    value = ds.get(keyword)
    if value is None or value == "":
        return None
    if not isinstance(value, int | float):
        raise BadPixels(f"{keyword} is not one number.", where=where, todo="Send the original images.")
    return value


def _as_signed_as(layout: Layout, value: int) -> int:
    """``value`` in the pixels' representation. Its VR may be US for signed pixels and SS for unsigned ones."""
    value %= 1 << layout.allocated
    return value - (1 << layout.allocated) if layout.signed and value >> (layout.allocated - 1) else value
