"""Stored pixel values of one instance, frame by frame, decoded only after the header was checked (PS3.3 C.7.6.3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from pipeline.errors import BadPixels
from pipeline.pixels.frame_header import FrameHeader, Unreadable, check_rle, read_frame_header
from pipeline.reading.attributes import text
from pipeline.reading.sop_classes import PIXEL_ELEMENTS
from pipeline.reading.validation import UNREADABLE

Stored = npt.NDArray[Any]

MOST_PLANE_PIXELS = 1 << 26
"""8192²: twice the largest radiography detector (about 5000 × 6000) and 256 times a usual slice; 256 MiB as float32."""
INTEGER_BITS = (8, 16, 32)
FLOAT_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}

PLUGINS = {
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "pillow",
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
    uid.RLELossless: "pylibjpeg",
}
"""The decoder of each compressed transfer syntax. Without this choice pydicom tries one after the other, and accepts
from a lax decoder what a strict one has refused."""


@dataclass(frozen=True)
class Layout:
    """How the header of an instance says that its pixels are stored; the values were checked for consistency.

    Attributes
    ----------
    element : keyword of the element that holds them, one of `pipeline.reading.sop_classes.PIXEL_ELEMENTS`; ``vr`` is
        its VR.
    syntax : transfer syntax.
    rows, columns, frames : at least 1 each; ``frames`` is 1 for a single-frame instance.
    allocated, stored, high : BitsAllocated, BitsStored, HighBit; for floats ``stored`` is ``allocated``.
    signed : PixelRepresentation is 1 (two's complement).
    photometric : MONOCHROME1 or MONOCHROME2.
    """

    element: str
    vr: str
    syntax: UID
    rows: int
    columns: int
    frames: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str

    @property
    def is_float(self) -> bool:
        return self.element in FLOAT_BITS

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame, uncompressed."""
        return self.rows * self.columns * self.allocated // 8

    @property
    def limits(self) -> tuple[int, int]:
        """Least and greatest value that an integer pixel can hold."""
        return (-(1 << self.stored - 1), (1 << self.stored - 1) - 1) if self.signed else (0, (1 << self.stored) - 1)

    def significant(self, cells: Stored) -> Stored:
        """Pixel values of ``cells``. Bits beside the stored ones do not belong to the value (PS3.5 8.1.1) and are cut
        off.
        """
        if self.is_float or self.stored == self.allocated:
            return cells
        return (cells << (self.allocated - 1 - self.high)) >> (self.allocated - self.stored)


class StoredPixels:
    """The frames of one instance.

    Parameters
    ----------
    instance : the stored object, with its file meta.

    Raises
    ------
    BadPixels
        where what the header states about the pixels is impossible, or Candela does not read such pixels.
    """

    def __init__(self, instance: Dataset) -> None:
        self._instance = instance
        self.layout = layout_of(instance)

    def cells(self, frame: int) -> Stored:
        """The decoded pixel cells of ``frame`` (from 1), all bits allocated, (rows, columns), in native byte order.

        Raises
        ------
        BadPixels
            where the frame is absent, damaged, cut short, of another size than the header says, or not decodable.
        """
        where = f"{self._where}, frame {frame}" if self.layout.frames > 1 else self._where
        layout = self.layout
        if layout.syntax.is_encapsulated:
            source, index = self._checked_frame(frame, where), 0
        else:
            source, index = self._instance[layout.element].value, frame - 1
        try:
            cells, _ = get_decoder(layout.syntax).as_array(
                source,
                index=index,
                raw=True,
                decoding_plugin=PLUGINS.get(layout.syntax, ""),
                **self._options,
            )
        except BaseException as error:
            if not isinstance(error, (*UNREADABLE, RuntimeError, MemoryError)) and not is_panic(error):
                raise
            raise BadPixels(
                f"The pixel data ({layout.syntax.name}) cannot be decoded.",
                where=where,
                todo="Send it again, uncompressed.",
            ) from error
        return np.ascontiguousarray(cells, dtype=cells.dtype.newbyteorder("="))

    @property
    def _options(self) -> dict[str, Any]:
        layout = self.layout
        return {
            "number_of_frames": 1 if layout.syntax.is_encapsulated else layout.frames,
            "rows": layout.rows,
            "columns": layout.columns,
            "samples_per_pixel": 1,
            "bits_allocated": layout.allocated,
            "bits_stored": layout.stored,
            "pixel_representation": int(layout.signed),
            "photometric_interpretation": layout.photometric,
            "pixel_keyword": layout.element,
            "pixel_vr": layout.vr,
            "correct_unused_bits": False,
            "allow_excess_frames": False,
        }

    @property
    def _where(self) -> str:
        return f"instance {self._instance.SOPInstanceUID}"

    def _checked_frame(self, frame: int, where: str) -> bytes:
        """The compressed ``frame``, encapsulated for the decoder, after its header was found to agree with the DICOM
        header.
        """
        layout = self.layout
        encoded = self._encoded[frame - 1] if layout.frames > 1 else self._split()[0]
        try:
            if layout.syntax == uid.RLELossless:
                check_rle(encoded, layout.allocated // 8)
            else:
                _check_agreement(read_frame_header(encoded, layout.syntax), layout)
        except Unreadable as error:
            raise BadPixels(
                f"The compressed image ({layout.syntax.name}) cannot be read: {error}.",
                where=where,
                todo="Send it again, best uncompressed.",
            ) from error
        return encapsulate([encoded], has_bot=False)

    @cached_property
    def _encoded(self) -> list[bytes]:
        """Every compressed frame. Found once, since a search from the start for each frame takes quadratic time."""
        return self._split()

    def _split(self) -> list[bytes]:
        frames = self.layout.frames
        try:
            encoded = list(islice(generate_frames(self._instance.PixelData, number_of_frames=frames), frames + 1))
        except UNREADABLE as error:
            raise BadPixels(
                "The fragments of the compressed pixel data cannot be separated.",
                where=self._where,
                todo="Send it again.",
            ) from error
        if len(encoded) != frames:
            found = f"more than {frames}" if len(encoded) > frames else str(len(encoded))
            raise BadPixels(
                f"The compressed pixel data holds {found} frames where the header claims {frames}.",
                where=self._where,
                todo="Send it again.",
            )
        return encoded


def _check_agreement(header: FrameHeader | None, layout: Layout) -> None:
    if header is None:
        return
    if (header.rows, header.columns) != (layout.rows, layout.columns):
        raise Unreadable(
            f"it claims {header.rows}×{header.columns} pixels where the header says {layout.rows}×{layout.columns}"
        )
    if header.samples != 1:
        raise Unreadable(f"it claims {header.samples} samples per pixel where the header says one")
    if layout.syntax == uid.JPEGExtended12Bit and header.precision > 8:
        raise Unreadable(f"it has {header.precision} bits, and JPEG Extended is read with 8")
    if header.precision > layout.allocated:
        raise Unreadable(f"it claims {header.precision} bits where the header allots {layout.allocated}")


def layout_of(ds: Dataset) -> Layout:
    """The layout that the header of ``ds`` states. Raises as `StoredPixels`."""
    where = f"instance {ds.SOPInstanceUID}"
    element = _element(ds, where)
    photometric = _grey(ds, where)
    allocated, stored, high, signed = _bits(ds, element, where)
    rows, columns = (_whole(ds, keyword, where) for keyword in ("Rows", "Columns"))
    frames = _whole(ds, "NumberOfFrames", where) or 1 if ds.get("NumberOfFrames") not in (None, "") else 1
    if min(rows, columns, frames) < 1:
        raise BadPixels(f"The image has {frames} frames of {rows}×{columns}.", where=where, todo="Send it again.")
    if rows * columns > MOST_PLANE_PIXELS:
        raise BadPixels(
            f"The image claims {rows}×{columns} pixels; at most {MOST_PLANE_PIXELS} are read.",
            where=where,
            todo="Send the original images, or a smaller matrix.",
        )
    syntax = _syntax(ds, element, where)
    if syntax.is_encapsulated and syntax != uid.RLELossless and high != stored - 1:
        raise BadPixels(
            f"HighBit is {high} where {stored} bits are stored and compressed.", where=where, todo="Send uncompressed."
        )
    layout = Layout(
        element, str(ds[element].VR), syntax, rows, columns, frames, allocated, stored, high, signed, photometric
    )
    if not syntax.is_encapsulated:
        _check_length(len(ds[element].value), layout, where)
    return layout


def _element(ds: Dataset, where: str) -> str:
    present = [keyword for keyword in PIXEL_ELEMENTS if keyword in ds]
    if len(present) != 1:
        raise BadPixels(
            f"The image has {'no pixel data' if not present else 'pixel data twice: ' + ' and '.join(present)}.",
            where=where,
            todo="Send it again.",
        )
    if not isinstance(ds[present[0]].value, bytes):
        raise BadPixels("The pixel data is empty or not a byte string.", where=where, todo="Send it again.")
    return present[0]


def _grey(ds: Dataset, where: str) -> str:
    photometric = text(ds, "PhotometricInterpretation") or "of no stated kind"
    samples = ds.get("SamplesPerPixel") or 1
    if samples != 1 or photometric not in {"MONOCHROME1", "MONOCHROME2"}:
        raise BadPixels(
            f"The image is {photometric} (SamplesPerPixel {samples}), not MONOCHROME1 or MONOCHROME2 with one sample.",
            where=where,
            todo="Send the original grey images.",
        )
    return photometric


def _bits(ds: Dataset, element: str, where: str) -> tuple[int, int, int, bool]:
    """BitsAllocated, BitsStored, HighBit, signed."""
    allocated = _whole(ds, "BitsAllocated", where)
    if element in FLOAT_BITS:
        if allocated != FLOAT_BITS[element]:
            raise BadPixels(f"{element} with {allocated} bits allocated.", where=where, todo="Send it again.")
        return allocated, allocated, allocated - 1, True
    stored = _whole(ds, "BitsStored", where)
    high = _whole(ds, "HighBit", where) if ds.get("HighBit") is not None else stored - 1
    representation = _whole(ds, "PixelRepresentation", where)
    if allocated not in INTEGER_BITS:
        raise BadPixels(
            f"{allocated} bits are allocated for a pixel; 8, 16 and 32 are read.",
            where=where,
            todo="Send the original images.",
        )
    if not 1 <= stored <= allocated or not stored - 1 <= high < allocated or representation not in {0, 1}:
        raise BadPixels(
            f"BitsAllocated {allocated}, BitsStored {stored}, HighBit {high} and PixelRepresentation {representation}"
            " contradict each other.",
            where=where,
            todo="Send the original images.",
        )
    return allocated, stored, high, bool(representation)


def _syntax(ds: Dataset, element: str, where: str) -> UID:
    syntax = ds.file_meta.get("TransferSyntaxUID")
    if not syntax:
        raise BadPixels("The file does not name its transfer syntax.", where=where, todo="Export it again.")
    syntax = UID(str(syntax))
    try:
        get_decoder(syntax)
    except NotImplementedError:
        raise BadPixels(
            f"The transfer syntax is {syntax.name}, which is not read.", where=where, todo="Send it uncompressed."
        ) from None
    if syntax.is_encapsulated and element in FLOAT_BITS:
        raise BadPixels(f"{element} is compressed.", where=where, todo="Send it uncompressed.")
    return syntax


def _check_length(length: int, layout: Layout, where: str) -> None:
    expected = layout.frame_bytes * layout.frames
    if length < expected:
        raise BadPixels(
            f"The pixel data has {length} bytes where the header claims {expected}.",
            where=where,
            todo="Send it again; the sender cut it short.",
        )
    if length >= expected + max(layout.frame_bytes, 2):
        raise BadPixels(
            f"The pixel data has {length} bytes where the header claims {expected}: it holds more than stated.",
            where=where,
            todo="Send the original images.",
        )


def _whole(ds: Dataset, keyword: str, where: str) -> int:
    value = ds.get(keyword)
    if not isinstance(value, int):
        raise BadPixels(
            f"{keyword} is {'missing' if value is None else 'not a number'}.", where=where, todo="Send it again."
        )
    return int(value)


def is_panic(error: BaseException) -> bool:
    """Whether a decoder written in Rust (pylibjpeg-rle) gave up: its exception is no `Exception`, and has no name that
    could be imported.
    """
    return type(error).__module__ == "pyo3_runtime"
