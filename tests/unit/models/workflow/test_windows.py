"""Labels that are made plane by plane are those of MONAI's sliding window, and take a fraction of its memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers.inferer import SlidingWindowInferer
from monai.transforms.compose import Compose
from monai.transforms.post.dictionary import Activationsd, AsDiscreted, KeepLargestConnectedComponentd
from torch import Tensor, nn

from models.workflow.volumes.windows import labels_by_planes, reducing_steps
from tests.peers.workflow_bundle import INVERT, PRED
from tests.unit.models.workflow.placed import SHAPE, placed, resident, segmented

SOFTMAX, ARGMAX = Activationsd("pred", softmax=True), AsDiscreted("pred", argmax=True)


class Varied(nn.Module):
    """Three channels that depend on the voxel and on its place in the window, so that blending shows."""

    def forward(self, x: Tensor) -> Tensor:
        ramp = torch.linspace(-1, 1, x.shape[-1]) * torch.linspace(0.5, 1, x.shape[-3])[:, None, None]
        return torch.cat([x, -x + 0.1 * ramp, 0.3 * ramp.expand_as(x)], dim=1)


def reduce(part: Tensor) -> Tensor:
    made: Tensor = Compose([SOFTMAX, ARGMAX])({"pred": part})["pred"]
    return made


@pytest.mark.parametrize("size", [(24, 20, 31), (24, 20, 8), (9, 30, 16)], ids=["many", "one layer", "smaller"])
@pytest.mark.parametrize(
    "how",
    [
        {"overlap": 0.5},
        {"overlap": 0.25, "mode": "gaussian"},
        {"overlap": 0, "sw_batch_size": 3},
        {"overlap": (0.7, 0.1, 0.4), "mode": "gaussian", "padding_mode": "replicate"},
        {"overlap": 0.25, "padding_mode": "constant", "cval": -1.0},
    ],
)
def test_planes_have_the_labels_of_monais_window(size: tuple[int, ...], how: dict[str, Any]) -> None:
    batch = torch.from_numpy(np.random.default_rng(5).normal(size=(1, 1, *size)).astype(np.float32))
    inferer = SlidingWindowInferer(roi_size=(16, 12, 16), **how)
    whole = reduce(inferer(batch, Varied())[0])
    planes = labels_by_planes(inferer, batch, Varied(), reduce)
    assert planes is not None
    assert planes.shape == whole.shape
    assert float((planes != whole).float().mean()) < 1e-3, "more than rounding where two channels are alike"


def test_an_output_on_another_grid_is_left_to_monai() -> None:
    inferer = SlidingWindowInferer(roi_size=(8, 8, 8))
    assert labels_by_planes(inferer, torch.zeros(1, 1, 16, 16, 16), nn.AvgPool3d(2), reduce) is None


def test_only_steps_that_look_at_one_voxel_are_taken() -> None:
    window, largest = SlidingWindowInferer(roi_size=(8, 8, 8)), KeepLargestConnectedComponentd("pred")
    assert reducing_steps(window, Compose([SOFTMAX, ARGMAX, largest])) == [SOFTMAX, ARGMAX]
    assert reducing_steps(window, Compose([ARGMAX, largest])) == [ARGMAX]
    assert reducing_steps(window, Compose([SOFTMAX, largest, ARGMAX])) == []
    assert reducing_steps(window, Compose([AsDiscreted("pred", threshold=0.5)])) == []
    assert reducing_steps(window, Compose([AsDiscreted("pred", argmax=True, to_onehot=3)])) == []
    assert reducing_steps(window, Compose([Activationsd("pred", other=torch.cumsum), ARGMAX])) == []
    assert reducing_steps(window, None) == []


MANY = {
    "kind": "segmentation",
    "form": "labels",
    "structures": [{"value": k, "name": f"part_{k}"} for k in range(1, 20)],
}


def test_channels_are_inverted_one_by_one_to_the_same_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a bundle inverts probabilities and then chooses a class, as spleen_ct_segmentation does."""
    volume = placed(np.random.default_rng(2).normal(size=SHAPE), "oblique")
    torch.manual_seed(3)
    definition = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 20, "kernel_size": 1}
    network = (definition, nn.Conv3d(1, 20, 1))
    softmax = {"_target_": "Activationsd", "keys": PRED, "softmax": True}
    argmax = {"_target_": "AsDiscreted", "keys": PRED, "argmax": True}
    spacing = {"_target_": "Spacingd", "keys": "image", "pixdim": [1.4, 1.4, 1.4]}
    parts = {"network": network, "transforms": [spacing], "post": [softmax, INVERT, argmax], "answer": MANY}
    fitted = resident(tmp_path / "fitted", **parts)
    assert [type(step).__name__ for step in fitted.parts.postprocessing.transforms] == [
        "Activationsd",
        "InvertAndChoose",
    ]
    monkeypatch.setattr("models.workflow.rules._chooses", lambda *_: False)
    long = resident(tmp_path / "long", **parts)
    assert len(long.parts.postprocessing.transforms) == 3
    answers = [segmented(workflow, volume).array for workflow in (fitted, long)]
    assert np.mean(answers[0] != answers[1]) < 1e-3, "more than rounding where two channels are alike"
    assert len(np.unique(answers[0])) > 2


def test_the_answer_of_many_channels_is_the_same_as_by_the_long_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = placed(np.random.default_rng(2).normal(size=SHAPE), "oblique")
    torch.manual_seed(3)
    network = nn.Conv3d(1, 20, 1)
    definition = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 20, "kernel_size": 1}
    softmax = {"_target_": "Activationsd", "keys": PRED, "softmax": True}
    argmax = {"_target_": "AsDiscreted", "keys": PRED, "argmax": True}
    spacing = {"_target_": "Spacingd", "keys": "image", "pixdim": [1.4, 1.4, 1.4]}
    workflow = resident(
        tmp_path,
        network=(definition, network),
        transforms=[spacing],
        post=[softmax, argmax, INVERT],
        answer=MANY,
    )
    assert len(workflow._reducing) == 2
    short = segmented(workflow, volume)
    monkeypatch.setattr(workflow, "_reducing", [])
    assert np.mean(short.array != segmented(workflow, volume).array) < 1e-3
    assert len(np.unique(short.array)) > 2
