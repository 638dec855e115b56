"""A volume in memory is read as the NIfTI file of the same volume would be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms.compose import Compose
from monai.transforms.io.dictionary import LoadImaged
from monai.transforms.spatial.dictionary import Orientationd, Spacingd
from monai.transforms.utility.dictionary import EnsureChannelFirstd
from monai.utils.enums import SpaceKeys

from models.workflow.volumes.image import ras_affine, to_source
from models.workflow.volumes.reader import InMemory, MemoryReader
from pipeline.geometry.ras import to_ras
from tests.unit.models.workflow.placed import ORIENTATIONS, SHAPE, placed


def noise(orientation: str, *, reverse: bool = False):
    return placed(np.random.default_rng(3).normal(size=SHAPE), orientation, reverse=reverse)


def loader(**how):
    made = LoadImaged("image", reader=MemoryReader, expanduser=False, **how)
    made._loader.readers = [MemoryReader()]
    return made


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_memory_is_read_as_a_file_is(tmp_path: Path, orientation: str) -> None:
    volume = noise(orientation, reverse=True)
    path = tmp_path / "volume.nii"
    nib.save(nib.Nifti1Image(volume.array.T, ras_affine(volume)), path)
    volume = replace(volume, affine=to_ras(nib.load(path).affine))  # NIfTI holds an affine in 32 bits; its own inverse
    chain = [EnsureChannelFirstd("image"), Orientationd("image", axcodes="RAS"), Spacingd("image", pixdim=(1, 1, 2))]
    from_file = Compose([LoadImaged("image"), *chain])({"image": str(path)})["image"]
    from_memory = Compose([loader(), *chain])({"image": InMemory((volume,))})["image"]
    assert torch.equal(from_file.as_tensor(), from_memory.as_tensor())
    assert torch.equal(from_file.affine, from_memory.affine)
    assert from_memory.meta["space"] == SpaceKeys.RAS


def test_the_boundary_turns_x_and_y_and_nothing_else() -> None:
    volume = noise("oblique")
    point = np.array([4, 7, 11])  # slice, row, column
    ras = ras_affine(volume) @ [11, 7, 4, 1]
    assert np.allclose(ras[:3] * [-1, -1, 1], volume.to_patient(point))


def test_loading_copies_and_the_way_back_does_not() -> None:
    volume = noise("axial")
    before = volume.array.copy()
    loaded = loader()({"image": InMemory((volume,))})["image"]
    loaded += 1
    assert np.array_equal(volume.array, before)
    back = to_source(loaded[None])
    assert back.shape == (1, *volume.shape)
    assert np.array_equal(back[0], before + 1)
    assert np.shares_memory(back, loaded.as_tensor().numpy())


def test_an_argument_of_another_reader_changes_nothing() -> None:
    volume = noise("sagittal")
    loaded, meta = loader(image_only=False)({"image": InMemory((volume,))}).values()
    assert np.allclose(loaded.affine.numpy(), ras_affine(volume))
    assert meta["space"] == SpaceKeys.RAS


@pytest.mark.parametrize(("where", "shape"), [(None, (4, 26, 22, 14)), (0, (4, 26, 22, 14)), (-1, (26, 22, 14, 4))])
def test_channels_lie_where_the_bundle_expects_them(where: int | None, shape: tuple[int, ...]) -> None:
    volumes = tuple(placed(np.full(SHAPE, k), "axial") for k in range(4))
    array, meta = MemoryReader().get_data(InMemory(volumes, channel_dim=where))
    assert array.shape == shape
    assert meta["original_channel_dim"] == (0 if where is None else where)


def test_a_path_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no file is read"):
        MemoryReader().read(str(tmp_path / "volume.nii"))
