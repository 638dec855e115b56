"""Where a class answer comes from: Grad-CAM by MONAI on the class head."""

from __future__ import annotations

import torch
from monai.visualize.class_activation_maps import GradCAM
from torch import Tensor, nn

LAYER = "network.middle"
"""The layer whose activations are weighed: a quarter of the input's resolution."""


class ClassLogits(nn.Module):
    """The network with its class logits as only output, as Grad-CAM wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)[0]
        return logits


def class_activation(network: nn.Module, images: Tensor, class_index: int, *, batch: int = 8) -> Tensor:
    """Grad-CAM of one class, (N, 1, M, M) like ``images``, 0 or above and not scaled: slices stay comparable."""
    cam = GradCAM(nn_module=ClassLogits(network), target_layers=LAYER, postprocessing=torch.relu)
    maps = [
        cam(part.clone().requires_grad_(requires_grad=True), class_idx=class_index).detach().float()
        for part in torch.split(images, batch)
    ]
    return torch.cat(maps)
