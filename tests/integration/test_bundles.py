"""A bundle of somebody else's, named by the settings: `candela process` answers in its words, in every result."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import highdicom as hd
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.cli import main
from models import registry
from pipeline import phantom
from pipeline.findings.codes import ABSENT, PRESENT, SYSTEMS
from pipeline.findings.identity import derived_uid
from tests.conformance.test_dciodvfy import errors
from tests.peers.tiny_bundle import CEREBRUM, LESION, bright_spots

Run = tuple[dict[str, Any], Path]


def process(folder: Path, *, lesion: bool) -> Run:
    """Summary and results of a computed head, read by the bundle in ``folder/models``."""
    phantom.save(phantom.head_phantom(slices=8, matrix=64, lesion=lesion), folder / "series")
    bright_spots(folder / "models")
    (folder / "candela.toml").write_text(
        f'[models]\nfolders = ["{folder / "models"}"]\ndevice = "cpu"\n'
        '[[rules]]\nname = "brain"\nmodel = "bright_spots"\nwhen = {modality = ["MR"]}\n'
    )
    arguments = [
        "process",
        f"{folder / 'series'}",
        "--out",
        f"{folder / 'out'}",
        "--config",
        f"{folder / 'candela.toml'}",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["candela", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
    assert not stop.value.code
    return json.loads((folder / "out" / "summary.json").read_text()), folder / "out"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return process(tmp_path_factory.mktemp("found"), lesion=True)


def dataset(run: Run, role: str) -> Dataset:
    summary, out = run
    return pydicom.dcmread(out / next(item["file"] for item in summary["objects"] if item["role"] == role))


def said(ds: Dataset) -> str:
    """Every value of an object, none abbreviated."""
    return json.dumps(ds.to_json_dict(bulk_data_threshold=1 << 30))


def resources(run: Run, kind: str) -> list[dict[str, Any]]:
    bundle = json.loads((run[1] / "fhir-bundle.json").read_text())
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def test_the_rule_runs_the_bundle_of_the_folder(found: Run) -> None:
    """The summary speaks of the bundle's name, version and classes, and there is a lesion."""
    summary = found[0]
    assert summary["model"]["name"] == "bright_spots"
    assert summary["model"]["version"] == "0.3.1"
    assert set(summary["probabilities"]) == {"bright_lesion", "no_lesion"}
    assert (summary["outcome"], summary["predicted_class"]) == ("finding", "bright_lesion")
    assert len(summary["regions"]) == 1
    assert any("not calibrated" in item["text"] for item in summary["caveats"])


def test_every_result_bears_the_models_digest(found: Run) -> None:
    """Summary and FHIR's Device hold the digest whole, the report too, every DICOM object the UID made from it."""
    summary, out = found
    digest = registry.get("bright_spots", (out.parent / "models",)).digest
    assert summary["model"]["digest"] == digest
    device_uid = derived_uid("device", digest)
    for role in ("overlay", "segmentation", "report"):
        ds = dataset(found, role)
        assert ds.ContributingEquipmentSequence[0].DeviceUID == device_uid
        assert digest[:16] in ds.SoftwareVersions
        assert ds.DeviceSerialNumber == digest[:16]
    (device,) = resources(found, "Device")
    assert digest in [item["value"] for item in device["version"]]
    assert device["identifier"][0]["value"] == f"urn:oid:{device_uid}"
    assert f"digest={digest}" in said(dataset(found, "report"))


def test_the_segmentation_speaks_the_bundles_codes(found: Run) -> None:
    """What is outlined, where it lies and what it is called are as the bundle says; the pixels are the source's."""
    seg = hd.seg.segread(found[1] / "segmentation.dcm")
    (segment,) = seg.SegmentSequence
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == LESION["value"]
    assert segment.AnatomicRegionSequence[0].CodeValue == CEREBRUM["value"]
    assert "Enhancing lesion" in segment.SegmentLabel
    assert (seg.Rows, seg.Columns) == (64, 64)
    assert seg.pixel_array.any()


def test_the_report_speaks_the_bundles_codes(found: Run) -> None:
    """Presence is of what the bundle looks for; nothing in the report says tumour or neoplasm."""
    text = said(dataset(found, "report"))
    assert "The algorithm suggests enhancing lesion" in text
    assert LESION["value"] in text
    assert CEREBRUM["value"] in text
    for word in ("neoplasm", "tumor", "tumour", "glioma"):
        assert word not in text.lower()


def test_the_fhir_report_speaks_the_bundles_codes(found: Run) -> None:
    """So do Observation and DiagnosticReport."""
    (report,) = resources(found, "DiagnosticReport")
    assert report["conclusionCode"][0]["coding"][0]["code"] == LESION["value"]
    assert report["conclusionCode"][0]["text"].startswith("Enhancing lesion suggested")
    presence = next(item for item in resources(found, "Observation") if "Presence of lesion" in item["code"]["text"])
    assert presence["valueCodeableConcept"]["coding"][0]["code"] == PRESENT.value
    assert presence["bodySite"]["coding"][0] == {
        "system": SYSTEMS["SCT"],
        "code": CEREBRUM["value"],
        "display": CEREBRUM["meaning"],
    }
    everything = (found[1] / "fhir-bundle.json").read_text().lower()
    assert "neoplasm" not in everything
    assert "tumor" not in everything.replace("brain_mri_tumor", "")


def test_the_validator_finds_no_error(found: Run) -> None:
    """dciodvfy reads every object that a foreign bundle's words went into."""
    assert {path.name: errors(path) for path in found[1].glob("*.dcm")} == {
        path.name: [] for path in found[1].glob("*.dcm")
    }


def test_no_lesion_is_an_answer_in_the_bundles_words(tmp_path: Path) -> None:
    """Where nothing is found the report says so as the bundle calls it, and nothing is outlined."""
    run = process(tmp_path, lesion=False)
    assert run[0]["outcome"] == "no_finding"
    assert {item["role"] for item in run[0]["objects"]} == {"overlay", "report", "document", "keyobjects"}
    (report,) = resources(run, "DiagnosticReport")
    assert report["conclusion"].startswith("The algorithm suggests no lesion")
    assert report["conclusionCode"][0]["coding"][0]["code"] == ABSENT.value
