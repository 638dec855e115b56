"""Every code that a report uses is in the value set that its element is bound to, with the display it has there.

The tables are small copies of the codes that we use, each with its source; HL7's own are also compared with the
definitions that the npm packages bring.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydicom.sr._concepts_dict import concepts as part_16

from fhir import report
from fhir.release import Release
from fhir.server.stored import objects
from pipeline.findings.model import Outcome
from pipeline.report.sentences import Language
from tests.peers.fhir_bundles import READ, plain_content, refusal_of
from tools.fhir_server import FOLDER, NoFhirServer, ensure_installed

HL7 = "http://terminology.hl7.org/CodeSystem/"
SCT, DCM, LOINC = "http://snomed.info/sct", "http://dicom.nema.org/resources/ontology/DCM", "http://loinc.org"
UCUM = "http://unitsofmeasure.org"


DICOM = part_16["DCM"]


@dataclass(frozen=True)
class ValueSet:
    """Codes of one value set that we use, as ``system|code``, and where it says so."""

    source: str
    codes: frozenset[str]


def of(source: str, system: str, *values: str) -> ValueSet:
    return ValueSet(source, frozenset(f"{system}|{value}" for value in values))


SIDES = of("PS3.16 CID 244; R4 bodystructure-location-qualifier (example)", SCT, "7771000", "24028007", "51440002")
CID_4 = of("PS3.16 CID 4 Anatomic Region; SNOMED CT body structure", SCT, "12738006", "56329008")
TARGETS = of("PS3.16 CID 7159 Lesion Segmentation Type", SCT, "108369006")
CLASSES = ValueSet(
    "SNOMED CT disorders (CID 6136 and descendants of 126952004), and our own code for none",
    frozenset(
        {*(f"{SCT}|{code}" for code in ("393564001", "302820008", "127024001")), "urn:candela:concepts|no-tumor"}
    ),
)
MODALITIES = of("PS3.16 CID 29 Acquisition Modality and CID 32", DCM, "MR", "OT", "SEG", "SR", "DOC", "PR", "KO")
BOUND: dict[tuple[str, str], ValueSet] = {
    ("Observation", "category"): of("R4 observation-category (preferred)", f"{HL7}observation-category", "imaging"),
    ("DiagnosticReport", "category"): ValueSet(
        "R4 diagnostic-service-sections (example): v2-0074; us-core-diagnosticreport-category (required): LOINC part",
        frozenset({f"{HL7}v2-0074|RAD", f"{LOINC}|LP29684-5"}),
    ),
    ("DiagnosticReport", "code"): of("R4 report-codes: LOINC (preferred)", LOINC, "24590-2", "25056-3"),
    ("DiagnosticReport", "conclusionCode"): ValueSet(
        "R4 clinical-findings: SNOMED CT (example); presence: PS3.16 CID 240, CID 4220",
        CLASSES.codes | of("", SCT, "52101004", "272519000", "82334004").codes,
    ),
    ("Observation", "code"): ValueSet(
        "R4 observation-codes (example); PS3.16 TID 1419, TID 1501, CID 7469",
        of("", SCT, "118565006", "103339001", "103340004").codes
        | of("", DCM, "122157", "110852").codes
        | TARGETS.codes,
    ),
    ("Observation", "valueCodeableConcept"): of(
        "PS3.16 CID 240 Present-Absent, CID 4220", SCT, "52101004", "272519000", "82334004"
    ),
    ("Observation", "component.code"): of(
        "PS3.16 TID 300, TID 1411, TID 1501", DCM, "121071", "112039", "112040", "121401"
    ),
    ("Observation", "component.valueCodeableConcept"): ValueSet(
        "the model's classes; PS3.16 CID 7464 (derivation)",
        CLASSES.codes | {f"{SCT}|373098007"},
    ),
    ("Observation", "dataAbsentReason"): of(
        "R4 data-absent-reason (extensible)", f"{HL7}data-absent-reason", "not-performed"
    ),
    ("Observation", "bodySite"): CID_4,
    ("Observation", "method"): of("PS3.16 CID 7162 Algorithm Family", DCM, "123110"),
    ("BodyStructure", "location"): CID_4,
    ("BodyStructure", "structure"): CID_4,
    ("BodyStructure", "locationQualifier"): SIDES,
    ("BodyStructure", "laterality"): SIDES,
    ("BodyStructure", "morphology"): of("PS3.16 CID 7150; R4 bodystructure-code (example)", SCT, "49755003"),
    ("Media", "type"): of("R4 media-type (extensible)", f"{HL7}media-type", "image"),
    ("Media", "bodySite"): CID_4,
    ("Media", "modality"): MODALITIES,
    ("DocumentReference", "modality"): MODALITIES,
    ("ImagingStudy", "modality"): MODALITIES,
    ("ImagingSelection", "code"): of("PS3.16 TID 1411, CID 217", DCM, "121191", "130401"),
    ("Device", "type"): of("PS3.16 CID 7162", DCM, "123110"),
    ("Device", "version.type"): of("PS3.16 TID 4019", DCM, "111003"),
    ("Device", "property.type"): of("PS3.16 TID 4019", DCM, "111002"),
    ("Provenance", "activity"): of(
        "R4 provenance-activity-type (extensible): v3-DataOperation", f"{HL7}v3-DataOperation", "CREATE", "UPDATE"
    ),
    ("Provenance", "type"): of("R4 provenance-agent-type (extensible)", f"{HL7}provenance-participant-type", "author"),
    ("*", "security"): of(
        "THO v3-ObservationValue, SECINTOBV: AIAST (since 2020)", f"{HL7}v3-ObservationValue", "AIAST"
    ),
    ("*", "identifier.type"): of("R4 identifier-type (extensible): v2-0203", f"{HL7}v2-0203", "MR", "ACSN"),
}
NESTED = ("identifier", "version", "property", "component")
"""Elements whose own elements have bindings of their own."""
UNITS = {
    "volume": "mm3",
    "axis": "mm",
    "signal": "[arb'U]",
    "probability": "1",
}
"""UCUM 2.1, case sensitive; [arb'U] and 1 as PS3.16 CID 7181 has them."""


@pytest.fixture(scope="module")
def made() -> list[dict[str, Any]]:
    every = [plain_content(outcome) for outcome in READ] + [refusal_of("codes")]
    bundles = [report.build(told, release=release) for told in every for release in Release]
    return [entry["resource"] for bundle in bundles for entry in bundle["entry"]]


def codings(resource: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(element, ``system|code``) of every Coding at a bound element, wherever it is nested."""

    def walk(value: Any, name: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, list):
            for item in value:
                yield from walk(item, name)
        elif isinstance(value, dict):
            if "system" in value and "code" in value and "value" not in value:
                yield name, f"{value['system']}|{value['code']}"
            for key, item in value.items():
                inner = f"{name}.{key}" if name in NESTED and key in ("type", "code", "valueCodeableConcept") else key
                yield from walk(item, name if key == "coding" else inner)

    yield from walk(resource, "")


def test_every_code_at_a_bound_element_is_in_its_value_set(made: list[dict[str, Any]]) -> None:
    """And every table is used, so that none outlives what it was for."""
    used = set()
    for resource in made:
        for element, code in codings(resource):
            bound = next((key for key in ((resource["resourceType"], element), ("*", element)) if key in BOUND), None)
            if bound:
                used.add(bound)
                assert code in BOUND[bound].codes, (bound, code)
    assert used == set(BOUND)


def test_units_are_ucum(made: list[dict[str, Any]]) -> None:
    """Each quantity has system and code; each kind of measurement its own unit."""
    quantities = [item["valueQuantity"] for item in made if "valueQuantity" in item]
    assert {item["system"] for item in quantities} == {UCUM}
    assert {item["code"] for item in quantities} == set(UNITS.values())


def test_displays_of_dicom_codes_are_part_16s(made: list[dict[str, Any]]) -> None:
    """A display that differs from the code system's is another concept to a reader."""
    known = {code: meaning for table in DICOM.values() for code, (meaning, _) in table.items()}
    displays = {
        item["code"]: item["display"]
        for resource in made
        for item in walk_codings(resource)
        if item["system"] == DCM and "display" in item
    }
    assert len(displays) > 6
    assert {code: known.get(code, meaning) for code, meaning in displays.items()} == displays


def walk_codings(value: Any) -> Iterator[dict[str, Any]]:
    return (item for item in objects(value) if "system" in item and "code" in item)


def hl7_displays() -> dict[str, str]:
    """``system|code`` → display, of the code systems that R4's definitions bring."""
    try:
        ensure_installed()
    except NoFhirServer as reason:
        pytest.skip(str(reason))
    folder = FOLDER / "node_modules" / "@medplum" / "definitions" / "dist" / "fhir" / "r4"
    found: dict[str, str] = {}

    def take(system: str, concepts: list[dict[str, Any]]) -> None:
        for concept in concepts:
            found[f"{system}|{concept['code']}"] = concept.get("display", "")
            take(system, concept.get("concept", []))

    for name in ("valuesets.json", "v3-codesystems.json", "v2-tables.json"):
        for entry in json.loads((folder / name).read_text("utf-8"))["entry"]:
            if entry["resource"]["resourceType"] == "CodeSystem":
                take(entry["resource"]["url"], entry["resource"].get("concept", []))
    return found


def test_hl7s_codes_and_displays_are_those_of_its_definitions(made: list[dict[str, Any]]) -> None:
    """AIAST alone is younger than R4."""
    known = hl7_displays()
    used = {
        (f"{item['system']}|{item['code']}", item["display"])
        for resource in made
        for item in walk_codings(resource)
        if str(item["system"]).startswith(HL7)
    }
    assert len(used) > 6
    wrong = {code: display for code, display in used if known.get(code) != display}
    assert wrong == {f"{HL7}v3-ObservationValue|AIAST": "Artificial Intelligence asserted"}


def test_languages_are_common_languages() -> None:
    """R4's value set "languages" (preferred, BCP 47) has all four."""
    assert {item.value for item in Language} <= {"ar", "da", "de", "el", "en", "es", "fi", "fr", "it", "nl", "pt", "sv"}
    bundle = report.build(plain_content(Outcome.FINDING), language=Language.FRENCH)
    assert {entry["resource"].get("language") for entry in bundle["entry"]} == {None, "fr"}
