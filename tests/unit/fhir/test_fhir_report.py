"""The Bundle: what it says, in which codes and identifiers, and what it never says."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from fhir import report
from fhir.bundle.context import patient_reference
from fhir.resources.R4B import get_fhir_model_class
from pipeline.findings import codes
from pipeline.findings.model import Outcome
from pipeline.report.patient_study import patient_of
from pipeline.results.reported import report_content
from tests.conformance import synthetic
from tests.peers import fhir_bundles
from tests.peers.fhir_bundles import (
    READ,
    RECORDED,
    bundle_of,
    context_of,
    plain_bundle,
    plain_content,
    references,
    resources,
    series,
)

FINDING = Outcome.FINDING


def one(bundle: dict[str, Any], kind: str) -> dict[str, Any]:
    (only,) = resources(bundle, kind)
    return only


def html_of(bundle: dict[str, Any]) -> str:
    return base64.b64decode(one(bundle, "DiagnosticReport")["presentedForm"][0]["data"]).decode("utf-8")


@pytest.mark.parametrize("outcome", READ)
def test_every_resource_is_r4b(outcome: Outcome) -> None:
    """fhir.resources parses each resource, and the Bundle, from its JSON."""
    bundle = plain_bundle(outcome)
    for entry in bundle["entry"]:
        model = get_fhir_model_class(entry["resource"]["resourceType"])
        assert json.loads(model.model_validate(entry["resource"]).model_dump_json()) == entry["resource"]
    get_fhir_model_class("Bundle").model_validate(bundle)


@pytest.mark.parametrize("outcome", READ)
def test_every_entry_is_a_conditional_create_on_its_own_identifier(outcome: Outcome) -> None:
    """A resend finds what is there; no two entries share a search, and each search names the entry's own identifier."""
    searches = []
    for entry in plain_bundle(outcome)["entry"]:
        request, resource = entry["request"], entry["resource"]
        assert (request["method"], request["url"]) == ("POST", resource["resourceType"])
        if resource["resourceType"] == "Provenance":
            tag = resource["meta"]["tag"][-1]
            assert request["ifNoneExist"] == f"_tag={tag['system']}|{tag['code']}"
        else:
            own = [f"identifier={item.get('system')}|{item['value']}" for item in resource["identifier"]]
            assert request["ifNoneExist"] in own
        searches.append(request["ifNoneExist"])
    assert len(set(searches)) == len(searches)


def test_no_patient_and_no_order_is_invented() -> None:
    """Both are references by identifier, and no entry creates one."""
    bundle = plain_bundle(FINDING)
    made = {entry["resource"]["resourceType"] for entry in bundle["entry"]}
    assert made == {"ImagingStudy", "Device", "BodyStructure", "Observation", "Media", "DiagnosticReport", "Provenance"}
    subject = one(bundle, "DiagnosticReport")["subject"]
    assert "reference" not in subject
    assert subject["identifier"]["system"] == "urn:oid:1.2.276.0.99"
    assert subject["identifier"]["value"] == "PHANTOM-finding"
    (order,) = one(bundle, "DiagnosticReport")["basedOn"]
    assert order["identifier"]["type"]["coding"][0]["code"] == "ACSN"
    assert order["identifier"]["value"] == "ACC-finding"


@pytest.mark.parametrize("outcome", READ)
def test_every_local_reference_has_its_entry(outcome: Outcome) -> None:
    """urn:uuid references lead to an entry of the type that they say."""
    bundle = plain_bundle(outcome)
    types = {entry["fullUrl"]: entry["resource"]["resourceType"] for entry in bundle["entry"]}
    found = [item for item in references(bundle) if "reference" in item]
    assert found
    assert all(types[item["reference"]] == item["type"] for item in found)


def test_observations_have_the_observation_uids_of_the_structured_report() -> None:
    """A reader of SR and FHIR can tell that both speak of the same measurement, with the same value."""
    context = context_of(FINDING)
    reports = [item for item in synthetic.build_all(context, synthetic.UNPRINTED) if item.role == "report"]
    bundle = plain_bundle(FINDING)

    def numbers(ds: Any) -> dict[str, float]:
        own = {ds.ObservationUID: float(ds.MeasuredValueSequence[0].NumericValue)} if "ObservationUID" in ds else {}
        for item in ds.get("ContentSequence", []):
            own |= numbers(item)
        return own

    in_report = numbers(reports[0].dataset)
    in_fhir = {
        item["identifier"][0]["value"].removeprefix("urn:oid:"): item["valueQuantity"]["value"]
        for item in resources(bundle, "Observation")
        if "valueQuantity" in item
    }
    assert len(in_report) == 4 + 4  # classes, and measurements of one lesion
    assert in_fhir == pytest.approx(in_report)


