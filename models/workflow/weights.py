"""A bundle's weights, read once, so that what is checked against its digest is what is used."""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from models.contract import LoadedWeights
from pipeline.errors import BadModel

RESTORE = "Restore the bundle from its release."
NESTED = ("model", "state_dict", "network", "model_state_dict")
"""Keys under which training checkpoints hold the network's parameters; the first is that of MONAI's CheckpointSaver."""


def read_state(folder: Path, block: LoadedWeights) -> dict[str, Tensor]:
    """The parameters in a ``.safetensors`` or ``.pt`` file, by name.

    Raises
    ------
    BadModel
        where the file is gone, has another digest than the contract's, or is a pickle that holds more than tensors.
    """
    path = folder / block.file
    data = _checked(path, block)
    try:
        found: Any = (
            load(data) if path.suffix == ".safetensors" else torch.load(io.BytesIO(data), "cpu", weights_only=True)
        )
    except SafetensorError as error:
        raise BadModel("The weights are no safetensors file.", where=str(path), todo=f"{RESTORE} ({error})") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise BadModel(
            "The weights cannot be read as tensors alone; Candela runs no code from a weights file.",
            where=str(path),
            todo="Save the network's state_dict, best as safetensors: docs/bundles.md.",
        ) from error
    for key in NESTED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
            break
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise BadModel(
            "The weights are no state_dict, a mapping from names to tensors.",
            where=str(path),
            todo="Save the network's state_dict alone: docs/bundles.md.",
        )
    return found


def read_script(folder: Path, block: LoadedWeights, device: torch.device) -> nn.Module:
    """The TorchScript module in a ``.ts`` file: code of its own, as the bundle's configuration is.

    Raises
    ------
    BadModel
        where the file is gone, has another digest than the contract's, or is no TorchScript.
    """
    path = folder / block.file
    data = _checked(path, block)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            module: nn.Module = torch.jit.load(io.BytesIO(data), map_location=device)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise BadModel("The weights are no TorchScript.", where=str(path), todo=f"{RESTORE} ({error})") from error
    return module


def _checked(path: Path, block: LoadedWeights) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadModel("The weights of the model bundle cannot be read.", where=str(path), todo=str(error)) from error
    found = hashlib.sha256(data).hexdigest()
    if found != block.sha256:
        raise BadModel(
            f"The weights have SHA-256 {found[:12]}…, candela.json says {block.sha256[:12]}….",
            where=str(path),
            todo="Restore the weights that belong to this bundle.",
        )
    return data
