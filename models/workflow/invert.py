"""Label maps back through a bundle's preprocessing, by nearest neighbours that are the nearest.

MONAI's Invertd has ``nearest_interp``, which makes Resize and Zoom go back by torch's mode ``nearest``: it rounds down,
and shifts a label map by up to a voxel. Their ``nearest-exact`` does not.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.data.meta_tensor import MetaTensor
from monai.transforms.post.dictionary import Invertd
from monai.transforms.utils import convert_applied_interp_mode

INTERPOLATES = ("Resize", "Zoom")
"""Transforms that go back by ``torch.nn.functional.interpolate``; the others sample on a grid."""


class InvertLabels:
    """``invert`` for keys whose values are labels, whatever interpolation the bundle names for it."""

    def __init__(self, invert: Invertd) -> None:
        self.invert = invert
        self.keys = invert.orig_keys
        invert.nearest_interp = tuple(False for _ in invert.nearest_interp)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        images = {key: data[key] for key in self.keys if isinstance(data.get(key), MetaTensor)}
        nearest = {key: _by_nearest(image) for key, image in images.items()}
        return {**self.invert({**data, **nearest}), **images}


def _by_nearest(image: MetaTensor) -> MetaTensor:
    """``image`` with its operations' interpolation replaced; its voxels are shared."""
    operations = [
        convert_applied_interp_mode(item, mode="nearest-exact" if item["class"] in INTERPOLATES else "nearest")
        for item in image.applied_operations
    ]
    return MetaTensor(image.as_tensor(), meta=image.meta, applied_operations=operations)
