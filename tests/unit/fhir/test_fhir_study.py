"""What runs add to the ImagingStudy of their study. The real server's part is in tests/integration/test_fhir_search."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from fhir import report
from fhir.release import Release
from fhir.server.same_patient import Patients
from fhir.server.study_merge import UNSEARCHED, Merged, StudyState, merge, with_study
from pipeline.findings.model import Outcome
from tests.peers.fhir_bundles import content_of, references, resources

Json = dict[str, Any]
BASE = "http://ehr.example/fhir"


def bundle(revision: int = 1, release: Release = Release.R4) -> Json:
    return report.build(content_of(Outcome.FINDING, "merge", revision=revision), release=release)


def study(made: Json, **more: Any) -> Json:
    """The Bundle's ImagingStudy as a server keeps it."""
    kept = copy.deepcopy(resources(made, "ImagingStudy")[0])
    kept["meta"] = {**kept["meta"], "versionId": "3", "lastUpdated": "2026-01-05T12:00:00Z"}
    return {**kept, "id": "7", **more}


def posted(made: Json, *stored: Json) -> Merged:
    """What goes to a server that answers every search for studies with ``stored``."""

    def search(_kind: str, _query: Mapping[str, str]) -> list[Json]:
        return copy.deepcopy(list(stored))

    return with_study(made, search, BASE, Patients(search, BASE))


def listed(imaging_study: Json) -> set[tuple[str, str]]:
    return {(item["uid"], one["uid"]) for item in imaging_study["series"] for one in item.get("instance", ())}


@pytest.mark.parametrize("release", list(Release))
def test_a_run_adds_what_is_lacking_and_takes_nothing_away(release: Release) -> None:
    """An update of the version that was read; what leads to the entry leads to the stored study."""
    first, second = bundle(1, release), bundle(2, release)
    before = copy.deepcopy(second)
    merged = posted(second, study(first, description="the hospital's"))
    made = merged.bundle
    assert merged.state is StudyState.THERE
    (update,) = [entry for entry in made["entry"] if entry["resource"]["resourceType"] == "ImagingStudy"]
    assert update["request"] == {"method": "PUT", "url": "ImagingStudy/7", "ifMatch": 'W/"3"'}
    assert "versionId" not in update["resource"]["meta"]
    assert update["resource"]["description"] == "the hospital's"
    assert listed(update["resource"]) == listed(study(first)) | listed(study(second))
    (stored,) = resources(made, "DiagnosticReport")
    where = stored["imagingStudy" if release is Release.R4 else "study"]
    assert where[0]["reference"] == "ImagingStudy/7"
    assert second == before


def test_the_order_in_which_runs_come_does_not_matter() -> None:
    """And a run that has come already adds nothing."""
    first, second = (study(bundle(number)) for number in (1, 2))
    one, other = merge(first, second), merge(second, first)
    assert listed(one) == listed(other)
    counts = [{item["uid"]: item["numberOfInstances"] for item in made["series"]} for made in (one, other)]
    assert counts[0] == counts[1]
    for again in (first, second, other):
        assert merge(one, again) == one


def test_a_resend_is_a_create_that_finds_what_is_there() -> None:
    """Nothing to add, nothing to update."""
    made = bundle()
    assert posted(made, study(made)) == Merged(made, StudyState.THERE)


@pytest.mark.parametrize("case", ["of the hospital", "of another tag"])
def test_what_is_not_surely_ours_is_left_alone(case: str) -> None:
    """The hospital's own study."""
    first, second = bundle(1), bundle(2)
    kept = study(first)
    others = {
        "of the hospital": [{**kept, "meta": {"versionId": "1"}}],
        "of another tag": [{**kept, "meta": {"tag": [{"system": "urn:candela:study", "code": "urn:oid:1.2"}]}}],
    }
    assert posted(second, *others[case]) == Merged(second, StudyState.THERE)


@pytest.mark.parametrize("release", list(Release))
def test_two_studies_are_named_by_identifier(release: Release) -> None:
    """Nothing of the Bundle refers to an entry that is not in it, or to one of two."""
    made = bundle(1, release)
    kept = study(made)
    merged = posted(made, kept, {**kept, "id": "8"})
    assert "more than one ImagingStudy" in merged.note
    assert not resources(merged.bundle, "ImagingStudy")
    entries = {entry["fullUrl"] for entry in merged.bundle["entry"]}
    named = [item for item in references(merged.bundle) if item["type"] == "ImagingStudy"]
    assert named
    assert all(item["identifier"] == kept["identifier"][0] and "reference" not in item for item in named)
    assert all(item.get("reference", "urn:").partition(":")[0] != "urn" or item["reference"] in entries
               for item in references(merged.bundle) if "reference" in item)  # fmt: skip


def test_studies_that_a_lenient_server_adds_to_its_answer_are_others() -> None:
    """Known is what shows the identifier."""
    made = bundle()
    other = study(made, identifier=[{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}])
    assert posted(made, other) == Merged(made, StudyState.UNKNOWN)


def test_without_a_search_the_study_is_named_by_identifier() -> None:
    """A create that finds one there would refer to whatever patient's it is."""
    made = bundle()

    def nothing(_kind: str, _query: Mapping[str, str]) -> None:
        return None

    merged = with_study(made, nothing, BASE, Patients(nothing, BASE))
    assert (merged.state, merged.note) == (StudyState.UNSEARCHED, UNSEARCHED)
    assert not resources(merged.bundle, "ImagingStudy")


def test_a_bundle_of_an_older_version_stays_as_it_is() -> None:
    made = bundle()
    old = copy.deepcopy(made)
    del resources(old, "ImagingStudy")[0]["meta"]
    assert posted(old, study(made)) == Merged(old, StudyState.UNSEARCHED)
