"""How the hospital's own resources are looked for, and what an error may repeat."""

from __future__ import annotations

import httpx
import pytest

from fhir.server.answers import failure, redacted
from fhir.server.subjects import identifying_texts, literal, logical_references, searched
from pipeline.errors import PeerBusy, PeerUnavailable, Rejected
from pipeline.findings.model import Outcome
from tests.peers.fhir_bundles import plain_bundle

PATIENT = {"type": "Patient", "identifier": {"system": "urn:oid:1.2", "value": "4711"}, "display": "Müller, Änne"}
ORDER = {"type": "ServiceRequest", "identifier": {"value": "A|1,2"}}
BUNDLE = {"entry": [{"resource": {"subject": PATIENT, "basedOn": [ORDER]}}, {"resource": {"subject": dict(PATIENT)}}]}


def test_a_reference_that_stands_often_is_looked_for_once() -> None:
    """Every observation names the patient; one search answers for all."""
    assert logical_references(BUNDLE, "Patient") == [PATIENT]
    assert len(logical_references(plain_bundle(Outcome.FINDING), "Patient")) == 1


def test_without_a_system_no_patient_is_looked_for() -> None:
    """Another hospital's number 4711 would match as well; a configured system makes it safe."""
    bare = {"type": "Patient", "identifier": {"value": "4711"}}
    assert searched(bare, None, BUNDLE) is None
    assert searched(bare, "urn:oid:9", BUNDLE) == {"identifier": "urn:oid:9|4711"}


def test_an_order_is_looked_for_within_its_patient() -> None:
    """An accession number without a system is sought only where the patient is known; separators are escaped."""
    assert searched(ORDER, None, BUNDLE) is None
    known = literal(BUNDLE, PATIENT, "Patient/p1")
    assert searched(ORDER, None, known) == {"identifier": r"A\|1\,2", "subject": "Patient/p1"}


def test_resolving_changes_a_copy() -> None:
    """The Bundle on disk is what is sent again; identifier and name stay beside the literal reference."""
    known = literal(BUNDLE, PATIENT, "Patient/p1")
    assert [entry["resource"]["subject"]["reference"] for entry in known["entry"]] == ["Patient/p1"] * 2
    assert known["entry"][0]["resource"]["subject"]["identifier"] == PATIENT["identifier"]
    assert "reference" not in PATIENT


@pytest.mark.parametrize(
    "said",
    [
        "Patient 4711 is unknown",
        'no match for "Müller, Änne"',
        "no match for M\\u00fcller",
        "GET Patient?name=M%C3%BCller",
        "MÜLLER is locked",
        "order A|1,2 is closed",
    ],
)
def test_what_names_the_patient_is_removed(said: str) -> None:
    """Number, name, part of the name and accession, however the server writes them."""
    clean = redacted(said, identifying_texts(BUNDLE))
    assert "[removed]" in clean
    assert not any(text in clean.casefold() for text in ("4711", "ller", "änne", "a|1"))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 412, 413, 415, 422, 302, 501, 505])
def test_what_is_final_is_rejected(status: int) -> None:
    """4xx is permanent but for those below; a redirect is a wrong URL; 501 and 505 say what a server cannot do."""
    assert isinstance(failure(status, httpx.Response(status), "here", ()), Rejected)


@pytest.mark.parametrize("status", [408, 409, 423, 425, 429, 503])
def test_what_means_later_is_tried_again(status: int) -> None:
    """Timeout, conflict, locked, too early, too many requests, unavailable."""
    error = failure(status, httpx.Response(status, headers={"Retry-After": "120"}), "here", ())
    assert isinstance(error, PeerBusy)
    assert error.retry_after == 120


@pytest.mark.parametrize("status", [500, 502, 504, 507])
def test_a_failing_server_is_tried_again(status: int) -> None:
    """5xx."""
    assert isinstance(failure(status, httpx.Response(status), "here", ()), PeerUnavailable)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Mon, 05 Jan 2026 12:01:30 GMT", 90),
        ("Mon, 05 Jan 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_may_be_a_date(value: str, seconds: float | None) -> None:
    """Counted from the server's own clock; nonsense is ignored."""
    headers = {"Retry-After": value, "Date": "Mon, 05 Jan 2026 12:00:00 GMT"}
    error = failure(429, httpx.Response(429, headers=headers), "here", ())
    assert isinstance(error, PeerBusy)
    assert error.retry_after == seconds
