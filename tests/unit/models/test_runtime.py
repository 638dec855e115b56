"""A resident model keeps the contract of `SeriesModel`, with any bundle."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from models.bundle import sha256
from models.networks import PretrainedRegionNet
from models.runtime import ResidentModel, choose_device, load_model, norms_folded, without_specks
from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadModel, BadSettings, OutOfScope, UnsupportedModality, UnsupportedProtocol
from pipeline.findings.model import Outcome
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import Volume
from pipeline.phantom import head_phantom
from tests.unit.models.measured import WIDTHS
from tests.unit.models.small import CLASSES, make_bundle, metadata, volume, write_metadata

LENIENT = {
    "thresholds": {
        "mask": 0.5,
        "finding": 0.7,
        "no_finding": 0.4,
        "lesion_mm3": 100.0,
        "head": 0.0,
        "head_mm": [50, 300],
    }
}


@pytest.fixture(scope="module")
def phantom() -> Volume:
    return build_volume(head_phantom(slices=8, matrix=64))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ResidentModel:
    folder = tmp_path_factory.mktemp("bundles")
    make_bundle(folder, **LENIENT)
    model = load_model("tiny", folders=(folder,), device="cpu")
    assert isinstance(model, ResidentModel)
    return model


def test_a_second_bundle_is_dropped_in(tiny: ResidentModel, phantom: Volume) -> None:
    """A bundle with another number of classes and another matrix, in an administrator's folder, answers."""
    prediction = tiny.predict(phantom)
    assert tiny.classes == CLASSES
    assert tuple(item.name for item in prediction.probabilities) == CLASSES
    assert tiny.identity.name == "tiny"


def test_folding_norms_changes_no_answer() -> None:
    """With norms of any statistics folded into its convolutions, a network answers the same, and none is left."""
    torch.manual_seed(5)
    plain = PretrainedRegionNet(widths=WIDTHS)
    for part in plain.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    images = torch.randn(2, 1, 64, 64)
    folded = norms_folded(copy.deepcopy(plain).eval())
    for before, after in zip(plain.eval()(images), folded(images), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())


