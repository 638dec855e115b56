"""The example bundles: added, checked and measured on drawings that were not in their training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.training.examples import chest_findings, chest_objects, detector, files, tumour_regions
from models.training.examples.brains import REGIONS, study
from models.training.examples.chests import chest
from models.training.examples.command import Plan
from models.workflow.installing.bundle import read_workflow_bundle
from models.workflow.installing.check import check_workflow
from models.workflow.installing.install import add
from models.workflow.run import ResidentWorkflow
from pipeline.findings.answers import Segmentation
from tests.conftest import ROOT

BUNDLES = ROOT / "examples" / "bundles"
CPU = torch.device("cpu")


def regions_are_found(workflow: ResidentWorkflow) -> bool:
    found = tumour_regions.dice(workflow, range(tumour_regions.HELD_OUT, tumour_regions.HELD_OUT + 2))
    return all(value > 0.75 for value in found.values())


def findings_are_right(workflow: ResidentWorkflow) -> bool:
    found = chest_findings.accuracy(workflow, range(chest_findings.HELD_OUT, chest_findings.HELD_OUT + 24))
    return all(value > 0.9 for value in found.values())


def objects_are_found(workflow: ResidentWorkflow) -> bool:
    found = chest_objects.measured(workflow, range(chest_objects.HELD_OUT, chest_objects.HELD_OUT + 16))
    return all(item.found > 9 * (item.missed + item.false) for item in found.values())


@dataclass(frozen=True)
class Made:
    """An example: the module that trains it, and whether a workflow answers as it should on held-out drawings."""

    module: ModuleType
    good: Callable[[ResidentWorkflow], bool]


EXAMPLES = {
    "tumour_regions": Made(tumour_regions, regions_are_found),
    "chest_findings": Made(chest_findings, findings_are_right),
    "chest_objects": Made(chest_objects, objects_are_found),
}


@pytest.fixture(params=sorted(EXAMPLES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_it_installs_is_sound_and_answers_on_held_out_drawings(name: str, tmp_path: Path) -> None:
    bundle = add(BUNDLES / name, tmp_path)
    assert list(check_workflow(bundle, "cpu"))[-1] == f"{name} 1.0.0 is sound; digest {bundle.digest}"
    assert EXAMPLES[name].good(ResidentWorkflow(bundle, CPU))


@pytest.mark.nightly
def test_with_random_weights_it_does_not(name: str, tmp_path: Path) -> None:
    """The measure can fail: it is the training that passes it."""
    made = EXAMPLES[name].module
    torch.manual_seed(1)
    bundle = files.write(made.EXAMPLE, tmp_path / name, made.network())
    assert not EXAMPLES[name].good(ResidentWorkflow(bundle, CPU))


def parts(folder: Path) -> dict[str, Any]:
    """What the training command writes, without weights, their digest, and the versions that it ran with."""
    found: dict[str, Any] = {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.py"))}
    for path in sorted((folder / "configs").iterdir()):
        raw = json.loads(path.read_text())
        for key in ("monai_version", "pytorch_version", "numpy_version"):
            raw.pop(key, None)
        if path.name == "candela.json":
            raw["weights"] = [{**item, "sha256": ""} for item in raw["weights"]]
        found[path.name] = raw
    return found


def test_what_lies_in_examples_is_what_the_command_writes(name: str, tmp_path: Path) -> None:
    """A change of a configuration in the code without the bundle anew, or of the bundle by hand, is seen."""
    made = EXAMPLES[name].module
    files.write(made.EXAMPLE, tmp_path, made.network())
    assert parts(tmp_path) == parts(BUNDLES / name)


def test_the_command_trains_measures_and_writes_a_bundle(name: str, tmp_path: Path) -> None:
    """Two steps: the weights are no longer those of the start, and the card says what was measured."""
    made = EXAMPLES[name].module
    plan = Plan(cases=2, steps=2, rate=1e-3, held_out=1, seed=3)
    made.TRAINING.make(tmp_path / name, plan)
    torch.manual_seed(plan.seed)
    start = dict(made.network().named_parameters())
    bundle = read_workflow_bundle(tmp_path / name)
    trained = dict(ResidentWorkflow(bundle, CPU).parts.network.named_parameters())
    assert any(not torch.equal(start[key], trained[key]) for key in start)
    card = (tmp_path / name / "docs" / "README.md").read_text()
    assert "2 steps" in card
    assert "{figures}" not in card
    assert "says nothing about patients" in card


def test_a_drawn_head_without_a_tumour_gets_no_regions() -> None:
    workflow = ResidentWorkflow(read_workflow_bundle(BUNDLES / "tumour_regions"), CPU)
    healthy = study(tumour_regions.HELD_OUT + 100, tumour=False)
    assert not healthy.regions.any()
    answer = workflow.run(healthy.series)
    assert isinstance(answer, Segmentation)
    assert answer.mask_of("whole_tumor").sum() * healthy.series["t1"].voxel_mm3 < 500


def test_regions_are_nested_and_channels_are_told_apart() -> None:
    """The core lies in the whole, what enhances in the core; with two series exchanged the answer is another."""
    drawn = study(tumour_regions.HELD_OUT + 1, tumour=True)
    core, whole, rim = drawn.regions
    assert rim.any()
    assert not (rim & ~core).any()
    assert not (core & ~whole).any()
    assert (study(5).regions == study(5).regions).all()
    workflow = ResidentWorkflow(read_workflow_bundle(BUNDLES / "tumour_regions"), CPU)
    exchanged = workflow.run({**drawn.series, "t1": drawn.series["t1c"], "t1c": drawn.series["t1"]})
    right = workflow.run(drawn.series)
    assert isinstance(exchanged, Segmentation)
    assert isinstance(right, Segmentation)
    found = [answer.mask_of(REGIONS[2]).sum() for answer in (exchanged, right)]
    assert found[0] < 0.5 * found[1]


@pytest.mark.parametrize("shape", [(64, 96), (96, 64)])
def test_maps_that_are_as_wanted_give_the_boxes_back(shape: tuple[int, int]) -> None:
    """Labels, both axes and fractions of a pixel: from boxes to targets and back by the network's own reading."""
    wanted = [(0, torch.tensor([5.2, 40.9, 13.4, 52.3])), (1, torch.tensor([30.0, 7.5, 61.7, 19.1]))]
    heat, told = detector.targets(wanted, 2, shape)
    maps = torch.cat([torch.logit(heat, eps=1e-4), told[:4]])
    found = detector.CentreDetector(2)._objects(maps)
    pairs = sorted(zip(found["label_scores"][:2].tolist(), found["label"][:2].tolist(), found["box"][:2], strict=True),
                   key=lambda item: item[1])  # fmt: skip
    assert [label for _, label, _ in pairs] == [0, 1]
    assert all(score > 0.99 for score, _, _ in pairs)
    for (_, box), (_, _, back) in zip(wanted, pairs, strict=True):
        assert back.tolist() == pytest.approx(box.tolist(), abs=1e-3)
    assert (found["label_scores"][2:] < 0.9).all()


def test_a_drawn_chest_shows_what_it_says() -> None:
    """Where a box is, the picture differs from the same chest's mirror side; the same seed gives the same chest."""
    seed = next(seed for seed in range(50) if any(name == "pacemaker" for name, _ in chest(seed, objects=True).boxes))
    drawn = chest(seed, objects=True)
    assert (drawn.image == chest(seed, objects=True).image).all()
    left, top, right, bottom = (round(edge) for edge in dict(drawn.boxes)["pacemaker"])
    inside = drawn.image[top : bottom + 1, left : right + 1].mean()
    mirrored = np.flip(drawn.image, axis=1)[top : bottom + 1, left : right + 1].mean()
    assert inside > 1.2 * mirrored


def test_a_network_is_made_of_its_definition() -> None:
    made = files.component(chest_findings.NETWORK)
    assert isinstance(made, nn.Module)
    assert made(torch.zeros(2, 1, chest_findings.SIDE, chest_findings.SIDE)).shape == (2, 2)
