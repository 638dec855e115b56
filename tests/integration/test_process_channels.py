"""Several series of a study as the channels of one model, by `candela process`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset
from torch import nn
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.deliver.fhir_file import BUNDLE
from dicom_node.node.roles import check_models
from dicom_node.settings.tree import load
from pipeline import phantom
from pipeline.errors import BadSettings
from tests.peers import heads
from tests.peers.workflow_bundle import write_bundle

FOUR = [
    {"name": "t1", "weightings": ["T1"], "contrast": False},
    {"name": "t1c", "weightings": ["T1"], "contrast": True},
    {"name": "t2", "weightings": ["T2"]},
    {"name": "flair", "weightings": ["FLAIR"]},
]
LESION_FROM = 1865.0
"""Of T1 with contrast plus FLAIR: the lesion has 2130, scalp 1600, all else less."""
PLAIN = '[profiles.plain]\nobjects = ["segmentation", "report", "document", "keyobjects"]\n'
Study = dict[str, tuple[Dataset, ...]]


def bundle(models: Path) -> Path:
    """Outlines where T1 with contrast and FLAIR together are bright: the lesion alone, if they lie on one another."""
    module = nn.Conv3d(4, 1, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([0.0, 1.0, 0.0, 1.0]).reshape(module.weight.shape))
        module.bias.zero_()
    definition = {"_target_": "torch.nn.Conv3d", "kernel_size": 1, "in_channels": 4, "out_channels": 1}
    half = {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 2 * LESION_FROM}
    return write_bundle(
        models / "four",
        transforms=[{**half, "b_min": 0.0, "b_max": 1.0}],
        network=(definition, module),
        inputs=[{"key": "image", "channels": FOUR}],
        contract={"scope": {"modalities": ["MR"], "body_parts": ["BRAIN"]}},
    )


def study(**changed: Any) -> Study:
    """T1 twice on one grid, T2 on a finer one, FLAIR on another; ``changed`` adds or replaces series by name."""
    made = {
        "t1": heads.series("t1"),
        "t1c": heads.series("t1c"),
        "t2": heads.series("t2", shape=(26, 60, 60), spacing=(6.0, 3.7)),
        "flair": heads.series("flair", shape=(24, 50, 50), spacing=(6.5, 4.4)),
        **changed,
    }
    return {name: series for name, series in made.items() if series is not None}


def processed(tmp_path: Path, series: Study, *more: str) -> tuple[int, str, dict[str, Any]]:
    """Exit code, standard output and summary of `candela process` over ``series`` in one folder."""
    models, folder, out = tmp_path / "models", tmp_path / "study", tmp_path / "out"
    models.mkdir()
    bundle(models)
    for name, datasets in series.items():
        phantom.save(datasets, folder / name)
    settings = tmp_path / "candela.toml"
    settings.write_text(f'data_dir = "{tmp_path}/data"\n[models]\nfolders = ["{models}"]\n{PLAIN}')
    arguments = [
        "process",
        str(folder),
        "--out",
        str(out),
        "--model",
        "four",
        "--profile",
        "plain",
        "--config",
        str(settings),
        *more,
    ]
    found = CliRunner().invoke(app, arguments)
    assert (out / "summary.json").is_file(), (found.output, found.exception)
    return found.exit_code, found.stdout, json.loads((out / "summary.json").read_text())


def uid_of(series: tuple[Dataset, ...]) -> str:
    return str(series[0].SeriesInstanceUID)


def outlined(out: Path) -> np.ndarray:
    """The places (n, 3), LPS in mm, of the segmented voxels; the slices are axial."""
    ds = pydicom.dcmread(out / "segmentation.dcm")
    step = [float(value) for value in ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing]
    places = []
    for frame, pixels in zip(
        ds.PerFrameFunctionalGroupsSequence, ds.pixel_array.reshape(-1, ds.Rows, ds.Columns), strict=True
    ):
        corner = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        places += [corner + np.array([column * step[1], row * step[0], 0]) for row, column in np.argwhere(pixels)]
    return np.array(places)


def assert_lesion(out: Path, voxel_mm: tuple[float, float, float]) -> None:
    """The lesion is outlined where it is, and nothing else is."""
    places = outlined(out)
    assert len(places) * np.prod(voxel_mm) > 0.5 * 4 / 3 * np.pi * heads.LESION[1] ** 3
    away = np.linalg.norm(places - np.array(heads.LESION[0]), axis=1)
    assert away.max() < heads.LESION[1] + max(voxel_mm) / 2
    off = np.abs(places.mean(axis=0) - np.array(heads.LESION[0]))
    assert np.all(off < np.array(voxel_mm)[::-1] / 2 + 0.5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study, str, dict[str, Any]]:
    """The usual study, processed."""
    folder, series = tmp_path_factory.mktemp("channels"), study()
    code, said, summary = processed(folder, series)
    assert code == 0, summary
    return folder / "out", series, said, summary


def test_four_series_are_read_as_one_and_each_choice_is_said(whole: tuple[Path, Study, str, dict[str, Any]]) -> None:
    out, series, said, summary = whole
    for name, datasets in series.items():
        assert f"Channel {name} is series {uid_of(datasets)}: the only one that fits." in said
    assert [(item["channel"], item["series_instance_uid"]) for item in summary["channels"]] == [
        (name, uid_of(datasets)) for name, datasets in series.items()
    ]
    assert summary["series_instance_uid"] == uid_of(series["t1"])
    assert_lesion(out, (8.0, 5.5, 5.5))
    caveats = {
        item["values"].get("channel"): item["code"] for item in summary["caveats"] if "channel" in item["values"]
    }
    (said_of_others,) = [item["text"] for item in summary["caveats"] if item["code"] == "OTHER_SERIES_READ"]
    assert "read 3 further series of the study together with this one" in said_of_others
    assert caveats == {"t2": "SERIES_RESAMPLED", "flair": "SERIES_RESAMPLED"}


def test_every_result_names_all_series_that_were_read(whole: tuple[Path, Study, str, dict[str, Any]]) -> None:
    out, series, _, summary = whole
    every = {str(ds.SOPInstanceUID) for datasets in series.values() for ds in datasets}
    objects = {item["role"]: pydicom.dcmread(out / item["file"]) for item in summary["objects"]}
    segmentation = objects["segmentation"]
    listed = {
        str(item.SeriesInstanceUID): {str(one.ReferencedSOPInstanceUID) for one in item.ReferencedInstanceSequence}
        for item in segmentation.ReferencedSeriesSequence
    }
    assert listed == {uid_of(datasets): {str(ds.SOPInstanceUID) for ds in datasets} for datasets in series.values()}
    assert every <= evidence_of(objects["report"])
    assert every == {str(item.ReferencedSOPInstanceUID) for item in objects["document"].SourceInstanceSequence}
    # A key object selection lists what it selects: the key image, of the first channel, and the results.
    (key,) = every & evidence_of(objects["keyobjects"])
    assert key in {str(ds.SOPInstanceUID) for ds in series["t1"]}
    results = {str(objects[role].SOPInstanceUID) for role in ("segmentation", "report", "document")}
    assert results <= evidence_of(objects["keyobjects"])
    resources = [entry["resource"] for entry in json.loads((out / BUNDLE).read_text())["entry"]]
    (imaging,) = [item for item in resources if item["resourceType"] == "ImagingStudy"]
    assert [item["uid"] for item in imaging["series"]][:4] == [uid_of(datasets) for datasets in series.values()]


def evidence_of(document: Dataset) -> set[str]:
    """The SOP Instance UIDs that a structured report or key object selection lists as its evidence."""
    return {
        str(item.ReferencedSOPInstanceUID)
        for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for one in document.get(keyword, ())
        for group in one.ReferencedSeriesSequence
        for item in group.ReferencedSOPSequence
    }


def test_the_identity_of_a_run_covers_the_instances_of_every_series(
    whole: tuple[Path, Study, str, dict[str, Any]], tmp_path: Path
) -> None:
    _, _, _, summary = whole
    other = study(flair=heads.series("flair", name="flair again", shape=(24, 50, 50), spacing=(6.5, 4.4)))
    _, _, again = processed(tmp_path, other)
    assert again["instances_digest"] != summary["instances_digest"]
    assert {item["sop_instance_uid"] for item in again["objects"]}.isdisjoint(
        item["sop_instance_uid"] for item in summary["objects"]
    )


@pytest.mark.nightly
def test_a_series_in_another_frame_of_reference_is_registered(tmp_path: Path) -> None:
    fine = {"shape": (40, 70, 70), "spacing": (4.5, 3.1)}
    moved = heads.series("flair", pose=heads.motion(8.0, [5.0, -6.0, 6.2]), frame="another", **fine)
    made = study(t1=heads.series("t1", **fine), t1c=heads.series("t1c", **fine), flair=moved)
    code, _, summary = processed(tmp_path, made)
    assert code == 0, summary
    (caveat,) = [item for item in summary["caveats"] if item["code"] == "SERIES_REGISTERED"]
    assert caveat["values"]["channel"] == "flair"
    assert caveat["values"]["residual"] <= 1.0
    assert_lesion(tmp_path / "out", (4.5, 3.1, 3.1))


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"flair": None}, "MISSING_SERIES", "No series of the study fits: channel flair takes a FLAIR series."),
        ({"t2b": heads.series("t2", name="t2b")}, "SEVERAL_CANDIDATES", "Channel t2 takes a T2 series, and 2 series"),
        ({"flair": heads.series("flair", PatientID="OTHER")}, "MIXED_PATIENTS", "PatientID differs"),
        ({"flair": heads.series("flair", shape=(5, 50, 50))}, "SERIES_DO_NOT_MATCH", "the model needs 50%"),
        ({"flair": heads.series("flair", key="other study")}, "MIXED_STUDIES", "series of 2 studies"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_exit_code_of_refusals(
    tmp_path: Path, changed: dict[str, Any], code: str, words: str
) -> None:
    exit_code, said, summary = processed(tmp_path, study(**changed))
    assert (exit_code, summary["code"]) == (3, code)
    assert words in summary["reason"]
    assert said == ""


def test_an_operators_choice_of_the_patient_counts_over_all_series(tmp_path: Path) -> None:
    made = study(flair=heads.series("flair", PatientID="OTHER"))
    right = str(made["t1"][0].SOPInstanceUID)
    code, _, summary = processed(tmp_path, made, "--identity", right)
    assert code == 0, summary
    assert "IDENTITY_CHOSEN" in {item["code"] for item in summary["caveats"]}


def explained(tmp_path: Path, series: Study) -> str:
    """What `candela config explain` says of ``series`` under a rule for the model, without the rules' tables."""
    bundle(tmp_path / "models")
    for name, datasets in series.items():
        phantom.save(datasets, tmp_path / "study" / name)
    settings = tmp_path / "candela.toml"
    rule = '[[rules]]\nname = "each"\nmodel = "four"\nper_study = true\n'
    settings.write_text(f'data_dir = "{tmp_path}/data"\n{rule}[models]\nfolders = ["{tmp_path}/models"]\n')
    found = CliRunner().invoke(app, ["config", "explain", str(tmp_path / "study"), "--config", str(settings)])
    assert found.exit_code == 0, found.output
    return found.stdout.partition("the choice for model four")[2]


