"""The workflow of a slab network stands in its bundle, and MONAI alone runs it to the same answer."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from monai.transforms import Invertd
from torch import nn

from models.bundle import read_bundle
from models.metadata import read_metadata
from models.migrate import migrate
from models.registry import SHIPPED
from models.runtime import ResidentModel, load_model
from models.slabs import PARTS, USUAL, SlabInferer
from models.workflow.volumes.image import as_image, ras_affine
from pipeline.errors import BadModel
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import Volume
from pipeline.phantom import head_phantom
from pipeline.preprocess.slabs import SampleSlabs
from tests.peers.tiny_bundle import RECIPE, classifying
from tests.unit.models.small import metadata, volume

INFERENCE = "configs/inference.json"


@pytest.fixture(scope="module")
def head() -> Volume:
    return build_volume(head_phantom(plane="sagittal", slices=8, matrix=64))


def changed(folder: Path, **parts: Any) -> Path:
    """The bundle in ``folder`` with `USUAL` written out in its configuration, and ``parts`` in place of some."""
    path = folder / INFERENCE
    network = json.loads(path.read_text())["network_def"]
    path.write_text(json.dumps({"network_def": network, **USUAL, **parts}))
    return folder


def loaded(folder: Path) -> ResidentModel:
    model = load_model(folder.name, folders=(folder.parent,), device="cpu")
    assert isinstance(model, ResidentModel)
    return model


def test_the_shipped_bundle_says_how_it_is_run() -> None:
    """Its configuration holds the parts that stand in for a bundle without any: one definition."""
    config = json.loads((SHIPPED / "brain_mri_tumor" / INFERENCE).read_text())
    assert {part: config[part] for part in PARTS} == USUAL


def test_monai_alone_reads_a_file_to_the_same_answer(tmp_path: Path, head: Volume) -> None:
    """MONAI's parser and loader, a NIfTI file, and not a line of Candela's but the transforms that are named."""
    folder = changed(classifying(tmp_path, temperature=1.7))
    model = loaded(folder)
    inputs, _ = model.inputs(head)
    expected = model.answers(inputs)
    path = tmp_path / "head.nii.gz"
    nibabel.save(nibabel.Nifti1Image(head.array.T, ras_affine(head)), path)
    parser = ConfigParser()
    parser.read_config(folder / INFERENCE)
    parser.read_meta(folder / "configs/metadata.json")
    before, inferer, after = (parser.get_parsed_content(part) for part in PARTS)
    image = before({"image": str(path)})["image"]
    with torch.inference_mode():
        classes, mask, seen = inferer(image.as_tensor()[None], model.network)
    found = after({"classes": classes[0], "mask": mask[0], "head": seen[0]})
    np.testing.assert_allclose(found["classes"].numpy().T, expected.probabilities, atol=1e-5)
    np.testing.assert_allclose(found["mask"][0].numpy(), expected.mask, atol=1e-5)
    np.testing.assert_allclose(found["head"][0].numpy(), expected.head, atol=1e-5)
    back = Invertd("map", before, "image", nearest_interp=False)({"map": MetaTensor(found["mask"]), "image": image})
    np.testing.assert_allclose(back["map"].affine, ras_affine(head), atol=1e-4)
    on_source = model.workflow.on_source(torch.from_numpy(expected.mask)[:, None], model.workflow.prepared(head)[0])
    np.testing.assert_allclose(back["map"][0].numpy().T, on_source, atol=1e-4)


def test_a_migrated_bundle_is_cut_as_its_candela_json_says(tmp_path: Path, head: Volume) -> None:
    """The file that counts is the one that the transforms take their figures from."""
    folder = changed(classifying(tmp_path))
    assert migrate(folder, read_metadata(folder / "configs/metadata.json").candela)
    path = folder / "configs/candela.json"
    raw = json.loads(path.read_text())
    raw["answer"]["recipe"]["pixel_mm"] = 8.5
    path.write_text(json.dumps(raw))
    _, plan = loaded(folder).inputs(head)
    assert plan.fit.size == tuple(round(64 * mm / 8.5) for mm in head.spacing[1:])
    assert read_bundle(folder).contract.recipe.pixel_mm == 8.5 != metadata(folder)["candela"]["recipe"]["pixel_mm"]


def sampled(**figures: Any) -> dict[str, Any]:
    """`USUAL` preprocessing whose slabs are cut by ``figures``."""
    steps = copy.deepcopy(USUAL["preprocessing"])
    steps["transforms"][2] |= figures
    return steps


TEMPERED, SOFTMAX, SIGMOID = USUAL["postprocessing"]["transforms"]
INVERT = {"_target_": "Invertd", "keys": "mask", "transform": "@preprocessing", "orig_keys": "image"}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"preprocessing": sampled(**{**RECIPE, "pixel_mm": 7.0})}, "different preprocessing"),
        ({"inferer": {"_target_": "SimpleInferer"}}, "does not take slices"),
        ({"inferer": {"_target_": "NoSuchInferer"}}, "inferer needs"),
        ({"postprocessing": {"_target_": "Compose", "transforms": [SOFTMAX, SIGMOID]}}, r"candela\.temperature"),
        ({"postprocessing": {"_target_": "Compose", "transforms": [TEMPERED, SOFTMAX]}}, "no probabilities"),
        ({"postprocessing": {"_target_": "Compose", "transforms": [SOFTMAX, INVERT]}}, "Leave Invertd out"),
    ],
    ids=["recipe", "inferer", "no inferer", "temperature", "logits", "inverted"],
)
def test_parts_that_do_not_fit_are_refused_when_a_bundle_is_loaded(
    tmp_path: Path, parts: dict[str, Any], words: str
) -> None:
    folder = changed(classifying(tmp_path, temperature=1.7), **parts)
    with pytest.raises(BadModel, match=words):
        loaded(folder)


def test_a_preprocessing_that_moves_the_grid_before_slabs_is_refused(tmp_path: Path, head: Volume) -> None:
    """Planes are counted on the source's own grid: an image that was turned first would name others."""
    steps = sampled()
    steps["transforms"].insert(2, {"_target_": "Flipd", "keys": "image", "spatial_axis": 2})
    model = loaded(changed(classifying(tmp_path), preprocessing=steps))
    with pytest.raises(BadModel, match="changes the grid before slabs"):
        model.predict(head)


