"""Full disks, killed processes and hostile data sets: nothing acknowledged is lost, and the answer is the true one."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage

from dicom_node.settings.receive import Completion
from tests.integration.test_receive_senders import small_series
from tests.peers.receiver import Node, Process, association, context_of, running_receiver, send, send_bytes


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_receiver(tmp_path_factory.mktemp("receiver")) as running:
        yield running


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "candela-test", str(tmp_path)], check=False)
    if made.returncode != 0:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_disk_is_told_and_costs_nothing_acknowledged(small_disk: Path) -> None:
    """0xA700 for what finds no room, no partial file, all that was acknowledged intact; and again 0x0000 after."""
    series = small_series(12, 512)
    with running_receiver(small_disk, completion=Completion(quiet_after_release=60)) as node:
        statuses = send(node.port, series)
        assert set(statuses) == {0x0000, 0xA700}
        kept = [ds for ds, status in zip(series, statuses, strict=True) if status == 0x0000]
        assert set(node.stored()) == {ds.SOPInstanceUID for ds in kept}
        assert not node.temporary()
        for ds in kept:
            assert pydicom.dcmread(node.stored()[ds.SOPInstanceUID]).PixelData == ds.PixelData
        assert node.receiver.counters.instances_refused == statuses.count(0xA700)
        # Room is made (as if the disk were enlarged), and the sender tries what failed again.
        subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], check=True)
        left = [ds for ds, status in zip(series, statuses, strict=True) if status != 0x0000]
        assert set(send(node.port, left)) == {0x0000}
        assert len(node.stored()) == 12


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in (1, 2))])
def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    """Killed in the middle of a send: every acknowledged instance is on disk as sent, and the restart goes on.

    The sender then repeats the whole series, as senders do: the series completes once, with all instances.
    """
    series = small_series(40, 128)
    process = Process(tmp_path)
    process.start()
    killer = threading.Timer(random.Random(seed).uniform(0.05, 0.6), process.kill)
    acknowledged: list[Dataset] = []
    with association(process.port, [context_of(series[0])]) as assoc:
        killer.start()
        for ds in series:
            if not assoc.is_established:
                break
            if assoc.send_c_store(ds).get("Status") == 0x0000:
                acknowledged.append(ds)
    killer.join()
    folder = process.store / series[0].SeriesInstanceUID
    for ds in acknowledged:
        kept = pydicom.dcmread(folder / f"{ds.SOPInstanceUID}.dcm")
        assert kept.PixelData == ds.PixelData
    process.start()
    try:
        assert not list((process.store / ".incoming").iterdir())
        assert send(process.port, series) == [0x0000] * len(series)
        (line,) = process.wait(1)
        assert line["series"] == series[0].SeriesInstanceUID
        instances = line["instances"]
        assert isinstance(instances, list)
        assert {name for _, name, _ in instances} == {ds.SOPInstanceUID for ds in series}
        for path, _, sha256 in instances:
            assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == sha256
        recorded = folder / "handed-over.json"  # a dispatch that was not recorded yet would rightly be repeated
        deadline = time.monotonic() + 10
        while not recorded.exists():
            assert time.monotonic() < deadline, "the dispatch was not recorded"
            time.sleep(0.02)
    finally:
        process.kill()
    process.start()  # once more: what was dispatched is known
    later = small_series(1)
    try:
        with association(process.port, [context_of(later[0])]) as assoc:
            assert assoc.send_c_store(later[0]).Status == 0x0000
            assoc.abort()  # waits for the quiet time, as what a restart found would
        taken = process.wait(2)
    finally:
        process.kill()
    assert [line["series"] for line in taken] == [series[0].SeriesInstanceUID, later[0].SeriesInstanceUID]


def test_a_restart_completes_what_was_acknowledged(tmp_path: Path) -> None:
    """Killed after the last acknowledgement, and the sender never returns: quiet time completes the series."""
    series = small_series(5)
    process = Process(tmp_path)
    process.start()
    with association(process.port, [context_of(series[0])]) as assoc:
        assert [assoc.send_c_store(ds).Status for ds in series] == [0] * 5
        process.kill()
    process.start()
    try:
        (line,) = process.wait(1)
        assert line["reason"] == "quiet for 2.0 s (5 instances)"
    finally:
        process.kill()


@pytest.mark.parametrize("content", [b"%PDF-1.7 this is no data set" * 40, b"", b"\0" * 5000, b"\xff" * 5000])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_what_is_no_data_set_is_not_understood(node: Node, content: bytes, syntax: str) -> None:
    """0xC000, nothing stored, and the next sender is served."""
    before = node.stored()
    assert send_bytes(node.port, MRImageStorage, "1.2.3.4", content or b"\0\0", syntax) == 0xC000
    assert node.stored() == before
    assert not node.temporary()


def test_uids_are_never_paths(node: Node) -> None:
    """A SOP Instance UID that climbs out of the store is not understood; no file appears anywhere."""
    from tests.unit.dicom_node.store.test_header import encode, small

    ds = small()
    del ds.SOPInstanceUID
    ds.add_new("SOPInstanceUID", "LO", "../../../evil")
    before = sorted(node.settings.data_dir.parent.rglob("*"))
    status = send_bytes(
        node.port, MRImageStorage, "../../../evil", encode(ds, ExplicitVRLittleEndian), ExplicitVRLittleEndian
    )
    assert status == 0xC000
    assert {path.name for path in node.settings.data_dir.parent.rglob("*")} <= {path.name for path in before}


@pytest.mark.parametrize("what", ["class", "instance"])
def test_a_data_set_that_is_not_what_the_command_says_is_refused(node: Node, what: str) -> None:
    """0xA900 where SOP Class or SOP Instance UID differ; nothing is stored."""
    from tests.unit.dicom_node.store.test_header import encode, small

    ds = small()
    ds.SOPInstanceUID = "1.2.3.77"
    command = {"class": (MRImageStorage, "1.2.3.77"), "instance": (MRImageStorage, "1.2.3.78")}[what]
    if what == "class":
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    status = send_bytes(node.port, *command, encode(ds, ExplicitVRLittleEndian), ExplicitVRLittleEndian)
    assert status == 0xA900
    assert not {"1.2.3.77", "1.2.3.78"} & set(node.stored())


def test_an_index_deleted_between_runs_is_rebuilt(tmp_path: Path) -> None:
    """The next process knows the series from the files, and what the jobs have is not dispatched again."""
    series = small_series(4)
    with running_receiver(tmp_path) as node:
        send(node.port, series[:3])
        node.wait()
    (node.settings.data_dir / "index.sqlite").unlink()
    with running_receiver(tmp_path) as node:
        (record,) = node.receiver.index.all_series()
        assert (record.state, record.revision) == ("handed_over", 1)
        send(node.port, series[3:])
        (late,) = node.wait()
        assert (late.revision, len(late.instances)) == (2, 4)
