"""What a FHIR server has more than once under one identifier, and the two meanings of its 412."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fhir import report
from fhir.server.auth import Bearer
from fhir.server.client import FhirClient
from fhir.server.stored import objects
from pipeline.errors import PeerBusy, Rejected
from pipeline.findings.model import Outcome
from tests.peers.fhir_bundles import PATIENT_SYSTEM, bundle_of, content_of, resources
from tests.peers.fhir_relay import in_pages, is_transaction, relay
from tests.peers.fhir_server import FhirServer
from tests.peers.http import Asked, Reply

Json = dict[str, Any]
DUPLICATE = {"severity": "error", "code": "multiple-matches", "diagnostics": "Several resources match"}


@pytest.fixture
def server(fhir_server: FhirServer) -> FhirServer:
    return fhir_server


class Counted:
    """Counts the transactions that a relay sees; ``answer`` replaces the server's answer to other requests."""

    def __init__(self, answer: Callable[[Asked], Reply | None] = lambda _: None) -> None:
        self.transactions = 0
        self._answer = answer

    def __call__(self, asked: Asked) -> Reply | None:
        self.transactions += is_transaction(asked)
        return self._answer(asked)


def bundle(key: str, revision: int = 1) -> Json:
    return report.build(content_of(Outcome.FINDING, key, revision=revision))


def there(server: FhirServer, made: Json) -> Json:
    """The server's only report of the series of ``made``."""
    lasting = resources(made, "DiagnosticReport")[0]["identifier"][0]
    found = server.get("DiagnosticReport", identifier=f"{lasting['system']}|{lasting['value']}")
    (entry,) = found["entry"]
    stored: Json = entry["resource"]
    return stored


def hospital_study(made: Json, **more: Any) -> Json:
    study = resources(made, "ImagingStudy")[0]
    keys = ("resourceType", "status", "identifier")
    return {**{key: study[key] for key in keys}, "subject": {"display": "known to the hospital"}, **more}


def forbidden(asked: Asked) -> Reply | None:
    """Lets nobody search."""
    return Reply(403, {"resourceType": "OperationOutcome", "issue": []}) if asked.path.endswith("_search") else None


@pytest.mark.parametrize("searchable", [True, False])
def test_two_studies_of_one_identifier_do_not_hold_the_report_up(server: FhirServer, searchable: bool) -> None:
    """It names the study by identifier, nothing refers to either study, and the job says why; a resend changes nothing.
    So does the report to a server that permits no search.
    """
    made = bundle(f"two-studies-{searchable}")
    for _ in range(2):
        server.post(hospital_study(made))
    studies = server.count("ImagingStudy")
    counted = Counted() if searchable else Counted(forbidden)
    with relay(server, counted) as url:
        receipt = FhirClient(url).send(made)
        assert counted.transactions == 1
        assert FhirClient(url).send(made).created == ()
    assert ("more than one ImagingStudy" if searchable else "permits no search for an ImagingStudy") in str(receipt)
    stored = there(server, made)
    (named,) = stored["imagingStudy"]
    assert "reference" not in named
    assert named["identifier"] == resources(made, "ImagingStudy")[0]["identifier"][0]
    assert server.count("ImagingStudy") == studies
    tag = stored["meta"]["tag"][0]
    observations = server.get("Observation", _tag=f"{tag['system']}|{tag['code']}", _count="50")["entry"]
    assert len(observations) == len(resources(made, "Observation"))
    for entry in observations:
        assert all("reference" not in item for item in entry["resource"].get("derivedFrom", ()))


def test_a_study_entered_in_error_is_not_referred_to(server: FhirServer) -> None:
    made = bundle("study-in-error")
    server.post(hospital_study(made, status="entered-in-error"))
    assert "entered in error" in str(FhirClient(server.url).send(made))
    assert "reference" not in there(server, made)["imagingStudy"][0]


