"""STOW-RS to the node: what is answered 200 is on disk as it was sent, and bad requests are told what they are."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from dicom_node.audit import trail as audit
from dicom_node.receive.policy import Cause
from dicom_node.settings.peers import Peer
from dicom_node.settings.receive import Completion, Stow, StowClient
from orthanc.local import CONFIG
from pipeline import phantom
from tests.integration.test_receive_faults import small_disk  # noqa: F401  (a fixture)
from tests.integration.test_receive_senders import data_set_bytes, small_series
from tests.peers.orthanc import require_orthanc, running_orthanc
from tests.peers.ports import free_port
from tests.peers.receiver import Node, Process, running_receiver, send
from tests.peers.stow import BOUNDARY, RELATED, as_file, body, in_pieces, reasons, store, stow, uids


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_receiver(tmp_path_factory.mktemp("stow"), stow=Stow(port=free_port())) as running:
        yield running


def port(node: Node) -> int:
    assert node.settings.receive.stow is not None
    return node.settings.receive.stow.port


def data_set_of(file: bytes) -> bytes:
    """What follows the file meta of a DICOM file."""
    return file[144 + int.from_bytes(file[140:144], "little") :]


def wait_for(node: Node, series: tuple[Dataset, ...], seconds: float = 20) -> str:
    """Wait until ``series`` has been dispatched; the reason."""
    deadline = time.monotonic() + seconds
    while True:
        found = [item for item in node.taken if item.series_instance_uid == series[0].SeriesInstanceUID]
        if found:
            return found[0].reason
        assert time.monotonic() < deadline, "the series did not complete"
        time.sleep(0.05)


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless, DeflatedExplicitVRLittleEndian])
def test_what_is_answered_200_is_on_disk_as_sent(node: Node, syntax: str | None) -> None:
    """Byte for byte behind the file meta, in the transfer syntax that it came in; the request's end completes it."""
    series = small_series(3)
    for ds in series:
        if syntax == DeflatedExplicitVRLittleEndian:
            ds.file_meta.TransferSyntaxUID = syntax
        elif syntax:
            ds.compress(syntax, generate_instance_uid=False)
    files = {str(ds.SOPInstanceUID): as_file(ds) for ds in series}
    answer = stow(port(node), body(files.values()))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert uids(answer) == list(files)
    assert "00081198" not in answer.json()
    stored = node.stored()
    for name, file in files.items():
        assert data_set_bytes(stored[name]) == data_set_of(file)
        meta = pydicom.filereader.read_file_meta_info(stored[name])
        assert meta.TransferSyntaxUID == series[0].file_meta.TransferSyntaxUID
        assert meta.SourceApplicationEntityTitle == "STOW-RS"
    assert wait_for(node, series).startswith("association released and quiet")


@pytest.mark.parametrize("size", [1, 7, 4096, 300_000])
def test_the_body_may_come_in_any_pieces(node: Node, size: int) -> None:
    """Chunked, cut anywhere, boundaries included; a data set may hold what looks like the boundary's beginning."""
    series = small_series(2, matrix=16 if size < 10 else 512)
    for ds in series:
        fake = b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n--\r\n\r\n--" + BOUNDARY.encode()[:5]
        ds.PixelData = fake + ds.PixelData[len(fake) :]
    files = [as_file(ds) for ds in series]
    answer = stow(port(node), in_pieces(body(files), size))
    assert answer.status_code == 200
    stored = node.stored()
    assert [data_set_bytes(stored[str(ds.SOPInstanceUID)]) for ds in series] == [data_set_of(file) for file in files]


