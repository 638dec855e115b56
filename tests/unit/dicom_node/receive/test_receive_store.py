"""The durable store: what is acknowledged stays, byte for byte."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from dicom_node.store import instance_store
from dicom_node.store.header import InstanceHeader
from dicom_node.store.instance_store import AETitles, Dispatched, InstanceStore
from pipeline.errors import BadSettings, NotDicom, OutOfResources
from tests.unit.dicom_node.store.test_header import encode, small

SENDER = AETitles("MODALITY", "CANDELA")


def header(sop: str = "1.2.3.4", series: str = "1.2.3.5") -> InstanceHeader:
    return InstanceHeader(MRImageStorage, sop, "1.2.3", series, Dataset())


def content(rows: int = 4, sop: str = "1.2.3.4") -> bytes:
    ds = small()
    ds.SOPInstanceUID = sop
    ds.Rows = rows
    return encode(ds, ExplicitVRLittleEndian)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[InstanceStore]:
    opened = InstanceStore(tmp_path / "store", lambda: 1000.5)
    yield opened
    opened.close()


def files(store: InstanceStore) -> list[str]:
    return sorted(str(path.relative_to(store.folder)) for path in store.folder.rglob("*") if path.is_file())


def test_a_stored_instance_is_a_dicom_file_around_the_bytes_received(store: InstanceStore) -> None:
    """The file reads as DICOM, says who sent it, and ends in exactly the data set that came."""
    encoded = content()
    stored = store.put(encoded, header(), ExplicitVRLittleEndian, SENDER)
    path = store.folder / stored.path
    whole = path.read_bytes()
    ds = pydicom.dcmread(path)
    assert whole.endswith(encoded)
    assert stored.sha256 == hashlib.sha256(whole).hexdigest()
    assert (ds.Rows, ds.file_meta.SourceApplicationEntityTitle) == (4, "MODALITY")
    assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert ds.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert files(store) == [".lock", "1.2.3.5/1.2.3.4.dcm"]


def test_the_file_alone_tells_all_again(store: InstanceStore) -> None:
    """Reading a stored file gives what `put` returned: the index can be rebuilt."""
    stored = store.put(content(), header(), ExplicitVRLittleEndian, SENDER)
    again = store.read(stored.path)
    assert again is not None
    assert (again.path, again.sha256, again.version) == (stored.path, stored.sha256, 1)
    assert (again.calling_ae, again.received_at) == ("MODALITY", 1000.5)
    assert again.header.series_instance_uid == "1.2.3.5"


def test_the_same_data_set_again_writes_nothing(store: InstanceStore) -> None:
    """A resend is a success that leaves the file as it was."""
    first = store.put(content(), header(), ExplicitVRLittleEndian, SENDER)
    before = (store.folder / first.path).stat()
    again = store.put(content(), header(), ExplicitVRLittleEndian, SENDER)
    after = (store.folder / first.path).stat()
    assert (first.new, again.new) == (True, False)
    assert (again.path, again.sha256) == (first.path, first.sha256)
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_other_content_under_the_same_uid_stands_beside_the_old(store: InstanceStore) -> None:
    """The newest version is the current one and the older file is untouched; each may come again."""
    old = store.put(content(4), header(), ExplicitVRLittleEndian, SENDER)
    new = store.put(content(8), header(), ExplicitVRLittleEndian, SENDER)
    assert (old.version, new.version, new.path) == (1, 2, "1.2.3.5/1.2.3.4~2.dcm")
    assert pydicom.dcmread(store.folder / old.path).Rows == 4
    assert pydicom.dcmread(store.folder / new.path).Rows == 8
    again = [store.put(content(rows), header(), ExplicitVRLittleEndian, SENDER) for rows in (4, 8)]
    assert [(item.new, item.version) for item in again] == [(False, 1), (False, 2)]


def test_many_threads_lose_and_overwrite_nothing(store: InstanceStore) -> None:
    """Four contents under one UID from eight threads: four versions, each whole."""
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(store.put, content(n % 4), header(), ExplicitVRLittleEndian, SENDER) for n in range(64)]
        stored = [job.result() for job in jobs]
    assert sum(item.new for item in stored) == 4
    assert {pydicom.dcmread(store.folder / path).Rows for _, path in store.paths()} == {0, 1, 2, 3}
    assert all(store.read(path) is not None for _, path in store.paths())


@pytest.mark.parametrize("call", ["write", "fdatasync", "rename", "fsync"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_failing_disk_leaves_nothing_behind(
    store: InstanceStore, monkeypatch: pytest.MonkeyPatch, call: str, error: int
) -> None:
    """Whichever call fails, the store says out of resources, keeps no partial file, and works again afterwards."""
    store.put(content(), header("1.2.3.9"), ExplicitVRLittleEndian, SENDER)
    before = files(store)

    def fail(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patched:
        patched.setattr(instance_store.os, call, fail)
        with pytest.raises(OutOfResources):
            store.put(content(), header(), ExplicitVRLittleEndian, SENDER)
    assert files(store) == before
    assert store.put(content(), header(), ExplicitVRLittleEndian, SENDER).new


def test_short_writes_are_continued(store: InstanceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may take fewer bytes than offered."""
    write = os.write
    monkeypatch.setattr(instance_store.os, "write", lambda fd, data: write(fd, data[:7]))
    stored = store.put(content(), header(), ExplicitVRLittleEndian, SENDER)
    assert (store.folder / stored.path).read_bytes().endswith(content())


