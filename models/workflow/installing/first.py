"""The first candela block of a bundle, from what MONAI's metadata and its own postprocessing say; nothing is guessed.

Codes are left out (a private one stands until an administrator fills it in). Channels that the field names T1, T1c, T2
or FLAIR get the rule that chooses their series. What labels the postprocessing gives is tried out: it is fed images of
one class each, and what comes out is looked at.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose

from models.bundle import METADATA
from models.workflow import rules
from models.workflow.config import make_transforms, read_config
from models.workflow.confined.foreign import foreign
from models.workflow.confined.guard import run_guarded
from models.workflow.confined.scripts import Scripts
from models.workflow.installing.bundle import read_json
from models.workflow.installing.series_names import series_rules
from pipeline.errors import BadModel
from pipeline.findings.model import AnswerKind
from pipeline.ports import Progress

MODALITIES = {
    "MR": "MR",
    "MRI": "MR",
    "CT": "CT",
    "PT": "PT",
    "PET": "PT",
    "MG": "MG",
    "MAMMOGRAM": "MG",
    "MAMMOGRAPHY": "MG",
    "DX": "DX",
    "CR": "CR",
    "X-RAY": "DX",
    "XRAY": "DX",
}
"""DICOM's Modality for what bundles write."""
PROJECTIONS = ("MG", "DX", "CR")
WEIGHTS = ("models/model.safetensors", "models/model.pt", "models/model.ts")
SURE = 20.0
"""A logit that softmax and sigmoid turn into certainty, and -SURE into the contrary."""
MOST_COMBINED = 4
"""Channels up to which every combination of them is tried; with more, each alone."""
TODO = "Write configs/candela.json by hand: docs/bundles.md."


def first_contract(folder: Path, *, modality: str | None = None, kind: AnswerKind | None = None) -> dict[str, Any]:
    """The content of ``configs/candela.json`` for the bundle in ``folder``.

    ``modality`` and ``kind`` are the administrator's, where the metadata do not tell.

    Raises
    ------
    BadModel
        where the metadata do not say what is needed, there are no weights, or the postprocessing gives neither labels
        nor probabilities; naming what is missing.
    """
    try:
        return _first(folder, modality, kind)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # a publisher's file may hold anything
        raise _refusal(
            f"metadata.json is not as MONAI describes it ({type(error).__name__}: {error}).", folder
        ) from error


def _first(folder: Path, modality: str | None, kind: AnswerKind | None) -> dict[str, Any]:
    metadata = read_json(folder / METADATA)
    described = metadata.get("network_data_format")
    if not isinstance(described, dict) or not described.get("inputs") or not described.get("outputs"):
        raise _refusal("metadata.json has no network_data_format with inputs and outputs.", folder)
    inputs, output = described["inputs"], next(iter(described["outputs"].values()))
    stated = modality or next(iter(inputs.values())).get("modality", "")
    taken = MODALITIES.get(str(stated).upper().strip())
    if taken is None:
        raise BadModel(
            f"metadata.json names the modality {str(stated)[:30]!r}, which DICOM does not define.",
            where=str(folder / METADATA),
            todo=f"Say which it is: --modality {', '.join(sorted(set(MODALITIES.values())))}.",
        )
    config = read_config(folder)
    found = kind or _kind(config, output)
    return {
        "contract": 2,
        "title": _plain(str(metadata.get("name") or folder.name)),
        "answer": _answer(found, folder, config, output, axes=2 if taken in PROJECTIONS else 3),
        "inputs": [_input(key, block, taken) for key, block in inputs.items()],
        "scope": {"modalities": [taken]},
        "report": {},
        "weights": [_weights(folder)],
    }


def _kind(config: dict[str, Any], output: dict[str, Any]) -> AnswerKind:
    if "detector" in config or output.get("type") == "object":
        return AnswerKind.DETECTION
    shape = output.get("spatial_shape") or []
    whole = all(isinstance(side, int) for side in shape)
    row = whole and int(torch.tensor(shape or [1]).prod()) in (1, output.get("num_channels"))
    if output.get("type") == "probabilities" or row or not shape:
        return AnswerKind.CLASSIFICATION
    return AnswerKind.SEGMENTATION


def _answer(
    kind: AnswerKind, folder: Path, config: dict[str, Any], output: dict[str, Any], *, axes: int
) -> dict[str, Any]:
    channels = int(output.get("num_channels") or 1)
    named = {int(key): str(name) for key, name in (output.get("channel_def") or {}).items() if str(key).isdigit()}
    match kind:
        case AnswerKind.SEGMENTATION:
            return {"kind": kind.value, **_segmentation(folder, channels, named, axes)}
        case AnswerKind.CLASSIFICATION:
            classes = _concepts({index: named.get(index, f"class {index}") for index in range(channels)})
            return {"kind": kind.value, "exclusive": channels > 1, "classes": classes}
        case AnswerKind.DETECTION:
            count = config.get("num_classes")
            labels = range(count if isinstance(count, int) else channels)
            classes = _concepts({index: named.get(index, f"label {index}") for index in labels})
            return {"kind": kind.value, "score": 0.5, "classes": classes}
        case AnswerKind.LESION:
            raise _refusal("A network that is read slab after slab has a contract of its own.", folder)
        case AnswerKind.REGRESSION:
            raise _refusal("No field of metadata.json says what a network's numbers mean, nor their units.", folder)


