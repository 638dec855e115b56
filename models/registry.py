"""The installed models: those that ship and those in an administrator's folders. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from models.bundle import CARD, METADATA, Bundle, read_bundle
from models.contract import CANDELA, read_contract
from models.workflow.installing.bundle import WorkflowBundle, read_workflow_bundle
from pipeline.caveats import Caveat
from pipeline.errors import BadModel, BadSettings
from pipeline.findings.model import AnswerKind, ModelIdentity
from pipeline.routing.channels import Channel
from pipeline.routing.rules import Rule
from pipeline.routing.selection import Takes
from pipeline.routing.views import ViewRule

SHIPPED = Path(__file__).parent / "bundles"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""A bundle's name is typed in settings and commands, and written into every result (a Long String, PS3.5 6.2)."""


@dataclass(frozen=True)
class RegisteredModel:
    """One model: its registry name, version, digest (see `ModelIdentity`) and folder.

    ``found`` is a bundle of contract 1, read slab after slab, or one of contract 2, whose own workflow is run.
    """

    found: Bundle | WorkflowBundle

    @property
    def bundle(self) -> Bundle:
        """The bundle of a network that is read slab after slab, for training and evaluation.

        Raises
        ------
        BadSettings
            for a bundle whose own workflow is run.
        """
        if isinstance(self.found, WorkflowBundle):
            raise BadSettings(
                f"The model {self.name} is not read slab after slab: its bundle has a workflow of its own.",
                where=str(self.folder),
                todo="Train and evaluate it with MONAI, or name another model.",
            )
        return self.found

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What each channel takes, of a model that reads several series of a study; empty for others."""
        return self.found.channels if isinstance(self.found, WorkflowBundle) else ()

    @property
    def view_rules(self) -> tuple[ViewRule, ...]:
        """Which image fills each channel, of a model that reads several radiographs of a study; empty for others."""
        return self.found.view_rules if isinstance(self.found, WorkflowBundle) else ()

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The channels of a model that reads several series or radiographs of a study; empty for others."""
        return (*(item.name for item in self.channels), *(rule.name for rule in self.view_rules))

    @property
    def none(self) -> str | None:
        """The class that says that nothing was found; None for a model that has no such class."""
        answers = self.found.contract.answer if isinstance(self.found, WorkflowBundle) else self.found.contract
        return getattr(answers, "none", None)

    def refuse_unread_inputs(self) -> None:
        """Refuse a model whose inputs no command reads.

        Raises
        ------
        BadSettings
            where it takes radiographs and volumes.
        """
        if isinstance(self.found, WorkflowBundle) and len(self.found.contract.channels) > 1 and not self.channel_names:
            raise BadSettings(
                f"The model {self.name} takes radiographs and volumes of one study together.",
                where=str(self.folder),
                todo="Take it out of the rules; `candela models check` runs it and shows its answer.",
            )

    def refuse_unfit_for(self, rule: Rule) -> None:
        """Refuse a model that the node does not read by ``rule``.

        Raises
        ------
        BadSettings
            where it takes several series or radiographs of a study and the rule reads each series by itself, or it
            takes radiographs and volumes.
        """
        self.refuse_unread_inputs()
        if self.channel_names and not rule.per_study:
            raise BadSettings(
                f"Rule {rule.name!r} reads each series by itself, and the model {self.name} takes several"
                f" {'radiographs' if self.view_rules else 'series'} of a study ({', '.join(self.channel_names)}).",
                where=str(self.folder),
                todo="Set per_study = true in the rule.",
            )

    @property
    def takes(self) -> Takes:
        """The series that the model takes, by its bundle's contract."""
        return self.found.scope if isinstance(self.found, WorkflowBundle) else self.found.contract.protocol

    @property
    def name(self) -> str:
        return self.found.name

    @property
    def version(self) -> str:
        return self.identity.version

    @property
    def title(self) -> str:
        return self.found.contract.title

    @property
    def kind(self) -> str:
        """What the model answers with, in a word."""
        return self.found.kind if isinstance(self.found, WorkflowBundle) else AnswerKind.LESION

    @property
    def identity(self) -> ModelIdentity:
        return self.found.identity

    @property
    def digest(self) -> str:
        return self.found.digest

    @property
    def folder(self) -> Path:
        return self.found.folder

    @property
    def weights(self) -> tuple[Path, ...]:
        """Each file of weights."""
        if isinstance(self.found, WorkflowBundle):
            return tuple(self.folder / block.file for block in self.found.contract.weights)
        return (self.found.weights,)

    def check(self, header: Dataset) -> tuple[Caveat, ...]:
        """Caveats for a series with this header, by the bundle's contract; raises as `check_protocol`."""
        return self.takes.check(header)

    def card(self) -> str:
        """The model card, Markdown.

        Raises
        ------
        BadModel
            where it cannot be read, or is not UTF-8.
        """
        path = self.folder / CARD
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadModel("The model card cannot be read.", where=str(path), todo=f"Mend it. ({error})") from error


