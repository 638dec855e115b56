"""The HL7 v2 profile and the FHIR CapabilityStatements say what is sent and asked, and are valid themselves."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import hl7
import pytest

from dicom_node.audit import trail as audit
from dicom_node.conformance import hl7v2
from dicom_node.conformance.fhir_client import PARAMETER_TYPES, exchanges
from dicom_node.conformance.page import capability_file, capability_json
from dicom_node.deliver.hl7v2 import oru
from dicom_node.deliver.hl7v2.er7 import ENCODINGS
from dicom_node.settings.hl7v2 import Hl7v2Destination
from fhir.audit_event import transaction
from fhir.release import Json, Release
from fhir.report import build
from fhir.server.ambiguous import duplicates, versions
from fhir.server.amend import settle
from fhir.server.closing import closing
from fhir.server.same_patient import Patients
from fhir.server.study_merge import with_study
from fhir.server.subjects import literal, logical_references, searched
from pipeline.findings.model import Outcome
from pipeline.report.patient_study import Issued, Patient, Study
from pipeline.report.withdrawal import Reason, Withdrawal
from tests.conftest import ROOT
from tests.peers.fhir_bundles import content_of
from tests.peers.fhir_validators import problems
from tests.peers.hl7v2 import ORDERED, PATIENT, REFUSED
from tests.peers.hl7v2 import content_of as hl7_content
from tools.fhir_server import NoFhirServer

BASE = "https://ehr.example/fhir"


@pytest.mark.parametrize("release", Release)
def test_the_capability_statements_are_up_to_date_and_valid(release: Release) -> None:
    """`python -m dicom_node.conformance.page` writes them."""
    text = (ROOT / "docs" / capability_file(release)).read_text()
    assert text == capability_json(release)
    statement = json.loads(text)
    wrong = {**statement, "kind": "client"}
    try:
        found, of_wrong = problems([statement, wrong], release)
    except NoFhirServer as reason:
        pytest.skip(str(reason))
    assert found == []
    assert of_wrong


class Server:
    """Stands for a server that has ``stored``, and records what is searched for and posted."""

    def __init__(self, stored: Iterable[Json] = ()) -> None:
        self.stored = list(stored)
        self.searched: set[tuple[str, str]] = set()
        self.created: set[str] = set()
        self.updated: set[str] = set()

    def search(self, kind: str, query: Mapping[str, str]) -> list[Json]:
        self.searched |= {(kind, name) for name in query}
        return [item for item in self.stored if item["resourceType"] == kind]

    def take(self, bundle: Json) -> None:
        """Settle and record ``bundle`` as the client does."""
        patients = Patients(self.search, BASE)
        settled = settle(bundle, self.search, BASE, patients).bundle
        assert settled is not None
        merged = with_study(settled, self.search, BASE, patients).bundle
        duplicates(merged, self.search)
        for entry in merged["entry"]:
            assert ("ifNoneExist" in entry["request"]) != ("ifMatch" in entry["request"])
        self.created |= {e["resource"]["resourceType"] for e in merged["entry"] if e["request"]["method"] == "POST"}
        self.updated |= {place.split("/")[0] for place in versions(merged)}


def stored(bundle: Json, subject: str) -> list[Json]:
    """The resources of ``bundle`` as a server has them, of the Patient ``subject``."""
    found = []
    for number, entry in enumerate(bundle["entry"]):
        resource = {**entry["resource"], "id": str(number)}
        resource["meta"] = {**resource["meta"], "versionId": "1"}
        if "subject" in resource:
            resource["subject"] = {"reference": subject}
        found.append(resource)
    return found


@pytest.mark.parametrize("release", Release)
def test_the_fhir_client_does_what_its_statement_says(release: Release, tmp_path: Path) -> None:
    """Over a new report, one that amends it, the look for patient, order and final report, and the audit trail."""
    first, later = (
        build(content_of(Outcome.FINDING, "stated", revision=revision), release=release) for revision in (1, 2)
    )
    server = Server()
    server.take(first)
    (patient,), (order,) = (logical_references(first, kind) for kind in ("Patient", "ServiceRequest"))
    known = {"resourceType": "Patient", "id": "1", "identifier": [patient["identifier"]]}
    server.stored = [*stored(first, "Patient/1"), known]
    server.take(later)
    literal_patient = literal(first, patient, "Patient/1")
    for reference, bundle in ((patient, first), (order, literal_patient)):
        server.searched |= {(reference["type"], name) for name in searched(reference, "urn:x", bundle) or ()}
    based = {"basedOn": [{"reference": "ServiceRequest/1"}]}
    server.stored = [
        {**item, **based} if item["resourceType"] == "DiagnosticReport" else item for item in stored(first, "Patient/1")
    ]
    assert not closing(first, server.search, BASE, Patients(server.search, BASE)).done
    if release is Release.R4:
        audit.AuditTrail(tmp_path).record(SENT)
        (record,) = (item for path in audit.files(tmp_path) for item in audit.read(path))
        server.created |= {entry["resource"]["resourceType"] for entry in transaction([record], "CANDELA")["entry"]}
    stated = tuple(exchanges(release))
    assert server.searched == {(item.kind, name) for item in stated for name in item.search}
    assert server.created == {item.kind for item in stated if item.creates}
    assert server.updated == {item.kind for item in stated if item.updates}
    assert {name for _, name in server.searched} == set(PARAMETER_TYPES)


NOBODY = Patient(Issued("4711", None), "", "", "", "")
SENT = audit.AuditRecord(
    audit.Activity.EXPORT,
    audit.ActionCode.CREATE,
    audit.OutcomeIndicator.SUCCESS,
    source=audit.Party("CANDELA", "node"),
    destination=audit.Party("ehr", "fhir", BASE),
)
EVERYWHERE = Hl7v2Destination(
    kind="hl7v2", host="localhost", port=1, sending_facility="A", receiving_application="B", receiving_facility="C",
    character_set="ISO IR87",
)  # fmt: skip
NOWHERE = Hl7v2Destination(kind="hl7v2", host="localhost", port=1, sending_application="", character_set="ASCII")


@functools.cache
def messages() -> tuple[hl7.Message, ...]:
    """With all that a study can have and with nothing of it; a finding, a refusal, and a withdrawal."""
    ordered = replace(ORDERED, description="MR", referring_physician="A^B", requesting_physician="C^D")
    full = replace(hl7_content(patient=replace(PATIENT, dicom_name="A^B", name="A B")), study=ordered)
    bare = replace(hl7_content(patient=NOBODY), study=Study("1.2.3.1", None, "", None), acquired=None)
    built = [
        oru.build(of, destination, pdf)
        for of, destination, pdf in (
            (full, EVERYWHERE, b"%PDF"),
            (bare, NOWHERE, None),
            (replace(full, findings=REFUSED), EVERYWHERE, None),
            (replace(bare, findings=REFUSED), NOWHERE, None),
        )
    ]
    said = Withdrawal("job", Reason.QUALITY, "blurred", datetime(2026, 11, 30, tzinfo=UTC), "operator")
    built.append(oru.build(full, EVERYWHERE, withdrawal=said))
    codecs = [ENCODINGS[item.character_set].codec for item in (EVERYWHERE, NOWHERE, EVERYWHERE, NOWHERE, EVERYWHERE)]
    return tuple(hl7.parse(item.data.decode(codec)) for item, codec in zip(built, codecs, strict=True))


def fields(message: hl7.Message) -> Iterator[tuple[str, set[str]]]:
    """Each segment's name, and hl7apy's names of its fields that are not empty."""
    for segment in message:
        name = str(segment[0])
        yield name, {f"{name}_{number}" for number in range(1, len(segment)) if str(segment[number])}


def test_no_segment_or_field_is_sent_that_the_profile_lacks_and_each_is_sent() -> None:
    sent = [found for message in messages() for _, found in fields(message)]
    assert set().union(*sent) == set(hl7v2.FIELDS)
    assert {name for message in messages() for name, _ in fields(message)} == set(hl7v2.SEGMENTS)


def test_required_fields_are_in_every_segment_and_others_are_not() -> None:
    every: dict[str, list[set[str]]] = {}
    for message in messages():
        for name, found in fields(message):
            every.setdefault(name, []).append(found)
    always = {field for found in every.values() for field in set.intersection(*found)}
    assert {name for name, (usage, _) in hl7v2.FIELDS.items() if usage == "R"} == always
    needed = {name for segment in hl7v2.SEGMENTS for name, item in hl7v2.standard(segment).items() if item[2][0]}
    assert needed <= always
    assert {usage for usage, _ in hl7v2.FIELDS.values()} == set(hl7v2.USAGE)


def test_a_field_has_no_more_repetitions_than_the_standard_allows() -> None:
    for message in messages():
        for segment in message:
            known = hl7v2.standard(str(segment[0]))
            for number in range(3 if str(segment[0]) == "MSH" else 1, len(segment)):
                least, most = known[f"{segment[0]}_{number}"][2]
                assert most < 0 or len(segment[number]) <= max(most, least, 1)
