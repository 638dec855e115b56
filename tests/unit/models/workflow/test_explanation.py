"""Heat maps of a bundle's answer lie in the patient where what they explain does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.workflow.run import ResidentWorkflow
from pipeline.caveats import CaveatCode
from pipeline.errors import BadModel
from pipeline.findings.answers import Answered, Classification, Segmentation
from pipeline.findings.codes import GRAD_CAM, OCCLUSION
from pipeline.findings.from_answer import findings_of
from pipeline.findings.identity import RunIdentity
from pipeline.findings.model import Outcome
from tests.unit.models.workflow.placed import ORIENTATIONS, SHAPE, centre, landmark, placed, resident

SIMPLE = {"_target_": "SimpleInferer"}
CLASSES = [{"value": 0, "name": "spot"}, {"value": 1, "name": "nothing"}]
DEFINITION = (
    "$torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool3d(1),"
    " torch.nn.Flatten(), torch.nn.Linear(1, 2))"
)
GRID = [
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
    {"_target_": "Spacingd", "keys": "image", "pixdim": [1.0, 1.0, 1.5], "mode": "bilinear"},
]


def classifier() -> tuple[str, nn.Module]:
    """Says "spot" where the image has enough that is bright."""
    module = nn.Sequential(nn.Conv3d(1, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        module[0].weight.fill_(1.0)
        module[0].bias.zero_()
        module[4].weight.copy_(torch.tensor([[500.0], [0.0]]))
        module[4].bias.copy_(torch.tensor([-1.0, 0.0]))
    return DEFINITION, module


def classifying(folder: Path, explanation: dict[str, Any] | None) -> ResidentWorkflow:
    answer = {
        "kind": "classification",
        "exclusive": True,
        "none": "nothing",
        "activation": "softmax",
        "classes": CLASSES,
        "explanation": explanation,
    }
    return resident(folder, network=classifier(), inferer=SIMPLE, post=[], transforms=GRID, answer=answer)


METHODS = {
    "grad_cam": ({"method": "grad_cam", "layer": "1"}, GRAD_CAM, 0.5),
    "occlusion": ({"method": "occlusion", "mask": 4}, OCCLUSION, 2.0),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_grad_cam_lies_where_the_landmark_does(tmp_path: Path, orientation: str) -> None:
    """Through reorientation and resampling and back: the middle of the heat within half a voxel."""
    volume = landmark(orientation)
    answer = classifying(tmp_path, METHODS["grad_cam"][0]).run({"image": volume})
    assert isinstance(answer, Classification)
    assert answer.explanation is not None
    heat = answer.explanation.heatmap
    assert heat.shape == volume.shape
    assert heat.max() == pytest.approx(1)
    weights = heat / heat.sum()
    middle = (volume.to_patient(np.moveaxis(np.indices(heat.shape), 0, -1)) * weights[..., None]).sum(axis=(0, 1, 2))
    assert np.linalg.norm(middle - centre(volume, volume.array > 0)) < min(volume.spacing) / 2


@pytest.mark.parametrize("method", METHODS)
def test_each_method_points_at_what_the_class_depends_on(tmp_path: Path, method: str) -> None:
    block, technique, voxels = METHODS[method]
    volume = landmark()
    answer = classifying(tmp_path, block).run({"image": volume})
    assert isinstance(answer, Classification)
    assert answer.explanation is not None
    assert (answer.explanation.name, answer.explanation.technique) == ("spot", technique)
    strongest = np.argwhere(answer.explanation.heatmap >= 0.99).mean(axis=0)
    away = (strongest - np.argwhere(volume.array > 0).mean(axis=0)) * volume.spacing
    assert np.abs(away).max() <= voxels * max(volume.spacing)


def test_nothing_found_is_not_explained(tmp_path: Path) -> None:
    answer = classifying(tmp_path, METHODS["grad_cam"][0]).run({"image": placed(np.zeros(SHAPE), "axial")})
    assert isinstance(answer, Classification)
    assert answer.likeliest.name == "nothing"
    assert answer.explanation is None


def test_a_bundle_without_the_block_has_no_heat_map(tmp_path: Path) -> None:
    answer = classifying(tmp_path, None).run({"image": landmark()})
    assert isinstance(answer, Classification)
    assert answer.explanation is None


def segmenting(folder: Path, gain: float = 1.0) -> ResidentWorkflow:
    """Windows of a network that copies; its hidden layer is the image, times ``gain``, which a second layer undoes."""
    module = nn.Sequential(nn.Conv3d(1, 2, 1), nn.Conv3d(2, 1, 1))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1, 1))
        module[0].bias.copy_(torch.tensor([0.0, 1.0]))
        module[1].weight.copy_(torch.tensor([gain, gain - 1.0]).reshape(1, 2, 1, 1, 1))
        module[1].bias.fill_(1.0 - gain)
    definition = "$torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.Conv3d(2, 1, 1))"
    structures = [{"value": 1, "name": "spot"}]
    explanation = {"method": "grad_cam", "layer": "0", "of": "spot"}
    answer = {"kind": "segmentation", "form": "labels", "structures": structures, "explanation": explanation}
    return resident(folder, network=(definition, module), transforms=GRID[:1], answer=answer)


def test_windows_are_explained_one_by_one(tmp_path: Path) -> None:
    volume = landmark("oblique", reverse=True)
    answer = segmenting(tmp_path).run({"image": volume})
    assert isinstance(answer, Segmentation)
    assert answer.explanation is not None
    assert np.array_equal(answer.mask_of("spot"), volume.array > 0)
    assert answer.explanation.heatmap[volume.array > 0].mean() > 0.95
    assert answer.explanation.heatmap[volume.array == 0].max() < 0.05


RUN = RunIdentity("1.2.3", "instances", "model")


@pytest.mark.parametrize("contradicts", [False, True])
def test_a_heat_map_that_points_elsewhere_is_left_out(tmp_path: Path, contradicts: bool) -> None:
    """With the hidden layer's second channel weighed too, the same answer is explained by all that is not the spot."""
    workflow = segmenting(tmp_path, gain=3.0 if contradicts else 1.0)
    volume = landmark()
    answer = workflow.run({"image": volume})
    assert isinstance(answer, Segmentation)
    findings = findings_of(Answered(answer), volume, RUN, workflow.bundle.identity)
    assert findings.outcome is Outcome.MEASURED
    assert [region.label for region in findings.regions] == ["spot"]
    assert (findings.heatmap is None) is contradicts
    assert (CaveatCode.HEAT_MAP_LEFT_OUT in {item.code for item in findings.caveats}) is contradicts


def test_a_layer_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="no module 'nowhere'"):
        classifying(tmp_path, {"method": "grad_cam", "layer": "nowhere"})


def test_a_method_that_fails_on_the_network_is_refused(tmp_path: Path) -> None:
    """The layer gives no map: its output has no place."""
    workflow = classifying(tmp_path, {"method": "grad_cam", "layer": "3"})
    with pytest.raises(BadModel, match="explanation"):
        workflow.run({"image": landmark()})


@pytest.mark.parametrize(
    "explanation",
    [{"method": "grad_cam"}, {"method": "occlusion", "layer": "1"}, {"method": "magic"}],
)
def test_a_block_that_makes_no_sense_is_refused(tmp_path: Path, explanation: dict[str, Any]) -> None:
    with pytest.raises(BadModel, match="explanation"):
        classifying(tmp_path, explanation)
