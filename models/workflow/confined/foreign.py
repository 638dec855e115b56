"""What a bundle's code raised, as a typed error that says what to do."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from monai.utils.module import OptionalImportError

from pipeline.errors import BadModel, CandelaError, OutOfResources

NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")
LONGEST = 300
"""Characters of what a bundle's code said."""


@contextmanager
def foreign(stage: str, where: str) -> Iterator[None]:
    """Run a bundle's code; ``stage`` names the part of the bundle that runs, ``where`` the bundle.

    Raises
    ------
    OutOfResources
        where it ran out of memory.
    BadModel
        where it raised anything else, or needs a package that is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a bundle's author may act on them; an operator cannot
            yield
    except CandelaError:
        raise
    except Exception as error:  # a bundle is foreign code and may raise anything
        raise translated(error, stage, where) from error


def translated(error: BaseException, stage: str, where: str) -> CandelaError:
    """The typed error for what a bundle's ``stage`` raised."""
    chain = list(_causes(error))
    said = _said(chain[-1])
    for cause in chain:
        if isinstance(cause, torch.OutOfMemoryError | MemoryError) or _no_memory(cause):
            return OutOfResources(
                f"The bundle ran out of memory in its {stage}.",
                where=where,
                todo="Use a machine or GPU with more memory, or a smaller roi_size and sw_batch_size in its inferer.",
            )
        if isinstance(cause, OptionalImportError | ImportError):
            named = re.search(r"No module named '([\w.]+)'", str(cause))
            name = f" {named[1]}" if named else ""
            return BadModel(
                f"The bundle's {stage} needs the package{name}, which is not installed: {_said(cause)}",
                where=where,
                todo="Install it into Candela's environment; docs/bundles.md lists what zoo bundles need.",
            )
    return BadModel(
        f"The bundle's {stage} failed: {said}", where=where, todo="Correct the bundle: `candela models check` tries it."
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what it was raised from, the deepest last."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _no_memory(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in NO_MEMORY)


def _said(error: BaseException) -> str:
    return " ".join("".join(traceback.format_exception_only(error)).split())[:LONGEST]
