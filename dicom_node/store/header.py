"""The identifying attributes of a data set, read from its first bytes without touching the rest."""

from __future__ import annotations

import contextlib
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from pipeline.errors import NotDicom
from pipeline.reading import files as intake
from pipeline.reading.validation import is_uid

UIDS_END = 0x0020000E
"""Series Instance UID: storing an instance needs no later element."""
LAST_TAG = 0x00200013
"""Instance Number, which decides the representative of a series. Read where the bytes up to it can be read."""
ELEMENTS_MOST = 4096
"""Number of elements allowed before Series Instance UID: real data sets have a hundred, megabytes of zeros a
million."""
INFLATED_MOST = 4 << 20
"""Bytes of a deflated data set that are inflated in search of the UIDs: a bound on the cost of a deflation bomb."""

UNREADABLE = (*intake.UNREADABLE, MemoryError)
"""A false length may ask for more memory than there is. Here, before anything is stored, that is the sender's fault."""


@dataclass(frozen=True)
class InstanceHeader:
    """The identifiers of an instance.

    ``elements`` is the data set up to and including Series Instance UID; up to Instance Number where that can be read.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    elements: Dataset


def read_header(encoded: bytes | memoryview | BinaryIO, transfer_syntax: UID) -> InstanceHeader:
    """The header of a data set as received, or as in a file after the file meta.

    ``encoded`` need only reach past Series Instance UID. A stream must be at the data set's first byte; it is not read
    whole. What lies between that and Instance Number is read where it can be: a value that is damaged there does not
    keep the instance from being stored.

    Raises
    ------
    NotDicom
        where the bytes cannot be read in this transfer syntax, or one of the four UIDs is missing or malformed;
        ``where`` is the keyword of that one.
    """
    try:
        stream = BytesIO(encoded) if isinstance(encoded, bytes | memoryview) else encoded
        if transfer_syntax.is_deflated:
            deflated = stream.read(2 * INFLATED_MOST)  # deflating makes nothing twice as long
            stream = BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, INFLATED_MOST))
        elements = _read_up_to(UIDS_END, stream, transfer_syntax)
        names = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
        uids = [str(elements.get(name, "")).strip(" \0") for name in names]
    except UNREADABLE as error:
        raise NotDicom(
            f"The data set cannot be read ({type(error).__name__}).", todo="Check the sender's transfer syntax."
        ) from None
    for name, value in zip(names, uids, strict=True):
        if not value:
            raise NotDicom(f"The data set has no {name}.", where=name, todo="Check the sender.")
        if not is_uid(value):
            raise NotDicom(f"{name} of the data set is not a UID.", where=name, todo="Check the sender.")
    with contextlib.suppress(*UNREADABLE):
        elements.update(_read_up_to(LAST_TAG, stream, transfer_syntax))
    sop_class, sop_instance, study, series = uids
    return InstanceHeader(sop_class, sop_instance, study, series, elements)


def _read_up_to(last: int, stream: BinaryIO, transfer_syntax: UID) -> Dataset:
    """The elements from the position of ``stream`` up to the tag ``last``; the stream is after them then."""
    return read_dataset(
        stream,
        is_implicit_VR=transfer_syntax.is_implicit_VR,
        is_little_endian=transfer_syntax.is_little_endian,
        stop_when=_Limit(last),
    )


class _Limit:
    """Ends the reading behind the tag ``last``.

    Raises
    ------
    ValueError
        where the UIDs are not reached in `ELEMENTS_MOST` elements.
    """

    def __init__(self, last: int) -> None:
        self._last = last
        self._seen = 0

    def __call__(self, tag: BaseTag, _vr: str | None, _length: int) -> bool:
        self._seen += 1
        if self._seen > ELEMENTS_MOST:
            raise ValueError("too many elements")
        return bool(tag > self._last)
