"""``models.device = "cuda"`` gives the answers of the CPU; skipped on machines without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dicom_node.settings.tree import Settings
from models.runtime import load_model
from models.training.examples import chest_findings, tumour_regions
from models.training.examples.brains import study
from models.training.examples.chests import chest
from pipeline import phantom
from pipeline.findings.answers import Answered, Classification, Segmentation
from pipeline.findings.model import Prediction
from pipeline.geometry.build import build_volume
from pipeline.ports import ChannelModel

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")

BUNDLES = Path(__file__).parents[3] / "examples" / "bundles"
GPU = "cuda"
LEAST_DICE = 0.999


def loaded(name: str, folder: Path, device: str) -> Any:
    """The model as a worker with ``models.device`` loads it."""
    models = {"folders": [BUNDLES], "device": device}
    settings = Settings.model_validate({"data_dir": folder, "models": models}).models
    return load_model(name, folders=settings.folders, device=settings.device)


def dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    assert one.any(), "nothing was found that could be compared"
    return 2.0 * float((one & other).sum()) / float(one.sum() + other.sum())


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
def test_the_brain_model(tmp_path: Path, plane: phantom.Plane) -> None:
    volume = build_volume(phantom.head_phantom(plane=plane, slices=16, matrix=128))
    found: list[Prediction] = [loaded("brain_mri_tumor", tmp_path, device).predict(volume) for device in ("cpu", GPU)]
    assert found[0].outcome == found[1].outcome
    assert likeliest(found[0]) == likeliest(found[1])
    assert dice(found[0].mask, found[1].mask) >= LEAST_DICE


def likeliest(prediction: Prediction) -> str:
    return max(prediction.probabilities, key=lambda item: item.probability).name


def test_a_bundles_own_workflow_that_outlines(tmp_path: Path) -> None:
    drawn = study(tumour_regions.HELD_OUT + 1, tumour=True).series
    answers = []
    for device in ("cpu", GPU):
        model = loaded("tumour_regions", tmp_path, device)
        assert isinstance(model, ChannelModel)
        answers.append(model.predict_channels(drawn).answer)
    for region in ("tumor_core", "whole_tumor", "enhancing_tumor"):
        one, other = (mask_of(answer, region) for answer in answers)
        assert dice(one, other) >= LEAST_DICE, region


def mask_of(answer: object, name: str) -> npt.NDArray[np.bool_]:
    assert isinstance(answer, Segmentation)
    return answer.mask_of(name)


def test_a_bundles_own_workflow_that_classifies(tmp_path: Path) -> None:
    volumes = [chest(chest_findings.HELD_OUT + seed).volume for seed in range(4)]
    said: list[list[list[bool]]] = []
    for device in ("cpu", GPU):
        model = loaded("chest_findings", tmp_path, device)
        said.append([classes(model.predict(volume)) for volume in volumes])
    assert said[0] == said[1]
    assert any(any(item) for item in said[0])


def classes(answered: Answered) -> list[bool]:
    assert isinstance(answered.answer, Classification)
    return [score >= least for score, least in zip(answered.answer.scores, answered.answer.thresholds, strict=True)]
