"""Expected counts by C-FIND against a real Query SCP of pynetdicom."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from dicom_node.completion.expected_count import FindCounter
from dicom_node.settings.peers import DicomPeer, FindCount, Peer
from dicom_node.settings.receive import Completion
from pipeline import phantom
from pipeline.errors import PeerBusy, PeerUnavailable, Rejected
from tests.integration.test_receive_senders import small_series
from tests.peers.dcmtk import require_dcmtk, running_dcmqrscp, storescu
from tests.peers.orthanc import running_orthanc
from tests.peers.ports import free_port
from tests.peers.receiver import CALLING, Node, send

Answer = Callable[[Dataset], list[tuple[int, Dataset | None]]]


@contextmanager
def pacs(answer: Answer) -> Iterator[FindCount]:
    """A Query SCP whose answers are ``answer`` of the identifier."""
    ae = AE("PACS")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    port = free_port()
    handlers = [(evt.EVT_C_FIND, lambda event: iter(answer(event.identifier)))]
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield FindCount(kind="c-find", peer=DicomPeer(ae_title="PACS", host="127.0.0.1", port=port))
    finally:
        server.shutdown()


def series_answer(number: int | None, series: str | None = None) -> Answer:
    def answer(query: Dataset) -> list[tuple[int, Dataset | None]]:
        assert query.StudyInstanceUID == "1.2"
        if query.QueryRetrieveLevel == "IMAGE":
            return []
        found = Dataset()
        found.QueryRetrieveLevel = "SERIES"
        found.SeriesInstanceUID = series or query.SeriesInstanceUID
        if number is not None:
            found.NumberOfSeriesRelatedInstances = number
        return [(0xFF00, found)]

    return answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (series_answer(175), 175),
        (series_answer(None), None),
        (series_answer(9, series="1.2.99"), None),
        (lambda _: [], None),
    ],
)
def test_the_count_is_that_of_the_very_series(answer: Answer, expected: int | None) -> None:
    """None where the PACS knows no such series, answers with another, or leaves the count out."""
    with pacs(answer) as source:
        assert FindCounter(source, "CANDELA")("1.2.3", "1.2") == expected


@pytest.mark.parametrize(("status", "error"), [(0xA700, PeerBusy), (0xA900, Rejected), (0xC001, Rejected)])
def test_a_failed_query_is_told_as_what_it_is(status: int, error: type[Exception]) -> None:
    """Busy may be asked again; other failures say no."""
    with pacs(lambda _: [(status, None)]) as source, pytest.raises(error, match=f"{status:04X}"):
        FindCounter(source, "CANDELA")("1.2.3", "1.2")


def test_a_reached_count_completes_the_series_without_waiting(tmp_path: Path) -> None:
    """The PACS says 4, 4 came: complete, though the quiet time is a minute."""
    series = small_series(4)

    def answer(query: Dataset) -> list[tuple[int, Dataset | None]]:
        query.NumberOfSeriesRelatedInstances = 4
        return [(0xFF00, query)]

    with pacs(answer) as source:
        node = Node(
            tmp_path,
            counts={CALLING: FindCounter(source, "CANDELA")},
            completion=Completion(quiet_after_release=60, quiet_time=60, count_timeout=60, plausible_part=1),
            allow=(Peer(ae_title=CALLING, expected_count=source),),
        )
        node.receiver.start()
        try:
            send(node.port, series)
            (complete,) = node.wait(seconds=10)
        finally:
            node.receiver.stop()
    assert complete.reason == "expected count 4 reached (C-FIND)"
    assert len(complete.instances) == 4


def test_a_pacs_without_the_optional_key_is_asked_for_the_instances(tmp_path: Path) -> None:
    """dcmtk's PACS does not know the optional key: the instances themselves are counted."""
    require_dcmtk()
    series = small_series(3)
    with running_dcmqrscp(tmp_path / "pacs") as pacs:
        sent = storescu(phantom.save(series, tmp_path / "in"), pacs.port, called=pacs.ae_title)
        assert sent.returncode == 0, sent.stdout
        count = FindCounter(
            FindCount(kind="c-find", peer=DicomPeer(ae_title=pacs.ae_title, host="127.0.0.1", port=pacs.port)), "X"
        )
        assert count(series[0].SeriesInstanceUID, series[0].StudyInstanceUID) == 3
        assert count("1.2.3", series[0].StudyInstanceUID) is None


def test_a_pacs_that_is_down_cannot_be_asked() -> None:
    """PeerUnavailable, in bounded time."""
    count = FindCounter(
        FindCount(kind="c-find", peer=DicomPeer(ae_title="PACS", host="127.0.0.1", port=free_port())), "X", timeout=2
    )
    with pytest.raises(PeerUnavailable):
        count("1.2.3", "1.2")


