"""Received instances on disk: what is acknowledged is durable, and no acknowledged byte is ever overwritten.

Layout under the store's folder::

    .lock                                  held by the one receiver that writes here
    .incoming/<pid>-<n>                    being written; removed at start
    <Series Instance UID>/<SOP Instance UID>.dcm
    <Series Instance UID>/<SOP Instance UID>~2.dcm     a second version with other content
    <Series Instance UID>/handed-over.json             which revision the jobs have
    <Series Instance UID>/committed.json               when we last gave storage commitment for one of its instances
    .purging/<n>                           a series that is being removed

Each ``.dcm`` is a DICOM file (PS3.10): our preamble and file meta, then the data set byte for byte as it was received,
in the transfer syntax that was negotiated. The file meta holds what the data set lacks: the sender
(0002,0016), and in Private Information (0002,0102) the time of reception and the SHA-256 of the data set. So the index
can be rebuilt from the files alone, and damage on disk is detected.

**The same instance again.** A data set that is identical with a stored version is a success that writes nothing: a
sender's retry never changes anything. Other content under the same SOP Instance UID, which the standard forbids but
PACS that correct headers send, becomes a new version beside the old; the highest version is the current one. Older
files stay, because queued jobs refer to them by path and digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import shutil
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

import structlog
from filelock import FileLock, Timeout
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from dicom_node.observability.log import uid
from dicom_node.settings.ae_titles import title_bytes, title_text
from dicom_node.store.durable import sync_folder, write_durably
from dicom_node.store.header import UNREADABLE, InstanceHeader, read_header
from pipeline.errors import BadSettings, NotDicom, OutOfResources
from pipeline.findings.identity import derived_uid
from pipeline.reading.validation import is_uid

log = structlog.get_logger("candela.store")

IMPLEMENTATION_CLASS_UID = derived_uid("implementation")
PRIVATE_INFORMATION_CREATOR = derived_uid("implementation", "received")
"""Identifies the form of our Private Information: JSON of `Received`."""
DISPATCH_FILE = "handed-over.json"  # the name that release 0.1.0 wrote
COMMITTED_FILE = "committed.json"
STRIPES = 64


@dataclass(frozen=True)
class Received:
    """The store's addition to an instance. ``at`` is in seconds since the epoch, ``sha256`` that of the data set."""

    at: float
    sha256: str


@dataclass(frozen=True)
class AETitles:
    """The two ends of the association that brought an instance: AE titles in their text form."""

    calling_ae: str
    called_ae: str


@dataclass(frozen=True)
class Stored:
    """One version of an instance on disk.

    ``path`` is relative to the store's folder, so that the folder may move. ``sha256`` is that of the whole file.
    ``version`` counts from 1. ``new`` is False where the same data set was already there.
    """

    header: InstanceHeader
    path: str
    sha256: str
    version: int
    calling_ae: str
    received_at: float
    new: bool = True


@dataclass(frozen=True)
class Dispatched:
    """The dispatched revision of a series; ``digest`` is `pipeline.findings.identity.instances_digest`."""

    revision: int
    digest: str
    reason: str
    completed_at: str


