"""Reading one series from files: a folder, a zip archive, one file or several."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from pipeline.errors import EmptyInput, MixedSeries, NotDicom, NotImage, Refused, Truncated

MOST_FILES = 20_000
MOST_UNZIPPED_BYTES = 8 << 30
"""A zip may claim more than any machine holds; no MR series comes near this."""
UNREADABLE = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom raises on bytes that are not the data set they were said to be."""


@dataclass(frozen=True)
class Series:
    """The instances of one series, in no particular order.

    ``skipped`` names the files beside them that are not DICOM (a DICOMDIR, a README): they were ignored.
    """

    datasets: tuple[Dataset, ...]
    skipped: tuple[str, ...] = ()

    @property
    def header(self) -> Dataset:
        """The data set that speaks for the series: its first instance by InstanceNumber, then by SOP Instance UID."""
        return min(self.datasets, key=lambda ds: (int(ds.get("InstanceNumber") or 0), str(ds.SOPInstanceUID)))

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
    return read_parts(((str(path), path.read_bytes()) for path in paths), where=str(where))


def read_parts(parts: Iterable[tuple[str, bytes]], *, where: str) -> Series:
    """The one series in ``parts``, pairs of a name and the bytes of a file. Raises as `read_path`."""
    datasets: list[Dataset] = []
    skipped: list[str] = []
    for count, (name, data) in enumerate(parts, start=1):
        if count > MOST_FILES:
            raise Refused(f"There are more than {MOST_FILES} files.", where=where, todo="Pass one series at a time.")
        ds = _read_one(name, data)
        if ds is None:
            skipped.append(name)
        else:
            datasets.append(ds)
    if not datasets and not skipped:
        raise EmptyInput("There is no file here.", where=where, todo="Pass the folder that holds the series.")
    if not datasets:
        raise _not_dicom(skipped[0], where, len(skipped))
    return Series(_one_series(_without_copies(datasets), where), tuple(skipped))


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
        ds = pydicom.dcmread(io.BytesIO(data))
        # Values are parsed here, so that a damaged one is met now and not in the middle of a run; in a copy, so that
        # the bytes of names and identifiers stay as they came and results can carry them unchanged.
        for element in Dataset(dict(ds.items())):
            _ = element.value
    except InvalidDicomError as error:
        raise NotDicom(
            "The file has a DICOM prefix but cannot be read.", where=name, todo="Export it again."
        ) from error
    except UNREADABLE as error:
        raise Truncated(
            f"The file ends early or is damaged ({type(error).__name__}).", where=name, todo="Send or export it again."
        ) from error
    if ds.file_meta.get("MediaStorageSOPClassUID") == "1.2.840.10008.1.3.10":  # DICOMDIR
        return None
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not ds.get(keyword):
            raise Truncated(f"The data set has no {keyword}.", where=name, todo="Send or export it again.")
    return ds


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
    except (zipfile.BadZipFile, RuntimeError) as error:  # RuntimeError: the member is encrypted
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
            raise NotImage(
                f"The instance is a {ds.SOPClassUID.name}, without an image.",
                where=place,
                todo="Pass a series of images.",
            )
        if "PixelData" not in ds:
            raise Truncated("The image has no pixel data.", where=place, todo="Send or export it again.")
    return tuple(datasets)