def entries(folders: Iterable[Path] = ()) -> tuple[RegisteredModel, ...]:
    """Every model, by name. A bundle is a folder with ``configs/metadata.json``; its name is the folder's.

    Hidden folders, whose names begin with a dot, are skipped.

    Raises
    ------
    BadModel
        where a bundle is broken or has an invalid name, or two have one name.
    """
    found: dict[str, RegisteredModel] = {}
    for path in _bundles(folders):
        entry = _entry(path)
        if entry.name in found:
            raise _twice(entry.name, path)
        found[entry.name] = entry
    return tuple(found[name] for name in sorted(found))


def get(name: str, folders: Iterable[Path] = ()) -> RegisteredModel:
    """The model called ``name``. Other bundles are not opened, so that a broken one does no harm.

    Raises
    ------
    BadModel
        where there is no such model, more than one, or a broken one.
    """
    folders = tuple(folders)
    paths = list(_bundles(folders))
    matching = [path for path in paths if path.name == name]
    if not matching:
        known = ", ".join(sorted(path.name for path in paths)) or "none"
        _refuse_no_bundle(name, folders)
        raise BadModel(
            f"There is no model {name!r}.", where=name, todo=f"Known: {known}. Check the name, or models.folders."
        )
    if len(matching) > 1:
        raise _twice(name, matching[1])
    return _entry(matching[0])


def _bundles(folders: Iterable[Path]) -> Iterable[Path]:
    for parent in (SHIPPED, *folders):
        try:
            inside = sorted(parent.iterdir())
        except OSError as error:
            raise BadModel(
                "A folder of models cannot be read.",
                where=str(parent),
                todo=f"Correct models.folders. ({error.strerror})",
            ) from error
        for path in inside:
            if not path.name.startswith(".") and (path / METADATA).is_file():
                yield path


def _entry(path: Path) -> RegisteredModel:
    if not NAME.fullmatch(path.name):
        raise BadModel(
            "A bundle's name is 1 to 64 letters, digits, dots, hyphens and underscores.",
            where=repr(str(path)),
            todo="Rename its folder.",
        )
    workflow = (path / CANDELA).is_file() and read_contract(path / CANDELA).answer.kind != AnswerKind.LESION
    return RegisteredModel(read_workflow_bundle(path) if workflow else read_bundle(path))


def _refuse_no_bundle(name: str, folders: Iterable[Path]) -> None:
    """The error that states why ``name`` is not a bundle."""
    for parent in folders:
        path = parent / name
        if NAME.fullmatch(name) and (path.is_symlink() or path.exists()):
            raise BadModel(
                f"There is something called {name!r}, and it is not a bundle: it has no {METADATA}.",
                where=str(path),
                todo="A bundle is a folder as docs/bundles.md describes it.",
            )


def _twice(name: str, path: Path) -> BadModel:
    return BadModel(f"Two bundles are called {name!r}.", where=str(path), todo="Rename one of the folders.")