def _input(key: str, block: dict[str, Any], modality: str) -> dict[str, Any]:
    count = int(block.get("num_channels") or 1)
    named = block.get("channel_def") or {}
    names = [str(named.get(str(index), f"channel {index}")) for index in range(count)]
    grey = count > 1 and len(named) == 1
    names = names[:1] if grey else names
    several = modality == "MR" and len(names) > 1
    rules_of = series_rules(names) if several else [{} for _ in names]
    made: dict[str, Any] = {
        "key": key,
        "kind": "projection" if modality in PROJECTIONS else "volume",
        "channels": [
            {"name": item["name"], **rule}
            for item, rule in zip(_concepts(dict(enumerate(names))), rules_of, strict=True)
        ],
    }
    return {**made, "repeat": count} if grey else made


def _segmentation(folder: Path, channels: int, named: dict[int, str], axes: int) -> dict[str, Any]:
    """Form and structures of what the postprocessing gives for images of one class, or combination of classes, each."""
    outputs = _tried(folder, channels, axes)
    shapes = {found.shape[0] for found in outputs.values()}
    if len(shapes) != 1:
        raise _refusal("The bundle's postprocessing gives now one number of channels, now another.", folder)
    given = shapes.pop()
    if given == 1:
        values = {combination: float(found.flatten()[0]) for combination, found in outputs.items()}
        if any(value != round(value) or not 0 <= value <= 255 for value in values.values()):
            raise _refusal("The bundle's postprocessing gives one channel of values that are no labels.", folder)
        return {"form": "labels", "structures": _labels({key: int(value) for key, value in values.items()}, named)}
    if any(bool(((found < 0) | (found > 1)).any()) for found in outputs.values()):
        raise _refusal("The bundle's postprocessing gives neither labels nor probabilities.", folder)
    structures = {index: named.get(index, f"channel {index}") for index in range(given)}
    return {
        "form": "channels",
        "channels": given,
        "structures": _concepts({index: name for index, name in structures.items() if name.lower() != "background"}),
    }


def _labels(values: dict[tuple[int, ...], int], named: dict[int, str]) -> list[dict[str, Any]]:
    """Structures by label. A label has its channel's name only where every label is the number of its channel (argmax),
    or there is a single channel: other maps mix channels, and only the publisher knows what a mixture is called.
    """
    if len(named) == 1 and set(values.values()) <= {0, 1}:
        return _concepts({1: next(iter(named.values()))})
    alone = {combination[0]: label for combination, label in values.items() if len(combination) == 1}
    plain = all(channel == label for channel, label in alone.items())
    labels = sorted(set(alone.values() if plain else values.values()) - {0})
    return _concepts({label: named.get(label, f"label {label}") if plain else f"label {label}" for label in labels})


def _tried(folder: Path, channels: int, axes: int) -> dict[tuple[int, ...], torch.Tensor]:
    """What the postprocessing gives for images in which certain channels, and no others, are on everywhere."""

    def tried(_tell: Progress) -> dict[tuple[int, ...], torch.Tensor]:
        with Scripts(folder).importable(), torch.inference_mode(), foreign("postprocessing", str(folder)):
            _, after = make_transforms(folder, torch.device("cpu"))
            chain = Compose(rules.still(after))
            results = {}
            for combination in _combinations(channels):
                image = torch.full((channels, *[4] * axes), -SURE)
                image[list(combination)] = SURE
                made = chain({"pred": MetaTensor(image), "image": MetaTensor(torch.zeros(1, *[4] * axes))})["pred"]
                results[combination] = torch.as_tensor(made).as_subclass(torch.Tensor)
        return results

    return run_guarded(tried, str(folder))


def _combinations(channels: int) -> Iterable[tuple[int, ...]]:
    if channels > MOST_COMBINED:
        return [(), *((index,) for index in range(channels))]
    bits = product((False, True), repeat=channels)
    return [tuple(index for index, on in enumerate(combination) if on) for combination in bits]


def _weights(folder: Path) -> dict[str, str]:
    found = [name for name in WEIGHTS if (folder / name).is_file()]
    if not found:
        raise BadModel(
            f"The bundle has no weights: none of {', '.join(WEIGHTS)} is there.",
            where=str(folder),
            todo="Fetch them (large_files.yml says from where: `python -m monai.bundle download_large_files`).",
        )
    with (folder / found[0]).open("rb") as stream:
        return {"file": found[0], "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def _concepts(named: dict[int, str]) -> list[dict[str, Any]]:
    """Concept blocks by value, their names made fit and distinct."""
    taken: set[str] = set()
    blocks = []
    for value, title in named.items():
        plain = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
        plain = plain if re.match(r"[a-z]", plain) else f"n{plain}"
        name = plain[:32].rstrip("_")
        while name in taken:
            name = f"{plain[: 31 - len(str(value))]}_{value}"
        taken.add(name)
        blocks.append({"value": value, "name": name, "title": _plain(title)})
    return blocks


def _plain(text: str) -> str:
    """``text`` as a title: printable ASCII without backslash, up to 64 characters."""
    return re.sub(r"[^ -\[\]-~]", "?", text).strip()[:64].strip() or "Untitled"


def _refusal(what: str, folder: Path) -> BadModel:
    return BadModel(what, where=str(folder), todo=TODO)
