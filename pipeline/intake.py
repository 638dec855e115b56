"""Reading one series from files: a folder, a zip archive, one file or several."""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from pipeline.damage import UNREADABLE as UNREADABLE  # noqa: PLC0414 - what may be raised is part of this interface
from pipeline.damage import check_attributes
from pipeline.errors import EmptyInput, MixedSeries, NotDicom, NotImage, Refused, Truncated
from pipeline.functional_groups import PER_FRAME
from pipeline.kinds import PIXEL_ELEMENTS, class_name, is_without_image
from pipeline.planes import header_of

MOST_FILES = 20_000
MOST_UNZIPPED_BYTES = 8 << 30
"""A zip may claim more than any machine holds; no MR series comes near this."""
MOST_FILE_BYTES = 2 << 30
"""An enhanced object of two thousand frames of 512² has half of it; a file is held twice while it is read."""
PIECE = 1 << 20
"""Bytes inflated at a time."""
MOST_INFLATED_BYTES = 1 << 30
"""What one deflated data set may inflate to: a thousandth of it, sent, can be a bomb of this size."""


@dataclass(frozen=True)
class Series:
    """The instances of one series, in no particular order.

    ``skipped`` names the files beside them that were ignored: not DICOM (a README), a DICOMDIR, or objects without an
    image (raw data, presentation states, reports), which scanners and workstations put beside images.
    """

    datasets: tuple[Dataset, ...]
    skipped: tuple[str, ...] = ()

    @cached_property
    def header(self) -> Dataset:
        """The header that speaks for the series: its first instance by InstanceNumber, then by SOP Instance UID.

        In classic form: of an enhanced object it is that of the first frame (see `pipeline.planes.header_of`, and what
        that raises).
        """
        return header_of(
            min(self.datasets, key=lambda ds: (int(ds.get("InstanceNumber") or 0), str(ds.SOPInstanceUID)))
        )

    @property
    def sop_instance_uids(self) -> tuple[str, ...]:
        return tuple(str(ds.SOPInstanceUID) for ds in self.datasets)


