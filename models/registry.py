"""The models at hand: those that ship and those in an administrator's folders. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.bundle import CARD, METADATA, Bundle, read_bundle
from pipeline.errors import BadModel

SHIPPED = Path(__file__).parent / "bundles"


@dataclass(frozen=True)
class Entry:
    """One model: its registry name, version, digest (see `ModelIdentity`) and folder."""

    bundle: Bundle

    @property
    def name(self) -> str:
        return self.bundle.name

    @property
    def version(self) -> str:
        return self.bundle.contract.version

    @property
    def title(self) -> str:
        return self.bundle.contract.title

    @property
    def digest(self) -> str:
        return self.bundle.digest

    @property
    def folder(self) -> Path:
        return self.bundle.folder

    def card(self) -> str:
        """The model card, Markdown."""
        return (self.folder / CARD).read_text()


def entries(folders: Iterable[Path] = ()) -> tuple[Entry, ...]:
    """Every model, by name. A bundle is a folder with ``configs/metadata.json``; its name is the folder's.

    Raises
    ------
    BadModel
        where a bundle is broken, or two have one name.
    """
    found: dict[str, Entry] = {}
    for path in _bundles(folders):
        entry = Entry(read_bundle(path))
        if entry.name in found:
            raise _twice(entry.name, path)
        found[entry.name] = entry
    return tuple(found[name] for name in sorted(found))


def get(name: str, folders: Iterable[Path] = ()) -> Entry:
    """The model called ``name``. Other bundles are not looked into: a broken neighbour does no harm.

    Raises
    ------
    BadModel
        where there is none, more than one, or it is broken.
    """
    paths = list(_bundles(folders))
    matching = [path for path in paths if path.name == name]
    if not matching:
        known = ", ".join(sorted(path.name for path in paths)) or "none"
        raise BadModel(
            f"There is no model {name!r}.", where=name, todo=f"Known: {known}. Check the name, or models.folders."
        )
    if len(matching) > 1:
        raise _twice(name, matching[1])
    return Entry(read_bundle(matching[0]))


def _bundles(folders: Iterable[Path]) -> Iterable[Path]:
    for parent in (SHIPPED, *folders):
        if not parent.is_dir():
            raise BadModel("A folder of models does not exist.", where=str(parent), todo="Mend models.folders.")
        yield from sorted(path for path in parent.iterdir() if (path / METADATA).is_file())


def _twice(name: str, path: Path) -> BadModel:
    return BadModel(f"Two bundles are called {name!r}.", where=str(path), todo="Rename one of the folders.")
