"""Searches that a real server forbids, gives in pages, or answers with others; and workers that post at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from fhir import report
from fhir.server.client import FhirClient, Receipt
from pipeline.errors import PeerBusy, Rejected
from pipeline.findings.identity import derived_uid
from pipeline.findings.model import Outcome
from tests.peers.fhir_bundles import PATIENT_SYSTEM, bundle_of, content_of, resources
from tests.peers.fhir_relay import in_pages, meeting, relay
from tests.peers.fhir_server import FhirServer
from tests.peers.http import Asked, Reply

Json = dict[str, Any]
KINDS = ("ImagingStudy", "BodyStructure", "Observation", "Media", "DiagnosticReport", "Provenance")


@pytest.fixture(scope="module")
def server(fhir_server: FhirServer) -> FhirServer:
    return fhir_server


def bundle(key: str, revision: int = 1, outcome: Outcome = Outcome.FINDING) -> Json:
    return report.build(content_of(outcome, key, revision=revision))


def patient(key: str) -> Json:
    return {"resourceType": "Patient", "identifier": [{"system": PATIENT_SYSTEM, "value": f"PHANTOM-{key}"}]}


def stored(server: FhirServer, kind: str, made: Json) -> list[Json]:
    """What the server has under the first identifier of the Bundle's resource of type ``kind``."""
    identifier = resources(made, kind)[0]["identifier"][0]
    found = server.get(kind, identifier=f"{identifier['system']}|{identifier['value']}")
    return [entry["resource"] for entry in found.get("entry", ())]


def no_search(status: int, *kinds: str) -> Any:
    """Answers ``status`` to searches for ``kinds``, or for anything."""

    def answer(asked: Asked) -> Reply | None:
        forbidden = asked.path.endswith("_search") and (not kinds or asked.path.split("/")[-2] in kinds)
        return Reply(status, {"resourceType": "OperationOutcome", "issue": []}) if forbidden else None

    return answer


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_where_patients_may_not_be_searched_for_the_reference_stays_logical(server: FhirServer, status: int) -> None:
    """The report is stored, names the patient by identifier, and the receipt says why; a resend doubles nothing."""
    made = bundle(f"hidden-{status}")
    server.post(patient(f"hidden-{status}"))
    patients = server.count("Patient")
    with relay(server, no_search(status, "Patient")) as url:
        receipt = FhirClient(url).send(made)
        assert FhirClient(url).send(made).created == ()
    (there,) = stored(server, "DiagnosticReport", made)
    assert "reference" not in there["subject"]
    assert there["subject"]["identifier"]["value"] == f"PHANTOM-hidden-{status}"
    assert "permits no search for a Patient" in str(receipt)
    assert server.count("Patient") == patients


@pytest.mark.parametrize("status", [403, 405])
def test_a_server_that_lets_nobody_search_keeps_the_first_revision(server: FhirServer, status: int) -> None:
    """Conditional create makes resends safe without a search; a later revision is a dead letter that says what to do,
    and goes once searching is permitted.
    """
    first, second = bundle(f"blind-{status}"), bundle(f"blind-{status}", 2)
    with relay(server, no_search(status)) as url:
        client = FhirClient(url)
        client.send(first)
        assert client.send(first).created == ()
        with pytest.raises(Rejected, match="permits no search") as caught:
            client.send(second)
    assert "Permit us to search" in str(caught.value)
    (kept,) = stored(server, "DiagnosticReport", first)
    assert kept["conclusion"] == resources(first, "DiagnosticReport")[0]["conclusion"]
    assert "is amended" in str(FhirClient(server.url).send(second))
    (after,) = stored(server, "DiagnosticReport", first)
    assert (after["id"], "this replaces" in after["conclusion"]) == (kept["id"], True)


def test_the_second_page_of_a_search_counts(server: FhirServer) -> None:
    """One patient on the first page and one on the second are two; an OperationOutcome among them is none."""
    for _ in range(2):
        server.post(patient("paged-two"))
    with relay(server, in_pages(server, "Patient")) as url:
        receipt = FhirClient(url).send(made := bundle("paged-two"))
    assert "more than one Patient matches" in str(receipt)
    assert "reference" not in stored(server, "DiagnosticReport", made)[0]["subject"]


def test_a_match_on_a_later_page_is_found(server: FhirServer) -> None:
    """Pages may be empty, and there may be more all the same."""
    known = server.post(patient("paged-one"))
    with relay(server, in_pages(server, "Patient", lead=2)) as url:
        FhirClient(url).send(made := bundle("paged-one"))
    assert stored(server, "DiagnosticReport", made)[0]["subject"]["reference"] == f"Patient/{known['id']}"


