"""Radiographs from their files through a bundle's own transforms and back onto their pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import LoadImaged, Spacingd
from pydicom import uid
from pydicom.dataset import Dataset
from torch import nn

from models.workflow.installing.bundle import read_workflow_bundle
from models.workflow.run import ResidentWorkflow
from models.workflow.volumes.reader import InMemory, MemoryReader
from pipeline.errors import MissingSeries
from pipeline.findings.answers import Classification, Detection, Segmentation
from pipeline.geometry.projection import build_projection, projections_of
from pipeline.geometry.volume import Volume
from pipeline.phantom_projection import Film, chest_film, mammogram
from pipeline.reading.files import read_parts
from pipeline.routing.views import fill
from tests.peers.workflow_bundle import HALF, IMAGE, INVERT, LOAD, copies, write_bundle
from tests.shapes import as_file
from tests.unit.models.workflow.placed import CPU

SIMPLE = {"_target_": "SimpleInferer"}
RANGE = {"_target_": "ScaleIntensityRanged", "keys": IMAGE, "a_min": 0, "a_max": 4095, "b_min": 0.0, "b_max": 1.0}
PROJECTION = [{"key": IMAGE, "kind": "projection", "channels": [{"name": "image"}]}]
SHAPE = (151, 118)
BLOCK = (slice(31, 44), slice(75, 84))
"""Rows and columns of the landmark: off every axis of symmetry, and of the image's diagonal."""


def step(target: str, **how: Any) -> dict[str, Any]:
    return {"_target_": target, "keys": IMAGE, **how}


CHAINS = {
    "resize": [step("Resized", spatial_size=[96, 128], mode="bilinear")],
    "resize to a square": [step("Resized", spatial_size=[91, 91], mode="bilinear")],
    "spacing": [step("Spacingd", pixdim=[2.0, 2.0], mode="bilinear")],
    "flip and rotate": [step("Flipd", spatial_axis=0), step("Rotate90d", k=1, spatial_axes=[0, 1])],
    "pad and crop": [step("SpatialPadd", spatial_size=[160, 170]), step("CenterSpatialCropd", roi_size=[140, 165])],
    "all": [
        step("Spacingd", pixdim=[2.6, 2.1], mode="bilinear"),
        step("Rotate90d", k=3, spatial_axes=[0, 1]),
        step("SpatialPadd", spatial_size=[190, 190]),
        step("Resized", spatial_size=[133, 121], mode="bilinear"),
    ],
}


def marked(ds: Dataset) -> Dataset:
    """``ds`` at half its brightness, with a block of the brightest value."""
    values = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
    dark = ds.PhotometricInterpretation == "MONOCHROME1"
    grey = (4095 - values if dark else values) // 3
    grey[BLOCK] = 4095
    ds.PixelData = (4095 - grey if dark else grey).astype("<u2").tobytes()
    return ds


FILMS = {
    "DX": lambda: chest_film("PA", Film(SHAPE)),
    "CR, MONOCHROME1": lambda: chest_film("AP", Film(SHAPE, uid.ComputedRadiographyImageStorage, "MONOCHROME1")),
    "MG": lambda: mammogram("R", "MLO", Film(SHAPE)),
}


def read(ds: Dataset) -> Volume:
    return build_projection(read_parts([("a.dcm", as_file(ds))], where="here").datasets)


@pytest.mark.parametrize("film", FILMS)
@pytest.mark.parametrize("chain", CHAINS)
def test_a_landmark_comes_back_within_half_a_pixel(tmp_path: Path, chain: str, film: str) -> None:
    volume = read(marked(FILMS[film]()))
    assert abs(volume.spacing[1] / volume.spacing[2] - 1) > 0.02, "pixels are not square"
    folder = write_bundle(
        tmp_path / "copying",
        transforms=[RANGE, *CHAINS[chain]],
        inferer=SIMPLE,
        network=copies(axes=2),
        post=[INVERT, HALF],
        inputs=PROJECTION,
    )
    answer = ResidentWorkflow(read_workflow_bundle(folder), CPU).run({"image": volume})
    assert isinstance(answer, Segmentation)
    found = answer.mask_of("spot")
    assert found.shape == (1, *SHAPE)
    expected = np.zeros(SHAPE, bool)
    expected[BLOCK] = True
    away = np.abs(np.argwhere(found[0]).mean(axis=0) - np.argwhere(expected).mean(axis=0)).max()
    assert away <= 0.5 + 1e-6
    if chain == "flip and rotate":
        assert np.array_equal(found[0], expected)


def test_a_network_gets_square_pixels_where_it_asks_for_them() -> None:
    """Columns are the first axis, with the spacing between columns."""
    volume = read(FILMS["CR, MONOCHROME1"]())
    load = LoadImaged(IMAGE, reader=MemoryReader, expanduser=False, ensure_channel_first=True)
    load._loader.readers = [MemoryReader()]
    image = Spacingd(IMAGE, pixdim=[1.0, 1.0])(load({IMAGE: InMemory((volume,), projection=True)}))[IMAGE]
    _, height, width = (side * mm for side, mm in zip(volume.shape, volume.spacing, strict=True))
    assert tuple(image.shape[1:]) == pytest.approx((width, height), abs=3)
    assert abs(width - height) > 20


