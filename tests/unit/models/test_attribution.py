"""Gradient SHAP adds up to the logit, lies where the network looks, and asks for its extra by name."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from dicom_node.cli import app
from models import registry
from models.evaluation import attribution
from models.evaluation.attribution import baselines, gradient_shap
from models.evaluation.heat_picture import Method, explain_plane, write_picture
from models.explain import ClassLogits
from models.runtime import ResidentModel, choose_device
from pipeline.errors import BadSettings, Refused
from pipeline.geometry.build import build_volume
from pipeline.phantom import head_phantom, save
from pipeline.preprocess.intensity import NormalizeHeadIntensity
from tests.unit.models.measured import Bright, four_classes, spots

needs_captum = pytest.mark.skipif(
    not attribution.installed(), reason="captum is not installed: pip install 'candela[research]'"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ResidentModel:
    folder = tmp_path_factory.mktemp("bundles")
    four_classes(folder)
    return ResidentModel(registry.get("four", (folder,)).bundle, choose_device("cpu", cuda=False))


@needs_captum
def test_shap_lies_on_what_the_network_sees_and_adds_up() -> None:
    """The bright disc has nearly all of the attribution, and its sum is about what sets the logit off its baselines."""
    pictures = spots(1)
    image = NormalizeHeadIntensity()(torch.from_numpy(pictures.images)[:, None].float())
    values = gradient_shap(Bright(), image, 0, samples=200)
    mask = torch.from_numpy(pictures.masks[0])
    assert float(values[0, 0][mask].sum()) > 0.8 * float(values.abs().sum())
    logits = ClassLogits(Bright())
    gap = logits(image)[0, 0] - logits(baselines(image))[:, 0].mean()
    assert float(values.sum()) == pytest.approx(gap.item(), rel=0.25)


@needs_captum
def test_shap_is_seeded_and_leaves_the_random_state_alone() -> None:
    """The same call gives the same map, and draws nothing from the caller's generators."""
    image = NormalizeHeadIntensity()(torch.from_numpy(spots(1).images)[:, None].float())
    network = Bright()
    np.random.seed(5)  # noqa: NPY002 - captum draws from numpy's global state
    torch.manual_seed(5)
    first, second = (gradient_shap(network, image, 0, samples=4) for _ in range(2))
    assert torch.equal(first, second)
    drawn = np.random.random(), torch.rand(1)  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    assert drawn == (np.random.random(), torch.rand(1))  # noqa: NPY002


def test_without_captum_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where captum is not installed, the error says what to install."""
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(BadSettings, match=r"candela\[research\]"):
        gradient_shap(Bright(), torch.zeros(1, 1, 64, 64), 0)


@pytest.mark.parametrize("method", ["grad-cam", pytest.param("gradient-shap", marks=needs_captum)])
def test_the_picture_names_class_method_and_disclaimer(model: ResidentModel, tmp_path: Path, method: Method) -> None:
    """A picture of a slice is written, and is not empty; a class can be asked for."""
    volume = build_volume(head_phantom(slices=6, matrix=64))
    explanation = explain_plane(model, volume, 3, method, class_name="meningioma")
    assert explanation.name == "meningioma"
    assert 0 <= explanation.probability <= 1
    assert explanation.values.shape == explanation.image.shape == (32, 32)
    write_picture(explanation, model, tmp_path / "new" / "heat.png")
    with Image.open(tmp_path / "new" / "heat.png") as picture:
        assert picture.width > 1000
        assert np.asarray(picture.convert("L")).std() > 10


def test_a_slice_or_class_that_is_not_there_is_refused(model: ResidentModel) -> None:
    """Slices are counted from 1, and the classes are the model's."""
    volume = build_volume(head_phantom(slices=6, matrix=64))
    with pytest.raises(Refused, match=r"no slice 7; the series has 6"):
        explain_plane(model, volume, 6, "grad-cam")
    with pytest.raises(Refused, match="no class 'abscess'"):
        explain_plane(model, volume, 0, "grad-cam", class_name="abscess")


@pytest.mark.parametrize(
    "method", ["grad-cam", pytest.param("gradient-shap", marks=[needs_captum, pytest.mark.nightly])]
)
def test_candela_models_explain(tmp_path: Path, method: str) -> None:
    """The command writes the picture of the shipped model's answer for a slice, and says which class it shows."""
    save(head_phantom(slices=8, matrix=96), tmp_path / "series")
    out = tmp_path / "heat.png"
    arguments = ["models", "explain", str(tmp_path / "series"), "--slice", "5", "--method", method, "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "slice 5: " in result.output
    assert out.stat().st_size > 10_000
