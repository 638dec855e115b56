"""Siemens mosaics: all slices of a time point as tiles of one image, which no standard attribute describes."""

from __future__ import annotations

import struct

from pydicom.dataset import Dataset

from pipeline.errors import BadGeometry
from pipeline.reading.attributes import texts

CSA_IMAGE_HEADER = (0x0029, 0x10)
"""Group and offset, in the block of SIEMENS CSA HEADER, of the element that holds the image's CSA header."""
TAG_NAME_BYTES = 64
TILE_COUNT = b"NumberOfImagesInMosaic"


def refuse_mosaic(ds: Dataset, where: str) -> None:
    """Raise `BadGeometry` where ``ds`` is a mosaic, even if its ImageType was altered; ``where`` names it.

    docs/adr/0006-mosaics-are-refused.md states why mosaics are not split.
    """
    tiles = tiles_in_mosaic(ds)
    if tiles is None and "MOSAIC" not in texts(ds, "ImageType"):
        return
    raise BadGeometry(
        f"The instance is a Siemens mosaic: {tiles or 'many'} slices as tiles of one image, which a result could not"
        " refer to one by one.",
        where=where,
        todo="Switch Mosaic off in the sequence, or export single slices or Enhanced MR, and send that.",
    )


def tiles_in_mosaic(ds: Dataset) -> int | None:
    """The number of slices tiled in ``ds`` by the private elements of Siemens; None where they state none."""
    count = _private(ds, 0x0019, "SIEMENS MR HEADER", 0x0A)
    if isinstance(count, int) and count > 1:
        return count
    header = _private(ds, CSA_IMAGE_HEADER[0], "SIEMENS CSA HEADER", CSA_IMAGE_HEADER[1])
    return _tiles_in_csa(header) if isinstance(header, bytes) else None


def _tiles_in_csa(header: bytes) -> int | None:
    """The first value of NumberOfImagesInMosaic in a CSA2 header, None where there is none.

    A tag is a name of 64 bytes, VM, VR, SyngoDT and item count (4 bytes each), a check word, and items of four words,
    the first of which is the item's length, and their text (as dcm2niix and nibabel document it).
    """
    at = header.find(TILE_COUNT + b"\0")
    items_at = at + TAG_NAME_BYTES + 16 + 4
    if at < 0 or len(header) < items_at + 16:
        return None
    (length,) = struct.unpack_from("<i", header, items_at)
    text = header[items_at + 16 : items_at + 16 + max(0, min(length, 16))].split(b"\0")[0].strip()
    return int(text) if text.isdigit() and int(text) > 1 else None


def _private(ds: Dataset, group: int, creator: str, offset: int) -> object:
    try:
        return ds.private_block(group, creator)[offset].value
    except KeyError:
        return None
