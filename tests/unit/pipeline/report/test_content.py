"""The stored findings: whole after a trip through their file, small, and nothing else is taken for them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pipeline import phantom
from pipeline.caveats import Caveat, CaveatCode, free_text
from pipeline.errors import Broken
from pipeline.findings.identity import UNNUMBERED, Predecessor, RunIdentity, derived_uid
from pipeline.findings.model import Outcome
from pipeline.reading.files import Series
from pipeline.report.answer import Refusal
from pipeline.report.content import facts_of_refusal, from_json, to_json
from tests.conformance.synthetic import MODEL
from tests.peers.fhir_bundles import READ, facts_of, plain_facts


@pytest.mark.parametrize("outcome", READ)
def test_what_is_stored_is_what_is_read(outcome: Outcome) -> None:
    """Figures, codes, instants and the picture's bytes."""
    told = plain_facts(outcome)
    assert from_json(to_json(told)) == told
    assert to_json(from_json(to_json(told))) == to_json(told)


def test_names_of_every_script_survive() -> None:
    """As text, whatever the header's character set was."""
    told = facts_of(Outcome.NO_FINDING, key="script", PatientName="Müller^Änne=山田^太郎 😀")
    assert from_json(to_json(told)).patient == told.patient
    assert told.patient.dicom_name == "Müller^Änne=山田^太郎 😀"


def test_it_is_small() -> None:
    """No pixels but the key picture's: no engine, disk or reader minds it."""
    assert len(to_json(plain_facts(Outcome.FINDING))) < 700_000


def test_a_refusal_has_facts_too() -> None:
    """Whose series it was, which model refused it and why; no class, no picture."""
    series = phantom.head_phantom(slices=4, matrix=32)
    run = RunIdentity(str(series[0].SeriesInstanceUID), "0" * 64, MODEL.digest)
    told = facts_of_refusal(
        Series(series), Refusal("MISSING_SLICES", "Slices are missing."), MODEL, run, recorded=datetime.now(UTC)
    )
    assert from_json(to_json(told)) == told
    assert told.answer.outcome is Outcome.REFUSED
    assert told.source.instances == 4
    assert (told.answer.probabilities, told.objects, told.picture) == ((), (), None)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'{"patient": 3}', b"\xff\xfe", to_json(plain_facts(Outcome.FINDING))[:-100]]
)
def test_anything_else_is_broken(data: bytes) -> None:
    """A damaged file is our fault and says where it lies; no patient stands in the error."""
    with pytest.raises(Broken, match=r"here\.json") as caught:
        from_json(data, where="here.json")
    assert "PHANTOM" not in str(caught.value)


def test_facts_that_0_1_0_stored_keep_their_uids() -> None:
    """They name no results revision and digests alone: reports built from them today refer to the objects of then."""
    current = plain_facts(Outcome.FINDING)
    content = json.loads(to_json(current))
    del content["run"]["results_revision"]
    content["run"]["predecessors"] = ["c" * 64]
    read = from_json(json.dumps(content).encode())
    assert read.run == replace(
        current.run, predecessors=(Predecessor("c" * 64, UNNUMBERED),), results_revision=UNNUMBERED
    )
    assert read.run.uid("observation") == derived_uid(
        "run", read.run.series_instance_uid, read.run.instances, MODEL.digest, "after", "c" * 64, "observation"
    )


def test_sentences_that_0_1_0_stored_as_caveats_are_read() -> None:
    """It stored what they said in English: codes are found again where nothing was filled in."""
    content = json.loads(to_json(plain_facts(Outcome.FINDING)))
    tilted = "The slices are stacked 12.5 degrees off their normal (tilted gantry); each is kept in its true place."
    content["answer"]["caveats"] = ["The body part is not stated in the images.", tilted]
    read = from_json(json.dumps(content).encode())
    assert read.answer.caveats == (Caveat(CaveatCode.BODY_PART_ABSENT), free_text(tilted))
    assert from_json(to_json(read)) == read


def test_caveats_are_stored_as_codes_with_values() -> None:
    """No sentence, so that each language can be made of it."""
    caveat = Caveat(CaveatCode.WEIGHTING_INFERRED, {"weighting": "T1", "attributes": ("EchoTime", "RepetitionTime")})
    told = plain_facts(Outcome.FINDING)
    told = replace(told, answer=replace(told.answer, caveats=(caveat,)))
    assert json.loads(to_json(told))["answer"]["caveats"] == [
        {"code": "WEIGHTING_INFERRED", "values": {"weighting": "T1", "attributes": ["EchoTime", "RepetitionTime"]}}
    ]
    assert from_json(to_json(told)) == told


def test_lasting_uids_outlive_revisions_and_model_versions() -> None:
    """The report of revision 2 is the report of revision 1; its own run's UIDs are others."""
    first = plain_facts(Outcome.FINDING)
    other = facts_of(Outcome.FINDING, key="elsewhere")
    assert first.lasting_uid("diagnostic report") == plain_facts(Outcome.FINDING).lasting_uid("diagnostic report")
    assert first.lasting_uid("diagnostic report") != other.lasting_uid("diagnostic report")
    assert first.lasting_uid("diagnostic report") != first.run.uid("diagnostic report")
