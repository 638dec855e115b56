"""Storage commitment, both roles, against real peers: the node promises only what it has, and believes no less."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.commitment import scp
from dicom_node.commitment.ledger import Failed, Reference, Report, Request, RequestLedger
from dicom_node.deliver.senders import sender_for
from dicom_node.settings.destinations import DicomDestination
from dicom_node.settings.peers import DicomPeer, Peer
from pipeline import phantom
from pipeline.errors import PeerBusy, PeerUnavailable, Rejected
from tests.peers.commitment import CommittingPacs, Modality, report_to
from tests.peers.orthanc import running_orthanc
from tests.peers.pacs import Pacs
from tests.peers.ports import free_port
from tests.peers.receiver import CALLING, Node, running_receiver, send


@pytest.fixture(scope="module")
def series() -> tuple[Dataset, ...]:
    return phantom.head_phantom(slices=3, matrix=32, header=phantom.Header(key="commitment"))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scp, "RETRY_FIRST", 0.5)


def named(series: tuple[Dataset, ...]) -> list[Reference]:
    return [Reference(str(ds.SOPClassUID), str(ds.SOPInstanceUID)) for ds in series]


def peers(modality: Modality) -> tuple[Peer, ...]:
    return (Peer(ae_title=CALLING, commitment_to=DicomPeer(ae_title=CALLING, host="127.0.0.1", port=modality.port)),)


# --- as SCP -----------------------------------------------------------------------------------------------------


def test_a_modality_is_told_what_is_kept_by_the_association_that_asked(
    tmp_path: Path, series: tuple[Dataset, ...]
) -> None:
    modality = Modality()
    with running_receiver(tmp_path) as node:
        send(node.port, series)
        report = modality.wait(modality.ask(node.port, named(series), stay=20))
    assert {item.sop_instance_uid for item in report.committed} == {ds.SOPInstanceUID for ds in series}
    assert report.failed == ()


def test_a_modality_that_has_hung_up_is_called(tmp_path: Path, series: tuple[Dataset, ...]) -> None:
    """An association of the node's own, in which the node is the SCP (role selection)."""
    modality = Modality()
    with modality.listening(), running_receiver(tmp_path, allow=peers(modality)) as node:
        send(node.port, series)
        report = modality.wait(modality.ask(node.port, named(series)))
        assert len(report.committed) == 3
        assert modality.associations == 1
        _until(lambda: not list((node.settings.commitments_dir / "asked").iterdir()))


def test_only_what_is_on_disk_as_it_was_acknowledged_is_committed(tmp_path: Path, series: tuple[Dataset, ...]) -> None:
    """Absent: 0x0112; another class: 0x0119; damaged since: 0x0110 (PS3.3 C.14.1.1)."""
    modality = Modality()
    with running_receiver(tmp_path) as node:
        send(node.port, series)
        node.wait()
        damaged = node.stored()[series[0].SOPInstanceUID]
        content = bytearray(damaged.read_bytes())
        content[-1] ^= 1
        damaged.write_bytes(content)
        wanted = named(series)
        wanted[1] = Reference("1.2.840.10008.5.1.4.1.1.2", wanted[1].sop_instance_uid)
        wanted.append(Reference(wanted[0].sop_class_uid, "1.2.3.4.5"))
        report = modality.wait(modality.ask(node.port, wanted, stay=20))
    assert [item.sop_instance_uid for item in report.committed] == [series[2].SOPInstanceUID]
    reasons = {item.sop_instance_uid: item.reason for item in report.failed}
    assert reasons == {series[0].SOPInstanceUID: 0x0110, series[1].SOPInstanceUID: 0x0119, "1.2.3.4.5": 0x0112}


def test_an_instance_just_acknowledged_is_committed_at_once(tmp_path: Path, series: tuple[Dataset, ...]) -> None:
    """The index runs after the store; a request waits for it rather than deny what is there."""
    modality = Modality()
    with running_receiver(tmp_path) as node:
        for ds in series:
            send(node.port, [ds])
            transaction = modality.ask(node.port, named((ds,)), stay=20)
            assert len(modality.wait(transaction).committed) == 1


def test_a_report_waits_for_a_modality_that_is_away_and_for_the_node_itself(
    tmp_path: Path, series: tuple[Dataset, ...]
) -> None:
    """The request survives the end of the node; the report comes when the modality listens again."""
    modality = Modality()
    with running_receiver(tmp_path, allow=peers(modality)) as node:
        send(node.port, series)
        transaction = modality.ask(node.port, named(series))
        _until(lambda: any(item.tries for item in node.receiver._commitment._waiting.values()))
    with running_receiver(tmp_path, allow=peers(modality)) as node:
        time.sleep(0.5)
        with modality.listening():
            assert len(modality.wait(transaction).committed) == 3


