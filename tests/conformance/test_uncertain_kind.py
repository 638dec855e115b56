"""No code says more than the text: of an uncertain kind the target is suspected, in SEG, SR, FHIR and HL7 alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import hl7
import pytest
from pydicom.dataset import Dataset

from dicom_node.deliver.hl7v2 import oru
from dicom_node.settings.hl7v2 import Hl7v2Destination
from fhir import report as fhir_report
from fhir.release import Release
from pipeline.caveats import Caveat, CaveatCode
from pipeline.findings import codes
from pipeline.findings.codes import BRAIN, GLIOMA, LESION, NEOPLASM, PITUITARY, Code
from pipeline.findings.diagnosis import Diagnosis, diagnosis
from pipeline.findings.model import ClassProbability, Outcome
from pipeline.report.content import ReportContent
from pipeline.report.findings import ReportedFindings
from pipeline.report.sentences import Language
from pipeline.results.profile import ReportFlavour
from pipeline.results.provenance import ResultContext
from tests.conformance.synthetic import MODEL, phantom_context
from tests.conformance.test_dciodvfy import errors, save
from tests.conformance.test_templates import faults_of, report_of
from tests.peers.hl7v2 import content_of

UNCERTAIN = Caveat(CaveatCode.LESION_KIND_UNCERTAIN)
KINDS = {"glioma": 0.35, "meningioma": 0.15, "pituitary_tumor": 0.3, "no_tumor": 0.2}
IMPROBABLE = {"glioma": 0.3, "meningioma": 0.1, "pituitary_tumor": 0.05, "no_tumor": 0.55}


def made(shares: dict[str, float], *caveats: Caveat, predicted: str = "glioma") -> ResultContext:
    """A finding with one lesion."""
    context = phantom_context(slices=8, matrix=32)
    (lesion,) = context.findings.regions
    findings = replace(
        context.findings,
        model=replace(MODEL, terms=tuple(map(codes.class_term, shares))),
        predicted_class=predicted,
        probabilities=tuple(ClassProbability(*item) for item in shares.items()),
        regions=(replace(lesion, label=predicted),),
        caveats=caveats,
    )
    return replace(context, findings=findings)


CERTAIN_CASE, SUSPECTED_CASE, WITHHELD_CASE = (
    (KINDS, (), GLIOMA),
    (KINDS, (UNCERTAIN,), NEOPLASM),
    (IMPROBABLE, (UNCERTAIN,), None),
)
CASES = pytest.mark.parametrize(("shares", "caveats", "code"), [CERTAIN_CASE, SUSPECTED_CASE, WITHHELD_CASE])


def told(context: ResultContext) -> ReportContent:
    return content_of(findings=ReportedFindings.of(context.findings))


def resources(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in bundle["entry"]]


def values_of(ds: Dataset, code: Code) -> list[str]:
    return [
        item.ConceptCodeSequence[0].CodeValue
        for item in ds.get("ContentSequence", ())
        if item.ValueType == "CODE" and item.ConceptNameCodeSequence[0].CodeValue == code.value
    ]


def test_the_site_is_no_hint_at_a_class() -> None:
    """A pituitary tumour that may be another lies where the model looks; one that is named lies in the pituitary."""
    uncertain = made({**KINDS, "pituitary_tumor": 0.4}, UNCERTAIN, predicted="pituitary_tumor").findings
    assert diagnosis(uncertain, "pituitary_tumor") == Diagnosis(NEOPLASM, BRAIN, suspected=True)
    certain = replace(uncertain, caveats=())
    assert diagnosis(certain, "pituitary_tumor") == Diagnosis(codes.PITUITARY_TUMOR, PITUITARY)


@pytest.mark.parametrize("outcome", [Outcome.INDETERMINATE, Outcome.NO_FINDING])
def test_only_a_finding_has_a_diagnosis(outcome: Outcome) -> None:
    assert diagnosis(replace(made(KINDS).findings, outcome=outcome), "glioma") == Diagnosis(
        LESION, BRAIN, withheld=True
    )


@CASES
def test_structured_report_and_segmentation(
    shares: dict[str, float], caveats: tuple[Caveat, ...], code: Code | None
) -> None:
    context = made(shares, *caveats)
    report, seg = report_of(context), report_of(context, role="segmentation")
    (measurements,) = (item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010")
    group = measurements.ContentSequence[0]
    assert values_of(group, codes.FINDING) == [(code or LESION).value]
    assert values_of(group, codes.FINDING_CONTEXT) == ([codes.SUSPECTED.value] if code is NEOPLASM else [])
    (segment,) = seg.SegmentSequence
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == (code or LESION).value
    assert ("Glioma" in segment.SegmentLabel) == (code is GLIOMA)
    assert ("kind uncertain" in segment.SegmentLabel) == (code is NEOPLASM)


@pytest.mark.parametrize("flavour", ["volumetric", "planar", "both"])
def test_the_qualifier_follows_the_templates(flavour: ReportFlavour) -> None:
    assert faults_of(report_of(made(KINDS, UNCERTAIN), flavour)) == []


def test_no_errors_of_dciodvfy(tmp_path: Path) -> None:
    paths = save(made(KINDS, UNCERTAIN), tmp_path)
    assert {path.name: errors(path) for path in paths} == {path.name: [] for path in paths}


def codes_of(concepts: list[dict[str, Any]]) -> list[str]:
    return [item["coding"][0]["code"] for item in concepts]


@pytest.mark.parametrize("release", Release)
@CASES
def test_fhir(shares: dict[str, float], caveats: tuple[Caveat, ...], code: Code | None, release: Release) -> None:
    """Conclusion codes, and the components of the finding."""
    bundle = fhir_report.build(told(made(shares, *caveats)), release=release)
    (conclusion,) = (item["conclusionCode"] for item in resources(bundle) if item["resourceType"] == "DiagnosticReport")
    qualified = [codes.SUSPECTED.value] if code is NEOPLASM else []
    found = codes_of(conclusion)
    assert found == [(code or codes.PRESENT).value, *qualified]
    finding = next(item for item in resources(bundle) if "valueCodeableConcept" in item)
    suggested = [item["valueCodeableConcept"] for item in finding.get("component", ())]
    assert codes_of(suggested) == ([code.value] if code else []) + qualified


def test_fhir_says_suspected_in_the_readers_language() -> None:
    bundle = fhir_report.build(told(made(KINDS, UNCERTAIN)), language=Language.GERMAN)
    (conclusion,) = (item["conclusionCode"] for item in resources(bundle) if item["resourceType"] == "DiagnosticReport")
    assert all(item["text"].startswith("Verdacht auf: ") for item in conclusion)
    assert not any("Gliom" in item["text"] for item in conclusion)


@CASES
def test_hl7v2(shares: dict[str, float], caveats: tuple[Caveat, ...], code: Code | None) -> None:
    built = oru.build(told(made(shares, *caveats)), Hl7v2Destination(kind="hl7v2", host="127.0.0.1", port=1))
    segments = hl7.parse(built.data.decode()).segments("OBX")
    said = {str(obx[3]).split("^")[0]: str(obx[5]).split("^")[0] for obx in segments if str(obx[2]) == "CWE"}
    assert said.get(codes.FINDING.value) == (code.value if code else None)
    assert said.get(codes.FINDING_CONTEXT.value) == (codes.SUSPECTED.value if code is NEOPLASM else None)