def test_a_long_instance_goes_over_the_disk(node: Node) -> None:
    """Longer than is gathered in memory: the same bytes in the end, and no temporary file left."""
    (ds,) = small_series(1)
    ds.add_new(0x7FE10010, "OW", ds.PixelData)
    ds.Rows, ds.Columns = 2048, 2400
    ds.PixelData = bytes(range(256)) * (2 * 2048 * 2400 // 256)
    file = as_file(ds)
    assert len(file) > 9 << 20
    assert stow(port(node), body([file])).status_code == 200
    assert data_set_bytes(node.stored()[str(ds.SOPInstanceUID)]) == data_set_of(file)
    assert not node.temporary()


def test_a_single_file_needs_no_multipart(node: Node) -> None:
    """application/dicom, and the study in the path."""
    (ds,) = small_series(1)
    headers = {"Content-Type": "application/dicom"}
    answer = stow(port(node), as_file(ds), study=ds.StudyInstanceUID, headers=headers)
    assert answer.status_code == 200
    assert uids(answer) == [ds.SOPInstanceUID]


def test_the_same_instance_again_changes_nothing(node: Node) -> None:
    """200 each time, one file; by C-STORE too. Other content under the same UID becomes a version beside it."""
    (ds,) = small_series(1)
    assert store(port(node), [ds]).status_code == 200
    wait_for(node, (ds,))
    before = node.receiver.counters.instances_repeated
    assert store(port(node), [ds, ds]).status_code == 200
    assert send(node.port, [ds]) == [0x0000]
    assert node.receiver.counters.instances_repeated == before + 3
    folder = node.settings.store_dir / ds.SeriesInstanceUID
    assert len(list(folder.glob("*.dcm"))) == 1
    other = copy.deepcopy(ds)
    other.PatientComments = "corrected"
    assert store(port(node), [other]).status_code == 200
    assert len(list(folder.glob("*.dcm"))) == 2


def test_the_response_comes_as_xml_where_that_is_asked_for(node: Node) -> None:
    """The Native DICOM Model, with what was stored and what failed."""
    good, other = (small_series(1)[0] for _ in range(2))
    accept = {"Accept": "application/dicom+xml"}
    answer = store(port(node), [good, other], study=good.StudyInstanceUID, headers=accept)
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/dicom+xml"
    root = ET.fromstring(answer.content)
    path = "DicomAttribute[@keyword='{}']/Item/DicomAttribute[@tag='{}']/Value"
    assert [e.text for e in root.findall(path.format("ReferencedSOPSequence", "00081155"))] == [good.SOPInstanceUID]
    assert [e.text for e in root.findall(path.format("FailedSOPSequence", "00081155"))] == [other.SOPInstanceUID]
    assert [e.text for e in root.findall(path.format("FailedSOPSequence", "00081197"))] == [str(0xA901)]


def test_an_instance_of_another_study_is_refused(node: Node) -> None:
    """202 where some belong to the study of the path; 409 where none does. What failed is not stored."""
    mine, other = small_series(2), small_series(1)
    answer = store(port(node), [*mine, *other], study=mine[0].StudyInstanceUID)
    assert answer.status_code == 202
    assert (uids(answer, "00081198"), reasons(answer)) == ([other[0].SOPInstanceUID], [0xA901])
    assert len(uids(answer)) == 2
    answer = store(port(node), other, study="1.2.3")
    assert answer.status_code == 409
    assert str(other[0].SOPInstanceUID) not in node.stored()


def damaged(kind: str) -> bytes:
    """A file that is none."""
    (ds,) = small_series(1)
    file = as_file(ds)
    name = str(ds.SeriesInstanceUID).encode()
    return {
        "no DICM": file[:128] + b"MCID" + file[132:],
        "empty": b"",
        "text": b"hello",
        "cut in the meta": file[:180],
        "no SeriesInstanceUID": file.replace(b"\x20\x00\x0e\x00UI", b"\x20\x00\x0f\x00UI"),
        "path for a UID": file.replace(name, b"../" + b"1" * (len(name) - 3)),
        "zeros": file[:132] + bytes(4 << 20),
    }[kind]


@pytest.mark.parametrize(
    "kind", ["no DICM", "empty", "text", "cut in the meta", "no SeriesInstanceUID", "path for a UID", "zeros"]
)
def test_a_part_that_is_no_dicom_file_does_not_keep_the_others_out(node: Node, kind: str) -> None:
    """0xC000 for it, the rest is stored; alone it is 409."""
    (good,) = small_series(1)
    answer = stow(port(node), body([damaged(kind), as_file(good)]))
    assert answer.status_code == 202
    assert reasons(answer) == [0xC000]
    assert uids(answer) == [good.SOPInstanceUID]
    assert stow(port(node), body([damaged(kind)])).status_code == 409


def test_file_meta_and_data_set_must_agree(node: Node) -> None:
    """0xA900, as for C-STORE."""
    (ds,) = small_series(1)
    file = as_file(ds)
    name = str(ds.SOPInstanceUID).encode()
    at = file.index(name)
    lying = file[:at] + name[:-1] + (b"1" if name[-1:] != b"1" else b"2") + file[at + len(name) :]
    assert reasons(stow(port(node), body([lying]))) == [0xA900]


def test_a_transfer_syntax_that_cannot_be_read_is_refused(node: Node) -> None:
    """0xC122: what no model could read is not accepted, by neither way in."""
    (ds,) = small_series(1)
    file = as_file(ds)
    meta = pydicom.dcmread(pydicom.filebase.DicomBytesIO(file), stop_before_pixels=True).file_meta
    syntax = str(meta.TransferSyntaxUID).encode() + b"\0" * (len(meta.TransferSyntaxUID) % 2)
    strange = file.replace(syntax, b"1.2.840.10008.1.2.4.103"[: len(syntax)].ljust(len(syntax), b"9"), 1)
    answer = stow(port(node), body([strange]))
    assert answer.status_code == 409
    assert reasons(answer) == [0xC122]


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"Content-Type": "application/json"}, b"{}", 415),
        ({"Content-Type": 'multipart/related; type="application/dicom+json"; boundary=x'}, b"--x--\r\n", 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--\r\n", 415),
        ({"Content-Type": 'multipart/related; type="application/dicom"'}, b"", 400),
        ({"Content-Type": f'multipart/related; type="application/dicom"; boundary={"x" * 300}'}, b"--x--", 400),
        ({"Content-Encoding": "gzip"}, b"\x1f\x8b", 415),
        ({"Accept": "text/html"}, b"", 406),
        ({}, b"", 400),
        ({}, b"--" + BOUNDARY.encode() + b"--\r\n", 400),
        ({}, b"--another\r\n\r\nxx\r\n--another--\r\n", 400),
        ({}, b"\0" * 1000, 400),
        ({}, b"--" + BOUNDARY.encode() + b"\r\n" + b"X: y\r\n" * 40 + b"\r\n\r\n", 400),
        ({}, b"--" + BOUNDARY.encode() + b"\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", 400),
    ],
)
def test_a_request_that_makes_no_sense_is_told_so(
    node: Node, headers: dict[str, str], content: bytes, status: int
) -> None:
    """Each by its own status; nothing is stored, and the node goes on."""
    before = set(node.stored())
    assert stow(port(node), content, headers=headers).status_code == status
    assert set(node.stored()) == before


