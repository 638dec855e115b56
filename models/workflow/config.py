"""A bundle's ``configs/inference.json`` (or ``.yaml``) as parts that run on volumes in memory.

MONAI's ConfigParser resolves what inference needs and nothing else: network, preprocessing, inferer, postprocessing,
and what the evaluator requires beforehand (``_requires_``). Data sets, loaders, handlers, evaluators and checkpoint
loaders stay text, so their paths and packages never matter. `models.workflow.rules` replaces what speaks of files;
``bundle_root`` and ``device`` are Candela's.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from monai.bundle.config_parser import ConfigParser
from monai.inferers.inferer import SimpleInferer
from torch import Tensor, nn

from models.metadata import MOST_BYTES
from models.workflow import rules
from models.workflow.confined.foreign import foreign
from pipeline.errors import BadModel

FILES = ("inference.json", "inference.yaml", "inference.yml")
RESTORE = "Restore the bundle from its release."
NETWORKS = ("network", "network_def")


@dataclass(frozen=True)
class Parts:
    """The parts of a bundle's workflow, made and fitted to Candela.

    ``preprocessing`` and ``postprocessing`` take and give a dict by key; None where the bundle has none. ``inferer``
    takes a batch (1, C, X, Y, Z) and ``network``, which is in eval mode on the device. ``amp``: whether the bundle runs
    in mixed precision.
    """

    network: nn.Module
    preprocessing: Any
    inferer: Any
    postprocessing: Any
    amp: bool


def inference_file(folder: Path) -> Path:
    """The bundle's inference configuration.

    Raises
    ------
    BadModel
        where there is none.
    """
    for name in FILES:
        if (folder / "configs" / name).is_file():
            return folder / "configs" / name
    raise BadModel(
        "The bundle has no inference configuration.",
        where=str(folder / "configs"),
        todo=f"A bundle holds one of {', '.join(FILES)}.",
    )


def make_parts(
    folder: Path,
    device: torch.device,
    *,
    states: Mapping[str, Mapping[str, Tensor]],
    scripted: Mapping[str, nn.Module],
) -> Parts:
    """The parts that the bundle in ``folder`` defines, with their weights.

    ``states`` are parameters and ``scripted`` TorchScript modules, by the id of the component that they belong to.

    Raises
    ------
    BadModel
        where the configuration cannot be read, makes no network, or the weights do not fit.
    """
    where = str(inference_file(folder))
    parser = read_parser(folder, device)
    for name, module in scripted.items():
        for alias in NETWORKS if name == "network" else (name,):
            parser[alias] = module
    parser.parse()
    network = made(parser, next((name for name in NETWORKS if name in parser), "network_def"), where)
    for name, state in states.items():
        load_state(network if name == "network" else made(parser, name, where), state, name, where)
    for required in _required(parser):
        made(parser, required, where)
    inferer = made(parser, "inferer", where) if "inferer" in parser else SimpleInferer()
    before, after = (
        made(parser, name, where) if name in parser else None for name in ("preprocessing", "postprocessing")
    )
    return fitted(Parts(network, before, inferer, after, amp=_amp(parser)), device, where)


def fitted(parts: Parts, device: torch.device, where: str) -> Parts:
    """``parts`` as a bundle made them, fitted to Candela (`models.workflow.rules`) and on ``device``.

    Raises
    ------
    BadModel
        where the network is no torch module.
    """
    if not isinstance(parts.network, nn.Module):
        raise BadModel("The bundle's network is no torch module.", where=where, todo=RESTORE)
    rules.fit_transforms(parts.preprocessing)
    rules.fit_transforms(parts.postprocessing)
    rules.fit_inferer(parts.inferer, device)
    return replace(parts, network=parts.network.to(device).eval())


def load_state(component: Any, state: Mapping[str, Tensor], name: str, where: str) -> None:
    """Load ``state`` into ``component``, called ``name``.

    Raises
    ------
    BadModel
        where it is no torch module, or the parameters are those of another.
    """
    if not isinstance(component, nn.Module):
        raise BadModel(f"The weights are for {name}, which is no torch module.", where=where, todo=RESTORE)
    try:
        component.load_state_dict(dict(state))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise BadModel(
            f"The weights do not fit {name}: {' '.join(lines[:2])[:300]}", where=where, todo=RESTORE
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """The text of the inference configuration, nothing resolved.

    Raises
    ------
    BadModel
        where it cannot be read.
    """
    found: dict[str, Any] = read_parser(folder, torch.device("cpu")).get()
    return found


def make_transforms(folder: Path, device: torch.device) -> tuple[Any, Any]:
    """The preprocessing and postprocessing of the bundle in ``folder`` alone, each None where it has none.

    Raises
    ------
    BadModel
        where the configuration cannot be read.
    """
    where = str(inference_file(folder))
    parser = read_parser(folder, device)
    before, after = (
        made(parser, name, where) if name in parser else None for name in ("preprocessing", "postprocessing")
    )
    rules.fit_transforms(before)
    rules.fit_transforms(after)
    return before, after


def read_parser(folder: Path, device: torch.device) -> ConfigParser:
    """The inference configuration of the bundle in ``folder``, fitted to Candela (`models.workflow.rules`).

    Raises
    ------
    BadModel
        where it cannot be read.
    """
    path = inference_file(folder)
    if path.stat().st_size > MOST_BYTES:
        raise BadModel(f"The file is larger than {MOST_BYTES:,} bytes.", where=str(path), todo=RESTORE)
    with foreign("configuration", str(path)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's own deprecated names, in older bundles
        parser = ConfigParser()
        parser.read_config(str(path))
        parser.read_meta(str(folder / "configs" / "metadata.json"))
        parser.resolve_macro_and_relative_ids()
        rules.replaced(parser.get())
        parser["bundle_root"] = str(folder)
        parser["device"] = f"$torch.device({str(device)!r})"
    return parser


def made(parser: ConfigParser, name: str, where: str) -> Any:
    """The component ``name`` of a configuration, made.

    Raises
    ------
    BadModel
        where there is none, or it cannot be made.
    """
    if name not in parser:
        raise BadModel(f"The bundle's configuration has no {name}.", where=where, todo=RESTORE)
    with foreign(name, where), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parser.get_parsed_content(name)


def _required(parser: ConfigParser) -> list[str]:
    """The components that the evaluator needs made before it runs, such as a detector's settings."""
    named = parser.get("evaluator::_requires_", [])
    listed = [named] if isinstance(named, str) else named
    return [item.removeprefix("@") for item in listed if isinstance(item, str) and item.startswith("@")]


def _amp(parser: ConfigParser) -> bool:
    named = parser.get("evaluator::amp", default=False)
    return bool(parser.get_parsed_content("evaluator::amp") if isinstance(named, str) else named)