DETECTOR = """
import torch
from monai.inferers.inferer import Inferer

class Brightest(Inferer):
    def __call__(self, inputs, network):
        where = (network(inputs)[0, 0] > 0.5).nonzero().float()
        box = torch.cat([where.amin(0), where.amax(0)])[None]
        return [{"box": box, "label": torch.tensor([0]), "label_scores": torch.tensor([0.9])}]
"""


@pytest.mark.parametrize("chain", ["resize", "flip and rotate", "spacing"])
def test_a_box_lies_on_the_pixels_where_its_object_does(tmp_path: Path, chain: str) -> None:
    volume = read(marked(FILMS["DX"]()))
    folder = write_bundle(
        tmp_path / "nodules",
        transforms=[RANGE, *CHAINS[chain]],
        inferer={"_target_": "scripts.Brightest"},
        network=copies(axes=2),
        post=[],
        scripts={"scripts/__init__.py": DETECTOR},
        answer={"kind": "detection", "score": 0.5, "classes": [{"value": 0, "name": "nodule"}]},
        inputs=PROJECTION,
    )
    answer = ResidentWorkflow(read_workflow_bundle(folder), CPU).run({"image": volume})
    assert isinstance(answer, Detection)
    (box,) = answer.boxes
    assert box.patient is None, "a radiograph has no place in the patient"
    ends = [np.array([part.start for part in BLOCK]), np.array([part.stop - 1 for part in BLOCK])]
    rough = 0.1 if chain == "flip and rotate" else 1.5  # a coarser grid cuts through pixels
    np.testing.assert_allclose(box.corners[:, 1:].min(axis=0), ends[0], atol=rough)
    np.testing.assert_allclose(box.corners[:, 1:].max(axis=0), ends[1], atol=rough)


VIEWS = [("L", "CC"), ("R", "CC"), ("L", "MLO"), ("R", "MLO")]
FOUR_INPUTS = [
    {
        "key": "image" if k == 0 else f"{side}_{view}".lower(),
        "kind": "projection",
        "channels": [{"name": f"{side}_{view}".lower(), "views": [view], "laterality": [side]}],
    }
    for k, (side, view) in enumerate(VIEWS)
]


def test_a_model_of_one_view_names_it(tmp_path: Path) -> None:
    """The bundle's scope holds the rule of its channel, as the first checks of a series need it."""
    folder = write_bundle(tmp_path / "left", inputs=FOUR_INPUTS[:1], contract={"scope": {"modalities": ["MG"]}})
    scope = read_workflow_bundle(folder).scope
    assert (scope.projection, scope.intents) == (True, ("FOR PRESENTATION",))
    assert [(rule.name, rule.views, rule.laterality) for rule in scope.rules] == [("l_cc", ("CC",), ("L",))]
    folder = write_bundle(tmp_path / "volume")
    assert not read_workflow_bundle(folder).scope.projection


MEANS = """
from monai.transforms import MapTransform
import torch

class Means(MapTransform):
    '''The mean of each view, as an image of one pixel and four channels.'''

    def __call__(self, data):
        data = dict(data)
        means = [data[key].float().mean() for key in self.keys]
        data["image"] = torch.stack(means).reshape(4, 1, 1)
        return data
"""


def test_four_views_reach_the_inputs_that_name_them(tmp_path: Path) -> None:
    """Each of its own size: the answer is the mean of each view, in the order of the inputs."""
    keys = [block["key"] for block in FOUR_INPUTS]
    load = [{**LOAD[0], "keys": keys}, {**LOAD[1], "keys": keys}]
    scale = {**RANGE, "keys": keys}
    network = nn.Conv2d(4, 4, 1)
    with torch.no_grad():
        network.weight.copy_(torch.eye(4).reshape(4, 4, 1, 1))
        network.bias.zero_()
    folder = write_bundle(
        tmp_path / "screening",
        network=({"_target_": "torch.nn.Conv2d", "in_channels": 4, "out_channels": 4, "kernel_size": 1}, network),
        inferer=SIMPLE,
        post=[],
        scripts={"scripts/__init__.py": MEANS},
        inputs=FOUR_INPUTS,
        answer={
            "kind": "classification",
            "exclusive": False,
            "classes": [{"value": k, "name": f"{side}_{view}".lower()} for k, (side, view) in enumerate(VIEWS)],
        },
        config={
            "preprocessing": {
                "_target_": "Compose",
                "transforms": [*load, scale, {"_target_": "scripts.Means", "keys": keys}],
            }
        },
        contract={"scope": {"modalities": ["MG"]}},
    )
    bundle = read_workflow_bundle(folder)
    films = [
        mammogram(side, view, Film((60 + 7 * k, 41 + 3 * k), series=str(k))) for k, (side, view) in enumerate(VIEWS)
    ]
    for k, ds in enumerate(films):  # no two views are equally bright
        ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") // (k + 1)).astype("<u2").tobytes()
    images = [image for ds in reversed(films) for image in projections_of([ds])]
    workflow = ResidentWorkflow(bundle, CPU)
    answer = workflow.run(fill(bundle.scope.rules, images))
    assert isinstance(answer, Classification)
    expected = [np.frombuffer(ds.PixelData, "<u2").mean() / 4095 for ds in films]
    np.testing.assert_allclose(answer.scores, expected, rtol=1e-4)
    with pytest.raises(MissingSeries, match="no image for r_mlo"):
        fill(bundle.scope.rules, images[1:])
