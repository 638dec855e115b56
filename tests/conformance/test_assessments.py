"""A reader's assessment in the eyes of others: dciodvfy and dcmtk for the document, HL7's definitions for FHIR."""

from __future__ import annotations

import functools
import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from fhir.bundle import assessment as fhir_assessment
from fhir.release import Release
from pipeline.findings.model import Outcome
from pipeline.findings.own_results import is_own_result
from pipeline.report.assessment import Outline, StatedAssessment, Verdict
from pipeline.report.content import ReportContent
from pipeline.results.reported import report_content
from pipeline.results.sr import assessment
from tests.conformance.synthetic import build_all, file_bytes, phantom_context
from tests.conformance.test_dciodvfy import errors
from tests.conformance.test_dcmtk_reports import run
from tests.peers.fhir_bundles import RECORDED
from tests.peers.fhir_validators import problems
from tools.fhir_server import NoFhirServer

AT = datetime(2026, 11, 30, 9, 30, 15, tzinfo=UTC)
FULL = StatedAssessment(
    number=7,
    verdict=Verdict.REJECTED,
    correct_class="meningioma",
    present=True,
    outline=Outline.WRONG,
    comment="Beside the lesion.\nSee slice 14, naïve “reading”.",
    reader="anna",
    at=AT,
    corrects=StatedAssessment(6, Verdict.ACCEPTED, "glioma", True, Outline.GOOD, "", "anna", AT),
)
BARE = StatedAssessment(1, Verdict.SUPPLEMENTED, None, None, Outline.NOT_APPLICABLE, "", "token ris", AT)
NOTHING = replace(BARE, verdict=Verdict.REJECTED, correct_class="none", present=False)
OTHER = replace(BARE, verdict=Verdict.REJECTED, correct_class="other", present=True)
SAID = {"full": FULL, "bare": BARE, "nothing there": NOTHING, "another class": OTHER}


@functools.cache
def run_of_phantom() -> tuple[ReportContent, Dataset]:
    """The report content of a run, and the header of its report as a file has it."""
    context = phantom_context("axial", Outcome.FINDING, slices=8)
    objects = build_all(context)
    report = next(item.dataset for item in objects if item.role == "report")
    return report_content(context, objects, recorded=RECORDED), pydicom.dcmread(io.BytesIO(file_bytes(report)))


@pytest.mark.parametrize("name", SAID)
def test_the_document_is_a_valid_report_that_dcmtk_reads(name: str, tmp_path: Path) -> None:
    content, header = run_of_phantom()
    said = SAID[name]
    path = tmp_path / "assessment.dcm"
    path.write_bytes(file_bytes(assessment.build(content, header, said)))
    assert errors(path) == []
    text = run("dsrdump", path)
    assert re.search(rf'"Assessment of AI result"\)=\({said.verdict},99CANDELA', text)
    assert said.reader in text
    assert ("Wrong outline" in text) == (said.outline is Outline.WRONG)


def test_the_document_refers_to_what_was_assessed_and_to_what_it_corrects(tmp_path: Path) -> None:
    content, header = run_of_phantom()
    ds = assessment.build(content, header, FULL)
    report = next(item for item in content.objects if item.role == "report")
    verdict = ds.ContentSequence[-1].ContentSequence[0]
    assert verdict.ConceptCodeSequence[0].CodeValue == "rejected"
    reference = verdict.ContentSequence[0].ReferencedSOPSequence[0]
    assert (verdict.ContentSequence[0].ValueType, reference.ReferencedSOPInstanceUID) == (
        "COMPOSITE",
        report.sop_instance_uid,
    )
    evidence = {
        item.ReferencedSOPInstanceUID
        for study in ds.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert evidence == {item.sop_instance_uid for item in content.objects}
    earlier = ds.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert FULL.corrects is not None
    assert earlier.ReferencedSOPInstanceUID == assessment.build(content, header, FULL.corrects).SOPInstanceUID
    assert (ds.PatientName, ds.StudyInstanceUID) == (header.PatientName, header.StudyInstanceUID)
    assert (ds.VerificationFlag, ds.ContentDate, ds.ContentTime) == ("UNVERIFIED", "20261130", "093015")
    assert is_own_result(ds)
    assert file_bytes(ds) == file_bytes(assessment.build(content, header, FULL))


def test_a_comment_in_letters_of_the_source_stays_and_others_are_written_plainly() -> None:
    content, header = run_of_phantom()
    header = pydicom.Dataset(header)
    header.SpecificCharacterSet = "ISO_IR 192"
    ds = assessment.build(content, header, replace(FULL, comment="Größe 小"))
    assert ds.ContentSequence[-1].ContentSequence[-1].TextValue == "Größe 小"
    header.SpecificCharacterSet = "ISO_IR 100"
    ds = assessment.build(content, header, replace(FULL, comment="Größe"))
    assert ds.ContentSequence[-1].ContentSequence[-1].TextValue == "Größe"
    del header.SpecificCharacterSet
    ds = assessment.build(content, header, replace(FULL, comment="Größe"))
    assert ds.ContentSequence[-1].ContentSequence[-1].TextValue == "Grosse"


@pytest.mark.parametrize("release", Release)
def test_the_observation_is_valid_and_its_focus_is_the_report(release: Release) -> None:
    content, _ = run_of_phantom()
    made = [fhir_assessment.build(content, said, release=release)["entry"][0]["resource"] for said in SAID.values()]
    assert made[0]["focus"][0]["identifier"]["value"] == f"urn:oid:{content.run.uid('diagnostic report')}"
    assert made[0]["identifier"][0]["value"] == f"urn:oid:{FULL.uid(content)}"
    assert [item["code"]["coding"][0]["code"] for item in made[0]["component"]] == [
        *("correct-class", "705057003", "outline-quality")
    ]
    assert "component" not in made[1]
    try:
        assert problems(made, release) == [[]] * len(made)
    except NoFhirServer as missing:
        pytest.skip(str(missing))
