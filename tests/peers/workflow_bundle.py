"""Small bundles in the model zoo's form, drawn by code: a network of one convolution that copies its input."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

IMAGE, PRED = "image", "pred"
LOAD = [{"_target_": "LoadImaged", "keys": IMAGE}, {"_target_": "EnsureChannelFirstd", "keys": IMAGE}]
ENSURE = {"_target_": "EnsureTyped", "keys": IMAGE}
INVERT = {
    "_target_": "Invertd",
    "keys": PRED,
    "transform": "@preprocessing",
    "orig_keys": IMAGE,
    "nearest_interp": False,
    "to_tensor": True,
}
HALF = {"_target_": "AsDiscreted", "keys": PRED, "threshold": 0.5}
SAVE = {"_target_": "SaveImaged", "keys": PRED, "output_dir": "$@bundle_root + '/eval'", "writer": "ITKWriter"}
SLIDING = {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "sw_batch_size": 2, "overlap": 0.25}
STRUCTURE = {"value": 1, "name": "spot"}
SPOT = {"kind": "segmentation", "form": "labels", "structures": [STRUCTURE]}


def copies(channels: int = 1, axes: int = 3) -> tuple[dict[str, Any], nn.Module]:
    """``network_def`` and module of a 1³ (1²) convolution that copies its ``channels``."""
    kind = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
    module = kind(channels, channels, 1)
    with torch.no_grad():
        module.weight.copy_(torch.eye(channels).reshape(module.weight.shape))
        module.bias.zero_()  # type: ignore[union-attr]
    named = {"_target_": f"torch.nn.{kind.__name__}", "kernel_size": 1}
    return {**named, "in_channels": channels, "out_channels": channels}, module


def write_bundle(
    folder: Path,
    *,
    transforms: list[Any] | None = None,
    post: list[Any] | None = None,
    inferer: dict[str, Any] | None = None,
    network: tuple[Any, nn.Module] | None = None,
    answer: dict[str, Any] = SPOT,
    inputs: list[dict[str, Any]] | None = None,
    scripts: dict[str, str] | None = None,
    weights: str = "models/model.pt",
    config: dict[str, Any] | None = None,
    contract: dict[str, Any] | None = None,
) -> Path:
    """A bundle in ``folder`` whose preprocessing is loading and ``transforms``, and whose postprocessing is ``post``.

    ``config`` and ``contract`` replace top-level parts of inference.json and candela.json; a ``contract`` of {} writes
    no candela.json.
    """
    definition, module = network or copies()
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    whole = {
        "imports": ["$import glob", "$import a_package_that_nobody_has"],
        "bundle_root": "/nowhere",
        "device": "$torch.device('cuda:0')",
        "datalist": "$sorted(glob.glob('/nowhere/*.nii.gz'))",
        "network_def": definition,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [*LOAD, *(transforms or []), ENSURE]},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "inferer": inferer or SLIDING,
        "postprocessing": {"_target_": "Compose", "transforms": [HALF, INVERT, SAVE] if post is None else post},
        "checkpointloader": {
            "_target_": "CheckpointLoader",
            "load_path": "/nowhere",
            "load_dict": {"model": "@network"},
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataset",
            "amp": True,
        },
        "run": ["$@evaluator.run()"],
        **(config or {}),
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(whole))
    (folder / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    (folder / "docs" / "README.md").write_text("# A copying network\n")
    for name, text in (scripts or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    path = folder / weights
    if path.suffix == ".ts":
        torch.jit.script(module.eval()).save(str(path))
    else:
        torch.save(module.state_dict(), path)
    if contract != {}:
        write_contract(folder, {"answer": answer, "inputs": inputs or [ONE], **(contract or {})}, weights)
    return folder


def write_contract(folder: Path, parts: dict[str, Any], weights: str = "models/model.pt") -> None:
    """``configs/candela.json`` of ``parts`` and the digest of the weights."""
    digest = hashlib.sha256((folder / weights).read_bytes()).hexdigest()
    whole = {
        "contract": 2,
        "title": "Copying network",
        "scope": {"modalities": ["CT"]},
        "weights": [{"file": weights, "sha256": digest}],
        **parts,
    }
    (folder / "configs" / "candela.json").write_text(json.dumps(whole))


ONE = {"key": IMAGE, "channels": [{"name": "image"}]}
METADATA = {
    "version": "0.1.0",
    "monai_version": "1.4.0",
    "pytorch_version": "2.4.0",
    "numpy_version": "1.24.4",
    "optional_packages_version": {"a_package_that_nobody_has": "1.0.0"},
    "name": "Copying network",
    "task": "Copies what is bright",
    "network_data_format": {
        "inputs": {
            "image": {
                "type": "image",
                "format": "hounsfield",
                "modality": "CT",
                "num_channels": 1,
                "spatial_shape": [16, 16, 16],
                "dtype": "float32",
                "value_range": [0, 1],
                "is_patch_data": True,
                "channel_def": {"0": "image"},
            }
        },
        "outputs": {
            "pred": {
                "type": "image",
                "format": "segmentation",
                "num_channels": 1,
                "spatial_shape": [16, 16, 16],
                "dtype": "float32",
                "value_range": [0, 1],
                "is_patch_data": True,
                "channel_def": {"0": "spot"},
            }
        },
    },
}
