"""Series from real senders: what is stored is what was sent, and who may send."""

from __future__ import annotations

import hashlib
import itertools
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import _config

from dicom_node.receive import transport
from dicom_node.receive.listener import transfer_syntaxes
from dicom_node.settings.receive import Completion
from pipeline import phantom
from pipeline.findings.own_results import CREATOR_UID
from tests.peers.dcmtk import echoscu, require_dcmtk, start_storescu, storescu
from tests.peers.receiver import Node, association, context_of, running_receiver, send

_keys = itertools.count()


def small_series(slices: int = 4, matrix: int = 32) -> tuple[Dataset, ...]:
    """A phantom series that no other test has."""
    header = phantom.Header(key=f"receive/{next(_keys)}/{time.monotonic_ns()}")
    return phantom.head_phantom(slices=slices, matrix=matrix, header=header)


def data_set_bytes(path: Path) -> bytes:
    """What follows the file meta."""
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_receiver(tmp_path_factory.mktemp("receiver")) as running:
        yield running


def taken(node: Node, series: tuple[Dataset, ...]) -> list[str]:
    """Wait until ``series`` has been dispatched; its reasons."""
    name = series[0].SeriesInstanceUID
    deadline = time.monotonic() + 20
    while not (found := [item.reason for item in node.taken if item.series_instance_uid == name]):
        assert time.monotonic() < deadline, "the series did not complete"
        time.sleep(0.05)
    return found


def later_series_is_taken(node: Node) -> None:
    """Send another series and wait until it is dispatched: what came before it has had its turn by then."""
    later = small_series(1, 16)
    assert send(node.port, later) == [0]
    taken(node, later)


@pytest.mark.parametrize(
    ("option", "syntax"),
    [
        ("-x=", ExplicitVRLittleEndian),
        ("-xi", ImplicitVRLittleEndian),
        ("-xb", ExplicitVRBigEndian),
        ("-xd", DeflatedExplicitVRLittleEndian),
    ],
)
def test_dcmtk_sends_in_every_uncompressed_syntax(node: Node, tmp_path: Path, option: str, syntax: str) -> None:
    """Each is kept in the transfer syntax negotiated and reads back to the same voxels."""
    require_dcmtk()
    series = small_series()
    files = phantom.save(series, tmp_path)
    if syntax == ExplicitVRBigEndian:  # else storescu sends a file as it is: Little Endian is accepted too
        for file in files:
            subprocess.run(["dcmconv", "+tb", file, file], check=True)
    answer = storescu(files, node.port, option)
    assert answer.returncode == 0, answer.stdout
    assert taken(node, series) == ["association released and quiet for 0.3 s (4 instances)"]
    for sent in series:
        kept = pydicom.dcmread(node.stored()[sent.SOPInstanceUID])
        assert kept.file_meta.TransferSyntaxUID == syntax
        assert kept.file_meta.SourceApplicationEntityTitle == "MODALITY"
        assert (kept.pixel_array == sent.pixel_array).all()


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_data_sets_are_kept_byte_for_byte(node: Node, tmp_path: Path, syntax: str) -> None:
    """The listener never decodes: what dcmtk had in its file is what ours holds behind the file meta."""
    require_dcmtk()
    series = small_series(2)
    for ds in series:
        ds.compress(syntax, generate_instance_uid=False)
    files = phantom.save(series, tmp_path)
    option = {RLELossless: "-xr", JPEG2000Lossless: "-xv", JPEGLSLossless: "-xt"}[syntax]
    answer = storescu(files, node.port, option)
    assert answer.returncode == 0, answer.stdout
    for sent, file in zip(series, files, strict=True):
        kept = node.stored()[sent.SOPInstanceUID]
        assert pydicom.dcmread(kept).file_meta.TransferSyntaxUID == syntax
        assert data_set_bytes(kept) == data_set_bytes(file)


@pytest.mark.parametrize("pdu", [4096, 16384, 131072])
def test_any_pdu_size_gives_the_same_bytes(node: Node, tmp_path: Path, pdu: int) -> None:
    """Fragments of any size are put together again."""
    require_dcmtk()
    series = small_series(2, 128)
    files = phantom.save(series, tmp_path)
    assert storescu(files, node.port, "-x=", "--max-send-pdu", str(pdu)).returncode == 0
    for sent, file in zip(series, files, strict=True):
        assert data_set_bytes(node.stored()[sent.SOPInstanceUID]) == data_set_bytes(file)


