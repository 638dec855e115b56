"""Unpacks an uploaded file, which nobody trusts, into the files of a series.

No name of the upload becomes a name on disk: files are numbered, so that none can leave its folder or run as anything.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Final

from dicom_node.web.api.problems import Problem

FILES_MOST: Final = 20_000
"""Members of an archive."""
DIRECTORY_MOST: Final = 16 << 20
"""Bytes of an archive's directory, all of which is read into memory: 20,000 members with long names have 6 MiB."""
RATIO_MOST: Final = 100
"""Unpacked bytes for each packed one, beyond `SMALL`: MR slices have 2 to 4, empty ones 40."""
SMALL: Final = 10 << 20
PIECE: Final = 1 << 20
MAGIC: Final = 132
ZIP64_RECORD: Final = 76
"""Bytes of a zip64 end record and its locator, before the end record (APPNOTE 4.3.14, 4.3.15)."""


def unpack(upload: Path, series: Path, bytes_most: int) -> int:
    """Put the DICOM files of ``upload``, a DICOM file or a zip archive, into the new folder ``series``; returns their
    number. ``upload`` is gone afterwards. At most ``bytes_most`` are unpacked.

    Raises
    ------
    Problem
        422 for an empty upload, an archive without DICOM files, a damaged or unsafe one; 413 for one that unpacks
        beyond bounds; 415 for another type.
    """
    series.mkdir(mode=0o700)
    with upload.open("rb") as file:
        head = file.read(MAGIC)
    if not head:
        raise Problem(
            422, "The upload is empty.", code="EMPTY_INPUT", todo="Choose a DICOM file, or a zip of one series."
        )
    if head[128:] == b"DICM":
        upload.rename(series / _name(0))
        return 1
    if head[:2] != b"PK":
        raise Problem(
            415,
            "The upload is neither a DICOM file (PS3.10) nor a zip archive.",
            code="NOT_DICOM",
            todo="Export the series as DICOM. Pictures (PNG, JPEG) lack spacing, orientation and values.",
        )
    try:
        count = _unpack_archive(upload, series, bytes_most)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, struct.error):
        raise _unsafe("The archive is damaged or packed in an unknown way.") from None
    if not count:
        raise Problem(
            422, "No file of the archive is DICOM.", code="NOT_DICOM", todo="Zip the DICOM files of one series."
        )
    upload.unlink()
    return count


def _unpack_archive(upload: Path, series: Path, bytes_most: int) -> int:
    with upload.open("rb") as file:
        if _directory_bytes(file) > DIRECTORY_MOST:
            raise _too_much(f"The archive's directory is longer than {DIRECTORY_MOST >> 20} MiB.")
        with zipfile.ZipFile(file) as archive:
            members = [item for item in archive.infolist() if not item.is_dir()]
            for item in members:
                _check(item)
            if len(members) > FILES_MOST:
                raise _too_much(f"The archive has more than {FILES_MOST} files.")
            if sum(item.file_size for item in members) > bytes_most:
                raise _too_much(f"The archive unpacks to more than {bytes_most >> 20} MiB.")
            count, left = 0, bytes_most
            for item in members:
                with archive.open(item) as packed:
                    unpacked = _copy(packed, item, series / _name(count), left)
                count, left = count + (unpacked > 0), left - unpacked
            return count


def _check(item: zipfile.ZipInfo) -> None:
    name = item.orig_filename.replace("\\", "/")
    if name.startswith("/") or ".." in name.split("/") or ":" in name or "\0" in name:
        raise _unsafe("A file of the archive names a place outside of it.")
    if stat.S_ISLNK(item.external_attr >> 16):
        raise _unsafe("The archive has a link.")
    if item.flag_bits & 1:
        raise _unsafe("The archive is encrypted.")
    if item.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # LZMA states how much memory it wants
        raise _unsafe("The archive is packed by another method than deflate.")


def _copy(packed: IO[bytes], item: zipfile.ZipInfo, target: Path, most: int) -> int:
    """Unpack one member, if it is DICOM; returns its bytes. Sizes in the directory may lie: what comes out counts."""
    head = packed.read(MAGIC)
    if head[128:] != b"DICM":
        return 0
    got = len(head)
    with target.open("wb") as file:
        file.write(head)
        while piece := packed.read(PIECE):
            got += len(piece)
            if got > most:
                raise _too_much("The archive unpacks to more than its directory states, or than the node takes.")
            if got > SMALL and got > RATIO_MOST * item.compress_size:
                raise _too_much(f"A file of the archive unpacks to more than {RATIO_MOST} times its size.")
            file.write(piece)
    return got


def _directory_bytes(file: IO[bytes]) -> int:
    """How long the archive's directory is, by the end record that zipfile will believe."""
    file.seek(0, 2)
    size = file.tell()
    file.seek(max(0, size - (1 << 16) - 22 - ZIP64_RECORD))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        raise zipfile.BadZipFile
    found = int(struct.unpack_from("<L", tail, at + 12)[0])
    if at >= ZIP64_RECORD and tail[at - 20 : at - 16] == b"PK\x06\x07":
        found = max(found if found != 0xFFFFFFFF else 0, struct.unpack_from("<Q", tail, at - ZIP64_RECORD + 40)[0])
    return found


def _name(number: int) -> str:
    return f"{number + 1:05}.dcm"


def _unsafe(what: str) -> Problem:
    return Problem(422, what, code="BAD_ARCHIVE", todo="Nothing was unpacked. Zip the files of one series again.")


def _too_much(what: str) -> Problem:
    return Problem(413, what, code="TOO_LARGE", todo="Upload one series alone.")
