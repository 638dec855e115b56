"""The bundle brain_mask: deepbet's networks from its package, run as deepbet runs them."""

from __future__ import annotations

import importlib.util
import json
import shutil
from importlib import metadata
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.bundle import sha256
from models.bundles_from import deepbet
from models.workflow.installing.install import add
from models.workflow.run import ResidentWorkflow
from pipeline import phantom
from pipeline.errors import BadModel, BadSettings
from pipeline.findings.answers import Segmentation
from pipeline.geometry.build import build_volume
from pipeline.geometry.ras import to_ras
from pipeline.geometry.volume import Volume

CPU = torch.device("cpu")
CENTRE, RADII = np.array([9.0, -14.0, 6.0]), np.array([52.0, 68.0, 44.0])
"""Of a bright ellipsoid, LPS in mm: no two axes alike, and off the middle."""
SPOTS = (CENTRE + np.array([0.0, 0.0, 78.0]), CENTRE + np.array([42.0, 52.0, 34.0]))
"""Middles of bright balls of 7 mm radius beside it: outside of its window, and in a corner of that window."""


class Bright(nn.Module):
    """In place of a network of deepbet: brain is what is brighter than the mean."""

    def forward(self, image: Tensor) -> Tensor:
        brain = torch.sigmoid((image - 0.449 - 0.1) * 60)
        return torch.cat([1 - brain, brain], dim=1)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package deepbet with two such networks, whose digests the bundle expects; returns its folder."""
    folder = tmp_path / "site-packages"
    (folder / "data" / "models").mkdir(parents=True)
    (folder / "deepbet-1.0.2.dist-info").mkdir()
    (folder / "deepbet-1.0.2.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: deepbet\nVersion: 1.0.2\n"
    )
    (folder / "deepbet-1.0.2.dist-info" / "LICENSE").write_text("MIT License\n")
    bundle = shutil.copytree(deepbet.BUNDLE, tmp_path / "template")
    contract = json.loads((bundle / "configs" / "candela.json").read_text())
    for block in contract["weights"]:
        path = folder / deepbet.NETWORKS[block["file"]]
        torch.jit.script(Bright().eval()).save(str(path))
        block["sha256"] = sha256(path)
    (bundle / "configs" / "candela.json").write_text(json.dumps(contract))
    monkeypatch.setattr(deepbet, "BUNDLE", bundle)
    monkeypatch.syspath_prepend(folder)
    return folder


def inside(volume: Volume, centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(side) for side in volume.shape], indexing="ij"), axis=-1)
    points = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return np.asarray((((points - centre) / radii) ** 2).sum(axis=-1) < 1)


def sagittal(shape: tuple[int, int, int] = (60, 100, 90)) -> Volume:
    """A head that is an ellipsoid with a hole, and two spots beside it, in a sagittal stack tilted by eight degrees."""
    tilt = np.deg2rad(8)
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[2.6, 0, 0], [0, 0, 2.1], [0, -2.0, 0]])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    blank = Volume(np.zeros(shape, dtype=np.float32), affine, ())
    image = 900.0 * inside(blank, CENTRE, RADII)
    image[inside(blank, CENTRE + 10, np.array([8.0, 8.0, 8.0]))] = 0
    for spot in SPOTS:
        image[inside(blank, spot, np.full(3, 7.0))] = 900
    return Volume((image + 20).astype(np.float32), affine, ())


def test_the_brain_is_found_on_the_grid_of_the_series(package: Path, tmp_path: Path) -> None:
    """Both passes, the window in all three axes, the largest part, the filled hole, and the way back."""
    deepbet.write(tmp_path / "brain_mask")
    bundle = add(tmp_path / "brain_mask", tmp_path / "models_folder")
    volume = sagittal()
    answer = ResidentWorkflow(bundle, CPU).run({"image": volume})
    assert isinstance(answer, Segmentation)
    (brain,) = answer.structures
    assert (brain.code.value, brain.code.scheme) == ("12738006", "SCT")
    mask, truth = answer.mask(brain), inside(volume, CENTRE, RADII)
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.97
    assert mask[inside(volume, CENTRE + 10, np.full(3, 6.0))].all()
    assert not any((mask & inside(volume, spot, np.full(3, 7.0))).any() for spot in SPOTS)
    assert (package / "deepbet-1.0.2.dist-info" / "LICENSE").read_text() == (bundle.folder / "LICENSE").read_text()


def test_where_no_brain_is_found_the_series_is_refused(package: Path, tmp_path: Path) -> None:
    workflow = ResidentWorkflow(deepbet.write(tmp_path / "brain_mask"), CPU)
    volume = sagittal((20, 24, 22))
    thin = volume.array * 0
    thin[10, 12, 11] = 1000
    with pytest.raises(BadModel, match="network failed"):
        workflow.run({"image": Volume(thin, volume.affine, ())})


def test_networks_of_another_release_are_refused(package: Path, tmp_path: Path) -> None:
    with (package / "data" / "models" / "model.pt").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BadModel, match=r"networks of deepbet 1\.0\.2 are others"):
        deepbet.write(tmp_path / "brain_mask")


@pytest.mark.parametrize("gone", ["data/models/model.pt", "deepbet-1.0.2.dist-info/LICENSE"])
def test_a_package_that_lacks_a_file_is_refused(package: Path, tmp_path: Path, gone: str) -> None:
    (package / gone).unlink()
    with pytest.raises(BadModel, match=r"deepbet 1\.0\.2"):
        deepbet.write(tmp_path / "brain_mask")


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(BadSettings, match="deepbet is not installed") as error:
        deepbet.write(tmp_path / "brain_mask")
    assert "candela[brain-mask]" in str(error.value)


def test_a_folder_that_holds_something_is_left_alone(package: Path, tmp_path: Path) -> None:
    (tmp_path / "brain_mask").mkdir()
    (tmp_path / "brain_mask" / "mine.txt").write_text("mine")
    with pytest.raises(BadSettings, match="not empty"):
        deepbet.write(tmp_path / "brain_mask")
    assert [path.name for path in (tmp_path / "brain_mask").iterdir()] == ["mine.txt"]


@pytest.mark.skipif(importlib.util.find_spec("deepbet") is None, reason="needs the extra brain-mask")
def test_it_agrees_with_deepbet_itself(tmp_path: Path) -> None:
    """The package's own code and networks on a phantom, in the same grid."""
    from deepbet import BrainExtraction

    bundle = deepbet.write(tmp_path / "brain_mask")
    volume = build_volume(phantom.head_phantom(slices=48, matrix=128))
    answer = ResidentWorkflow(bundle, CPU).run({"image": volume})
    assert isinstance(answer, Segmentation)
    image = nibabel.Nifti1Image(np.ascontiguousarray(volume.array.T), to_ras(volume.affine))
    _, own, _ = BrainExtraction(no_gpu=True).run(image)
    theirs, ours = np.asarray(own.dataobj).T > 0, answer.mask_of("brain")
    assert theirs.any()
    assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.98
