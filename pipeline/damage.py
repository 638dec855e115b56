"""Damaged headers: what pydicom raises on them, and attributes that hold another kind of value than they should."""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue

from pipeline.errors import Truncated

UNREADABLE = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom raises on bytes that are not the data set they were said to be."""

ONE_NUMBER = (
    "AcquisitionNumber",
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "DiffusionBValue",
    "EchoTime",
    "EchoTrainLength",
    "FlipAngle",
    "GantryDetectorTilt",
    "HighBit",
    "InStackPositionNumber",
    "InstanceNumber",
    "InversionTime",
    "MagneticFieldStrength",
    "NumberOfFrames",
    "NumberOfTemporalPositions",
    "PixelRepresentation",
    "RepetitionTime",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SamplesPerPixel",
    "SeriesNumber",
    "SliceLocation",
    "SliceThickness",
    "SpacingBetweenSlices",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "TriggerTime",
)
NUMBERS = ("WindowCenter", "WindowWidth")
PLACES = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing")
"""How many values they have, and whether these are finite, is checked with the geometry, which says it better."""
ONE_TEXT = (
    "BodyPartExamined",
    "FrameOfReferenceUID",
    "Modality",
    "PhotometricInterpretation",
    "RescaleType",
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesDescription",
    "SeriesInstanceUID",
    "StudyInstanceUID",
)
NAMES_OF_THE_SOURCE = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
UID_FORM = re.compile(r"\d+(\.\d+)*")
"""Components with leading zeros pass, though PS3.5 9.1 forbids them: old scanners write them, and peers take them."""
MOST_UID = 64
TEXTS = ("AngioFlag", "ImageType", "ProtocolName", "ScanningSequence", "SequenceVariant", "StackID")


def check_attributes(ds: Dataset, where: str) -> None:
    """What stands in ``ds`` at the top level, of the attributes that Candela computes with, is of their kind.

    Checked once, so that nothing downstream meets a word where a number belongs. Absent and empty attributes pass:
    whether they are needed is another question.

    Raises
    ------
    Truncated
        naming the attribute; ``where`` names the instance.
    """
    for keywords, is_fit, single, kind in (
        (ONE_NUMBER, _is_finite, True, "one number"),
        (NUMBERS, _is_finite, False, "numbers"),
        (PLACES, _is_number, False, "numbers"),
        (ONE_TEXT, _is_text, True, "one text"),
        (TEXTS, _is_text, False, "text"),
    ):
        _check(ds, keywords, is_fit, single, kind, where)
    for keyword in NAMES_OF_THE_SOURCE:
        if ds.get(keyword) and not is_uid(str(ds[keyword].value)):
            raise Truncated(
                f"{keyword} is not a UID: no result could refer to it.",
                where=where,
                todo="Have the sender mend its UIDs, then send the series again.",
            )


def is_uid(text: str) -> bool:
    """Whether ``text`` can stand where a UID must: numbers between dots, at most 64 characters."""
    return len(text) <= MOST_UID and UID_FORM.fullmatch(text) is not None


def _check(
    ds: Dataset, keywords: tuple[str, ...], is_fit: Callable[[Any], bool], single: bool, kind: str, where: str
) -> None:
    for keyword in keywords:
        value = ds.get(keyword)
        several = isinstance(value, MultiValue | list | tuple) and not single
        if not all(item is None or item == "" or is_fit(item) for item in (value if several else [value])):
            raise Truncated(
                f"{keyword} does not hold {kind}: the header is damaged.", where=where, todo="Send or export it again."
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (hasattr(value, "__float__") and not isinstance(value, str))


def _is_finite(value: Any) -> bool:
    return _is_number(value) and math.isfinite(float(value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
