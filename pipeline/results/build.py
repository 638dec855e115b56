"""Builds every DICOM object of a run for each destination's profile; each form of an object is built once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from pipeline.results.encoding import encoded
from pipeline.results.ko import key_objects
from pipeline.results.pdf import document
from pipeline.results.pm import parametric_map
from pipeline.results.pr import presentation
from pipeline.results.profile import KINDS, ObjectKind, Profile
from pipeline.results.provenance import ResultContext
from pipeline.results.result_object import ResultObject
from pipeline.results.sc import overlay
from pipeline.results.seg import segmentation
from pipeline.results.sr import report

Objects = tuple[ResultObject, ...]
ByKind = dict[ObjectKind, Objects]
BUILDERS: Mapping[ObjectKind, Callable[[ResultContext, ByKind], Objects]] = {
    "overlay": lambda context, _made: overlay.build(context),
    "segmentation": lambda context, _made: segmentation.build(context),
    "report": lambda context, made: report.build(context, made.get("segmentation", ()), made.get("overlay", ())),
    "presentation": lambda context, _made: presentation.build(context),
    "heatmap": lambda context, _made: parametric_map.build(context),
    "document": lambda context, _made: document.build(context),
    "keyobjects": lambda context, made: key_objects.build(
        context, tuple(item for kind in made.values() for item in kind)
    ),
}
"""How each kind is built from the context and from the destination's other objects; in the order of `KINDS`."""


@dataclass
class _Shelf:
    """What has been built: ``forms`` by kind and form, ``files`` by file name."""

    forms: dict[tuple[str, ...], Objects] = field(default_factory=dict)
    files: dict[str, ResultObject] = field(default_factory=dict)


def build(context: ResultContext, profiles: Mapping[str, Profile]) -> Objects:
    """The objects of every profile, those of the first one first. ``profiles`` are by name, at least one.

    Each object lists in ``profiles`` the profiles that get it. Two profiles that want the same form get the same
    object. The first profile's files have the usual names; another form or encoding has the profile's name in its file
    name (``segmentation-orthanc-ohif.dcm``).

    Raises
    ------
    BadResult
        where an object cannot be built as a profile wants it.
    """
    shelf = _Shelf()
    for name, profile in profiles.items():
        mine = replace(context, profile=profile)
        made: ByKind = {}
        for kind in (kind for kind in KINDS if profile.gets(kind)):
            key = (kind, *profile.form(kind))
            if key not in shelf.forms:
                shelf.forms[key] = BUILDERS[kind](mine, made)
            made[kind] = shelf.forms[key]
        for item in (item for items in made.values() for item in items):
            _put(shelf.files, encoded(item, profile.transfer_syntax_uid), name)
    return tuple(shelf.files.values())


def _put(files: dict[str, ResultObject], item: ResultObject, profile: str) -> None:
    """Add ``item`` to ``files``, or the profile to the same object if that is there."""
    path = PurePath(item.filename)
    for filename in (item.filename, *(name for name in files if name.startswith(f"{path.stem}-"))):
        there = files.get(filename)
        if there is not None and _same(there, item):
            files[filename] = replace(there, profiles=(*there.profiles, profile))
            return
    filename = f"{path.stem}-{profile}{path.suffix}" if item.filename in files else item.filename
    files[filename] = replace(item, filename=filename, profiles=(profile,))


def _same(one: ResultObject, other: ResultObject) -> bool:
    return (one.dataset.SOPInstanceUID, one.dataset.file_meta.TransferSyntaxUID) == (
        other.dataset.SOPInstanceUID,
        other.dataset.file_meta.TransferSyntaxUID,
    )
