"""Bundles of every kind of answer, input, network and weights, run on volumes in memory."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.workflow.installing.bundle import read_workflow_bundle
from models.workflow.run import ResidentWorkflow
from pipeline.errors import BadModel
from pipeline.findings.answers import Classification, Detection, Regression, Segmentation
from pipeline.geometry.volume import Volume
from tests.peers.workflow_bundle import HALF, INVERT, LOAD, PRED, copies, write_bundle
from tests.unit.models.workflow.placed import CPU, SHAPE, landmark, placed, resident, segmented

SIMPLE = {"_target_": "SimpleInferer"}
SIGMOID = {"_target_": "Activationsd", "keys": PRED, "sigmoid": True}


def test_sliding_windows_give_what_the_whole_gives(tmp_path: Path) -> None:
    volume = placed(np.random.default_rng(1).uniform(size=SHAPE), "oblique")
    windows = {"_target_": "SlidingWindowInferer", "roi_size": [12, 12, 12], "overlap": 0.5, "mode": "gaussian"}
    definition, network = copies()
    with torch.no_grad():
        network.bias.fill_(-0.5)
    parts = {"network": (definition, network), "post": [SIGMOID, HALF]}
    answers = [
        segmented(resident(tmp_path / name, inferer=inferer, **parts), volume)
        for name, inferer in {"windows": windows, "whole": SIMPLE}.items()
    ]
    # Blended windows differ from the whole by rounding, which tells only where the network is undecided.
    assert np.mean(answers[0].array != answers[1].array) < 1e-3
    assert 0.3 < answers[0].array.mean() < 0.7


def test_a_2d_network_reads_slice_after_slice(tmp_path: Path) -> None:
    slices = {"_target_": "SliceInferer", "roi_size": [32, 32], "spatial_dim": 2, "sw_batch_size": 4}
    volume = landmark("axial")
    found = segmented(resident(tmp_path, inferer=slices, network=copies(axes=2)), volume)
    assert np.array_equal(found.mask_of("spot"), volume.array > 0)


def test_several_series_are_channels_in_the_order_of_the_contract(tmp_path: Path) -> None:
    structures = [{"value": 0, "name": "first"}, {"value": 2, "name": "third"}]
    workflow = resident(
        tmp_path,
        network=copies(3),
        answer={"kind": "segmentation", "form": "channels", "channels": 3, "structures": structures},
        inputs=[{"key": "image", "channels": [{"name": name} for name in ("t1", "t2", "flair")]}],
    )
    arrays = np.random.default_rng(0).uniform(size=(3, *SHAPE)) > 0.7
    volumes = {name: placed(array, "coronal") for name, array in zip(("t1", "t2", "flair"), arrays, strict=True)}
    answer = workflow.run(volumes)
    assert isinstance(answer, Segmentation)
    assert answer.overlapping
    assert np.array_equal(answer.mask_of("first"), arrays[0])
    assert np.array_equal(answer.mask_of("third"), arrays[2])


def test_label_maps_stay_label_maps_on_their_way_back(tmp_path: Path) -> None:
    """Between label 1 and label 3 a linear way back would leave label 2 (as prostate_mri_anatomy asks for)."""
    double = {"_target_": "Lambdad", "keys": PRED, "func": "$lambda x: x * 3"}
    structures = [{"value": 3, "name": "spot"}]
    spacing = {"_target_": "Spacingd", "keys": "image", "pixdim": [1.1, 1.1, 1.1], "mode": "bilinear"}
    workflow = resident(
        tmp_path,
        transforms=[spacing],
        post=[HALF, double, INVERT],
        answer={"kind": "segmentation", "form": "labels", "structures": structures},
    )
    assert set(np.unique(segmented(workflow, landmark("oblique")).array)) == {0, 3}


@pytest.mark.parametrize("weights", ["models/model.pt", "models/model.ts"])
def test_weights_of_each_form_are_those_of_the_file(tmp_path: Path, weights: str) -> None:
    volume = landmark()
    found = segmented(resident(tmp_path, weights=weights), volume)
    assert np.array_equal(found.mask_of("spot"), volume.array > 0)


def test_weights_of_a_training_checkpoint_are_found(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "copying", contract={})
    state = torch.load(folder / "models" / "model.pt")
    torch.save({"model": state, "epoch": 3}, folder / "models" / "model.pt")
    write_bundle_contract(folder)
    workflow = ResidentWorkflow(read_workflow_bundle(folder), CPU)
    volume = landmark()
    assert np.array_equal(segmented(workflow, volume).mask_of("spot"), volume.array > 0)


def write_bundle_contract(folder: Path) -> None:
    from tests.peers.workflow_bundle import ONE, SPOT, write_contract

    write_contract(folder, {"answer": SPOT, "inputs": [ONE]})


TIMES = """
import torch

