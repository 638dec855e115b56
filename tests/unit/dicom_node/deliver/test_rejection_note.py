"""The rejection note for a de-identified destination names nobody, and the objects that it got."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pydicom

from dicom_node.deliver.deidentified import copies
from dicom_node.deliver.rejection import note_of
from dicom_node.store.manifest import StoredInstance, manifest_text
from pipeline import phantom
from pipeline.report.withdrawal import FILENAME, Reason, Withdrawal
from tests.conformance.synthetic import build_all, file_bytes, phantom_context

KEY = b"k" * 32
SAID = Withdrawal(
    "1.2.3:a:b", Reason.QUALITY, "The images are of Erika Muster", datetime(2026, 11, 30, tzinfo=UTC), "op"
)


def test_a_deidentified_note_rejects_the_deidentified_results(tmp_path: Path) -> None:
    """Its references are the UIDs that the destination knows; the operator's words, which may name somebody, are left
    out.
    """
    images = phantom.head_phantom(slices=4, matrix=32)
    for ds in images:
        ds.ImageType, ds.BurnedInAnnotation = ["ORIGINAL", "PRIMARY"], "NO"
    run = tmp_path / "results" / "run"
    run.mkdir(parents=True)
    listed = tuple(
        StoredInstance(str(path), str(ds.SOPInstanceUID), "0" * 64)
        for path, ds in zip(phantom.save(images, tmp_path / "images"), images, strict=True)
    )
    manifest = run / "manifest.json"
    manifest.write_text(manifest_text(listed))
    files = []
    for item in build_all(phantom_context()):
        if item.role in ("segmentation", "report"):
            (run / item.filename).write_bytes(file_bytes(item.dataset))
            files.append(run / item.filename)
    (run / FILENAME).write_bytes(SAID.to_json())
    sent = copies(tuple(files), manifest, tmp_path, KEY)
    note = note_of((*files, run / FILENAME), SAID, "research", None, with_why=False)
    (copy,) = copies((note,), manifest, tmp_path, KEY)
    ds = pydicom.dcmread(copy)
    assert "Muster" not in ds.to_json()
    assert SAID.why in pydicom.dcmread(note_of((*files, run / FILENAME), SAID, "pacs", None)).to_json()
    (study,) = ds.CurrentRequestedProcedureEvidenceSequence
    named = {
        item.ReferencedSOPInstanceUID for one in study.ReferencedSeriesSequence for item in one.ReferencedSOPSequence
    }
    assert named == {pydicom.dcmread(path).SOPInstanceUID for path in sent}
    assert ds.StudyInstanceUID == pydicom.dcmread(sent[0]).StudyInstanceUID == study.StudyInstanceUID
