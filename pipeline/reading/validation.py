"""Damaged and odd headers: what pydicom raises on them; what is read, left out, or kept for a step to refuse.

A value that no step needs never refuses a series. Each attribute that Candela computes with is brought into the form
that the computing code expects, once, right after a file is read:

- numbers are read by their content, whatever their VR (a Pixel Spacing stored as text);
- a value that cannot be read and that no step needs is left out, and a note names the attribute;
- a value that cannot be read and that a step needs stays, so that this step refuses it: the pixels (`BadPixels`), the
  place in the patient (`BadGeometry`), the identity (`InvalidHeader`). It is never taken for an absent one: a rescale
  slope that cannot be read is not 1.
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
ODD_VALUE = (ArithmeticError, BytesLengthException, TypeError, ValueError, struct.error)
"""What pydicom raises on one value that is not of its VR, in a data set that is whole."""

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
"""How many values they have, and whether these are finite, is checked with the geometry, which says it better."""
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
"""What a step cannot do without, or would take another way if it were absent: that step refuses what it cannot read."""

JUDGED = NEEDED.union(ONE_NUMBER, PLACES, TEXTS, WINDOW)

DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
"""A Decimal or Integer String (PS3.5 6.2). A comma is no decimal sign: 1,234 could be 1.234 or 1234."""
NUMBER_VRS = ("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV")
WHOLE_VRS = ("IS", "SL", "SS", "UL", "US")
UID_FORM = re.compile(r"\d+(\.\d+)*")
"""Components with leading zeros pass, though PS3.5 9.1 forbids them: old scanners write them, and peers take them."""
MOST_UID = 64
MOST_NAMED = 8


def is_uid(text: str) -> bool:
    """Whether ``text`` can stand where a UID must: numbers between dots, at most 64 characters."""
    return len(text) <= MOST_UID and UID_FORM.fullmatch(text) is not None


def unreadable_note(keywords: Iterable[str]) -> tuple[str, ...]:
    """The sentence that results repeat where ``keywords`` were left out; none where there are none."""
    names = sorted(set(keywords))
    more = ", ..." if len(names) > MOST_NAMED else ""
    listed = ", ".join(names[:MOST_NAMED])
    return (f"Values in the images' headers that cannot be read were left out: {listed}{more}.",) if names else ()


def leave_out_unreadable(ds: Dataset, *, unparsed: Collection[BaseTag] = ()) -> set[str]:
    """Leave out of ``ds`` what cannot be read and no step needs; the keywords of what went.

    Values are parsed here, so that a damaged one is met now and not in the middle of a run; in a copy, so that the
    bytes of names and identifiers stay as they came and results can carry them unchanged. ``unparsed`` are left alone.

    Raises
    ------
    UNREADABLE
        where a sequence cannot be parsed: then the data set is no whole one.
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
    """The element ``tag`` of ``ds``, parsed; None where its value is not of its VR and nothing computes with it.

    Where something does, its text or bytes as they are, for `leave_out_odd` and the steps to judge.

    Raises
    ------
    UNREADABLE
        where it is a sequence that cannot be parsed.
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
    """False for words under a VR of numbers: pydicom then tries other VRs and gives what it finds."""
    if element.VR not in NUMBER_VRS:
        return True
    value = element.value
    items = value if isinstance(value, MultiValue | list | tuple) else (value,)
    return not any(isinstance(item, str | bytes) and item for item in items)


def leave_out_odd(parsed: Dataset, *others: Dataset) -> set[str]:
    """Bring what Candela computes with into its form, in ``parsed`` and ``others``; the keywords of what was left out.

    ``parsed`` has no element that cannot be parsed; ``others`` are the same data set as it came.
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
    """Whether ``keyword`` holds finite numbers, or nothing; as numbers in ``targets`` from now on where it was text.

    ``count`` 1: one number, though it may be there several times.
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
        vr = "SS" if vr == "US" and min(found) < 0 else vr  # the dictionary allows either for values of pixels
        for target in targets:
            target.add_new(keyword, vr, made[0] if len(made) == 1 else made)
    return True


def _is_of(kind: type, value: Any) -> bool:
    return isinstance(value, int) if kind is int else isinstance(value, int | float)


def _values(ds: Dataset, keyword: str) -> list[Any]:
    """The values of ``keyword``, text that is stored under another VR taken apart; [] where there is none."""
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
    """The VR of ``tag``: as stated, else the dictionary's; the first of several that it allows."""
    if stated is not None:
        return stated
    try:
        return dictionary_VR(tag).split(" or ")[0]
    except KeyError:  # private
        return "UN"


def _name(tag: BaseTag) -> str:
    return keyword_for_tag(tag) or ("private attributes" if tag.is_private else "attributes without a name")
