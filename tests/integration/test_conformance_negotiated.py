"""What dcmtk's tools negotiate with the node, in both directions, is what the node states."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread, uid
from pydicom.uid import UID

from dicom_node.commands.dicom import echo
from dicom_node.conformance.tables import encoded_as, proposed, requested
from dicom_node.deliver.dimse import DimseSender
from dicom_node.fetch.dimse import DimseSource
from dicom_node.fetch.sinks import FolderSink
from dicom_node.network.find import finding
from dicom_node.network.found import FoundSeries
from dicom_node.settings.destinations import DicomDestination
from dicom_node.settings.peers import DicomPeer
from dicom_node.settings.remotes import DicomRemote
from dicom_node.store.instance_store import IMPLEMENTATION_CLASS_UID, implementation_version
from pipeline.errors import Rejected
from pipeline.results.profile import PRESETS
from tests.conftest import ROOT
from tests.peers.dcmtk import echoscu, findscu, require_dcmtk, running_dcmqrscp, running_storescp, storescu
from tests.peers.engine_worker import capture
from tests.peers.receiver import Node, running_receiver

STATEMENT = (ROOT / "docs" / "conformance.md").read_text()
OVERVIEW = STATEMENT[STATEMENT.index("## 1 ") : STATEMENT.index("## 2 ")]
SYNTAXES = [
    UID(item) for item in re.findall(r"^\| [^|]+ \| `(1\.2\.840\.10008\.1\.2[.0-9]*)` \|$", OVERVIEW, re.MULTILINE)
]
"""Those that the statement says that the node accepts, in its order."""
DCMTK = {
    "LittleEndianImplicit": uid.ImplicitVRLittleEndian,
    "LittleEndianExplicit": uid.ExplicitVRLittleEndian,
    "BigEndianExplicit": uid.ExplicitVRBigEndian,
    "DeflatedLittleEndianExplicit": uid.DeflatedExplicitVRLittleEndian,
    "JPEGBaseline": uid.JPEGBaseline8Bit,
    "JPEGExtended:Process2+4": uid.JPEGExtended12Bit,
    "JPEGLossless:Non-hierarchical-1stOrderPrediction": uid.JPEGLosslessSV1,
    "JPEGLSLossless": uid.JPEGLSLossless,
    "JPEGLSLossy": uid.JPEGLSNearLossless,
    "JPEG2000LosslessOnly": uid.JPEG2000Lossless,
    "JPEG2000": uid.JPEG2000,
    "RLELossless": uid.RLELossless,
    "MPEG2MainProfile@MainLevel": uid.MPEG2MPML,
    "HEVCMainProfile/Level5.1": uid.HEVCMP51,
}
"""Transfer syntaxes by the names that dcmtk's tools print."""
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
    """pynetdicom's ``AE`` announces pynetdicom, and so does ours on its own."""
    made = re.compile(r"^(?!class ).*\b(AE|Requestor)\(", re.MULTILINE)
    makers = [path for path in (ROOT / "dicom_node").rglob("*.py") if made.search(path.read_text())]
    assert makers == [ROOT / "dicom_node" / "network" / "entity.py"]


def contexts(said: str) -> Iterator[tuple[list[UID], UID | None]]:
    """Each presentation context that dcmtk, at ``-d``, shows: the syntaxes proposed, and the one accepted."""
    blocks = (re.findall(rf"BEGIN A-ASSOCIATE-{pdu} .*?END A-ASSOCIATE-{pdu}", said, re.DOTALL) for pdu in ("RQ", "AC"))
    # A connection that requests nothing, by which the tests see that dcmtk listens, is shown as an empty request.
    asked, answered = (
        re.split(r"Context ID: +", [text for text in found if "Context ID" in text][-1]) for found in blocks
    )
    answers = {text.split()[0]: re.findall(r"Accepted Transfer Syntax: =(\S+)", text) for text in answered[1:]}
    for text in asked[1:]:
        names = re.findall(r"^D: +=([^=\s]\S*)$", text[text.index("Proposed Transfer Syntax") :], re.MULTILINE)
        accepted = answers[text.split()[0]]
        yield [DCMTK[name] for name in names], DCMTK[accepted[0]] if accepted else None


