"""Several radiographs of a study as the channels of one model, by `candela process` and by a node's rule."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset
from pydicom.uid import DigitalMammographyXRayImageStorageForProcessing
from torch import nn
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.inference.runner import SeriesRunner
from dicom_node.node.roles import check_models
from dicom_node.settings.tree import load
from pipeline import phantom
from pipeline.errors import BadSettings
from pipeline.phantom_projection import Film, mammogram
from pipeline.routing.rules import Rule
from tests.peers.workflow_bundle import HALF, INVERT, PRED, write_bundle
from tests.unit.dicom_node.completion.test_dispatch_study import House

VIEWS = {"l_cc": ("L", "CC"), "r_cc": ("R", "CC"), "l_mlo": ("L", "MLO"), "r_mlo": ("R", "MLO")}
KEYS = ["image", "r_cc", "l_mlo", "r_mlo"]
ABSORBED = {"l_cc": 500, "r_cc": 1000, "l_mlo": 1500, "r_mlo": 2000}
"""The stored value of every pixel of each image: the answer names the image that filled a channel by it."""
PLAIN = '[profiles.plain]\nobjects = ["segmentation", "report"]\n'
TOGETHER = [
    {"_target_": "Resized", "keys": KEYS, "spatial_size": [24, 24]},
    {"_target_": "ConcatItemsd", "keys": KEYS, "name": "image"},
]
INPUTS = [
    {"key": key, "kind": "projection", "channels": [{"name": name, "views": [view], "laterality": [side]}]}
    for key, (name, (side, view)) in zip(KEYS, VIEWS.items(), strict=True)
]
MEANS = {
    "kind": "regression",
    "quantities": [
        {"value": k, "name": name, "unit": {"scheme": "UCUM", "value": "1", "meaning": "no units"}}
        for k, name in enumerate(VIEWS)
    ],
}


def bundle(models: Path, name: str = "means") -> Path:
    """``means``: the mean of each image. ``bright``: outlines the first image where it is bright."""
    loads = [
        {"_target_": "LoadImaged", "keys": KEYS},
        {"_target_": "EnsureChannelFirstd", "keys": KEYS},
    ]
    steps = {"preprocessing": {"_target_": "Compose", "transforms": [*loads, *TOGETHER]}}
    module: nn.Module
    if name == "means":
        module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
        weight, bias = module[2].weight, module[2].bias
        definition: Any = (
            "$torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 4))"
        )
    else:
        module = nn.Conv2d(4, 1, 1)
        weight, bias = module.weight, module.bias
        definition = {"_target_": "torch.nn.Conv2d", "kernel_size": 1, "in_channels": 4, "out_channels": 1}
    with torch.no_grad():
        weight.copy_(torch.eye(4)[: len(weight)].reshape(weight.shape))
        bias.zero_()
    ensured = {"_target_": "EnsureTyped", "keys": PRED}
    more: dict[str, Any] = {"answer": MEANS} if name == "means" else {}
    return write_bundle(
        models / name,
        config=steps,
        inferer={"_target_": "SimpleInferer"},
        network=(definition, module),
        post=[ensured] if name == "means" else [HALF, INVERT],
        inputs=[INPUTS[1], INPUTS[0], *INPUTS[2:]],  # the network's own input is named by its key, not by its place
        contract={"scope": {"modalities": ["MG"]}},
        **more,
    )


def film(
    name: str, *, series: str | None = None, value: int | None = None, number: int | None = None, **more: Any
) -> Dataset:
    """An image of a size of its own; ``number`` is its Instance Number."""
    side, view = VIEWS[name]
    place = 1 + list(VIEWS).index(name)
    stored = Film(shape=(40 + place, 32), key="screening", series=series or name, number=number or place, **more)
    made = mammogram(side, view, stored)
    filled = np.full((made.Rows, made.Columns), ABSORBED[name] if value is None else value, dtype="<u2")
    made.PixelData = filled.tobytes()
    return made


def study(series: str | None = None) -> dict[str, Dataset]:
    return {name: film(name, series=series) for name in VIEWS}


def processed(tmp_path: Path, films: Iterable[Dataset], model: str = "means") -> tuple[int, str, dict[str, Any]]:
    models, folder, out = tmp_path / "models", tmp_path / "study", tmp_path / "out"
    models.mkdir()
    bundle(models, model)
    phantom.save(tuple(films), folder)
    settings = tmp_path / "candela.toml"
    settings.write_text(f'data_dir = "{tmp_path}/data"\n[models]\nfolders = ["{models}"]\n{PLAIN}')
    arguments = [str(folder), "--out", str(out), "--model", model, "--profile", "plain", "--config", str(settings)]
    found = CliRunner().invoke(app, ["process", *arguments])
    assert (out / "summary.json").is_file(), (found.output, found.exception)
    return found.exit_code, found.stdout, json.loads((out / "summary.json").read_text())


def uids(films: dict[str, Dataset]) -> dict[str, tuple[str, str]]:
    return {name: (str(ds.SeriesInstanceUID), str(ds.SOPInstanceUID)) for name, ds in films.items()}


def answered(summary: dict[str, Any]) -> dict[str, float]:
    """The mean of each image, as the network saw them."""
    return {name: item["value"] for name, item in summary["quantities"].items()}


def assert_each_in_its_channel(summary: dict[str, Any], films: dict[str, Dataset]) -> None:
    """Every channel got its image, by the UIDs that the summary states and by the pixels that the network saw."""
    assert {
        item["channel"]: (item["series_instance_uid"], item["sop_instance_uid"]) for item in summary["channels"]
    } == uids(films)
    assert summary["series_instance_uid"] == str(films["l_cc"].SeriesInstanceUID)
    assert answered(summary) == pytest.approx(ABSORBED, rel=1e-3)


@pytest.mark.parametrize("series", [None, "all in one"])
def test_each_image_fills_its_channel_and_is_named_as_a_source(tmp_path: Path, series: str | None) -> None:
    films = study(series)
    code, said, summary = processed(tmp_path, reversed(films.values()))
    assert code == 0, summary
    assert_each_in_its_channel(summary, films)
    (said_of_others,) = [item["text"] for item in summary["caveats"] if item["code"] == "OTHER_IMAGES_READ"]
    assert "read 3 further images of the study together with this one" in said_of_others
    series_uid, sop_uid = uids(films)["r_mlo"]
    assert f"Channel r_mlo is image {sop_uid} of series {series_uid}." in said
    report = pydicom.dcmread(tmp_path / "out" / "report.dcm")
    evidence = [
        str(item.ReferencedSOPInstanceUID)
        for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for one in report.get(keyword, ())
        for group in one.ReferencedSeriesSequence
        for item in group.ReferencedSOPSequence
    ]
    assert sorted(evidence) == sorted(sop for _, sop in uids(films).values())


def test_a_mask_lies_on_the_first_image_and_names_the_others(tmp_path: Path) -> None:
    films = study("all in one")
    bright = np.zeros((films["l_cc"].Rows, films["l_cc"].Columns), dtype="<u2")
    bright[4:12, 6:16] = 1  # HALF is the threshold
    films["l_cc"].PixelData = bright.tobytes()
    code, _, summary = processed(tmp_path, films.values(), "bright")
    assert code == 0, summary
    mask = pydicom.dcmread(tmp_path / "out" / "segmentation.dcm")
    rows, columns = np.nonzero(mask.pixel_array)
    assert (mask.Rows, mask.Columns) == bright.shape
    edges = np.array([rows.min(), rows.max(), columns.min(), columns.max()])
    assert np.abs(edges - [4, 11, 6, 15]).max() <= 1
    (listed,) = mask.ReferencedSeriesSequence
    named = [str(item.ReferencedSOPInstanceUID) for item in listed.ReferencedInstanceSequence]
    assert sorted(named) == sorted(sop for _, sop in uids(films).values())
    frames = mask.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
    assert [str(item.ReferencedSOPInstanceUID) for item in frames] == [uids(films)["l_cc"][1]]


CASES = {
    "missing view": (
        [name for name in VIEWS if name != "r_mlo"],
        [],
        "MISSING_SERIES",
        "There is no image for r_mlo (ImageLaterality R, ViewPosition MLO) among the 3 of the study",
    ),
    "two in two series": (list(VIEWS), [film("l_cc", series="again")], "SEVERAL_CANDIDATES", "ImageLaterality L"),
    "two in one series": (
        list(VIEWS),
        [film("l_cc", value=700, number=9)],
        "SEVERAL_CANDIDATES",
        "2 images fit the model's input equally well, and they differ",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_missing_view_and_two_candidates_are_refused(tmp_path: Path, case: str) -> None:
    names, more, code, words = CASES[case]
    exit_code, said, summary = processed(tmp_path, [*(film(name) for name in names), *more])
    assert (exit_code, summary.get("code"), said) == (3, code, "")
    assert words in summary["reason"]


def test_a_copy_is_left_out_and_said_and_raw_images_are_passed_over(tmp_path: Path) -> None:
    films = study()
    raw = film("r_cc", series="raw", sop_class=DigitalMammographyXRayImageStorageForProcessing)
    copy = film("l_mlo", number=9)
    code, _, summary = processed(tmp_path, [*films.values(), raw, copy])
    assert code == 0, summary
    assert answered(summary) == pytest.approx(ABSORBED, rel=1e-3)
    (said,) = [item["values"] for item in summary["caveats"] if item["code"] == "IMAGES_NOT_READ"]
    assert said == {"count": 1}


def test_a_check_reads_computed_images_of_every_view(tmp_path: Path, models: Path) -> None:
    settings = tmp_path / "candela.toml"
    settings.write_text(f'data_dir = "{tmp_path}/data"\n[models]\nfolders = ["{models}"]\n{PLAIN}')
    out = tmp_path / "trial"
    found = CliRunner().invoke(app, ["models", "check", "means", "--out", str(out), "--config", str(settings)])
    assert found.exit_code == 0, found.output
    summary = json.loads((out / "results" / "summary.json").read_text())
    assert [item["channel"] for item in summary["channels"]] == list(VIEWS)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    bundle(folder)
    return folder


@pytest.mark.parametrize("together", [False, True])
def test_a_rule_reads_the_images_of_a_study_as_one_job(tmp_path: Path, models: Path, together: bool) -> None:
    """Each image in a series of its own, or the right breast's two in one."""
    house = House(tmp_path, Rule(name="screen", model="means", per_study=True), models=(models,))
    films = {name: film(name, series=name[0] if together and name[0] == "r" else None) for name in VIEWS}
    by_series: dict[str, list[Dataset]] = {}
    for ds in reversed(films.values()):
        by_series.setdefault(str(ds.SeriesInstanceUID), []).append(ds)
    for made in by_series.values():
        house.complete(tuple(made))
    house.decide()
    (job,) = house.read().values()
    assert job.series_instance_uid == str(films["l_cc"].SeriesInstanceUID)
    others = ["r_cc and r_mlo", "l_mlo"] if together else ["r_cc", "l_mlo", "r_mlo"]
    assert [channel for channel, _ in job.companions] == others
    records = [record for record in house.jobs.values() if record is not job]
    assert {record.companion_of for record in records} == {job.job_id}
    assert len(records) == len(others)
    result = SeriesRunner(house.settings)(job)
    assert result.refusal is None
    assert_each_in_its_channel(json.loads(Path(result.summary).read_text()), films)


