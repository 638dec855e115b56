"""A FHIR destination gets the report in its release and language, and refusals where it wants them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dicom_node.deliver.fhir import FhirSender
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import ResultRef, SeriesResult
from dicom_node.jobs.workflows import fan_out
from dicom_node.settings.destinations import FhirDestination, FolderDestination
from dicom_node.settings.tree import Settings
from pipeline.errors import Broken
from pipeline.findings.model import Outcome
from pipeline.report.sentences import Language
from pipeline.report.stored import EARLIER_FILENAME, FILENAME, page_filename, to_json
from tests.peers.fhir_bundles import as_earlier, content_of, without_sides
from tests.peers.http import HttpPeer, Reply

PDF = b"%PDF-1.7\nnot a page, but bytes"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    """What a run leaves for its FHIR deliveries."""
    content, pdf = (tmp_path / name for name in (FILENAME, page_filename(Language.ENGLISH)))
    content.write_bytes(to_json(content_of(Outcome.FINDING)))
    pdf.write_bytes(PDF)
    return content, pdf


@contextmanager
def server() -> Iterator[tuple[HttpPeer, list[dict[str, Any]]]]:
    """One that knows nothing; and the transactions that were posted to it."""
    posted: list[dict[str, Any]] = []

    def answer(asked: Any) -> Reply:
        if asked.path.endswith("_search"):
            return Reply(200, {"resourceType": "Bundle", "type": "searchset"})
        posted.append(json.loads(asked.body))
        return Reply(200, {"resourceType": "Bundle", "type": "transaction-response"})

    with HttpPeer(answer) as peer:
        yield peer, posted


def sent(files: tuple[Path, ...], folder: Path, **form: Any) -> dict[str, Any]:
    with server() as (peer, posted):
        FhirSender(FhirDestination(kind="fhir", url=peer.url, **form), folder / "locks").send(files)
    (bundle,) = posted
    return bundle


def report_in(bundle: dict[str, Any]) -> dict[str, Any]:
    return next(e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "DiagnosticReport")


def test_each_destination_gets_its_release_and_language(files: tuple[Path, ...], tmp_path: Path) -> None:
    """From the same stored content; the PDF goes along with its size."""
    first = report_in(sent(files, tmp_path))
    other = report_in(sent(files, tmp_path, release="R5", language="de"))
    assert "imagingStudy" in first
    assert first["conclusion"].startswith("The algorithm suggests glioma")
    assert "study" in other
    assert other["conclusion"].startswith("Hinweis des Algorithmus: Gliom")
    assert other["language"] == "de"
    for made in (first, other):
        html, pdf = made["presentedForm"]
        assert (html["contentType"], pdf["contentType"]) == ("text/html", "application/pdf")
        assert base64.b64decode(pdf["data"]) == PDF
        assert int(pdf["size"]) == len(PDF)
    assert first["identifier"] == other["identifier"]


def test_the_pdf_is_in_the_destinations_language_where_the_run_made_it(files: tuple[Path, ...], tmp_path: Path) -> None:
    """Else in English, and says so."""
    french = tmp_path / page_filename(Language.FRENCH)
    french.write_bytes(b"%PDF-1.7 en francais")
    for language, expected in (("fr", french.read_bytes()), ("es", PDF)):
        _, pdf = report_in(sent((*files, french), tmp_path, language=language))["presentedForm"]
        assert base64.b64decode(pdf["data"]) == expected
        assert pdf["language"] == ("fr" if language == "fr" else "en")


def test_a_resend_is_equal(files: tuple[Path, ...], tmp_path: Path) -> None:
    """The content settles all of it: no clock, nothing random."""
    assert sent(files, tmp_path) == sent(files, tmp_path)


def test_a_run_of_0_1_0_is_posted_as_it_left_it(tmp_path: Path) -> None:
    """A delivery that it queued has the Bundle only."""
    bundle = tmp_path / "fhir-bundle.json"
    bundle.write_text('{"resourceType": "Bundle", "type": "transaction", "total": 7}')
    assert sent((bundle,), tmp_path)["total"] == 7


def test_a_delivery_that_an_earlier_version_queued_is_built_anew(files: tuple[Path, ...], tmp_path: Path) -> None:
    """It names the Bundle and findings.json, in any order; the Bundle is not posted. Read again since: report.json."""
    files[0].write_bytes(to_json(without_sides(content_of(Outcome.FINDING))))
    expected = sent(files, tmp_path)
    bundle, findings = tmp_path / "fhir-bundle.json", tmp_path / EARLIER_FILENAME
    bundle.write_text("{}")
    findings.write_bytes(json.dumps(as_earlier(content_of(Outcome.FINDING))).encode())
    queued = (bundle, findings, files[1])
    assert sent(queued, tmp_path) == expected
    findings.unlink()
    assert sent(queued, tmp_path) == expected


def test_a_damaged_report_content_is_our_fault(files: tuple[Path, ...], tmp_path: Path) -> None:
    """Broken, naming the file; nothing is sent."""
    files[0].write_text("{}")
    with server() as (peer, posted), pytest.raises(Broken, match=FILENAME):
        FhirSender(FhirDestination(kind="fhir", url=peer.url), tmp_path / "locks").send(files)
    assert posted == []


def job(*destinations: str) -> SeriesJob:
    return SeriesJob(
        job_id="1.2:0:0", series_instance_uid="1.2", study_instance_uid="1", revision=1, manifest="m", instances=1,
        calling_ae="A", completion="released", completed_at="2026-01-05T10:00:00+00:00", rule="brain", model="brain",
        destinations=destinations, priority="routine",
    )  # fmt: skip


def test_a_refusal_goes_where_it_is_wanted_only() -> None:
    """By default nobody is told; a FHIR destination with ``refusals`` is; folders and others are not."""
    settings = Settings(
        destinations={
            "plain": FhirDestination(kind="fhir", url="http://a.example"),
            "told": FhirDestination(kind="fhir", url="http://b.example", refusals=True),
            "folder": FolderDestination(kind="folder", path=Path("/tmp/x")),
        }
    )
    results = (ResultRef("fhir-bundle", "fhir", ("report.json",)),)
    names = ("plain", "told", "folder")
    refused = SeriesResult(Outcome.REFUSED, results=results, refusal_code="MISSING_SLICES", refusal="Missing.")
    assert [item.destination for item in fan_out(job(*names), refused, settings)] == ["told"]
    read = SeriesResult(Outcome.FINDING, results=results)
    assert [item.destination for item in fan_out(job(*names), read, settings)] == [*names]


def test_the_sites_zone_makes_an_instant_of_the_modalitys_clock(tmp_path: Path) -> None:
    """Without it the day alone is known."""
    content = replace(content_of(Outcome.NO_FINDING), acquired="2026-07-05", acquired_local="2026-07-05T10:20:30")
    (tmp_path / FILENAME).write_bytes(to_json(content))
    with server() as (peer, posted):
        for zone in (ZoneInfo("Europe/Berlin"), None):
            to = FhirDestination(kind="fhir", url=peer.url)
            FhirSender(to, tmp_path / "locks", zone).send((tmp_path / FILENAME,))
    assert [report_in(bundle)["effectiveDateTime"] for bundle in posted] == ["2026-07-05T10:20:30+02:00", "2026-07-05"]
    instants = {datetime.fromisoformat(report_in(bundle)["issued"]) for bundle in posted}
    assert instants == {content.recorded}
