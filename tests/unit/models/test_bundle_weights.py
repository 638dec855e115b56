"""Weights are those of the contract, are tensors alone, and fit the network that the bundle defines."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets.segresnet import SegResNet
from safetensors.torch import load_file, save_file

from models.bundle import Bundle, read_bundle, sha256
from models.loading import build_network, read_weights
from models.runtime import load_model
from pipeline.errors import BadModel
from tests.peers.tiny_bundle import bright_spots, classifying, describe, segmentation, write_bundle
from tests.unit.models.small import metadata, write_metadata


def sealed(folder: Path) -> Bundle:
    """The bundle with the digest of its metadata mended to whatever its weights are."""
    raw = metadata(folder)
    raw["candela"]["weights"]["sha256"] = sha256(folder / raw["candela"]["weights"]["file"])
    write_metadata(folder, raw)
    return read_bundle(folder)


@pytest.mark.parametrize("part", [0, 4, 200, 0.5, -1])
def test_cut_off_safetensors_are_refused(tmp_path: Path, part: float) -> None:
    """A file that ends early is a bad model, wherever it ends, even with a digest that fits."""
    folder = classifying(tmp_path)
    path = folder / "models/model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data)) if isinstance(part, float) else int(part)])
    with pytest.raises(BadModel, match=r"not a safetensors.*model\.safetensors"):
        build_network(sealed(folder))


def test_a_header_that_lies_is_refused(tmp_path: Path) -> None:
    """A safetensors header that claims more than the file holds is refused, not believed."""
    folder = classifying(tmp_path)
    (folder / "models/model.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    with pytest.raises(BadModel, match="not a safetensors"):
        build_network(sealed(folder))


def test_weights_that_change_after_the_check_are_noticed(tmp_path: Path) -> None:
    """The bytes that are loaded are the bytes whose digest is compared."""
    folder = classifying(tmp_path)
    bundle = read_bundle(folder)
    weights = load_file(bundle.weights)
    weights["classes.bias"] += 1
    save_file(weights, bundle.weights)
    with pytest.raises(BadModel, match="SHA-256"):
        build_network(bundle)


def test_weights_that_vanish_after_the_check_are_told(tmp_path: Path) -> None:
    """So is a file that is gone by then."""
    bundle = read_bundle(classifying(tmp_path))
    bundle.weights.unlink()
    with pytest.raises(BadModel, match="cannot be read"):
        build_network(bundle)


class Evil:
    """Runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_a_pickle_that_holds_code_is_refused_and_not_run(tmp_path: Path) -> None:
    """A .pt file that would run code is a bad model, and the code did not run."""
    folder = bright_spots(tmp_path)
    mark = tmp_path / "ran"
    torch.save({"smooth.weight": Evil(mark)}, folder / "models/model.pt")
    with pytest.raises(BadModel, match="runs no code"):
        build_network(sealed(folder))
    assert not mark.exists()
    (folder / "models/model.pt").write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(BadModel, match="runs no code"):
        build_network(sealed(folder))
    assert not mark.exists()


