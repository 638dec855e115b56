"""Pixel data as modality values."""

from __future__ import annotations

import numpy as np

from pipeline.errors import BadPixels
from pipeline.planes import Plane
from pipeline.volume import FloatArray


def pixel_values(plane: Plane) -> FloatArray:
    """Modality values of one slice of a grey image, float32 (rows, columns).

    Raises
    ------
    BadPixels
        where the pixel data is not grey, shorter than it claims, cannot be decoded, or not finite.
    """
    ds, where = plane.instance, plane.where
    if ds.get("SamplesPerPixel", 1) != 1 or ds.get("PhotometricInterpretation") != "MONOCHROME2":
        raise BadPixels(
            f"The image is {ds.get('PhotometricInterpretation')}, not MONOCHROME2.",
            where=where,
            todo="Send the original grey images.",
        )
    syntax = ds.file_meta.TransferSyntaxUID
    expected = int(ds.Rows) * int(ds.Columns) * int(ds.BitsAllocated) // 8
    if not syntax.is_encapsulated and len(ds.PixelData) < expected:
        raise BadPixels(
            f"The pixel data has {len(ds.PixelData)} bytes where the header claims {expected}.",
            where=where,
            todo="Send it again; the sender cut it short.",
        )
    try:
        stored = ds.pixel_array
    except (ValueError, RuntimeError, AttributeError, NotImplementedError, KeyError, TypeError, OSError) as error:
        raise BadPixels(
            f"The pixel data ({syntax.name}) cannot be decoded.", where=where, todo="Send it again, uncompressed."
        ) from error
    if stored.shape != (ds.Rows, ds.Columns):
        raise BadPixels(f"The pixel data decodes to {stored.shape}.", where=where, todo="Send it again.")
    values = stored.astype(np.float32)
    values = values * np.float32(ds.get("RescaleSlope") or 1) + np.float32(ds.get("RescaleIntercept") or 0)
    if not np.isfinite(values).all():
        raise BadPixels("The image holds values that are not finite.", where=where, todo="Send the original images.")
    result: FloatArray = values.astype(np.float32)
    return result
