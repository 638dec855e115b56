"""The real listener against bytes that were made to harm: it goes on, keeps its memory, and stores nothing half."""

from __future__ import annotations

import os
import random
import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.sop_class import MRImageStorage

from dicom_node.network.requestor import Requestor
from dicom_node.settings.access import Limits
from dicom_node.settings.receive import Stow
from pipeline import phantom
from tests.peers.ports import free_port
from tests.peers.receiver import CALLED, CALLING, Node, running_receiver, send
from tests.peers.stow import body, stow

EXAMPLES = int(os.environ.get("CANDELA_FUZZ", "0")) or 60


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    limits = Limits(instance_bytes=1 << 20, associations_per_peer=60)
    with running_receiver(tmp_path_factory.mktemp("fuzz"), network_timeout=2.0, limits=limits) as running:
        yield running


@pytest.fixture(scope="module")
def series() -> tuple[Dataset, ...]:
    return phantom.head_phantom(slices=2, matrix=32, header=phantom.Header(key="fuzz"))


@pytest.fixture(scope="module")
def spoken(node: Node, series: tuple[Dataset, ...]) -> tuple[bytes, ...]:
    """The PDUs of a good sender, in order: association, two C-STOREs, release."""
    said: list[bytes] = []
    ae = Requestor(CALLING)
    ae.add_requested_context(MRImageStorage, series[0].file_meta.TransferSyntaxUID)
    heard = [(evt.EVT_DATA_SENT, lambda event: said.append(bytes(event.data)))]
    assoc = ae.associate("127.0.0.1", node.port, ae_title=CALLED, evt_handlers=heard)
    assert [assoc.send_c_store(ds).Status for ds in series] == [0, 0]
    assoc.release()
    assert len(said) >= 6
    return tuple(said)


