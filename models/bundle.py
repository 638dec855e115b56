"""A model as files: a MONAI bundle whose ``metadata.json`` holds a contract that Candela enforces.

This module needs no torch: the receiver reads digests and must start quickly.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

from models.agreement import Outputs, check_agreement, outputs
from models.contract import CANDELA, read_contract
from models.installed import check_packages
from models.metadata import TODO, AnatomyBlock, CodeBlock, Metadata, TermBlock, read_metadata
from models.migrate import contract_1
from pipeline.errors import BadModel
from pipeline.findings.codes import ClassTerm, Code, class_term
from pipeline.findings.identity import ANSWER_REVISION
from pipeline.findings.model import ModelIdentity, Needs
from pipeline.preprocess.recipe import Recipe
from pipeline.routing.protocol import ProtocolContract

METADATA = Path("configs/metadata.json")
INFERENCE = Path("configs/inference.json")
CARD = Path("docs/README.md")


@dataclass(frozen=True)
class Thresholds:
    """The limits between answers.

    ``mask``: probability from which a pixel is lesion. ``finding``, ``no_finding``: series probability of a tumour from
    which there is a finding, and below which there is none; between them the answer is indeterminate. ``lesion_mm3``:
    smallest region that counts. ``head``: median probability, over the slices, of "this is a head" below which a series
    is refused; None for a network without a head output. ``head_mm``: least and largest width in mm of the object.
    """

    mask: float
    finding: float
    no_finding: float
    lesion_mm3: float
    head: float | None
    head_mm: tuple[float, float]


@dataclass(frozen=True)
class Anatomy:
    """A second test of whether a series shows a head, independent of the network (see `models.anatomy`).

    ``skull``: share of the outline from which scalp and skull surround it, below which a series is refused.
    ``distance``: from heads, in the space of an encoder of photographs, above which a series is refused. ``file`` holds
    that encoder and its statistics of heads, ``sha256`` is its digest.
    """

    file: Path
    sha256: str
    skull: float
    distance: float


@dataclass(frozen=True)
class Contract:
    """The checked content of a model's ``metadata.json``.

    ``classes`` are in the order of the answer, ``terms`` are their names; the last class, ``none``, means "no lesion".
    ``target`` is the code of what the model looks for, ``procedure`` that of the procedure that reports name where the
    study has none. ``outputs`` describes the network's outputs. ``needs`` are the conditions of a negative answer.
    ``temperature`` divides the class logits. ``grad_cam_layer`` is the network's module for Grad-CAM. ``weights`` is
    the file within the bundle, ``sha256`` its digest. ``anatomy`` is None where a bundle has no second test.
    """

    title: str
    version: str
    classes: tuple[str, ...]
    none: str
    terms: tuple[ClassTerm, ...]
    target: Code
    procedure: Code
    protocol: ProtocolContract
    recipe: Recipe
    outputs: Outputs
    thresholds: Thresholds
    needs: Needs
    temperature: float
    bf16_on_cpu: bool
    grad_cam_layer: str
    weights: Path
    sha256: str
    anatomy: Anatomy | None = None


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: complete, with the weights of the contract.

    ``digest`` is a SHA-256 (hex) over metadata, inference configuration, weights and
    `pipeline.findings.identity.ANSWER_REVISION`. ``notes`` are remarks for the administrator that do not prevent its
    use.
    """

    folder: Path
    contract: Contract
    digest: str
    notes: tuple[str, ...] = ()

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
            terms=self.contract.terms,
            target=self.contract.target,
            needs=self.contract.needs,
            procedure=self.contract.procedure,
        )


