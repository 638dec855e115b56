"""What of a bundle's configuration is replaced by rule, because volumes come from memory and answers stay there.

The rules go by the names of MONAI's classes: once over the configuration's text, before anything is made (a reader may
need a package that is not installed), and once over the transforms that were made (an expression may have made them).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from monai.inferers.inferer import SlidingWindowInferer
from monai.transforms.compose import Compose
from monai.transforms.io.array import LoadImage

from models.workflow.volumes.invert import InvertAndChoose, InvertLabels
from models.workflow.volumes.reader import MemoryReader

READER = f"{MemoryReader.__module__}.{MemoryReader.__qualname__}"
LOADERS = frozenset({"LoadImage", "LoadImaged", "LoadImageD", "LoadImageDict"})
LOADER_ARGUMENTS = frozenset(
    [
        "keys",
        "dtype",
        "meta_keys",
        "meta_key_postfix",
        "overwriting",
        "image_only",
        "ensure_channel_first",
        "simple_keys",
        "prune_meta_pattern",
        "prune_meta_sep",
        "allow_missing_keys",
    ]
)
"""Of LoadImage, those that say nothing about files."""
LEFT_OUT = frozenset(
    f"{name}{suffix}"
    for name in ("SaveImage", "SaveClassification", "AffineBoxToWorldCoordinate", "WriteFileMapping")
    for suffix in ("", "d", "D", "Dict")
)
"""Savers; and the step from boxes to world coordinates, which `models.workflow.volumes.boxes` does for each corner."""
REMOVED = {"SwinUNETR": ("img_size",)}
"""Arguments that bundles still name and MONAI has removed, where they had lost their effect before."""
INVERT = frozenset({"Invertd"})
DISCRETE = frozenset({"AsDiscrete", "AsDiscreted"})
VOXELWISE = frozenset({"Activationsd", "AsDiscreted"})


def replaced(config: Any) -> None:
    """Apply the rules to the text of a configuration, in place."""
    for component in _components(config):
        name = str(component["_target_"]).rpartition(".")[2]
        if name in LOADERS:
            for key in [key for key in component if not key.startswith("_") and key not in LOADER_ARGUMENTS]:
                del component[key]
            component["reader"] = {"_target_": READER}
            component["expanduser"] = False
        elif name in LEFT_OUT:
            component["_disabled_"] = True
        if "pretrained" in component:
            component["pretrained"] = False
        for argument in REMOVED.get(name, ()):
            component.pop(argument, None)


def fit_transforms(transform: Any) -> None:
    """Apply the rules to transforms that were made, in place.

    A label map is brought back by nearest neighbours (`models.workflow.volumes.invert`), whatever the bundle's Invertd
    says: between label 1 and label 3 there is no label 2.
    """
    _fit_inverse(transform, discrete=False)
    for step in _steps(transform):
        loader = getattr(step, "_loader", step)
        if isinstance(loader, LoadImage):
            loader.readers, loader.auto_select, loader.expanduser = [MemoryReader()], False, False


def _fit_inverse(transform: Any, *, discrete: bool) -> bool:
    """Replace each Invertd that gets labels, or is followed by the choice of one; whether labels come out."""
    if not isinstance(transform, Compose):
        return discrete or _is(transform, DISCRETE)
    steps: list[Any] = []
    for step in transform.transforms:
        if not discrete and steps and _is(steps[-1], INVERT) and _chooses(steps[-1], step):
            steps[-1] = InvertAndChoose(steps[-1], step)
            discrete = True
            continue
        labels = _is(step, INVERT) and (discrete or any(getattr(step, "nearest_interp", ())))
        steps.append(InvertLabels(step) if labels else step)
        discrete = _fit_inverse(step, discrete=discrete)
    transform.transforms = tuple(steps)
    return discrete


def _chooses(invert: Any, step: Any) -> bool:
    """Whether ``step`` does nothing but choose the largest channel of what ``invert`` brought back."""
    more = (any(getattr(step, name, ())) for name in ("threshold", "rounding"))
    return is_voxelwise(step) and is_argmax(step) and not any(more) and tuple(invert.keys) == ("pred",)


def inverts(transform: Any) -> bool:
    """Whether ``transform`` brings the answer back onto the source grid itself."""
    return any(moves(step) for step in _steps(transform))


def box_mode(transform: Any) -> str | type:
    """The form in which ``transform`` leaves boxes, as MONAI's ``get_boxmode`` takes it."""
    mode: str | type = "xyzxyz"
    for step in _steps(transform):
        if _is(step, frozenset({"ConvertBoxModed"})):
            mode = step.converter.dst_mode
        elif _is(step, frozenset({"ConvertBoxToStandardModed"})):
            mode = "xyzxyz"
    return mode


def channel_dim(transform: Any) -> int | None:
    """Where ``transform`` expects the channels of a loaded image, by its EnsureChannelFirst; None where it asks the
    image's metadata.
    """
    for step in _steps(transform):
        adjuster = getattr(step, "adjuster", step)
        if _is(adjuster, frozenset({"EnsureChannelFirst"})):
            named = adjuster.input_channel_dim
            return named if isinstance(named, int) else None
    return None


def loads(transform: Any) -> bool:
    """Whether ``transform`` begins with a loader of images."""
    return any(isinstance(getattr(step, "_loader", step), LoadImage) for step in _steps(transform))


def fit_inferer(inferer: Any, device: torch.device) -> None:
    """Let a sliding window run on ``device`` and put its output together in main memory, without a progress bar.

    The output of all channels is the largest thing in a run; a GPU's memory is for the windows.
    """
    for item in (inferer, getattr(getattr(inferer, "detector", None), "inferer", None)):
        if isinstance(item, SlidingWindowInferer):
            item.sw_device, item.device, item.progress = device, torch.device("cpu"), False


def flat(transform: Any) -> list[Any]:
    """Each transform of ``transform``, those within compositions too."""
    return list(_steps(transform))


def is_voxelwise(step: Any) -> bool:
    """Whether ``step`` looks at the channels of one voxel at a time: an activation or a discretisation of ``pred``."""
    return _is(step, VOXELWISE) and tuple(step.keys) == ("pred",) and not any(getattr(step, "other", ()))


def is_argmax(step: Any) -> bool:
    """Whether ``step`` turns channels into one label."""
    return _is(step, DISCRETE) and any(getattr(step, "argmax", ())) and not any(getattr(step, "to_onehot", ()))


def moves(step: Any) -> bool:
    """Whether ``step`` brings an answer onto another grid."""
    return isinstance(step, InvertLabels | InvertAndChoose) or _is(step, INVERT)


def still(transform: Any) -> list[Any]:
    """The steps of ``transform`` without those that bring an answer onto another grid."""
    steps = [step.choose if isinstance(step, InvertAndChoose) else step for step in _steps(transform)]
    return [step for step in steps if not moves(step)]


def _components(config: Any) -> Iterator[dict[str, Any]]:
    if isinstance(config, dict):
        if isinstance(config.get("_target_"), str):
            yield config
        for value in config.values():
            yield from _components(value)
    elif isinstance(config, list):
        for value in config:
            yield from _components(value)


def _steps(transform: Any) -> Iterator[Any]:
    """Each transform of ``transform``, those within compositions too."""
    if isinstance(transform, Compose):
        transform.transforms = tuple(step for step in transform.transforms if not _is(step, LEFT_OUT))
        for step in transform.transforms:
            yield from _steps(step)
    elif transform is not None:
        yield transform


def _is(step: Any, names: frozenset[str]) -> bool:
    return any(kind.__name__ in names for kind in type(step).__mro__)
