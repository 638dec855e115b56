"""A tiny bundle made in the tests, and volumes to read with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from models.networks import RegionNet
from models.registry import SHIPPED
from pipeline.volume import Volume

DATA = Path(__file__).parents[4] / "shared" / "data"
CLASSES = ("lesion", "none")


def make_bundle(parent: Path, name: str = "tiny", **changes: Any) -> Path:
    """A bundle with two classes, random weights and a 32² matrix. ``changes`` replace fields of its candela block."""
    folder = parent / name
    for part in ("configs", "docs", "models"):
        (folder / part).mkdir(parents=True)
    torch.manual_seed(1)
    network = RegionNet(classes=2, filters=8)
    weights = folder / "models" / "model.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, weights)
    raw = json.loads((SHIPPED / "brain_mri_tumor" / "configs" / "metadata.json").read_text())
    recipe = {"matrix": 32, "pixel_mm": 7.84, "slab_mm": 4.0}
    raw["candela"] |= {
        "title": "Tiny",
        "classes": list(CLASSES),
        "none": "none",
        "recipe": recipe,
        "weights": {"file": "models/model.safetensors", "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()},
    } | changes
    raw["network_data_format"]["outputs"]["classes"]["num_channels"] = 2
    (folder / "configs" / "metadata.json").write_text(json.dumps(raw))
    definition = {"_target_": "models.networks.RegionNet", "classes": 2, "filters": 8}
    inference = {
        "recipe": {"_target_": "pipeline.preprocess_recipe.Recipe", **recipe},
        "network_def": definition,
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(inference))
    (folder / "docs" / "README.md").write_text("# Tiny\n")
    return folder


def metadata(folder: Path) -> dict[str, Any]:
    """The bundle's metadata, to be changed and written back with `write_metadata`."""
    raw: dict[str, Any] = json.loads((folder / "configs" / "metadata.json").read_text())
    return raw


def write_metadata(folder: Path, raw: dict[str, Any]) -> None:
    (folder / "configs" / "metadata.json").write_text(json.dumps(raw))


DIRECTIONS = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
}


def volume(array: np.ndarray, spacing: tuple[float, float, float] = (5.0, 1.0, 1.0), plane: str = "axial") -> Volume:
    """A volume of ``array`` (slices, rows, columns) without headers, planes stored as they are displayed."""
    across, down = (np.array(vector, dtype=float) for vector in DIRECTIONS[plane])
    affine = np.eye(4)
    affine[:3, :3] = np.stack([np.cross(across, down), down, across], axis=1) * np.array(spacing)
    return Volume(np.asarray(array, dtype=np.float32), affine, ())
