"""``configs/metadata.json`` of a bundle: MONAI's fields that Candela checks, and the ``candela`` block.

This module checks the type and range of every field; `models.agreement` compares fields with each other. MONAI's fields
that do not concern the network's input or output (authors, references, ...) are not checked. docs/bundles.md describes
the contract in prose.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from pipeline.errors import BadModel
from pipeline.findings.codes import MR_BRAIN, NEOPLASM

CONTRACT_VERSION = 1
MOST_BYTES = 1_000_000
TODO = "Restore the bundle from its release, or correct the file."

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
"""The form of a class name, which becomes a key of summary.json and part of UIDs."""
Plain = Annotated[str, StringConstraints(pattern=r"^[ -\[\]-~]{1,64}$", strip_whitespace=True)]
"""Printable ASCII without backslash, up to 64 characters: a Long String in any character set (PS3.5 6.2)."""
Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Version = Annotated[str, StringConstraints(pattern=r"^[ -\[\]-~]{1,32}$")]


class MetadataBlock(BaseModel):
    """A part of the file in which an unknown field is an error."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class MonaiBlock(BaseModel):
    """A part of the file that is MONAI's and may have more fields than Candela reads."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class CodeBlock(MetadataBlock):
    """A code: ``value`` is a Short String (PS3.3 8.8), ``scheme`` one of those that FHIR knows as well."""

    scheme: Literal["SCT", "DCM", "LN", "UMLS", "99CANDELA"]
    value: Annotated[str, StringConstraints(pattern=r"^[!-\[\]-~]{1,16}$")]
    meaning: Plain


class TermBlock(CodeBlock):
    """The code of a class, its title for readers, and the site of its findings."""

    title: Plain | None = None
    site: CodeBlock | None = None


class RecipeBlock(MetadataBlock):
    """See `pipeline.preprocess.recipe.Recipe`."""

    matrix: Annotated[int, Field(ge=16, le=1024, multiple_of=16)]
    pixel_mm: Annotated[float, Field(ge=0.1, le=20, allow_inf_nan=False)]
    slab_mm: Annotated[float, Field(ge=0.1, le=100, allow_inf_nan=False)]


class ThresholdsBlock(MetadataBlock):
    """See `models.bundle.Thresholds`."""

    mask: Share
    finding: Share
    no_finding: Share
    lesion_mm3: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    head: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    head_mm: tuple[Positive, Positive]


class WeightsBlock(MetadataBlock):
    """File within the bundle, and its SHA-256 (hex)."""

    file: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class AnatomyBlock(WeightsBlock):
    """See `models.bundle.Anatomy`."""

    skull: Share
    distance: Positive


class CandelaBlock(MetadataBlock):
    """Fields that MONAI lacks; see docs/bundles.md."""

    contract: int
    title: Plain
    classes: Annotated[tuple[Name, ...], Field(min_length=2, max_length=20)]
    none: Name
    modality: Literal["MR"]
    body_parts: Annotated[tuple[Literal["BRAIN", "HEAD", "SKULL", "HEADNECK", "PITUITARY"], ...], Field(min_length=1)]
    weightings: Annotated[tuple[Literal["T1", "T2", "PD", "T2*"], ...], Field(min_length=1)]
    contrast_expected: bool
    validated_protocol: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    target: CodeBlock = CodeBlock(scheme="SCT", value=NEOPLASM.value, meaning=NEOPLASM.meaning)
    procedure: CodeBlock = CodeBlock(scheme="LN", value=MR_BRAIN.value, meaning=MR_BRAIN.meaning)
    codes: dict[Name, TermBlock] = Field(default_factory=dict)
    recipe: RecipeBlock
    thresholds: ThresholdsBlock
    coverage_mm: Annotated[float, Field(gt=0, le=500, allow_inf_nan=False)] | None = None
    spacing_mm: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | None = None
    temperature: Positive
    bf16_on_cpu: bool
    grad_cam_layer: Annotated[str, StringConstraints(pattern=r"^\w+(\.\w+)*$")] = "deep"
    weights: WeightsBlock
    anatomy: AnatomyBlock | None = None


class DataFormat(MonaiBlock):
    """One input or output of the network in MONAI's words."""

    type: Literal["image", "probabilities"]
    format: str
    num_channels: Annotated[int, Field(ge=1, le=100)]
    spatial_shape: tuple[int | str, ...]
    dtype: Literal["float32"]
    value_range: tuple[float, ...] = ()
    is_patch_data: bool = False
    channel_def: dict[str, str]
    modality: str | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """The content of the channels, in order; empty where ``channel_def`` does not name each of them."""
        keys = [str(number) for number in range(self.num_channels)]
        return tuple(self.channel_def[key] for key in keys) if sorted(self.channel_def) == sorted(keys) else ()


class NetworkDataFormat(MonaiBlock):
    """Inputs and outputs by name."""

    inputs: dict[str, DataFormat]
    outputs: dict[str, DataFormat]


class Packages(MonaiBlock):
    """The bundle's version, and the packages it was made with."""

    version: Version
    monai_version: Version
    pytorch_version: Version
    numpy_version: Version | None = None
    required_packages_version: dict[str, Version] = Field(default_factory=dict)


class Metadata(Packages):
    """The whole file."""

    network_data_format: NetworkDataFormat
    candela: CandelaBlock


def read_json_text(path: Path, todo: str) -> tuple[str, Any]:
    """The text of a bundle's JSON file of at most `MOST_BYTES`, and what it holds.

    Raises
    ------
    BadModel
        with ``todo``, where the file cannot be read.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadModel(f"The file is larger than {MOST_BYTES:,} bytes.", where=str(path), todo=todo)
        text = path.read_text(encoding="utf-8")
        return text, json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        # ValueError: not UTF-8, not JSON, or a number of thousands of digits
        raise BadModel(f"{path.name} cannot be read.", where=str(path), todo=f"{todo} ({error})") from error


def read_metadata(path: Path, migrated: dict[str, Any] | None = None) -> Metadata:
    """The checked content of ``path``; ``migrated`` is the candela block where it has moved out of the file.

    Raises
    ------
    BadModel
        naming the file and each field that is absent or wrong.
    """
    text, raw = read_json_text(path, TODO)
    if migrated is not None and isinstance(raw, dict):
        raw["candela"] = migrated
        text = json.dumps(raw)
    block = raw.get("candela") if isinstance(raw, dict) else None
    if not isinstance(block, dict):
        raise BadModel(
            "metadata.json has no candela block: the bundle was not made for Candela.",
            where=str(path),
            todo="`candela models add` writes a first one: docs/bundles.md.",
        )
    if block.get("contract") != CONTRACT_VERSION:
        raise BadModel(
            f"candela.contract is {str(block.get('contract'))[:20]}; this Candela reads contract {CONTRACT_VERSION}.",
            where=str(path),
            todo="Use a bundle made for this version.",
        )
    try:
        return Metadata.model_validate_json(text)
    except ValidationError as error:
        raise BadModel(
            f"metadata.json lacks or misstates a field: {field_problems(error)}.", where=str(path), todo=TODO
        ) from None


def field_problems(error: ValidationError) -> str:
    """The first four fields that ``error`` names, each with what is wrong."""
    problems = [f"{'.'.join(str(part) for part in item['loc'])}: {_said(item)}" for item in error.errors()]
    more = f" (and {len(problems) - 4} more)" if len(problems) > 4 else ""
    return f"{'; '.join(problems[:4])}{more}"


def _said(item: Any) -> str:
    return "there is no such field" if item["type"] == "extra_forbidden" else str(item["msg"])