def test_a_path_that_is_no_uid_is_refused(node: Node) -> None:
    assert store(port(node), small_series(1), study="..%2Fetc").status_code in (400, 404)
    assert store(port(node), small_series(1), study="abc").status_code == 400
    assert store(port(node), small_series(1), study="1" * 65).status_code == 400


def test_a_body_without_its_end_keeps_the_parts_that_came_whole(node: Node) -> None:
    """202: the cut part is among the failures, and the request does not count as ended in order."""
    first, second = small_series(2, matrix=256)
    content = body([as_file(first), as_file(second)], closed=False)
    answer = stow(port(node), content[:-100])
    assert answer.status_code == 202
    assert uids(answer) == [first.SOPInstanceUID]
    assert reasons(answer) == [0xC000]
    assert str(second.SOPInstanceUID) not in node.stored()
    assert wait_for(node, (first,)).startswith("quiet for")  # by the longer silence


def test_a_client_that_vanishes_leaves_whole_instances_only(node: Node) -> None:
    """The connection is cut in the middle of the second part."""
    first, second = small_series(2, matrix=256)
    content = body([as_file(first), as_file(second)])
    head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Type: {RELATED}\r\nContent-Length: {len(content)}"
    with socket.create_connection(("127.0.0.1", port(node))) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + content[:-5000])
        time.sleep(0.5)
    assert wait_for(node, (first,)).startswith("quiet for")
    assert str(second.SOPInstanceUID) not in node.stored()
    assert not node.temporary()