def test_nothing_is_acknowledged_before_it_is_synced(store: InstanceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write, fdatasync of the file, rename, fsync of the folder: in this order, before `put` returns."""
    calls = []
    for name in ("write", "fdatasync", "rename", "fsync"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, real=real, name=name: (calls.append(name), real(*args))[1])
    store.put(content(), header(), ExplicitVRLittleEndian, SENDER)
    assert calls == ["fsync", "write", "write", "fdatasync", "rename", "fsync"]  # the first: the series' new folder


def test_left_over_temporary_files_are_removed_at_start(store: InstanceStore) -> None:
    """What a crash left half written is no instance."""
    stored = store.put(content(), header(), ExplicitVRLittleEndian, SENDER)
    (store.folder / ".incoming" / "1-0").write_bytes(b"half")
    store.close()
    again = InstanceStore(store.folder)
    assert files(again) == [".lock", stored.path]
    again.close()


def test_two_receivers_never_share_a_store(store: InstanceStore) -> None:
    """The second would remove the first one's files in the making."""
    with pytest.raises(BadSettings, match="Another receiver"):
        InstanceStore(store.folder)


@pytest.mark.parametrize("series", ["../../etc", "/etc", "1.2/..", "", "."])
def test_no_path_comes_from_the_network(store: InstanceStore, series: str) -> None:
    """A Series Instance UID that is none is refused by the store as well."""
    with pytest.raises(NotDicom):
        store.put(content(), header(series=series), ExplicitVRLittleEndian, SENDER)
    assert files(store) == [".lock"]


@pytest.mark.parametrize("where", [0, 130, 141, 200, -1])
def test_damage_on_disk_is_seen(store: InstanceStore, where: int) -> None:
    """A changed byte in prefix, file meta or data set: the file is put aside, and a resend stores the instance anew."""
    stored = store.put(content(), header(), ExplicitVRLittleEndian, SENDER)
    path = store.folder / stored.path
    damaged = bytearray(path.read_bytes())
    damaged[where] ^= 0xFF
    path.write_bytes(damaged)
    found = store.read(stored.path)
    if where in {0, 200}:  # preamble and a UID of the file meta: the data set is what was received
        assert found is not None
        return
    assert found is None
    assert files(store) == [".lock", f"{stored.path}.damaged"]
    assert store.put(content(), header(), ExplicitVRLittleEndian, SENDER).new


@pytest.mark.parametrize("where", [130, -1])
def test_a_resend_mends_a_damaged_file(store: InstanceStore, where: int) -> None:
    """A resend is compared with the bytes on disk: where they are damaged, a whole version is stored beside them."""
    stored = store.put(content(), header(), ExplicitVRLittleEndian, SENDER)
    path = store.folder / stored.path
    damaged = bytearray(path.read_bytes())
    damaged[where] ^= 0xFF
    path.write_bytes(damaged)
    again = store.put(content(), header(), ExplicitVRLittleEndian, SENDER)
    assert (again.new, again.version) == (True, 2)
    assert store.read(again.path) is not None


def test_what_was_dispatched_is_kept_with_the_files(store: InstanceStore) -> None:
    """The revision that the jobs have survives the loss of the index."""
    dispatched = Dispatched(2, "ab" * 32, "quiet for 60.0 s (3 instances)", "2026-11-21T08:00:00+00:00")
    assert store.dispatched("1.2.3.5") is None
    store.record_dispatch("1.2.3.5", dispatched)
    assert store.dispatched("1.2.3.5") == dispatched
