from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dicom_node.deliver.fhir_file import BUNDLE
from dicom_node.deliver.folder import FolderSender
from dicom_node.settings.destinations import FolderDestination
from dicom_node.store import durable
from fhir.report import build
from pipeline.errors import OutOfResources, PeerUnavailable
from pipeline.findings.model import Outcome
from pipeline.report.sentences import Language
from pipeline.report.stored import EARLIER_FILENAME, FILENAME, page_filename, to_json
from tests.peers.fhir_bundles import as_earlier, content_of


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    run = tmp_path / "results" / "run-1"
    run.mkdir(parents=True)
    for name in ("a.dcm", "b.json"):
        (run / name).write_bytes(name.encode() * 1000)
    return run / "a.dcm", run / "b.json"


def sender(path: Path) -> FolderSender:
    return FolderSender(FolderDestination(kind="folder", path=path))


def test_files_are_copied_into_a_folder_of_their_run(files: tuple[Path, ...], tmp_path: Path) -> None:
    """Runs do not mix, and no temporary file is left."""
    assert sender(tmp_path / "out" / "deep").send(files) == "2 files written"
    copied = sorted(path for path in (tmp_path / "out" / "deep").rglob("*") if path.is_file())
    assert [path.relative_to(tmp_path / "out" / "deep").as_posix() for path in copied] == [
        "run-1/a.dcm",
        "run-1/b.json",
    ]
    assert [path.read_bytes() for path in copied] == [path.read_bytes() for path in files]


def test_the_report_comes_with_a_bundle_that_is_built_at_delivery(tmp_path: Path) -> None:
    """The one that a FHIR R4 server gets in English, with the PDF; a second send writes nothing."""
    run = tmp_path / "results" / "run-1"
    run.mkdir(parents=True)
    content = content_of(Outcome.FINDING)
    files = (run / FILENAME, run / page_filename(Language.ENGLISH))
    files[0].write_bytes(to_json(content))
    files[1].write_bytes(b"%PDF-1.7")
    out = sender(tmp_path / "out")
    assert out.send(files) == "3 files written"
    assert json.loads((tmp_path / "out" / "run-1" / BUNDLE).read_text()) == build(content, pdf=b"%PDF-1.7")
    assert out.send(files) == "0 files written, 3 there already"
    assert sorted(path.name for path in (tmp_path / "out" / "run-1").iterdir()) == [BUNDLE, FILENAME, files[1].name]


def test_the_bundle_that_an_earlier_version_left_is_copied(tmp_path: Path) -> None:
    """Beside its findings.json: what it queued arrives as it left it."""
    run = tmp_path / "results" / "run-1"
    run.mkdir(parents=True)
    files = (run / BUNDLE, run / EARLIER_FILENAME)
    files[0].write_text("{}")
    files[1].write_text(json.dumps(as_earlier(content_of(Outcome.FINDING))))
    assert sender(tmp_path / "out").send(files) == "2 files written"
    assert (tmp_path / "out" / "run-1" / BUNDLE).read_text() == "{}"


def test_a_second_send_writes_nothing_and_says_so(files: tuple[Path, ...], tmp_path: Path) -> None:
    """A file that is there with the same content keeps its time stamp, so a watcher does not see it twice."""
    out = sender(tmp_path / "out")
    out.send(files)
    (tmp_path / "out" / "run-1" / "b.json").write_text("changed")
    before = (tmp_path / "out" / "run-1" / "a.dcm").stat().st_mtime_ns
    assert out.send(files) == "1 file written, 1 there already"
    assert (tmp_path / "out" / "run-1" / "a.dcm").stat().st_mtime_ns == before
    assert (tmp_path / "out" / "run-1" / "b.json").read_bytes() == files[1].read_bytes()


def test_a_folder_that_cannot_be_written_to_is_tried_again(files: tuple[Path, ...], tmp_path: Path) -> None:
    """Here a file stands where the folder should be, as with a share that is not mounted."""
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(PeerUnavailable, match="cannot be written to"):
        sender(tmp_path / "out").send(files)


def test_a_full_disk_leaves_no_part_of_a_file(
    files: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC is out of resources; neither the file nor its temporary name stays."""

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(durable.os, "fdatasync", full)
    (tmp_path / "out" / "run-1").mkdir(parents=True)
    with pytest.raises(OutOfResources, match="No space left"):
        sender(tmp_path / "out").send(files)
    assert list((tmp_path / "out" / "run-1").iterdir()) == []


def test_what_a_killed_sender_left_is_removed(files: tuple[Path, ...], tmp_path: Path) -> None:
    """Its temporary file goes with the next attempt, also where the file itself had arrived; others' stay."""
    out = sender(tmp_path / "out")
    out.send(files)
    for name in (".a.dcm.4711.tmp", ".other.4711.tmp"):
        (tmp_path / "out" / "run-1" / name).write_bytes(b"part")
    assert out.send(files) == "0 files written, 2 there already"
    assert sorted(path.name for path in (tmp_path / "out" / "run-1").iterdir()) == [
        ".other.4711.tmp",
        "a.dcm",
        "b.json",
    ]