def test_identifiers_are_those_that_the_run_derives() -> None:
    """Names of the observations are part of the contract with the structured report."""
    context = context_of(FINDING)
    expected = {context.run.uid("observation", "finding")}
    expected |= {context.run.uid("observation", "probability", item.name) for item in context.findings.probabilities}
    for name in ("volume", "long_axis", "short_axis", "mean_intensity"):
        expected.add(context.run.uid("observation", "lesion", context.findings.regions[0].tracking_id, name))
    found = {
        identifier["value"].removeprefix("urn:oid:")
        for item in resources(plain_bundle(FINDING), "Observation")
        for identifier in item["identifier"]
        if identifier["system"] == "urn:dicom:uid"
    }
    assert found == expected


def test_measurements_carry_code_unit_device_and_study() -> None:
    """Volume in mm³ by UCUM, SNOMED CT code, from this device and these images, with the lesion's tracking UID."""
    context = context_of(FINDING)
    volume = next(
        item for item in resources(plain_bundle(FINDING), "Observation") if item["code"]["text"].startswith("Volume")
    )
    assert volume["code"]["coding"][0]["system"] == "http://snomed.info/sct"
    assert volume["valueQuantity"]["system"] == "http://unitsofmeasure.org"
    assert volume["valueQuantity"]["code"] == "mm3"
    assert volume["valueQuantity"]["value"] == pytest.approx(context.findings.regions[0].value("volume"), abs=0.05)
    assert volume["device"]["type"] == "Device"
    assert volume["derivedFrom"][0]["type"] == "ImagingStudy"
    assert volume["category"][0]["coding"][0]["code"] == "imaging"
    assert context.findings.regions[0].tracking_uid in [item.get("valueString") for item in volume["component"]]


@pytest.mark.parametrize(
    ("outcome", "presence", "conclusion", "words"),
    [
        (Outcome.FINDING, "52101004", "393564001", "suggests glioma"),
        (Outcome.NO_FINDING, "272519000", "272519000", "does not exclude disease"),
        (Outcome.INDETERMINATE, "82334004", "82334004", "no reliable answer"),
    ],
)
def test_each_outcome_has_its_own_truthful_form(outcome: Outcome, presence: str, conclusion: str, words: str) -> None:
    """Present, absent or indeterminate, said in codes and in words; only a finding names a class."""
    bundle = plain_bundle(outcome)
    first = resources(bundle, "Observation")[0]
    assert (
        first["code"]["coding"][0]["code"] == codes.NEOPLASM.value
    )  # a search for it finds the answer, with its value
    assert first["valueCodeableConcept"]["coding"][0]["code"] == presence
    made = one(bundle, "DiagnosticReport")
    assert made["conclusionCode"][0]["coding"][0] | {"display": ""} == {
        "system": "http://snomed.info/sct",
        "code": conclusion,
        "display": "",
    }
    assert words in made["conclusion"]
    assert ("Suggested class" in json.dumps(first)) is (outcome is Outcome.FINDING)


@pytest.mark.parametrize("outcome", READ)
def test_everything_says_that_it_is_an_unverified_algorithms(outcome: Outcome) -> None:
    """Preliminary, no human interpreter, the AIAST label, and the sentence in every form that is read."""
    bundle = plain_bundle(outcome)
    made = one(bundle, "DiagnosticReport")
    assert made["status"] == "preliminary"
    assert not {"performer", "resultsInterpreter"} & set(made)
    assert "not for diagnosis" in made["conclusion"]
    assert "AI result, not verified, not for diagnosis" in html_of(bundle)
    for entry in bundle["entry"]:
        resource = entry["resource"]
        if resource["resourceType"] != "ImagingStudy":  # the hospital's study, not ours
            assert resource["meta"]["security"][0]["code"] == "AIAST"
        if resource["resourceType"] in ("Observation", "Media", "Device"):
            assert "not for diagnosis" in resource["note"][0]["text"]
        if resource["resourceType"] == "Observation":
            assert resource["status"] == "preliminary"
    provenance = one(bundle, "Provenance")
    assert {item["type"] for item in provenance["target"]} >= {"DiagnosticReport", "Observation", "Media"}
    assert provenance["agent"][0]["who"]["type"] == "Device"


