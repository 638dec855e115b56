"""The representative instance of a series: the one whose header routing, selection and a model's check use.

`candela process`, `candela config explain`, the node's dispatch and the selection within a study share this one rule:
the representative is the image of the series with the lowest InstanceNumber. Scanners put objects without an image into
the series of their images (Philips: Raw Data); such an object is the representative only of a series without images.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from pydicom import uid
from pydicom.dataset import Dataset

from pipeline.reading.attributes import number, text
from pipeline.reading.sop_classes import CAPTURES, NOT_VOLUMES, is_colour, is_picture, is_without_image
from pipeline.reading.validation import UNREADABLE

SLICE, PICTURE, NO_IMAGE = range(3)
"""What an instance counts as, in order of precedence."""

Precedence = tuple[int, float, str]


def representative(headers: Iterable[Dataset]) -> Dataset:
    """The header of the representative instance, unchanged. The order of ``headers`` does not matter.

    Raises
    ------
    ValueError
        where ``headers`` is empty.
    """
    return min(headers, key=precedence)


def precedence(header: Dataset) -> Precedence:
    """Sort key of an instance: the least is the representative. Never raises. Needs no pixel data."""
    return precedence_of(image_kind(header), number(header, "InstanceNumber"), text(header, "SOPInstanceUID"))


def precedence_of(kind: int, instance_number: float | None, sop_instance_uid: str) -> Precedence:
    """As `precedence`, from what the node's index keeps. An instance without a number comes after those with one."""
    return kind, math.inf if instance_number is None else instance_number, sop_instance_uid


def image_kind(header: Dataset) -> int:
    """Whether the object with this header is a `SLICE`, a `PICTURE` or has `NO_IMAGE`. Never raises."""
    try:
        if is_without_image(header):
            return NO_IMAGE
        if is_picture(header) or is_colour(header):
            return PICTURE
    except UNREADABLE:  # the SOP Class UID is missing or unreadable
        return NO_IMAGE
    return PICTURE if uid.UID(text(header, "SOPClassUID")) in NOT_VOLUMES else SLICE


def image_kind_of_class(sop_class_uid: str) -> int | None:
    """`image_kind` by the SOP Class alone; None where that is not enough: secondary captures, private classes."""
    known = uid.UID(sop_class_uid)
    if known in NOT_VOLUMES:
        return PICTURE
    if known in CAPTURES or known.name == sop_class_uid:
        return None
    return SLICE if "Image Storage" in known.name else NO_IMAGE


def image_count(kinds: Iterable[int]) -> int:
    """Number of instances that count as the images of a series: its slices, or its pictures without
    slices; at least 1.
    """
    found = list(kinds)
    return found.count(SLICE) or found.count(PICTURE) or 1


def count_images(headers: Iterable[Dataset]) -> int:
    """`counted` for the headers of a series."""
    return image_count(map(image_kind, headers))