def test_limits_are_kept(tmp_path: Path) -> None:
    """Too long an instance is refused and the others stored; too many parts or bytes are 413; what came stays."""
    limits = Stow(port=free_port(), maximum_instance_bytes=40_000, maximum_parts=3, maximum_bytes=200_000)
    with running_receiver(tmp_path, stow=limits) as node:
        (small,), (large,) = small_series(1), small_series(1, matrix=256)
        answer = store(port(node), [large, small])
        assert (answer.status_code, reasons(answer), uids(answer)) == (202, [0xA702], [small.SOPInstanceUID])
        assert store(port(node), [large]).status_code == 413
        answer = store(port(node), small_series(5))
        assert answer.status_code == 202
        assert len(uids(answer)) == 3
        assert store(port(node), small_series(2, matrix=256)).status_code == 413  # by Content-Length
        chunked = in_pieces(body(as_file(ds) for ds in small_series(2, matrix=256)), 1000)
        assert stow(port(node), chunked).status_code == 413


def test_a_body_that_stalls_is_given_up(tmp_path: Path) -> None:
    """408 within the network timeout, and the request's place is free again."""
    limits = Stow(port=free_port(), maximum_requests=1)
    with running_receiver(tmp_path, stow=limits, network_timeout=4.0) as node:
        head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Type: {RELATED}\r\nContent-Length: 9999\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port(node)), timeout=10) as connection:
            connection.sendall(head.encode() + b"\r\n")  # may stand before the first boundary
            time.sleep(0.3)
            busy = store(port(node), small_series(1))
            assert (busy.status_code, busy.headers["retry-after"]) == (503, "5")
            connection.settimeout(0.5)
            deadline, answer = time.monotonic() + 30, b""
            while not answer and time.monotonic() < deadline:
                connection.sendall(b"\r")  # a byte now and then is not enough
                with contextlib.suppress(TimeoutError):
                    answer = connection.recv(100)
            assert answer.startswith(b"HTTP/1.1 408")
        assert store(port(node), small_series(1)).status_code == 200


def test_senders_are_known_by_their_tokens(tmp_path: Path) -> None:
    """No token or another's is 401; the client's name stands where a calling AE title would."""
    clients = tuple(
        StowClient(peer=Peer(ae_title=name), bearer_token=f"{name}-secret-0123456789") for name in ("VNA", "CT1")
    )
    with running_receiver(tmp_path, stow=Stow(port=free_port(), clients=clients)) as node:
        (ds,) = small_series(1)
        for wrong in ({}, {"Authorization": "Bearer nobody"}, {"Authorization": "Basic VNA-secret-0123456789"}):
            answer = store(port(node), [ds], headers=wrong)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        assert not node.stored()
        assert store(port(node), [ds], headers={"Authorization": "Bearer CT1-secret-0123456789"}).status_code == 200
        assert node.wait()[0].calling_ae == "CT1"


def test_the_audit_trail_tells_who_brought_what_and_who_had_no_token(tmp_path: Path) -> None:
    """A line for each request by which something was stored, one for those that were turned away; no patient in it."""
    good, bad = "VNA-secret-0123456789", "bad-secret-0123456789"
    clients = (StowClient(peer=Peer(ae_title="VNA"), bearer_token=good),)
    series = small_series(2)
    with running_receiver(tmp_path, stow=Stow(port=free_port(), clients=clients)) as node:
        assert store(port(node), series, headers={"Authorization": f"Bearer {good}"}).status_code == 200
        assert store(port(node), series, headers={"Authorization": f"Bearer {bad}"}).status_code == 401
        assert stow(port(node), body([b"nothing"]), headers={"Authorization": f"Bearer {good}"}).status_code == 409
        trail = audit.files(node.settings.audit_dir)
        assert audit.verify(node.settings.audit_dir) == []
        assert node.receiver.counters.denied[Cause.TOKEN] == 1
    brought, denied = [line for path in trail for line in audit.read(path)]
    assert brought["activity"]["meaning"] == "DICOM Instances Transferred"
    assert brought["source"] == {"name": "VNA", "kind": "http", "address": "127.0.0.1"}
    assert (brought["what"], brought["count"]) == ("STOW-RS", 2)
    assert brought["studies"] == [series[0].StudyInstanceUID]
    assert denied["activity"]["meaning"] == "Security Alert"
    assert (denied["what"], denied["reason"], denied["source"]["address"]) == ("request", "token", "127.0.0.1")
    text = "".join(path.read_text() for path in trail)
    assert not any(word in text for word in (good, bad, str(series[0].PatientID), str(series[0].PatientName)))


