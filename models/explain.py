"""Explanation of a class answer: Grad-CAM by MONAI on the class head."""

from __future__ import annotations

import copy

import torch
from monai.visualize.class_activation_maps import GradCAM
from torch import Tensor, nn

from pipeline.errors import BadModel

LAYER = "deep"
"""The name of the module whose activations Grad-CAM weighs; each network has a module of that name.

For the brain networks the neighbouring layers were tried, too (docs/README.md of the brain bundle).
"""


class ClassLogits(nn.Module):
    """The network with its class logits as the only output, as Grad-CAM and SHAP need it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)[0]
        return logits


class Explainer:
    """Grad-CAM on a copy of a network, so that MONAI's hooks do not touch the network that answers.

    Raises
    ------
    BadModel
        where the network has no module called `LAYER` (or ``layer``).
    """

    def __init__(self, network: nn.Module, layer: str = LAYER) -> None:
        if layer not in dict(network.named_modules()):
            raise BadModel(
                f"The network has no module {layer!r} for the heat map.",
                where=type(network).__name__,
                todo=f"Name the layer whose activations explain the class {layer!r}; an nn.Identity there will do.",
            )
        # MONAI restores training mode after each call if the module was in it: the wrapper must be in eval mode, too.
        wrapped = ClassLogits(copy.deepcopy(network)).eval()
        self._device = next(network.parameters()).device
        self._cam = GradCAM(nn_module=wrapped, target_layers=f"network.{layer}", postprocessing=torch.relu)

    def class_activation(self, images: Tensor, class_index: int, *, batch: int = 8) -> Tensor:
        """Grad-CAM of one class, (N, 1, M, M) like ``images``, 0 or above, not scaled: slices stay comparable."""
        with torch.enable_grad():
            maps = [
                self._cam(part.to(self._device, copy=True).requires_grad_(), class_idx=class_index).detach().float()
                for part in torch.split(images, batch)
            ]
        return torch.cat(maps)
