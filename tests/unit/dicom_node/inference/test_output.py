"""Writing results: whole files or none, and the summary last."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dicom_node.deliver.fhir_file import BUNDLE
from dicom_node.inference.output import SUMMARY, remove_results, write_results, write_summary
from dicom_node.store import durable
from dicom_node.store.durable import write_durably
from pipeline.findings.model import Outcome
from pipeline.process import Processed
from pipeline.report.stored import FILENAME, from_json
from tests.conformance.synthetic import build_all
from tests.peers.fhir_bundles import context_of, plain_content


def test_a_file_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure before the rename leaves neither a part nor a temporary file, and what stood there before stays."""
    path = tmp_path / "report.dcm"
    write_durably(path, b"first")

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable.os, "fdatasync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_durably(path, b"second")
    assert path.read_bytes() == b"first"
    assert [item.name for item in tmp_path.iterdir()] == ["report.dcm"]


def test_the_order_is_data_then_rename_then_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renaming before the data is on disk, or not syncing the folder, could leave an empty file after a power cut."""
    calls: list[str] = []
    real = {name: getattr(durable.os, name) for name in ("fdatasync", "fsync")}
    rename = Path.replace
    monkeypatch.setattr(durable.os, "fdatasync", lambda fd: (calls.append("data"), real["fdatasync"](fd)))
    monkeypatch.setattr(durable.os, "fsync", lambda fd: (calls.append("folder"), real["fsync"](fd)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (calls.append("rename"), rename(self, to))[1])
    write_durably(tmp_path / "x", b"1")
    assert calls == ["data", "rename", "folder"]


def test_an_earlier_runs_results_go_before_new_ones_come(tmp_path: Path) -> None:
    """The old summary goes first, so that at no moment it names files that are gone; foreign files stay."""
    write_summary({"objects": [{"file": "overlay-001.dcm"}], "nifti": [{"file": "mask.nii.gz"}]}, tmp_path)
    (tmp_path / "previews").mkdir()
    for name in (
        "overlay-001.dcm",
        "previews/overlay-001.png",
        "mask.nii.gz",
        "fhir-bundle.json",
        "findings.json",
        "report.json",
        "manifest.json",
    ):
        (tmp_path / name).write_text("old")
    remove_results(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["manifest.json"]


def test_a_node_leaves_the_report_content_and_no_bundle(tmp_path: Path) -> None:
    """Deliveries build theirs from it; `candela process` hands one in."""
    context = context_of(Outcome.NO_FINDING)
    content = plain_content(Outcome.NO_FINDING)
    objects = build_all(context)[:1]
    run = Processed("1.2", context.volume, context.findings, objects, content, {}, {}, context.run)
    write_results(run, tmp_path)
    assert from_json((tmp_path / FILENAME).read_bytes()) == content
    assert not (tmp_path / BUNDLE).exists()
    write_results(run, tmp_path, bundle=b"{}")
    assert (tmp_path / BUNDLE).read_bytes() == b"{}"


def test_the_summary_is_readable_json(tmp_path: Path) -> None:
    write_summary({"objects": [], "reason": "größer als 5 mm³"}, tmp_path / "deep" / "er")
    assert json.loads((tmp_path / "deep" / "er" / SUMMARY).read_text())["reason"] == "größer als 5 mm³"


def test_what_a_killed_process_left_is_taken_away(tmp_path: Path) -> None:
    """A temporary file of a process that died is gone after the next write of the same file; others stay."""
    (tmp_path / ".report.dcm.4711.tmp").write_bytes(b"half")
    (tmp_path / ".other.dcm.4711.tmp").write_bytes(b"half")
    write_durably(tmp_path / "report.dcm", b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.dcm.4711.tmp", "report.dcm"]