def read_bundle(folder: Path) -> Bundle:
    """The bundle in ``folder``, verified.

    Raises
    ------
    BadModel
        where a file is absent or unreadable, metadata.json lacks a field or contradicts itself or the installed
        packages, or the weights have another SHA-256; naming the file and the field.
    """
    for part in (METADATA, INFERENCE, CARD):
        if not (folder / part).is_file():
            raise BadModel("A file of the model bundle is missing.", where=str(folder / part), todo=TODO)
    moved = [CANDELA] if (folder / CANDELA).is_file() else []
    metadata = _metadata(folder)
    check_agreement(metadata, folder / METADATA)
    notes = check_packages(metadata, folder / METADATA)
    contract = _contract(metadata)
    path = folder / contract.weights
    if not path.is_file():
        raise BadModel("The weights of the model bundle are missing.", where=str(path), todo=TODO)
    check_weights(sha256(path), contract, path)
    parts = [METADATA, INFERENCE, contract.weights, *moved]
    if contract.anatomy:
        _check_anatomy(contract.anatomy, folder)
        parts.append(contract.anatomy.file)
    whole = hashlib.sha256()
    for part in parts:
        whole.update(f"{part.as_posix()} {sha256(folder / part)}\n".encode())
    whole.update(f"answer revision {ANSWER_REVISION}\n".encode())
    return Bundle(folder, contract, whole.hexdigest(), notes)


def read_recipe(folder: Path) -> Recipe:
    """The preprocessing that the contract of the bundle in ``folder`` names; nothing else of the bundle is checked.

    Raises
    ------
    BadModel
        where metadata.json or candela.json cannot be read or misstates a field.
    """
    return Recipe(**vars(_metadata(folder).candela.recipe))


def _metadata(folder: Path) -> Metadata:
    """The bundle's metadata.json, with the block of candela.json where there is one."""
    moved = (folder / CANDELA).is_file()
    return read_metadata(folder / METADATA, contract_1(read_contract(folder / CANDELA)) if moved else None)


def _check_anatomy(anatomy: Anatomy, folder: Path) -> None:
    path = folder / anatomy.file
    if not path.is_file():
        raise BadModel("The weights of the anatomy test are missing.", where=str(path), todo=TODO)
    if sha256(path) != anatomy.sha256:
        raise BadModel(
            "The weights of the anatomy test are not those of metadata.json.",
            where=str(path),
            todo="Restore the weights that belong to this bundle.",
        )


def check_weights(found: str, contract: Contract, path: Path) -> None:
    """Refuse weights whose SHA-256 ``found`` is not that of the contract."""
    if found != contract.sha256:
        raise BadModel(
            f"The weights have SHA-256 {found[:12]}…, metadata.json says {contract.sha256[:12]}….",
            where=str(path),
            todo="Restore the weights that belong to this bundle.",
        )


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, cached until its size or modification time changes.

    Raises
    ------
    BadModel
        where the file cannot be read.
    """
    try:
        stat = path.stat()
        return _sha256(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise BadModel("A file of the model bundle cannot be read.", where=str(path), todo=str(error)) from error


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _contract(metadata: Metadata) -> Contract:
    """The domain values of a checked file."""
    block = metadata.candela
    limits = block.thresholds
    return Contract(
        title=block.title,
        version=metadata.version,
        classes=block.classes,
        none=block.none,
        terms=tuple(_term(name, block.codes.get(name)) for name in block.classes),
        target=_code(block.target),
        procedure=_code(block.procedure),
        protocol=ProtocolContract(
            modality=block.modality,
            body_parts=block.body_parts,
            weightings=block.weightings,
            contrast_expected=block.contrast_expected,
        ),
        recipe=Recipe(**vars(block.recipe)),
        outputs=outputs(metadata),
        thresholds=Thresholds(**vars(limits)),
        needs=Needs(block.coverage_mm, block.spacing_mm),
        temperature=block.temperature,
        bf16_on_cpu=block.bf16_on_cpu,
        grad_cam_layer=block.grad_cam_layer,
        weights=Path(block.weights.file),
        sha256=block.weights.sha256,
        anatomy=_anatomy(block.anatomy),
    )


def _anatomy(block: AnatomyBlock | None) -> Anatomy | None:
    if block is None:
        return None
    return Anatomy(Path(block.file), block.sha256, block.skull, block.distance)


def _code(block: CodeBlock) -> Code:
    return Code(block.value, block.scheme, block.meaning)


def _term(name: str, block: TermBlock | None) -> ClassTerm:
    usual = class_term(name)
    if block is None:
        return usual
    return ClassTerm(
        name=name,
        title=block.title or usual.title,
        code=_code(block),
        site=_code(block.site) if block.site else usual.site,
    )
