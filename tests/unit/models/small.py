"""Tiny bundles made in the tests, and volumes to read with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.workflow.volumes.image import as_image
from pipeline.geometry.volume import Volume
from pipeline.preprocess.intensity import NormalizeHeadIntensity
from pipeline.preprocess.recipe import Recipe
from pipeline.preprocess.slabs import SampleSlabs
from tests.peers.tiny_bundle import CLASSES, classifying

DATA = Path(__file__).parents[4] / "shared" / "data"
__all__ = ["CLASSES", "DATA", "make_bundle", "metadata", "network_input", "volume", "write_metadata"]
make_bundle = classifying


def metadata(folder: Path) -> dict[str, Any]:
    """The bundle's metadata, to be changed and written back with `write_metadata`."""
    raw: dict[str, Any] = json.loads((folder / "configs" / "metadata.json").read_text())
    return raw


def write_metadata(folder: Path, raw: dict[str, Any]) -> None:
    (folder / "configs" / "metadata.json").write_text(json.dumps(raw))


def network_input(series: Volume, recipe: Recipe) -> torch.Tensor:
    """What a network with ``recipe`` reads of ``series``, (slabs, 1, M, M)."""
    stack = NormalizeHeadIntensity()(SampleSlabs(**vars(recipe))(as_image(series)))
    return stack.as_subclass(torch.Tensor).transpose(0, 1)


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
