"""A delivery that was interrupted goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom import evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from dicom_node.deliver.dimse import DimseSender
from dicom_node.deliver.journal import FOLDER
from dicom_node.settings.destinations import DicomDestination
from dicom_node.settings.peers import DicomPeer
from pipeline.errors import PeerUnavailable
from tests.peers.engine_worker import capture
from tests.peers.pacs import Pacs

NAMES = ["1.2.3.1", "1.2.3.2", "1.2.3.3"]


class AskablePacs(Pacs):
    """A PACS that also answers Study Root C-FIND at IMAGE level, from what it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.held: set[str] = set()
        self.asked = 0
        self.find_status = 0x0000
        self._ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)

    def start(self) -> None:
        super().start()
        assert self._server is not None
        self._server.bind(evt.EVT_C_FIND, self._find)

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        self.asked += 1
        assert event.identifier.QueryRetrieveLevel == "IMAGE"
        assert event.identifier.SeriesInstanceUID == "1.2.3"
        for name in sorted(self.held):
            found = Dataset()
            found.QueryRetrieveLevel = "IMAGE"
            found.SOPInstanceUID = name
            yield 0xFF00, found
        yield self.find_status, None

    def _store(self, event: evt.Event) -> int:
        status = super()._store(event)
        if status == 0x0000:
            self.held.add(str(event.request.AffectedSOPInstanceUID))
        return status


def breaks_at(number: int) -> object:
    """An answer that lets so many instances through and then breaks the association, once."""
    left = [number]

    def answer(event: evt.Event) -> int:
        left[0] -= 1
        if left[0] == -1:
            event.assoc.abort()
        return 0x0000 if left[0] >= 0 or left[0] < -1 else 0xA700

    return answer


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    """Three Secondary Capture files of one series."""
    return tuple(
        capture(tmp_path / f"{n}.dcm", sop_instance_uid=name, series_instance_uid="1.2.3")
        for n, name in enumerate(NAMES)
    )


def sender(pacs: Pacs, *, resumes: bool = True) -> DimseSender:
    peer = DicomPeer(ae_title="PACS", host="127.0.0.1", port=pacs.port)
    destination = DicomDestination(kind="dicom", peer=peer, timeout=3)
    return DimseSender(destination, "CANDELA", resumes=resumes)


@pytest.mark.parametrize("kind", [Pacs, AskablePacs])
def test_what_was_stored_is_not_sent_again(files: tuple[Path, ...], kind: type[Pacs]) -> None:
    """Cut off after two of three: the next send brings the third alone, whether the PACS can be asked or not."""
    with kind() as pacs:
        pacs.answer = breaks_at(2)
        with pytest.raises(PeerUnavailable):
            sender(pacs).send(files)
        assert sender(pacs).send(files) == "1 instance stored, 0x0000; 2 sent earlier"
        assert sender(pacs).send(files) == "3 sent earlier"
        assert [pacs.stored[name] for name in NAMES[:2]] == [1, 1]
        # The third was refused by the cut (not counted) and came once.
        assert pacs.stored[NAMES[2]] == 1


def test_what_the_pacs_has_lost_is_sent_again(files: tuple[Path, ...]) -> None:
    """Asked by C-FIND, it no longer has the first: that one alone comes again."""
    with AskablePacs() as pacs:
        sender(pacs).send(files)
        pacs.held.discard(NAMES[0])
        assert sender(pacs).send(files) == "1 instance stored, 0x0000; 2 sent earlier"
        assert pacs.stored == {NAMES[0]: 2, NAMES[1]: 1, NAMES[2]: 1}
        assert pacs.asked == 1


def test_a_query_that_fails_is_no_loss(files: tuple[Path, ...]) -> None:
    """What the PACS took it has, until it says otherwise: its C-FIND is out of order."""
    with AskablePacs() as pacs:
        sender(pacs).send(files)
        pacs.held.clear()
        pacs.find_status = 0xC001
        assert sender(pacs).send(files) == "3 sent earlier"


def test_another_file_under_the_same_uid_is_sent(files: tuple[Path, ...]) -> None:
    """A result that was made anew with other bytes has not been sent."""
    with Pacs() as pacs:
        sender(pacs).send(files)
        ds_path = files[1]
        data = bytearray(ds_path.read_bytes())
        data[-1] ^= 1
        ds_path.write_bytes(bytes(data))
        assert sender(pacs).send(files) == "1 instance stored, 0x0000; 2 sent earlier"


def test_a_journal_cut_off_by_a_kill_costs_one_instance_sent_again(files: tuple[Path, ...], tmp_path: Path) -> None:
    """Half a line counts for nothing, and the line after it counts."""
    with Pacs() as pacs:
        sender(pacs).send(files)
        (journal,) = (tmp_path / FOLDER).iterdir()
        journal.write_text(journal.read_text()[:-20])
        assert sender(pacs).send(files) == "1 instance stored, 0x0000; 2 sent earlier"
        assert sender(pacs).send(files) == "3 sent earlier"


def test_another_pacs_gets_everything_and_candela_send_leaves_no_trace(files: tuple[Path, ...], tmp_path: Path) -> None:
    """What one peer took says nothing about another; without ``resumes`` nothing is noted."""
    with Pacs() as one, Pacs() as other:
        sender(one, resumes=False).send(files)
        assert not (tmp_path / FOLDER).exists()
        sender(one).send(files)
        assert sender(other).send(files) == "3 instances stored, 0x0000"
        assert set(one.stored.values()) == {2}
        assert SecondaryCaptureImageStorage in {event.request.AffectedSOPClassUID for event in other.received}