def say(node: Node, words: bytes, patience: float = 0.05) -> None:
    """Send bytes, hear a little, hang up."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", node.port), 5) as caller:
        caller.settimeout(patience)
        caller.sendall(words)
        with suppress(TimeoutError):
            while caller.recv(65536):
                pass


def is_well(node: Node, series: tuple[Dataset, ...]) -> None:
    """It takes a series, has nothing half written, and every file in the store can be read."""
    assert send(node.port, series) == [0, 0]
    deadline = time.monotonic() + 10
    while node.temporary():
        assert time.monotonic() < deadline, node.temporary()
        time.sleep(0.05)
    for path in node.stored().values():
        assert str(dcmread(path).SOPInstanceUID) == path.stem.partition("~")[0]
    outside = {path.name for path in node.settings.data_dir.parent.iterdir()} - {"data"}
    assert outside == set()


FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(words=st.binary(max_size=400), kind=st.integers(0, 8), length=st.integers(0, 0xFFFFFFFF))
def test_anything_at_all(node: Node, words: bytes, kind: int, length: int) -> None:
    """Noise, and noise that claims to be a PDU of any kind and length."""
    say(node, words)
    say(node, struct.pack(">BBL", kind, 0, length) + words)
    say(node, struct.pack(">BBL", kind, 0, len(words)) + words)


@FUZZ
@given(
    which=st.integers(0, 5),
    flips=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 255)), max_size=8),
    keep=st.floats(0, 1),
    again=st.integers(1, 3),
)
def test_a_good_sender_gone_wrong(
    node: Node, spoken: tuple[bytes, ...], which: int, flips: list[tuple[float, int]], keep: float, again: int
) -> None:
    """One of its PDUs is damaged, cut, repeated; what came before and what comes after is as it should be."""
    damaged = bytearray(spoken[which])
    for place, value in flips:
        damaged[int(place * len(damaged))] = value
    cut = bytes(damaged[: int(keep * len(damaged))]) if keep < 0.5 else bytes(damaged)
    say(node, b"".join((*spoken[:which], cut * again, *spoken[which + 1 :])), patience=0.15)


def pdata(context: int, header: int, content: bytes) -> bytes:
    pdv = struct.pack(">LBB", len(content) + 2, context, header) + content
    return struct.pack(">BBL", 4, 0, len(pdv)) + pdv


@FUZZ
@given(
    fragments=st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 3), st.binary(max_size=120)), min_size=1, max_size=6
    )
)
def test_messages_that_are_none(node: Node, spoken: tuple[bytes, ...], fragments: list[tuple[int, int, bytes]]) -> None:
    """Within a good association: commands and data sets of anything, in any order and context, and none at all."""
    empty = struct.pack(">BBL", 4, 0, 0) + struct.pack(">BBLLB", 4, 0, 5, 1, 1)
    say(node, spoken[0] + b"".join(pdata(*item) for item in fragments) + empty, patience=0.15)


def test_after_all_that_the_node_is_well(node: Node, series: tuple[Dataset, ...]) -> None:
    """Its threads are gone with their callers, its memory is what it was, and it takes a series."""
    deadline = time.monotonic() + 30
    while any(thread.name.startswith("AcceptorThread") for thread in threading.enumerate()):  # servers go on
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.2)
    assert node.receiver._admission is not None
    while node.receiver._admission.open_associations:  # a caller's place comes free a moment after its thread ends
        assert time.monotonic() < deadline, node.receiver._admission.open_associations
        time.sleep(0.05)
    is_well(node, series)


def test_an_association_that_ends_without_a_word_is_not_counted_for_ever(node: Node) -> None:
    """pynetdicom ends one without any event where it fails within: its place must come free all the same."""
    assert node.receiver._admission is not None
    ae = Requestor(CALLING)
    ae.add_requested_context(MRImageStorage)
    assoc = ae.associate("127.0.0.1", node.port, ae_title=CALLED)
    deadline = time.monotonic() + 10
    while node.receiver._admission.open_associations != 1:
        assert time.monotonic() < deadline
    (ours,) = node.receiver._admission._admitted
    ours.dul.kill_dul()  # as an event that its state machine does not know
    while node.receiver._admission.open_associations:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assoc.abort()


def test_a_sender_that_does_not_wait_for_answers_is_held_back(node: Node, spoken: tuple[bytes, ...]) -> None:
    """A hundred C-STOREs of half a megabyte sent ahead: TCP holds the sender, and every one is answered in the end."""
    command = _messages(spoken)[0]
    head = command[: 6 + struct.unpack(">L", command[2:6])[0]]
    message = head + pdata(1, 2, bytes(512 << 10))  # no data set: answered at once, but only in its turn
    waiting: list[int] = []
    with socket.create_connection(("127.0.0.1", node.port), 5) as caller:
        caller.settimeout(60)
        caller.sendall(spoken[0])
        assert caller.recv(65536)[0] == 2
        sending = threading.Thread(target=lambda: [caller.sendall(message) for _ in range(100)], daemon=True)
        sending.start()
        answers, rest = 0, b""
        while answers < 100:
            rest += caller.recv(65536)
            waiting += [ours.dimse.msg_queue.qsize() for ours in list(node.receiver._admission._admitted)]
            while len(rest) >= 6 and len(rest) >= 6 + struct.unpack(">L", rest[2:6])[0]:
                assert rest[0] == 4
                rest = rest[6 + struct.unpack(">L", rest[2:6])[0] :]
                answers += 1
    assert waiting
    assert max(waiting) <= 3


def test_a_data_set_without_end_takes_no_memory(node: Node, spoken: tuple[bytes, ...]) -> None:
    """200 MiB of one instance where 1 MiB is taken: let go as it comes."""
    command = _messages(spoken)[0]
    head = command[: 6 + struct.unpack(">L", command[2:6])[0]]
    block = pdata(1, 0, random.Random(1).randbytes(1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with socket.create_connection(("127.0.0.1", node.port), 5) as caller:
        caller.settimeout(60)
        caller.sendall(spoken[0])
        assert caller.recv(65536)[0] == 2
        caller.sendall(head)
        for _ in range(200):
            caller.sendall(block)
        caller.sendall(pdata(1, 2, b"end"))
        assert struct.pack("<HHLH", 0, 0x0900, 2, 0xA700) in caller.recv(65536)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    assert node.temporary() == []


def _messages(spoken: tuple[bytes, ...]) -> list[bytes]:
    """The C-STORE messages, each command and data set in one piece: PDUs between the association and the release."""
    whole = b"".join(spoken[1:])
    pdus = []
    while whole and whole[0] == 4:
        size = 6 + struct.unpack(">L", whole[2:6])[0]
        pdus.append(whole[:size])
        whole = whole[size:]
    messages, current = [], b""
    for pdu in pdus:
        current += pdu
        if pdu[11] == 2:  # the last fragment of a data set
            messages.append(current)
            current = b""
    return messages


@pytest.mark.parametrize("head", [b"MZ", b"\x7fELF", b"#!/bin/sh\n", b"II*\x00", b"%PDF-1.7"])
def test_a_preamble_that_is_a_program_is_not_kept(tmp_path: Path, series: tuple[Dataset, ...], head: bytes) -> None:
    """Whatever stood in the 128 bytes (PS3.10 7.1) of a file sent by STOW-RS or C-STORE, ours are zeros."""
    files = phantom.save(series, tmp_path / "polyglot")
    hostile = [head.ljust(128, b"\x90") + path.read_bytes()[128:] for path in files]
    with running_receiver(tmp_path, stow=Stow(port=free_port())) as node:
        assert node.settings.receive.stow is not None
        assert stow(node.settings.receive.stow.port, body(hostile)).status_code == 200
        stored = list(node.stored().values())
        assert len(stored) == 2
        assert all(path.read_bytes()[:132] == bytes(128) + b"DICM" for path in stored)
