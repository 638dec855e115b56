"""Header validation: which values are read, which are left out, and which are kept for a later step to refuse.

A series is never refused for a value that no step needs. Validation runs once, right after a file is read, and gives
each attribute that Candela computes with the type that the computing code expects:

- numbers are read by their content, whatever their VR (a Pixel Spacing stored as text);
- an unreadable value that no step needs is left out, and a note names the attribute;
- an unreadable value that a step needs stays, so that this step refuses it: the pixels (`BadPixels`), the position in
  the patient (`BadGeometry`), the identity (`InvalidHeader`). It never counts as absent: an unreadable rescale slope
  is not 1.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Collection, Iterable
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import DSfloat

from pipeline.caveats import Caveat, CaveatCode

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
"""Exceptions that pydicom raises on bytes that are not a data set in the stated transfer syntax."""
ODD_VALUE = (ArithmeticError, BytesLengthException, TypeError, ValueError, struct.error)
"""Exceptions that pydicom raises on a value that does not conform to its VR, in an intact data set."""

ONE_NUMBER = (
    "AcquisitionNumber",
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "DiffusionBValue",
    "DoubleFloatPixelPaddingRangeLimit",
    "DoubleFloatPixelPaddingValue",
    "EchoTime",
    "EchoTrainLength",
    "FlipAngle",
    "FloatPixelPaddingRangeLimit",
    "FloatPixelPaddingValue",
    "GantryDetectorTilt",
    "HighBit",
    "InStackPositionNumber",
    "InstanceNumber",
    "InversionTime",
    "MagneticFieldStrength",
    "NumberOfFrames",
    "NumberOfTemporalPositions",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
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
PLACES = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing")
"""The geometry checks their number of values and whether these are finite: its error messages say more."""
WINDOW = ("WindowCenter", "WindowWidth")
"""One is of no use without the other."""
TEXTS = (
    "AngioFlag",
    "BodyPartExamined",
    "FrameOfReferenceUID",
    "ImageType",
    "ProtocolName",
    "ScanningSequence",
    "SequenceVariant",
    "SeriesDescription",
    "StackID",
)
NEEDED = frozenset(
    {
        "BitsAllocated",
        "BitsStored",
        "Columns",
        "DoubleFloatPixelPaddingRangeLimit",
        "DoubleFloatPixelPaddingValue",
        "FloatPixelPaddingRangeLimit",
        "FloatPixelPaddingValue",
        "HighBit",
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "Modality",
        "NumberOfFrames",
        "PhotometricInterpretation",
        "PixelPaddingRangeLimit",
        "PixelPaddingValue",
        "PixelRepresentation",
        "PixelSpacing",
        "RescaleIntercept",
        "RescaleSlope",
        "RescaleType",
        "Rows",
        "SOPClassUID",
        "SOPInstanceUID",
        "SamplesPerPixel",
        "SeriesInstanceUID",
        "StudyInstanceUID",
    }
)
"""Attributes that a step needs, or whose absence means something else to it: the step refuses an unreadable value."""

JUDGED = NEEDED.union(ONE_NUMBER, PLACES, TEXTS, WINDOW)

DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
"""A Decimal or Integer String (PS3.5 6.2). A comma is not a decimal sign: 1,234 could be 1.234 or 1234."""
NUMBER_VRS = ("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV")
WHOLE_VRS = ("IS", "SL", "SS", "UL", "US")
UID_FORM = re.compile(r"[0-9]+(\.[0-9]+)*")
"""Accepts leading zeros in components, which PS3.5 9.1 forbids: old scanners write them, and peers accept them."""
MOST_UID = 64


def is_uid(text: str) -> bool:
    """Whether ``text`` has the form of a UID: numbers between dots, at most 64 characters."""
    return len(text) <= MOST_UID and UID_FORM.fullmatch(text) is not None


def is_regular_uid(text: str) -> bool:
    """`is_uid`, and no component has a leading zero (PS3.5 9.1)."""
    return is_uid(text) and not any(len(part) > 1 and part[0] == "0" for part in text.split("."))


def unreadable_caveats(keywords: Iterable[str]) -> tuple[Caveat, ...]:
    """The caveat that values of the attributes ``keywords`` were left out; empty where there are no keywords."""
    names = tuple(sorted(set(keywords)))
    return (Caveat(CaveatCode.UNREADABLE_VALUES_LEFT_OUT, {"names": names}),) if names else ()


def leave_out_unreadable(ds: Dataset, *, unparsed: Collection[BaseTag] = ()) -> set[str]:
    """Remove from ``ds`` each unreadable value that no step needs; returns their keywords.

    Parses every value but ``unparsed``, so that a damaged one is found now and not in the middle of a run. It parses a
    copy, so that ``ds`` keeps the received bytes of names and identifiers and results can carry them unchanged.

    Raises
    ------
    UNREADABLE
        where a sequence cannot be parsed: the data set is then incomplete.
    """
    elements = {tag: element for tag, element in ds.items() if tag not in unparsed}
    parsed = Dataset(elements)
    gone: set[str] = set()
    for tag in tuple(elements):
        element = element_of(parsed, tag)
        if element is None:
            gone.add(_name(tag))
            del ds[tag], parsed[tag]
        elif element.VR == "UN" and keyword_for_tag(tag) in JUDGED:
            ds[tag] = parsed[tag] = element
    return gone | leave_out_odd(parsed, ds)


def element_of(ds: Dataset, tag: BaseTag) -> DataElement | None:
    """The element ``tag`` of ``ds``, parsed; None where its value does not conform to its VR and no step computes with
    it.

    Where a step computes with it, the element has the text or bytes as received, for `leave_out_odd` and that step.

    Raises
    ------
    UNREADABLE
        where the element is a sequence that cannot be parsed.
    """
    judged_later = keyword_for_tag(tag) in JUDGED
    try:
        element = ds[tag]
    except ODD_VALUE:
        raw = ds.get_item(tag)
        if _vr(tag, raw.VR) == "SQ":
            raise
        return DataElement(tag, "UN", bytes(raw.value or b"")) if judged_later else None
    return element if judged_later or _is_of_its_vr(element) else None


def _is_of_its_vr(element: DataElement) -> bool:
    """False for text under a numeric VR, where pydicom tries other VRs and returns what it finds."""
    if element.VR not in NUMBER_VRS:
        return True
    value = element.value
    items = value if isinstance(value, MultiValue | list | tuple) else (value,)
    return not any(isinstance(item, str | bytes) and item for item in items)


def leave_out_odd(parsed: Dataset, *others: Dataset) -> set[str]:
    """Give what Candela computes with its type, in ``parsed`` and ``others``; returns the keywords that were left out.

    ``parsed`` has no element that cannot be parsed; ``others`` are the same data set as received.
    """
    targets = (parsed, *others)
    odd = {keyword for keyword in ONE_NUMBER if not _as_numbers(parsed, keyword, targets, count=1)}
    odd |= {keyword for keyword in WINDOW if not _as_numbers(parsed, keyword, targets)}
    odd |= {keyword for keyword in TEXTS if not all(isinstance(item, str) for item in _values(parsed, keyword))}
    if (frame := parsed.get("FrameOfReferenceUID")) and not is_uid(str(frame)):
        odd.add("FrameOfReferenceUID")
    for keyword in PLACES:
        _as_numbers(parsed, keyword, targets)
    if odd.intersection(WINDOW):
        odd.update(keyword for keyword in WINDOW if keyword in parsed)
    gone = odd - NEEDED
    for keyword in gone:
        for target in targets:
            if keyword in target:
                delattr(target, keyword)
    return gone


def _as_numbers(parsed: Dataset, keyword: str, targets: Iterable[Dataset], *, count: int | None = None) -> bool:
    """Whether ``keyword`` holds finite numbers, or nothing. Text that states numbers becomes numbers in ``targets``.

    With ``count`` 1 all values must be one and the same number.
    """
    values = _values(parsed, keyword)
    if not values:
        return True
    numbers = [_number(value) for value in values]
    if count == 1:
        numbers = numbers[:1] if len(set(numbers)) == 1 else [None]
    vr = _vr(Tag(keyword), None)
    whole = vr in WHOLE_VRS
    if any(number is None or (whole and not number.is_integer()) for number in numbers):
        return False
    found = [number for number in numbers if number is not None]
    kind = int if whole else float
    if len(found) != len(values) or not all(_is_of(kind, value) for value in values):
        made = [int(number) if whole else DSfloat(number, auto_format=True) for number in found]
        vr = "SS" if vr == "US" and min(found) < 0 else vr  # the dictionary allows both for pixel values
        for target in targets:
            target.add_new(keyword, vr, made[0] if len(made) == 1 else made)
    return True


def _is_of(kind: type, value: Any) -> bool:
    return isinstance(value, int) if kind is int else isinstance(value, int | float)


def _values(ds: Dataset, keyword: str) -> list[Any]:
    """The values of ``keyword``. Text stored under another VR is split at backslashes; [] where there is no value."""
    value = ds.get(keyword)
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if isinstance(value, str) and "\\" in value:
        value = value.split("\\")
    items = value if isinstance(value, MultiValue | list | tuple) else [value]
    return [item for item in items if item is not None and not (isinstance(item, str) and not item.strip(" \0"))]


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        text = value.strip(" \0")
        return float(text) if DECIMAL.fullmatch(text) and math.isfinite(float(text)) else None
    if isinstance(value, Dataset) or not hasattr(value, "__float__"):
        return None
    try:
        number = float(value)
    except (ArithmeticError, TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _vr(tag: BaseTag, stated: str | None) -> str:
    """The stated VR of ``tag``, else the first that the dictionary allows."""
    if stated is not None:
        return stated
    try:
        return dictionary_VR(tag).split(" or ")[0]
    except KeyError:  # private
        return "UN"


def _name(tag: BaseTag) -> str:
    return keyword_for_tag(tag) or ("private attributes" if tag.is_private else "attributes without a name")
