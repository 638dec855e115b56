"""Loads a bundle's network with its weights, and checks it against the bundle's contract."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import warnings
import zipfile
from typing import Any, NamedTuple

import torch
from monai.bundle.config_parser import ConfigParser
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from models.bundle import Bundle, Contract, check_weights
from models.metadata import MOST_BYTES
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
    network = _defined(bundle)
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


def _defined(bundle: Bundle) -> nn.Module:
    where = str(bundle.inference)
    if bundle.inference.stat().st_size > MOST_BYTES:
        raise BadModel(f"The file is larger than {MOST_BYTES:,} bytes.", where=where, todo=RESTORE)
    try:
        parser = ConfigParser()
        parser.read_config(str(bundle.inference))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            network: Any = parser.get_parsed_content("network_def")
            recipe = _recipe(parser) or bundle.contract.recipe
    except Exception as error:  # the configuration is code and may raise anything
        raise BadModel("The bundle's configuration makes no network.", where=where, todo=f"Mend it: {error}") from error
    if not isinstance(network, nn.Module):
        raise BadModel("The bundle's network_def is not a torch module.", where=where, todo="Mend it.")
    if recipe != bundle.contract.recipe:
        raise BadModel(
            "inference.json and metadata.json name different preprocessing.", where=where, todo="Make them equal."
        )
    return network


def _recipe(parser: ConfigParser) -> Recipe | None:
    """The preprocessing that the configuration repeats, or None. The class that it names is ignored: bundles for
    release 0.1.0 name one that has moved.
    """
    named = parser.get("recipe")
    if named is None:
        return None
    return Recipe(**{key: parser.get_parsed_content(f"recipe::{key}") for key in named if key != "_target_"})