FLAT: dict[str, Any] = {"shape": (3, 8, 8), "spacing": (60.0, 27.0)}


def test_explain_says_which_series_fills_which_channel(tmp_path: Path) -> None:
    series = {name: heads.series(name, **FLAT) for name in ("flair", "t2", "t1c", "t1")}
    elsewhere = heads.series("t2", name="elsewhere", frame="another", **FLAT)
    said = explained(tmp_path, {**series, "elsewhere": elsewhere})
    reasons = {"t2": "the only one that fits in the frame of reference of the other channels"}
    for name, datasets in series.items():
        reason = reasons.get(name, "the only one that fits")
        assert f"read        channel {name} is series {uid_of(datasets)}: {reason}\n" in said
    assert f"not chosen  series {uid_of(elsewhere)} fills no channel" in said


def test_explain_says_why_a_study_would_be_refused(tmp_path: Path) -> None:
    said = explained(tmp_path, {name: heads.series(name, **FLAT) for name in ("t1", "t1c", "t2")})
    assert "refused     MISSING_SERIES: No series of the study fits: channel flair takes a FLAIR series." in said


def test_a_rule_that_names_such_a_model_reads_whole_studies_or_is_refused(tmp_path: Path) -> None:
    bundle(tmp_path / "models")
    rule = '[[rules]]\nname = "each"\nmodel = "four"\nper_study = true\n'
    settings = tmp_path / "candela.toml"
    settings.write_text(f'data_dir = "{tmp_path}/data"\n{rule}[models]\nfolders = ["{tmp_path}/models"]\n')
    check_models(load(settings))
    settings.write_text(settings.read_text().replace("per_study = true", "per_study = false"))
    with pytest.raises(
        BadSettings, match=r"Rule 'each' .* takes several series of a study \(t1, t1c, t2, flair\).*per_study = true"
    ):
        check_models(load(settings))
