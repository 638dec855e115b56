"""DICOM files (PS3.10) from the network, not trusted yet."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, Self, cast

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from dicom_node.store.header import UNREADABLE
from pipeline.errors import NotDicom

IN_MEMORY = 8 << 20
"""Most bytes that are collected in memory; a longer file goes to disk and is mapped."""
META_MOST = 1 << 20
"""Most bytes of file meta that are read; real ones have a few hundred."""


@dataclass(frozen=True)
class Part10:
    """A parsed DICOM file; valid while its `Spool` stays open.

    ``encoded`` is the data set after the file meta, byte for byte; ``stream`` is at its first byte.
    ``sop_class_uid`` and ``sop_instance_uid`` are the file meta's, empty where it has none.
    """

    transfer_syntax: UID
    sop_class_uid: str
    sop_instance_uid: str
    encoded: memoryview
    stream: BinaryIO


class Spool:
    """Collects one file: in memory while it is small, else in an unnamed file in ``folder``.

    A context manager. Nothing remains at its end, nor after a crash.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the collected bytes."""
        self._memory = bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, data: bytes) -> None:
        """Add ``data``.

        Raises
        ------
        OSError
            where the disk is full or fails.
        """
        self.size += len(data)
        if self._file is None and self.size > IN_MEMORY:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  (closed by close)
            self._file.write(self._memory)
            self._memory = bytearray()
        if self._file is None:
            self._memory += data
        else:
            self._file.write(data)

    @contextmanager
    def part10(self) -> Iterator[Part10]:
        """The collected bytes as a DICOM file, valid within the context only.

        Raises
        ------
        NotDicom
            where there is no DICM prefix or no readable file meta with a transfer syntax (PS3.10 7.1).
        """
        if self._file is None:
            with memoryview(self._memory) as content, _opened(content, BytesIO(self._memory)) as part:
                yield part
            return
        self._file.flush()
        mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            with memoryview(mapped) as content, _opened(content, cast("BinaryIO", mapped)) as part:
                yield part
        finally:
            mapped.close()


@contextmanager
def _opened(content: memoryview, stream: BinaryIO) -> Iterator[Part10]:
    meta, offset = _file_meta(content)
    syntax = str(meta.get("TransferSyntaxUID", "")).strip(" \0")
    if not syntax:
        raise NotDicom("The file meta has no TransferSyntaxUID.", todo="Check the sender.")
    stream.seek(offset)
    with content[offset:] as encoded:
        yield Part10(
            UID(syntax),
            str(meta.get("MediaStorageSOPClassUID", "")).strip(" \0"),
            str(meta.get("MediaStorageSOPInstanceUID", "")).strip(" \0"),
            encoded,
            stream,
        )


def _file_meta(content: memoryview) -> tuple[Dataset, int]:
    """The file meta, and the offset of the data set."""
    if bytes(content[128:132]) != b"DICM":
        raise NotDicom("There is no DICM prefix.", todo="Send DICOM files (PS3.10) as application/dicom.")
    head = BytesIO(content[: 132 + META_MOST])
    head.seek(132)
    try:
        meta = read_dataset(head, is_implicit_VR=False, is_little_endian=True, stop_when=_behind_file_meta)
    except UNREADABLE as error:
        raise NotDicom(f"The file meta cannot be read ({type(error).__name__}).", todo="Check the sender.") from None
    return meta, head.tell()


def _behind_file_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return bool(tag.group != 2)
