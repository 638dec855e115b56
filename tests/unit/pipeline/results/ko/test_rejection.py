"""The rejection note names every withdrawn instance, under the patient's name as the results have it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import highdicom as hd
import pydicom
import pytest
from pydicom.dataset import Dataset

from pipeline.findings.own_results import is_own_result
from pipeline.report.withdrawal import Reason, Withdrawal
from pipeline.results.ko.rejection import rejection_note
from tests.conformance.synthetic import build_all, file_bytes, phantom_context
from tests.conformance.test_dciodvfy import errors

SAID = Withdrawal(
    "1.2.3:abc:def", Reason.QUALITY, "Motion, see repeat", datetime(2026, 11, 30, 8, 1, 2, tzinfo=UTC), "op"
)


@pytest.fixture(scope="module")
def results() -> list[Dataset]:
    made = [item.dataset for item in build_all(phantom_context())]
    return [pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_bytes(ds)), stop_before_pixels=True) for ds in made]


def test_it_is_a_valid_note_of_every_result(results: list[Dataset], tmp_path: Path) -> None:
    """dciodvfy finds no error; highdicom reads title, words and references; it is known as our own."""
    path = tmp_path / "note.dcm"
    path.write_bytes(file_bytes(rejection_note(results, SAID)))
    assert errors(path) == []
    ds = hd.ko.KeyObjectSelectionDocument.from_dataset(pydicom.dcmread(path))
    assert ds.content[0].name.value == "113001"
    assert any(str(item.get("TextValue")) == SAID.why for item in ds.ContentSequence)
    (study,) = ds.CurrentRequestedProcedureEvidenceSequence
    evidence = [item for one in study.ReferencedSeriesSequence for item in one.ReferencedSOPSequence]
    for found in (evidence, [item.ReferencedSOPSequence[0] for item in ds.content.get_references()]):
        assert sorted(item.ReferencedSOPInstanceUID for item in found) == sorted(one.SOPInstanceUID for one in results)
    assert (ds.ContentDate, ds.ContentTime) == ("20261130", "080102")
    assert is_own_result(ds)


def test_the_same_withdrawal_gives_the_same_bytes_and_another_reason_another_note(results: list[Dataset]) -> None:
    """A resend must not make a second object."""
    first, second = (file_bytes(rejection_note(results, SAID)) for _ in range(2))
    assert first == second
    other = rejection_note(results, Withdrawal(SAID.job_id, Reason.WRONG_ORDER, SAID.why, SAID.at, SAID.by))
    assert other.SOPInstanceUID != rejection_note(results, SAID).SOPInstanceUID
    assert other.ConceptNameCodeSequence[0].CodeValue == "113038"


def test_a_name_keeps_its_bytes() -> None:
    """In its own character set, as the results have it."""
    ds = Dataset()
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    ds.PatientName = "Yamada^Tarou=山田^太郎"
    ds.PatientID = "4711"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = "1.2.3.1", "1.2.3.2", "1.2.3.3"
    ds.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    read = pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_bytes(rejection_note([ds], SAID))))
    assert str(read.PatientName) == "Yamada^Tarou=山田^太郎"
    assert read.PatientID == "4711"