class Times(torch.nn.Conv3d):
    def forward(self, x):
        from scripts.late import BY
        return super().forward(x) * BY
"""


def test_scripts_of_two_bundles_do_not_see_each_other(tmp_path: Path) -> None:
    workflows = []
    for name, by in (("first", 1), ("second", 0)):
        definition = {"_target_": "scripts.net.Times", "in_channels": 1, "out_channels": 1, "kernel_size": 1}
        scripts = {"scripts/__init__.py": "", "scripts/net.py": TIMES, "scripts/late.py": f"BY = {by}\n"}
        workflows.append(resident(tmp_path / name, network=(definition, copies()[1]), scripts=scripts))
    in_turn = (*workflows, workflows[0])  # scripts.late is imported when the other bundle was loaded as well
    assert [bool(segmented(workflow, landmark()).array.any()) for workflow in in_turn] == [True, False, True]
    assert not (tmp_path / "first" / "copying" / "scripts" / "__pycache__").exists()
    files = [str(getattr(module, "__file__", "")) for module in list(sys.modules.values())]
    assert not [path for path in (*files, *sys.path) if path.startswith(str(tmp_path))]


def test_a_projection_is_classified(tmp_path: Path) -> None:
    network = nn.Conv2d(3, 4, 8)
    definition = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 4, "kernel_size": 8}
    load = [LOAD[0], {**LOAD[1], "channel_dim": 2}]
    resize = {"_target_": "Resized", "keys": "image", "spatial_size": [8, 8]}
    folder = write_bundle(
        tmp_path / "density",
        network=(definition, network),
        inferer=SIMPLE,
        post=[SIGMOID],
        answer={
            "kind": "classification",
            "exclusive": True,
            "classes": [{"value": k, "name": name} for k, name in enumerate("abcd")],
        },
        inputs=[{"key": "image", "kind": "projection", "channels": [{"name": "image"}], "repeat": 3}],
        config={"preprocessing": {"_target_": "Compose", "transforms": [*load, resize]}},
    )
    image = Volume(np.random.default_rng(0).uniform(size=(1, 40, 30)).astype(np.float32), np.eye(4), ())
    answer = ResidentWorkflow(read_workflow_bundle(folder), CPU).run({"image": image})
    assert isinstance(answer, Classification)
    assert answer.exclusive
    grey = torch.from_numpy(image.array[0].T.copy())[None]
    small = torch.nn.functional.interpolate(grey[None], (8, 8), mode="area")[0]
    expected = torch.sigmoid(network(small.repeat(3, 1, 1)[None])).flatten()
    assert np.allclose(answer.scores, expected.detach().numpy(), atol=1e-6)
    assert answer.likeliest.name == "abcd"[int(expected.argmax())]


POOLED = "$torch.nn.Sequential(torch.nn.AdaptiveAvgPool3d(1), torch.nn.Conv3d(1, {}, 1))"


def pooled(count: int, bias: list[float]) -> tuple[str, nn.Module]:
    module = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Conv3d(1, count, 1))
    with torch.no_grad():
        module[1].weight.zero_()
        module[1].bias.copy_(torch.tensor(bias))
    return POOLED.format(count), module


def test_logits_are_calibrated_by_the_contract(tmp_path: Path) -> None:
    answer = {
        "kind": "classification",
        "exclusive": True,
        "activation": "softmax",
        "temperature": 2.0,
        "classes": [{"value": 0, "name": "yes"}, {"value": 1, "name": "no"}],
    }
    workflow = resident(tmp_path, network=pooled(2, [4.0, 0.0]), inferer=SIMPLE, post=[], answer=answer)
    found = workflow.run({"image": landmark()})
    assert isinstance(found, Classification)
    assert found.scores == pytest.approx((1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(2.0))))


def test_a_number_has_its_unit(tmp_path: Path) -> None:
    years = {"scheme": "UCUM", "value": "a", "meaning": "year"}
    answer = {"kind": "regression", "quantities": [{"value": 0, "name": "age", "unit": years, "maximum": 120}]}
    workflow = resident(tmp_path, network=pooled(1, [61.5]), inferer=SIMPLE, post=[], answer=answer)
    found = workflow.run({"image": landmark()})
    assert isinstance(found, Regression)
    assert (found.quantities[0].value, found.quantities[0].unit.value) == (pytest.approx(61.5), "a")


DETECTOR = """
import torch
from monai.inferers.inferer import Inferer

