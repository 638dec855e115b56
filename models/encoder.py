"""EfficientNet-Lite0 as an encoder, with the names of its published weights (Tan and Le, 2019; the Lite variant, 2020).

It has no squeeze-and-excitation, and ReLU6 instead of swish: it was designed for plain processors, as most nodes have.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, cast

from torch import Tensor, nn
from torch.nn import functional

BN_EPSILON = 1e-3


class EncoderStage(NamedTuple):
    """A run of blocks: how many, kernel size, stride of the first, expansion, output channels."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    channels: int


STEM = 32
STAGES = (
    EncoderStage(1, 3, 1, 1, 16),
    EncoderStage(2, 3, 2, 6, 24),
    EncoderStage(2, 5, 2, 6, 40),
    EncoderStage(3, 3, 2, 6, 80),
    EncoderStage(3, 5, 1, 6, 112),
    EncoderStage(4, 5, 2, 6, 192),
)
"""Leaves out the last one, 1 x 1 x 320, which serves ImageNet's classes."""
CHANNELS = (16, 24, 40, 112, 192)
"""Channels of the features of `Encoder`, at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input's resolution."""
GIVEN_AFTER = (0, 1, 2, 4, 5)
"""The stages after which features are returned."""

GREY_SCALE = 0.45
"""From unit deviation in the head (`pipeline.preprocess.intensity.NormalizeHeadIntensity`) to ImageNet's -1..1."""


class SamePadding(nn.Conv2d):
    """A convolution with TensorFlow's padding, which these weights need: the odd pixel goes below and right."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = []
        for size in (input.shape[-1], input.shape[-2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        if pads[0] == pads[1] == pads[2] == pads[3]:
            return functional.conv2d(input, self.weight, self.bias, self.stride, pads[0], 1, self.groups)
        return functional.conv2d(functional.pad(input, pads), self.weight, self.bias, self.stride, 0, 1, self.groups)


class InvertedBottleneck(nn.Module):
    """Inverted bottleneck: widen, depthwise convolution, narrow; with a skip where shapes agree."""

    def __init__(self, incoming: int, stage: EncoderStage, stride: int) -> None:
        super().__init__()
        wide = incoming * stage.expand
        self.widened = stage.expand != 1
        if self.widened:
            self._expand_conv = nn.Conv2d(incoming, wide, 1)
        self._depthwise_conv = SamePadding(wide, wide, stage.kernel, stride, groups=wide)
        self._project_conv = nn.Conv2d(wide, stage.channels, 1)
        self.skips = stride == 1 and incoming == stage.channels

    def forward(self, images: Tensor) -> Tensor:
        x = images
        if self.widened:
            x = functional.relu6(self._expand_conv(x), inplace=True)
        x = functional.relu6(self._depthwise_conv(x), inplace=True)
        narrow: Tensor = self._project_conv(x)
        return narrow + images if self.skips else narrow


class Encoder(nn.Module):
    """Grey pictures (N, 1, M, M), M a multiple of 32, to features at five resolutions (`CHANNELS`).

    With fewer ``stages`` it ends earlier and returns fewer features.

    The published batch norms stand at ImageNet's statistics and are folded into the convolutions: batches here are too
    small for statistics of their own, and a step of training takes two thirds of the time.
    """

    def __init__(self, stages: int = len(STAGES)) -> None:
        super().__init__()
        self._conv_stem = SamePadding(1, STEM, 3, 2)
        blocks: list[InvertedBottleneck] = []
        ends = []
        widths = [STEM, *(stage.channels for stage in STAGES)]
        for stage, (incoming, _) in zip(STAGES[:stages], pairwise(widths), strict=False):
            for number in range(stage.blocks):
                first = number == 0
                blocks.append(
                    InvertedBottleneck(incoming if first else stage.channels, stage, stage.stride if first else 1)
                )
            ends.append(len(blocks) - 1)
        self._blocks = nn.ModuleList(blocks)
        self._given = frozenset(ends[k] for k in GIVEN_AFTER if k < stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = functional.relu6(self._conv_stem(images), inplace=True)
        given: list[Tensor] = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in self._given:
                given.append(x)
        return given

    def freeze(self, blocks: int, *, depthwise: bool = False) -> None:
        """Freeze the stem and the first ``blocks`` blocks; with ``depthwise`` all depthwise convolutions as well.

        Edges and textures are the same in a photograph and in a head, and these are the costly blocks to train. The
        depthwise convolutions are a few hundredths of the weights, and their gradients half of a step's time on a CPU.
        """
        self.requires_grad_(requires_grad=True)
        for part in (self._conv_stem, *self._blocks[:blocks]):
            part.requires_grad_(requires_grad=False)
        if depthwise:
            for part in self.modules():
                if isinstance(part, SamePadding) and part.groups > 1:
                    part.requires_grad_(requires_grad=False)

    def load_imagenet(self, weights: dict[str, Tensor]) -> None:
        """Load the published ImageNet weights: norms folded in, the stem's three colours added up to one grey.

        Raises
        ------
        RuntimeError
            where the weights are not those of EfficientNet-Lite0.
        """
        taken: dict[str, Tensor] = {}
        try:
            for name, norm in self._norms():
                scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + BN_EPSILON).sqrt()
                taken[f"{name}.weight"] = weights[f"{name}.weight"] * scale.view(-1, 1, 1, 1)
                taken[f"{name}.bias"] = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
        except KeyError as missing:
            raise RuntimeError(f"not the weights of EfficientNet-Lite0: {missing} is missing") from missing
        taken["_conv_stem.weight"] = taken["_conv_stem.weight"].sum(dim=1, keepdim=True) * GREY_SCALE
        self.load_state_dict(taken)

    def _norms(self) -> list[tuple[str, str]]:
        """Each convolution with the published name of the batch norm after it."""
        pairs = [("_conv_stem", "_bn0")]
        for number, block in enumerate(self._blocks):
            parts = ["_expand_conv"] if cast("InvertedBottleneck", block).widened else []
            for order, part in enumerate([*parts, "_depthwise_conv", "_project_conv"], start=1 - len(parts)):
                pairs.append((f"_blocks.{number}.{part}", f"_blocks.{number}._bn{order}"))
        return pairs