def test_a_full_disk_is_503_and_costs_nothing_stored(small_disk: Path) -> None:  # noqa: F811
    """What found room is on disk and named; the rest is 0xA700; when nothing finds room, 503 with Retry-After."""
    series = small_series(12, 512)
    quiet = Completion(quiet_after_release=60)
    with running_receiver(small_disk, completion=quiet, stow=Stow(port=free_port())) as node:
        answer = store(port(node), series)
        assert answer.status_code == 202
        kept = uids(answer)
        assert set(reasons(answer)) == {0xA700}
        assert len(kept) + len(uids(answer, "00081198")) == 12
        assert set(node.stored()) == set(kept)
        left = [ds for ds in series if ds.SOPInstanceUID not in kept]
        answer = store(port(node), left)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], check=True)
        assert store(port(node), left).status_code == 200
        assert len(node.stored()) == 12
        assert not node.temporary()


@pytest.mark.nightly
def test_kill_9_after_200_loses_nothing(tmp_path: Path) -> None:
    """Killed right after each answer: all that was answered 200 is there, and the restart completes the series."""
    series = small_series(3)
    process = Process(tmp_path, stow_port=free_port())
    for ds in series:
        process.start()
        assert store(process.stow_port, [ds]).status_code == 200
        process.kill()
        assert data_set_bytes(process.store / ds.SeriesInstanceUID / f"{ds.SOPInstanceUID}.dcm") == data_set_of(
            as_file(ds)
        )
    process.start()
    try:
        count = 1
        while len(process.wait(count)[-1]["instances"]) < 3:  # a restart that took long dispatched what there was
            count += 1
    finally:
        process.kill()


def test_many_requests_at_once_store_everything(node: Node) -> None:
    """Eight clients, a series each."""
    many = [small_series(6, 64) for _ in range(8)]
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda s=series: answers.append(store(port(node), s).status_code)) for series in many
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8
    stored = node.stored()
    for series in many:
        for ds in series:
            assert data_set_bytes(stored[str(ds.SOPInstanceUID)]) == data_set_of(as_file(ds))


def test_orthanc_stores_to_the_node_by_its_own_client(node: Node, tmp_path: Path) -> None:
    """Orthanc's DICOMweb client reads the response as success; what it had is what the node has."""
    require_orthanc()
    series = small_series(5, 64)
    servers = {"Servers": {"candela": {"Url": f"http://127.0.0.1:{port(node)}/dicom-web/"}}}
    configuration = with_dicomweb(tmp_path / "config", servers)
    with running_orthanc(tmp_path / "orthanc", candela_port=free_port(), configuration=configuration) as orthanc:
        names = orthanc.upload(phantom.save(series, tmp_path / "in"))
        order = {"Resources": names, "Synchronous": True}
        url = f"{orthanc.url}/dicom-web/servers/candela/stow"
        answer = httpx.post(url, json=order, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text + orthanc.log.read_text()[-2000:]
        with orthanc.client() as client:
            had = {str(ds.SOPInstanceUID): client.download(name) for ds, name in zip(series, names, strict=True)}
    stored = node.stored()
    assert {name: data_set_bytes(stored[name]) for name in had} == {n: data_set_of(file) for n, file in had.items()}
    wait_for(node, series)


def with_dicomweb(folder: Path, settings: dict[str, object]) -> Path:
    """The shipped configuration of Orthanc, with ``settings`` added to its DicomWeb section."""
    shutil.copytree(CONFIG, folder)
    for path in folder.glob("*.json"):
        text = path.read_text()
        if '"DicomWeb"' in text:
            path.write_text(re.sub(r'("DicomWeb"\s*:\s*\{)', rf"\1{json.dumps(settings)[1:-1]},", text, count=1))
    return folder
