"""Comparable intensities, as a MONAI transform: what a network reads must not depend on a scanner's scale."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform, Transform
from monai.utils.enums import TransformBackends
from torch import Tensor

FAINT_SLICE = 0.3
"""The bright end of a slab is at least this share of the series', so that air is not amplified to a head."""
BRIGHT = 0.995
FOREGROUND = 0.1
"""Pixels above this share of the bright end count as head when mean and deviation are taken."""
CLIP = 4.0


class NormalizeHeadIntensity(Transform):
    """Scale each slab by its bright end, then to zero mean and unit deviation over the head's pixels.

    Takes and gives (series, slabs, M, M), intensities of any scale: one channel is one series, as
    `pipeline.preprocess.slabs.SampleSlabs` gives it; a batch of training pictures is so many series of one slab. Values
    come out from about -2 to `CLIP`; a slab without content is all zero. A `MetaTensor` keeps its metadata.

    Intensities alone change, so there is nothing to invert.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI's own name and form

    def __call__(self, img: Tensor) -> Tensor:
        images = img.as_subclass(Tensor)
        flat = images.flatten(0, 1).flatten(1)
        bright = torch.quantile(flat, BRIGHT, dim=1)
        if images.shape[1] > 1:
            least = [FAINT_SLICE * float(np.quantile(series.cpu().numpy(), BRIGHT)) for series in images]
            bright = torch.maximum(bright, bright.new_tensor(least).repeat_interleave(images.shape[1]))
        empty = bright <= 0
        bright = torch.where(empty, torch.ones_like(bright), bright)
        scaled = (flat / bright[:, None]).clamp(0, 1.3)
        inside = (scaled > FOREGROUND).to(scaled.dtype)
        count = inside.sum(1, keepdim=True).clamp(min=1)
        mean = (scaled * inside).sum(1, keepdim=True) / count
        deviation = (((scaled - mean) ** 2 * inside).sum(1, keepdim=True) / count).sqrt().clamp(min=0.05)
        standard = ((scaled - mean) / deviation).clamp(-CLIP, CLIP)
        normal = torch.where(empty[:, None], torch.zeros_like(standard), standard).view_as(images)
        if not isinstance(img, MetaTensor):
            return normal
        made: MetaTensor = MetaTensor(normal).copy_meta_from(img)
        return made


class NormalizeHeadIntensityd(MapTransform):
    """`NormalizeHeadIntensity` of the images under ``keys``."""

    backend = NormalizeHeadIntensity.backend

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.normalize = NormalizeHeadIntensity()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        made = dict(data)
        for key in self.key_iterator(made):
            made[key] = self.normalize(made[key])
        return made
