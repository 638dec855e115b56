"""A real Orthanc with the configuration that ships, and something that receives like Candela."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pynetdicom.sop_class import Verification

from dicom_node.network.requestor import Requestor
from orthanc.local import CONFIG, LocalOrthanc, missing_packages
from pipeline import phantom
from tests.peers.pacs import Pacs
from tests.peers.ports import free_port


def orthanc_available() -> bool:
    """Whether Debian's Orthanc and the plugins that the configuration needs are installed."""
    return not missing_packages()


def require_orthanc() -> None:
    if not orthanc_available():
        pytest.skip(f"no Orthanc here: apt-get install {' '.join(missing_packages())}")


@dataclass
class OrthancPeer(LocalOrthanc):
    """`LocalOrthanc` with what tests ask of it. At exit it is killed: an end in order takes three seconds."""

    def __exit__(self, *_: object) -> None:
        self.kill()

    def upload(self, paths: Iterable[Path]) -> list[str]:
        """Store files by REST; Orthanc's instance identifiers."""
        with self.client() as client:
            return [client.upload(path) for path in paths]

    def series(self) -> dict[str, int]:
        """Instances held, by Series Instance UID."""
        found = httpx.get(f"{self.url}/series?expand", trust_env=False).json()
        return {item["MainDicomTags"]["SeriesInstanceUID"]: len(item["Instances"]) for item in found}

    def commitment(self, instances: Iterable[tuple[str, str]], seconds: float = 60) -> dict[str, Any]:
        """Ask Candela whether it keeps ``instances`` (SOP class and instance UID); Orthanc's account of the answer."""
        named = [{"SOPClassUID": sop_class, "SOPInstanceUID": instance} for sop_class, instance in instances]
        url = f"{self.url}/modalities/candela/storage-commitment"
        answer = httpx.post(url, json={"DicomInstances": named}, trust_env=False).raise_for_status().json()
        deadline = time.monotonic() + seconds
        while True:
            report: dict[str, Any] = httpx.get(f"{self.url}{answer['Path']}", trust_env=False).json()
            if report["Status"] != "Pending":
                return report
            assert time.monotonic() < deadline, "Orthanc heard no report"
            time.sleep(0.2)

    def waiting(self) -> list[dict[str, Any]]:
        """The series that candela_route.py has not got rid of yet."""
        rows: list[dict[str, Any]] = httpx.get(f"{self.url}/candela/waiting", trust_env=False).json()["Waiting"]
        return rows

    def settle(self, seconds: float = 30) -> None:
        """Wait until Orthanc has looked at all that it got and nothing waits for Candela."""
        deadline = time.monotonic() + seconds
        calm = 0
        while calm < 3:  # an instance just stored is seen a moment later
            assert time.monotonic() < deadline, f"still waiting: {self.waiting()}"
            calm = 0 if self.waiting() else calm + 1
            time.sleep(0.5)


@contextmanager
def running_orthanc(
    folder: Path,
    *,
    candela_port: int,
    candela_ae: str = "CANDELA",
    stable_age: int = 1,
    plugins: bool = True,
    extra: Mapping[str, Any] | None = None,
    configuration: Path = CONFIG,
) -> Iterator[OrthancPeer]:
    """An Orthanc on free ports, data in ``folder``, that sends stable series to ``candela_port``; stopped at exit."""
    require_orthanc()
    peer = OrthancPeer(
        folder,
        http_port=free_port(),
        dicom_port=free_port(),
        candela_port=candela_port,
        candela_ae=candela_ae,
        stable_age=stable_age,
        plugins=plugins,
        extra=extra or {},
        configuration=configuration,
        environment={"ORTHANC_CANDELA_FIRST_RETRY": "1", "ORTHANC_CANDELA_LONGEST_RETRY": "2"},
    )
    with peer:
        yield peer


class CandelaReceiver(Pacs):
    """Receives and counts as `Pacs` does, and answers C-ECHO."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._ae.add_supported_context(Verification)

    def has(self, datasets: Iterable[Dataset]) -> bool:
        """Whether every one of ``datasets`` arrived."""
        return all(self.stored[ds.SOPInstanceUID] for ds in datasets)

    def await_all(self, datasets: Iterable[Dataset], seconds: float = 30) -> None:
        wanted = list(datasets)
        wait_until(lambda: self.has(wanted), seconds, "the series did not arrive")


def wait_until(holds: Callable[[], bool], seconds: float, complaint: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.1)


_serial = itertools.count(1)


def small_series(*, slices: int = 3, modality: str = "MR", **tags: Any) -> tuple[Dataset, ...]:
    """A tiny MR series of its own study, each call another; ``tags`` are set on every instance."""
    header = phantom.Header(key=f"orthanc-{next(_serial)}")
    datasets = phantom.head_phantom(slices=slices, matrix=32, header=header)
    for ds in datasets:
        ds.Modality = modality
        for keyword, value in tags.items():
            setattr(ds, keyword, value)
    return datasets


def store(peer: OrthancPeer, datasets: Iterable[Dataset], *, calling_ae: str = "SCANNER") -> None:
    """C-STORE ``datasets`` to Orthanc as ``calling_ae``."""
    wanted = list(datasets)
    ae = Requestor(calling_ae)
    for name in {ds.SOPClassUID for ds in wanted}:
        ae.add_requested_context(name, wanted[0].file_meta.TransferSyntaxUID)
    assoc = ae.associate("127.0.0.1", peer.dicom_port, ae_title=peer.ae_title)
    assert assoc.is_established
    statuses = [assoc.send_c_store(ds).Status for ds in wanted]
    assoc.release()
    assert statuses == [0x0000] * len(wanted)