def read_path(path: Path) -> Series:
    """The one series at ``path``: a DICOM file, a folder (searched through) or a zip archive.

    Raises
    ------
    FileNotFoundError
        where there is nothing at ``path``.
    EmptyInput, NotDicom, Truncated, NotImage, MixedSeries
        naming the file concerned and what to do.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    if path.is_file() and zipfile.is_zipfile(path):
        return read_parts(_zip_members(path), where=str(path))
    return read_files(sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path], path)


def read_files(paths: Iterable[Path], where: Path) -> Series:
    """The one series in the files ``paths``; ``where`` names them in errors. Raises as `read_path`."""
    return read_parts(((str(path), _bytes_of(path)) for path in paths), where=str(where))


def read_parts(parts: Iterable[tuple[str, bytes]], *, where: str) -> Series:
    """The one series in ``parts``, pairs of a name and the bytes of a file. Raises as `read_path`."""
    images: list[Dataset] = []
    others: list[tuple[str, Dataset]] = []
    skipped: list[str] = []
    for count, (name, data) in enumerate(parts, start=1):
        if count > MOST_FILES:
            raise Refused(f"There are more than {MOST_FILES} files.", where=where, todo="Pass one series at a time.")
        ds = _read_one(name, data)
        if ds is None:
            skipped.append(name)
        elif is_without_image(ds):
            others.append((name, ds))
        else:
            images.append(ds)
    if not images and others:
        ds = others[0][1]
        raise NotImage(
            f"The instance is a {class_name(ds)}, without an image.",
            where=f"instance {ds.SOPInstanceUID}",
            todo="Pass a series of images.",
        )
    if not images and not skipped:
        raise EmptyInput("There is no file here.", where=where, todo="Pass the folder that holds the series.")
    if not images:
        raise _not_dicom(skipped[0], where, len(skipped))
    return Series(_one_series(_without_copies(images), where), tuple(sorted([*skipped, *(name for name, _ in others)])))


def _bytes_of(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MOST_FILE_BYTES:
        raise Refused(
            f"The file has {size >> 20} MiB; at most {MOST_FILE_BYTES >> 20} are read.",
            where=str(path),
            todo="Pass the series in smaller objects.",
        )
    return path.read_bytes()


def _read_one(name: str, data: bytes) -> Dataset | None:
    """The data set in ``data``; None where it is no DICOM file and does not claim to be one by its name."""
    if data[128:132] != b"DICM":
        if name.lower().endswith((".dcm", ".dicom", ".ima")):
            raise NotDicom(
                "The file is named as DICOM but has no DICOM header.",
                where=name,
                todo="Export the series again, or remove the file.",
            )
        return None
    try:
        _check_inflated(data, name)
        ds = pydicom.dcmread(io.BytesIO(data))
        ds.buffer = None  # else every data set keeps its whole file beside its values
        # Values are parsed here, so that a damaged one is met now and not in the middle of a run; in a copy, so that
        # the bytes of names and identifiers stay as they came and results can carry them unchanged. Frames' own groups,
        # thousands of them, are parsed once, where they are read.
        elements = dict(ds.items())
        elements.pop(PER_FRAME, None)
        parsed = Dataset(elements)
        for element in parsed:
            _ = element.value
    except InvalidDicomError as error:
        raise NotDicom(
            "The file has a DICOM prefix but cannot be read.", where=name, todo="Export it again."
        ) from error
    except (*UNREADABLE, MemoryError) as error:  # a length that lies may ask for more memory than there is
        raise Truncated(
            f"The file ends early or is damaged ({type(error).__name__}).", where=name, todo="Send or export it again."
        ) from error
    if ds.file_meta.get("MediaStorageSOPClassUID") == "1.2.840.10008.1.3.10":  # DICOMDIR
        return None
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not ds.get(keyword):
            raise Truncated(f"The data set has no {keyword}.", where=name, todo="Send or export it again.")
    check_attributes(parsed, name)
    return ds


def _check_inflated(data: bytes, name: str) -> None:
    """Refuse a deflated data set that inflates beyond bounds; it is inflated piece by piece and thrown away."""
    file = io.BytesIO(data)
    file.seek(132)
    meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=_behind_file_meta)
    if not UID(str(meta.get("TransferSyntaxUID", ""))).is_deflated:
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    rest, total = file.read(), 0
    while rest and not inflater.eof:
        total += len(inflater.decompress(rest, PIECE))
        rest = inflater.unconsumed_tail
        if total > MOST_INFLATED_BYTES:
            raise Refused(
                f"The deflated data set inflates to more than {MOST_INFLATED_BYTES >> 20} MiB.",
                where=name,
                todo="Send it in another transfer syntax.",
            )


def _behind_file_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != 0x0002


def _zip_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file in the archive at ``path``, refusing archives that unpack beyond bounds."""
    left = MOST_UNZIPPED_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.is_dir():
                    continue
                with archive.open(info) as member:  # sizes in the directory may lie: count what really comes out
                    data = member.read(left + 1)
                left -= len(data)
                if left < 0:
                    raise Refused(
                        f"The archive unpacks to more than {MOST_UNZIPPED_BYTES >> 30} GiB.",
                        where=str(path),
                        todo="Pass one series at a time.",
                    )
                yield f"{path.name}!{info.filename}", data
    except (zipfile.BadZipFile, RuntimeError, lzma.LZMAError, *UNREADABLE) as error:  # RuntimeError: it is encrypted
        raise NotDicom(
            f"The archive cannot be unpacked ({error}).", where=str(path), todo="Unpack it and pass the folder."
        ) from error


def _not_dicom(name: str, where: str, count: int) -> NotDicom:
    place = Path(name)
    kind = ""
    if place.is_file():
        with place.open("rb") as file:
            start = file.read(8)
        kind = next((what for magic, what in MAGIC.items() if start.startswith(magic)), "")
    what = "The file is" if count == 1 else f"None of the {count} files is DICOM; the first is"
    return NotDicom(
        f"{what} {kind or 'not a DICOM file'}.",
        where=where,
        todo="Pass the DICOM files that the scanner or PACS exports.",
    )


MAGIC = {
    b"%PDF": "a PDF",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x1f\x8b": "a gzip archive",
}


def _without_copies(datasets: list[Dataset]) -> list[Dataset]:
    """``datasets`` with each SOP instance once: an export often holds copies of the same file."""
    return list({str(ds.SOPInstanceUID): ds for ds in datasets}.values())


def _one_series(datasets: list[Dataset], where: str) -> tuple[Dataset, ...]:
    """``datasets``, checked to be images of one and the same series."""
    series = Counter(str(ds.SeriesInstanceUID) for ds in datasets)
    if len(series) > 1:
        listing = ", ".join(f"{uid} ({count} instances)" for uid, count in series.most_common(5))
        raise MixedSeries(
            f"There are {len(series)} series here: {listing}{', ...' if len(series) > 5 else ''}.",
            where=where,
            todo="Pass one series at a time.",
        )
    for ds in datasets:
        place = f"instance {ds.SOPInstanceUID}"
        if "Rows" not in ds or "Columns" not in ds:
            raise Truncated(
                f"The {class_name(ds)} has no Rows and Columns.", where=place, todo="Send or export it again."
            )
        if not any(keyword in ds for keyword in PIXEL_ELEMENTS):
            raise Truncated("The image has no pixel data.", where=place, todo="Send or export it again.")
    return tuple(datasets)