class InstanceStore:
    """The store in ``folder``; one process at a time may have it open.

    Raises
    ------
    BadSettings
        where another receiver has the folder open.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder.absolute()
        self.damaged = 0
        """Number of files that `read` found damaged."""
        self._clock = clock
        self._incoming = self.folder / ".incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        sync_folder(self.folder.parent)
        # Not per thread: the thread that closes the store need not be the one that opened it.
        self._lock = FileLock(self.folder / ".lock", mode=0o640, thread_local=False, fallback_to_soft=False)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise BadSettings(
                "Another receiver writes to this store.", where=str(folder), todo="Stop it, or set another data_dir."
            ) from None
        for leftover in self._incoming.iterdir():
            leftover.unlink()
        self._purging = self.folder / ".purging"
        shutil.rmtree(self._purging, ignore_errors=True)
        self._numbers = itertools.count()
        # Instances with the same SOP Instance UID are placed one after the other; others seldom share a lock.
        self._placing = tuple(threading.Lock() for _ in range(STRIPES))
        self._committing = threading.Lock()

    @property
    def incoming(self) -> Path:
        """The folder for partly received data sets; emptied at the start."""
        return self._incoming

    def close(self) -> None:
        """Free the folder for another process."""
        self._lock.release()

    def put(
        self, encoded: bytes | memoryview, header: InstanceHeader, transfer_syntax: UID, sender: AETitles
    ) -> Stored:
        """Store a data set. When this returns it is on stable storage, the folder entry included.

        Raises
        ------
        OutOfResources
            where the disk is full or fails; no file remains.
        """
        digest = hashlib.sha256(encoded).hexdigest()
        try:
            return self._put(encoded, digest, header, transfer_syntax, sender)
        except OSError as error:
            raise OutOfResources(
                f"An instance could not be stored ({error.strerror}).",
                where=str(self.folder),
                todo="Free space on the disk of data_dir, or replace it.",
            ) from error

    def _put(
        self, encoded: bytes | memoryview, digest: str, header: InstanceHeader, transfer_syntax: UID, sender: AETitles
    ) -> Stored:
        folder = self._series_folder(header.series_instance_uid)
        stripe = self._placing[hash(header.sop_instance_uid) % STRIPES]
        with stripe:
            repeated, version = self._find(folder, header, digest)
        if repeated:
            sync_folder(folder)
            return repeated
        at = self._clock()
        preamble = file_meta(header, transfer_syntax, sender, Received(at, digest))
        whole = hashlib.sha256(preamble)
        whole.update(encoded)
        temporary = self._incoming / f"{os.getpid()}-{next(self._numbers)}"
        try:
            _write_synced(temporary, preamble, encoded)
            with stripe:
                repeated, version = self._find(folder, header, digest)
                if repeated is None:
                    path = folder / _file_name(header.sop_instance_uid, version)
                    os.rename(temporary, path)  # noqa: PTH104  (os.* throughout the durable path)
        except OSError:
            _remove(temporary)
            raise
        if repeated:
            _remove(temporary)
            sync_folder(folder)
            return repeated
        try:
            sync_folder(folder)
        except OSError:
            _remove(path)
            raise
        relative = str(path.relative_to(self.folder))
        return Stored(header, relative, whole.hexdigest(), version, sender.calling_ae, at)

    def _series_folder(self, series_instance_uid: str) -> Path:
        if not is_uid(series_instance_uid):  # a second check: `read_header` has refused it already
            raise NotDicom("The data set has no valid SeriesInstanceUID.", todo="Check the sender.")
        folder = self.folder / series_instance_uid
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            sync_folder(self.folder)
        return folder

    def _find(self, folder: Path, header: InstanceHeader, digest: str) -> tuple[Stored | None, int]:
        """The version with this content, or None and the number of the next version.

        Compares with the bytes on disk, not with the digest in the file meta, so that a resend replaces a damaged file.
        """
        for version in itertools.count(1):
            path = folder / _file_name(header.sop_instance_uid, version)
            if not path.exists():
                return None, version
            content = path.read_bytes()
            stream = BytesIO(content)
            try:
                meta = _read_meta(stream)
            except NotDicom:
                continue  # damaged on disk: the next version takes its place
            received = _received(meta)
            if received and hashlib.sha256(memoryview(content)[stream.tell() :]).hexdigest() == digest:
                sha256 = hashlib.sha256(content).hexdigest()
                calling = _calling_ae(meta)
                relative = str(path.relative_to(self.folder))
                return Stored(header, relative, sha256, version, calling, received.at, new=False), version
        raise AssertionError  # count() never ends

    def paths(self) -> Iterator[tuple[str, str]]:
        """Series Instance UID and relative path of every stored file, in no particular order."""
        for folder in os.scandir(self.folder):
            if folder.is_dir() and is_uid(folder.name):
                for entry in os.scandir(folder.path):
                    if entry.name.endswith(".dcm"):
                        yield folder.name, f"{folder.name}/{entry.name}"

    def read(self, path: str) -> Stored | None:
        """Read the instance in the file at the relative ``path`` and check its digests.

        A damaged file is renamed to ``.damaged``, and None is returned: the sender's next attempt stores the instance
        again.
        """
        name = Path(path)
        content = (self.folder / name).read_bytes()
        try:
            stream = BytesIO(content)
            meta = _read_meta(stream)
            received = _received(meta)
            encoded = memoryview(content)[stream.tell() :]
            if received is None or hashlib.sha256(encoded).hexdigest() != received.sha256:
                raise NotDicom("The file differs from what was received.", where=path)  # noqa: TRY301  (one place for both)
            header = read_header(encoded, meta.TransferSyntaxUID)
        except NotDicom:
            log.error("instance_damaged", series=uid(name.parent.name), instance=uid(name.stem))  # noqa: TRY400
            self.damaged += 1
            os.rename(self.folder / name, self.folder / f"{path}.damaged")  # noqa: PTH104
            return None
        version = int(name.stem.partition("~")[2] or 1)
        calling = _calling_ae(meta)
        return Stored(header, path, hashlib.sha256(content).hexdigest(), version, calling, received.at)

    def record_dispatch(self, series_instance_uid: str, dispatched: Dispatched) -> None:
        """Record durably, beside the files, that this revision was dispatched."""
        path = self._series_folder(series_instance_uid) / DISPATCH_FILE
        write_durably(path, json.dumps(asdict(dispatched)).encode())

    def dispatched(self, series_instance_uid: str) -> Dispatched | None:
        """The last dispatched revision, or None."""
        try:
            return Dispatched(**json.loads((self.folder / series_instance_uid / DISPATCH_FILE).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def holds(self, path: str, sha256: str) -> bool:
        """Whether the file at the relative ``path`` is the one that was acknowledged."""
        digest = hashlib.sha256()
        try:
            with (self.folder / path).open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError:
            return False
        return digest.hexdigest() == sha256

    def record_committed(self, series_instance_uid: str) -> bool:
        """Record durably, beside the files, that we gave storage commitment for them; False where they are gone."""
        folder = self.folder / series_instance_uid
        with self._committing:
            try:
                write_durably(folder / COMMITTED_FILE, json.dumps({"at": self._clock()}).encode())
            except FileNotFoundError:
                return False
        return True

    def committed_at(self, series_instance_uid: str) -> float | None:
        """When we last gave storage commitment for an instance of the series; seconds since the epoch."""
        try:
            return float(json.loads((self.folder / series_instance_uid / COMMITTED_FILE).read_text())["at"])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):
            return math.inf  # damaged: counts as a commitment without end

    def has(self, series_instance_uid: str) -> bool:
        """Whether the store has an instance of the series."""
        return any((self.folder / series_instance_uid).glob("*.dcm"))

    def purge(
        self,
        series_instance_uid: str,
        paths: Collection[str],
        *,
        committed_before: float,
        on_removed: Callable[[], None],
    ) -> int | None:
        """Remove a series; returns its bytes, or None where it was left alone.

        The series is left alone where it does not hold exactly the files ``paths``, since an instance then arrived
        unseen, or where we gave storage commitment for it at ``committed_before`` (seconds since the epoch) or later.
        In any case it is there whole or not at all. ``on_removed`` is called once the series is gone for good, before
        another of its instances can be placed.

        Raises
        ------
        OSError
            where the disk fails; the series is there whole, or gone and ``on_removed`` was called.
        """
        folder = self._series_folder(series_instance_uid)
        with contextlib.ExitStack() as stack:
            for stripe in (*self._placing, self._committing):
                stack.enter_context(stripe)
            found = {f"{series_instance_uid}/{entry.name}" for entry in folder.glob("*.dcm")}
            committed = self.committed_at(series_instance_uid)
            if found != set(paths) or (committed is not None and committed >= committed_before):
                return None
            self._purging.mkdir(exist_ok=True)
            grave = self._purging / f"{os.getpid()}-{next(self._numbers)}"
            os.rename(folder, grave)  # noqa: PTH104
            try:
                sync_folder(self.folder)
            finally:
                on_removed()
        size = sum(entry.stat().st_size for entry in os.scandir(grave))
        shutil.rmtree(grave, ignore_errors=True)
        return size


def file_meta(header: InstanceHeader, transfer_syntax: UID, sender: AETitles, received: Received) -> bytes:
    """Preamble, prefix and file meta (PS3.10 7.1) of an instance's file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(header.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(header.sop_instance_uid)
    meta.TransferSyntaxUID = transfer_syntax
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = implementation_version()
    meta.add(_title("SourceApplicationEntityTitle", sender.calling_ae))
    meta.add(_title("SendingApplicationEntityTitle", sender.calling_ae))
    meta.add(_title("ReceivingApplicationEntityTitle", sender.called_ae))
    meta.PrivateInformationCreatorUID = UID(PRIVATE_INFORMATION_CREATOR)
    note = json.dumps(asdict(received)).encode()
    meta.PrivateInformation = note + b" " * (len(note) % 2)
    buffer = DicomBytesIO()
    buffer.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(buffer, meta)
    return buffer.getvalue()


