"""Profiles in candela.toml: presets, tables of one's own, who gets what; mistakes are told when the file is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.inference.runner import _results
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import ResultRef, SeriesResult
from dicom_node.jobs.workflows import fan_out
from dicom_node.settings.tree import Settings, load
from pipeline.errors import BadSettings
from pipeline.findings.model import Outcome
from pipeline.results.profile import PRESETS

DESTINATIONS = """
[profiles.neuro]
preset = "archive"
objects = ["segmentation", "report"]
omit_empty_frames = false
[peers.pacs]
ae_title = "PACS"
host = "127.0.0.1"
port = 104
[peers.orthanc]
ae_title = "ORTHANC"
host = "127.0.0.1"
port = 4242
[destinations.pacs]
kind = "dicom"
peer = "pacs"
[destinations.viewer]
kind = "dicom"
peer = "orthanc"
profile = "orthanc-ohif"
[destinations.share]
kind = "folder"
path = "/srv/out"
profile = "neuro"
[destinations.ehr]
kind = "fhir"
url = "http://127.0.0.1/fhir"
"""


def settings(tmp_path: Path, text: str = DESTINATIONS) -> Settings:
    path = tmp_path / "candela.toml"
    path.write_text(text)
    return load(path)


def job(*destinations: str) -> SeriesJob:
    return SeriesJob(
        job_id="1.2.3:aa:bb",
        series_instance_uid="1.2.3",
        study_instance_uid="1.2",
        revision=1,
        manifest="/nowhere/manifest.json",
        instances=1,
        calling_ae="MR1",
        completion="quiet",
        completed_at="2026-01-05T10:15:00+00:00",
        rule="brain",
        model="m",
        destinations=destinations,
        priority="routine",
    )


def test_a_table_begins_with_its_preset(tmp_path: Path) -> None:
    """What it names it changes, the rest is the preset's."""
    profile = settings(tmp_path).profile("neuro")
    assert profile.objects == ("segmentation", "report")
    assert profile.omit_empty_frames is False
    assert profile.transfer_syntax == PRESETS["archive"].transfer_syntax != PRESETS["generic-pacs"].transfer_syntax
    assert profile.report_flavour == "both"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[destinations.x]\nkind='folder'\npath='y'\nprofile='z'",
            "destinations.x.profile: there is no profile 'z'.*archive",
        ),
        ("[profiles.z]\npreset='orthank'", "there is no preset 'orthank'.*orthanc-ohif"),
        ("[profiles.archive]\npreset='archive'", "profiles.archive: this is the name of a preset"),
        ("[profiles.z]\nobjects=['report']", "add 'segmentation' to objects"),
        ("[profiles.z]\nobjects=['overlay', 'overlay']", "names 'overlay' twice"),
        ("[profiles.z]\nobjects=['pictures']", "profiles.z.objects.0: .*'overlay'"),
        ("[profiles.z]\nomit_empty=true", "profiles.z.omit_empty: there is no such setting"),
        ("[profiles.z]\ntransfer_syntax='JPEGBaseline8Bit'", "profiles.z.transfer_syntax: .*'RLELossless'"),
        ("[profiles.'a b']\npreset='archive'", "profiles.a b"),
        ("[destinations.x]\nkind='fhir'\nurl='http://x'\nprofile='archive'", "profile: there is no such setting"),
    ],
)
def test_a_mistake_is_told_when_the_file_is_read(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadSettings, match=message):
        settings(tmp_path, text)


def test_a_job_builds_the_forms_of_its_destinations_and_no_others(tmp_path: Path) -> None:
    """Each profile once, in the order of the destinations; the usual one where nothing takes DICOM."""
    read = settings(tmp_path)
    assert list(read.profiles_of(["viewer", "ehr", "pacs", "gone"])) == ["orthanc-ohif", "generic-pacs"]
    assert list(read.profiles_of(["share", "share"])) == ["neuro"]
    assert list(read.profiles_of(["ehr"])) == list(read.profiles_of([])) == ["generic-pacs"]


def test_an_unknown_profile_on_the_command_line_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"no profile 'x'.*neuro"):
        settings(tmp_path).profile("x")


SUMMARY = {
    "objects": [
        {"role": "overlay", "file": "overlay-001.dcm", "profiles": ["generic-pacs", "orthanc-ohif"]},
        {"role": "overlay", "file": "overlay-002.dcm", "profiles": ["generic-pacs", "orthanc-ohif"]},
        {"role": "segmentation", "file": "segmentation.dcm", "profiles": ["generic-pacs"]},
        {"role": "segmentation", "file": "segmentation-orthanc-ohif.dcm", "profiles": ["orthanc-ohif"]},
        {"role": "segmentation", "file": "segmentation-neuro.dcm", "profiles": ["neuro"]},
    ]
}


def test_each_destination_is_sent_its_own_form(tmp_path: Path) -> None:
    """One delivery for each result and each destination whose profile it was built for; FHIR goes where FHIR goes."""
    results = _results(SUMMARY, Path("/out"))
    assert len({item.name for item in results}) == len(results)
    assert results[0].files == ("/out/overlay-001.dcm", "/out/overlay-002.dcm")
    result = SeriesResult(Outcome.FINDING, None, results)
    sent = fan_out(job("pacs", "viewer", "share", "ehr"), result, settings(tmp_path))
    found = {(item.destination, Path(file).name) for item in sent for file in item.result.files}
    assert {target for target, name in found if not name.endswith(".dcm")} == {"share", "ehr"}
    found = {(target, name) for target, name in found if name.endswith(".dcm")}
    assert found == {
        ("pacs", "overlay-001.dcm"),
        ("pacs", "overlay-002.dcm"),
        ("pacs", "segmentation.dcm"),
        ("viewer", "overlay-001.dcm"),
        ("viewer", "overlay-002.dcm"),
        ("viewer", "segmentation-orthanc-ohif.dcm"),
        ("share", "segmentation-neuro.dcm"),
    }


def test_a_result_survives_the_database_and_one_of_an_older_version_is_for_everybody(tmp_path: Path) -> None:
    """Jobs that were queued before profiles existed are delivered all the same."""
    result = ResultRef("segmentation", "dicom", ("a.dcm",), ("neuro",))
    assert ResultRef.from_dict(result.to_dict()) == result
    old = ResultRef.from_dict({"name": "segmentation", "kind": "dicom", "files": ["a.dcm"]})
    sent = fan_out(job("pacs", "viewer", "ehr"), SeriesResult(Outcome.FINDING, None, (old,)), settings(tmp_path))
    assert [item.destination for item in sent] == ["pacs", "viewer"]