def test_what_is_no_request_is_refused(tmp_path: Path, series: tuple[Dataset, ...]) -> None:
    """0x0115 without transaction or instances or with malformed ones, 0x0123 other action, 0x0112 other instance."""
    modality = Modality()
    good = Request("1.2.3", (named(series)[0],))
    hostile = good.dataset()
    hostile.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "../../etc/passwd"
    nameless = good.dataset()
    del nameless.TransactionUID
    empty = good.dataset()
    empty.ReferencedSOPSequence = []
    with running_receiver(tmp_path) as node:
        assert [modality.act(node.port, ds) for ds in (hostile, nameless, empty)] == [0x0115] * 3
        assert modality.act(node.port, good.dataset(), action=2) == 0x0123
        assert modality.act(node.port, good.dataset(), instance="1.2.3") == 0x0112
        assert list((node.settings.commitments_dir / "asked").iterdir()) == []


# --- as SCU -----------------------------------------------------------------------------------------------------


def destination(port: int, ae_title: str = "PACS", **more: object) -> DicomDestination:
    peer = DicomPeer(ae_title=ae_title, host="127.0.0.1", port=port)
    base = {"kind": "dicom", "peer": peer, "commitment": True, "commitment_timeout": 15}
    return DicomDestination.model_validate({**base, **more})


def deliver(node: Node, target: DicomDestination, files: tuple[Path, ...]) -> str:
    """As the deliver worker does."""
    return sender_for("pacs", target, node.settings).send(files)


@pytest.fixture
def files(tmp_path: Path, series: tuple[Dataset, ...]) -> tuple[Path, ...]:
    return tuple(phantom.save(series, tmp_path / "results"))


PACS_PEER = (Peer(ae_title="PACS"), Peer(ae_title="ORTHANC"), Peer(ae_title="LIAR"))


@pytest.mark.parametrize("how", ["same", "new"])
def test_a_result_counts_when_the_pacs_is_committed(tmp_path: Path, files: tuple[Path, ...], how: str) -> None:
    """By a report within our association, or by one that the PACS opens to the receiver."""
    with running_receiver(tmp_path, allow=PACS_PEER) as node:
        with CommittingPacs(how=how, node_port=node.port).running() as pacs:
            assert deliver(node, destination(pacs.port), files) == "3 instances stored, 0x0000, committed"
        assert list((node.settings.commitments_dir / "asking").iterdir()) == []


def test_what_the_pacs_has_not_is_sent_again(tmp_path: Path, files: tuple[Path, ...]) -> None:
    """A PACS that answered C-STORE with success and lost an instance: no delivery, and the next attempt sends it."""
    with running_receiver(tmp_path, allow=PACS_PEER) as node, CommittingPacs(node_port=node.port).running() as pacs:
        pacs.lost = {str(dcmread(files[1]).SOPInstanceUID)}
        with pytest.raises(PeerBusy, match=r"2 of 3 instances .1 × 0x0112 no such instance"):
            deliver(node, destination(pacs.port), files)
        pacs.lost = set()
        assert deliver(node, destination(pacs.port), files).endswith("committed")
        assert len(pacs.stored) == 4


@pytest.mark.parametrize("reason", [0x0119, 0x0122])
def test_what_the_pacs_will_never_keep_is_a_dead_letter(tmp_path: Path, files: tuple[Path, ...], reason: int) -> None:
    """SOP class not supported, class and instance in conflict: sending again changes nothing."""
    with running_receiver(tmp_path, allow=PACS_PEER) as node, CommittingPacs(node_port=node.port).running() as pacs:
        pacs.lost, pacs.reason = {str(dcmread(files[1]).SOPInstanceUID)}, reason
        with pytest.raises(Rejected, match=f"1 × 0x{reason:04X}"):
            deliver(node, destination(pacs.port), files)


def test_a_report_that_comes_late_counts_without_sending_again(tmp_path: Path, files: tuple[Path, ...]) -> None:
    """The attempt has given up and the node was restarted meanwhile; the next attempt finds the answer."""
    with running_receiver(tmp_path, allow=PACS_PEER) as node, CommittingPacs(how="never").running() as pacs:
        target = destination(pacs.port, commitment_timeout=0.5)
        with pytest.raises(PeerUnavailable, match="did not give storage commitment"):
            deliver(node, target, files)
    with running_receiver(tmp_path, allow=PACS_PEER) as node:
        pacs.node_port = node.port
        assert pacs.report(pacs.asked[0]) == 0x0000
        receipt = deliver(node, target, files)  # the PACS is not even there any more
        assert receipt == "3 stored by an earlier attempt, committed"


