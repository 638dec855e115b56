"""Several images with one SOP Instance UID: copies, corrected headers, and conflicts (docs/intake.md has the rules).

A SOP Instance UID names one object for ever (PS3.3 C.12.1.1.1). But exports hold copies, PACS correct headers under the
old UID, and broken senders give one UID to several images. Only the content tells these cases apart, never file names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import ConflictingInstances, Refused
from pipeline.geometry.stack_attributes import CONTRAST, REPETITION
from pipeline.pixels.values import pixel_values
from pipeline.reading.functional_groups import without_pixels
from pipeline.reading.slices import slices_of
from pipeline.reading.sop_classes import PIXEL_ELEMENTS, PROJECTIONS
from pipeline.reading.validation import UNREADABLE, element_of

PLACE = frozenset(
    {
        "FrameOfReferenceUID",
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "NumberOfFrames",
        "PerFrameFunctionalGroupsSequence",
        "PixelSpacing",
        "SOPClassUID",
        "SharedFunctionalGroupsSequence",
    }
)
"""Attributes of the position in the patient and of the kind of object."""
READING = PLACE.union(
    {"BodyPartExamined", "Modality", "RepetitionTime", "SliceLocation"},
    {"EstimatedRadiographicMagnificationFactor", "ImagerPixelSpacing", "PixelSpacingCalibrationType"},
    {"ImageLaterality", "Laterality", "PatientOrientation", "ViewCodeSequence", "ViewPosition"},
    *(distinction.keywords for distinction in (*CONTRAST, *REPETITION)),
)
"""Attributes that decide whether and how a slice is read."""
IDENTITY = frozenset(
    {
        "AccessionNumber",
        "IssuerOfPatientID",
        "OtherPatientIDsSequence",
        "PatientBirthDate",
        "PatientID",
        "PatientName",
        "PatientSex",
        "StudyInstanceUID",
    }
)
"""Attributes of the patient's and the study's identity."""
TRANSPORT = frozenset(
    {
        *PIXEL_ELEMENTS,
        "DataSetTrailingPadding",
        "InstanceAvailability",
        "InstanceCoercionDateTime",
        "LossyImageCompression",
        "LossyImageCompressionMethod",
        "LossyImageCompressionRatio",
        "PlanarConfiguration",
        "RetrieveAETitle",
        "SpecificCharacterSet",
    }
)
"""Attributes that may change in transport while the object stays the same; pixels are compared by their values."""
PIXELS = "their pixels"
MOST_NAMED = 6


@dataclass(frozen=True)
class SettledCopies:
    """One image for each SOP Instance UID, in the order of first appearance; ``caveats`` state each decision."""

    datasets: tuple[Dataset, ...]
    caveats: tuple[Caveat, ...] = ()


def settle(datasets: Sequence[Dataset], where: str, *, corrections: bool) -> SettledCopies:
    """One image for each SOP Instance UID of the series ``datasets``.

    Equal images (header and pixel values, in any transfer syntax) count once. If only header values differ, the last
    image is read. With ``corrections``, where the order is that of reception, that holds for all values; otherwise,
    where no order is known, only for values that decide neither how the slice is read nor whose it is.

    Raises
    ------
    ConflictingInstances
        naming the first UID concerned and the difference between its images; ``where`` names the input.
    """
    groups: dict[str, list[Dataset]] = defaultdict(list)
    for ds in datasets:
        groups[str(ds.SOPInstanceUID)].append(ds)
    decisive = PLACE if corrections else READING | IDENTITY
    conflicts: dict[str, frozenset[str]] = {}
    corrected: dict[str, frozenset[str]] = {}
    for uid, images in groups.items():
        differing = frozenset[str]().union(*(differences(image, images[-1]) for image in images[:-1]))
        if differing & (decisive | {PIXELS}):
            conflicts[uid] = differing & (decisive | {PIXELS})
        elif differing:
            corrected[uid] = differing
    if conflicts:
        raise _conflict(conflicts, groups, where)
    return SettledCopies(tuple(images[-1] for images in groups.values()), _corrected(corrected))


def differences(one: Dataset, other: Dataset) -> frozenset[str]:
    """The differences between two images with one SOP Instance UID: keywords, "private attributes", and `PIXELS`."""
    differing = _differing(without_pixels(one), without_pixels(other)) - TRANSPORT
    return differing if _same_pixels(one, other, differing) else differing | {PIXELS}


def _conflict(conflicts: dict[str, frozenset[str]], groups: dict[str, list[Dataset]], where: str) -> Refused:
    uid, differing = next(iter(conflicts.items()))
    count = len(groups[uid])
    if len(groups) == 1:
        what = f"All {count} images have one SOP Instance UID, {uid}, and differ in {_listed(differing)}."
    else:
        stand = "stands" if len(conflicts) == 1 else "stand"
        what = (
            f"{len(conflicts)} of {len(groups)} SOP Instance UIDs {stand} for several images that are not the same;"
            f" the first is {uid}, whose {count} images differ in {_listed(differing)}."
        )
    todo = "Give each image a SOP Instance UID of its own, or keep the copy that is right; then read the series again."
    return ConflictingInstances(what, where=where, todo=todo)


def _corrected(corrected: dict[str, frozenset[str]]) -> tuple[Caveat, ...]:
    if not corrected:
        return ()
    names = tuple(sorted(frozenset[str]().union(*corrected.values())))
    return (Caveat(CaveatCode.INSTANCES_CORRECTED, {"count": len(corrected), "names": names}),)


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names, key=lambda name: (name != PIXELS, name))
    return ", ".join(ordered[:MOST_NAMED]) + (", ..." if len(ordered) > MOST_NAMED else "")


def _differing(one: Dataset, other: Dataset) -> frozenset[str]:
    """Keywords of the elements that differ; an empty element equals an absent one."""
    return frozenset(
        keyword_for_tag(tag) or "private attributes"
        for tag in {*one.keys(), *other.keys()}
        if tag.element and _unlike(one, other, tag)
    )


def _unlike(one: Dataset, other: Dataset, tag: BaseTag) -> bool:
    first, second = (element_of(ds, tag) if tag in ds else None for ds in (one, other))
    if tag.is_private and (first is None or second is None or "UN" in {first.VR, second.VR}):
        return False  # a copy that took another way may lack it, or not know its VR
    return bool(_plain(first and first.value) != _plain(second and second.value))


def _plain(value: Any) -> Any:
    """``value`` in a form for comparison across VRs: text without padding, numbers as numbers, sequences by item."""
    if value is None or isinstance(value, str | PersonName):
        text = str(value or "").strip(" \0")
        return _plain(text.split("\\")) if "\\" in text else _number(text)
    if isinstance(value, bytes):
        return value.rstrip(b" \0").decode("latin-1")
    if isinstance(value, Dataset):
        return tuple((int(tag), _plain(element.value)) for tag in sorted(value.keys()) if (element := value[tag]))
    if isinstance(value, MultiValue | list | tuple) or hasattr(value, "is_undefined_length"):
        parts = tuple(_plain(part) for part in value)
        return parts[0] if len(parts) == 1 else parts or ""
    return _number(value)


def _number(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


def _same_pixels(one: Dataset, other: Dataset, differing: frozenset[str]) -> bool:
    stored = [_stored(ds) for ds in (one, other)]
    if stored[0] == stored[1] and not differing & PIXEL_HEADER:
        return True
    try:
        values = [
            [pixel_values(plane) for plane in slices_of([ds], projections=ds.SOPClassUID in PROJECTIONS)]
            for ds in (one, other)
        ]
    except (Refused, *UNREADABLE):
        return False
    first, second = values
    return len(first) == len(second) and all(map(np.array_equal, first, second))


PIXEL_HEADER = frozenset(
    {
        "BitsAllocated",
        "BitsStored",
        "Columns",
        "HighBit",
        "ModalityLUTSequence",
        "NumberOfFrames",
        "PerFrameFunctionalGroupsSequence",
        "PhotometricInterpretation",
        "PixelPaddingRangeLimit",
        "PixelPaddingValue",
        "PixelRepresentation",
        "RescaleIntercept",
        "RescaleSlope",
        "RescaleType",
        "Rows",
        "SamplesPerPixel",
        "SharedFunctionalGroupsSequence",
    }
)
"""Attributes that turn stored bytes into values: if one differs, the values are compared."""


def _stored(ds: Dataset) -> tuple[object, ...]:
    syntax = getattr(ds, "file_meta", Dataset()).get("TransferSyntaxUID")
    return syntax, *(ds[keyword].value if keyword in ds else None for keyword in PIXEL_ELEMENTS)