def test_real_series_are_kept_byte_for_byte(node: Node, real_data: Path) -> None:
    """Scanners' own files, in seven transfer syntaxes, arrive as they left."""
    files = [path for path in sorted((real_data / "dicom" / "mixed_ts_trio_epi").rglob("*")) if path.is_file()]
    datasets = [pydicom.dcmread(file) for file in files]
    accepted = 0
    for file, ds in zip(files, datasets, strict=True):
        with association(node.port, [context_of(ds)]) as assoc:
            if not assoc.accepted_contexts:
                continue
            _config.STORE_SEND_CHUNKED_DATASET = True  # the file's bytes, not pydicom's encoding of them
            try:
                assert assoc.send_c_store(file).Status == 0x0000
            finally:
                _config.STORE_SEND_CHUNKED_DATASET = False
        sent = hashlib.sha256(data_set_bytes(file)).hexdigest()
        versions = node.settings.store_dir.glob(f"*/{ds.SOPInstanceUID}*.dcm")
        assert sent in {hashlib.sha256(data_set_bytes(path)).hexdigest() for path in versions}
        accepted += 1
    assert accepted == len(files)


def test_a_real_series_completes(node: Node, real_data: Path) -> None:
    """55 slices of a TrioTim, sent by dcmtk with its defaults, Nagle's algorithm and all."""
    require_dcmtk()
    files = [path for path in sorted((real_data / "dicom" / "siemens_trio_t2_ax").rglob("*")) if path.is_file()]
    datasets = tuple(pydicom.dcmread(file, stop_before_pixels=True) for file in files)
    assert storescu(files, node.port).returncode == 0
    assert taken(node, datasets) == [f"association released and quiet for 0.3 s ({len(files)} instances)"]


def test_dcmtk_with_only_the_contexts_it_needs(node: Node, tmp_path: Path) -> None:
    """storescu -R proposes just the SOP classes of its files."""
    require_dcmtk()
    series = small_series(2)
    assert storescu(phantom.save(series, tmp_path), node.port, "-R").returncode == 0
    assert len(taken(node, series)) == 1


def test_every_syntax_that_can_be_decoded_is_negotiated(node: Node) -> None:
    """Big endian, deflated, JPEG, JPEG-LS, JPEG 2000, HTJ2K and RLE are accepted; video is not."""
    mr = "1.2.840.10008.5.1.4.1.1.4"
    assert len(transfer_syntaxes()) == 16
    for syntax in transfer_syntaxes():
        with association(node.port, [(mr, syntax)]) as assoc:
            assert assoc.is_established
            assert [context.transfer_syntax for context in assoc.accepted_contexts] == [[syntax]]
    with association(node.port, [(mr, "1.2.840.10008.1.2.4.100")]) as assoc:
        assert not assoc.is_established


def test_echo(node: Node) -> None:
    """C-ECHO succeeds for a known caller."""
    require_dcmtk()
    answer = echoscu(node.port)
    assert answer.returncode == 0
    assert "Success" in answer.stdout


@pytest.mark.parametrize("titles", [{"calling": "STRANGER"}, {"called": "SOMEBODY"}])
def test_unknown_titles_are_rejected(node: Node, titles: dict[str, str]) -> None:
    """A stranger is rejected, counted, and not told which of the two titles was wrong."""
    require_dcmtk()
    before = node.receiver.counters.associations_rejected
    answer = echoscu(node.port, **titles)
    assert answer.returncode != 0
    assert "Rejected Permanent, Source: Service User" in answer.stdout
    assert "Reason: No Reason" in answer.stdout
    assert node.receiver.counters.associations_rejected == before + 1


def test_an_empty_allow_list_lets_nobody_in(tmp_path: Path) -> None:
    """Not having configured peers is no invitation; accept_any_peer is."""
    require_dcmtk()
    with running_receiver(tmp_path / "closed", allow=()) as node:
        assert "Association Rejected" in echoscu(node.port).stdout
    with running_receiver(tmp_path / "open", allow=(), accept_any_peer=True) as node:
        assert echoscu(node.port, calling="ANYBODY").returncode == 0


