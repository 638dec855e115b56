"""Odd associations: what dcmtk and Orthanc accept is accepted; what is not is rejected, logged, counted and audited."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.audit.trail import files, read
from dicom_node.receive import transport
from dicom_node.settings.ae_titles import title_text
from dicom_node.settings.peers import Peer
from dicom_node.store.instance_store import InstanceStore
from pipeline import phantom
from tests.peers.dcmtk import require_dcmtk, running_storescp
from tests.peers.odd_requests import ODD_TITLE, STRANGER, TABLE, UNREADABLE, Odd
from tests.peers.orthanc import require_orthanc, running_orthanc
from tests.peers.ports import free_port
from tests.peers.receiver import Node, running_receiver
from tests.peers.upper_layer import MR, Answer, Request, calling, pdu, status

PATIENCE: Final = 3.0
"""Seconds that a peer is given: dcmtk never answers what it cannot read."""
PEERS: Final = tuple(Peer(ae_title=title) for title in ("MODALITY", r"\xC0\xb3`I\xfc\x7f", r"MR\x5c1"))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running_receiver(tmp_path, allow=PEERS) as running:
        yield running


@pytest.fixture(scope="module")
def instance() -> Dataset:
    return phantom.head_phantom(slices=1, matrix=16, header=phantom.Header(key="odd"))[0]


def without_meta(ds: Dataset) -> bytes:
    """``ds`` as it goes over the wire, in Explicit VR Little Endian."""
    buffer = BytesIO()
    Dataset(ds).save_as(buffer, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return buffer.getvalue()


def outcome(port: int, odd: Odd, ds: Dataset) -> tuple[int, int, int] | str:
    """How an association ends: ``works`` where C-ECHO, C-STORE and release do, a rejection, or what else came."""
    with calling(port, PATIENCE) as caller:
        answer = caller.ask(odd.request)
        if answer.rejection is not None:
            return answer.rejection
        if answer.kind != "AC" or odd.numbers is None:
            return answer.kind
        echo, store = odd.numbers
        name = str(ds.SOPInstanceUID).encode()
        said = (status(caller.echo(echo)), status(caller.store(MR, name, without_meta(ds), store)), caller.release())
        return "works" if said == (0, 0, "RELEASE-RP") else str(said)


def outcomes(
    port: int, rows: tuple[Odd, ...], ds: Dataset, *, at_once: int = 16
) -> dict[str, tuple[int, int, int] | str]:
    """The outcome of each row, by its name; several at a time, since dcmtk lets us wait."""
    with ThreadPoolExecutor(at_once) as pool:
        found = pool.map(lambda row: outcome(port, row, ds), rows)
        return {row.name: answer for row, answer in zip(rows, found, strict=True)}


def disagreements(rows: tuple[Odd, ...], theirs: dict[str, tuple[int, int, int] | str]) -> dict[str, object]:
    """Rows in which a peer decides otherwise and the table does not say so, or says so and is wrong."""
    wrong: dict[str, object] = {}
    for row in rows:
        answer = theirs[row.name]
        agrees = (row.rejected is None) == (answer == "works") and (isinstance(answer, str) or answer == row.rejected)
        if agrees == bool(row.differs):
            wrong[row.name] = answer
    return wrong


def test_each_odd_request_is_answered_as_the_table_says(
    node: Node, instance: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is accepted works; what is not has a rejection, a count, and a line in the log with no control character."""
    found = outcomes(node.port, TABLE, instance)
    assert found == {row.name: row.rejected or ("works" if row.numbers else "AC") for row in TABLE}
    rejected = sum(isinstance(answer, tuple) for answer in found.values())
    counters = node.receiver.counters
    assert counters.associations_rejected == sum(counters.denied.values()) == rejected
    assert counters.denied["malformed"] >= 8
    assert (counters.denied["protocol_version"], counters.denied["application_context"]) == (2, 4)
    said = capsys.readouterr().err
    assert said.count("association_denied") == rejected
    assert said.count("detail=") >= 14
    assert r"\xff\x0a\x1b[31m" in said
    assert not any(ord(letter) < 32 and letter != "\n" for letter in said)
    trail = [line["reason"] for file in files(node.settings.audit_dir) for line in read(file)]
    assert {"malformed", "protocol_version", "application_context", "calling_ae", "called_ae"} <= set(trail)


def test_dcmtk_decides_alike(tmp_path: Path, instance: Dataset) -> None:
    require_dcmtk()
    with running_storescp(tmp_path / "scp", ae_title="CANDELA") as port:
        assert disagreements(TABLE, outcomes(port, TABLE, instance)) == {}


