"""Which transfer syntaxes are offered for an object, and what the PACS accepted (PS3.8 9.3.2 and 9.3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.association import Association

from pipeline.pixels.native import can_be_native

NATIVE: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""Offered for every object without loss; the second is the one that every PACS must take (PS3.5 10.1)."""
CONTEXTS_MOST: Final = 127
"""Presentation contexts of one association: PS3.8 9.3.2.2 allows 128, and one is for C-FIND."""
TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 4
"""Result of a rejected presentation context (PS3.8 9.3.3.2)."""


@dataclass(frozen=True)
class Instance:
    """One file to send: its SOP class, its own transfer syntax."""

    path: Path
    sop_class: UID
    sop_instance: UID
    transfer_syntax: UID


def instance_of(path: Path) -> Instance:
    """The identifiers of the file at ``path``."""
    meta = read_file_meta_info(path)
    return Instance(path, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)


def _syntaxes(instance: Instance) -> tuple[UID, ...]:
    """The transfer syntaxes in which ``instance`` can be sent, its own first."""
    own = instance.transfer_syntax
    return tuple(dict.fromkeys((own, *NATIVE))) if can_be_native(own) else (own,)


def proposals(instances: Iterable[Instance]) -> list[tuple[UID, UID]]:
    """(SOP class, transfer syntax) of each presentation context to propose.

    One syntax a context: of several in one, the PACS would choose, and might choose to have an object decoded that it
    takes compressed.
    """
    return list(dict.fromkeys((item.sop_class, syntax) for item in instances for syntax in _syntaxes(item)))


def batches(instances: tuple[Instance, ...]) -> Iterator[tuple[Instance, ...]]:
    """``instances`` in order, as many together as one association can offer contexts for."""
    batch: list[Instance] = []
    for instance in instances:
        if batch and len(proposals((*batch, instance))) > CONTEXTS_MOST:
            yield tuple(batch)
            batch = []
        batch.append(instance)
    yield tuple(batch)


def taken(assoc: Association, instance: Instance) -> set[UID]:
    """The transfer syntaxes that the PACS accepted for the SOP class of ``instance``."""
    return {cx.transfer_syntax[0] for cx in assoc.accepted_contexts if cx.abstract_syntax == instance.sop_class}


def accepted(assoc: Association, instance: Instance) -> bool:
    """Whether an accepted context can carry ``instance``, as it is or re-encoded without loss."""
    return not taken(assoc, instance).isdisjoint(_syntaxes(instance))


def not_accepted(assoc: Association, instance: Instance) -> str:
    """Why no context can carry ``instance``: the PACS takes its SOP class in other transfer syntaxes, or not at all."""
    if taken(assoc, instance) or TRANSFER_SYNTAXES_NOT_SUPPORTED in _results(assoc, instance.sop_class):
        return _no_syntax(instance.sop_class, _syntaxes(instance))
    return _no_class(instance.sop_class)


def none_accepted(assoc: Association, *, besides: UID) -> list[str]:
    """Why the PACS accepted none of the contexts, a text for each abstract syntax but ``besides``."""
    offered: dict[UID, list[UID]] = {}
    for context in assoc.requestor.requested_contexts:
        if context.abstract_syntax not in {None, besides}:
            offered.setdefault(UID(context.abstract_syntax), []).append(context.transfer_syntax[0])
    return [
        _no_syntax(name, syntaxes) if TRANSFER_SYNTAXES_NOT_SUPPORTED in _results(assoc, name) else _no_class(name)
        for name, syntaxes in offered.items()
    ]


def _results(assoc: Association, sop_class: UID) -> set[int | None]:
    """How the PACS answered the contexts of ``sop_class`` that it rejected."""
    return {context.result for context in assoc.rejected_contexts if context.abstract_syntax == sop_class}


def _no_syntax(sop_class: UID, offered: Iterable[UID]) -> str:
    return f"no transfer syntax offered for {sop_class.name} was accepted ({', '.join(item.name for item in offered)})"


def _no_class(sop_class: UID) -> str:
    return f"SOP class {sop_class.name} was not accepted"
