"""Answers back through a bundle's preprocessing, where MONAI's Invertd moves labels or takes too much memory.

Labels: Invertd has ``nearest_interp``, which makes Resize and Zoom go back by torch's mode ``nearest``: it rounds down,
and shifts a label map by up to a voxel. Their ``nearest-exact`` does not.

Memory: many bundles invert the probabilities of every class before they choose one. Channels are inverted independently
of each other, so they can be inverted one after the other and the largest kept. And MONAI computes where each source
voxel lies in 64 bits, which takes 56 bytes a voxel (9 GB for 600 × 512²); 32 bits are exact to a ten-thousandth of a
voxel.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
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
        invert.nearest_interp = tuple(False for _ in invert.nearest_interp)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return _inverted(self.invert, data, _by_nearest)


class InvertAndChoose:
    """``invert`` of ``pred`` followed by ``choose``, an argmax over its channels, with one channel at a time."""

    def __init__(self, invert: Invertd, choose: Any) -> None:
        self.invert = invert
        self.choose = choose

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        found = data["pred"].as_subclass(Tensor)
        largest = labels = None
        for channel in range(len(found)):
            made = _inverted(self.invert, {**data, "pred": MetaTensor(found[channel : channel + 1])}, _in_32_bits)
            values = made["pred"]
            plain = values.as_subclass(Tensor)
            if largest is None or labels is None:
                largest, labels = plain.clone(), torch.zeros_like(plain)
            else:
                labels[plain > largest] = channel
                torch.maximum(largest, plain, out=largest)
        return {**made, "pred": MetaTensor(labels, meta=values.meta)}


def _inverted(
    invert: Invertd, data: Mapping[Hashable, Any], changed: Callable[[list[Any]], list[Any]]
) -> dict[Hashable, Any]:
    """What ``invert`` makes of ``data``, with the operations that its images went through as ``changed`` gives them."""
    images = {key: data[key] for key in invert.orig_keys if isinstance(data.get(key), MetaTensor)}
    others = {
        key: MetaTensor(image.as_tensor(), meta=image.meta, applied_operations=changed(image.applied_operations))
        for key, image in images.items()
    }
    made: dict[Hashable, Any] = invert({**data, **others})
    return {**made, **images}


def _by_nearest(operations: list[Any]) -> list[Any]:
    """``operations`` with their interpolation replaced."""
    return [
        convert_applied_interp_mode(item, mode="nearest-exact" if item["class"] in INTERPOLATES else "nearest")
        for item in _in_32_bits(operations)
    ]


def _in_32_bits(operations: list[Any]) -> list[Any]:
    """``operations`` that compute places in 32 bits where they did in 64."""
    return [
        {**item, "extra_info": {**item["extra_info"], "dtype": "float32"}}
        if item.get("extra_info", {}).get("dtype") == "float64"
        else item
        for item in operations
    ]