@cache
def implementation_version() -> str:
    """Implementation Version Name (0002,0013): at most 16 characters."""
    return f"CANDELA_{metadata.version('candela').replace('.', '_')}"[:16]


def _read_meta(file: BinaryIO) -> FileMetaDataset:
    """The file meta; ``file`` is left at the first byte of the data set.

    Raises
    ------
    NotDicom
        where the file has none.
    """
    head = file.read(144)  # preamble, "DICM", and the element with the length of the file meta
    try:
        if head[128:132] != b"DICM":
            raise NotDicom("The file has no DICM prefix.")
        (length,) = struct.unpack("<L", head[140:])
        return FileMetaDataset(read_dataset(BytesIO(file.read(length)), is_implicit_VR=False, is_little_endian=True))
    except UNREADABLE as error:
        raise NotDicom(f"The file has no readable file meta ({type(error).__name__}).") from None


def _title(keyword: str, title: str) -> DataElement:
    """An AE title with the received bytes, even where they are not valid for VR AE: the file states
    what was received.
    """
    return DataElement(keyword, "AE", title_bytes(title).decode("latin-1"), validation_mode=config.IGNORE)


def _calling_ae(meta: FileMetaDataset) -> str:
    """The calling AE title of a file meta in its text form."""
    element = meta.get_item("SourceApplicationEntityTitle")
    return "" if element is None else title_text(cast(bytes, element.value) or b"")


def _received(meta: FileMetaDataset) -> Received | None:
    if meta.get("PrivateInformationCreatorUID") != PRIVATE_INFORMATION_CREATOR:
        return None
    try:
        return Received(**json.loads(meta.PrivateInformation))
    except (AttributeError, TypeError, ValueError):
        return None


def _file_name(sop_instance_uid: str, version: int) -> str:
    return f"{sop_instance_uid}.dcm" if version == 1 else f"{sop_instance_uid}~{version}.dcm"


def _write_synced(path: Path, *parts: bytes | memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        for part in parts:
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
