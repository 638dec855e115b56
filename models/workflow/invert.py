"""Answers back through a bundle's preprocessing, where MONAI's Invertd moves labels or takes too much memory.

Labels: Invertd has ``nearest_interp``, which makes Resize and Zoom go back by torch's mode ``nearest``: it rounds down,
and shifts a label map by up to a voxel. Their ``nearest-exact`` does not.

Memory: many bundles invert the probabilities of every class before they choose one. Channels are inverted independently
of each other, so they can be inverted one after the other and the largest kept.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.post.dictionary import Invertd
from monai.transforms.utils import convert_applied_interp_mode
from torch import Tensor

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


class InvertAndChoose:
    """``invert`` of ``pred`` followed by ``choose``, an argmax over its channels, with one channel at a time."""

    def __init__(self, invert: Invertd, choose: Any) -> None:
        self.invert = invert
        self.choose = choose

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        found = data["pred"].as_subclass(Tensor)
        largest = labels = None
        for channel in range(len(found)):
            made = self.invert({**data, "pred": MetaTensor(found[channel : channel + 1])})
            values = made["pred"]
            plain = values.as_subclass(Tensor)
            if largest is None or labels is None:
                largest, labels = plain.clone(), torch.zeros_like(plain)
            else:
                labels[plain > largest] = channel
                torch.maximum(largest, plain, out=largest)
        return {**made, "pred": MetaTensor(labels, meta=values.meta)}


def _by_nearest(image: MetaTensor) -> MetaTensor:
    """``image`` with its operations' interpolation replaced; its voxels are shared."""
    operations = [
        convert_applied_interp_mode(item, mode="nearest-exact" if item["class"] in INTERPOLATES else "nearest")
        for item in image.applied_operations
    ]
    return MetaTensor(image.as_tensor(), meta=image.meta, applied_operations=operations)
