"""From stored to modality values: rescale or Modality LUT (PS3.3 C.11.1), and MONOCHROME1.

A modality value is the scanner's measurement: Hounsfield units in CT, signal in MR. PhotometricInterpretation says how
values are displayed (PS3.3 C.7.6.3.1.2). Values with a unit do not depend on that: a Hounsfield unit stays the same
whether it is displayed black or white. Values without a unit, such as signal in arbitrary numbers, have no meaning but
their display, so MONOCHROME1 is mirrored: great is white, as in every MONOCHROME2 image that a model was trained on.
The mirror maps the least modality value that the image could hold to the greatest and back. The values of a radiograph
count as values without a unit, whatever its Rescale Type: networks read what is displayed, where bone is bright.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut

from pipeline.errors import BadPixels
from pipeline.pixels.decoding import Layout, Stored
from pipeline.reading.attributes import text
from pipeline.reading.sop_classes import PROJECTIONS
from pipeline.reading.validation import UNREADABLE

Values = npt.NDArray[np.float64]

WITHOUT_UNIT = frozenset({"", "US"})
"""RescaleType of values that have no unit: absent, or "unspecified" (PS3.3 C.11.1.1.2)."""
WITH_UNIT = frozenset({"CT", "PT"})
"""Modalities whose values have a unit even without RescaleType (PS3.3 C.8.2.1.1.2, C.8.9.1.1.3)."""
AIR_HU = -1000.0
NO_SIGNAL = 0.0


def to_modality(stored: Stored, ds: Dataset, where: str) -> Values:
    """Modality values, float64, of ``stored`` pixel values of the slice whose header is ``ds``.

    Real World Value Mappings are not applied: they give another quantity than the one that models read.

    Raises
    ------
    BadPixels
        where rescale and LUT contradict each other or themselves.
    """
    if ds.get("ModalityLUTSequence"):
        return _by_lut(stored, ds, where)
    slope, intercept = _rescale(ds, where)
    return stored.astype(np.float64) * slope + intercept


def has_unit(ds: Dataset) -> bool:
    """Whether modality values of ``ds`` are in a unit (Hounsfield, Bq/ml, ...), not arbitrary."""
    if text(ds, "SOPClassUID") in PROJECTIONS:
        return False
    kind = _kind(ds)
    return kind not in WITHOUT_UNIT or text(ds, "Modality") in WITH_UNIT


def nothing_there(ds: Dataset) -> float:
    """The modality value of a pixel without an image (padding): air in Hounsfield units, else no signal."""
    kind = _kind(ds)
    return AIR_HU if kind == "HU" or (not kind and text(ds, "Modality") == "CT") else NO_SIGNAL


def mirror(ds: Dataset, layout: Layout, where: str) -> float | None:
    """The value from which modality values of a mirrored image are subtracted; None where nothing is mirrored.

    Raises
    ------
    BadPixels
        where MONOCHROME1 applies to floating-point values, whose range has no ends to mirror.
    """
    if layout.photometric != "MONOCHROME1" or has_unit(ds):
        return None
    if layout.is_float:
        raise BadPixels(
            "The image is MONOCHROME1 with floating-point values: it is unknown which values are white.",
            where=where,
            todo="Send the original images.",
        )
    ends = np.array(layout.limits, dtype=np.int64)
    return float(to_modality(ends, ds, where).sum())


def _kind(ds: Dataset) -> str:
    """RescaleType, or the type of the Modality LUT; empty where neither is stated."""
    table = ds.get("ModalityLUTSequence")
    kind = table[0].get("ModalityLUTType") if table else ds.get("RescaleType")
    return str(kind or "").strip().upper()


def _rescale(ds: Dataset, where: str) -> tuple[float, float]:
    slope, intercept = _stated(ds, "RescaleSlope", 1.0, where), _stated(ds, "RescaleIntercept", 0.0, where)
    if slope == 0 or not math.isfinite(slope) or not math.isfinite(intercept):
        raise BadPixels(
            f"RescaleSlope is {slope:g} and RescaleIntercept {intercept:g}: no image is left.",
            where=where,
            todo="Send the original images.",
        )
    return slope, intercept


def _stated(ds: Dataset, keyword: str, otherwise: float, where: str) -> float:
    value = ds.get(keyword)
    if value is None or value == "":
        return otherwise
    try:
        return float(value)
    except (TypeError, ValueError):
        raise BadPixels(f"{keyword} is not one number.", where=where, todo="Send the original images.") from None


def _by_lut(stored: Stored, ds: Dataset, where: str) -> Values:
    if ds.get("RescaleSlope") is not None or ds.get("RescaleIntercept") is not None:
        raise BadPixels(
            "The image has a Modality LUT and a rescale slope: they exclude each other (PS3.3 C.11.1).",
            where=where,
            todo="Send the original images.",
        )
    try:
        table = apply_modality_lut(stored.astype(np.int64), ds)
    except UNREADABLE as error:
        raise BadPixels(
            "The Modality LUT does not agree with its descriptor.", where=where, todo="Send the original images."
        ) from error
    return np.asarray(table, dtype=np.float64)
