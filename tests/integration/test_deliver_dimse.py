"""C-STORE to a real Storage SCP."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ImplicitVRLittleEndian, MRImageStorage, SecondaryCaptureImageStorage

from dicom_node.deliver.dimse import DimseSender
from dicom_node.settings.destinations import DicomDestination
from dicom_node.settings.peers import DicomPeer
from pipeline.errors import PeerBusy, PeerUnavailable, Rejected
from tests.peers.engine_worker import capture
from tests.peers.no_server import listener
from tests.peers.pacs import Pacs
from tests.peers.ports import free_port
from tests.peers.proxy import Misspelling


def sender(port: int, timeout: float = 3.0) -> DimseSender:
    peer = DicomPeer(ae_title="PACS", host="127.0.0.1", port=port)
    destination = DicomDestination(kind="dicom", peer=peer, timeout=timeout)
    return DimseSender(destination, "CANDELA")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    """Three Secondary Capture files of one series."""
    return tuple(
        capture(tmp_path / f"{n}.dcm", sop_instance_uid=f"1.2.3.{n}", series_instance_uid="1.2.3") for n in (1, 2, 3)
    )


def test_all_files_go_in_one_association_and_arrive_as_they_are(files: tuple[Path, ...]) -> None:
    """Same data sets, same transfer syntax, one association, and the receipt says how many."""
    with Pacs() as pacs:
        assert sender(pacs.port).send(files) == "3 instances stored, 0x0000"
    assert pacs.stored == {"1.2.3.1": 1, "1.2.3.2": 1, "1.2.3.3": 1}
    assert pacs.associations == 1
    for path, event in zip(files, pacs.received, strict=True):
        original = dcmread(path)
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_dataset(buffer, original)
        assert event.request.DataSet.getvalue() == buffer.getvalue()
        assert event.assoc.requestor.ae_title == "CANDELA"


def test_only_what_the_files_need_is_proposed(files: tuple[Path, ...]) -> None:
    """Their SOP class in their own transfer syntax, and the default one that every PACS must take."""
    with Pacs() as pacs:
        sender(pacs.port).send(files)
    proposed = pacs.received[0].assoc.requestor.requested_contexts
    assert {context.abstract_syntax for context in proposed} == {SecondaryCaptureImageStorage}
    assert [syntax.name for context in proposed for syntax in context.transfer_syntax] == [
        "Explicit VR Little Endian",
        "Implicit VR Little Endian",
    ]


def test_a_pacs_that_takes_only_implicit_vr_gets_it(files: tuple[Path, ...]) -> None:
    """The data set is re-encoded; its elements, the Unicode name among them, are the same."""
    with Pacs(transfer_syntaxes=[ImplicitVRLittleEndian]) as pacs:
        sender(pacs.port).send(files)
    event = pacs.received[0]
    assert event.context.transfer_syntax == ImplicitVRLittleEndian
    sent = {element.tag: element.value for element in dcmread(files[0])}
    assert {element.tag: element.value for element in event.dataset} == sent
    assert event.dataset.PatientName == "Prüfung^Ärztin"


def test_an_answer_for_another_instance_is_no_success(files: tuple[Path, ...]) -> None:
    """A line that garbles a UID makes the PACS take, and acknowledge, what was not sent: it is sent again."""
    uid = str(dcmread(files[0]).SOPInstanceUID)
    with Pacs() as pacs, Misspelling(pacs.port, uid) as line:
        with pytest.raises(PeerUnavailable, match=r"another instance .* \(instance 1 of 3\)"):
            sender(line.port).send(files)
        assert uid not in pacs.stored
        sender(line.port).send(files)
    assert pacs.stored[uid] == 1


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0xB000, "3 × 0xB000 elements coerced"),
        (0xB006, "3 × 0xB006 elements discarded"),
        (0xB007, "3 × 0xB007 data set does not match SOP class"),
        (0x0111, "3 × 0x0111 there already"),
    ],
)
def test_a_warning_is_success_with_a_note(files: tuple[Path, ...], status: int, text: str) -> None:
    """The PACS has the instances; the receipt says what it noted."""
    with Pacs(answer=lambda _: status) as pacs:
        assert sender(pacs.port).send(files) == f"3 instances stored, {text}"


@pytest.mark.parametrize("status", [0xA700, 0xA702, 0x0110])
def test_out_of_resources_is_tried_again_later(files: tuple[Path, ...], status: int) -> None:
    """And the attempt stops at once: a full PACS is not filled further."""
    with (
        Pacs(answer=lambda event: status if event.request.AffectedSOPInstanceUID == "1.2.3.2" else 0) as pacs,
        pytest.raises(PeerBusy, match=f"0x{status:04X}.*instance 2 of 3"),
    ):
        sender(pacs.port).send(files)
    assert pacs.stored == {"1.2.3.1": 1}


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0xC123, 0x0117, 0x0122, 0x0124, 0x0211, 0x1234])
def test_a_refused_instance_is_final_and_does_not_keep_the_others_back(files: tuple[Path, ...], status: int) -> None:
    """The PACS gets what it takes; the error names the instance and the status."""
    with (
        Pacs(answer=lambda event: status if event.request.AffectedSOPInstanceUID == "1.2.3.2" else 0) as pacs,
        pytest.raises(Rejected, match=rf"refused 1 of 3 instances: instance 1\.2\.3\.2: 0x{status:04X}"),
    ):
        sender(pacs.port).send(files)
    assert pacs.stored == {"1.2.3.1": 1, "1.2.3.3": 1}


def test_a_sop_class_that_the_pacs_does_not_take_is_named(files: tuple[Path, ...]) -> None:
    """No context accepted at all: final, with the class in words."""
    with (
        Pacs(sop_classes=[MRImageStorage]) as pacs,
        pytest.raises(Rejected, match="Secondary Capture Image Storage"),
    ):
        sender(pacs.port).send(files)
    assert not pacs.stored


def test_of_mixed_sop_classes_those_that_the_pacs_takes_arrive(files: tuple[Path, ...], tmp_path: Path) -> None:
    """One context of two accepted: its files are stored, the other class is named."""
    ds = dcmread(files[0])
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.9"
    ds.save_as(tmp_path / "mr.dcm")
    with (
        Pacs(sop_classes=[SecondaryCaptureImageStorage]) as pacs,
        pytest.raises(Rejected, match="1 of 4 instances: SOP class MR Image Storage"),
    ):
        sender(pacs.port).send((tmp_path / "mr.dcm", *files))
    assert len(pacs.stored) == 3


def test_a_port_where_nobody_listens_is_unavailable(files: tuple[Path, ...]) -> None:
    """Refused at once, with host and port."""
    port = free_port()
    with pytest.raises(PeerUnavailable, match=rf"cannot be reached.*PACS at 127\.0\.0\.1:{port}"):
        sender(port).send(files)


def test_an_unknown_calling_ae_title_is_tried_again_and_says_what_to_enter(files: tuple[Path, ...]) -> None:
    """The PACS calls it permanent, but its administrator can mend it in the meantime."""
    with (
        Pacs(known_callers=["SOMEONE"]) as pacs,
        pytest.raises(PeerUnavailable, match=r"calling ae title not recognised.*Enter AE title CANDELA"),
    ):
        sender(pacs.port).send(files)


@pytest.mark.parametrize("option", ["+xe", "+xi"])
def test_dcmtk_takes_what_is_sent(files: tuple[Path, ...], tmp_path: Path, option: str) -> None:
    """An independent implementation stores all three, preferring explicit or taking only implicit VR."""
    program = shutil.which("storescp")
    if program is None:
        pytest.skip("dcmtk's storescp is not installed (Debian: dcmtk)")
    out = tmp_path / "out"
    out.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:  # storescp would listen on every address; --inetd does not

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                command = [program, "--inetd", option, "-od", out]
                subprocess.run(command, stdin=connection, stdout=connection, check=False)

        thread = threading.Thread(target=serve)
        thread.start()
        assert sender(server.getsockname()[1]).send(files) == "3 instances stored, 0x0000"
        thread.join(10)
    received = {str(dcmread(path).SOPInstanceUID): dcmread(path) for path in out.iterdir()}
    assert sorted(received) == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
    assert received["1.2.3.1"].PatientName == "Prüfung^Ärztin"
    assert received["1.2.3.1"].PixelData == dcmread(files[0]).PixelData


@pytest.mark.parametrize("behaviour", ["silent", "rude"])
def test_what_does_not_speak_dicom_is_unavailable_in_bounded_time(files: tuple[Path, ...], behaviour: str) -> None:
    """The time is the destination's timeout."""
    with listener(behaviour) as port, pytest.raises(PeerUnavailable, match="aborted the association or did not answer"):
        sender(port, timeout=1.0).send(files)


def test_a_pacs_that_stops_answering_in_the_middle_is_unavailable(files: tuple[Path, ...]) -> None:
    """The error says at which instance."""
    release = threading.Event()

    def answer(event: object) -> int:
        release.wait(10)
        return 0x0000

    with Pacs() as pacs:
        pacs.answer = answer
        with pytest.raises(PeerUnavailable, match=r"did not answer within 1 s while instance 1 of 3"):
            sender(pacs.port, timeout=1.0).send(files)
        release.set()
