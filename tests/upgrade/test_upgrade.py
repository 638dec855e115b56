"""A node of an earlier release was killed; this one finishes its work. And a backup of this one is gone on with."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

import pytest

from dicom_node.jobs.status import JobState
from dicom_node.settings.tree import load
from pipeline import phantom
from tests.conftest import ROOT
from tests.peers.node import Node, dicom_destination
from tests.peers.pacs import Pacs
from tests.peers.ports import free_port
from tests.upgrade.make_store import SERIES, series

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1500)]
ARCHIVES = sorted((ROOT / "tests" / "upgrade").glob("store-*.tar.xz"))


def sops(datasets: tuple[phantom.Dataset, ...]) -> set[str]:
    return {str(ds.SOPInstanceUID) for ds in datasets}


def write_in_the_form_of_0_1(node: Node) -> None:
    """As a machine has its settings that was only given the new version."""
    text = node.config.read_text()
    text = text.replace('allow = ["modality"]\n[peers.modality]\n', "[[receive.peers]]\n")
    text = re.sub(
        r'\[peers\."pacs"\]\n(.*?)(\[destinations\."pacs"\]\n.*?)"peer" = "pacs"\n', r"\2\1", text, flags=re.DOTALL
    )
    assert "peer" not in text.replace("[[receive.peers]]", "")
    node.config.write_text(text)
    before = node.settings.model_dump()
    node.settings = load(node.config)
    assert node.settings.model_dump() == before


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_the_work_of_an_earlier_release_is_finished(archive: Path, tmp_path: Path) -> None:
    """What was read is delivered as it was, what was queued is read, what was incomplete completes; nothing is lost.

    The data lie elsewhere than where that release wrote them. The settings have that release's form until the end.
    """
    old_form = archive.name.startswith("store-0.1.")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "node", filter="data")
    overlays = [path.read_bytes() for path in (tmp_path / "node" / "data" / "results").rglob("overlay-*.dcm")]
    pacs = Pacs()
    node = Node(tmp_path / "node", {"pacs": dicom_destination(pacs.port)})
    if old_form:
        write_in_the_form_of_0_1(node)
    with pacs, node:
        jobs = {job.job.series_instance_uid: job for job in node.jobs()}
        waiting = jobs[series("read")[0].SeriesInstanceUID].job.job_id
        finished = {job.job.series_instance_uid: job for job in node.wait_for_jobs(len(SERIES), seconds=500)}
        assert {str(job.state) for job in finished.values()} == {str(JobState.DONE)}
        for name in SERIES:
            sent = series(name)
            stored = node.settings.store_dir / sent[0].SeriesInstanceUID
            assert {path.stem for path in stored.glob("*.dcm")} == sops(sent)
            job = finished[sent[0].SeriesInstanceUID]
            assert job.job.instances == len(sent)
            assert {row.result for row in job.deliveries if row.receipt} >= {"overlay", "report"}
        assert finished[series("read")[0].SeriesInstanceUID].job.job_id == waiting
        got = {str(event.request.AffectedSOPInstanceUID) for event in pacs.received}
        assert set(pacs.stored.values()) == {1}
        for content in overlays:
            assert {uid for uid in got if uid.encode() in content}, "the overlay that the earlier release made"
        assert "index_put_aside" not in node.log.read_text()
        assert ("settings_in_old_form" in node.log.read_text()) is old_form
    migrated = node.candela("config", "migrate")
    assert migrated.returncode == 0, migrated.stderr
    assert load(node.config).model_dump() == node.settings.model_dump()
    assert "[[receive.peers]]" not in node.config.read_text()


def test_a_node_goes_on_from_a_backup_taken_while_it_ran(tmp_path: Path) -> None:
    """Its disk is lost; another machine with another data_dir delivers what waited and reads what had just come."""
    port = free_port()
    read, new = (
        phantom.head_phantom(slices=6, matrix=64, header=phantom.Header(key=f"backup/{name}")) for name in ("a", "b")
    )
    with Node(tmp_path / "first", {"pacs": dicom_destination(port)}) as node:
        node.send(read)
        node.until(lambda: any(job.deliveries for job in node.jobs()), "the first series is read", seconds=500)
        node.send(new)
        said = node.candela("backup", str(tmp_path / "backup"))
        assert said.returncode == 0, said.stderr
        acknowledged = {path.stem for path in node.settings.store_dir.glob("*/*.dcm")}
        node.kill()
    shutil.rmtree(tmp_path / "first")
    second = Node(tmp_path / "second", {"pacs": dicom_destination(port)})
    restored = second.candela("restore", str(tmp_path / "backup"))
    assert restored.returncode == 0, restored.stderr
    assert {path.stem for path in second.settings.store_dir.glob("*/*.dcm")} == acknowledged == sops((*read, *new))
    with Pacs(port=port) as pacs, second:
        finished = second.wait_for_jobs(2, seconds=500)
        assert [str(job.state) for job in finished] == [str(JobState.DONE)] * 2
        assert {job.job.series_instance_uid for job in finished} == {
            read[0].SeriesInstanceUID,
            new[0].SeriesInstanceUID,
        }
        assert len(pacs.stored) >= 4
        assert set(pacs.stored.values()) == {1}


def test_a_damaged_backup_is_refused_by_the_command(tmp_path: Path) -> None:
    """Exit code 2 and what to do; data_dir is as it was."""
    node = Node(tmp_path / "node", {"pacs": dicom_destination(free_port())})
    (tmp_path / "backup").mkdir()
    said = node.candela("restore", str(tmp_path / "backup"))
    assert said.returncode == 2
    assert "unfinished" in " ".join(said.stderr.split())
    assert not node.settings.data_dir.exists()
