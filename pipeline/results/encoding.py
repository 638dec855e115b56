"""Encodes a result in another transfer syntax, losslessly and under the same UID."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from pipeline.errors import BadResult
from pipeline.results.result_object import ResultObject


def encoded(item: ResultObject, transfer_syntax: UID) -> ResultObject:
    """``item`` in ``transfer_syntax``; unchanged where its pixels cannot be compressed that way.

    ``item`` is in Explicit VR Little Endian and is not changed.

    Raises
    ------
    BadResult
        where the codec fails.
    """
    if transfer_syntax == ExplicitVRLittleEndian or (transfer_syntax.is_encapsulated and not _has_bytes(item.dataset)):
        return item
    ds = deepcopy(item.dataset)
    if transfer_syntax.is_encapsulated:
        try:
            ds.compress(transfer_syntax, generate_instance_uid=False)
        except (RuntimeError, ValueError, NotImplementedError) as error:
            raise BadResult(
                f"The {item.role} could not be compressed ({type(error).__name__}).",
                where=transfer_syntax.name,
                todo="Name another transfer_syntax in the profile.",
            ) from error
    else:
        ds.file_meta.TransferSyntaxUID = transfer_syntax
        # Raw elements go out as they came (see pipeline.patient.attributes) only where the encodings are the same.
        ds.set_original_encoding(transfer_syntax.is_implicit_VR, True, ds._character_set)  # noqa: SLF001
    return replace(item, dataset=ds)


def _has_bytes(ds: Dataset) -> bool:
    """Whether the pixels are whole bytes of integers, which DICOM's compressions require."""
    return "PixelData" in ds and ds.get("BitsAllocated") in (8, 16)
