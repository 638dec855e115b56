"""A bundle of contract 2 as files: any MONAI bundle with a ``configs/candela.json``. No torch here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.bundle import METADATA, sha256
from models.contract import (
    CANDELA,
    ClassificationBlock,
    ConceptBlock,
    Contract2,
    DetectionBlock,
    SegmentationBlock,
    StructureBlock,
    UnitBlock,
    concepts,
    read_contract,
)
from models.installed import check_packages
from models.metadata import CodeBlock, Packages, field_problems, read_json_text
from pipeline.errors import BadModel
from pipeline.findings.answers import Concept
from pipeline.findings.codes import DIAGNOSTIC_IMAGING_STUDY, FINDING, PRIVATE_SCHEME, ClassTerm, Code
from pipeline.findings.identity import ANSWER_REVISION
from pipeline.findings.model import AnswerKind, ModelIdentity, Needs
from pipeline.routing.channels import Channel
from pipeline.routing.scope import Scope
from pipeline.routing.views import ViewRule

TODO = "Restore the bundle from its release."


@dataclass(frozen=True)
class WorkflowBundle:
    """A bundle whose own workflow is run: complete, and its weights are those of its contract.

    ``digest`` is a SHA-256 (hex) over the files in ``configs``, every Python file, the weights and
    `pipeline.findings.identity.ANSWER_REVISION`. ``notes`` are what an administrator should know and what does not
    stop it.
    """

    folder: Path
    contract: Contract2
    version: str
    digest: str
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def kind(self) -> AnswerKind:
        return self.contract.answer.kind

    @property
    def scope(self) -> Scope:
        """Which series the bundle takes."""
        block = self.contract.scope
        return Scope(
            modalities=block.modalities,
            body_parts=block.body_parts,
            weightings=block.weightings,
            views=block.views,
            contrast_expected=block.contrast_expected,
            projection=bool(self._views),
            intents=block.intents,
            rules=self._views,
        )

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What each channel takes, where the bundle reads several series of a study; empty for other bundles."""
        blocks = self.contract.channels
        if len(blocks) < 2 or any(item.kind == "projection" for item in self.contract.inputs):
            return ()
        return tuple(Channel(block.name, block.weightings, block.contrast, block.description) for block in blocks)

    @property
    def view_rules(self) -> tuple[ViewRule, ...]:
        """Which radiograph fills each channel, where the bundle reads several of a study; empty for other bundles."""
        whole = len(self._views) == len(self.contract.channels)
        return self._views if whole and len(self._views) > 1 else ()

    @property
    def _views(self) -> tuple[ViewRule, ...]:
        films = {
            channel.name for item in self.contract.inputs if item.kind == "projection" for channel in item.channels
        }
        channels = (channel for channel in self.contract.channels if channel.name in films)
        return tuple(ViewRule(channel.name, channel.views, channel.laterality) for channel in channels)

    @property
    def concepts(self) -> tuple[Concept, ...]:
        """The structures, classes or quantities of the answer, coded."""
        return tuple(concept(block) for block in concepts(self.contract.answer))

    @property
    def identity(self) -> ModelIdentity:
        report, scope = self.contract.report, self.contract.scope
        site = code(report.body_part) if report.body_part else None
        return ModelIdentity(
            name=self.name,
            title=self.contract.title,
            version=self.version,
            digest=self.digest,
            terms=tuple(ClassTerm(item.name, item.title, item.code, site, item.category) for item in self.concepts),
            target=self._target,
            needs=Needs(scope.coverage_mm, scope.spacing_mm),
            kind=self.kind,
            procedure=code(report.procedure) if report.procedure else DIAGNOSTIC_IMAGING_STUDY,
            body_part=next(iter(scope.body_parts), ""),
            projection=self.scope.projection,
        )

    @property
    def _target(self) -> Code | None:
        """What the model looks for; None for one that measures."""
        answer = self.contract.answer
        match answer:
            case ClassificationBlock():
                seeks = answer.none is not None or not answer.exclusive
            case DetectionBlock():
                seeks = True
            case SegmentationBlock():
                seeks = self.contract.report.target is not None
            case _:
                seeks = False
        if not seeks:
            return None
        if self.contract.report.target is not None:
            return code(self.contract.report.target)
        sought = [item for item in self.concepts if item.name != getattr(answer, "none", None)]
        return sought[0].code if len(sought) == 1 else FINDING


def read_workflow_bundle(folder: Path) -> WorkflowBundle:
    """The bundle in ``folder``, verified.

    Raises
    ------
    BadModel
        where a file is absent or unreadable, a field is absent or wrong, a package is absent, or the weights have
        another SHA-256 than candela.json says; naming the file and the field.
    """
    contract = read_contract(folder / CANDELA)
    packages = read_packages(folder / METADATA)
    notes = check_packages(packages, folder / METADATA)
    for block in contract.weights:
        path = folder / block.file
        if not path.is_file():
            raise BadModel("The weights of the model bundle are missing.", where=str(path), todo=TODO)
        if sha256(path) != block.sha256:
            raise BadModel(
                f"The weights have SHA-256 {sha256(path)[:12]}…, candela.json says {block.sha256[:12]}….",
                where=str(path),
                todo="Restore the weights that belong to this bundle.",
            )
    whole = hashlib.sha256()
    for path in _parts(folder, contract):
        whole.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    whole.update(f"answer revision {ANSWER_REVISION}\n".encode())
    return WorkflowBundle(folder, contract, packages.version, whole.hexdigest(), notes)


def read_packages(path: Path) -> Packages:
    """MONAI's fields of version and packages in metadata.json.

    Raises
    ------
    BadModel
        where the file cannot be read, or lacks one of them.
    """
    try:
        return Packages.model_validate(read_json(path))
    except ValidationError as error:
        raise BadModel(
            f"metadata.json lacks or misstates a field: {field_problems(error)}.", where=str(path), todo=TODO
        ) from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises
    ------
    BadModel
        where the file cannot be read, or holds something else.
    """
    _, found = read_json_text(path, TODO)
    if not isinstance(found, dict):
        raise BadModel(f"{path.name} holds no JSON object.", where=str(path), todo=TODO)
    return found


def concept(block: ConceptBlock) -> Concept:
    """What ``block`` names, with a private code where it gives none."""
    title = block.title or block.name.replace("_", " ").capitalize()
    category = block.category if isinstance(block, StructureBlock) else None
    return Concept(
        value=block.value,
        name=block.name,
        title=title,
        code=code(block.code) if block.code else Code(block.name[:16], PRIVATE_SCHEME, title),
        category=code(category) if category else None,
    )


def code(block: CodeBlock | UnitBlock) -> Code:
    """The domain's code of ``block``."""
    return Code(block.value, block.scheme, block.meaning)


def _parts(folder: Path, contract: Contract2) -> list[Path]:
    configs = (path for path in (folder / "configs").iterdir() if path.is_file() and path.name[0] != ".")
    weights = (folder / block.file for block in contract.weights)
    return sorted({*configs, *folder.rglob("*.py"), *weights})
