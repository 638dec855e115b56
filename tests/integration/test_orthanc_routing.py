"""Orthanc with candela_route.py sends what Candela should read, until Candela has it. Real Orthanc, real C-STORE."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.dataset import Dataset

from orthanc.local import CONFIG, SCRIPT
from pipeline import phantom
from pipeline.errors import PeerUnavailable
from pipeline.findings import codes
from pipeline.findings.own_results import CREATOR_UID, is_own_result
from pipeline.results.provenance import code_item
from tests.conformance.synthetic import build_all, phantom_context
from tests.peers.orthanc import (
    CandelaReceiver,
    OrthancPeer,
    require_orthanc,
    running_orthanc,
    small_series,
    store,
    wait_until,
)
from tests.peers.ports import free_port

REFUSED = 0xC000
spoiled: set[str] = set()
"""SOP Instance UIDs that the receiver refuses."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[CandelaReceiver]:
    require_orthanc()
    with CandelaReceiver(
        answer=lambda event: REFUSED if event.request.AffectedSOPInstanceUID in spoiled else 0x0000
    ) as candela:
        yield candela


@pytest.fixture(scope="module")
def orthanc(receiver: CandelaReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancPeer]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), candela_port=receiver.port) as peer:
        yield peer


def counts(receiver: CandelaReceiver, datasets: tuple[Dataset, ...]) -> list[int]:
    return [receiver.stored[ds.SOPInstanceUID] for ds in datasets]


def test_a_stable_series_reaches_candela_once(orthanc: OrthancPeer, receiver: CandelaReceiver) -> None:
    """What a scanner stores in Orthanc arrives whole, bit for bit in its pixels, one time."""
    series = small_series()
    store(orthanc, series)
    receiver.await_all(series)
    orthanc.settle()
    assert counts(receiver, series) == [1, 1, 1]
    arrived = {event.dataset.SOPInstanceUID: event.dataset for event in receiver.received}
    assert arrived[series[0].SOPInstanceUID].PixelData == series[0].PixelData


def test_a_late_slice_sends_the_series_again(orthanc: OrthancPeer, receiver: CandelaReceiver) -> None:
    """A slice that comes after the series was sent is not kept from Candela; nothing further is sent after it."""
    series = small_series(slices=4)
    store(orthanc, series[:3])
    receiver.await_all(series[:3])
    store(orthanc, series[3:])
    receiver.await_all(series)
    orthanc.settle()
    assert counts(receiver, series) == [2, 2, 2, 1]


MARKS = {"Manufacturer": "Candela", "SoftwareVersions": ["0.4.0", "0123456789abcdef"]}


def contributed(**tags: Any) -> list[Dataset]:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(codes.PROCESSING_EQUIPMENT)]
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return [item]


KEPT = {
    "stored by Candela's AE": ("CANDELA", {}),
    "names Candela as contributing equipment": (
        "OTHERPACS",
        {"ContributingEquipmentSequence": contributed(**MARKS)},
    ),
    "created by Candela": ("OTHERPACS", {"InstanceCreatorUID": CREATOR_UID}),
    "names Candela and a model's digest": ("OTHERPACS", MARKS),
    "named and described as an AI result": (
        "OTHERPACS",
        {"Manufacturer": "Candela", "SeriesDescription": "AI overlay for review, not for diagnosis"},
    ),
    "of a modality that is not sent": ("SCANNER", {"modality": "SR"}),
}


def test_results_are_not_bounced(orthanc: OrthancPeer, receiver: CandelaReceiver) -> None:
    """Candela's own objects, whichever way they came back, and modalities that nobody asked for stay in Orthanc."""
    results = {what: small_series(**tags) for what, (_, tags) in KEPT.items()}
    for what, (calling_ae, _) in KEPT.items():
        store(orthanc, results[what], calling_ae=calling_ae)
    after = small_series()
    store(orthanc, after)
    receiver.await_all(after)  # it came later, so the results' turn is over
    orthanc.settle()
    for what, result in results.items():
        assert counts(receiver, result) == [0, 0, 0], what
        assert orthanc.series()[result[0].SeriesInstanceUID] == 3, what


def test_the_pipelines_own_results_are_not_bounced(
    orthanc: OrthancPeer, receiver: CandelaReceiver, tmp_path: Path
) -> None:
    """Every kind of result, as the pipeline builds them, is known even if a PACS calls it MR."""
    made = build_all(phantom_context())
    results = [item.dataset for item in made]
    for ds in results:
        ds.Modality = "MR"
    orthanc.upload(phantom.save(results, tmp_path))
    after = small_series()
    store(orthanc, after)
    receiver.await_all(after)
    orthanc.settle()
    assert len({ds.SeriesInstanceUID for ds in results}) == len({item.role for item in made}) > 3
    assert sum(receiver.stored[ds.SOPInstanceUID] for ds in results) == 0


def test_results_that_orthanc_rewrote_are_known(orthanc: OrthancPeer, tmp_path: Path) -> None:
    """Orthanc's modification replaces the manufacturer, drops sequences, gives new UIDs; its anonymisation more."""
    made = [item.dataset for item in build_all(phantom_context())]
    gone = ["ContributingEquipmentSequence", "SeriesDescription"]
    changes = {
        "modify": {"Replace": {"Manufacturer": "Acme"}, "Remove": gone, "Force": True},
        "anonymize": {"Force": True},
    }
    for identifier in orthanc.upload(phantom.save(made, tmp_path)):
        for how, change in changes.items():
            url = f"{orthanc.url}/instances/{identifier}/{how}"
            answer = httpx.post(url, json=change, trust_env=False, timeout=60).raise_for_status()
            ds = pydicom.dcmread(io.BytesIO(answer.content))
            assert ds.SOPInstanceUID not in {item.SOPInstanceUID for item in made}
            assert is_own_result(ds), (how, ds.SOPClassUID.name)


