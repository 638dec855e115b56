"""Heat maps of a bundle's answer: Grad-CAM or occlusion by MONAI, on the image that its network read."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from monai.inferers.inferer import SlidingWindowInferer
from monai.visualize.class_activation_maps import GradCAM
from monai.visualize.occlusion_sensitivity import OcclusionSensitivity
from torch import Tensor, nn

from models.contract import ExplanationBlock
from models.workflow.answers import as_prediction
from models.workflow.confined.foreign import foreign
from models.workflow.volumes.grids import Grids
from models.workflow.volumes.image import to_source
from pipeline.errors import BadModel
from pipeline.findings.answers import Answer, Classification, Concept, Explanation, Segmentation
from pipeline.findings.codes import GRAD_CAM, OCCLUSION

AT_ONCE = 8
"""Occluded copies of the image in one forward pass."""
TODO = "Correct answer.explanation in configs/candela.json, or leave it out."


class OneChannel(nn.Module):
    """The network with one channel of its output: that of the class, or the only one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.channel = 0

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.network(image)
        channel = self.channel if found.shape[1] > 1 else 0
        return found[:, channel : channel + 1]


class Explainer:
    """Explains the answers of ``network`` by ``block``; ``inferer`` is the bundle's, ``where`` its folder.

    Raises
    ------
    BadModel
        where the network has no such layer, or is TorchScript, which takes no hooks.
    """

    def __init__(
        self, network: nn.Module, inferer: Any, block: ExplanationBlock, device: torch.device, where: str
    ) -> None:
        self._inferer, self._block, self._device, self._where = inferer, block, device, where
        self._network = OneChannel(network)
        if block.layer is None:
            return
        if isinstance(network, torch.jit.ScriptModule):
            raise self._refusal("Grad-CAM needs the network's layers, and this one is TorchScript.")
        if block.layer not in dict(network.named_modules()):
            raise self._refusal(f"The network has no module {block.layer!r}.")
        # MONAI's hooks must not touch the network that answers.
        self._network = OneChannel(copy.deepcopy(network)).eval()
        self._cam = GradCAM(self._network, target_layers=f"network.{block.layer}", postprocessing=torch.relu)

    def explained(self, answer: Answer, grids: Grids) -> Answer:
        """``answer`` with its heat map on the source grid, where it has a class to explain.

        Raises
        ------
        BadModel
            where the method fails on the network, or gives another shape than that of the image.
        """
        concept = self._concept(answer)
        if concept is None or not isinstance(answer, Classification | Segmentation):
            return answer
        with torch.inference_mode(mode=False), foreign("explanation", self._where):
            found = self._heat(grids.image.as_subclass(Tensor).clone()[None], concept.value)
        if found.shape[1:] != grids.image.shape[1:]:
            raise self._refusal(f"The heat map has shape {tuple(found.shape)}, the image {tuple(grids.image.shape)}.")
        # Never taken for labels, which go back by nearest neighbours: a map of zeros and ones is a map.
        placed = to_source(grids.on_source(as_prediction(found, grids.image), labels=False))[0]
        heat = np.clip(np.nan_to_num(np.asarray(placed, dtype=np.float32)), 0.0, None)
        top = float(heat.max())
        technique = GRAD_CAM if self._block.method == "grad_cam" else OCCLUSION
        return replace(answer, explanation=Explanation(concept.name, heat / top if top > 0 else heat, technique))

    def _concept(self, answer: Answer) -> Concept | None:
        """The class or structure to explain; None where nothing was found."""
        if isinstance(answer, Segmentation):
            item = next(item for item in answer.structures if item.name == self._block.of)
            return item if answer.mask(item).any() else None
        if not isinstance(answer, Classification):
            return None
        chosen = answer.likeliest
        limit = answer.thresholds[answer.classes.index(chosen)]
        holds = answer.exclusive or max(answer.scores) >= limit
        return chosen if holds and chosen.name != answer.none else None

    def _heat(self, image: Tensor, channel: int) -> Tensor:
        """The heat map of ``image`` (1, C, ...) as (1, ...), 0 or above."""
        self._network.channel = channel
        if self._block.method == "occlusion":
            return self._occlusion(image.to(self._device))
        if not isinstance(self._inferer, SlidingWindowInferer):
            return self._activation(image)[0].cpu()
        with torch.no_grad():
            found = self._inferer(image, self._activation)
        if not isinstance(found, Tensor):
            raise TypeError(f"the inferer gives a {type(found).__name__}, where a tensor is wanted")
        return found[0].cpu()

    def _activation(self, part: Tensor) -> Tensor:
        """Grad-CAM of a window or the whole image (n, C, ...) as (n, 1, ...)."""
        with torch.enable_grad():
            made: Tensor = self._cam(part.to(self._device).requires_grad_(), class_idx=0)
        return made.detach().float()

    def _occlusion(self, image: Tensor) -> Tensor:
        """By how much the output falls where a part of the image is covered."""
        sides = [min(self._block.mask, side - 1) for side in image.shape[2:]]
        occlude = OcclusionSensitivity(self._network, mask_size=sides, n_batch=AT_ONCE, verbose=False, activate=False)
        with torch.no_grad():
            whole: Tensor = self._network(image)
            covered, _ = occlude(image)
        return torch.relu(whole[0, 0] - covered.as_subclass(Tensor)[0, 0])[None].float().cpu()

    def _refusal(self, what: str) -> BadModel:
        return BadModel(what, where=self._where, todo=TODO)
