"""Bundles are complete and are what they say, or they are refused by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models import registry
from models.bundle import read_bundle, sha256
from models.runtime import load_model
from pipeline.errors import BadModel
from tests.unit.models.small import make_bundle, metadata, write_metadata


def test_the_shipped_bundle_is_sound_and_small() -> None:
    """The brain model reads, names the four classes of its card in order, and has at most 30 MB of weights."""
    bundle = registry.get("brain_mri_tumor").bundle
    assert bundle.contract.classes == ("glioma", "meningioma", "pituitary_tumor", "no_tumor")
    assert bundle.weights.stat().st_size < 30e6
    assert sha256(bundle.weights) == bundle.contract.sha256


def test_the_card_quotes_the_shipped_weights() -> None:
    """The model card says which weights its figures were measured on, and what the model is not for."""
    entry = registry.get("brain_mri_tumor")
    assert entry.bundle.contract.sha256[:12] in entry.card()
    assert "not for diagnosis" in entry.card().lower()


@pytest.mark.parametrize("part", ["configs/metadata.json", "configs/inference.json", "docs/README.md"])
def test_a_missing_file_is_named(tmp_path: Path, part: str) -> None:
    """A bundle without one of its files is refused with the file's path."""
    folder = make_bundle(tmp_path)
    (folder / part).unlink()
    with pytest.raises(BadModel, match=part):
        read_bundle(folder)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    """A bundle without its weights is refused with their path."""
    folder = make_bundle(tmp_path)
    (folder / "models/model.safetensors").unlink()
    with pytest.raises(BadModel, match=r"model\.safetensors"):
        read_bundle(folder)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    """One changed byte in the weights is noticed before they are loaded."""
    folder = make_bundle(tmp_path)
    path = folder / "models/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadModel, match="SHA-256"):
        read_bundle(folder)


def test_the_digest_follows_the_weights(tmp_path: Path) -> None:
    """A byte of the weights changed, with the contract mended, gives another digest; a change of the card does not."""
    folder = make_bundle(tmp_path)
    before = read_bundle(folder).digest
    (folder / "docs/README.md").write_text("# Tiny, described better\n")
    assert read_bundle(folder).digest == before
    path = folder / "models/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    raw = metadata(folder)
    raw["candela"]["weights"]["sha256"] = sha256(path)
    write_metadata(folder, raw)
    assert read_bundle(folder).digest != before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("classes", ["lesion", "lesion"]),
        ("classes", ["none", "lesion"]),
        ("classes", ["a", "b", "none"]),
        ("none", "lesion"),
        ("temperature", 0),
        ("contract", 99),
        ("recipe", {"matrix": 30, "pixel_mm": 1.0, "slab_mm": 4.0}),
        ("weights", {"file": "../elsewhere.safetensors", "sha256": "0" * 64}),
        ("thresholds", {"mask": 0.5}),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused(tmp_path: Path, field: str, value: object) -> None:
    """Wrong classes, temperature, version, matrix, weights or thresholds: refused, naming metadata.json."""
    folder = make_bundle(tmp_path, **{field: value})
    with pytest.raises(BadModel, match=r"metadata\.json"):
        read_bundle(folder)


@pytest.mark.parametrize("field", ["title", "classes", "recipe", "weights", "modality"])
def test_a_contract_without_a_field_is_refused(tmp_path: Path, field: str) -> None:
    """A field that the contract needs and lacks is named."""
    folder = make_bundle(tmp_path)
    raw = metadata(folder)
    del raw["candela"][field]
    write_metadata(folder, raw)
    with pytest.raises(BadModel, match=field):
        read_bundle(folder)


def test_metadata_that_is_no_json_is_refused(tmp_path: Path) -> None:
    """A cut-off metadata.json is a bad model, not a crash."""
    folder = make_bundle(tmp_path)
    (folder / "configs/metadata.json").write_text('{"version": ')
    with pytest.raises(BadModel, match="cannot be read"):
        read_bundle(folder)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    """Weights that do not fit the network that inference.json defines are refused, naming them."""
    folder = make_bundle(tmp_path)
    path = folder / "configs/inference.json"
    path.write_text(path.read_text().replace('"filters": 8', '"filters": 16'))
    with pytest.raises(BadModel, match="do not fit"):
        load_model("tiny", folders=(tmp_path,))


def test_a_configuration_that_makes_no_network_is_refused(tmp_path: Path) -> None:
    """A network class that does not exist is a bad model with the file's name."""
    folder = make_bundle(tmp_path)
    path = folder / "configs/inference.json"
    path.write_text(path.read_text().replace("RegionNet", "NoSuchNet"))
    with pytest.raises(BadModel, match=r"inference\.json"):
        load_model("tiny", folders=(tmp_path,))


def test_two_descriptions_of_the_preprocessing_must_agree(tmp_path: Path) -> None:
    """inference.json and metadata.json cannot name different pixel sizes."""
    folder = make_bundle(tmp_path)
    path = folder / "configs/inference.json"
    path.write_text(path.read_text().replace("7.84", "1.0"))
    with pytest.raises(BadModel, match="different preprocessing"):
        load_model("tiny", folders=(tmp_path,))


def test_the_registry_needs_no_torch() -> None:
    """The receiver can ask for a model's digest without importing torch or MONAI."""
    code = (
        "import sys; from models import registry; print(registry.get('brain_mri_tumor').digest);"
        "assert not {'torch', 'monai'} & set(sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == registry.get("brain_mri_tumor").digest
