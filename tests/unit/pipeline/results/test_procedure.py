"""The procedure that results name: the study's own code, else the bundle's, else the modality's; never a guess."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from fhir import report as fhir_report
from pipeline import phantom
from pipeline.caveats import CaveatCode
from pipeline.errors import MissingSlices
from pipeline.findings.codes import DIAGNOSTIC_IMAGING_STUDY, MR_BRAIN, MR_UNSPECIFIED, XR_UNSPECIFIED, Code
from pipeline.findings.identity import RunIdentity
from pipeline.findings.model import Outcome
from pipeline.patient.requests import procedure_code
from pipeline.reading.files import Series
from pipeline.report.content import content_of_refusal
from pipeline.report.findings import Refusal
from pipeline.report.patient_study import Study, procedure_of
from pipeline.results.sc import refusal
from tests.conformance.synthetic import MODEL, UNPRINTED, build_all, context_of, file_bytes
from tests.peers.fhir_bundles import RECORDED

SKULL = Code("SCH1", "99KLINIK", "MR Schädel")
WRIST = Code("WR2", "99KLINIK", "MR Handgelenk")


def item_of(code: Code, **changes: str | None) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme, code.meaning
    for keyword, value in changes.items():
        if value is None:
            del item[keyword]
        else:
            setattr(item, keyword, value)
    return item


def request_of(*code_items: Dataset, **attributes: str) -> Dataset:
    item = Dataset()
    item.RequestedProcedureCodeSequence = list(code_items)
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def small(**attributes: Any) -> tuple[Dataset, ...]:
    series = phantom.head_phantom(slices=4, matrix=32)
    for ds in series:
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
    return series


def written(ds: Dataset) -> Dataset:
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_bytes(ds)))


def result(datasets: tuple[Dataset, ...], role: str = "report") -> Dataset:
    (item,) = (item for item in build_all(context_of(datasets), UNPRINTED) if item.role == role)
    return written(item.dataset)


def reported(ds: Dataset) -> list[tuple[str, str, str]]:
    found = [item for item in ds.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "121058"]
    values = [item.ConceptCodeSequence[0] for item in found]
    return [(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning) for item in values]


def triple(code: Code) -> tuple[str, str, str]:
    return code.value, code.scheme, code.meaning


@pytest.mark.parametrize("character_set", ["ISO_IR 192", "ISO_IR 100"])
def test_the_studys_code_is_the_procedure_reported(character_set: str) -> None:
    """With its meaning in the character set of the source."""
    datasets = small(SpecificCharacterSet=character_set, ProcedureCodeSequence=[item_of(SKULL)])
    ds = result(datasets)
    assert ds.SpecificCharacterSet == character_set
    assert reported(ds) == [triple(SKULL)]


def test_the_code_of_the_request_stands_in_for_it() -> None:
    assert reported(result(small(RequestAttributesSequence=[request_of(item_of(SKULL))]))) == [triple(SKULL)]


def test_what_was_done_comes_before_what_was_asked_for() -> None:
    header = Dataset()
    header.ProcedureCodeSequence = [item_of(SKULL)]
    header.RequestAttributesSequence = [request_of(item_of(WRIST))]
    assert procedure_code(header) == SKULL


def test_of_several_codes_none_is_chosen() -> None:
    """The same code twice is one; of two the series may be either."""
    header = Dataset()
    header.ProcedureCodeSequence = [item_of(SKULL), item_of(SKULL)]
    assert procedure_code(header) == SKULL
    header.ProcedureCodeSequence = [item_of(SKULL), item_of(WRIST)]
    assert procedure_code(header) is None
    header.RequestAttributesSequence = [request_of(item_of(WRIST))]
    assert procedure_code(header) == WRIST


@pytest.mark.parametrize("keyword", ["CodeValue", "CodingSchemeDesignator", "CodeMeaning"])
def test_an_incomplete_code_is_left_out_and_noted(keyword: str) -> None:
    """The bundle's procedure is named then; the copy of the study's codes lacks the item too."""
    datasets = small(ProcedureCodeSequence=[item_of(SKULL, **{keyword: None})])
    context = context_of(datasets)
    assert context.procedure == MR_BRAIN
    assert "ProcedureCodeSequence" not in result(datasets)
    notes = [item for item in context.volume.caveats if item.code is CaveatCode.INVALID_VALUES_LEFT_OUT]
    assert [item.values["names"] for item in notes] == [("ProcedureCodeSequence",)]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_malformed_code_is_left_out() -> None:
    for bad in ("A" * 17, "A\\B", "A  B"):
        assert context_of(small(ProcedureCodeSequence=[item_of(SKULL, CodeValue=bad)])).procedure == MR_BRAIN


@pytest.mark.parametrize("role", ["report", "keyobjects"])
def test_the_requests_are_referenced(role: str) -> None:
    """Number, words, code and accession number of the request; the order's numbers where images have
    them, else empty.
    """
    request = request_of(
        item_of(SKULL), RequestedProcedureID="RP7", RequestedProcedureDescription="Schädel mit KM", AccessionNumber=""
    )
    numbered = {"AccessionNumber": "ACC1", "PlacerOrderNumberImagingServiceRequest": "P5"}
    ds = result(small(**numbered, RequestAttributesSequence=[request]), role)
    (made,) = ds.ReferencedRequestSequence
    assert (made.StudyInstanceUID, made.AccessionNumber) == (ds.StudyInstanceUID, "ACC1")
    assert (made.RequestedProcedureID, made.RequestedProcedureDescription) == ("RP7", "Schädel mit KM")
    assert made.RequestedProcedureCodeSequence[0].CodeMeaning == SKULL.meaning
    assert made.PlacerOrderNumberImagingServiceRequest == "P5"
    assert made.FillerOrderNumberImagingServiceRequest == ""
    assert not made.ReferencedStudySequence


def test_a_request_of_another_order_is_not_referenced() -> None:
    request = request_of(AccessionNumber="ACC2", RequestedProcedureID="RP7")
    assert "ReferencedRequestSequence" not in result(small(AccessionNumber="ACC1", RequestAttributesSequence=[request]))
    assert "ReferencedRequestSequence" not in result(small())


def test_without_a_code_the_bundle_speaks_for_what_it_read_alone() -> None:
    """A refused series may show anything: its procedure is that of the modality."""
    study = Study("1.2.3", None, "", None)
    assert procedure_of(study, "MR", MODEL, Outcome.FINDING) == MR_BRAIN
    assert procedure_of(study, "MR", MODEL, Outcome.REFUSED) == MR_UNSPECIFIED
    assert procedure_of(study, "DX", MODEL, Outcome.REFUSED) == XR_UNSPECIFIED
    assert procedure_of(study, "OT", MODEL, Outcome.REFUSED) == DIAGNOSTIC_IMAGING_STUDY
    unnamed = replace(MODEL, procedure=DIAGNOSTIC_IMAGING_STUDY)
    assert procedure_of(study, "MR", unnamed, Outcome.MEASURED) == MR_UNSPECIFIED
    assert procedure_of(replace(study, procedure=WRIST), "MR", MODEL, Outcome.REFUSED) == WRIST


def refused(datasets: tuple[Dataset, ...]) -> dict[str, Any]:
    run = RunIdentity(str(datasets[0].SeriesInstanceUID), "0" * 64, MODEL.digest)
    told = content_of_refusal(Series(datasets), Refusal("NOT_A_HEAD", "No head."), MODEL, run, recorded=RECORDED)
    made = fhir_report.build(told)
    (found,) = (entry["resource"] for entry in made["entry"] if entry["resource"]["resourceType"] == "DiagnosticReport")
    return dict(found)


def test_a_refused_wrist_is_no_brain() -> None:
    """Neither in FHIR nor as the body part of the page, whether the header says wrist or nothing."""
    assert refused(small(BodyPartExamined="WRIST"))["code"]["coding"][0]["code"] == MR_UNSPECIFIED.value
    own = refused(small(BodyPartExamined="WRIST", ProcedureCodeSequence=[item_of(WRIST)]))
    assert own["code"]["coding"] == [{"code": WRIST.value, "display": WRIST.meaning}], "no system is known"
    assert WRIST.meaning in own["code"]["text"]
    reason = MissingSlices("A slice is missing.")
    for stated, side in (("WRIST", ""), ("", "")):
        (page,) = refusal.build(small(BodyPartExamined=stated), reason, MODEL)
        assert (page.dataset.BodyPartExamined or "") == stated
        assert (page.dataset.Laterality or "") == side
