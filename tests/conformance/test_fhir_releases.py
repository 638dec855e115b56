"""Every Bundle of every series, in R4 and R5: valid by HL7's definitions, by fhir.resources, and in itself."""

from __future__ import annotations

import copy
import functools
import importlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fhir import report
from fhir.release import Release
from pipeline import phantom
from pipeline.errors import Refused
from pipeline.findings.model import Outcome
from pipeline.reading.files import read_path
from pipeline.report.content import ReportContent
from pipeline.report.sentences import Language
from pipeline.results.reported import report_content
from tests.conformance.synthetic import build_all, context_of, phantom_context
from tests.forms import short
from tests.peers.fhir_bundles import READ, RECORDED, content_of, plain_content, refusal_of
from tests.peers.fhir_validators import problems
from tools.fhir_server import NoFhirServer

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "dicom"
PLANES = ("axial", "coronal", "sagittal")


@functools.cache
def of_plane(plane: phantom.Plane) -> ReportContent:
    context = phantom_context(plane, slices=8)
    return report_content(context, build_all(context), recorded=RECORDED)


def forty_lesions() -> ReportContent:
    """Forty regions of different sizes, as an over-eager model outlines them."""
    told = plain_content(Outcome.FINDING)
    volume, *others = told.findings.regions[0].measurements
    lesions = tuple(
        replace(
            told.findings.regions[0],
            tracking_id=f"Lesion {number}",
            tracking_uid=told.run.uid("lesion", f"{number}"),
            measurements=(replace(volume, value=4000.0 / number), *others),
        )
        for number in range(1, 41)
    )
    return replace(told, findings=replace(told.findings, regions=lesions))


def bare_header() -> ReportContent:
    """A header that names nobody and nothing: no patient, order, dates or descriptions."""
    empty = ("PatientID", "PatientName", "AccessionNumber", "StudyDate", "StudyDescription", "SeriesDescription")
    dates = ("SeriesDate", "AcquisitionDate", "PatientBirthDate", "IssuerOfPatientID")
    return content_of(Outcome.FINDING, "bare", **dict.fromkeys((*empty, *dates), ""))


CASES: dict[str, Callable[[], ReportContent]] = {
    **{str(outcome): functools.partial(plain_content, outcome) for outcome in READ},
    **{plane: functools.partial(of_plane, plane) for plane in PLANES},  # type: ignore[arg-type]
    "forty lesions": forty_lesions,
    "later revision": functools.partial(content_of, Outcome.FINDING, "later", revision=2),
    "refused": functools.partial(refusal_of, "refused"),
    "bare header": bare_header,
    "hostile names": functools.partial(
        content_of, Outcome.FINDING, "hostile", PatientName='Mü<b>"\\&^Änne 😀', StudyDescription="</title>{{ 7*7 }} \\"
    ),
}


@functools.cache
def bundle_of(name: str, release: Release, language: Language) -> dict[str, Any]:
    """The case's Bundle; only to be read."""
    return report.build(CASES[name](), release=release, language=language)


def bundles(release: Release) -> Iterator[tuple[str, dict[str, Any]]]:
    """The finding in every language, each other case in one, taking turns."""
    for language in Language:
        yield f"finding, {language}", bundle_of("finding", release, language)
    for number, name in enumerate(CASES):
        language = tuple(Language)[number % len(Language)]
        yield f"{name}, {language}", bundle_of(name, release, language)


