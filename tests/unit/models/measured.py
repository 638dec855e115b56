"""A data set, a bundle and a network, all made here, for the tests of evaluation and explanation."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from models.networks import PretrainedRegionNet, SliceAnswer
from models.registry import SHIPPED
from models.training.data import Pictures
from pipeline.phantom import head_phantom, save

SIDE = 64
WIDTHS = (8, 8, 16, 8, 8)
"""Of the decoder: narrow, so that tests are quick."""
FIELD = 224


def spots(count: int = 6, side: int = SIDE, none: int = 3) -> Pictures:
    """Symmetric round heads with one bright disc each, right or left of the middle, of classes 0, 1, 2 in turn."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    head = 80 * (y**2 + x**2 < 0.7)
    images, masks = [], []
    for k in range(count):
        mask = (y - 0.1 * (k % 3)) ** 2 + (x - (0.4 if k % 2 else -0.4)) ** 2 < 0.02
        images.append((head + 150 * mask).astype(np.uint8))
        masks.append(mask)
    labels = np.arange(count) % none
    return Pictures(np.stack(images), np.stack(masks), labels, np.ones(count, dtype=int), np.ones(count, dtype=bool))


class Bright(nn.Module):
    """Sees what is bright, by weights that are set and not learnt: its heat map must lie on the disc of `spots`.

    ``blind`` sees the opposite: what is dark.
    """

    def __init__(self, *, blind: bool = False) -> None:
        super().__init__()
        self.smooth = nn.Conv2d(1, 2, 3, padding=1)
        self.deep = nn.Identity()
        self.classes = nn.Linear(2, 4)
        sign = -1.0 if blind else 1.0
        with torch.no_grad():
            self.smooth.weight[0] = sign / 9
            self.smooth.bias.copy_(torch.tensor([sign * -1.5, 0.0]))
            self.smooth.weight[1] = 0
            self.classes.weight.copy_(torch.tensor([[1.0, 0.0]]).repeat(4, 1))
            self.classes.bias.copy_(torch.tensor([3.0, 2.0, 1.0, 0.0]))

    def forward(self, images: Tensor) -> SliceAnswer:
        seen = self.deep(functional.relu(self.smooth(images)))
        return SliceAnswer(self.classes(seen.mean((2, 3))), 20 * seen[:, :1] - 1, torch.ones(len(images)))


def picture_folder(parent: Path) -> Path:
    """``brain_t1ce`` (24 slices, two folds, stretches up to three), ``brain_notumor`` (8), a computed head as DICOM."""
    rng = np.random.default_rng(0)
    folder = parent / "data"
    for part in ("brain_t1ce/images", "brain_t1ce/masks", "brain_notumor/images"):
        (folder / part).mkdir(parents=True)
    y, x = np.mgrid[-1 : 1 : FIELD * 1j, -1 : 1 : FIELD * 1j]
    head = 90.0 * ((y / 0.8) ** 2 + (x / 0.7) ** 2 < 1)
    rows: list[list[object]] = []
    free: list[list[object]] = []
    for k in range(32):
        spot = (y - rng.uniform(-0.4, 0.4)) ** 2 + (x - 0.4) ** 2 < rng.uniform(0.01, 0.05)
        picture = head + 110 * spot * (k < 24) + rng.normal(0, 3, head.shape)
        image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
        fold = 1 + (k // 3) % 2
        if k < 24:
            image.save(folder / f"brain_t1ce/images/{k}.png")
            Image.fromarray((255 * spot).astype(np.uint8)).save(folder / f"brain_t1ce/masks/{k}.png")
            label = ("glioma", "meningioma", "pituitary")[k // 8]
            rows.append([f"images/{k}.png", f"masks/{k}.png", label, fold])
        else:
            image.save(folder / f"brain_notumor/images/{k}.png")
            free.append([f"images/{k}.png", k, 1 + k % 2])
    _index(folder / "brain_t1ce/index.csv", ["image", "mask", "label", "fold5"], rows)
    _index(folder / "brain_notumor/index.csv", ["image", "group", "fold5"], free)
    save(head_phantom(slices=6, matrix=64, lesion=False), folder / "dicom" / "head")
    (folder / "dicom" / "empty").mkdir()
    return folder


def four_classes(parent: Path, name: str = "four") -> Path:
    """The shipped bundle cut down to a 32² matrix and random weights; trained, it says, on fold 1, validated on 2."""
    folder = parent / name
    shutil.copytree(SHIPPED / "brain_mri_tumor", folder)
    recipe = {"matrix": 32, "pixel_mm": 7.84, "slab_mm": 20.0}
    weights = folder / "models" / "model.safetensors"
    write_weights(weights, seed=1)
    metadata = json.loads((folder / "configs/metadata.json").read_text())
    metadata["candela"] |= {
        "recipe": recipe,
        "bf16_on_cpu": False,
        "weights": {
            "file": "models/model.safetensors",
            "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        },
    }
    metadata["candela"].pop("anatomy", None)  # it needs to see more than 32 pixels
    metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] = [32, 32]
    metadata["network_data_format"]["outputs"]["mask"]["spatial_shape"] = [32, 32]
    (folder / "configs/metadata.json").write_text(json.dumps(metadata))
    inference = {
        "recipe": {"_target_": "pipeline.preprocess.recipe.Recipe", **recipe},
        "network_def": {"_target_": "models.networks.PretrainedRegionNet", "classes": 4, "widths": WIDTHS},
    }
    (folder / "configs/inference.json").write_text(json.dumps(inference))
    plan = json.loads((folder / "configs/train.json").read_text())
    mixture = {"tumour": 3, "no_tumour": 1, "healthy": 1, "outlier": 1}
    plan |= {
        "recipe": recipe,
        "network": {"classes": 4, "widths": WIDTHS, "dropout": 0.0},
        "folds": [1, 2],
        "members": [2],
        "healthy_series": ["head"],
        "unseen_series": {"2": ["head"]},
        "echo_planar_series": [],
        "excluded_groups": [31],
        "excluded_outlines": [],
        "cycles": [{"peak": 0.001, "stages": [{"steps": 2, "matrix": 32}], "batch": mixture}],
        "save_every": 2,
    }
    (folder / "configs/train.json").write_text(json.dumps(plan))
    return folder


def write_weights(path: Path, seed: int) -> None:
    """Random weights that fit the network of `four_classes`."""
    torch.manual_seed(seed)
    state = PretrainedRegionNet(classes=4, widths=WIDTHS).state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, path)


def _index(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