def test_explain_says_which_series_hold_the_images(tmp_path: Path, models: Path) -> None:
    films = {name: film(name, series=name[0]) for name in VIEWS}
    phantom.save(films.values(), tmp_path / "study")
    settings = tmp_path / "candela.toml"
    rule = '[[rules]]\nname = "screen"\nmodel = "means"\nper_study = true\n'
    settings.write_text(f'data_dir = "{tmp_path}/data"\n{rule}[models]\nfolders = ["{models}"]\n')
    arguments = ["config", "explain", str(tmp_path / "study"), "--config", str(settings)]
    said = CliRunner().invoke(app, arguments).stdout
    for side in "lr":
        series = films[f"{side}_cc"].SeriesInstanceUID
        assert f"channel {side}_cc and {side}_mlo is series {series}: no other series has an image that fits" in said
    Path(tmp_path / "study" / "IM0004.dcm").unlink()
    assert "refused     MISSING_SERIES: There is no image for r_mlo" in CliRunner().invoke(app, arguments).stdout


def test_a_rule_refuses_a_study_without_a_view_until_it_comes(tmp_path: Path, models: Path) -> None:
    house = House(tmp_path, Rule(name="screen", model="means", per_study=True), models=(models,))
    films = study()
    for name in ("r_cc", "l_mlo", "r_mlo"):
        house.complete((films[name],))
    house.decide()
    assert set(house.codes().values()) == {"MISSING_SERIES"}
    house.complete((films["l_cc"],))
    house.decide()
    assert len(house.read()) == 1


def test_a_rule_for_such_a_model_is_for_whole_studies(tmp_path: Path, models: Path) -> None:
    rule = '[[rules]]\nname = "each"\nmodel = "means"\nper_study = true\n'
    settings = tmp_path / "candela.toml"
    settings.write_text(f'data_dir = "{tmp_path}/data"\n{rule}[models]\nfolders = ["{models}"]\n')
    check_models(load(settings))
    settings.write_text(settings.read_text().replace("per_study = true", "per_study = false"))
    with pytest.raises(BadSettings, match=r"several radiographs of a study \(l_cc, r_cc, l_mlo, r_mlo\)"):
        check_models(load(settings))
