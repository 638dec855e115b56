"""The answer to a C-STORE that is not granted: a status, a reason for humans, and the attribute concerned."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from pydicom.dataset import Dataset

from dicom_node.settings.access import Limits
from dicom_node.settings.peers import Peer
from dicom_node.settings.receive import Stow
from pipeline import phantom
from tests.peers import gossip
from tests.peers.dcmtk import require_dcmtk, running_storescp
from tests.peers.ports import free_port
from tests.peers.receiver import Node, association, context_of, running_receiver
from tests.peers.stow import as_file, body, stow
from tests.peers.upper_layer import (
    CONTEXTS,
    EXPLICIT,
    MR,
    VERIFICATION,
    Caller,
    Request,
    calling,
    command,
    context,
    p_data,
    pdu,
    status,
)

INSTANCE: Final = b"1.2.3.4.7"
SECONDARY: Final = b"1.2.840.10008.5.1.4.1.1.7"
NAME: Final = b"REFUSAL^NOBODY"
gossip.secret(NAME.decode())

Response = dict[int, bytes] | str


def data_set(**changes: bytes | None) -> bytes:
    """A data set with the four UIDs and a name, Explicit VR Little Endian; ``changes`` by keyword, None leaves out."""
    values = {"sop_class": MR, "instance": INSTANCE, "name": NAME, "study": b"1.2.3", "series": b"1.2.8", **changes}
    tags = {
        "sop_class": (0x0008, 0x0016, b"UI"),
        "instance": (0x0008, 0x0018, b"UI"),
        "name": (0x0010, 0x0010, b"PN"),
        "study": (0x0020, 0x000D, b"UI"),
        "series": (0x0020, 0x000E, b"UI"),
    }
    made = b""
    for key, (group, number, vr) in tags.items():
        value = values[key]
        if value is not None:
            value += b"\0" * (len(value) % 2)
            made += struct.pack("<HH2sH", group, number, vr, len(value)) + value
    return made


def stored(caller: Caller, **changes: bytes | None) -> Response:
    return caller.store(MR, INSTANCE, data_set(**changes))


def said(caller: Caller, data: bytes | None = None, number: int = 3, **changes: bytes | int | None) -> Response:
    """A C-STORE whose command is changed: elements by number in hexadecimal (``x1000``), None leaves out."""
    elements: dict[int, bytes | int | None] = {2: MR, 0x100: 1, 0x110: 1, 0x700: 0, 0x800: 1, 0x1000: INSTANCE}
    elements |= {int(name[1:], 16): value for name, value in changes.items()}
    words = p_data(
        number, command({key: value for key, value in elements.items() if value is not None}), is_command=True
    )
    return caller.respond(words + p_data(number, data_set() if data is None else data, is_command=False))


OTHER_INSTANCE: Final = "SOPInstanceUID of data set and command differ."
REFUSALS: Final[dict[str, tuple[Callable[[Caller], Response], int, str, int | None]]] = {
    "no study": (lambda c: stored(c, study=None), 0xC000, "The data set has no StudyInstanceUID.", 0x0020000D),
    "no series": (lambda c: stored(c, series=b""), 0xC000, "The data set has no SeriesInstanceUID.", 0x0020000E),
    "no class": (lambda c: stored(c, sop_class=None), 0xC000, "The data set has no SOPClassUID.", 0x00080016),
    "no UID": (lambda c: stored(c, study=NAME), 0xC000, "StudyInstanceUID of the data set is not a UID.", 0x0020000D),
    "noise": (lambda c: said(c, b"\xff" * 99), 0xC000, "The data set has no SOPClassUID.", 0x00080016),
    "empty": (lambda c: said(c, b""), 0xC000, "The command has no data set.", 0x00000800),
    "other instance": (
        lambda c: stored(c, instance=b"1.2.3.4.8"), 0xA900, OTHER_INSTANCE, 0x00080018,
    ),
    "other class": (
        lambda c: stored(c, sop_class=SECONDARY), 0xA900, "SOPClassUID of data set and command differ.", 0x00080016,
    ),
    "echo's class": (
        lambda c: said(c, x2=VERIFICATION), 0xA900, "SOPClassUID of data set and command differ.", 0x00080016,
    ),
    "no class in command": (
        lambda c: said(c, x2=None), 0xC000, "The command has no AffectedSOPClassUID.", 0x00000002,
    ),
    "no instance in command": (
        lambda c: said(c, x1000=None), 0xC000, "The command has no AffectedSOPInstanceUID.", 0x00001000,
    ),
    "echo's context": (
        lambda c: said(c, number=1), 0x0122, "The presentation context is not for storage.", None,
    ),
}  # fmt: skip
ABORTED: Final[dict[str, tuple[Callable[[Caller], Response], str]]] = {
    "context refused": (lambda c: said(c, number=5), "presentation context that was not accepted"),
    "context unknown": (lambda c: said(c, number=99), "presentation context that was not accepted"),
    "no message ID": (lambda c: said(c, x110=None), "without a Message ID"),
    "unknown command": (lambda c: said(c, x100=0x7777), "cannot be read (KeyError)"),
    "no command": (lambda c: said(c, x100=None), "cannot be read (AttributeError)"),
    "C-FIND": (lambda c: said(c, x100=0x0020, x1000=None), "not offered on its presentation context (C_FIND)"),
    "a long UID": (lambda c: said(c, x1000=b"1" * 70), "cannot be read (ValueError)"),
    "data without command": (lambda c: c.respond(p_data(3, data_set(), is_command=False)), "cannot be read"),
    "unknown PDU": (lambda c: c.respond(pdu(9, b"abcdefgh")), "a PDU of a type that does not exist"),
}
GRANTED: Final[dict[str, Callable[[Caller], Response]]] = {
    "plain": stored,
    "one Message ID twice": lambda c: (stored(c), stored(c))[1],
    "Message ID 0": lambda c: said(c, x110=0),
    "no priority": lambda c: said(c, x700=None),
    "move originator that is not ASCII": lambda c: said(c, x1030=b"\xff\x00\x01abc", x1031=7),
    "elements that no command has": lambda c: said(c, x5110=b"abc"),
    "UIDs with padding": lambda c: said(c, x2=MR + b"\0", x1000=INSTANCE + b" "),
    "another class than the context's": lambda c: said(c, data_set(sop_class=SECONDARY), x2=SECONDARY),
    "C-ECHO on the MR context": lambda c: c.echo(3),
}
DCMTK_IS_STRICTER: Final = {"no priority": "dcmtk cannot parse a command without Priority, which says nothing here"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_receiver(tmp_path_factory.mktemp("refusals"), stow=Stow(port=free_port())) as running:
        yield running


def within(port: int, say: Callable[[Caller], Response]) -> tuple[Response, int | str]:
    """What is answered in an association, and the status of a C-ECHO after it."""
    with calling(port, 3) as caller:
        assert caller.ask(Request(contexts=(*CONTEXTS, context(5, b"1.2.3.4", [EXPLICIT])))).kind == "AC"
        answer = say(caller)
        return answer, status(caller.echo()) if isinstance(answer, dict) else answer


def test_a_refusal_says_why_and_the_association_goes_on(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """Status, Error Comment, Offending Element; the same reason in the log."""
    for name, (say, expected, comment, offending) in REFUSALS.items():
        answer, after = within(node.port, say)
        assert isinstance(answer, dict), (name, answer)
        element = answer.get(0x0901)
        tag = None if element is None else struct.unpack("<HH", element)
        assert (name, status(answer), answer[0x0902].decode().rstrip()) == (name, expected, comment)
        assert (name, tag) == (name, None if offending is None else divmod(offending, 1 << 16))
        assert after == 0
        lines = [line for line in capsys.readouterr().err.splitlines() if "instance_refused" in line]
        assert len(lines) == 1
        assert comment in lines[0]


def test_what_cannot_be_answered_is_aborted_with_a_reason_in_the_log(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, (say, reason) in ABORTED.items():
        answer, _ = within(node.port, say)
        assert (name, answer) == (name, "ABORT")
        lines = [line for line in capsys.readouterr().err.splitlines() if "association_aborted" in line]
        assert len(lines) == 1, name
        assert reason in lines[0], name
        assert "calling_ae=MODALITY" in lines[0]


def test_odd_messages_are_granted_as_by_dcmtk(node: Node, tmp_path: Path) -> None:
    """What storescp answers with success the node does too; what the node does not grant storescp does not either."""
    require_dcmtk()
    with running_storescp(tmp_path / "scp", ae_title="CANDELA") as port:
        for name, say in GRANTED.items():
            assert (name, within(node.port, say)[1]) == (name, 0)
            theirs, _ = within(port, say)
            assert (status(theirs) == 0) != (name in DCMTK_IS_STRICTER), (name, theirs)
        for name, (say, *_) in ABORTED.items():
            assert (name, within(port, say)[0]) == (name, "ABORT")


def test_limits_say_which_they_are(tmp_path: Path) -> None:
    """Bytes, instances, and a peer that was taken out of the settings meanwhile."""
    (first, second) = phantom.head_phantom(slices=2, matrix=16, header=phantom.Header(key="limits"))
    (long,) = phantom.head_phantom(slices=1, matrix=64, header=phantom.Header(key="long"))
    limits = Limits(instances=2, instance_bytes=4096)
    with running_receiver(tmp_path, limits=limits) as node, association(node.port, [context_of(first)]) as assoc:
        answers = [assoc.send_c_store(ds) for ds in (first, long, second)]
        settings = node.settings
        others = settings.receive.model_copy(update={"allow": (Peer(ae_title="OTHER"),)})
        node.receiver.reload(settings.model_copy(update={"receive": others}))
        answers.append(assoc.send_c_store(second))
    told = [(answer.Status, answer.get("ErrorComment")) for answer in answers]
    assert told == [
        (0x0000, None),
        (0xA700, "The data set is longer than 4096 bytes."),
        (0xA700, "More than 2 instances by one association."),
        (0x0124, "The calling AE title may no longer store."),
    ]


def test_a_fault_of_ours_is_answered_and_logged_without_what_was_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The association goes on: the next instance is stored."""
    (first, second) = phantom.head_phantom(slices=2, matrix=16, header=phantom.Header(key="fault"))
    with running_receiver(tmp_path) as node, association(node.port, [context_of(first)]) as assoc:
        ingest: Any = node.receiver._listener._ingest  # type: ignore[union-attr]
        with monkeypatch.context() as broken:
            broken.setattr(ingest, "store", lambda *_: 1 // 0)
            answer = assoc.send_c_store(first)
        assert (answer.Status, answer.ErrorComment) == (0x0110, "An internal error: see the log of the node.")
        assert assoc.send_c_store(second).Status == 0
    assert "storing_failed" in capsys.readouterr().err


def test_stow_says_why_beside_its_failure_reason(node: Node) -> None:
    """Error Comment (0000,0902) in each item, named or not."""
    (whole, other) = phantom.head_phantom(slices=2, matrix=16, header=phantom.Header(key="stow-comment"))
    file = as_file(whole)
    without = Dataset(whole)
    without.file_meta = whole.file_meta
    del without.StudyInstanceUID
    named = str(other.SOPInstanceUID).encode()
    mixed = as_file(other).replace(named, named[:-1] + (b"1" if named[-1:] != b"1" else b"2"), 1)  # in the file meta
    assert node.settings.receive.stow is not None
    answer = stow(node.settings.receive.stow.port, body([as_file(without), mixed, file[:100]]))
    items = [item for tag in ("00081198", "0008119A") for item in answer.json().get(tag, {}).get("Value", [])]
    assert answer.status_code == 409
    assert [item["00000902"]["Value"][0] for item in items] == [
        "The data set has no StudyInstanceUID.",
        "SOP Class or Instance UID of data set and file meta differ.",
        "There is no DICM prefix.",
    ]
    assert all(item["00000902"]["vr"] == "LO" for item in items)
