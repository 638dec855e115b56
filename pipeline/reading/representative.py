"""The instance whose header speaks for a series: what routing, the choice within a study and a model's check look at.

`candela process`, `candela config explain`, the node's dispatch and the choice within a study share this one rule: of
the images of the series it is the one with the lowest InstanceNumber. Scanners put objects without an image into the
series of their images (Philips: Raw Data). These never speak for it where it has images.
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
"""What an instance counts as, in the order in which instances speak for their series."""

Precedence = tuple[int, float, str]


def representative(headers: Iterable[Dataset]) -> Dataset:
    """The header that speaks for the series of ``headers``, as it was read; the same in whatever order they come.

    Raises
    ------
    ValueError
        where there is none.
    """
    return min(headers, key=precedence)


def precedence(header: Dataset) -> Precedence:
    """The smaller, the sooner the instance speaks for its series. Never raises. Pixel data not needed."""
    return place(standing(header), number(header, "InstanceNumber"), text(header, "SOPInstanceUID"))


def place(stands: int, instance_number: float | None, sop_instance_uid: str) -> Precedence:
    """As `precedence`, of what the node's index keeps. An instance without a number comes after those with one."""
    return stands, math.inf if instance_number is None else instance_number, sop_instance_uid


def standing(header: Dataset) -> int:
    """`SLICE`, `PICTURE` or `NO_IMAGE`: what the object with this header is. Never raises."""
    try:
        if is_without_image(header):
            return NO_IMAGE
        if is_picture(header) or is_colour(header):
            return PICTURE
    except UNREADABLE:  # no SOP Class UID, or none that can be read
        return NO_IMAGE
    return PICTURE if uid.UID(text(header, "SOPClassUID")) in NOT_VOLUMES else SLICE


def class_standing(sop_class_uid: str) -> int | None:
    """The same by the SOP Class alone; None where the header must be asked: secondary captures, private classes."""
    known = uid.UID(sop_class_uid)
    if known in NOT_VOLUMES:
        return PICTURE
    if known in CAPTURES or known.name == sop_class_uid:
        return None
    return SLICE if "Image Storage" in known.name else NO_IMAGE


def counted(standings: Iterable[int]) -> int:
    """How many instances of a series count as its images: its slices; where it has none, its pictures; at least 1."""
    stands = list(standings)
    return stands.count(SLICE) or stands.count(PICTURE) or 1


def images(headers: Iterable[Dataset]) -> int:
    """As `counted`, of the headers of a series."""
    return counted(map(standing, headers))
