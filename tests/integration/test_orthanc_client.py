"""OrthancClient against a real Orthanc that wants a password."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from dicom_node.network.requestor import Requestor
from orthanc.client import OrthancClient
from pipeline import phantom
from pipeline.errors import PeerBusy, PeerUnavailable, Rejected, Retryable
from tests.peers.http import HttpPeer, Reply
from tests.peers.orthanc import CandelaReceiver, OrthancPeer, require_orthanc, small_series, store, wait_until
from tests.peers.ports import free_port

PASSWORD = "secret"


@pytest.fixture(scope="module")
def receiver() -> Iterator[CandelaReceiver]:
    require_orthanc()
    with CandelaReceiver() as candela:
        yield candela


@pytest.fixture(scope="module")
def peer(receiver: CandelaReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancPeer]:
    environment = {"ORTHANC_AUTHENTICATION": "true", "ORTHANC_PASSWORD": PASSWORD}
    folder = tmp_path_factory.mktemp("orthanc")
    ports = {"http_port": free_port(), "dicom_port": free_port(), "candela_port": receiver.port}
    extra = {"OrthancPeers": {"archive": ["http://127.0.0.1:1/"]}}
    with OrthancPeer(folder, **ports, plugins=False, environment=environment, extra=extra) as orthanc:
        yield orthanc


@pytest.fixture
def client(peer: OrthancPeer) -> Iterator[OrthancClient]:
    with OrthancClient(peer.url, "candela", PASSWORD) as connected:
        yield connected


@pytest.fixture(scope="module")
def series(peer: OrthancPeer) -> tuple[Dataset, ...]:
    datasets = small_series(slices=4)
    store(peer, datasets)
    return datasets


def test_counts_what_orthanc_holds(client: OrthancClient, peer: OrthancPeer) -> None:
    """The expected count grows with the series and is its number of instances at each moment."""
    datasets = small_series(slices=3)
    uid = datasets[0].SeriesInstanceUID
    assert client.instances_of_series(uid) is None
    assert not client.is_stable(uid)
    store(peer, datasets[:2])
    assert client.instances_of_series(uid) == 2
    store(peer, datasets)
    assert client.instances_of_series(uid) == 3
    wait_until(lambda: client.is_stable(uid), 20, "the series did not become stable")


def test_a_wildcard_is_no_series(client: OrthancClient, series: tuple[Dataset, ...]) -> None:
    """A UID from a broken data set must not be taken for a pattern and count someone else's series."""
    uid = series[0].SeriesInstanceUID
    assert client.find_series(uid) is not None
    for pattern in ("*", "", f"{uid}*", f"{uid[:-1]}?", f"1.2.3\\{uid}"):
        assert client.find_series(pattern) is None, pattern


def test_an_address_that_is_not_orthanc() -> None:
    """Another server's answer makes no count and is called what it is."""
    with HttpPeer(lambda _asked: Reply(200, {"resourceType": "Bundle"})) as other, OrthancClient(other.url) as client:
        with pytest.raises(Rejected, match="not Orthanc"):
            client.find_series("1.2.3")
        assert client.instances_of_series("1.2.3") is None


@pytest.mark.parametrize(("status", "error"), [(503, PeerBusy), (429, PeerBusy), (500, PeerUnavailable)])
def test_an_orthanc_in_trouble(status: int, error: type[Retryable]) -> None:
    """What Orthanc may be able to do later is retryable."""
    with HttpPeer(lambda _asked: Reply(status)) as busy, OrthancClient(busy.url) as client, pytest.raises(error):
        client.modalities()


def test_finds_the_results_in_a_study(client: OrthancClient, peer: OrthancPeer) -> None:
    """Only the algorithm's series are results; the source and a series named after an AIR coil are not."""
    source = small_series()
    study = source[0].StudyInstanceUID
    result = small_series(StudyInstanceUID=study, SeriesDescription="AI overlay, for review", modality="OT")
    coil = small_series(StudyInstanceUID=study, SeriesDescription="AIR T1")
    for datasets in (source, result, coil):
        store(peer, datasets)
    (found,) = client.find_results(study)
    assert (found.series_instance_uid, found.modality, found.description, len(found.instances)) == (
        result[0].SeriesInstanceUID,
        "OT",
        "AI overlay, for review",
        3,
    )
    assert len(client.series_of_study(study)) == 3


def test_downloads_an_instance(client: OrthancClient, series: tuple[Dataset, ...]) -> None:
    """The downloaded file holds the instance's pixels."""
    found = client.find_series(series[0].SeriesInstanceUID)
    assert found is not None
    ds = pydicom.dcmread(io.BytesIO(client.download(found.instances[0])))
    (original,) = [item for item in series if item.SOPInstanceUID == ds.SOPInstanceUID]
    assert ds.PixelData == original.PixelData


def test_uploads_a_file_once(client: OrthancClient, tmp_path: Path) -> None:
    """Uploading the same file twice gives the same instance."""
    (path, *_) = phantom.save(small_series(), tmp_path)
    assert client.upload(path) == client.upload(path)


def test_refuses_to_upload_what_is_no_dicom(client: OrthancClient, tmp_path: Path) -> None:
    """A file that Orthanc refuses is the file's fault, not the peer's: no retry."""
    path = tmp_path / "letter.dcm"
    path.write_text("Dear colleague")
    with pytest.raises(Rejected, match="400"):
        client.upload(path)


def test_lists_the_peers_that_orthanc_knows(client: OrthancClient) -> None:
    assert client.modalities() == ("candela",)


@pytest.mark.parametrize(("calling_ae", "expected"), [("CANDELA", [4]), ("STRANGER", None)])
def test_candela_alone_may_query(
    peer: OrthancPeer, series: tuple[Dataset, ...], calling_ae: str, expected: list[int] | None
) -> None:
    """The shipped configuration lets Candela ask by C-FIND how many instances a series has, and nobody else."""
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID = series[0].StudyInstanceUID
    query.SeriesInstanceUID = series[0].SeriesInstanceUID
    query.NumberOfSeriesRelatedInstances = None
    ae = Requestor(calling_ae)
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    assoc = ae.associate("127.0.0.1", peer.dicom_port, ae_title=peer.ae_title)
    found = None
    if assoc.is_established:
        answers = list(assoc.send_c_find(query, StudyRootQueryRetrieveInformationModelFind))
        found = [answer.NumberOfSeriesRelatedInstances for _, answer in answers if answer] or None
        assoc.release()
    assert found == expected


def test_further_settings_of_orthanc(peer: OrthancPeer) -> None:
    """Settings beside the shipped ones reach Orthanc, as the shipped ones do."""
    answer = httpx.get(f"{peer.url}/peers", auth=("candela", PASSWORD), trust_env=False)
    assert answer.json() == ["archive"]


def test_wrong_password(peer: OrthancPeer, series: tuple[Dataset, ...]) -> None:
    """A wrong password is said to be one; a count is then unknown, which is no error."""
    with OrthancClient(peer.url, "candela", "wrong") as stranger:
        with pytest.raises(Rejected, match="password"):
            stranger.modalities()
        assert stranger.instances_of_series(series[0].SeriesInstanceUID) is None


def test_orthanc_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    """An Orthanc that is down is a reason to try again; a count is unknown; the log names neither UID nor patient."""
    uid = "1.2.840.99.1"
    with OrthancClient(f"http://127.0.0.1:{free_port()}") as nobody:
        with pytest.raises(PeerUnavailable, match="cannot be reached"):
            nobody.modalities()
        assert nobody.instances_of_series(uid) is None
    assert "PEER_UNAVAILABLE" in caplog.text
    assert uid not in caplog.text
