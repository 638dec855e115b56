"""A report lists the objects that a PACS of its job gets, and refers to no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dicom_node.deliver.fhir import FhirSender
from dicom_node.settings.destinations import FhirDestination
from dicom_node.settings.tree import Settings, load
from fhir import report
from fhir.release import Release
from fhir.server.stored import objects
from pipeline import phantom
from pipeline.errors import BadSettings
from pipeline.report.content import ReportContent
from pipeline.report.stored import FILENAME, from_json, to_json
from pipeline.results.build import build
from pipeline.results.reported import report_content
from pipeline.results.result_object import ResultObject
from tests.conformance.synthetic import context_of
from tests.peers.fhir_bundles import RECORDED, resources
from tests.peers.http import Asked, HttpPeer, Reply

TABLES = """
[profiles.pictures]
objects = ["overlay"]
[profiles.numbers]
objects = ["segmentation", "report"]
[destinations.files]
kind = "folder"
path = "{folder}"
profile = "orthanc-ohif"
[peers.research]
ae_title = "RESEARCH"
host = "127.0.0.1"
port = 11112
[destinations.research]
kind = "dicom"
peer = "research"
profile = "archive"
deidentify = {{key = "0123456789abcdef0123456789abcdef"}}
[peers.pacs]
ae_title = "PACS"
host = "127.0.0.1"
port = 11112
[destinations.pacs]
kind = "dicom"
peer = "pacs"
profile = "pictures"
[peers.archive]
ae_title = "ARCHIVE"
host = "127.0.0.1"
port = 11113
[destinations.archive]
kind = "dicom"
peer = "archive"
profile = "numbers"
[destinations.ehr]
kind = "fhir"
url = "http://127.0.0.1:9/fhir"
{more}
"""


def settings(folder: Path, more: str = "") -> Settings:
    path = folder / "candela.toml"
    path.write_text(TABLES.format(folder=folder, more=more))
    return load(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, dict[tuple[str, ...], tuple[Any, ...]]]:
    """What a run makes for each list of destinations: its report content and its objects."""
    known = settings(tmp_path_factory.mktemp("settings"))
    datasets = phantom.head_phantom(slices=6, matrix=32)
    context = context_of(datasets, phantom.lesion_mask(datasets))
    made: dict[tuple[str, ...], tuple[Any, ...]] = {}
    for names in (
        ("files", "research", "pacs", "archive", "ehr"),
        ("archive", "pacs"),
        ("files", "research", "ehr"),
        ("ehr",),
    ):
        found = build(context, known.profiles_of(names))
        pacs = known.pacs_of(names)
        made[names] = (
            report_content(context, found, recorded=RECORDED, pacs=pacs),
            found,
        )
    return known, made


def listed(bundle: dict[str, Any]) -> set[str]:
    (study,) = resources(bundle, "ImagingStudy")
    return {item["uid"] for series in study["series"] for item in series.get("instance", ())}


def uids(found: tuple[ResultObject, ...], profile: str | None) -> set[str]:
    return {str(item.dataset.SOPInstanceUID) for item in found if profile is None or profile in item.profiles}


@pytest.mark.parametrize("release", list(Release))
@pytest.mark.parametrize(
    ("names", "named", "profile"),
    [
        (("files", "research", "pacs", "archive", "ehr"), None, "pictures"),
        (("files", "research", "pacs", "archive", "ehr"), "archive", "numbers"),
        (("archive", "pacs"), None, "numbers"),
        (("archive", "pacs"), "pacs", "pictures"),
        (("files", "research", "ehr"), None, ""),
        (("files", "research", "ehr"), "pacs", ""),
        (("ehr",), None, ""),
    ],
)
def test_the_objects_are_those_of_one_pacs(
    run: tuple[Settings, dict[tuple[str, ...], tuple[Any, ...]]],
    release: Release,
    names: tuple[str, ...],
    named: str | None,
    profile: str,
) -> None:
    """The PACS that is named, else the rule's first; a folder and a de-identified destination never. No UID of another
    object stands anywhere in the Bundle, and every reference leads to an entry.
    """
    told, found = run[1][names]
    stored = from_json(to_json(told))
    bundle = report.build(stored.listed_for(named), release=release)
    assert listed(bundle) == uids(found, profile)
    text = json.dumps(bundle)
    assert not [uid for uid in uids(found, None) - uids(found, profile) if uid in text]
    entries = {entry["fullUrl"] for entry in bundle["entry"]}
    assert all(item["reference"] in entries for item in objects(bundle) if "reference" in item)
    assert len(resources(bundle, "Media" if release is Release.R4 else "DocumentReference")) == (
        1 if stored.picture else 0
    )


def test_the_destination_says_which_pacs(run: Any, tmp_path: Path) -> None:
    """What is posted; and what an earlier version stored is listed as it was."""
    told, found = run[1]["files", "research", "pacs", "archive", "ehr"]
    earlier = json.loads(to_json(told))
    del earlier["pacs"]
    for item in earlier["objects"]:
        del item["pacs"]
    for content, named, profile in (
        (to_json(told), None, "pictures"),
        (to_json(told), "archive", "numbers"),
        (json.dumps(earlier).encode(), "archive", None),
    ):
        (tmp_path / FILENAME).write_bytes(content)
        posted: list[dict[str, Any]] = []

        def answer(asked: Asked, posted: list[dict[str, Any]] = posted) -> Reply:
            if asked.path.endswith("_search"):
                return Reply(200, {"resourceType": "Bundle", "type": "searchset"})
            posted.append(json.loads(asked.body))
            return Reply(200, {"resourceType": "Bundle", "type": "transaction-response"})

        with HttpPeer(answer) as peer:
            to = FhirDestination(kind="fhir", url=peer.url, objects_of=named)
            FhirSender(to, tmp_path / "locks").send((tmp_path / FILENAME,))
        assert listed(posted[0]) == uids(found, profile)


def test_without_a_job_everything_that_was_made_is_listed(run: Any) -> None:
    """`candela process` has one profile and no destination."""
    told: ReportContent = run[1]["ehr",][0]
    assert told.pacs == ()
    assert told.listed_for().objects == ()
    context = context_of(made := phantom.head_phantom(slices=6, matrix=32), phantom.lesion_mask(made))
    found = build(context, run[0].profiles_of(()))
    plain = report_content(context, found, recorded=RECORDED)
    assert plain.listed_for() is plain
    assert {item.sop_instance_uid for item in plain.objects} == uids(found, None)


@pytest.mark.parametrize("named", ["files", "research", "ehr", "nobody"])
def test_only_a_pacs_can_be_named(tmp_path: Path, named: str) -> None:
    """Told when the file is read, with those that there are."""
    assert settings(tmp_path, 'objects_of = "archive"').destinations["ehr"].objects_of == "archive"  # type: ignore[union-attr]
    with pytest.raises(BadSettings, match=r"objects_of.*known: pacs, archive"):
        settings(tmp_path, f'objects_of = "{named}"')