@pytest.mark.parametrize("outcome", READ)
def test_attachments_tell_their_size_and_hash(outcome: Outcome) -> None:
    """So that a reader knows that nothing was cut: bytes and SHA-1 (R4, Attachment)."""
    bundle = plain_bundle(outcome)
    for item in (one(bundle, "DiagnosticReport")["presentedForm"][0], one(bundle, "Media")["content"]):
        data = base64.b64decode(item["data"], validate=True)
        assert item["size"] == len(data)
        assert item["hash"] == base64.b64encode(hashlib.sha1(data).digest()).decode()


def test_the_study_lists_source_and_results() -> None:
    """The series that was read, counted; and each result series with its instances."""
    study = one(plain_bundle(FINDING), "ImagingStudy")
    source, *results = study["series"]
    assert (source["numberOfInstances"], source["modality"]["code"]) == (8, "MR")
    assert "instance" not in source
    assert {item["modality"]["code"] for item in results} == {"OT", "SEG", "SR", "PR", "KO", "DOC"}
    assert all(len(item["instance"]) == item["numberOfInstances"] for item in results)
    assert study["identifier"][0]["value"].startswith("urn:oid:2.25.")
    assert study["started"] == "2026-01-05"  # the header has no time zone, so no hour can be claimed


def test_another_model_is_another_device() -> None:
    """The device UID is the one of the results, and changes with the model's digest."""
    context = context_of(FINDING)
    device = one(plain_bundle(FINDING), "Device")
    assert device["identifier"][0]["value"] == f"urn:oid:{context.run.device_uid}"
    assert context.findings.model.digest in [item["value"] for item in device["version"]]


def test_the_same_run_gives_the_same_bundle() -> None:
    """Nothing in it is random or read from a clock."""
    assert bundle_of(FINDING) == plain_bundle(FINDING)


def test_an_organisations_root_is_kept() -> None:
    """UIDs begin with it, fullUrls stay UUIDs."""
    bundle = bundle_of(Outcome.NO_FINDING, root="1.2.276.0.7230010.3.99")
    assert one(bundle, "Device")["identifier"][0]["value"].startswith("urn:oid:1.2.276.0.7230010.3.99.")
    assert all(entry["fullUrl"].startswith("urn:uuid:") for entry in bundle["entry"])


class Collector(HTMLParser):
    """Tags, and text outside of style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_names_that_look_like_markup_stay_names() -> None:
    """HTML, quotes, accents and emoji in headers are shown as they are and change neither page nor JSON."""
    name, study = 'Mü<script>alert(1)</script>"&^Änne 😀', '</title><img src=x onerror="alert(1)"> {{ 7*7 }} \\'
    bundle = bundle_of(FINDING, key="markup", PatientName=name, StudyDescription=study)
    page = Collector(html_of(bundle))
    assert 'Mü<script>alert(1)</script>"&, Änne 😀' in page.text
    assert study in page.text
    assert "script" not in page.tags
    assert page.tags.count("img") == 1  # the key picture
    assert json.loads(json.dumps(bundle)) == bundle
    assert one(bundle, "DiagnosticReport")["subject"]["display"] == 'Mü<script>alert(1)</script>"&, Änne 😀'


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou"),
        ("=山田^太郎", "山田^太郎"),
        ("Doe^Jane^Q^Dr", "Doe, Jane Q"),
        ("back\\slash^A\x1b\x00", "back\\slash, A"),
        ("^^", "Unnamed"),
    ],
)
def test_names_are_shown_as_readers_write_them(name: str, shown: str) -> None:
    """Alphabetic group first; no control character reaches FHIR, whose strings have none."""
    header = series("names")[0]
    header.PatientName = name
    told = replace(plain_content(Outcome.NO_FINDING), patient=patient_of(header))
    assert patient_reference(told)["display"] == shown


def test_the_page_needs_nothing_from_anywhere() -> None:
    """No script, no link, no foreign source: it opens in an EHR without network."""
    page = html_of(plain_bundle(FINDING))
    assert not {"script", "link", "iframe"} & set(Collector(page).tags)
    assert "http" not in re.sub(r'src="data:image/[^"]+"', "", page).replace("http-equiv", "")
    assert 'src="data:image/' in page


def test_the_key_picture_is_in_the_bundle_once_beside_the_pdf() -> None:
    """The HTML page leaves it to the report's media and the PDF: it would be three quarters of the Bundle."""
    content = fhir_bundles.content_of(Outcome.FINDING, "once")
    assert content.picture is not None
    with_pdf, without = (report.build(content, pdf=pdf) for pdf in (b"%PDF-1.7", None))
    assert "data:image/" not in html_of(with_pdf)
    assert one(with_pdf, "Media")["content"]["data"] == one(without, "Media")["content"]["data"]
    assert len(json.dumps(with_pdf)) < 0.5 * len(json.dumps(without))