def test_too_many_associations_are_rejected_for_now(tmp_path: Path) -> None:
    """The limit's answer is transient: come back later. The running association is unharmed."""
    require_dcmtk()
    series = small_series(1)
    with (
        running_receiver(tmp_path, maximum_associations=1) as node,
        association(node.port, [context_of(series[0])]) as assoc,
    ):
        answer = echoscu(node.port)
        assert "Rejected Transient" in answer.stdout
        assert "Local Limit Exceeded" in answer.stdout
        assert assoc.send_c_store(series[0]).Status == 0x0000


def test_a_connection_that_says_nothing_is_dropped(tmp_path: Path) -> None:
    """Half an association request, then silence: closed after the timeout, and others are served meanwhile."""
    require_dcmtk()
    with (
        running_receiver(tmp_path, network_timeout=1.0) as node,
        socket.create_connection(("127.0.0.1", node.port)) as slow,
    ):
        slow.sendall(b"\x01\x00\x00\x00\x01\x00half")
        slow.settimeout(10)
        assert echoscu(node.port).returncode == 0
        began = time.monotonic()
        rest = slow.recv(100)
        while rest:
            rest = slow.recv(100)
        assert time.monotonic() - began < 8


def test_a_silent_caller_is_dropped_though_the_clock_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a word, and not a word after the association: both are cut off in time though the clock says yesterday."""
    with (
        running_receiver(tmp_path, network_timeout=1.5) as node,
        socket.create_connection(("127.0.0.1", node.port)) as mute,
        association(node.port, [context_of(small_series(1, 16)[0])]) as idle,
    ):
        assert idle.is_established
        monkeypatch.setattr("pynetdicom.timer.time", SimpleNamespace(time=lambda: time.time() - 86400))
        mute.settimeout(10)
        assert mute.recv(100) == b""
        deadline = time.monotonic() + 10
        while idle.is_established:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_callers_that_hung_up_hold_no_place(tmp_path: Path) -> None:
    """Forty that went away before there was an association, with room for two: the next good sender is served."""
    series = small_series(1, 16)
    half, short = b"\x01\x00\x00\x00\x01\x00half", b"\x01\x00\x00\x00\x00\x04\x00\x01\x00\x00"
    with running_receiver(tmp_path, network_timeout=20.0, maximum_associations=2) as node:
        for number in range(40):
            with socket.create_connection(("127.0.0.1", node.port)) as caller:
                caller.sendall((half, b"GET / HTTP/1.0\r\n\r\n", short, b"")[number % 4])
            if number % 8 == 7:
                time.sleep(0.3)  # not a storm: each is gone before the next come
        began = time.monotonic()
        while True:
            with association(node.port, [context_of(series[0])]) as good:
                if good.is_established:
                    assert good.send_c_store(series[0]).Status == 0x0000
                    break
            assert time.monotonic() - began < 8, "places are still held"
            time.sleep(0.2)


def test_a_sender_with_nagles_algorithm_is_not_stalled(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dcmtk's default waits for each TCP acknowledgement, which the kernel holds back for 40 ms where it may.

    However quick the machine, a stalled sender is never below that floor; however busy, a prompt one is once.
    """
    require_dcmtk()
    instances, held_back = 20, 0.040
    files = phantom.save(small_series(instances, 64), tmp_path)

    def stalled() -> bool:
        began = time.monotonic()
        assert storescu(files, node.port, "-R").returncode == 0
        return time.monotonic() - began > 0.75 * instances * held_back

    assert not all(stalled() for _ in range(40))
    monkeypatch.setattr(transport, "_acknowledge", lambda connection: None)
    assert all(stalled() for _ in range(3))