def test_orthanc_accepts_nothing_that_we_reject(tmp_path: Path, instance: Dataset) -> None:
    """It uses dcmtk, and is stricter in three rows: it compares the called title byte by byte."""
    require_orthanc()
    answered = tuple(row for row in TABLE if not row.differs and row.rejected not in (UNREADABLE, STRANGER))
    with running_orthanc(tmp_path, candela_port=free_port(), plugins=False) as peer:
        titled = {row.name: row.request.called.replace(b"CANDELA", peer.ae_title.encode()) for row in answered}
        rows = tuple(replace(row, request=replace(row.request, called=titled[row.name])) for row in answered)
        stricter = {"titles with leading blanks", "titles with a tab and a line feed", "one number twice"}
        assert set(disagreements(rows, outcomes(peer.dicom_port, rows, instance, at_once=4))) == stricter


def test_a_stranger_gets_one_answer_whatever_is_wrong(node: Node, instance: Dataset) -> None:
    """An unknown AE title with a PDU that cannot be read, with another protocol version, with anything."""
    rows = tuple(replace(row, request=replace(row.request, calling=b"STRANGER")) for row in TABLE)
    assert set(outcomes(node.port, rows, instance).values()) == {STRANGER}


def test_anybody_may_be_odd_where_every_peer_is_accepted(tmp_path: Path, instance: Dataset) -> None:
    with running_receiver(tmp_path, accept_any_peer=True) as node:
        rows = (Odd("a title", Request(calling=b"\xff\n\x1b")), Odd("no title", Request(calling=b"")))
        assert outcomes(node.port, rows, instance) == {"a title": "works", "no title": "works"}


def test_an_acceptance_repeats_titles_and_reserved_bytes(node: Node) -> None:
    """PS3.8 table 9-17: identical with what was received."""
    for request in (Request(reserved=0xFFFF), Request(calling=ODD_TITLE, pad=b"\0"), Request(calling=b"  MODALITY")):
        with calling(node.port) as caller:
            assert caller.ask(request).content[4:68] == request.encoded()[10:74]
            assert caller.release() == "RELEASE-RP"


def test_an_odd_title_is_the_same_in_settings_files_and_index(tmp_path: Path, instance: Dataset) -> None:
    """The file has the bytes that were received, and the index is rebuilt from them."""
    row = Odd("odd", Request(calling=ODD_TITLE))
    title = title_text(ODD_TITLE)
    assert title == PEERS[1].ae_title
    with running_receiver(tmp_path, allow=PEERS) as node:
        assert outcome(node.port, row, instance) == "works"
        (complete,) = node.wait()
        assert complete.calling_ae == title
        (path,) = node.stored().values()
        assert dcmread(path).file_meta.get_item("SourceApplicationEntityTitle").value.strip() == ODD_TITLE
    with contextlib.closing(InstanceStore(tmp_path / "data" / "store")) as store:
        read_back = store.read(str(path.relative_to(store.folder)))
    assert read_back is not None
    assert read_back.calling_ae == title


def no_association(port: int, words: bytes) -> Answer:
    with calling(port, PATIENCE) as caller:
        caller.say(words)
        return caller.hear()


def in_an_association(port: int, words: bytes) -> Answer:
    with calling(port, PATIENCE) as caller:
        assert caller.ask(Request()).kind == "AC"
        caller.say(words)
        return caller.hear()


@pytest.mark.parametrize(
    ("where", "words", "answer", "reason"),
    [
        (no_association, pdu(9, b"abc"), "ABORT", "a PDU of a type that does not exist"),
        (no_association, b"GET / HTTP/1.1\r\n\r\n", "ABORT", "a PDU of a type that does not exist"),
        (no_association, pdu(4, b"\0\0\0\2\1\3"), "ABORT", "a PDU that is not expected now"),
        (no_association, pdu(3, b""), "ABORT", "cannot be decoded"),
        (
            no_association,
            struct.pack(">BBI", 1, 0, transport.LONGEST_FIRST_PDU + 1),
            "closed",
            "a PDU of 1048577 bytes",
        ),
        (in_an_association, Request().encoded(), "ABORT", "a PDU that is not expected now"),
        (in_an_association, pdu(4, b"\0\0\0\xff\1\3"), "ABORT", "cannot be decoded"),
        (in_an_association, struct.pack(">BBI", 4, 0, transport.LONGEST_PDU + 1), "closed", "a PDU of 4194305 bytes"),
    ],
)
def test_what_is_no_association_request_is_logged_counted_and_audited(
    node: Node,
    capsys: pytest.CaptureFixture[str],
    where: Callable[[int, bytes], Answer],
    words: bytes,
    answer: str,
    reason: str,
) -> None:
    """It cannot be rejected: A-ABORT, or the end of the connection, says that it is not understood."""
    assert where(node.port, words).kind == answer
    until(lambda: node.receiver.counters.associations_aborted == 1)
    until(lambda: "protocol" in {line["reason"] for file in files(node.settings.audit_dir) for line in read(file)})
    said: list[Any] = [line for line in capsys.readouterr().err.splitlines() if "association_aborted" in line]
    assert len(said) == 1
    assert reason in said[0]


def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
