"""Bringing a bundle into a folder of models: from a folder or a zip archive, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import stat
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath, PurePosixPath

from models.bundle import METADATA
from models.contract import CANDELA
from models.registry import NAME, SHIPPED
from models.workflow.installing.bundle import WorkflowBundle, read_workflow_bundle
from models.workflow.installing.first import first_contract
from pipeline.errors import BadModel, OutOfResources
from pipeline.findings.model import AnswerKind

MOST_BYTES = 20 * 1024**3
MOST_FILES = 20_000
MOST_RATIO = 200
"""Unpacked to packed size beyond which an archive of more than `SMALL` is a bomb; weights hardly compress."""
SMALL = 100 * 1024**2
CHUNK = 1024**2
PASSED_OVER = ("__pycache__", "__MACOSX")


def add(
    source: Path,
    models: Path,
    *,
    name: str | None = None,
    modality: str | None = None,
    kind: AnswerKind | None = None,
) -> WorkflowBundle:
    """Install the bundle at ``source``, a folder or a zip archive, into ``models`` as ``name`` (default: its own).

    A bundle without ``configs/candela.json`` gets a first one (`models.workflow.installing.first`). The bundle is put
    together in a hidden folder and renamed at the end: other processes see it whole or not at all.

    Raises
    ------
    BadModel
        where it is no bundle, a part of it would lie outside of its folder, it unpacks to too much, a bundle of that
        name is there, or its contract cannot be made; naming what is wrong.
    OutOfResources
        where the disk has no room for it.
    """
    if not source.exists():
        raise BadModel("There is nothing to add.", where=str(source), todo="Check the path.")
    called = name or (source.resolve().name if source.is_dir() else source.stem)
    if not NAME.fullmatch(called):
        raise BadModel(
            "A bundle's name is 1 to 64 letters, digits, dots, hyphens and underscores.",
            where=repr(called),
            todo="Give it one with --name.",
        )
    target = models / called
    if target.exists() or target.is_symlink() or (SHIPPED / called).exists():
        raise BadModel(
            f"There is a model called {called!r}.",
            where=str(target),
            todo="Give this one another --name, or remove it.",
        )
    with _beside(target) as making:
        if source.is_dir():
            _copy(source, making)
        else:
            _unpack(source, making)
        if not (making / METADATA).is_file():
            raise BadModel(f"This is no bundle: it has no {METADATA}.", where=str(source), todo="docs/bundles.md.")
        if not (making / CANDELA).is_file():
            block = first_contract(making, modality=modality, kind=kind)
            (making / CANDELA).write_text(json.dumps(block, indent=2) + "\n", encoding="utf-8")
        read_workflow_bundle(making)
        making.rename(target)
    return read_workflow_bundle(target)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A hidden folder beside ``target``, removed where the block does not rename it."""
    making = target.parent / f".{target.name}.adding-{os.getpid()}"
    try:
        making.mkdir(parents=True)
        yield making
    except OSError as error:
        raise OutOfResources(
            "The bundle could not be written.",
            where=str(target.parent),
            todo=f"Free space, or check the folder. ({error})",
        ) from error
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _copy(source: Path, making: Path) -> None:
    """The files of a folder; hidden ones and caches are passed over, links refused."""
    total = count = 0
    for path in sorted(source.rglob("*")):
        part = path.relative_to(source)
        if _passed_over(part):
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BadModel(
                "The bundle holds a link or a special file.", where=str(path), todo="Put the file itself there."
            )
        if path.is_file():
            total, count = total + path.stat().st_size, count + 1
            _within(total, count, source)
            (making / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, making / part)


def _passed_over(part: PurePath) -> bool:
    return any(piece.startswith(".") or piece in PASSED_OVER for piece in part.parts)


def _unpack(source: Path, making: Path) -> None:
    """The files of a zip archive, those of its one top folder where it has one."""
    try:
        with zipfile.ZipFile(source) as archive:
            entries = [item for item in archive.infolist() if not item.is_dir()]
            parts = {item: _part(item, source) for item in entries}
            packed = max(1, sum(item.compress_size for item in entries))
            top = _top(parts.values())
            total = count = 0
            for item, part in parts.items():
                if not part.is_relative_to(top) or _passed_over(part.relative_to(top)):
                    continue
                path = making / part.relative_to(top)
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(item) as packed_file, path.open("xb") as out:
                    while chunk := packed_file.read(CHUNK):  # what the archive claims of sizes is not believed
                        total += len(chunk)
                        if total > SMALL and total > MOST_RATIO * packed:
                            raise _bomb(source)
                        _within(total, count, source)
                        out.write(chunk)
                count += 1
                _within(total, count, source)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, FileExistsError) as error:
        raise BadModel("This is no zip archive that can be read.", where=str(source), todo=str(error)) from error


def _part(item: zipfile.ZipInfo, source: Path) -> PurePosixPath:
    """Where an entry lies within the bundle; refused where that is outside of it, or it is no plain file."""
    part = PurePosixPath(item.filename)
    kind = stat.S_IFMT(item.external_attr >> 16)
    outside = part.is_absolute() or ".." in part.parts or "\\" in item.filename or ":" in item.filename
    if outside or kind not in (0, stat.S_IFREG):
        raise BadModel(
            "The archive holds a file that would lie outside of the bundle, or a link.",
            where=f"{source}: {item.filename[:100]!r}",
            todo="Do not trust this archive.",
        )
    return part


def _top(parts: Iterable[PurePosixPath]) -> PurePosixPath:
    """The folder that holds the bundle, the uppermost with a configs/metadata.json."""
    tops = [part.parent.parent for part in parts if part.parts[-2:] == METADATA.parts]
    return min(tops, key=lambda part: len(part.parts), default=PurePosixPath())


def _within(total: int, count: int, source: Path) -> None:
    if total > MOST_BYTES or count > MOST_FILES:
        raise BadModel(
            f"The bundle is larger than {MOST_BYTES // 1024**3} GiB, or has more than {MOST_FILES:,} files.",
            where=str(source),
            todo="Take out what inference does not need.",
        )


def _bomb(source: Path) -> BadModel:
    return BadModel(
        f"The archive unpacks to more than {MOST_RATIO} times its size.",
        where=str(source),
        todo="Do not trust this archive; a bundle's weights hardly compress.",
    )