def test_two_of_ours_do_not_hold_a_report_up(server: FhirServer) -> None:
    """A server that once created a resource twice: the report arrives and names it by identifier."""
    for kind in ("Device", "Observation", "BodyStructure", "Media", "Provenance"):
        root = "1.2.276.0.99" if kind == "Device" else None  # every report of a model shares its device
        made = report.build(content_of(Outcome.FINDING, f"two-{kind}", root))
        resource = resources(made, kind)[0]
        for _ in range(2):
            server.post(unlinked(resource))
        counted = Counted()
        with relay(server, counted) as url:
            receipt = FhirClient(url).send(made)
        assert counted.transactions == 2
        assert f"more than one {kind} under" in str(receipt)
        assert len(there(server, made)["result"]) == len(resources(made, "DiagnosticReport")[0]["result"])


def unlinked(resource: Json) -> Json:
    """``resource`` without references into its Bundle."""
    made = json.loads(json.dumps(resource))
    for item in objects(made):
        if str(item.get("reference", "")).startswith("urn:uuid:"):
            del item["reference"]
            item["display"] = "x"
    return made


def test_two_reports_of_one_run_are_left_alone(server: FhirServer) -> None:
    """The server has the report, twice: a resend makes no third, and says so."""
    made = bundle("two-reports")
    FhirClient(server.url).send(made)
    stored = there(server, made)
    server.post({key: value for key, value in stored.items() if key != "id"})
    receipt = FhirClient(server.url).send(made)
    assert (receipt.created, receipt.updated) == ((), ())
    assert "more than one DiagnosticReport" in str(receipt)


def test_two_orders_of_one_number_are_named_by_it(server: FhirServer) -> None:
    made = bundle_of(Outcome.NO_FINDING, "two-orders")
    patient = server.post(
        {"resourceType": "Patient", "identifier": [{"system": PATIENT_SYSTEM, "value": "PHANTOM-two-orders"}]}
    )
    subject = {"reference": f"Patient/{patient['id']}"}
    order = {"resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": subject}
    for _ in range(2):
        server.post({**order, "identifier": [{"value": "ACC-two-orders"}]})
    receipt = FhirClient(server.url).send(made)
    assert "more than one ServiceRequest" in str(receipt)
    stored = there(server, made)
    assert stored["subject"]["reference"] == subject["reference"]
    assert "reference" not in stored["basedOn"][0]


def test_a_412_that_nothing_explains_is_final(server: FhirServer) -> None:
    """No wait changes it: a dead letter that shows what the server said, after one transaction."""

    def refuses(asked: Asked) -> Reply | None:
        return Reply(412, {"resourceType": "OperationOutcome", "issue": [DUPLICATE]}) if is_transaction(asked) else None

    for key, answer in (("plain", refuses), ("blind", lambda asked: refuses(asked) or forbidden(asked))):
        counted = Counted(answer)
        with relay(server, counted) as url, pytest.raises(Rejected, match="Several resources match") as caught:
            FhirClient(url).send(bundle(f"unexplained-{key}"))
        assert caught.value.details == ("error/multiple-matches: Several resources match",)
        assert "more than once" in str(caught.value)
        assert counted.transactions == 1


def test_a_version_that_is_no_longer_current_is_tried_again(server: FhirServer) -> None:
    """412 of If-Match. Where the version named is still current, or cannot be read, the request decides: final only
    where nothing changed.
    """
    first, second = bundle("conflict"), bundle("conflict", 2)
    FhirClient(server.url).send(first)
    stored = there(server, first)
    changed = 0

    def meddles(asked: Asked) -> Reply | None:
        nonlocal changed
        if is_transaction(asked) and not changed:
            changed += 1
            server.put({**stored, "language": "en-GB"})
        return None

    with relay(server, meddles) as url:
        with pytest.raises(PeerBusy, match="another version"):
            FhirClient(url).send(second)
        assert "is amended" in str(FhirClient(url).send(second))
    third = bundle("conflict", 3)

    def refuses(asked: Asked) -> Reply | None:
        return Reply(412, {"resourceType": "OperationOutcome", "issue": [DUPLICATE]}) if is_transaction(asked) else None

    def unreadable(asked: Asked) -> Reply | None:
        return refuses(asked) or (Reply(403, None) if asked.method == "GET" else None)

    with relay(server, refuses) as url, pytest.raises(Rejected, match="Several"):
        FhirClient(url).send(third)
    with relay(server, unreadable) as url, pytest.raises(PeerBusy, match="another version"):
        FhirClient(url).send(third)