def test_maps_are_joined_as_monai_joins_them() -> None:
    """For a network of maps alone, the answer of MONAI's SliceInferer; other outputs have the slabs as last axis."""
    torch.manual_seed(0)
    stack = torch.randn(1, 1, 5, 16, 16)
    network = nn.Conv2d(1, 3, 3, padding=1)
    with torch.inference_mode():
        found = SlabInferer(batch_size=2)(stack, network)
        monais = SliceInferer(spatial_dim=0, roi_size=(16, 16), sw_batch_size=2)(stack, network)
        classes, lone = SlabInferer(2)(stack, lambda few: (few.mean((2, 3)).expand(-1, 4), few.amax((1, 2, 3))))
    torch.testing.assert_close(found, monais)
    assert classes.shape == (1, 4, 5)
    torch.testing.assert_close(lone[0, 0], stack[0, 0].amax((1, 2)))
    with pytest.raises(ValueError, match="for 2 slices"):
        SlabInferer(2)(stack, lambda few: few[:1])
    with pytest.raises(ValueError, match="one stack"):
        SlabInferer(2)(stack[0], network)


def test_what_is_no_volume_of_one_channel_is_not_cut_and_labels_do_not_go_back() -> None:
    sample = SampleSlabs(**RECIPE)
    image = as_image(volume(np.ones((4, 32, 32)), (5.0, 8.0, 8.0)))
    for odd in (image.as_tensor(), image[0], torch.cat([image, image])):
        with pytest.raises(ValueError, match="slabs are cut from"):
            sample(odd)
    stack = sample(image)
    for odd in (stack.to(torch.uint8), stack[:, :2]):
        with pytest.raises(ValueError, match="numbers with fractions"):
            sample.inverse(odd)
