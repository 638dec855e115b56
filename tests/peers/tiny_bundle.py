"""Bundles made in the tests, as small as they can be: one that classifies, one that only segments."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

WEIGHTS = "models/model.safetensors"
CLASSES = ("lesion", "none")
RECIPE = {"matrix": 32, "pixel_mm": 7.84, "slab_mm": 4.0}
THRESHOLDS: dict[str, Any] = {
    "mask": 0.5,
    "finding": 0.7,
    "no_finding": 0.45,
    "lesion_mm3": 150.0,
    "head": 0.5,
    "head_mm": [90, 260],
}
LESION = {"scheme": "SCT", "value": "52988006", "meaning": "Lesion"}
CEREBRUM = {"scheme": "SCT", "value": "83678007", "meaning": "Cerebrum"}


def logits(names: tuple[str, ...]) -> dict[str, Any]:
    """MONAI's description of logits by slice."""
    return {
        "type": "probabilities",
        "format": "logits",
        "num_channels": len(names),
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [],
        "channel_def": {str(k): name for k, name in enumerate(names)},
    }


def segmentation(names: tuple[str, ...], matrix: int) -> dict[str, Any]:
    """MONAI's description of logits by pixel."""
    return {**logits(names), "type": "image", "format": "segmentation", "spatial_shape": [matrix, matrix]}


def describe(outputs: dict[str, Any], recipe: dict[str, Any], block: dict[str, Any]) -> dict[str, Any]:
    """A metadata.json as the model zoo writes them, with a candela block."""
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "MR",
        "num_channels": 1,
        "spatial_shape": [recipe["matrix"], recipe["matrix"]],
        "dtype": "float32",
        "value_range": [-4, 4],
        "is_patch_data": False,
        "channel_def": {"0": "T1 with contrast"},
    }
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema.json",
        "version": "0.3.1",
        "changelog": {"0.3.1": "made in a test"},
        "monai_version": "1.5.0",
        "pytorch_version": "2.6.0",
        "numpy_version": "2.0.2",
        "required_packages_version": {"safetensors": "0.4"},
        "optional_packages_version": {"pytorch-ignite": "0.4.11"},
        "task": "Finds what is bright",
        "description": "Made in a test.",
        "authors": "Candela",
        "copyright": "Apache-2.0",
        "network_data_format": {"inputs": {"image": image}, "outputs": outputs},
        "candela": {
            "contract": 1,
            "modality": "MR",
            "body_parts": ["BRAIN", "HEAD"],
            "weightings": ["T1"],
            "contrast_expected": True,
            "validated_protocol": "computed heads",
            "recipe": recipe,
            "temperature": 1.0,
            "bf16_on_cpu": False,
            **block,
        },
    }


def write_bundle(
    folder: Path,
    metadata: dict[str, Any],
    inference: dict[str, Any],
    weights: dict[str, Tensor],
    file: str = WEIGHTS,
) -> Path:
    """The bundle as files. A weights file that ends in ``.pt`` is written by torch, as the model zoo's are."""
    for part in ("configs", "docs", "models"):
        (folder / part).mkdir(parents=True)
    path = folder / file
    if path.suffix == ".pt":
        torch.save(weights, path)
    else:
        save_file({key: value.contiguous() for key, value in weights.items()}, path)
    metadata = copy.deepcopy(metadata)
    metadata["candela"].setdefault("weights", {"file": file, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text(json.dumps(inference))
    (folder / "docs" / "README.md").write_text(f"# {metadata['candela']['title']}\n\nNot for diagnosis.\n")
    return folder


def classifying(parent: Path, name: str = "tiny", **changes: Any) -> Path:
    """Classes, mask and head by the network of the shipped bundle with random weights; two classes, a 32² matrix.

    ``changes`` replace fields of its candela block.
    """
    outputs = {
        "classes": logits(CLASSES),
        "mask": segmentation(("lesion",), RECIPE["matrix"]),
        "head": logits(("slice through a head",)),
    }
    block = {"title": "Tiny", "classes": list(CLASSES), "none": "none", "thresholds": THRESHOLDS} | changes
    inference = {
        "recipe": {"_target_": "pipeline.preprocess_recipe.Recipe", **RECIPE},  # as bundles for 0.1.0 have it
        "network_def": {"_target_": "models.networks.RegionNet", "classes": 2, "filters": 8},
    }
    return write_bundle(parent / name, describe(outputs, RECIPE, block), inference, _random_weights())


@functools.cache
def _random_weights() -> dict[str, Tensor]:
    from models.networks import RegionNet

    torch.manual_seed(1)
    return RegionNet(classes=2, filters=8).state_dict()


def bright_spots(parent: Path, name: str = "bright_spots", file: str = "models/model.pt", **changes: Any) -> Path:
    """Segmentation alone, made and described as the model zoo's bundles are: the mean over 13 mm, above a threshold.

    It does find the lesion of the computed head: no weight is random. ``changes`` replace fields of its candela block.
    """
    recipe = {"matrix": 96, "pixel_mm": 2.6, "slab_mm": 4.0}
    gain, threshold = 4.0, 1.5
    network = nn.Conv2d(1, 1, 5, padding=2)
    weights = {"weight": torch.full((1, 1, 5, 5), gain / 25), "bias": torch.tensor([-gain * threshold])}
    network.load_state_dict(weights)
    block: dict[str, Any] = {
        "title": "Bright spots",
        "classes": ["bright_lesion", "no_lesion"],
        "none": "no_lesion",
        "target": LESION,
        "codes": {
            "bright_lesion": {**LESION, "title": "Enhancing lesion", "site": CEREBRUM},
            "no_lesion": {"scheme": "99CANDELA", "value": "no-lesion", "meaning": "No lesion", "site": CEREBRUM},
        },
        "thresholds": {key: value for key, value in THRESHOLDS.items() if key != "head"},
        "grad_cam_layer": "smooth",
    } | changes
    inference = {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "channels": 1,
        "layers": {
            "_target_": "collections.OrderedDict",
            "smooth": {
                "_target_": "torch.nn.Conv2d",
                "in_channels": "@channels",
                "out_channels": 1,
                "kernel_size": 5,
                "padding": 2,
            },
        },
        "network_def": "$torch.nn.Sequential(@layers)",
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [{"_target_": "LoadImaged", "keys": "image"}]},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": [{"_target_": "Activationsd", "keys": "pred"}]},
    }
    outputs = {"pred": segmentation(("bright_lesion",), recipe["matrix"])}
    named = {f"smooth.{key}": value for key, value in weights.items()}
    return write_bundle(parent / name, describe(outputs, recipe, block), inference, named, file)