def test_a_failed_entry_of_an_accepted_transaction_counts(server: FhirServer) -> None:
    """A server that answers 200, with a 412 among the entries."""
    made = report.build(content_of(Outcome.FINDING, "entry-412", "1.2.276.0.98"))
    for _ in range(2):
        server.post(unlinked(resources(made, "Device")[0]))

    def lenient(asked: Asked) -> Reply | None:
        if not (is_transaction(asked) and "Device" in {kind(item) for item in json.loads(asked.body)["entry"]}):
            return None
        outcome = {"resourceType": "OperationOutcome", "issue": [DUPLICATE]}
        entry = {"response": {"status": "412 Precondition Failed", "outcome": outcome}}
        return Reply(200, {"resourceType": "Bundle", "type": "transaction-response", "entry": [entry]})

    def kind(entry: Json) -> str:
        return str(entry["resource"]["resourceType"])

    with relay(server, lenient) as url:
        assert "more than one Device" in str(FhirClient(url).send(made))
    assert there(server, made)


def test_a_token_that_ends_between_two_pages_is_renewed(server: FhirServer) -> None:
    """401 on the second page: another token, the same page once more, and on. Answered 401 again: a dead letter."""
    for key, ends in (("renewed", 1), ("refused", 99)):
        tokens = ["first"]
        asked_for: list[str] = []
        known = server.post(
            {"resourceType": "Patient", "identifier": [{"system": PATIENT_SYSTEM, "value": f"PHANTOM-{key}"}]}
        )
        pages = in_pages(server, "Patient", lead=2)

        def answer(
            asked: Asked,
            tokens: list[str] = tokens,
            asked_for: list[str] = asked_for,
            ends: int = ends,
            pages: Any = pages,
        ) -> Reply | None:
            if asked.method == "GET" and len(asked_for) < ends:
                asked_for.append(asked.headers["Authorization"])
                tokens.append(f"token-{len(tokens)}")
            if asked.headers["Authorization"] != f"Bearer {tokens[-1]}":
                issue = {**DUPLICATE, "code": "login", "diagnostics": f"{asked.headers['Authorization']} has ended"}
                return Reply(401, {"resourceType": "OperationOutcome", "issue": [issue]})
            return pages(asked)

        with relay(server, answer) as url:
            client = FhirClient(url, authorization=Bearer(lambda tokens=tokens: tokens[-1]))
            made = bundle(key)
            if ends == 1:
                client.send(made)
                assert there(server, made)["subject"]["reference"] == f"Patient/{known['id']}"
                assert asked_for == ["Bearer first"]
            else:
                with pytest.raises(Rejected, match="401") as caught:
                    client.send(made)
                assert asked_for == ["Bearer first", "Bearer token-1"]
                assert "token-1" not in str(caught.value)


def test_a_search_that_ended_between_two_pages_is_made_again(server: FhirServer) -> None:
    """410 Gone: a server keeps the pages of a search for a while only. The next try searches anew."""
    server.post({"resourceType": "Patient", "identifier": [{"system": PATIENT_SYSTEM, "value": "PHANTOM-gone"}]})
    pages = in_pages(server, "Patient", lead=1)
    gone = [Reply(410, {"resourceType": "OperationOutcome", "issue": []})]

    def answer(asked: Asked) -> Reply | None:
        return gone.pop() if gone and asked.method == "GET" else pages(asked)

    with relay(server, answer) as url:
        with pytest.raises(PeerBusy):
            FhirClient(url).send(bundle("gone"))
        assert FhirClient(url).send(bundle("gone")).created