@pytest.mark.parametrize(
    ("attributes", "identifier"),
    [
        ({"IssuerOfPatientID": ""}, {"value": "PHANTOM-issuer"}),
        ({"IssuerOfPatientID": "ST MARY"}, {"value": "PHANTOM-issuer", "assigner": {"display": "ST MARY"}}),
        ({"IssuerOfPatientID": "https://mary.example/mrn"}, {"system": "https://mary.example/mrn"}),
        ({"IssuerOfPatientID": "1.2.840.3"}, {"system": "urn:oid:1.2.840.3"}),
    ],
)
def test_only_an_issuer_that_is_a_uri_or_oid_is_a_system(
    attributes: dict[str, str], identifier: dict[str, Any]
) -> None:
    """FHIR's system is a URI; a plain name is kept as the assigner's."""
    subject = one(bundle_of(Outcome.NO_FINDING, key="issuer", **attributes), "DiagnosticReport")["subject"]
    found = {key: subject["identifier"].get(key) for key in ("system", "value", "assigner")}
    expected = {"system": None, "value": "PHANTOM-issuer", "assigner": None} | identifier
    assert found == expected


def test_qualified_issuers_are_systems() -> None:
    """A Universal Entity ID of type ISO says whose number it is, for patient and accession."""
    qualifier = series()[0].__class__()
    qualifier.UniversalEntityID, qualifier.UniversalEntityIDType = "1.2.3.4", "ISO"
    bundle = bundle_of(
        Outcome.NO_FINDING,
        key="qualified",
        IssuerOfPatientID="ST MARY",
        IssuerOfPatientIDQualifiersSequence=[qualifier],
        IssuerOfAccessionNumberSequence=[qualifier],
    )
    made = one(bundle, "DiagnosticReport")
    assert made["subject"]["identifier"]["system"] == "urn:oid:1.2.3.4"
    assert made["basedOn"][0]["identifier"]["system"] == "urn:oid:1.2.3.4"


def test_a_header_that_says_little_still_makes_a_report() -> None:
    """No name, number, accession, dates: nothing is made up in their place."""
    empty = dict.fromkeys(
        ("PatientName", "PatientID", "AccessionNumber", "StudyDate", "SeriesDate", "AcquisitionDate"), ""
    )
    bundle = bundle_of(Outcome.NO_FINDING, key="little", **empty)
    made = one(bundle, "DiagnosticReport")
    assert made["subject"] == {"type": "Patient", "display": "Unnamed"}
    assert not {"basedOn", "effectiveDateTime"} & set(made)
    assert "started" not in one(bundle, "ImagingStudy")


@pytest.mark.parametrize(
    ("attributes", "started"),
    [
        ({"TimezoneOffsetFromUTC": "+0200"}, "2026-01-05T10:15:00+02:00"),
        ({"TimezoneOffsetFromUTC": "-0330"}, "2026-01-05T10:15:00-03:30"),
        ({"TimezoneOffsetFromUTC": "+0000", "StudyTime": "101500.250000"}, "2026-01-05T10:15:00Z"),
        ({"TimezoneOffsetFromUTC": "+0100", "StudyTime": "10"}, "2026-01-05"),
        ({"StudyDate": "20260231"}, None),
    ],
)
def test_times_claim_no_more_than_the_header_knows(attributes: dict[str, str], started: str | None) -> None:
    """An hour only with its time zone, a day only where it exists."""
    study = one(bundle_of(Outcome.NO_FINDING, key="times", **attributes), "ImagingStudy")
    assert study.get("started") == started


def test_a_report_needs_an_instant_with_its_zone() -> None:
    """FHIR's instant has one; a naive time would be a guess."""
    context = context_of(Outcome.NO_FINDING)
    with pytest.raises(ValueError, match="time zone"):
        report_content(context, (), recorded=datetime(2026, 1, 5))  # noqa: DTZ001


def test_without_a_picture_there_is_no_media() -> None:
    """Where no overlay was made the report stands alone."""
    context = context_of(Outcome.NO_FINDING)
    bundle = report.build(report_content(context, (), recorded=RECORDED))
    assert not resources(bundle, "Media")
    assert "media" not in one(bundle, "DiagnosticReport")
    assert "<img" not in html_of(bundle)