@pytest.mark.parametrize("number", ["0", "-3"])
def test_a_count_that_cannot_be_true_is_as_none(number: str) -> None:
    """The instances are listed and counted instead."""

    def answer(query: Dataset) -> list[tuple[int, Dataset | None]]:
        found = Dataset()
        found.QueryRetrieveLevel = query.QueryRetrieveLevel
        found.StudyInstanceUID, found.SeriesInstanceUID = query.StudyInstanceUID, query.SeriesInstanceUID
        if query.QueryRetrieveLevel == "SERIES":
            found.NumberOfSeriesRelatedInstances = number
            return [(0xFF00, found)]
        answers = []
        for last in (1, 2, 2):
            instance = Dataset()
            instance.update(found)
            instance.SOPInstanceUID = f"1.2.3.{last}"
            answers.append((0xFF00, instance))
        return answers

    with pacs(answer) as source:
        assert FindCounter(source, "CANDELA")("1.2.3", "1.2") == 2


def test_a_slow_pacs_is_given_up() -> None:
    """No answer within the timeout: PeerUnavailable, soon after it."""

    given_up = threading.Event()

    def answer(_: Dataset) -> list[tuple[int, Dataset | None]]:
        given_up.wait(30)
        return []

    with pacs(answer) as source:
        with pytest.raises(PeerUnavailable, match="No answer"):
            FindCounter(source, "CANDELA", timeout=1)("1.2.3", "1.2")
        given_up.set()


def test_a_pacs_that_never_stops_answering_is_given_up() -> None:
    """Answers trickle in for ever: an end is made of it."""

    def answer(query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        while True:
            time.sleep(0.05)
            yield 0xFF00, query

    with pacs(answer) as source, pytest.raises(PeerUnavailable, match="without end"):  # type: ignore[arg-type]
        FindCounter(source, "CANDELA", timeout=0.5)("1.2.3", "1.2")


def test_a_pacs_that_rejects_us_is_said() -> None:
    """With what to do about it."""
    ae = AE("PACS")
    ae.require_calling_aet = ["SOMEBODY"]
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    port = free_port()
    server = ae.start_server(("127.0.0.1", port), block=False)
    assert server is not None
    source = FindCount(kind="c-find", peer=DicomPeer(ae_title="PACS", host="127.0.0.1", port=port))
    try:
        with pytest.raises(PeerUnavailable, match=r"rejected.*Enter AE title CANDELA there"):
            FindCounter(source, "CANDELA", timeout=60)("1.2.3", "1.2")
    finally:
        server.shutdown()


def test_a_pacs_without_study_root_is_asked_by_patient_root(tmp_path: Path) -> None:
    """dcmqrscp with Study Root switched off."""
    require_dcmtk()
    series = small_series(2)
    with running_dcmqrscp(tmp_path / "pacs", args=("-QS",)) as peer:
        storescu(phantom.save(series, tmp_path / "in"), peer.port, called=peer.ae_title)
        source = FindCount(kind="c-find", peer=DicomPeer(ae_title=peer.ae_title, host="127.0.0.1", port=peer.port))
        count = FindCounter(source, "X")(series[0].SeriesInstanceUID, series[0].StudyInstanceUID)
    assert count == 2


def test_orthanc_tells_the_number_at_series_level(tmp_path: Path) -> None:
    """And None of a series that it does not have."""
    series = small_series(3)
    with running_orthanc(tmp_path / "orthanc", candela_port=free_port()) as orthanc:
        orthanc.upload(phantom.save(series, tmp_path / "in"))
        source = FindCount(
            kind="c-find", peer=DicomPeer(ae_title=orthanc.ae_title, host="127.0.0.1", port=orthanc.dicom_port)
        )
        count = FindCounter(source, "CANDELA")
        assert count(series[0].SeriesInstanceUID, series[0].StudyInstanceUID) == 3
        assert count("1.2.3", series[0].StudyInstanceUID) is None


@pytest.mark.parametrize(("told", "reason"), [(9, "4 of 9 expected instances"), (None, "(4 instances)")])
def test_a_count_that_is_never_reached_or_not_told_lets_silence_decide(
    tmp_path: Path, told: int | None, reason: str
) -> None:
    """The series is held back for count_timeout at most, and the reason says what was missing."""
    series = small_series(4)

    def answer(query: Dataset) -> list[tuple[int, Dataset | None]]:
        if told is None:
            return [(0xA700, None)]
        query.NumberOfSeriesRelatedInstances = told
        return [(0xFF00, query)]

    with pacs(answer) as source:
        node = Node(
            tmp_path,
            counts={CALLING: FindCounter(source, "CANDELA")},
            completion=Completion(quiet_after_release=0.3, quiet_time=60, count_timeout=1.5, plausible_part=1),
            allow=(Peer(ae_title=CALLING, expected_count=source),),
        )
        node.receiver.start()
        try:
            send(node.port, series)
            (complete,) = node.wait(seconds=20)
        finally:
            node.receiver.stop()
    assert reason in complete.reason