def test_two_senders_carry_one_series(node: Node, tmp_path: Path) -> None:
    """Half of it on each of two associations at once: one series, one dispatch, all instances."""
    require_dcmtk()
    series = small_series(24, 64)
    files = phantom.save(series, tmp_path)
    running = [start_storescu(files[n::2], node.port) for n in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    for process in running:
        assert process.stdout is not None
        process.stdout.close()
    assert taken(node, series) == ["association released and quiet for 0.3 s (24 instances)"]


def test_a_slow_sender_is_not_cut_short(node: Node) -> None:
    """An association stays open longer than the quiet time after release: the series is still one."""
    series = small_series(3)
    with association(node.port, [context_of(series[0])]) as assoc:
        for ds in series:
            assert assoc.send_c_store(ds).Status == 0x0000
            time.sleep(0.6)
    assert taken(node, series) == ["association released and quiet for 0.3 s (3 instances)"]


def test_a_late_slice_makes_revision_2(node: Node) -> None:
    """The jobs get the whole series once more."""
    series = small_series(4)
    send(node.port, series[:3])
    taken(node, series)
    send(node.port, series[3:])
    deadline = time.monotonic() + 20
    name = series[0].SeriesInstanceUID
    while len(found := [item for item in node.taken if item.series_instance_uid == name]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [(item.revision, len(item.instances)) for item in found] == [(1, 3), (2, 4)]


def test_a_series_sent_twice_is_dispatched_once(node: Node) -> None:
    """Success each time, one file each, one dispatch."""
    series = small_series(3)
    assert send(node.port, series) == [0, 0, 0]
    taken(node, series)
    assert send(node.port, series) == [0, 0, 0]
    later_series_is_taken(node)
    assert len(taken(node, series)) == 1
    assert len(list((node.settings.store_dir / series[0].SeriesInstanceUID).glob("*.dcm"))) == 3


def test_an_aborted_association_waits_for_quiet_time(node: Node) -> None:
    """What came is kept, and the longer silence decides."""
    series = small_series(3)
    with association(node.port, [context_of(series[0])]) as assoc:
        assert [assoc.send_c_store(ds).Status for ds in series[:2]] == [0, 0]
        assoc.abort()
    assert taken(node, series) == ["quiet for 2.0 s (2 instances)"]


def test_a_sender_that_is_killed_leaves_nothing_half_written(node: Node, tmp_path: Path) -> None:
    """The connection breaks in the middle of a data set: whole instances stay, no partial file does."""
    require_dcmtk()
    series = small_series(8, 512)
    files = phantom.save(series, tmp_path)
    process = start_storescu(files, node.port, "--max-send-pdu", "4096")
    assert process.stdout is not None
    for line in process.stdout:
        if "MsgID 4" in line:
            break
    process.kill()
    process.wait()
    process.stdout.close()
    (reason,) = taken(node, series)
    assert reason.startswith("quiet for 2.0 s")
    assert not node.temporary()
    for name in (ds.SOPInstanceUID for ds in series):
        if name in node.stored():
            assert pydicom.dcmread(node.stored()[name]).pixel_array.shape == (512, 512)


def test_candelas_own_results_are_stored_and_never_dispatched(node: Node) -> None:
    """The loop guard: they count as received and start nothing; a scanner of that name's series do."""
    scanned = small_series(2)
    for ds in scanned:
        ds.Manufacturer = "Candela"
    assert send(node.port, scanned) == [0, 0]
    taken(node, scanned)
    series = small_series(2)
    for ds in series:
        ds.InstanceCreatorUID = CREATOR_UID
    assert send(node.port, series) == [0, 0]
    later_series_is_taken(node)
    assert all(ds.SOPInstanceUID in node.stored() for ds in series)
    assert not any(item.series_instance_uid == series[0].SeriesInstanceUID for item in node.taken)


def test_a_running_association_may_finish_at_stop(tmp_path: Path) -> None:
    """Stop refuses new connections, lets the running sender finish, and writes the index."""
    series = small_series(3)
    with running_receiver(tmp_path, completion=Completion(quiet_after_release=60)) as node:
        with association(node.port, [context_of(series[0])]) as assoc:
            assert assoc.send_c_store(series[0]).Status == 0x0000
            stopping = threading.Thread(target=node.receiver.stop, kwargs={"grace": 10})
            stopping.start()
            time.sleep(0.5)
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", node.port), timeout=1)
            assert [assoc.send_c_store(ds).Status for ds in series[1:]] == [0, 0]
        stopping.join(10)
        assert not stopping.is_alive()
    with closing(sqlite3.connect(node.settings.data_dir / "index.sqlite")) as index:
        assert index.execute("select count(*) from instances").fetchone() == (3,)
    assert len(node.stored()) == 3
