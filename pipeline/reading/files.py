"""Reading one series from files: a folder, a zip archive, one file or several."""

from __future__ import annotations

import hashlib
import io
import lzma
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadPixels, EmptyInput, InvalidHeader, MixedSeries, NotDicom, NotImage, Refused, Truncated
from pipeline.reading.attributes import numbers, text, values
from pipeline.reading.copies import settle
from pipeline.reading.functional_groups import PER_FRAME
from pipeline.reading.representative import representative
from pipeline.reading.slices import header_of
from pipeline.reading.sop_classes import PIXEL_ELEMENTS, class_name, is_colour, is_picture, is_without_image
from pipeline.reading.validation import UNREADABLE as UNREADABLE  # noqa: PLC0414 - what may be raised is part of this interface
from pipeline.reading.validation import is_uid, leave_out_unreadable, unreadable_caveats

MOST_FILES = 20_000
MOST_UNZIPPED_BYTES = 8 << 30
"""Most bytes of a zip's content: an archive may state more than any machine holds, and no MR series comes near this."""
MOST_FILE_BYTES = 2 << 30
"""Most bytes of one file: an enhanced object of two thousand frames of 512² has half of this. Reading holds a file
twice."""
PIECE = 1 << 20
"""Bytes inflated in one step."""
ELEMENT_HEADER = 8
"""Bytes of tag, VR and length in the shortest element."""
UNDEFINED = 0xFFFFFFFF
MOST_INFLATED_BYTES = 1 << 30
"""Most bytes that one deflated data set may inflate to: a thousandth of this, when sent, can be a bomb of this size."""


@dataclass(frozen=True)
class Series:
    """The instances of one series, in no particular order.

    ``skipped`` names the files that were ignored: other files than DICOM (a README), a DICOMDIR, objects without an
    image (raw data, presentation states, reports), and pictures of images (`pipeline.reading.sop_classes.is_picture`),
    which scanners and workstations put beside the slices. ``caveats`` state what was left out or corrected.
    """

    datasets: tuple[Dataset, ...]
    skipped: tuple[str, ...] = ()
    caveats: tuple[Caveat, ...] = ()

    @cached_property
    def representative(self) -> Dataset:
        """The representative instance of the series, as it was read (`pipeline.reading.representative`)."""
        return representative(self.datasets)

    @cached_property
    def header(self) -> Dataset:
        """The header of the representative instance in classic form; of an enhanced object that of the first frame.

        Raises as `pipeline.reading.slices.header_of`.
        """
        return header_of(self.representative)

    @property
    def sop_instance_uids(self) -> tuple[str, ...]:
        return tuple(str(ds.SOPInstanceUID) for ds in self.datasets)


