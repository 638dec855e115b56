"""Whether the parts of ``metadata.json`` agree: MONAI's description of the network, the recipe and the classes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from models.metadata import TODO, AnatomyBlock, CodeBlock, DataFormat, Metadata
from pipeline.errors import BadModel
from pipeline.findings.codes import class_code

VALUE_RANGE = (-4.0, 4.0)
"""Number of channels that `pipeline.preprocess.slabs` gives; that module needs torch, which this one may not
load."""
WEIGHTS_KINDS = (".safetensors", ".pt")
BACKGROUND = "background"
"""The model zoo's name for the channel that Candela's contract names by its last class."""


@dataclass(frozen=True)
class Outputs:
    """The outputs of a network's forward.

    Classifying networks (``segments`` False): class logits (N, classes), lesion logits by pixel (N, 1, M, M), and
    where ``head`` is True a logit (N,) of "this is a slice through a head". Segmenting networks (``segments`` True):
    logits by pixel (N, C, M, M) alone; ``channels`` is the channel of each class, in the order of the contract's
    classes, or empty where there is one channel, the logit of the one lesion class.
    """

    segments: bool
    head: bool
    channels: tuple[int, ...] = ()


def outputs(metadata: Metadata) -> Outputs:
    """The outputs of the network of a consistent bundle."""
    described = metadata.network_data_format.outputs
    if "pred" not in described:
        return Outputs(segments=False, head="head" in described)
    names = _class_names(described["pred"], metadata)
    channels = () if len(names) == 1 else tuple(names.index(name) for name in metadata.candela.classes)
    return Outputs(segments=True, head=False, channels=channels)


def check_agreement(metadata: Metadata, path: Path) -> None:
    """Refuse a bundle whose fields contradict each other.

    Raises
    ------
    BadModel
        naming the file, the field, and the value that it must have.
    """
    problems = [*_contract(metadata), *_inputs(metadata), *_outputs(metadata)]
    if problems:
        more = f" (and {len(problems) - 4} more)" if len(problems) > 4 else ""
        raise BadModel(f"The bundle contradicts itself: {'; '.join(problems[:4])}{more}.", where=str(path), todo=TODO)


def _contract(metadata: Metadata) -> list[str]:
    block = metadata.candela
    limits = block.thresholds
    codes = [_code(block.codes.get(name), name) for name in block.classes]
    weights = Path(block.weights.file)
    wrong = {
        "candela.classes repeat": len(set(block.classes)) < len(block.classes),
        "candela.none is not the last of candela.classes": block.classes[-1] != block.none,
        "candela.codes names a class that is not among candela.classes": not set(block.codes) <= set(block.classes),
        "two of candela.classes have one code": len(set(codes)) < len(codes),
        "candela.thresholds are not no_finding <= 0.5 <= finding": not limits.no_finding <= 0.5 <= limits.finding,
        "candela.thresholds.head_mm is not least, most": limits.head_mm[0] >= limits.head_mm[1],
        "candela.weights.file lies outside of the bundle": weights.is_absolute() or ".." in weights.parts,
        "candela.anatomy.file lies outside of the bundle": _outside(block.anatomy),
        f"candela.weights.file is none of {', '.join(WEIGHTS_KINDS)}": weights.suffix not in WEIGHTS_KINDS,
    }
    return [what for what, is_so in wrong.items() if is_so]


def _outside(block: AnatomyBlock | None) -> bool:
    return block is not None and (Path(block.file).is_absolute() or ".." in Path(block.file).parts)


def _code(block: CodeBlock | None, name: str) -> tuple[str, str]:
    usual = class_code(name)
    return (block.scheme, block.value) if block else (usual.scheme, usual.value)


def _inputs(metadata: Metadata) -> list[str]:
    block, place = metadata.candela, "network_data_format.inputs"
    inputs = metadata.network_data_format.inputs
    if set(inputs) != {"image"}:
        return [f"{place} must be one, called image"]
    image = inputs["image"]
    place += ".image"
    wrong = {
        f"{place}.type is {image.type}, not image": image.type != "image",
        f"{place}.format is {image.format}; Candela feeds magnitude images": image.format != "magnitude",
        f"{place}.modality is {image.modality}, candela.modality {block.modality}": image.modality != block.modality,
        f"{place}.num_channels is {image.num_channels}; Candela feeds one": image.num_channels != 1,
        f"{place}.channel_def does not name each channel": not image.channels,
        f"{place}.value_range is not {list(VALUE_RANGE)}, what Candela's preprocessing gives": (
            image.value_range != VALUE_RANGE
        ),
        f"{place}.is_patch_data is true; Candela feeds whole slices": image.is_patch_data,
        _shape(place, image, metadata): not _takes(image.spatial_shape, block.recipe.matrix),
    }
    return [what for what, is_so in wrong.items() if is_so]


def _outputs(metadata: Metadata) -> list[str]:
    place = "network_data_format.outputs"
    described = metadata.network_data_format.outputs
    names = set(described)
    if names == {"pred"}:
        problems = _pred(described["pred"], metadata, f"{place}.pred")
    elif names in ({"classes", "mask"}, {"classes", "mask", "head"}):
        problems = _classifying(described, metadata, place)
    else:
        return [f"{place} must be classes and mask, with or without head, or pred alone"]
    for name, output in described.items():
        if output.value_range:
            problems.append(f"{place}.{name}.value_range is not empty; Candela takes logits")
        if output.is_patch_data:
            problems.append(f"{place}.{name}.is_patch_data is true; Candela takes whole slices")
    head = metadata.candela.thresholds.head
    if ("head" in names) != (head is not None):
        problems.append("candela.thresholds.head goes with an output called head, and there is only one of them")
    return problems


def _classifying(described: dict[str, DataFormat], metadata: Metadata, place: str) -> list[str]:
    classes, mask = described["classes"], described["mask"]
    wrong = {
        f"{place}.classes.format is {classes.format}, not logits": classes.format != "logits",
        f"{place}.classes.channel_def is not candela.classes in their order": (
            classes.channels != metadata.candela.classes
        ),
        f"{place}.mask.num_channels is {mask.num_channels}, not 1": mask.num_channels != 1,
        **_segmentation(mask, metadata, f"{place}.mask"),
    }
    if "head" in described:
        head = described["head"]
        wrong[f"{place}.head is not one channel of logits"] = (head.num_channels, head.format) != (1, "logits")
    return [what for what, is_so in wrong.items() if is_so]


def _pred(pred: DataFormat, metadata: Metadata, place: str) -> list[str]:
    names, classes = _class_names(pred, metadata), metadata.candela.classes
    wrong = {
        f"{place}.channel_def names neither each of candela.classes once, nor the only lesion class alone": (
            sorted(names) != sorted(classes) and (names != classes[:1] or len(classes) != 2)
        ),
        **_segmentation(pred, metadata, place),
    }
    return [what for what, is_so in wrong.items() if is_so]


def _segmentation(mask: DataFormat, metadata: Metadata, place: str) -> dict[str, bool]:
    return {
        f"{place} is no image of format segmentation": (mask.type, mask.format) != ("image", "segmentation"),
        _shape(place, mask, metadata): not _takes(mask.spatial_shape, metadata.candela.recipe.matrix),
    }


def _class_names(pred: DataFormat, metadata: Metadata) -> tuple[str, ...]:
    """The class of each channel of a segmentation; the background is the class for "no lesion"."""
    return tuple(metadata.candela.none if name.lower() == BACKGROUND else name for name in pred.channels)


def _shape(place: str, described: DataFormat, metadata: Metadata) -> str:
    matrix = metadata.candela.recipe.matrix
    return f"{place}.spatial_shape is {list(described.spatial_shape)}, candela.recipe.matrix {matrix}"


def _takes(shape: tuple[int | str, ...], matrix: int) -> bool:
    """Whether MONAI's ``spatial_shape`` allows a square of ``matrix``: a number, "*", or a multiple such as "16*n"."""
    return len(shape) == 2 and all(_fits(side, matrix) for side in shape)


def _fits(side: int | str, matrix: int) -> bool:
    if isinstance(side, int):
        return side == matrix
    multiple = re.fullmatch(r"(\d{1,4})\*n", side.replace(" ", ""))
    return side == "*" or bool(multiple and int(multiple[1]) and matrix % int(multiple[1]) == 0)