def test_an_air_coil_is_no_ai_result(orthanc: OrthancPeer, receiver: CandelaReceiver) -> None:
    """A scanner's description that begins with the letters AI, another maker's equipment, a maker called Candela."""
    for series in (
        small_series(
            SeriesDescription="AIR T1 for review", ContributingEquipmentSequence=contributed(Manufacturer="Acme")
        ),
        small_series(Manufacturer="Candela", SoftwareVersions="2.1"),
    ):
        store(orthanc, series)
        receiver.await_all(series)


def test_a_series_that_is_refused_does_not_hold_back_others(orthanc: OrthancPeer, receiver: CandelaReceiver) -> None:
    """Candela refuses one series; the next goes through, the refused one is tried again and shown as waiting."""
    refused, other = small_series(), small_series()
    spoiled.add(refused[0].SOPInstanceUID)
    store(orthanc, refused)
    wait_until(lambda: any(row["Failures"] for row in orthanc.waiting()), 30, "no failure was seen")
    store(orthanc, other)
    receiver.await_all(other)
    (row,) = [row for row in orthanc.waiting() if row["Failures"]]
    assert row["LastError"]
    assert not receiver.has(refused)
    spoiled.clear()
    receiver.await_all(refused)
    orthanc.settle()


@pytest.mark.slow
def test_candela_down_then_up(tmp_path: Path) -> None:
    """Series that became stable while Candela was down arrive when it is up again, also after Orthanc was restarted."""
    candela = CandelaReceiver()
    first, second = small_series(), small_series()
    with running_orthanc(tmp_path, candela_port=candela.port) as orthanc:
        orthanc.upload(phantom.save(first, tmp_path / "first"))
        wait_until(lambda: any(row["Failures"] for row in orthanc.waiting()), 30, "no send was tried")
        orthanc.stop()
        orthanc.start()
        orthanc.upload(phantom.save(second, tmp_path / "second"))
        wait_until(lambda: len(orthanc.waiting()) == 2, 10, "a series was forgotten")
        with candela:
            candela.await_all((*first, *second))
            orthanc.settle()
            orthanc.stop()
            orthanc.start()
            orthanc.settle()
            assert counts(candela, first) == [1, 1, 1]


def test_orthanc_killed_before_the_series_was_stable(tmp_path: Path) -> None:
    """Orthanc forgets at its end which series were not stable yet; the script does not."""
    series = small_series()
    with CandelaReceiver() as candela, running_orthanc(tmp_path, candela_port=candela.port, stable_age=4) as orthanc:
        orthanc.upload(phantom.save(series, tmp_path / "files"))
        orthanc.kill()
        assert not candela.has(series)
        orthanc.start()
        candela.await_all(series)


@pytest.mark.slow
def test_what_was_in_the_archive_before_stays_there(tmp_path: Path) -> None:
    """Installing the script on a full archive does not send the archive to Candela."""
    old, new = small_series(), small_series()
    with CandelaReceiver() as candela, running_orthanc(tmp_path, candela_port=candela.port, plugins=False) as orthanc:
        orthanc.upload(phantom.save(old, tmp_path / "old"))
        wait_until(lambda: _stable(orthanc, old), 20, "Orthanc does not call the series stable")
        orthanc.stop()
        orthanc.plugins = True
        orthanc.start()
        orthanc.upload(phantom.save(new, tmp_path / "new"))
        candela.await_all(new)
        orthanc.settle()
        assert counts(candela, old) == [0, 0, 0]


def test_a_misspelt_setting_stops_orthanc_at_its_start(tmp_path: Path) -> None:
    """A typo in CandelaRoute is seen at once, by name, in Orthanc's log, not by series that never arrive."""
    require_orthanc()
    shutil.copytree(CONFIG, tmp_path / "config")
    file = tmp_path / "config" / "candela.json"
    file.write_text(file.read_text().replace('"Modalities"', '"Modalitys"'))
    ports = {"http_port": free_port(), "dicom_port": free_port(), "candela_port": free_port()}
    orthanc = OrthancPeer(tmp_path / "data", **ports, configuration=tmp_path / "config")
    with pytest.raises(PeerUnavailable, match="log"):
        orthanc.start()
    assert "CandelaRoute.Modalitys: there is no such setting" in orthanc.log.read_text()


def test_beside_a_script_of_the_hospital(tmp_path: Path) -> None:
    """Orthanc takes one script and one callback; another script can import this one and pass changes on."""
    own = tmp_path / "hospital.py"
    own.write_text(
        f"""
import sys
sys.path.insert(0, {str(SCRIPT.parent)!r})
import candela_route, orthanc
def on_change(kind, level, resource):
    candela_route.on_change(kind, level, resource)
orthanc.RegisterOnChangeCallback(on_change)
"""
    )
    series = small_series()
    ports = {"http_port": free_port(), "dicom_port": free_port()}
    require_orthanc()
    with CandelaReceiver() as candela:
        ports["candela_port"] = candela.port
        with OrthancPeer(tmp_path / "data", **ports, environment={"ORTHANC_CANDELA_SCRIPT": str(own)}) as orthanc:
            orthanc.upload(phantom.save(series, tmp_path / "files"))
            candela.await_all(series)


def _stable(orthanc: OrthancPeer, series: tuple[Dataset, ...]) -> bool:
    with orthanc.client() as client:
        return client.is_stable(series[0].SeriesInstanceUID)
