"""Which SOP classes are taken, from every kind of sender: all that store, retired ones too, private ones by setting."""

from __future__ import annotations

import copy
import itertools
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from pydantic import ValidationError
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]  # made at import

from dicom_node.receive.storage_classes import storage_classes
from dicom_node.settings.receive import Receive, Stow
from pipeline import phantom
from pipeline.findings.model import Outcome
from tests.peers.dcmtk import require_dcmtk, running_storescp, storescu
from tests.peers.node import Node as WholeNode
from tests.peers.ports import free_port
from tests.peers.receiver import Node, association, context_of, running_receiver, send
from tests.peers.stow import store, uids
from tests.peers.upper_layer import EXPLICIT, Request, calling, context

PHILIPS: Final = "1.3.46.670589.11.0.0.12.2"
SIEMENS_ROOT: Final = "1.3.12.2.1107.5.9"
SIEMENS: Final = f"{SIEMENS_ROOT}.1"
GE: Final = "1.2.840.113619.4.30"
ULTRASOUND: Final = "1.2.840.10008.5.1.4.1.1.6"
OVERLAY: Final = "1.2.840.10008.5.1.4.1.1.8"
NO_PATIENT: Final = {
    "1.2.840.10008.5.1.4.38.1": "hanging protocol",
    "1.2.840.10008.5.1.4.39.1": "colour palette",
    "1.2.840.10008.5.1.4.43.1": "generic implant template",
    "1.2.840.10008.5.1.4.44.1": "implant assembly template",
    "1.2.840.10008.5.1.4.45.1": "implant template group",
    "1.2.840.10008.5.1.4.1.1.200.1": "CT defined procedure protocol",
    "1.2.840.10008.5.1.4.1.1.200.3": "protocol approval",
    "1.2.840.10008.5.1.4.1.1.200.7": "XA defined procedure protocol",
    "1.2.840.10008.5.1.4.1.1.201.1": "inventory",
}
_keys = itertools.count()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    allowed = (PHILIPS, SIEMENS_ROOT)
    stow = Stow(port=free_port())
    with running_receiver(tmp_path_factory.mktemp("classes"), private_storage_classes=allowed, stow=stow) as running:
        yield running


def of_class(sop_class: str, count: int = 2) -> tuple[Dataset, ...]:
    """A series whose instances say that they are of ``sop_class``."""
    header = phantom.Header(key=f"class/{next(_keys)}")
    series = copy.deepcopy(phantom.head_phantom(slices=count, matrix=16, header=header))
    for ds in series:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    return series


def accepted(port: int, classes: list[str]) -> set[str]:
    """The classes whose presentation contexts a peer accepts; 100 for each association."""
    found: set[str] = set()
    for start in range(0, len(classes), 100):
        some = classes[start : start + 100]
        numbered = {2 * place + 1: name for place, name in enumerate(some)}
        with calling(port) as caller:
            answer = caller.ask(
                Request(contexts=[context(n, name.encode(), [EXPLICIT]) for n, name in numbered.items()])
            )
            assert answer.kind == "AC"
            found |= {numbered[number] for number, result in answer.contexts.items() if result == 0}
            caller.release()
    return found


def completes(node: Node, series: tuple[Dataset, ...]) -> bool:
    """Whether the series is dispatched whole; a busy machine may have handed its first instance over before."""
    name = series[0].SeriesInstanceUID
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if any(one.series_instance_uid == name and len(one.instances) == len(series) for one in node.taken):
            return True
        time.sleep(0.05)
    return False


def test_every_storage_class_that_dcmtk_knows_is_taken(node: Node, tmp_path: Path) -> None:
    """But for those that belong to no patient."""
    require_dcmtk()
    known = [uid for uid, (name, kind, *_) in UID_dictionary.items() if kind == "SOP Class" and "Verif" not in name]
    with running_storescp(tmp_path / "scp", ae_title="CANDELA") as port:
        theirs = accepted(port, known)
    ours = accepted(node.port, known)
    retired = {uid for uid in ours if UID_dictionary[uid][3]}
    assert theirs - ours - set(NO_PATIENT) == set()
    assert not ours & set(NO_PATIENT)
    assert len(retired) >= 22
    assert {ULTRASOUND, OVERLAY, "1.2.840.10008.5.1.1.27"} <= retired
    assert ours - {StorageCommitmentPushModel} == set(storage_classes()) & set(known)


