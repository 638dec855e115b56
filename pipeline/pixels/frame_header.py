"""The header of a compressed frame, read from its first bytes before any decoder allocates memory for the image.

A JPEG or JPEG 2000 frame states a size of its own, and decoders believe it: a few bytes that state 65535 × 65535 pixels
cost gigabytes. So this size is compared with that of the DICOM header first.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pydicom.uid import UID, JPEG2000TransferSyntaxes, RLELossless

JPEG2000_START = b"\xff\x4f\xff\x51"
JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
JPEG_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7})
"""Markers of frame headers: SOF0 to SOF15 (ISO 10918-1 table B.1) and SOF55 of JPEG-LS (ISO 14495-1)."""
WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers that stand alone (ISO 10918-1 B.1.1.3)."""
END = b"\xff\xd9"
"""EOI of JPEG and JPEG-LS and EOC of JPEG 2000 are the same two bytes."""
MOST_TILES = 4096
"""Tiles of a JPEG 2000 image: pathology uses thousands, radiology one; a decoder keeps state for each."""
RLE_HEADER = 64


class Unreadable(ValueError):
    """The frame does not conform to its transfer syntax. The message says why, without content of the image."""


@dataclass(frozen=True)
class FrameHeader:
    """The size that a compressed frame states: rows, columns, samples per pixel, bits per sample."""

    rows: int
    columns: int
    samples: int
    precision: int


def read_frame_header(frame: bytes, syntax: UID) -> FrameHeader | None:
    """The header of ``frame``, the joined fragments of one frame; None for RLE, which states no size (PS3.5 G).

    Raises
    ------
    Unreadable
        where the frame has no readable header, or does not reach its end marker.
    """
    if syntax == RLELossless:
        return None
    header = _jpeg_2000(frame) if syntax in JPEG2000TransferSyntaxes else _jpeg(frame)
    if not frame.rstrip(b"\x00\xff").endswith(END):
        raise Unreadable("it ends before its end marker")
    return header


def check_rle(frame: bytes, bytes_per_pixel: int) -> None:
    """Check that the RLE header (PS3.5 G.5) names ``bytes_per_pixel`` segments in ascending order within ``frame``.

    Raises
    ------
    Unreadable
        where it does not.
    """
    if len(frame) < RLE_HEADER:
        raise Unreadable("its RLE header is cut short")
    count, *offsets = struct.unpack_from("<16L", frame)
    if count != bytes_per_pixel:
        raise Unreadable(f"it has {count} RLE segments where {bytes_per_pixel} are needed")
    used = offsets[:count]
    if used[0] != RLE_HEADER or used != sorted(used) or used[-1] >= len(frame):
        raise Unreadable("its RLE segments lie outside of it")


def _jpeg_2000(frame: bytes) -> FrameHeader:
    """The SIZ segment, which must come first (ISO 15444-1 A.5.1)."""
    if frame.startswith(JP2_SIGNATURE):
        frame = _without_jp2_boxes(frame)
    if not frame.startswith(JPEG2000_START):
        raise Unreadable("it does not start as a JPEG 2000 codestream")
    try:
        width, height, left, top, tile_width, tile_height, tile_left, tile_top, samples, depth = struct.unpack_from(
            ">8LHB", frame, 8
        )
    except struct.error:
        raise Unreadable("its size segment is cut short") from None
    if not (tile_width and tile_height and left < width and top < height):
        raise Unreadable("its size segment contradicts itself")
    tiles = -(-(width - tile_left) // tile_width) * -(-(height - tile_top) // tile_height)
    if tiles > MOST_TILES:
        raise Unreadable(f"it claims {tiles} tiles")
    return FrameHeader(rows=height - top, columns=width - left, samples=samples, precision=(depth & 0x7F) + 1)


def _without_jp2_boxes(frame: bytes) -> bytes:
    """The contiguous codestream in a JP2 file. PS3.5 A.4.4 forbids this wrapping, but some writers leave it on."""
    at = 0
    while at + 8 <= len(frame):
        length, kind = struct.unpack_from(">L4s", frame, at)
        if kind == b"jp2c":
            return frame[at + 8 :]
        if length < 8:
            break
        at += length
    raise Unreadable("its JP2 boxes hold no codestream")


def _jpeg(frame: bytes) -> FrameHeader:
    """Walk the markers from the start to the frame header."""
    if not frame.startswith(b"\xff\xd8"):
        raise Unreadable("it does not start as a JPEG stream")
    at = 2
    while at + 4 <= len(frame):
        if frame[at] != 0xFF:
            break
        marker = frame[at + 1]
        if marker == 0xFF or marker in WITHOUT_LENGTH:  # a fill byte, or a marker alone
            at += 1 if marker == 0xFF else 2
            continue
        if marker in JPEG_FRAMES:
            return _jpeg_frame(frame, at)
        (length,) = struct.unpack_from(">H", frame, at + 2)
        at += 2 + length
    raise Unreadable("it has no JPEG frame header")


def _jpeg_frame(frame: bytes, at: int) -> FrameHeader:
    try:
        precision, rows, columns, samples = struct.unpack_from(">BHHB", frame, at + 4)
    except struct.error:
        raise Unreadable("its JPEG frame header is cut short") from None
    return FrameHeader(rows, columns, samples, precision)