def test_a_report_is_amended_whatever_the_size_of_a_page(server: FhirServer) -> None:
    """What vanished is marked, on whichever page it stood."""
    first, second = bundle("paged-late"), bundle("paged-late", 2, Outcome.NO_FINDING)
    with relay(server, in_pages(server, "Observation", of=2)) as url:
        FhirClient(url).send(first)
        assert "is amended" in str(FhirClient(url).send(second))
    tag = resources(first, "Observation")[0]["meta"]["tag"][0]
    found = server.get("Observation", _tag=f"{tag['system']}|{tag['code']}", _count="50")["entry"]
    statuses = [entry["resource"]["status"] for entry in found]
    assert (statuses.count("entered-in-error"), statuses.count("preliminary")) == (4, 5)


@pytest.mark.parametrize("there", [{}, {"identifier": [{"system": "urn:oid:1.9.9", "value": "PHANTOM-lenient"}]}])
def test_a_patient_who_does_not_show_the_identifier_is_not_ours(server: FhirServer, there: Json) -> None:
    """A server that ignores what is searched for answers with whom it has: nobody is taken for somebody else."""
    other = server.post({"resourceType": "Patient", **there})

    def lenient(asked: Asked) -> Reply | None:
        if not asked.path.endswith("Patient/_search"):
            return None
        return Reply(200, {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": other}]})

    with relay(server, lenient) as url:
        FhirClient(url).send(made := bundle(f"lenient{len(there)}"))
    assert "reference" not in stored(server, "DiagnosticReport", made)[0]["subject"]


def at_once(url: str, *bundles: Json) -> list[Receipt | Exception]:
    """Each Bundle sent by a client of its own at the same time; what is to be tried again is, as the engine does."""
    done: list[Receipt | Exception] = []
    busy: list[PeerBusy] = []

    def send(made: Json) -> None:
        for _ in range(5):
            try:
                done.append(FhirClient(url).send(made))
            except PeerBusy as error:
                busy.append(error)
            except Exception as error:  # noqa: BLE001  (the test looks at it)
                done.append(error)
                return
            else:
                return

    threads = [threading.Thread(target=send, args=(made,)) for made in bundles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert busy, "nobody met anybody: the race did not happen"
    return done


def held(number: int) -> Any:
    hold = meeting(number)

    def answer(asked: Asked) -> Reply | None:
        hold(asked)
        return None

    return answer


def test_workers_that_post_one_report_at_once_leave_one(server: FhirServer) -> None:
    """All of them have searched before the first posts; the conditional create lets one through."""
    made = bundle("race")
    before = {kind: server.count(kind) for kind in KINDS}
    with relay(server, held(3)) as url:
        done = at_once(url, made, made, made)
    assert all(isinstance(item, Receipt) for item in done), done
    assert {kind: server.count(kind) - before[kind] for kind in KINDS} == {
        kind: len(resources(made, kind)) for kind in KINDS
    }


def test_two_revisions_at_once_leave_the_later_one(server: FhirServer) -> None:
    """Whichever comes first; also where nothing else of the report shows that the two met."""
    first, second = bundle("race-revisions"), bundle("race-revisions", 2)
    study = resources(first, "ImagingStudy")[0]
    keys = ("resourceType", "status", "identifier", "subject")
    server.post({key: study[key] for key in keys})
    with relay(server, held(2)) as url:
        done = at_once(url, first, second)
    assert all(isinstance(item, Receipt) for item in done), done
    (there,) = stored(server, "DiagnosticReport", first)
    assert "this replaces" in there["conclusion"]


def test_two_workers_that_amend_at_once_amend_once(server: FhirServer) -> None:
    """If-Match: the server answers 412 to the second, which then finds its own revision there."""
    first, second = bundle("race-amend"), bundle("race-amend", 2)
    FhirClient(server.url).send(first)
    with relay(server, held(2)) as url:
        done = at_once(url, second, second)
    assert all(isinstance(item, Receipt) for item in done), done
    (there,) = stored(server, "DiagnosticReport", first)
    history = server.get(f"DiagnosticReport/{there['id']}/_history")["entry"]
    assert len(history) == 2


def series_of(study: Json) -> dict[str, set[str]]:
    """Instances by series."""
    return {item["uid"]: {one["uid"] for one in item.get("instance", ())} for item in study["series"]}


def test_an_amendment_adds_its_instances_to_the_study(server: FhirServer) -> None:
    """The PACS has both revisions' objects: the ImagingStudy lists both, once, in whichever order they come; the later
    count of the source's images holds, and resends change nothing.
    """
    first, second = bundle("study"), bundle("study", 2)
    late = resources(second, "ImagingStudy")[0]["series"][0]
    late["numberOfInstances"] += 1
    FhirClient(server.url).send(first)
    FhirClient(server.url).send(second)
    (there,) = stored(server, "ImagingStudy", first)
    expected: dict[str, set[str]] = {}
    for made in (first, second):
        for uid, instances in series_of(resources(made, "ImagingStudy")[0]).items():
            expected.setdefault(uid, set()).update(instances)
    assert series_of(there) == expected
    counted = {item["uid"]: item["numberOfInstances"] for item in there["series"]}
    assert counted[late["uid"]] == late["numberOfInstances"]
    for again in (second, first):
        FhirClient(server.url).send(again)
    assert stored(server, "ImagingStudy", first) == [there]
    (report_there,) = stored(server, "DiagnosticReport", first)
    assert report_there["imagingStudy"][0]["reference"] == f"ImagingStudy/{there['id']}"


def of_one_study(key: str, *patients: str) -> tuple[Json, Json]:
    """Reports of two series of one study, of one patient or of the two ``patients``."""
    uid = derived_uid("study", key)
    names = patients or (f"PHANTOM-{key}",) * 2
    first, second = (
        bundle_of(Outcome.NO_FINDING, f"{key}-{number}", StudyInstanceUID=uid, PatientID=name)
        for number, name in enumerate(names, start=1)
    )
    return first, second


@pytest.mark.parametrize("known", [True, False])
def test_a_series_of_another_patient_is_kept_apart_from_the_first_ones_study(server: FhirServer, known: bool) -> None:
    """Whether the server knows the patients or not: the second report names the study by identifier alone."""
    key = f"two-patients-{known}"
    bundles = of_one_study(key, f"{key}-A", f"{key}-B")
    if known:
        for name in "AB":
            identifier = {"system": PATIENT_SYSTEM, "value": f"{key}-{name}"}
            server.post({"resourceType": "Patient", "identifier": [identifier]})
    first, second = (FhirClient(server.url).send(made) for made in bundles)
    assert "another patient" not in str(first)
    assert "is another patient's" in str(second)
    (study,) = stored(server, "ImagingStudy", bundles[0])
    assert series_of(study) == series_of(resources(bundles[0], "ImagingStudy")[0])
    for made, referred in zip(bundles, (True, False), strict=True):
        (report,) = stored(server, "DiagnosticReport", made)
        assert ("reference" in report["imagingStudy"][0]) == referred
        assert ("reference" in report["subject"]) == known


def test_a_second_series_of_a_study_is_added_to_it(server: FhirServer) -> None:
    """Another model, or another series: one ImagingStudy with all of it, also where both come at once."""
    for key, bundles in (("after", of_one_study("after")), ("at once", of_one_study("at once"))):
        if key == "after":
            for made in bundles:
                FhirClient(server.url).send(made)
        else:
            with relay(server, held(2)) as url:
                assert all(isinstance(item, Receipt) for item in at_once(url, *bundles))
        (there,) = stored(server, "ImagingStudy", bundles[0])
        expected = {}
        for made in bundles:
            expected |= series_of(resources(made, "ImagingStudy")[0])
        assert series_of(there) == expected


def test_the_hospitals_own_study_is_left_as_it_is(server: FhirServer) -> None:
    """It lacks our tag: the report refers to it, and what it lists is for whoever keeps it."""
    first, second = bundle("own-study"), bundle("own-study", 2)
    study = resources(first, "ImagingStudy")[0]
    own = {"resourceType": "ImagingStudy", "status": "available", "identifier": study["identifier"]}
    kept = server.post({**own, "subject": {"display": "known to the hospital"}})
    for made in (first, second):
        FhirClient(server.url).send(made)
    assert stored(server, "ImagingStudy", first) == [kept]
    (there,) = stored(server, "DiagnosticReport", first)
    assert there["imagingStudy"][0]["reference"] == f"ImagingStudy/{kept['id']}"


def test_a_study_that_the_hospital_completed_keeps_what_it_added(server: FhirServer) -> None:
    """A series of its own, a description: ours are added beside them, by an update of the version that was read."""
    first, second = bundle("shared"), bundle("shared", 2)
    FhirClient(server.url).send(first)
    (study,) = stored(server, "ImagingStudy", first)
    extra = {"uid": "1.2.3.4", "modality": study["modality"][0]}
    completed = server.put({**study, "description": "MR of the head", "series": [*study["series"], extra]})
    FhirClient(server.url).send(second)
    (there,) = stored(server, "ImagingStudy", first)
    assert there["description"] == "MR of the head"
    assert "1.2.3.4" in series_of(there)
    assert len(there["series"]) > len(completed["series"])