@pytest.mark.parametrize("option", ["-xs", "-xy", "-xx", "-xv", "-xw", "-xt", "-xu", "-xr", "-xm", "-x4"])
def test_storescu_gets_the_first_stated_syntax_of_those_that_it_proposes(
    option: str, node: Node, tmp_path: Path
) -> None:
    """And none of those that are not stated: the context of a video is refused."""
    file = capture(tmp_path / "sent.dcm", sop_instance_uid="1.2.3.1", series_instance_uid="1.2.3")
    answered = list(contexts(storescu([file], node.port, "-d", option).stdout))
    assert len(answered) >= 1
    for offered, accepted in answered:
        assert accepted == next((item for item in SYNTAXES if item in offered), None)
    special = answered[0][0][0]
    assert special in DCMTK.values()
    assert (answered[0][1] is None) == (option in ("-xm", "-x4")) == (special not in SYNTAXES)
    uncompressed = [accepted for offered, accepted in answered if len(offered) > 1]
    assert set(uncompressed) <= {uid.ExplicitVRLittleEndian}  # which keeps the VRs of private attributes


def test_storescp_is_offered_the_syntaxes_that_are_stated(tmp_path: Path) -> None:
    """A compressed overlay of the profile ``archive``, to a Storage SCP that takes every syntax of dcmtk."""
    archive = PRESETS["archive"]
    file = capture(tmp_path / "sent.dcm", sop_instance_uid="1.2.3.1", series_instance_uid="1.2.3")
    ds = dcmread(file)
    ds.compress(encoded_as("overlay", archive), generate_instance_uid=False)
    ds.save_as(file)
    log = tmp_path / "log"
    with running_storescp(tmp_path / "pacs", None, "-d", "+xa", log=log) as port:
        DimseSender(DicomDestination(kind="dicom", peer=peer(port), timeout=20), "CANDELA").send((file,))
    stated = [syntax for _, syntax in proposed("overlay", archive)]
    said = log.read_text(errors="replace")
    answered = list(contexts(said))
    assert answered == [([syntax], syntax) for syntax in stated]
    (row,) = re.findall(r"^\| `archive` \| [^|]*overlay[^|]* \| (.*) \|$", OVERVIEW, re.MULTILINE)
    assert row == "; ".join(syntax.name for syntax in stated)


def test_findscu_finds_no_service_as_the_statement_says(node: Node) -> None:
    said = findscu(node.port, "-d", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=").stdout
    assert [accepted for _, accepted in contexts(said)] == [None]
    assert "| Query/Retrieve: C-FIND, C-MOVE, C-GET | yes | no |" in OVERVIEW


def test_dcmqrscp_is_asked_for_the_models_and_syntaxes_that_are_stated(tmp_path: Path) -> None:
    """By C-FIND, and by C-GET with the node as SCP of the storage classes."""
    log = tmp_path / "log"
    with running_dcmqrscp(tmp_path / "pacs", args=["-d"], log=log) as pacs:
        known = DicomPeer(ae_title=pacs.ae_title, host="127.0.0.1", port=pacs.port)
        source = DimseSource(DicomRemote(kind="dicom", peer=known, timeout=20), "CANDELA", "CANDELA")
        source.retrieve(FoundSeries("1.2.3", "1.2.3.4", "MR", 1), FolderSink(tmp_path / "out"))
    rows = [row.split(" | ") for row in requested()]
    asked = re.findall(r"BEGIN A-ASSOCIATE-RQ .*?END A-ASSOCIATE-RQ", log.read_text(errors="replace"), re.DOTALL)
    asked = [text for text in asked if re.search(r"Calling Application Name: +CANDELA", text)]  # not the port's probe
    assert len(asked) == 2
    for text, service in zip(asked, ("FIND", "GET"), strict=True):
        (row,) = (row for row in rows if row[0].endswith(f"- {service}"))
        assert " | ".join(row) in STATEMENT
        for context in re.split(r"Context ID: +", text)[1:]:
            (name,) = re.findall(r"Abstract Syntax: =(\S+)", context)
            syntaxes = [DCMTK.get(item, UID(item)) for item in re.findall(r"^D: {7}=?(\S+)$", context, re.MULTILINE)]
            if name.startswith(service):
                assert {item.name for item in syntaxes} == set(row[1].split(", "))
                assert "Role: Default" in context
            else:
                assert service == "GET"
                assert len(syntaxes) == 1
                assert syntaxes[0] in SYNTAXES
                assert "Role: SCP" in context
        found = re.findall(rf"=({service}\S+)Query", text)
        assert found == [f"{service}StudyRoot", f"{service}PatientRoot"]
