"""A model as files: a MONAI bundle whose ``metadata.json`` holds a contract that Candela enforces.

No torch here: the receiver asks for digests and must start quickly.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import BadModel
from pipeline.findings import ModelIdentity
from pipeline.preprocess_recipe import Recipe
from pipeline.protocol import ProtocolContract

METADATA = Path("configs/metadata.json")
INFERENCE = Path("configs/inference.json")
CARD = Path("docs/README.md")
CONTRACT_VERSION = 1
WHAT_DECIDES = (
    "pipeline/preprocess.py",
    "pipeline/preprocess_recipe.py",
    "models/networks.py",
    "models/runtime.py",
    "models/series.py",
    "models/explain.py",
)
"""Source files that an answer depends on besides the bundle; their text is part of every model's digest."""
TODO = "Restore the bundle from its release, or mend the file."


@dataclass(frozen=True)
class Thresholds:
    """Where answers change.

    ``mask``: probability from which a pixel is lesion. ``finding``, ``no_finding``: series probability of a tumour from
    which there is a finding, and below which there is none; between them the answer is indeterminate. ``lesion_mm3``:
    smallest region that counts. ``head``: median probability, over the slices, of "this is a head" below which a
    series is refused. ``head_mm``: least and largest width in mm of what stands out from the background.
    """

    mask: float
    finding: float
    no_finding: float
    lesion_mm3: float
    head: float
    head_mm: tuple[float, float]


@dataclass(frozen=True)
class Contract:
    """The ``candela`` block of ``metadata.json``.

    ``classes`` in the order of the network's output; ``none`` is the one that says "no lesion". ``temperature`` divides
    the class logits. ``weights`` is the file within the bundle, ``sha256`` its digest.
    """

    title: str
    version: str
    classes: tuple[str, ...]
    none: str
    protocol: ProtocolContract
    recipe: Recipe
    thresholds: Thresholds
    temperature: float
    bf16_on_cpu: bool
    weights: Path
    sha256: str


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and verified: complete, and its weights are those of the contract."""

    folder: Path
    contract: Contract
    digest: str

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def weights(self) -> Path:
        return self.folder / self.contract.weights

    @property
    def inference(self) -> Path:
        return self.folder / INFERENCE

    @property
    def identity(self) -> ModelIdentity:
        limits = self.contract.thresholds
        return ModelIdentity(
            name=self.name,
            title=self.contract.title,
            version=self.contract.version,
            digest=self.digest,
            parameters=(
                f"mask threshold={limits.mask:g}",
                f"finding from={limits.finding:g}",
                f"no finding below={limits.no_finding:g}",
                f"smallest lesion={limits.lesion_mm3:g} mm3",
                f"temperature={self.contract.temperature:g}",
            ),
        )


def read_bundle(folder: Path) -> Bundle:
    """The bundle in ``folder``, verified.

    Raises
    ------
    BadModel
        where a file is absent or unreadable, the contract lacks a field or contradicts itself, or the weights have
        another SHA-256 than the contract says; naming the file.
    """
    for part in (METADATA, INFERENCE, CARD):
        if not (folder / part).is_file():
            raise BadModel("A file of the model bundle is missing.", where=str(folder / part), todo=TODO)
    contract = _contract(folder / METADATA)
    path = folder / contract.weights
    if not path.is_file():
        raise BadModel("The weights of the model bundle are missing.", where=str(path), todo=TODO)
    found = sha256(path)
    if found != contract.sha256:
        raise BadModel(
            f"The weights have SHA-256 {found[:12]}…, metadata.json says {contract.sha256[:12]}….",
            where=str(path),
            todo="Restore the weights that belong to this bundle.",
        )
    whole = hashlib.sha256()
    for part in (METADATA, INFERENCE, contract.weights):
        whole.update(f"{part.as_posix()} {sha256(folder / part)}\n".encode())
    whole.update(code_digest().encode())
    return Bundle(folder, contract, whole.hexdigest())


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes; remembered until its size or time of change differs."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@functools.cache
def code_digest() -> str:
    """SHA-256 over the source files that an answer depends on."""
    root = Path(__file__).parents[1]
    return hashlib.sha256("\n".join(sha256(root / part) for part in WHAT_DECIDES).encode()).hexdigest()


def _contract(path: Path) -> Contract:
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
        block = raw["candela"]
        if block["contract"] != CONTRACT_VERSION:
            raise BadModel(
                f"The contract is version {block['contract']}; this Candela reads version {CONTRACT_VERSION}.",
                where=str(path),
                todo="Use a bundle made for this version.",
            )
        limits = dict(block["thresholds"])
        contract = Contract(
            title=str(block["title"]),
            version=str(raw["version"]),
            classes=tuple(block["classes"]),
            none=str(block["none"]),
            protocol=ProtocolContract(
                modality=str(block["modality"]),
                body_parts=tuple(block["body_parts"]),
                weightings=tuple(block["weightings"]),
                contrast_expected=bool(block["contrast_expected"]),
            ),
            recipe=Recipe(**block["recipe"]),
            thresholds=Thresholds(**{**limits, "head_mm": tuple(limits["head_mm"])}),
            temperature=float(block["temperature"]),
            bf16_on_cpu=bool(block["bf16_on_cpu"]),
            weights=Path(block["weights"]["file"]),
            sha256=str(block["weights"]["sha256"]),
        )
        outputs = raw["network_data_format"]["outputs"]["classes"]["num_channels"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadModel("metadata.json cannot be read.", where=str(path), todo=f"{TODO} ({error})") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadModel(f"metadata.json lacks or misstates a field: {error}.", where=str(path), todo=TODO) from error
    _check(contract, outputs, path)
    return contract


def _check(contract: Contract, outputs: object, path: Path) -> None:
    """Refuse a contract that contradicts itself."""
    limits = contract.thresholds
    wrong = {
        "classes repeat or are fewer than two": len(set(contract.classes)) < max(2, len(contract.classes)),
        "'none' is not the last class": contract.classes[-1:] != (contract.none,),
        "network_data_format names another number of classes": outputs != len(contract.classes),
        "thresholds are not 0 < no_finding <= finding < 1": not 0 < limits.no_finding <= limits.finding < 1,
        "the temperature is not above 0": not contract.temperature > 0,
        "the matrix is no multiple of 16": contract.recipe.matrix <= 0 or contract.recipe.matrix % 16 != 0,
        "sha256 is not 64 hex digits": not re.fullmatch(r"[0-9a-f]{64}", contract.sha256),
        "the weights lie outside of the bundle": contract.weights.is_absolute() or ".." in contract.weights.parts,
    }
    for what, is_so in wrong.items():
        if is_so:
            raise BadModel(f"The bundle's contract cannot be: {what}.", where=str(path), todo=TODO)