class Brightest(Inferer):
    '''One box around what is bright, on the grid that it is given, as a detector of MONAI gives it.'''

    def __init__(self, detector):
        super().__init__()
        self.ready = detector.ready

    def __call__(self, inputs, network):
        assert self.ready
        where = (network(inputs)[0, 0] > 0.5).nonzero().float()
        if not len(where):
            return [{"box": torch.zeros(0, 6), "label": torch.zeros(0).long(), "label_scores": torch.zeros(0)}]
        low, high = where.amin(0), where.amax(0)
        box = torch.cat([low, high])[None].repeat(2, 1)
        return [{"box": box, "label": torch.tensor([0, 0]), "label_scores": torch.tensor([0.3, 0.9])}]

class Detector:
    ready = False
"""


@pytest.mark.parametrize("orientation", ["axial", "oblique"])
def test_a_box_lies_in_the_patient_where_its_object_does(tmp_path: Path, orientation: str) -> None:
    folder = write_bundle(
        tmp_path / "nodules",
        transforms=[{"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}],
        inferer={"_target_": "scripts.Brightest", "detector": "@detector"},
        post=[
            {"_target_": "ClipBoxToImaged", "box_keys": "box", "label_keys": "label", "box_ref_image_keys": "image"},
            {
                "_target_": "AffineBoxToWorldCoordinated",
                "box_keys": "box",
                "box_ref_image_keys": "image",
                "affine_lps_to_ras": True,
            },
            {"_target_": "ConvertBoxModed", "box_keys": "box", "src_mode": "xyzxyz", "dst_mode": "cccwhd"},
            {"_target_": "DeleteItemsd", "keys": ["image"]},
        ],
        scripts={"scripts/__init__.py": DETECTOR},
        answer={"kind": "detection", "score": 0.5, "classes": [{"value": 0, "name": "nodule"}]},
        config={
            "detector": {"_target_": "scripts.Detector"},
            "detector_ops": ["$setattr(@detector, 'ready', True)"],
            "evaluator": {"_target_": "scripts.evaluator.NotThere", "_requires_": "@detector_ops"},
        },
    )
    workflow = ResidentWorkflow(read_workflow_bundle(folder), CPU)
    volume = landmark(orientation, reverse=True)
    answer = workflow.run({"image": volume})
    assert isinstance(answer, Detection)
    (box,) = answer.boxes  # the one of score 0.3 is below the contract's
    assert (box.finding.name, box.score) == ("nodule", pytest.approx(0.9))
    voxels = np.argwhere(volume.array > 0)
    assert np.allclose(box.corners.min(axis=0), voxels.min(axis=0), atol=1e-3)
    assert np.allclose(box.corners.max(axis=0), voxels.max(axis=0), atol=1e-3)
    assert box.patient is not None
    assert np.allclose(box.patient, volume.to_patient(box.corners))
    empty = workflow.run({"image": placed(np.zeros(SHAPE), orientation)})
    assert isinstance(empty, Detection)
    assert empty.boxes == ()


def test_a_bundle_without_a_loader_gets_its_image_channels_first(tmp_path: Path) -> None:
    workflow = resident(tmp_path, config={"preprocessing": {"_target_": "Compose", "transforms": []}}, post=[HALF])
    volume = landmark("coronal")
    assert np.array_equal(segmented(workflow, volume).mask_of("spot"), volume.array > 0)


def test_yaml_is_read_as_json_is(tmp_path: Path) -> None:
    import yaml

    folder = write_bundle(tmp_path / "copying")
    inference = folder / "configs" / "inference.json"
    (folder / "configs" / "inference.yaml").write_text(yaml.safe_dump(json.loads(inference.read_text())))
    inference.unlink()
    volume = landmark()
    found = segmented(ResidentWorkflow(read_workflow_bundle(folder), CPU), volume)
    assert np.array_equal(found.mask_of("spot"), volume.array > 0)


def test_a_saliency_map_has_its_gradients(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 2))
    definition = (
        "$torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(), "
        "torch.nn.Linear(2, 2))"
    )
    with torch.no_grad():
        network[0].weight.fill_(1.0)
        network[0].bias.zero_()
        network[3].weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    inferer = {"_target_": "SaliencyInferer", "cam_name": "GradCAM", "target_layers": "0", "class_idx": 0}
    workflow = resident(tmp_path, network=(definition, network), inferer=inferer)
    volume = landmark("sagittal")  # MONAI scales such maps from 1, where nothing speaks for the class, to 0
    assert np.array_equal(segmented(workflow, volume).mask_of("spot"), volume.array == 0)


WORKFLOW = """
import torch
from monai.bundle import PythonicWorkflow
from monai.inferers import SimpleInferer
from monai.transforms import AsDiscreted, Compose, EnsureChannelFirstd, Invertd, LoadImaged, Orientationd, SaveImaged

