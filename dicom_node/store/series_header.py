"""Headers of stored series: the representative of a series, found by the index or else by the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from dicom_node.store.header import LAST_TAG, UIDS_END
from dicom_node.store.manifest import StoredInstance
from pipeline.patient.subject import COMPARED
from pipeline.reading.files import UNREADABLE
from pipeline.reading.representative import Precedence, image_count, image_kind_of_class, precedence, precedence_of


@dataclass(frozen=True)
class Representative:
    """The representative instance of a stored series, and how many of the series' instances are images."""

    path: Path
    header: Dataset
    images: int


def representative_of(instances: Sequence[StoredInstance]) -> Representative:
    """The representative of a stored series, by the rule of `pipeline.reading.representative`.

    Files of instances that the index knows to be slices or objects without an image are not opened, except that of the
    representative.

    Raises
    ------
    OSError
        where the disk cannot be read.
    """
    ranked = sorted((_precedence(item), item.path) for item in instances)
    while True:
        expected, name = ranked[0]
        header = read_header(Path(name))
        found = precedence(header)
        if found[0] <= expected[0] or len(ranked) == 1:
            break
        ranked = sorted([*ranked[1:], (found, name)])  # a picture with the SOP class of slices
    kinds = [rank[0] for rank, _ in ranked]
    return Representative(Path(ranked[0][1]), header, image_count(kinds))


def read_header(path: Path) -> Dataset:
    """The header at ``path``; where it is damaged further on, the part that the store itself reads.

    So a damaged series is routed by its modality, and the worker that reads it whole refuses it with the reason.

    Raises
    ------
    OSError
        where the disk cannot be read.
    """
    header = _read(path)
    return header if "SeriesInstanceUID" in header else _beginning(path)


def read_identity(path: Path) -> Dataset:
    """Patient and study of the instance at ``path``, also where it is damaged further on. OSError as `read_header`."""
    header = _read(path, "SOPInstanceUID", "SeriesInstanceUID", *COMPARED)
    return header if "SeriesInstanceUID" in header else read_header(path)


def read_found_by(path: Path) -> Dataset:
    """Modality and identifiers of the instance at ``path``; empty where it is damaged. OSError as `read_header`."""
    return _read(path, "SpecificCharacterSet", "Modality", "AccessionNumber", "PatientID")


def _read(path: Path, *keywords: str) -> Dataset:
    """The data set at ``path`` without pixels, or only some of its attributes; empty where it is damaged."""
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(keywords) or None)
    except UNREADABLE as error:
        if (
            isinstance(error, OSError) and error.errno is not None
        ):  # a disk error; pydicom raises OSError without a number
            raise
        return Dataset()


def _beginning(path: Path) -> Dataset:
    for last in (LAST_TAG, UIDS_END):
        try:
            with path.open("rb") as file:
                return read_partial(file, stop_when=partial(_is_behind, last))
        except UNREADABLE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
    return Dataset()


def _is_behind(last: int, tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return bool(tag > last)


def _precedence(item: StoredInstance) -> Precedence:
    if item.sop_class_uid is not None and item.instance_number is not None:
        kind = image_kind_of_class(item.sop_class_uid)
        if kind is not None:
            return precedence_of(kind, item.instance_number, item.sop_instance_uid)
    return precedence(read_header(Path(item.path)))