def test_a_late_no_is_heeded(tmp_path: Path, files: tuple[Path, ...]) -> None:
    """A PACS that always answers after we gave up, and has no C-FIND: what it says it lacks is sent again, once."""
    with running_receiver(tmp_path, allow=PACS_PEER) as node, CommittingPacs(how="never").running() as pacs:
        pacs.node_port = node.port
        target = destination(pacs.port, commitment_timeout=0.5)
        missing = str(dcmread(files[1]).SOPInstanceUID)
        with pytest.raises(PeerUnavailable, match="did not give storage commitment"):
            deliver(node, target, files)
        pacs.lost = {missing}
        assert pacs.report(pacs.asked[0]) == 0x0000
        for _ in range(2):
            with pytest.raises(PeerUnavailable, match="did not give storage commitment"):
                deliver(node, target, files)
            assert pacs.stored[3:] == [missing]
        pacs.lost = set()
        assert pacs.report(pacs.asked[-1]) == 0x0000
        assert deliver(node, target, files) == "3 stored by an earlier attempt, committed"
        assert list((node.settings.commitments_dir / "asking").iterdir()) == []


def test_a_pacs_without_commitment_is_a_wrong_setting(tmp_path: Path, files: tuple[Path, ...]) -> None:
    refused = pytest.raises(Rejected, match=r"accepted none.*SOP class Storage Commitment")
    with running_receiver(tmp_path, allow=PACS_PEER) as node, Pacs() as pacs, refused:
        deliver(node, destination(pacs.port), files)


def test_nobody_but_the_pacs_can_say_that_it_is_committed(tmp_path: Path, files: tuple[Path, ...]) -> None:
    """0x0115 for another caller, an unknown transaction, and a malformed one; none of it reaches the disk."""
    with running_receiver(tmp_path, allow=PACS_PEER) as node:
        with CommittingPacs(how="never").running() as pacs, pytest.raises(PeerUnavailable):
            deliver(node, destination(pacs.port, commitment_timeout=0.5), files)
        asked = pacs.asked[0]
        forged = Report(asked.transaction_uid, asked.references)
        assert report_to(node.port, forged, calling="LIAR") == 0x0115
        assert report_to(node.port, Report("1.2.3", asked.references), calling="PACS") == 0x0115
        assert report_to(node.port, forged, calling="PACS", event_type=3) == 0x0113
        assert list(RequestLedger(node.settings.commitments_dir / "asking").answers("pacs", asked.references)) == []
        with pytest.raises(PeerUnavailable):  # still to be sent: nobody listens there now
            deliver(node, destination(pacs.port), files)


def test_orthanc_commits_itself_to_a_result(tmp_path: Path, files: tuple[Path, ...]) -> None:
    """A real archive: N-ACTION to it, N-EVENT-REPORT by its own association to the node."""
    port = free_port()
    with (
        running_orthanc(tmp_path / "orthanc", candela_port=port, plugins=False) as orthanc,
        running_receiver(tmp_path, allow=PACS_PEER, port=port) as node,
    ):
        target = destination(orthanc.dicom_port, ae_title=orthanc.ae_title, commitment_timeout=30)
        assert deliver(node, target, files).endswith("committed")


def test_orthanc_asks_the_node(tmp_path: Path, series: tuple[Dataset, ...]) -> None:
    """A real archive as SCU: what it sent is committed, what it did not send is not."""
    port = free_port()
    with running_orthanc(tmp_path / "orthanc", candela_port=port, plugins=False) as orthanc:
        report = DicomPeer(ae_title=orthanc.ae_title, host="127.0.0.1", port=orthanc.dicom_port)
        peer = Peer(ae_title=orthanc.ae_title, commitment_to=report)
        with running_receiver(tmp_path, allow=(peer, Peer(ae_title=CALLING)), port=port) as node:
            send(node.port, series[:2])
            done = orthanc.commitment([(str(ds.SOPClassUID), str(ds.SOPInstanceUID)) for ds in series])
    assert done["Status"] == "Failure"
    assert {item["SOPInstanceUID"] for item in done["Success"]} == {ds.SOPInstanceUID for ds in series[:2]}
    assert [item["SOPInstanceUID"] for item in done["Failures"]] == [series[2].SOPInstanceUID]


def test_reports_and_requests_survive_their_form() -> None:
    """What is written to a data set is read from it."""
    reference = Reference("1.2.840.10008.5.1.4.1.1.4", "1.2.3")
    request = Request("2.25.1", (reference,))
    assert Request.read(request.dataset()) == request
    report = Report("2.25.1", (reference,), (Failed("1.2", "1.2.4", 0x0112),))
    assert Report.read(report.dataset()) == report
    assert report.event_type == 2
    assert not report.covers([Reference("1.2", "1.2.4")])


def _until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
