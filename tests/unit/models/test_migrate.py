"""A bundle of contract 1 moves to contract 2 without a change of its answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dicom_node.cli import app
from models import registry
from models.bundle import Bundle, read_bundle
from models.contract import read_contract
from models.metadata import read_metadata
from models.migrate import contract_1, contract_2, migrate
from models.runtime import load_model
from pipeline.errors import BadSettings
from tests.peers.tiny_bundle import THRESHOLDS
from tests.unit.models.small import make_bundle, volume


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "models", "small", thresholds={**THRESHOLDS, "head": 0.0})
    path = tmp_path / "candela.toml"
    path.write_text(f'data_dir = "{tmp_path}/data"\n[models]\nfolders = ["{tmp_path}/models"]\ndevice = "cpu"\n')
    return path


def candela(settings: Path, *words: str) -> str:
    result = CliRunner().invoke(app, ["models", *words, "--config", str(settings)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_answers_stay_and_the_digest_changes_once(settings: Path) -> None:
    folder = settings.parent / "models" / "small"
    series = volume(np.random.default_rng(0).uniform(0, 900, (12, 64, 64)).astype(np.float32), (5.0, 2.5, 2.5))
    before = load_model("small", folders=[folder.parent], device="cpu")
    metadata = (folder / "configs" / "metadata.json").read_bytes()
    answer = before.predict(series)

    said = candela(settings, "migrate", "small")
    after = load_model("small", folders=[folder.parent], device="cpu")
    assert after.identity.digest in said
    assert after.identity.digest != before.identity.digest
    assert (folder / "configs" / "metadata.json").read_bytes() == metadata
    again = after.predict(series)
    assert again.probabilities == answer.probabilities
    assert np.array_equal(again.mask, answer.mask)
    assert np.array_equal(again.heatmap, answer.heatmap)

    content = (folder / "configs" / "candela.json").read_bytes()
    assert "contract 2 already" in candela(settings, "migrate", "small")
    assert (folder / "configs" / "candela.json").read_bytes() == content
    assert registry.get("small", [folder.parent]).digest == after.identity.digest
    assert "is sound" in candela(settings, "check", "small")
    assert "lesion" in candela(settings, "list")


def test_nothing_is_lost_on_the_way(tmp_path: Path) -> None:
    """Also of the shipped bundle, which uses every field."""
    shipped = registry.get("brain_mri_tumor").folder
    for folder in (shipped, make_bundle(tmp_path, "small")):
        block = read_metadata(folder / "configs" / "metadata.json").candela
        there_and_back = contract_1(contract_2(block))
        assert type(block).model_validate_json(json.dumps(there_and_back)) == block


def test_the_contract_is_that_of_candela_json(settings: Path) -> None:
    """metadata.json keeps its block for earlier versions; it counts no longer."""
    folder = settings.parent / "models" / "small"
    migrate(folder, read_metadata(folder / "configs" / "metadata.json").candela)
    path = folder / "configs" / "candela.json"
    path.write_text(path.read_text().replace(read_contract(path).title, "Another title"))
    bundle = read_bundle(folder)
    assert isinstance(bundle, Bundle)
    assert bundle.contract.title == "Another title"


def test_a_shipped_model_is_not_migrated(settings: Path) -> None:
    with pytest.raises(BadSettings, match="ships with Candela"):
        candela(settings, "migrate", "brain_mri_tumor")