def read_path(path: Path) -> Series:
    """The one series at ``path``: a DICOM file, a folder (searched through) or a zip archive.

    Raises
    ------
    FileNotFoundError
        where ``path`` does not exist.
    EmptyInput, NotDicom, Truncated, InvalidHeader, BadPixels, NotImage, MixedSeries, ConflictingInstances
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


def read_parts(parts: Iterable[tuple[str, bytes]], *, where: str, earlier: Iterable[tuple[str, bytes]] = ()) -> Series:
    """The one series in ``parts``, pairs of a name and the bytes of a file. Raises as `read_path`.

    ``earlier`` are previous versions of the same SOP Instance UIDs with other content, in the order of reception;
    ``parts`` correct them (`pipeline.reading.copies.settle`).
    """
    found = _read_all(parts, where)
    images = found.images
    if not images and found.others:
        ds = found.others[0][1]
        raise NotImage(
            f"The instance is a {class_name(ds)}, without an image.",
            where=f"instance {ds.SOPInstanceUID}",
            todo="Send a series that has images.",
        )
    if not images and not found.skipped:
        raise EmptyInput("There is no file here.", where=where, todo="Pass the folder that holds the series.")
    if not images:
        raise _not_dicom(found.skipped[0], where, len(found.skipped))
    _check_one_series([ds for _, ds in images], where)
    slices, pictures = _without_pictures(images)
    before, lost = _read_earlier(earlier, slices)
    settled = settle([*before, *(ds for _, ds in slices)], where, corrections=bool(before))
    for ds in settled.datasets:
        _check_image(ds)
    return Series(
        settled.datasets,
        tuple(sorted([*found.skipped, *(name for name, _ in (*found.others, *pictures))])),
        (*unreadable_caveats(found.left_out), *_left_out([ds for _, ds in pictures]), *lost, *settled.caveats),
    )


Named = tuple[str, Dataset]


@dataclass
class _Found:
    """The parts of an input by kind: images, objects without an image, and files other than DICOM."""

    images: list[Named] = field(default_factory=list)
    others: list[Named] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)


def _read_all(parts: Iterable[tuple[str, bytes]], where: str) -> _Found:
    found = _Found()
    seen: set[bytes] = set()
    for count, (name, data) in enumerate(parts, start=1):
        if count > MOST_FILES:
            raise Refused(f"There are more than {MOST_FILES} files.", where=where, todo="Pass one series at a time.")
        digest = hashlib.sha256(data).digest()
        if digest in seen and data[128:132] == b"DICM":
            continue  # a copy of the file
        seen.add(digest)
        ds = _read_one(name, data, found.left_out)
        if ds is None:
            found.skipped.append(name)
        elif is_without_image(ds):
            found.others.append((name, ds))
        else:
            found.images.append((name, ds))
    return found


def _read_earlier(
    earlier: Iterable[tuple[str, bytes]], slices: list[Named]
) -> tuple[list[Dataset], tuple[Caveat, ...]]:
    """Earlier versions of ``slices``; the caveat counts unreadable ones."""
    wanted = {str(ds.SOPInstanceUID) for _, ds in slices}
    before, lost = [], 0
    for name, data in earlier:
        try:
            ds = _read_one(name, data, set())
        except Refused:
            ds = None
        if ds is None or is_without_image(ds):
            lost += 1
        elif str(ds.SOPInstanceUID) in wanted:
            before.append(ds)
    if not lost:
        return before, ()
    return before, (Caveat(CaveatCode.EARLIER_INSTANCES_UNREADABLE, {"count": lost}),)


def _without_pictures(images: list[Named]) -> tuple[list[Named], list[Named]]:
    """The slices among ``images``, and the pictures beside them. In a series of nothing but pictures all count as
    slices.

    A colour picture with a position counts as a picture where a grey image shows the same position, since no part of
    the patient is then lost.
    """
    grey = {_place(ds) for _, ds in images if not is_colour(ds)} - {None}
    slices: list[Named] = []
    pictures: list[Named] = []
    for item in images:
        aside = is_picture(item[1]) or (is_colour(item[1]) and _place(item[1]) in grey)
        (pictures if aside else slices).append(item)
    return (slices, pictures) if slices else (images, [])


def _place(ds: Dataset) -> tuple[float, ...] | None:
    position, cosines = numbers(ds, "ImagePositionPatient", 3), numbers(ds, "ImageOrientationPatient", 6)
    return None if position is None or cosines is None else tuple(round(value, 2) for value in (*position, *cosines))


def _left_out(pictures: list[Dataset]) -> tuple[Caveat, ...]:
    if not pictures:
        return ()
    kinds = tuple(sorted({class_name(ds) for ds in pictures}))
    return (Caveat(CaveatCode.PICTURES_LEFT_OUT, {"count": len(pictures), "kinds": kinds}),)


def _bytes_of(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MOST_FILE_BYTES:
        raise Refused(
            f"The file has {size >> 20} MiB; at most {MOST_FILE_BYTES >> 20} are read.",
            where=str(path),
            todo="Pass the series in smaller objects.",
        )
    return path.read_bytes()


def _read_one(name: str, data: bytes, left_out: set[str]) -> Dataset | None:
    """The data set in ``data``; None where it is not a DICOM file and its name does not say so either.

    Keywords of values that cannot be read, and that no step needs, are added to ``left_out``.
    """
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
        _check_whole(ds, name)
        is_cut = not len(ds) or _ends_within_a_tag(ds, data)
        # Frames' own groups, thousands of them, are parsed once, where they are read.
        left_out |= leave_out_unreadable(ds, unparsed=(PER_FRAME,))
    except InvalidDicomError as error:
        raise NotDicom(
            "The file has a DICOM prefix but cannot be read.", where=name, todo="Export it again."
        ) from error
    except (*UNREADABLE, MemoryError) as error:  # a length that lies may ask for more memory than there is
        raise Truncated(
            f"The file ends early or is damaged ({type(error).__name__}).", where=name, todo="Send or export it again."
        ) from error
    if text(ds.file_meta, "MediaStorageSOPClassUID") == "1.2.840.10008.1.3.10":  # DICOMDIR
        return None
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        found = values(ds, keyword)
        if not found:
            kind = Truncated if is_cut else InvalidHeader
            raise kind(f"The data set has no {keyword}.", where=name, todo="Send or export it again.")
        if len(found) > 1 or not isinstance(found[0], str) or not is_uid(found[0]):
            raise InvalidHeader(
                f"{keyword} is not a UID: no result could refer to it.",
                where=name,
                todo="Have the sender correct its UIDs, then send the series again.",
            )
    if is_cut and not is_without_image(ds) and not any(keyword in ds for keyword in PIXEL_ELEMENTS):
        raise Truncated("The file ends before its pixel data.", where=name, todo="Send or export it again.")
    return ds


def _check_whole(ds: Dataset, name: str) -> None:
    """Raise `Truncated` where the file ends within the value of an element, which pydicom takes without a word."""
    for raw in ds.values():
        if isinstance(raw, RawDataElement) and raw.value is not None and len(raw.value) < raw.length != UNDEFINED:
            raise Truncated(
                f"The file ends within {keyword_for_tag(raw.tag) or 'a private attribute'}: {len(raw.value)} bytes of"
                f" {raw.length} are there.",
                where=name,
                todo="Send or export it again.",
            )


def _ends_within_a_tag(ds: Dataset, data: bytes) -> bool:
    """Whether bytes are left behind the last element that are too few for another one."""
    last = max((raw for raw in ds.values() if isinstance(raw, RawDataElement)), key=lambda raw: raw.tag, default=None)
    if last is None or ds.file_meta.get("TransferSyntaxUID", UID("")).is_deflated or last.length == UNDEFINED:
        return False
    return 0 < len(data) - (last.value_tell + last.length) < ELEMENT_HEADER


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


def _check_one_series(datasets: list[Dataset], where: str) -> None:
    """Raise `MixedSeries` where ``datasets`` are of several; an instance counts once in each."""
    instances = {(str(ds.SeriesInstanceUID), str(ds.SOPInstanceUID)) for ds in datasets}
    series = Counter(uid for uid, _ in sorted(instances))
    if len(series) > 1:
        listing = ", ".join(f"{uid} ({count} instances)" for uid, count in series.most_common(5))
        shared = len(instances) - len({uid for _, uid in instances})
        aside = f" {shared} SOP Instance UIDs are in more than one of them." if shared else ""
        raise MixedSeries(
            f"There are {len(series)} series here: {listing}{', ...' if len(series) > 5 else ''}.{aside}",
            where=where,
            todo="Pass one series at a time.",
        )


def _check_image(ds: Dataset) -> None:
    place = f"instance {ds.SOPInstanceUID}"
    if "Rows" not in ds or "Columns" not in ds:
        raise InvalidHeader(
            f"The {class_name(ds)} has no Rows and Columns.", where=place, todo="Send or export it again."
        )
    if not any(keyword in ds for keyword in PIXEL_ELEMENTS):
        raise BadPixels("The image has no pixel data.", where=place, todo="Send or export it again.")
