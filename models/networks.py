"""The networks that bundles name in ``configs/inference.json``."""

from __future__ import annotations

from typing import NamedTuple

import torch
from monai.networks.nets.segresnet import SegResNet
from torch import Tensor, nn
from torch.nn import functional


class SliceAnswer(NamedTuple):
    """What the network says of N slices.

    ``classes`` (N, classes): logits. ``mask`` (N, 1, M, M): logits of "tumour" by pixel. ``head`` (N,): logit of
    "this is a slice through a head".
    """

    classes: Tensor
    mask: Tensor
    head: Tensor


class RegionNet(nn.Module):
    """A 2D SegResNet whose class answer rests on the region that its mask head marks.

    The input is folded 2 by 2 (pixel unshuffle), so that the encoder starts at half resolution: four times cheaper on
    a CPU than full resolution, and the mask is unfolded to full resolution at the end. The class head sees
    features averaged under the mask, the strength of the mask, and the largest deep activations anywhere (a lesion that
    the mask missed), but no average over the whole image: the style of an image (its source, its border) is a
    shortcut that it should find harder to take.

    Input (N, 1, M, M), M a multiple of 16; classes are in the order of the bundle's contract, the last being "none".
    """

    def __init__(self, *, classes: int = 4, filters: int = 24, dropout: float = 0.2) -> None:
        super().__init__()
        self.body = SegResNet(
            spatial_dims=2,
            init_filters=filters,
            in_channels=4,
            out_channels=4,
            norm="BATCH",
            blocks_down=(1, 2, 3, 4),
            blocks_up=(1, 1, 1),
        )
        deep, middle = filters * 8, filters * 2
        self.deep = nn.Identity()  # a named place for Grad-CAM to hook: the deepest features, (N, deep, M/16, M/16)
        self.context = nn.Sequential(nn.Linear(2 * deep + middle + 3, 192), nn.ReLU(), nn.Dropout(dropout))
        self.classes = nn.Linear(192, classes)
        self.head = nn.Sequential(nn.Linear(2 * deep, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, images: Tensor) -> SliceAnswer:
        folded = functional.pixel_unshuffle(images, 2)
        deepest, levels = self.body.encode(folded)
        deepest = self.deep(deepest)
        middle = levels[1]
        skips = [deepest, levels[2], middle, levels[0]]
        decoded = self.body.decode(deepest, skips)
        mask = functional.pixel_shuffle(decoded, 2).float()
        seen = mask.detach()
        region = torch.cat(
            [_pooled(deepest, seen), _pooled(middle, seen), deepest.float().amax((2, 3)), _strength(seen)], dim=1
        )
        whole = torch.cat([deepest.float().mean((2, 3)), deepest.float().amax((2, 3))], dim=1)
        return SliceAnswer(self.classes(self.context(region)), mask, self.head(whole).squeeze(1))


def _pooled(features: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``features`` (N, C, h, w) weighted by the mask's probability: (N, C)."""
    rows, columns = features.shape[-2:]
    weight = functional.adaptive_avg_pool2d(torch.sigmoid(mask), (rows, columns))
    weight = weight / (weight.sum((2, 3), keepdim=True) + 1e-4)
    return (features.float() * weight).sum((2, 3))


def _strength(mask: Tensor) -> Tensor:
    """How strong and how large the mask is, (N, 3): mean of the strongest 16 and 128 logits, log of its area."""
    flat = mask.flatten(1)
    strongest = flat.topk(128, dim=1).values
    area = torch.log1p(torch.sigmoid(flat).sum(1, keepdim=True))
    return torch.cat(
        [strongest[:, :16].mean(1, keepdim=True) / 4, strongest.mean(1, keepdim=True) / 4, area / 4], dim=1
    )
