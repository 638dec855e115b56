"""Compressed pixel data as native ones: the form in which every DICOM application takes an object (PS3.5 10.1)."""

from __future__ import annotations

from typing import Final

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.uid import UID

from pipeline.errors import BadPixels
from pipeline.pixels.decoding import PLUGINS, is_panic
from pipeline.reading.validation import UNREADABLE

LOSSLESS: Final = frozenset(
    {
        uid.RLELossless,
        uid.JPEGLossless,
        uid.JPEGLosslessSV1,
        uid.JPEGLSLossless,
        uid.JPEG2000Lossless,
        uid.HTJ2KLossless,
        uid.HTJ2KLosslessRPCL,
    }
)
"""Compressed transfer syntaxes that lose nothing. Decoded, the object is the same one: its SOP Instance UID stays."""
OFFSETS: Final = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
"""Elements that say where compressed frames lie."""


def can_be_native(syntax: UID) -> bool:
    """Whether an object in transfer syntax ``syntax`` can be sent in Explicit and Implicit VR Little Endian as well,
    with the same pixel values.
    """
    return syntax in LOSSLESS if syntax.is_encapsulated else syntax.is_little_endian


def make_native(ds: Dataset) -> None:
    """Decode the pixel data of ``ds``, in a syntax of `LOSSLESS`, in place; then it is in Explicit VR Little Endian.

    Only the pixel data, Transfer Syntax UID, and what the standard ties to the encoding change: the offset tables go,
    colours are by pixel (Planar Configuration), and YBR_RCT, a transformation of the codec, becomes RGB.

    Raises
    ------
    BadPixels
        where the pixel data are damaged, or are more than an element can hold.
    """
    syntax = UID(str(ds.file_meta.TransferSyntaxUID))
    try:
        # Colour spaces and unused bits stay: converting them would change values.
        ds.decompress(
            as_rgb=False, generate_instance_uid=False, decoding_plugin=PLUGINS[syntax], correct_unused_bits=False
        )
    except BaseException as error:
        if not isinstance(error, (*UNREADABLE, RuntimeError, MemoryError)) and not is_panic(error):
            raise
        raise BadPixels(
            f"The pixel data ({syntax.name}) cannot be decoded.",
            where=f"instance {ds.SOPInstanceUID}",
            todo="Export the object again.",
        ) from error
    for keyword in OFFSETS:
        if keyword in ds:
            del ds[keyword]
