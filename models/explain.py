"""Where a class answer comes from: Grad-CAM by MONAI on the class head."""

from __future__ import annotations

import copy

import torch
from monai.visualize.class_activation_maps import GradCAM
from torch import Tensor, nn

LAYER = "network.deep"
"""The layer whose activations are weighed: the deepest, a sixteenth of the input's resolution.

Shallower layers were tried on fold 4 and do not point at the lesion (docs/README.md of the brain bundle).
"""


class ClassLogits(nn.Module):
    """The network with its class logits as only output, as Grad-CAM wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)[0]
        return logits


class Explainer:
    """Grad-CAM on a copy of a network: MONAI's hooks stay in the copy, and the network that answers is untouched."""

    def __init__(self, network: nn.Module) -> None:
        # MONAI puts a module that was training back to training after each call: the wrapper must be in eval, too.
        wrapped = ClassLogits(copy.deepcopy(network)).eval()
        self._cam = GradCAM(nn_module=wrapped, target_layers=LAYER, postprocessing=torch.relu)

    def class_activation(self, images: Tensor, class_index: int, *, batch: int = 8) -> Tensor:
        """Grad-CAM of one class, (N, 1, M, M) like ``images``, 0 or above, not scaled: slices stay comparable."""
        with torch.enable_grad():
            maps = [
                self._cam(part.clone().requires_grad_(), class_idx=class_index).detach().float()
                for part in torch.split(images, batch)
            ]
        return torch.cat(maps)
