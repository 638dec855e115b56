"""A trained network as a bundle in the model zoo's form: configurations, weights, scripts and card in one folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from monai.bundle.config_parser import ConfigParser
from safetensors.torch import save_file
from torch import nn

from models.bundle import sha256
from models.contract import CANDELA
from models.workflow.installing.bundle import WorkflowBundle, read_workflow_bundle

WEIGHTS = "models/model.safetensors"
NOT_FOR_PATIENTS = (
    "It was trained on drawings that a program makes, and on nothing else. It says nothing about patients and must not "
    "be used on them. It shows how a bundle of its form is built, installed and run."
)


@dataclass(frozen=True)
class Example:
    """What an example bundle consists of, without its weights.

    ``inference`` and ``contract`` are the contents of ``inference.json`` and ``candela.json`` (without its weights),
    ``described`` is MONAI's ``network_data_format``. ``card`` is the model card; ``{figures}`` stands for what was
    measured. ``scripts`` are Python files of the bundle by their path in it.
    """

    title: str
    task: str
    inference: Mapping[str, Any]
    described: Mapping[str, Any]
    contract: Mapping[str, Any]
    card: str
    scripts: Mapping[str, str] = field(default_factory=dict)


def write(example: Example, folder: Path, network: nn.Module, figures: str = "not measured") -> WorkflowBundle:
    """Write ``example`` with the weights of ``network`` to ``folder``, over what an earlier run left there.

    ``figures`` are the lines of the model card that say what was measured. Returns the bundle as `candela models add`
    would read it.

    Raises
    ------
    BadModel
        where the files contradict each other.
    """
    for name in ("configs", "docs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    weights = folder / WEIGHTS
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, weights)
    weights.chmod(0o644)  # safetensors writes for the owner alone
    for path, text in example.scripts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    contract = {"contract": 2, **example.contract, "weights": [{"file": WEIGHTS, "sha256": sha256(weights)}]}
    _json(folder / CANDELA, contract)
    _json(folder / "configs" / "inference.json", example.inference)
    _json(folder / "configs" / "metadata.json", _metadata(example))
    (folder / "docs" / "README.md").write_text(example.card.replace("{figures}", figures))
    return read_workflow_bundle(folder)


def component(definition: Mapping[str, Any]) -> nn.Module:
    """The network of MONAI's that ``definition``, as in inference.json, names; its weights are random."""
    made: nn.Module = ConfigParser({"network": dict(definition)}).get_parsed_content("network")
    return made


def inference(
    network: Mapping[str, Any],
    *,
    before: Sequence[Mapping[str, Any]],
    inferer: Mapping[str, Any],
    after: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The content of inference.json: the definition of the network, steps ``before`` and ``after`` it, the inferer."""
    return {
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "preprocessing": transforms(*before),
        "inferer": inferer,
        "postprocessing": transforms(*after),
    }


def transforms(*steps: Mapping[str, Any]) -> dict[str, Any]:
    """A MONAI Compose of ``steps`` as a configuration."""
    return {"_target_": "Compose", "transforms": list(steps)}


def step(target: str, keys: str, **more: Any) -> dict[str, Any]:
    """A MONAI dictionary transform as a configuration."""
    return {"_target_": target, "keys": keys, **more}


def _metadata(example: Example) -> dict[str, Any]:
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": "1.0.0",
        "changelog": {"1.0.0": "first version"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {},
        "name": example.title,
        "task": example.task,
        "description": NOT_FOR_PATIENTS,
        "authors": "Candela",
        "copyright": "Apache-2.0, as Candela",
        "data_source": "drawings made by models/training/examples",
        "data_type": "computed",
        "intended_use": "A worked example. Not for diagnosis, and not for images of patients.",
        "network_data_format": example.described,
    }


def _json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
