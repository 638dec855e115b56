"""A FHIR server that takes single resources: no transaction, no conditional create, and nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dicom_node.deliver.stored_ids import StoredIdsFile
from fhir import report
from fhir.server.client import FhirClient
from fhir.server.stored import kind_of, objects
from pipeline.errors import PeerBusy, PeerUnavailable, Rejected
from pipeline.findings.model import Outcome
from pipeline.report.withdrawal import Reason, Withdrawal
from tests.peers.fhir_bundles import content_of
from tests.peers.fhir_relay import handed_on, relay
from tests.peers.fhir_server import FhirServer
from tests.peers.http import Asked, Reply

Json = dict[str, Any]
KINDS = ("ImagingStudy", "Device", "BodyStructure", "Observation", "Media", "DiagnosticReport", "Provenance")
REFUSED = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "not-supported"}]}


def bundle(key: str, outcome: Outcome = Outcome.FINDING, revision: int = 1) -> Json:
    return report.build(content_of(outcome, key, revision=revision))


def only_single(asked: Asked) -> Reply | None:
    """An EHR without transactions and conditional creates."""
    conditional = any(name.lower() == "if-none-exist" for name in asked.headers)
    is_base = asked.method == "POST" and asked.path.rstrip("/").endswith("/R4")
    return Reply(422, REFUSED) if is_base or conditional else None


def is_create(asked: Asked) -> bool:
    return asked.method == "POST" and not asked.path.endswith("_search")


def counts(server: FhirServer) -> Counter[str]:
    return Counter({kind: server.count(kind) for kind in KINDS})


def ids_in(folder: Path) -> StoredIdsFile:
    """The ids that the run in ``folder`` noted."""
    folder.mkdir(exist_ok=True)
    return StoredIdsFile(folder, "the server")


def wanted(made: Json) -> Counter[str]:
    return Counter(kind_of(entry) for entry in made["entry"])


def test_every_resource_is_created_once_and_the_report_comes_last(own_fhir_server: FhirServer, tmp_path: Path) -> None:
    """References lead to what was created; a resend creates nothing; a later revision amends; a withdrawal follows."""
    before, made = counts(own_fhir_server), bundle("singly")
    order: list[str] = []

    def seen(asked: Asked) -> Reply | None:
        order.extend([asked.path.rpartition("/")[2]] if is_create(asked) else [])
        return only_single(asked)

    with relay(own_fhir_server, seen) as url:
        client, ids = FhirClient(url, singly=True), StoredIdsFile(tmp_path, url)
        assert len(client.send(made, ids).created) in (
            len(made["entry"]),
            len(made["entry"]) - 1,
        )  # the Device may be there
        assert order[-2:] == ["DiagnosticReport", "Provenance"]
        assert counts(own_fhir_server) - before | Counter(["Device"]) == wanted(made)
        assert client.send(made, ids).created == ()
        assert client.send(made).created == ()  # the journal is gone: the search finds it all
        later = client.send(bundle("singly", revision=2), ids_in(tmp_path / "later"))
        assert any(name.startswith("DiagnosticReport/") for name in later.updated)
        said = Withdrawal("job", Reason.QUALITY, "blurred", datetime(2026, 11, 30, tzinfo=UTC), "operator")
        assert "withdrawn" in str(client.withdraw(bundle("singly", revision=2), said))
    (found,) = (
        entry["resource"]
        for entry in own_fhir_server.get("DiagnosticReport", _count="100")["entry"]
        if entry["resource"]["identifier"][0]["value"] == _report(made)["identifier"][0]["value"]
    )
    assert found["status"] == "entered-in-error"
    assert not [item for item in objects(found) if str(item.get("reference")).startswith("urn:")]


def _report(made: Json) -> Json:
    found: Json = next(entry["resource"] for entry in made["entry"] if kind_of(entry) == "DiagnosticReport")
    return found


def failing(number: int, fail: Callable[[Asked], Reply]) -> Callable[[Asked], Reply | None]:
    """Answers create ``number`` (from 1) by ``fail``, once."""
    seen = 0

    def answer(asked: Asked) -> Reply | None:
        nonlocal seen
        seen += is_create(asked)
        return fail(asked) if is_create(asked) and seen == number else only_single(asked)

    return answer


def test_what_was_cut_off_is_neither_lost_nor_doubled(own_fhir_server: FhirServer, tmp_path: Path) -> None:
    """A 503 in the middle, and an answer that is lost after the server stored the resource."""
    before, made = counts(own_fhir_server), bundle("cut off")

    def lost(asked: Asked) -> Reply:
        handed_on(own_fhir_server, asked)
        return Reply(201, {"resourceType": "Observation", "id": "never read"}, cut=True)

    ids = ids_in(tmp_path / "ids")
    for fail, error in (((lambda _: Reply(503)), PeerBusy), (lost, PeerUnavailable)):
        with relay(own_fhir_server, failing(3, fail)) as url, pytest.raises(error):
            FhirClient(url, singly=True).send(made, ids)
    with relay(own_fhir_server, only_single) as url:
        FhirClient(url, singly=True).send(made, ids_in(tmp_path / "ids"))
    # The device of the model may be there from another report.
    assert counts(own_fhir_server) - before | Counter(["Device"]) == wanted(made)


def test_a_server_without_searches_gets_nothing_twice(own_fhir_server: FhirServer, tmp_path: Path) -> None:
    """By the ids on disk. Where an answer was lost, nobody knows: a human looks."""
    before, made = counts(own_fhir_server), bundle("unsearchable")

    def unsearchable(asked: Asked) -> Reply | None:
        return Reply(403, REFUSED) if asked.path.endswith("_search") else only_single(asked)

    with relay(own_fhir_server, unsearchable) as url:
        FhirClient(url, singly=True).send(made, StoredIdsFile(tmp_path, url))
        FhirClient(url, singly=True).send(made, StoredIdsFile(tmp_path, url))
        sent = wanted(made) - Counter(["ImagingStudy"])
        assert counts(own_fhir_server) - before == sent
        with pytest.raises(Rejected, match="earlier revision"):
            FhirClient(url, singly=True).send(bundle("unsearchable", revision=2))

    def lost(asked: Asked) -> Reply | None:
        return Reply(201, {"id": "x"}, cut=True) if is_create(asked) else unsearchable(asked)

    with relay(own_fhir_server, lost) as url:
        ids = StoredIdsFile(tmp_path, "another")
        with pytest.raises(PeerUnavailable):
            FhirClient(url, singly=True).send(made, ids)
    with relay(own_fhir_server, unsearchable) as url, pytest.raises(Rejected, match="answer was lost"):
        FhirClient(url, singly=True).send(made, StoredIdsFile(tmp_path, "another"))
    assert counts(own_fhir_server) - before == sent
