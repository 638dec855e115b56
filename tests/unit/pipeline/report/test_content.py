"""The stored report content: whole after a trip through their file, small, and nothing else is taken for them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from fhir import report
from fhir.release import Release
from pipeline import phantom
from pipeline.caveats import Caveat, CaveatCode, free_text
from pipeline.errors import Broken
from pipeline.findings.identity import UNNUMBERED, Predecessor, RunIdentity, derived_uid
from pipeline.findings.model import Outcome
from pipeline.reading.files import Series
from pipeline.report.content import content_of_refusal
from pipeline.report.findings import Refusal
from pipeline.report.patient_study import acquired, acquired_local
from pipeline.report.stored import EARLIER_FILENAME, FILENAME, from_json, stored_in, to_json
from tests.conformance.synthetic import MODEL
from tests.peers.fhir_bundles import READ, as_earlier, content_of, plain_content, without_sides


@pytest.mark.parametrize("outcome", READ)
def test_what_is_stored_is_what_is_read(outcome: Outcome) -> None:
    """Figures, codes, instants and the picture's bytes."""
    told = plain_content(outcome)
    assert from_json(to_json(told)) == told
    assert to_json(from_json(to_json(told))) == to_json(told)


def test_names_of_every_script_survive() -> None:
    """As text, whatever the header's character set was."""
    told = content_of(Outcome.NO_FINDING, key="script", PatientName="Müller^Änne=山田^太郎 😀")
    assert from_json(to_json(told)).patient == told.patient
    assert told.patient.dicom_name == "Müller^Änne=山田^太郎 😀"


def test_it_is_small() -> None:
    """No pixels but the key picture's: no engine, disk or reader minds it."""
    assert len(to_json(plain_content(Outcome.FINDING))) < 700_000


def test_a_refusal_has_content_too() -> None:
    """Whose series it was, which model refused it and why; no class, no picture."""
    series = phantom.head_phantom(slices=4, matrix=32)
    run = RunIdentity(str(series[0].SeriesInstanceUID), "0" * 64, MODEL.digest)
    told = content_of_refusal(
        Series(series), Refusal("MISSING_SLICES", "Slices are missing."), MODEL, run, recorded=datetime.now(UTC)
    )
    assert from_json(to_json(told)) == told
    assert told.findings.outcome is Outcome.REFUSED
    assert told.source.instances == 4
    assert (told.findings.probabilities, told.objects, told.picture) == ((), (), None)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"patient": 3}', b"\xff\xfe", None], ids=repr)
def test_anything_else_is_broken(data: bytes | None) -> None:
    """A damaged file, also one that was cut off (None), is our fault; the error says where, and names no patient."""
    if data is None:
        data = to_json(plain_content(Outcome.FINDING))[:-100]
    with pytest.raises(Broken, match=r"here\.json") as caught:
        from_json(data, where="here.json")
    assert "PHANTOM" not in str(caught.value)


@pytest.mark.parametrize("outcome", READ)
def test_what_an_earlier_version_stored_is_read(outcome: Outcome) -> None:
    """Under its own names, with measurements that had no codes; reports of it say the same. It has no clock time and
    no side of a lesion.
    """
    current = without_sides(plain_content(outcome))
    read = from_json(json.dumps(as_earlier(current)).encode())
    assert read == replace(current, acquired_local=None)
    for release in Release:
        assert report.build(read, release=release) == report.build(current, release=release)


def test_a_damaged_file_of_an_earlier_version_is_broken() -> None:
    """A region without a measurement is not made up."""
    stored = as_earlier(plain_content(Outcome.FINDING))
    del stored["answer"]["regions"][0]["volume_mm3"]
    with pytest.raises(Broken):
        from_json(json.dumps(stored).encode())


def test_what_0_1_0_stored_keeps_its_uids() -> None:
    """It names no results revision and digests alone: reports built from it today refer to the objects of then."""
    current = plain_content(Outcome.FINDING)
    stored = as_earlier(current)
    del stored["run"]["results_revision"], stored["run"]["began"]
    stored["run"]["predecessors"] = ["c" * 64]
    read = from_json(json.dumps(stored).encode())
    assert read.run == replace(
        current.run, predecessors=(Predecessor("c" * 64, UNNUMBERED),), results_revision=UNNUMBERED, began=None
    )
    assert read.run.uid("observation") == derived_uid(
        "run", read.run.series_instance_uid, read.run.instances, MODEL.digest, "after", "c" * 64, "observation"
    )


