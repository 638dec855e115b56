"""The networks that bundles name in ``configs/inference.json``."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from monai.networks.nets.segresnet import SegResNet
from torch import Tensor, nn
from torch.nn import functional

from models.encoder import CHANNELS, Encoder


class SliceAnswer(NamedTuple):
    """A network's answer for N slices.

    ``classes`` (N, classes): logits. ``mask`` (N, 1, M, M): logits of "tumour" by pixel. ``head`` (N,): logit of
    "this is a slice through a head".
    """

    classes: Tensor
    mask: Tensor
    head: Tensor


class RegionNet(nn.Module):
    """A 2D SegResNet whose class answer rests on the region that its mask head marks. Bundles before 0.2.0 name it.

    The input is folded 2 by 2 (pixel unshuffle), so that the encoder starts at half resolution: four times cheaper on
    a CPU than full resolution, and the mask is unfolded to full resolution at the end. The class head sees
    features averaged under the mask, the strength of the mask, and the largest deep activations anywhere (a lesion that
    the mask missed), but no average over the whole image: the style of an image (its source, its border) is a
    shortcut that this makes harder to take.

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


class Features(NamedTuple):
    """The decoder's features of N slices: ``seen`` (N, C, M/8, M/8), ``half`` and ``fourth`` at M/2 and M/4, ``bottom``
    at M/32.
    """

    seen: Tensor
    half: Tensor
    fourth: Tensor
    bottom: Tensor


class PretrainedRegionNet(nn.Module):
    """A U-Net over EfficientNet-Lite0 that outlines each kind of tumour, and whose class answer rests on the outline.

    The decoder brings the encoder's features at 1/32 of the resolution back to 1/2. There every pixel is classified as
    one of the kinds or "none", and unfolded to full resolution. The class head sees features at 1/8 (a cell of 13 mm)
    averaged under the mask of all kinds, how strong and large that mask is, and how strong each kind is in it. It sees
    nothing of the image outside: the style of an image (its source, its border) is a shortcut that it should find
    harder to take.

    Input (N, 1, M, M), M a multiple of 32; classes are in the order of the bundle's contract, the last being "none".
    """

    def __init__(
        self, *, classes: int = 4, widths: tuple[int, ...] = (96, 96, 128, 48, 16), dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.encoder = Encoder()
        deep, sixteenth, eighth, fourth, half = widths
        self.bottom = _joined(CHANNELS[4], deep, kernel=1)
        self.up16 = _joined(deep + CHANNELS[3], sixteenth)
        self.up8 = _joined(sixteenth + CHANNELS[2], eighth)
        self.narrow4 = _joined(eighth, fourth, kernel=1)
        self.up4 = _joined(fourth + CHANNELS[1], fourth)
        self.narrow2 = _joined(fourth, half, kernel=1)
        self.up2 = _joined(half + CHANNELS[0], half)
        self.kinds = nn.Conv2d(half, 4 * classes, 3, padding=1)
        self.deep = nn.Identity()  # a named place for Grad-CAM to hook: what the class head sees, (N, C, M/8, M/8)
        self.context = nn.Sequential(nn.Linear(eighth + classes + 2, 128), nn.ReLU(), nn.Dropout(dropout))
        self.classes = nn.Linear(128, classes)
        self.head = nn.Sequential(nn.Linear(2 * deep, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, images: Tensor) -> SliceAnswer:
        features = self.encode(images)
        return self.decode(features._replace(seen=self.deep(features.seen)))

    def encode(self, images: Tensor) -> Features:
        """The features at 1/8 of the resolution, with those that the mask takes from finer and the head from coarser
        ones.
        """
        half, fourth, eighth, sixteenth, deepest = self.encoder(images)
        bottom = self.bottom(deepest)
        x = self.up16(torch.cat([_doubled(bottom), sixteenth], dim=1))
        return Features(self.up8(torch.cat([_doubled(x), eighth], dim=1)), half, fourth, bottom)

    def decode(self, features: Features) -> SliceAnswer:
        """Compute the answer from the features."""
        return self.answer(features, self.outline(features))

    def outline(self, features: Features) -> Tensor:
        """Logits of each class by pixel, (N, classes, M, M); the last class means "no tumour"."""
        x = self.up4(torch.cat([_doubled(self.narrow4(features.seen)), features.fourth], dim=1))
        x = self.up2(torch.cat([_doubled(self.narrow2(x)), features.half], dim=1))
        return functional.pixel_shuffle(self.kinds(x), 2).float()

    def answer(self, features: Features, pixels: Tensor) -> SliceAnswer:
        """Compute the answer for slices from the pixels' class logits (N, classes, M, M)."""
        return self.judged(features, *self.region(features, pixels))

    def region(self, features: Features, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mask logits of any tumour (N, 1, M, M), and the features of the marked region (N, C)."""
        mask = pixels[:, :-1].logsumexp(1, keepdim=True) - pixels[:, -1:]
        seen = mask.detach()
        rows, columns = features.seen.shape[-2:]
        kinds = functional.adaptive_avg_pool2d(pixels[:, :-1].detach(), (rows, columns))
        return mask, torch.cat([_pooled(features.seen, seen), _pooled(kinds, seen), _strength(seen)], dim=1)

    def judged(self, features: Features, mask: Tensor, region: Tensor) -> SliceAnswer:
        """Class logits of a ``region``, and the logit of a head."""
        head = self.head(self.whole(features.bottom)).squeeze(1)
        return SliceAnswer(self.classes(self.context(region)), mask, head)

    @staticmethod
    def whole(bottom: Tensor) -> Tensor:
        """The input of the head output: mean and maximum of the deepest features, (N, 2 C)."""
        bottom = bottom.float()
        return torch.cat([bottom.mean((2, 3)), bottom.amax((2, 3))], dim=1)


class Committee(nn.Module):
    """Networks of one kind whose answers are averaged. Each was trained without one fold; together they saw all folds.

    Classes are the mean of their probabilities, returned as logits (its logarithm); mask and head likewise.
    """

    def __init__(self, *, members: int, **member: Any) -> None:
        super().__init__()
        self.members = nn.ModuleList(PretrainedRegionNet(**member) for _ in range(members))
        self.deep = nn.Identity()  # for Grad-CAM: what all the class heads see, one after the other in the channels

    def forward(self, images: Tensor) -> SliceAnswer:
        features = [cast("PretrainedRegionNet", member).encode(images) for member in self.members]
        seen = self.deep(torch.cat([part.seen for part in features], dim=1)).chunk(len(features), dim=1)
        answers = [
            cast("PretrainedRegionNet", member).decode(part._replace(seen=own))
            for member, part, own in zip(self.members, features, seen, strict=True)
        ]
        classes = torch.stack([answer.classes.float() for answer in answers]).softmax(dim=2).mean(dim=0)
        return SliceAnswer(
            classes.clamp(min=1e-8).log(),
            _mean_probability([answer.mask for answer in answers]),
            _mean_probability([answer.head for answer in answers]),
        )


def _mean_probability(logits: list[Tensor]) -> Tensor:
    """The logit of the mean of the probabilities."""
    return torch.logit(torch.stack([torch.sigmoid(part.float()) for part in logits]).mean(dim=0), eps=1e-6)


def together(members: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The weights of a `Committee` from those of its members."""
    return {f"members.{k}.{name}": value for k, member in enumerate(members) for name, value in member.items()}


def _joined(incoming: int, outgoing: int, *, kernel: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(incoming, outgoing, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outgoing), nn.ReLU(inplace=True))


def _doubled(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


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