def resources_of(bundle: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (entry["resource"] for entry in bundle["entry"])


def judged(resources: list[dict[str, Any]], release: Release) -> list[list[str]]:
    try:
        return problems(resources, release)
    except NoFhirServer as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("release", list(Release))
def test_every_bundle_of_every_series_is_valid(release: Release) -> None:
    """Zero errors, in all validators, in all languages; the Bundle itself too."""
    made = [(name, item) for name, bundle in bundles(release) for item in (bundle, *resources_of(bundle))]
    found = judged([resource for _, resource in made], release)
    wrong = [(name, item["resourceType"], said) for (name, item), said in zip(made, found, strict=True) if said]
    assert not wrong[:5]


WRONG: tuple[tuple[str, dict[str, Any]], ...] = (
    ("DiagnosticReport", {"status": "nonsense"}),
    ("DiagnosticReport", {"code": None}),
    ("DiagnosticReport", {"results": []}),
    ("Observation", {"issued": "yesterday"}),
    ("Observation", {"dataAbsentReason": {"text": "with a value"}}),
    ("Observation", {"valueString": "a second value"}),
    ("Observation", {"device": {"reference": "urn:uuid:0a1a2a3a-0000-4000-8000-000000000000", "type": "Patient"}}),
    ("BodyStructure", {"patient": None}),
    ("ImagingStudy", {"modality": "MR"}),
)


@pytest.mark.parametrize("release", list(Release))
def test_the_validators_can_fail(release: Release) -> None:
    """Zero errors mean something only where errors are found."""
    made = [*resources_of(report.build(plain_content(Outcome.FINDING), release=release))]
    broken = []
    for kind, change in WRONG:
        chosen = copy.deepcopy(next(item for item in made if item["resourceType"] == kind))
        broken.append({key: value for key, value in {**chosen, **change}.items() if value is not None})
    found = judged(broken, release)
    assert [wrong for wrong, said in zip(WRONG, found, strict=True) if not said] == []


@pytest.mark.parametrize("release", list(Release))
def test_fhir_resources_parses_every_resource(release: Release) -> None:
    """R4 by the R4B models, R5 by R5's; nothing is lost or changed on the way but what they write differently."""
    library = importlib.import_module({Release.R4: "fhir.resources.R4B", Release.R5: "fhir.resources"}[release])
    for _, bundle in bundles(release):
        for resource in (*resources_of(bundle), bundle):
            model = library.get_fhir_model_class(resource["resourceType"])
            parsed = json.loads(model.model_validate(resource).model_dump_json())
            if release is Release.R4:
                assert parsed == resource


@pytest.mark.parametrize("release", list(Release))
@pytest.mark.parametrize("name", CASES)
def test_every_reference_within_a_bundle_leads_to_an_entry_of_its_type(name: str, release: Release) -> None:
    """And every entry but the report and the Provenance is referred to, so that nothing is stored in vain."""
    bundle = bundle_of(name, release, tuple(Language)[[*CASES].index(name) % len(Language)])
    types = {entry["fullUrl"]: entry["resource"]["resourceType"] for entry in bundle["entry"]}
    found = [item for item in objects(bundle) if str(item.get("reference", "")).startswith("urn:uuid:")]
    assert all(types[item["reference"]] == item["type"] for item in found)
    unnamed = {types[url] for url in types.keys() - {item["reference"] for item in found}}
    assert unnamed == {"Provenance"}


def objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(item)


def test_r5_has_its_own_forms() -> None:
    """Selections of each segment and of the explaining picture; body structures by their own element; no Media."""
    bundle = report.build(plain_content(Outcome.FINDING), release=Release.R5)
    made = list(resources_of(bundle))
    kinds = {item["resourceType"] for item in made}
    assert {"ImagingSelection", "BodyStructure", "DocumentReference"} <= kinds
    assert "Media" not in kinds
    selections = [item for item in made if item["resourceType"] == "ImagingSelection"]
    assert [item["code"]["coding"][0]["code"] for item in selections] == ["121191", "130401"]
    segment = selections[0]["instance"][0]
    told = plain_content(Outcome.FINDING)
    assert segment["uid"] == told.objects_with("segmentation")[0].sop_instance_uid
    assert segment["subset"] == ["1"]
    (structure,) = (item for item in made if item["resourceType"] == "BodyStructure")
    assert structure["includedStructure"][0]["spatialReference"][0]["type"] == "ImagingSelection"
    assert structure["includedStructure"][0]["laterality"]["coding"][0]["code"] == "7771000"
    assert structure["identifier"][0]["value"] == f"urn:oid:{told.findings.regions[0].tracking_uid}"
    volume = next(item for item in made if item.get("code", {}).get("text", "").startswith("Volume"))
    assert volume["bodyStructure"]["type"] == "BodyStructure"
    assert {item["type"] for item in volume["derivedFrom"]} == {"ImagingStudy", "ImagingSelection"}


def test_r4_refers_to_the_body_structure_by_the_standard_extension() -> None:
    """R4's Observation has no element for it."""
    bundle = report.build(plain_content(Outcome.FINDING))
    volume = next(i for i in resources_of(bundle) if i.get("code", {}).get("text", "").startswith("Volume"))
    (extension,) = volume["bodySite"]["extension"]
    assert extension["url"] == "http://hl7.org/fhir/StructureDefinition/bodySite"
    assert extension["valueReference"]["type"] == "BodyStructure"
    assert volume["bodySite"]["coding"][0]["code"] == "12738006"


@pytest.mark.parametrize("release", list(Release))
def test_a_refusal_says_nothing_of_the_patient(release: Release) -> None:
    """Nor of the order: registered, with why; no value, no class, no code of a conclusion, no picture."""
    bundle = report.build(refusal_of("refused"), release=release)
    made = {item["resourceType"]: item for item in resources_of(bundle)}
    assert set(made) == {"ImagingStudy", "Device", "Observation", "DiagnosticReport", "Provenance"}
    assert made["DiagnosticReport"]["status"] == "registered"
    assert made["Observation"]["status"] == "cancelled"
    assert "basedOn" not in made["DiagnosticReport"]
    assert "basedOn" not in made["Observation"]
    assert made["ImagingStudy"]["basedOn"]
    assert "did not read this series: slices are missing (MISSING_SLICES)" in made["DiagnosticReport"]["conclusion"]
    assert "conclusionCode" not in made["DiagnosticReport"]
    assert made["Observation"]["dataAbsentReason"]["coding"][0]["code"] == "not-performed"
    assert not [key for key in made["Observation"] if key.startswith("value")]
    assert not any(term in json.dumps(bundle).lower() for term in ("glioma", "393564001", "52101004", "272519000"))


@pytest.mark.skipif(not REAL.is_dir(), reason="real series are not here (../shared/data/dicom)")
@pytest.mark.parametrize("name", short(["siemens_prisma_t1_sag_2d_HFS", "ge_signa_pd_ax"], "ge_signa_pd_ax"))
def test_bundles_of_real_series_are_valid(name: str) -> None:
    """Headers as scanners wrote them, with findings that no model made."""
    try:
        series = read_path(REAL / name)
        context = context_of(series.datasets, None, Outcome.NO_FINDING)
    except Refused as refusal:
        pytest.skip(f"not one volume: {refusal.code}")
    told = report_content(context, build_all(context), recorded=RECORDED)
    for release in Release:
        bundle = report.build(told, release=release)
        assert not [said for said in judged([bundle, *resources_of(bundle)], release) if said]