class Inference(PythonicWorkflow):
    def run(self): raise NotImplementedError
    def finalize(self): raise NotImplementedError
    def get_bundle_root(self): return "/nowhere"
    def get_device(self): return torch.device("cuda:0")
    def get_network_def(self): return torch.nn.Conv3d(1, 1, 1).to(self.device)
    def get_inferer(self): return SimpleInferer()
    def get_dataset(self): raise FileNotFoundError("/nowhere")
    def get_preprocessing(self):
        return Compose([LoadImaged("image"), EnsureChannelFirstd("image"), Orientationd("image", axcodes="RAS")])
    def get_postprocessing(self):
        invert = Invertd("pred", self.preprocessing, "image")
        return Compose([AsDiscreted("pred", threshold=0.5), invert, SaveImaged("pred", output_dir="/nowhere")])
"""


def test_a_workflow_may_be_a_class(tmp_path: Path) -> None:
    parts = {"scripts": {"scripts/__init__.py": "", "scripts/run.py": WORKFLOW}}
    folder = write_bundle(tmp_path / "copying", contract={"workflow": "scripts.run.Inference"}, **parts)
    (folder / "configs" / "inference.json").unlink()
    volume = landmark("oblique", reverse=True)
    found = segmented(ResidentWorkflow(read_workflow_bundle(folder), CPU), volume)
    assert np.array_equal(found.mask_of("spot"), volume.array > 0)
    folder = write_bundle(tmp_path / "other", contract={"workflow": "scripts.run.Nobody"}, **parts)
    with pytest.raises(BadModel, match="no class that derives"):
        ResidentWorkflow(read_workflow_bundle(folder), CPU)


def test_the_stages_are_told_and_may_write(tmp_path: Path) -> None:
    log = tmp_path / "progress"
    told: list[str] = []

    def progress(stage: str) -> None:
        told.append(stage)
        log.write_text(stage)  # a worker notes it in its database; the bundle may not write, and we may

    windows = {"_target_": "SlidingWindowInferer", "roi_size": [4, 4, 4], "overlap": 0, "sw_batch_size": 4}
    resident(tmp_path, inferer=windows).run({"image": landmark()}, progress)
    assert told[:2] == ["preprocessing", "inference"]
    assert told[-1] == "postprocessing"
    assert "inference, 16 windows" in told