def test_one_network_of_a_model_can_be_asked_alone(tiny: ResidentModel, phantom: Volume) -> None:
    """Another network in a model's place gives its own answer and heat map, and leaves the model as it was."""
    before = tiny.predict(phantom)
    other = copy.deepcopy(tiny.network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    alone = tiny.asking(other).predict(phantom)
    assert alone.probabilities != before.probabilities
    assert tiny.predict(phantom).probabilities == before.probabilities


def test_a_prediction_keeps_the_contract(tiny: ResidentModel, phantom: Volume) -> None:
    """Mask and heat map have the volume's shape, probabilities add up to one, the heat map lies in 0..1."""
    prediction = tiny.predict(phantom)
    assert prediction.mask.shape == prediction.heatmap.shape == phantom.shape
    assert prediction.mask.dtype == np.bool_
    assert prediction.heatmap.dtype == np.float32
    assert sum(item.probability for item in prediction.probabilities) == pytest.approx(1)
    assert prediction.predicted_class in CLASSES
    assert 0 <= prediction.key_slice < len(phantom.array)
    assert prediction.heatmap.min() >= 0
    assert prediction.heatmap.max() == pytest.approx(1) or prediction.heatmap.max() == 0
    if prediction.predicted_class == "none":
        assert not prediction.mask.any()


def test_two_runs_are_equal(tiny: ResidentModel, phantom: Volume) -> None:
    """The same volume gives the same answer to the last bit: results of a resend are byte-equal."""
    first, second = tiny.predict(phantom), tiny.predict(phantom)
    assert first.probabilities == second.probabilities
    assert np.array_equal(first.mask, second.mask)
    assert np.array_equal(first.heatmap, second.heatmap)


def test_air_is_out_of_scope(tiny: ResidentModel) -> None:
    """A volume that shows nothing is refused, not called free of tumour."""
    with pytest.raises(OutOfScope, match="show nothing"):
        tiny.predict(volume(np.zeros((5, 64, 64))))
    with pytest.raises(OutOfScope):
        tiny.predict(volume(np.full((5, 64, 64), np.nan)))


def test_something_too_small_for_a_head_is_out_of_scope(tiny: ResidentModel) -> None:
    """A limb's width is no head's, whatever the tags claim."""
    array = np.zeros((5, 128, 128))
    array[:, 9:119, 45:85] = 700
    with pytest.raises(OutOfScope, match="mm wide"):
        tiny.predict(volume(array, (5.0, 1.0, 1.0)))


def test_what_looks_like_no_head_is_out_of_scope(tmp_path: Path, phantom: Volume) -> None:
    """Below the contract's head probability a series is refused."""
    make_bundle(tmp_path, thresholds={**LENIENT["thresholds"], "head": 0.999999})
    with pytest.raises(OutOfScope, match="do not look like"):
        load_model("tiny", folders=(tmp_path,), device="cpu").predict(phantom)


def test_planes_that_are_not_numbers_are_a_caveat(tiny: ResidentModel, phantom: Volume) -> None:
    """One NaN plane does not spoil the series; the answer says so."""
    array = phantom.array.copy()
    array[2] = np.nan
    prediction = tiny.predict(Volume(array, phantom.affine, phantom.sources))
    assert Caveat(CaveatCode.VALUES_NOT_NUMBERS, {"some": 1, "all": 8}) in prediction.caveats
    assert np.isfinite(prediction.heatmap).all()


def test_a_network_that_gives_no_number_is_broken(tmp_path: Path, phantom: Volume) -> None:
    """NaN in the weights is a bad model, never an answer."""
    folder = make_bundle(tmp_path, **LENIENT)
    path = folder / "models/model.safetensors"
    weights = load_file(path)
    weights["classes.bias"][0] = torch.nan
    save_file(weights, path)
    raw = metadata(folder)
    raw["candela"]["weights"]["sha256"] = sha256(path)
    write_metadata(folder, raw)
    with pytest.raises(BadModel, match="not a number"):
        load_model("tiny", folders=(tmp_path,), device="cpu").predict(phantom)


def test_a_network_of_another_shape_is_broken(tiny: ResidentModel, tmp_path: Path, phantom: Volume) -> None:
    """A network with more classes than its contract names is a bad model."""
    folder = make_bundle(tmp_path, name="other", **LENIENT)
    model = load_model("other", folders=(tmp_path,), device="cpu")
    assert isinstance(model, ResidentModel)
    assert folder.is_dir()
    model.network.classes = torch.nn.Linear(192, 5)
    with pytest.raises(BadModel, match="another shape"):
        model.predict(phantom)


def test_the_contract_decides_on_headers(tiny: ResidentModel) -> None:
    """Another modality or body part is refused; a series with contrast has no caveat about it, one without has."""
    header = head_phantom(slices=3, matrix=32)[0]
    assert tiny.check(header) == ()
    del header.ContrastBolusAgent
    assert tiny.check(header) == (Caveat(CaveatCode.CONTRAST_AGENT_ABSENT),)
    header.BodyPartExamined = "WRIST"
    with pytest.raises(UnsupportedProtocol):
        tiny.check(header)
    header.Modality = "CT"
    with pytest.raises(UnsupportedModality):
        tiny.check(header)


@pytest.mark.parametrize(
    ("wanted", "cuda", "expected"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_cuda_is_used_where_there_is_one(wanted: str, cuda: bool, expected: str) -> None:
    """``auto`` takes CUDA where torch sees it, and the setting overrules."""
    assert choose_device(wanted, cuda=cuda).type == expected


def test_cuda_that_is_wanted_and_absent_is_a_settings_error() -> None:
    """Asking for CUDA on a machine without it is told to the administrator, not fallen back from silently."""
    with pytest.raises(BadSettings, match="CUDA"):
        choose_device("cuda", cuda=False)


def test_a_healthy_series_outcome_has_no_mask(tiny: ResidentModel, phantom: Volume) -> None:
    """Where nothing is found nothing is outlined."""
    with torch.no_grad():
        kept = tiny.network.classes.bias.clone()
        tiny.network.classes.bias.copy_(torch.tensor([-50.0, 50.0]))
        try:
            prediction = tiny.predict(phantom)
        finally:
            tiny.network.classes.bias.copy_(kept)
    assert prediction.outcome is Outcome.NO_FINDING
    assert not prediction.mask.any()


def test_crumbs_beside_a_region_are_dropped_and_the_largest_region_stays() -> None:
    """Regions below the smallest that counts go; a lone small region is what the network outlined and stays."""
    mask = np.zeros((4, 32, 32), bool)
    mask[1:3, 4:12, 4:12] = True  # 128 voxels
    mask[1, 20:23, 20:23] = True  # 9
    mask[3, 30, 30] = True
    kept = without_specks(mask, 20)
    assert kept.sum() == 128
    assert kept[1, 4, 4]
    assert without_specks(mask, 5).sum() == 137
    assert without_specks(mask, 10_000).sum() == 128
    lone = np.zeros_like(mask)
    lone[0, 0, 0] = True
    assert without_specks(lone, 20).sum() == 1
