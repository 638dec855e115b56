"""Loads a bundle's network with its weights, and checks it against the bundle's contract."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import zipfile
from typing import NamedTuple

import torch
from monai.bundle.config_parser import ConfigParser
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from models.bundle import Bundle, Contract, check_weights
from models.slabs import SlabWorkflow, agree, make_workflow, use_contract
from models.workflow.config import made, read_parser
from models.workflow.confined.foreign import foreign
from pipeline.errors import BadModel
from pipeline.preprocess.recipe import Recipe

RESTORE = "Restore the bundle from its release."
LEAST_PROBABILITY = 1e-6


class SegmentedAnswer(NamedTuple):
    """The answer of `Segmenting` for N slices: class logits (N, classes) and lesion logits by pixel (N, 1, M, M)."""

    classes: Tensor
    mask: Tensor


class Segmenting(nn.Module):
    """Adds class answers to a network that only segments.

    The lesion's probability in a slice is the mean over its strongest pixels, as many as half the smallest lesion that
    counts has at the recipe's slab thickness: a few bright pixels do not make a lesion. The same pixels' shares are the
    classes'. The logits are these probabilities' logarithms.
    """

    def __init__(self, network: nn.Module, contract: Contract) -> None:
        super().__init__()
        self.network = network
        self.channels = list(contract.outputs.channels)
        recipe = contract.recipe
        pixels = contract.thresholds.lesion_mm3 / (2 * recipe.slab_mm * recipe.pixel_mm**2)
        self.strongest = min(max(1, math.ceil(pixels)), recipe.matrix**2)

    def forward(self, images: Tensor) -> SegmentedAnswer:
        logits = self.network(images).float()
        if self.channels:
            logits = logits[:, self.channels]
            share = torch.softmax(logits, dim=1)
            mask = torch.logsumexp(logits[:, :-1], dim=1, keepdim=True) - logits[:, -1:]
        else:
            mask = logits
            share = torch.cat([torch.sigmoid(mask), torch.sigmoid(-mask)], dim=1)
        where = mask.flatten(1).topk(self.strongest, dim=1).indices[:, None].expand(-1, share.shape[1], -1)
        classes = share.flatten(2).gather(2, where).mean(dim=2)
        return SegmentedAnswer(classes.clamp(min=LEAST_PROBABILITY).log(), mask)


def build(bundle: Bundle, device: torch.device) -> tuple[nn.Module, SlabWorkflow]:
    """The network of ``bundle``, as `build_network` makes it, and the workflow around it, by its configuration.

    Raises
    ------
    BadModel
        as `build_network` does, or where a part of the workflow cannot be made.
    """
    parser = _parser(bundle, device)
    return _network(bundle, parser), make_workflow(parser, bundle, device)


def build_network(bundle: Bundle) -> nn.Module:
    """The network that ``configs/inference.json`` defines (as ``network_def``), with the bundle's weights, in eval.

    The file is a MONAI configuration: it can name any class and hold expressions, so it is code. Use only bundles from
    sources whose code you would run.

    Raises
    ------
    BadModel
        where the configuration does not make a network, or the weights are not those of the contract, cannot be read
        without running code, or do not fit the network.
    """
    return _network(bundle, _parser(bundle, torch.device("cpu")))


def _network(bundle: Bundle, parser: ConfigParser) -> nn.Module:
    network = _defined(bundle, parser)
    weights = read_weights(bundle)
    try:
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise BadModel(
            f"The weights do not fit the network: {' '.join(lines[:2])[:300]}",
            where=str(bundle.weights),
            todo=RESTORE,
        ) from error
    if bundle.contract.outputs.segments:
        network = Segmenting(network, bundle.contract)
    return network.eval().requires_grad_(requires_grad=False)


def explained_layer(bundle: Bundle) -> str:
    """The module for Grad-CAM, by its name within the result of `build_network`."""
    layer = bundle.contract.grad_cam_layer
    return f"network.{layer}" if bundle.contract.outputs.segments else layer


def read_weights(bundle: Bundle) -> dict[str, Tensor]:
    """The tensors of the bundle's weights, read once, so that the checked bytes are those that are used.

    Raises
    ------
    BadModel
        where the file is missing, changed, truncated, or a pickle with more than tensors.
    """
    path = bundle.weights
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadModel("The weights of the model bundle cannot be read.", where=str(path), todo=str(error)) from error
    check_weights(hashlib.sha256(data).hexdigest(), bundle.contract, path)
    try:
        found = load(data) if path.suffix == ".safetensors" else torch.load(io.BytesIO(data), "cpu", weights_only=True)
    except SafetensorError as error:
        raise BadModel(
            "The weights are not a safetensors file.", where=str(path), todo=f"{RESTORE} ({error})"
        ) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise BadModel(
            "The weights cannot be read as tensors alone; Candela runs no code from a weights file.",
            where=str(path),
            todo="Save the network's state_dict, best as safetensors: docs/bundles.md.",
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise BadModel(
            "The weights are not a state_dict, a mapping from names to tensors.",
            where=str(path),
            todo="Save the network's state_dict alone: docs/bundles.md.",
        )
    return found


def _parser(bundle: Bundle, device: torch.device) -> ConfigParser:
    parser = read_parser(bundle.folder, device)
    use_contract(parser, bundle)
    return parser


def _defined(bundle: Bundle, parser: ConfigParser) -> nn.Module:
    where = str(bundle.inference)
    network = made(parser, "network_def", where)
    if not isinstance(network, nn.Module):
        raise BadModel("The bundle's network_def is not a torch module.", where=where, todo="Mend it.")
    repeated = parser.get("recipe")
    if repeated is not None:  # as bundles for 0.1.0 have it, with a class that has moved
        with foreign("recipe", where):
            names = [key for key in repeated if key != "_target_"]
            recipe = Recipe(**{key: parser.get_parsed_content(f"recipe::{key}") for key in names})
        agree(recipe, bundle)
    return network
