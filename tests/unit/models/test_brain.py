"""The shipped brain model on real slices of patients that it was not trained on (skipped where they are absent)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models import registry
from models.evaluation.evaluate import answers, dice, neighbours, validation
from models.evaluation.members import members_of
from models.explain import Explainer
from models.runtime import ResidentModel, load_model
from models.training.data import Pictures
from models.training.plan import read_plan
from pipeline.errors import OutOfScope
from pipeline.findings.model import Outcome
from pipeline.geometry.build import build_volume
from pipeline.phantom import Header, head_phantom, series_from_arrays
from pipeline.preprocess.intensity import NormalizeHeadIntensity
from pipeline.reading.files import read_path
from tests.unit.models.small import DATA
from tests.unit.models.test_layers import without_skull

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real images are not at ../shared/data")
EVERY = 12
FOLD = 4
PLAN = read_plan(registry.SHIPPED / "brain_mri_tumor" / "configs" / "train.json")


@pytest.fixture(scope="module")
def model() -> ResidentModel:
    loaded = load_model("brain_mri_tumor", device="cpu")
    assert isinstance(loaded, ResidentModel)
    return loaded


@pytest.fixture(scope="module")
def member(model: ResidentModel) -> nn.Module:
    """The network that has not seen fold 4."""
    return members_of(model.network, PLAN)[FOLD]


@pytest.fixture(scope="module")
def unseen() -> tuple[Pictures, Pictures]:
    """Every twelfth tumour and no-tumour slice of fold 4."""
    tumour, none = validation(PLAN, DATA, FOLD)
    return tumour.take(np.arange(0, len(tumour), EVERY)), none.take(np.arange(0, len(none), EVERY))


@needs_data
def test_unseen_patients_are_classified(member: nn.Module, unseen: tuple[Pictures, Pictures]) -> None:
    """On fold 4 the class is right far more often than by chance or by always saying the commonest one."""
    tumour, none = unseen
    right = (answers(member, tumour, bf16=False).logits[:, :3].argmax(1) == tumour.labels).mean()
    free = (answers(member, none, bf16=False).logits.argmax(1) == none.labels).mean()
    assert right > 0.8
    assert free > 0.8


@needs_data
def test_unseen_tumours_are_outlined(member: nn.Module, unseen: tuple[Pictures, Pictures]) -> None:
    """On fold 4 the outlines overlap the drawn ones."""
    tumour = unseen[0]
    overlap = dice(answers(member, tumour, bf16=False).masks > 0.5, tumour.masks)
    assert np.nanmean(overlap) > 0.6


@needs_data
def test_the_heat_map_lies_on_the_lesion(member: nn.Module, unseen: tuple[Pictures, Pictures]) -> None:
    """Grad-CAM of the true class is several times denser inside the drawn lesion than chance, on most slices."""
    tumour = unseen[0].take(np.arange(0, len(unseen[0]), 3))
    images = NormalizeHeadIntensity()(torch.from_numpy(tumour.images)[:, None].float())
    explainer = Explainer(member)
    inside = []
    for k, label in enumerate(tumour.labels):
        heat = explainer.class_activation(images[k : k + 1], int(label))[0, 0].numpy()
        share = heat[tumour.masks[k]].sum() / max(heat.sum(), 1e-9)
        inside.append(share / tumour.masks[k].mean())
    assert np.median(inside) > 3


@pytest.mark.nightly
@needs_data
def test_a_converted_tumour_series_is_a_finding(model: ResidentModel, member: nn.Module) -> None:
    """Neighbouring tumour slices of an unseen patient, as DICOM: a finding, outlined on them, heat map included."""
    tumour, _ = validation(PLAN, DATA, FOLD)
    run = max(neighbours(tumour), key=len)
    header = Header(series_description="T1 POST GD, converted from PNG", key="fold 4 run")
    array = tumour.images[run].astype(np.uint16) * 8
    datasets = series_from_arrays(
        array, plane="axial", pixel_spacing=PLAN.recipe.pixel_mm, slice_spacing=6.0, header=header
    )
    prediction = model.asking(member).predict(build_volume(datasets))  # the other networks have seen this patient
    truth = tumour.masks[run]
    assert prediction.outcome is Outcome.FINDING
    assert prediction.predicted_class == PLAN.classes[tumour.labels[run[0]]]
    assert 2 * (prediction.mask & truth).sum() / (prediction.mask.sum() + truth.sum()) > 0.4
    assert prediction.heatmap.max() == pytest.approx(1)


@needs_data
def test_a_wrist_is_refused_by_its_pixels(model: ResidentModel) -> None:
    """Whatever its tags say, a wrist is out of scope."""
    with pytest.raises(OutOfScope):
        model.predict(build_volume(read_path(Path(DATA) / "dicom" / "NOTBRAIN_ge_genesis_wrist_cor").datasets))


def test_a_brain_without_skull_is_called_so_by_whichever_test_refuses_it(
    model: ResidentModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the test of anatomy, and where that lets it pass, by the network's own answer."""
    bare = without_skull(build_volume(head_phantom(slices=5, matrix=96)))
    with pytest.raises(OutOfScope, match="brain without skull and scalp"):
        model.predict(bare)
    monkeypatch.setattr("models.runtime.refuse_other_anatomy", lambda *_: None)
    unsure = replace(model.contract, thresholds=replace(model.contract.thresholds, head=0.999999))
    monkeypatch.setattr(model, "contract", unsure)
    with pytest.raises(OutOfScope, match="brain without skull and scalp"):
        model.predict(bare)
