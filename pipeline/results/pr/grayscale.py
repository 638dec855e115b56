"""The grayscale transformation of the original images for a presentation state: Modality LUT, window, polarity.

A presentation state overrides what the images say of this (PS3.4 N.2), so it must say all of it: without a window an
image is shown over its whole range of values, which for MR is black.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from pipeline.geometry.volume import Volume
from pipeline.pixels.modality_lut import to_modality
from pipeline.reading.attributes import text
from pipeline.results.drawing.picture import display_window
from pipeline.results.provenance import decimal
from pipeline.results.wording import ascii_text

NARROW = 64
"""A window on fewer modality values than this is put on the stored values: readers compute in whole numbers (dcmtk)."""


@dataclass(frozen=True)
class Window:
    """A LINEAR window on the values that the modality LUT gives, and the indices of its planes."""

    center: float
    width: float
    planes: tuple[int, ...]


@dataclass(frozen=True)
class Grayscale:
    """``planes`` index the images that share one presentation state; ``inverse``: large values are black."""

    planes: tuple[int, ...]
    windows: tuple[Window, ...]
    modality_lut: hd.ModalityLUTTransformation | None
    inverse: bool


def grayscale_of(volume: Volume, key: int) -> Grayscale:
    """The grey of plane ``key`` for all planes.

    A presentation state has one modality LUT. Where planes are rescaled differently (Philips and PET do so) it has
    none, and each group of planes has a window on its stored values instead, which is the same line; so too where
    modality values are fractions, which readers round. Planes whose Modality LUT is a table other than that of ``key``
    are left out.
    """
    black, white = display_window(volume, key)
    head = volume.sources[key]
    mirrored = head.get("PhotometricInterpretation") == "MONOCHROME2" and head.get("PresentationLUTShape") == "INVERSE"
    inverse = mirrored or head.get("PhotometricInterpretation") == "MONOCHROME1"
    if mirrored:  # see pipeline.reading.slices.Slice.ds: the voxels are not as they are stored
        mirror = _mirror(head)
        black, white = mirror - white, mirror - black
    tables = [_table(ds) for ds in volume.sources]
    planes = tuple(k for k, table in enumerate(tables) if table == tables[key])
    by_rescale: dict[tuple[float, float], list[int]] = defaultdict(list)
    for k in planes:
        by_rescale[_rescale(volume.sources[k])].append(k)
    if tables[key] is not None or (len(by_rescale) == 1 and white - black >= NARROW):
        return Grayscale(planes, (_window(black, white, planes),), _modality_lut(head), inverse)
    windows = tuple(
        _window((black - intercept) / slope, (white - intercept) / slope, tuple(group))
        for (slope, intercept), group in by_rescale.items()
    )
    return Grayscale(planes, windows, None, inverse)


def _window(black: float, white: float, planes: tuple[int, ...]) -> Window:
    """The LINEAR window whose ends are ``black`` and ``white``, exactly, also for fractions (PS3.3 C.11.2.1.2.1).

    LINEAR_EXACT would say the same more simply, but readers that do not know it (dcmtk 3.6) take it for LINEAR.
    """
    return Window((black + white) / 2 + 0.5, abs(white - black) + 1, planes)


def _table(ds: Dataset) -> tuple[object, ...] | None:
    """The Modality LUT of ``ds`` in a comparable form; None without one."""
    if not ds.get("ModalityLUTSequence"):
        return None
    item = ds.ModalityLUTSequence[0]
    return (*map(int, item.LUTDescriptor), str(item.get("ModalityLUTType", "US")), *np.ravel(item.LUTData).tolist())


def _rescale(ds: Dataset) -> tuple[float, float]:
    slope, intercept = ds.get("RescaleSlope"), ds.get("RescaleIntercept")
    return 1.0 if slope in (None, "") else float(slope), 0.0 if intercept in (None, "") else float(intercept)


def _modality_lut(ds: Dataset) -> hd.ModalityLUTTransformation | None:
    if ds.get("ModalityLUTSequence"):
        item = ds.ModalityLUTSequence[0]
        data = np.frombuffer(item.LUTData, np.uint16) if isinstance(item.LUTData, bytes) else np.array(item.LUTData)
        bits = int(item.LUTDescriptor[2])
        table = hd.ModalityLUT(
            lut_type=ascii_text(text(item, "ModalityLUTType"), 64) or "US",
            first_mapped_value=int(item.LUTDescriptor[1]),
            lut_data=data.astype(np.uint8 if bits <= 8 else np.uint16),
        )
        return hd.ModalityLUTTransformation(modality_lut=table)
    slope, intercept = _rescale(ds)
    if (slope, intercept) == (1.0, 0.0):
        return None
    kind = str(ds.get("RescaleType") or ("HU" if ds.get("Modality") == "CT" else "US"))
    return hd.ModalityLUTTransformation(
        rescale_intercept=decimal(intercept), rescale_slope=decimal(slope), rescale_type=kind
    )


def _mirror(ds: Dataset) -> float:
    """What mirrored values are subtracted from: the sum of the range's ends; `pipeline.pixels.modality_lut.mirror`."""
    bits = int(ds.BitsStored)
    least = -(1 << (bits - 1)) if ds.get("PixelRepresentation") else 0
    ends = np.array([least, least + (1 << bits) - 1], dtype=np.int64)
    return float(to_modality(ends, ds, f"instance {ds.SOPInstanceUID}").sum())
