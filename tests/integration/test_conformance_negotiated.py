"""What dcmtk's tools negotiate with the node, in both directions, is what the node states."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicom_node.commands.dicom import echo
from dicom_node.deliver.dimse import DimseSender
from dicom_node.network.find import finding
from dicom_node.settings.destinations import DicomDestination
from dicom_node.settings.peers import DicomPeer
from dicom_node.settings.remotes import DicomRemote
from dicom_node.store.instance_store import IMPLEMENTATION_CLASS_UID, implementation_version
from pipeline.errors import Rejected
from tests.conftest import ROOT
from tests.peers.dcmtk import echoscu, require_dcmtk, running_storescp
from tests.peers.engine_worker import capture
from tests.peers.receiver import Node, running_receiver

ANNOUNCED = (IMPLEMENTATION_CLASS_UID, implementation_version())


@pytest.fixture(scope="module", autouse=True)
def _dcmtk() -> None:
    require_dcmtk()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_receiver(tmp_path_factory.mktemp("node")) as running:
        yield running


def peer(port: int) -> DicomPeer:
    return DicomPeer(ae_title="STORESCP", host="127.0.0.1", port=port)


def send(folder: Path, port: int) -> None:
    file = capture(folder / "sent.dcm", sop_instance_uid="1.2.3.1", series_instance_uid="1.2.3")
    DimseSender(DicomDestination(kind="dicom", peer=peer(port), timeout=20), "CANDELA").send((file,))


def find(_: Path, port: int) -> None:
    remote = DicomRemote(kind="dicom", peer=peer(port), timeout=20)
    with pytest.raises(Rejected), finding(remote, "CANDELA"):  # storescp has no C-FIND: the association is what counts
        pass


def implementation(said: str) -> tuple[str, str]:
    """What dcmtk, at ``-d``, says of the other side's Implementation Class UID and Version Name."""
    found = [re.findall(rf"Their Implementation {what}: *(\S+)", said)[-1] for what in ("Class UID", "Version Name")]
    return found[0], found[1]


def test_the_listener_announces_the_implementation(node: Node) -> None:
    assert implementation(echoscu(node.port, "-d").stdout) == ANNOUNCED


@pytest.mark.parametrize("call", [send, find, lambda _, port: echo(f"STORESCP@127.0.0.1:{port}")])
def test_the_node_announces_the_same_where_it_calls(call: Callable[[Path, int], None], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running_storescp(tmp_path / "pacs", None, "-d", log=log) as port:
        call(tmp_path, port)
    assert implementation(log.read_text(errors="replace")) == ANNOUNCED


def test_every_association_is_made_by_the_one_that_announces_it() -> None:
    """pynetdicom's ``AE`` announces pynetdicom."""
    makers = [path for path in (ROOT / "dicom_node").rglob("*.py") if re.search(r"\bAE\(", path.read_text())]
    assert makers == [ROOT / "dicom_node" / "network" / "entity.py"]