@pytest.mark.parametrize(
    "write",
    [
        lambda path: torch.save(torch.nn.Conv2d(1, 1, 5), path),
        lambda path: path.write_bytes(path.read_bytes()[:-200]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a pickle"),
        lambda path: torch.save({"model": {"smooth.weight": torch.zeros(1)}}, path),
        lambda path: torch.save([torch.zeros(1)], path),
        lambda path: torch.jit.save(torch.jit.script(torch.nn.Identity()), str(path)),
    ],
    ids=["module", "cut", "empty", "text", "checkpoint", "list", "torchscript"],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, write: Callable[[Path], Any]) -> None:
    """Whole modules, checkpoints, TorchScript and broken files are told what to save instead."""
    folder = bright_spots(tmp_path)
    write(folder / "models/model.pt")
    with pytest.raises(BadModel, match="state_dict"):
        build_network(sealed(folder))


def test_both_kinds_of_weights_hold_the_same(tmp_path: Path) -> None:
    """The model zoo's .pt and safetensors are read to equal tensors."""
    pickled = read_weights(read_bundle(bright_spots(tmp_path / "a")))
    safe = read_weights(read_bundle(bright_spots(tmp_path / "b", file="models/model.safetensors")))
    assert pickled.keys() == safe.keys()
    assert all(torch.equal(pickled[key], safe[key]) for key in safe)


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ({"_target_": "models.networks.NoSuchNet"}, "network_def needs"),
        ({"_target_": "torch.nn.Conv2d", "in_channels": 1}, "network_def failed"),
        ({"_target_": "collections.OrderedDict"}, "not a torch module"),
        ("$1 / 0", "network_def failed"),
        ("@elsewhere", "network_def failed"),
        (None, "not a torch module"),
        ({"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 5}, "do not fit"),
    ],
)
def test_a_configuration_that_makes_no_fitting_network_is_refused(
    tmp_path: Path, definition: object, words: str
) -> None:
    """Whatever a network_def raises or makes, the answer is a bad model that names the file."""
    metadata_ = describe(
        {"pred": segmentation(("lesion",), 32)}, {"matrix": 32, "pixel_mm": 7.84, "slab_mm": 4.0}, BLOCK
    )
    weights = {"weight": torch.zeros(1, 1, 5, 5), "bias": torch.zeros(1)}
    write_bundle(tmp_path / "odd", metadata_, {"network_def": definition}, weights)
    with pytest.raises(BadModel, match=words):
        load_model("odd", folders=(tmp_path,), device="cpu")


def test_a_configuration_without_a_network_is_refused(tmp_path: Path) -> None:
    """inference.json without network_def, too large, or no JSON names itself."""
    folder = bright_spots(tmp_path)
    for content in ("{}", "[1]", "{", " " * 1_000_001, '{"a": ' * 5000):
        (folder / "configs/inference.json").write_text(content)
        with pytest.raises(BadModel, match=r"inference\.json"):
            load_model("bright_spots", folders=(tmp_path,), device="cpu")


BLOCK = {
    "title": "Odd",
    "classes": ["lesion", "none"],
    "none": "none",
    "grad_cam_layer": "conv",
    "thresholds": {"mask": 0.5, "finding": 0.7, "no_finding": 0.4, "lesion_mm3": 100, "head_mm": [50, 300]},
}


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 1, "kernel_size": 1}, "does not take"),
        ({"_target_": "torch.nn.Conv2d", "in_channels": 2, "out_channels": 1, "kernel_size": 1}, "does not take"),
        ({"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 1}, "another shape"),
        ({"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 3}, "another shape"),
    ],
    ids=["3d", "two inputs", "two outputs", "smaller"],
)
def test_a_network_of_another_shape_is_refused_when_it_is_loaded(
    tmp_path: Path, network: dict[str, Any], words: str
) -> None:
    """What the network takes and gives is tried at load, before there is a patient."""
    from monai.bundle import ConfigParser

    made = ConfigParser({"network": network}).get_parsed_content("network")
    weights = {f"conv.{key}": torch.zeros_like(value) for key, value in made.state_dict().items()}
    inference = {
        "imports": ["$import torch"],
        "layers": {"_target_": "collections.OrderedDict", "conv": network},
        "network_def": "$torch.nn.Sequential(@layers)",
    }
    described = describe(
        {"pred": segmentation(("lesion",), 32)}, {"matrix": 32, "pixel_mm": 7.84, "slab_mm": 4.0}, BLOCK
    )
    write_bundle(tmp_path / "odd", described, inference, weights)
    with pytest.raises(BadModel, match=words):
        load_model("odd", folders=(tmp_path,), device="cpu")


def test_a_heat_map_needs_its_layer(tmp_path: Path) -> None:
    """A contract that names no layer of the network is refused at load."""
    bright_spots(tmp_path, grad_cam_layer="smooth.nothing")
    with pytest.raises(BadModel, match="no module"):
        load_model("bright_spots", folders=(tmp_path,), device="cpu")


def test_nan_in_the_weights_shows_at_load(tmp_path: Path) -> None:
    """Weights that are not numbers never answer."""
    folder = bright_spots(tmp_path)
    torch.save(
        {"smooth.weight": torch.full((1, 1, 5, 5), torch.nan), "smooth.bias": torch.zeros(1)},
        folder / "models/model.pt",
    )
    sealed(folder)
    with pytest.raises(BadModel, match="not a number"):
        load_model("bright_spots", folders=(tmp_path,), device="cpu")


def test_a_network_of_monais_with_its_own_channels_is_taken(tmp_path: Path) -> None:
    """A SegResNet as the model zoo defines it: background first, several lesion classes, weights in .pt."""
    torch.manual_seed(3)
    arguments = {"spatial_dims": 2, "init_filters": 8, "in_channels": 1, "out_channels": 3, "dropout_prob": 0.2}
    network = SegResNet(**arguments)
    block = {
        **BLOCK,
        "classes": ["oedema", "enhancing", "nothing"],
        "none": "nothing",
        "grad_cam_layer": "up_layers.1",
    }
    recipe = {"matrix": 64, "pixel_mm": 3.92, "slab_mm": 4.0}
    described = describe({"pred": segmentation(("background", "oedema", "enhancing"), 64)}, recipe, block)
    inference = {"network_def": {"_target_": "SegResNet", **arguments}, "network": "$@network_def.to(@device)"}
    write_bundle(tmp_path / "zoo", described, inference, network.state_dict(), "models/model.pt")
    bundle = read_bundle(tmp_path / "zoo")
    assert bundle.contract.outputs.channels == (1, 2, 0)
    model = load_model("zoo", folders=(tmp_path,), device="cpu")
    assert model.classes == ("oedema", "enhancing", "nothing")
    images = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        share = torch.softmax(network.eval()(images), dim=1)
        answer = build_network(bundle)(images)
    assert torch.allclose(torch.sigmoid(answer.mask), 1 - share[:, :1], atol=1e-5)
