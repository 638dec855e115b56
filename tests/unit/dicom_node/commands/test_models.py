"""`candela models add`, `check`, `list` and `show` of a MONAI bundle, and what happens where a rule names it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.commands.common import REFUSED
from dicom_node.node.roles import check_models
from dicom_node.settings.tree import load
from pipeline import phantom
from pipeline.errors import BadModel, BadSettings
from tests.peers.workflow_bundle import write_bundle

SETTINGS = """
data_dir = "{root}/data"

[models]
folders = ["{root}/models"]
device = "cpu"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    path = tmp_path / "candela.toml"
    path.write_text(SETTINGS.format(root=tmp_path))
    return path


def candela(settings: Path, *words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--config", str(settings)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def added(settings: Path) -> str:
    source = write_bundle(settings.parent / "spots", contract={})
    return candela(settings, "models", "add", str(source))


def test_a_bundle_of_the_zoo_is_added_checked_listed_and_shown(settings: Path) -> None:
    said = added(settings)
    assert "spots 0.1.0 (segmentation) is in" in said
    assert "to fill in (configs/candela.json): answer: a code for spot" in said
    assert "next: candela models check spots" in said
    checked = candela(settings, "models", "check", "spots")
    assert "spots 0.1.0: segmentation, CT" in checked
    assert "results: segmentation, presentation state, pages" in checked
    assert "measures, and states no presence" in checked
    assert "is sound; digest" in checked
    listed = candela(settings, "models", "list")
    assert "segmentation" in listed
    assert "brain_mri_tumor" in listed
    shown = candela(settings, "models", "show", "spots")
    assert "A copying network" in shown
    assert "99CANDELA" in shown


def test_the_brain_model_is_checked_as_before(settings: Path) -> None:
    assert "brain_mri_tumor" in candela(settings, "models", "check", "brain_mri_tumor")


def test_a_folder_that_is_not_configured_is_refused(settings: Path) -> None:
    source = write_bundle(settings.parent / "spots", contract={})
    elsewhere = settings.parent / "elsewhere"
    with pytest.raises(BadSettings, match="no folder of models"):
        candela(settings, "models", "add", str(source), "--folder", str(elsewhere))
    settings.write_text(f'data_dir = "{settings.parent}/data"\n')
    with pytest.raises(BadSettings, match="no folder of models"):
        candela(settings, "models", "add", str(source))


def test_a_rule_may_name_it(settings: Path) -> None:
    added(settings)
    settings.write_text(settings.read_text() + '\n[[rules]]\nname = "spots"\nmodel = "spots"\n')
    check_models(load(settings))


def test_the_check_writes_its_series_and_results(settings: Path, tmp_path: Path) -> None:
    """The series can be processed again as anybody's."""
    added(settings)
    said = candela(settings, "models", "check", "spots", "--out", str(tmp_path / "trial"))
    assert "DICOM objects in" in said
    summary = json.loads((tmp_path / "trial" / "results" / "summary.json").read_text())
    roles = {item["role"] for item in summary["objects"]}
    assert roles == {"overlay", "segmentation", "report", "presentation", "document", "keyobjects"}
    series = tmp_path / "trial" / "series"
    out = str(tmp_path / "again")
    candela(settings, "process", str(series), "--model", "spots", "--out", out, "--began", summary["began"])
    again = json.loads((tmp_path / "again" / "summary.json").read_text())
    assert again["regions"] == summary["regions"]


def test_a_series_of_another_modality_is_refused(settings: Path, tmp_path: Path) -> None:
    added(settings)
    phantom.save(phantom.head_phantom(slices=3, matrix=32), tmp_path / "series")
    words = ["process", str(tmp_path / "series"), "--model", "spots", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*words, "--config", str(settings)])
    assert result.exit_code == REFUSED
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["code"] == "UNSUPPORTED_MODALITY"


def test_a_broken_contract_is_named(settings: Path) -> None:
    added(settings)
    (settings.parent / "models" / "spots" / "configs" / "candela.json").write_text("{}")
    with pytest.raises(BadModel, match=r"candela\.json"):
        candela(settings, "models", "check", "spots")
