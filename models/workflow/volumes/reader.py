"""MONAI's LoadImage reads volumes from memory: no file is written for a bundle to read it.

A bundle's transforms begin with LoadImage of a file name. `MemoryReader` takes an `InMemory` in the file name's place
and gives what NibabelReader gives for the NIfTI file of the same volume: voxels (X, Y, Z), the affine in RAS, and
``space`` saying RAS. LoadImage's further arguments about files (reader, affine_lps_to_ras, ...) are dropped
(`models.workflow.config`): since MONAI 1.5.1 an affine that is marked LPS is turned again, and masks came out mirrored
(monai-deploy-app-sdk #557, model-zoo #766).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data.image_reader import ImageReader
from monai.utils.enums import MetaKeys, SpaceKeys

from models.workflow.volumes.image import projection_affine, ras_affine, spatial
from pipeline.geometry.volume import Volume

NO_CHANNEL = float("nan")
"""What MONAI's readers give as ``original_channel_dim`` of an array without channels."""


@dataclass(frozen=True)
class InMemory:
    """One input of a bundle: ``volumes``, one a channel, all on the grid of the first.

    ``projection``: two axes are given instead of three. ``repeat``: a single channel is given so many times.
    ``channel_dim``: where the bundle expects the channels; None where it asks the metadata.
    """

    volumes: tuple[Volume, ...]
    projection: bool = False
    repeat: int = 1
    channel_dim: int | None = None

    def __str__(self) -> str:
        return "memory"  # MONAI stores it as the image's file name


class MemoryReader(ImageReader):
    """An `ImageReader` of `InMemory` values."""

    def verify_suffix(self, filename: Any) -> bool:
        """Whether ``filename``, or each of a sequence, is an `InMemory`."""
        return all(isinstance(item, InMemory) for item in _listed(filename))

    def read(self, data: Any, **_: Any) -> InMemory:
        """The one `InMemory` of ``data``; TypeError where it is anything else, a path for instance."""
        found = _listed(data)
        if len(found) != 1 or not isinstance(found[0], InMemory):
            raise TypeError("a bundle's image comes from memory; no file is read")
        return found[0]

    def get_data(self, img: InMemory) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Voxels and metadata of ``img``: (X, Y, Z) for one channel, else with the channels where they are expected.

        LoadImage copies what it gets once, so the volumes' own arrays are never changed by a transform in place.
        """
        first = img.volumes[0]
        affine = projection_affine(first) if img.projection else ras_affine(first)
        channels = [spatial(volume, projection=img.projection) for volume in img.volumes] * img.repeat
        meta: dict[str, Any] = {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(channels[0].shape),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: NO_CHANNEL,
        }
        if len(channels) == 1 and img.channel_dim is None:
            return channels[0], meta
        where = 0 if img.channel_dim is None else img.channel_dim
        meta[MetaKeys.ORIGINAL_CHANNEL_DIM] = where
        return np.stack(channels, axis=where), meta


def _listed(data: Any) -> Sequence[Any]:
    return data if isinstance(data, list | tuple) else (data,)