def test_sentences_that_an_earlier_version_stored_as_caveats_are_read() -> None:
    """Codes are found again where nothing was filled in."""
    stored = as_earlier(plain_content(Outcome.FINDING))
    tilted = "The slices are stacked 12.5 degrees off their normal (tilted gantry); each is kept in its true place."
    stored["answer"]["caveats"] = ["The body part is not stated in the images.", tilted]
    read = from_json(json.dumps(stored).encode())
    assert read.findings.caveats == (Caveat(CaveatCode.BODY_PART_ABSENT), free_text(tilted))
    assert from_json(to_json(read)) == read


def test_the_stored_content_is_found_among_the_files_of_a_delivery(tmp_path: Path) -> None:
    """Under the name of this version or an earlier one; also where the series was read again since it was queued."""
    now, earlier = tmp_path / FILENAME, tmp_path / EARLIER_FILENAME
    earlier.touch()
    assert stored_in((tmp_path / "fhir-bundle.json", earlier)) == earlier
    earlier.unlink()
    assert stored_in((tmp_path / "fhir-bundle.json", earlier)) == now
    assert stored_in((now, tmp_path / "report.pdf")) == now
    assert stored_in((tmp_path / "fhir-bundle.json",)) is None


def test_caveats_are_stored_as_codes_with_values() -> None:
    """No sentence, so that each language can be made of it."""
    caveat = Caveat(CaveatCode.WEIGHTING_INFERRED, {"weighting": "T1", "attributes": ("EchoTime", "RepetitionTime")})
    told = plain_content(Outcome.FINDING)
    told = replace(told, findings=replace(told.findings, caveats=(caveat,)))
    assert json.loads(to_json(told))["findings"]["caveats"] == [
        {"code": "WEIGHTING_INFERRED", "values": {"weighting": "T1", "attributes": ["EchoTime", "RepetitionTime"]}}
    ]
    assert from_json(to_json(told)) == told


def test_lasting_uids_outlive_revisions_and_model_versions() -> None:
    """The report of revision 2 is the report of revision 1; its own run's UIDs are others."""
    first = plain_content(Outcome.FINDING)
    other = content_of(Outcome.FINDING, key="elsewhere")
    assert first.lasting_uid("diagnostic report") == plain_content(Outcome.FINDING).lasting_uid("diagnostic report")
    assert first.lasting_uid("diagnostic report") != other.lasting_uid("diagnostic report")
    assert first.lasting_uid("diagnostic report") != first.run.uid("diagnostic report")


@pytest.mark.parametrize(
    ("attributes", "day", "clock"),
    [
        ({}, "2026-01-05", "2026-01-05T11:30:15"),
        ({"TimezoneOffsetFromUTC": "+0200"}, "2026-01-05T11:30:15+02:00", None),
        ({"AcquisitionTime": ""}, "2026-01-05", None),
        ({"AcquisitionTime": "25"}, "2026-01-05", None),
        ({"AcquisitionDate": ""}, "2026-01-06", "2026-01-06T09:00:00"),
        ({"AcquisitionDate": "", "SeriesDate": "", "StudyDate": ""}, None, None),
    ],
)
def test_a_clock_without_a_zone_is_kept_beside_the_day(
    attributes: dict[str, str], day: str | None, clock: str | None
) -> None:
    """Of the same date and time: no clock of one with the day of another."""
    header = Dataset()
    start = {"AcquisitionDate": "20260105", "AcquisitionTime": "113015.25", "SeriesDate": "20260106"}
    for keyword, value in {**start, "SeriesTime": "090000", **attributes}.items():
        setattr(header, keyword, value)
    assert (acquired(header), acquired_local(header)) == (day, clock)


def test_content_of_an_earlier_version_has_no_order_and_no_clock() -> None:
    told = plain_content(Outcome.FINDING)
    earlier = from_json(json.dumps(as_earlier(told)).encode())
    assert (earlier.acquired_local, earlier.study.admission, earlier.study.referring_physician) == (None, None, "")
    assert earlier.acquired == told.acquired