def test_nothing_that_is_not_for_storage_is_taken(node: Node) -> None:
    """Print, worklist, query, commitment by pull, media directories, private classes that no setting names."""
    others = ["1.2.840.10008.1.20.2", "1.2.840.10008.1.3.10", "1.2.840.10008.5.1.1.9", "1.2.840.10008.5.1.4.31"]
    query = ["1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.1.200.4", GE, f"{PHILIPS}2", "1.3.12.2.1107.5.91"]
    assert accepted(node.port, [*others, *query, PHILIPS, SIEMENS, SIEMENS_ROOT]) == {PHILIPS, SIEMENS, SIEMENS_ROOT}


@pytest.mark.parametrize("sop_class", [ULTRASOUND, OVERLAY, PHILIPS, SIEMENS])
def test_each_sender_stores_retired_and_private_classes(node: Node, tmp_path: Path, sop_class: str) -> None:
    """Pynetdicom, dcmtk's storescu and dcmsend, and STOW-RS; each series is stored and completes."""
    series = of_class(sop_class)
    assert send(node.port, series) == [0, 0]
    assert completes(node, series)
    by_stow = of_class(sop_class)
    assert node.settings.receive.stow is not None
    answer = store(node.settings.receive.stow.port, by_stow)
    assert (answer.status_code, len(uids(answer))) == (200, 2)
    assert completes(node, by_stow)
    require_dcmtk()
    senders = (_storescu, _dcmsend) if sop_class in UID_dictionary else (_dcmsend,)  # storescu knows no private class
    for number, sender in enumerate(senders):
        by_dcmtk = of_class(sop_class)
        assert sender(phantom.save(by_dcmtk, tmp_path / str(number)), node.port) == 0
        assert completes(node, by_dcmtk)


def _storescu(paths: tuple[Path, ...], port: int) -> int:
    return storescu(paths, port, "-R").returncode  # proposes what the files need


def _dcmsend(paths: tuple[Path, ...], port: int) -> int:
    command = ["dcmsend", "-v", "-aet", "MODALITY", "-aec", "CANDELA", "--no-uid-checks", "127.0.0.1", str(port)]
    return subprocess.run([*command, *map(str, paths)], capture_output=True, timeout=60, check=False).returncode


def test_a_private_class_without_a_setting_is_refused_and_named_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only its presentation context: what else is sent by the association is taken. A reload lets it in."""
    private, usual = of_class(GE), phantom.head_phantom(slices=1, matrix=16, header=phantom.Header(key="usual"))
    contexts = [context_of(private[0]), context_of(usual[0])]
    with running_receiver(tmp_path) as node:
        with association(node.port, contexts) as assoc:
            assert [str(refused.abstract_syntax) for refused in assoc.rejected_contexts] == [GE]
            assert assoc.send_c_store(usual[0]).Status == 0
        assert f"classes={GE}" in capsys.readouterr().err
        settings = node.settings
        allowed = settings.receive.model_copy(update={"private_storage_classes": ("1.2.840.113619",)})
        node.receiver.reload(settings.model_copy(update={"receive": allowed}))
        assert send(node.port, private) == [0, 0]


@pytest.mark.parametrize(
    "root", ["1", "1.2.840", "1.2.840.10008", "1.2.840.10008.5.1.4.1.1.4", "1..2", "GE", "1." * 40]
)
def test_a_root_that_lets_in_anything_is_no_setting(root: str) -> None:
    with pytest.raises(ValidationError, match=r"of DICOM itself|not a UID"):
        Receive(private_storage_classes=(root,))


@pytest.mark.nightly
def test_what_no_model_reads_ends_in_a_typed_refusal(tmp_path: Path) -> None:
    """A retired class by C-STORE and a private one by STOW-RS, both of Modality MR, through the whole node."""
    port = free_port()
    retired, private = of_class(ULTRASOUND), of_class(GE)
    with WholeNode(tmp_path, {}, peers=f"[receive.stow]\nport = {port}") as node:
        assert send(node.port, retired) == [0, 0]
        assert store(port, private).status_code == 200
        jobs = node.wait_for_jobs(2)
        assert [job.outcome for job in jobs] == [Outcome.REFUSED] * 2
        codes = {job.result.refusal_code for job in jobs if job.result is not None}
        assert codes <= {"NOT_IMAGE", "NOT_VOLUME", "UNSUPPORTED_PROTOCOL"}, codes
        assert "Traceback" not in node.log.read_text()
