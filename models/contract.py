"""The candela block, second contract: what a MONAI bundle must declare beyond MONAI's own fields.

It lies in ``configs/candela.json``, beside the publisher's metadata.json, which stays as it was published. MONAI's
files say how a network is fed and what it gives; this file says what the answer means: which structure a label is, in
which code, in which unit, for which series. docs/candela-block.schema.json is made from these types.

No torch here: the receiver reads contracts and must start quickly.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from models.metadata import (
    AnatomyBlock,
    CodeBlock,
    MetadataBlock,
    Name,
    Plain,
    Positive,
    RecipeBlock,
    Share,
    TermBlock,
    ThresholdsBlock,
    WeightsBlock,
    field_problems,
    read_json_text,
)
from pipeline.errors import BadModel
from pipeline.findings.model import AnswerKind
from pipeline.reading.projection import PresentationIntent

CANDELA = Path("configs/candela.json")
CONTRACT = 2
IMAGE = "image"
MOST_STRUCTURES = 255
"""A label map's values fit into eight bits."""
TODO = "Correct the file: docs/bundles.md describes the fields, docs/candela-block.schema.json is its JSON Schema."

CodeString = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_ ]{1,16}$")]
"""A DICOM Code String (PS3.5 6.2)."""
ComponentId = Annotated[str, StringConstraints(pattern=r"^\w+((::|#)\w+)*$", max_length=100)]
"""The id of a component in a bundle's configuration, such as ``network``."""
Finite = Annotated[float, Field(allow_inf_nan=False)]


class ConceptBlock(MetadataBlock):
    """A structure, class or quantity. ``value`` is its label, its channel or its place among the outputs.

    ``code`` absent means a private code (scheme 99CANDELA) of that name: readers see the title, no system knows it.
    """

    value: Annotated[int, Field(ge=0, le=100_000)]
    name: Name
    title: Plain | None = None
    code: CodeBlock | None = None


class StructureBlock(ConceptBlock):
    """A segmented structure. ``category`` is its Segmented Property Category (PS3.16 CID 7150)."""

    category: CodeBlock | None = None


class UnitBlock(MetadataBlock):
    """A UCUM unit, such as ``mL``, ``a`` (year), ``%``, or ``1`` for a number without unit."""

    scheme: Literal["UCUM"]
    value: Annotated[str, StringConstraints(pattern=r"^[!-\[\]-~]{1,16}$")]
    meaning: Plain


class QuantityBlock(ConceptBlock):
    """An estimated number: its ``unit``, and the range outside of which an answer is refused."""

    unit: UnitBlock
    minimum: Finite | None = None
    maximum: Finite | None = None


class ExplanationBlock(MetadataBlock):
    """How a heat map of the answer is computed, by MONAI on the network that answered.

    ``grad_cam``: gradient-weighted activations of the network's module ``layer``, such as ``features.denseblock4``.
    ``occlusion``: by how much the class falls where a part of the image of ``mask`` pixels a side is covered; needs no
    layer, and a forward pass for each place. Of a segmentation the map is of the structure ``of``.
    """

    method: Literal["grad_cam", "occlusion"]
    layer: Annotated[str, StringConstraints(pattern=r"^\w+(\.\w+)*$", max_length=100)] | None = None
    mask: Annotated[int, Field(ge=2, le=256)] = 16
    of: Name | None = None

    @model_validator(mode="after")
    def _names_a_layer(self) -> Self:
        if (self.method == "grad_cam") != (self.layer is not None):
            raise ValueError("grad_cam needs a layer, and occlusion has none")
        return self


class SegmentationBlock(MetadataBlock):
    """What a segmentation's numbers mean.

    ``form`` ``labels``: one channel whose values are those of ``structures``, or 0 for background; ``channels``: so
    many ``channels`` of probabilities or of 0 and 1; a structure is where its channel reaches ``threshold``.
    ``separate``: each connected part of a structure is reported and measured by itself, as lesions are.
    """

    kind: Literal[AnswerKind.SEGMENTATION]
    form: Literal["labels", "channels"]
    channels: Annotated[int, Field(ge=1, le=MOST_STRUCTURES + 1)] = 1
    threshold: Share = 0.5
    separate: bool = False
    structures: Annotated[tuple[StructureBlock, ...], Field(min_length=1, max_length=MOST_STRUCTURES)]
    explanation: ExplanationBlock | None = None

    @model_validator(mode="after")
    def _explains_a_structure(self) -> Self:
        explained = self.explanation
        if explained is not None and (explained.method != "grad_cam" or explained.of not in self._names):
            raise ValueError("the explanation of a segmentation is grad_cam of one of its structures (of)")
        return self

    @property
    def _names(self) -> set[str]:
        return {item.name for item in self.structures}

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        values = [item.value for item in self.structures]
        if self.form == "labels" and (self.channels != 1 or not all(1 <= value <= 255 for value in values)):
            raise ValueError("a label map has one channel, and labels from 1 to 255")
        if self.form == "channels" and max(values) >= self.channels:
            raise ValueError(f"channel {max(values)} is named, and there are {self.channels} (channels)")
        return self


class ClassificationBlock(MetadataBlock):
    """What a classification's scores mean.

    ``exclusive``: exactly one class holds. ``activation`` and ``temperature`` are applied to what the postprocessing
    gives: ``none`` where it gives scores in 0..1 already. ``thresholds``: by class, the score from which it holds
    (default 0.5). ``none`` is the class that says that nothing was found.
    """

    kind: Literal[AnswerKind.CLASSIFICATION]
    exclusive: bool
    classes: Annotated[tuple[ConceptBlock, ...], Field(min_length=1, max_length=1000)]
    none: Name | None = None
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    temperature: Positive = 1.0
    thresholds: dict[Name, Share] = Field(default_factory=dict)
    explanation: ExplanationBlock | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        names = {item.name for item in self.classes}
        if self.none is not None and self.none not in names:
            raise ValueError("none is not among classes")
        if not set(self.thresholds) <= names:
            raise ValueError("thresholds names a class that is not among classes")
        if [item.value for item in self.classes] != list(range(len(self.classes))):
            raise ValueError("the values of classes are not 0, 1, 2, ... in their order")
        if self.temperature != 1.0 and self.activation == "none":
            raise ValueError("a temperature divides logits: it needs an activation")
        return self


class DetectionBlock(MetadataBlock):
    """What a detector's boxes mean. ``score``: boxes below it are left out. The keys are the postprocessing's."""

    kind: Literal[AnswerKind.DETECTION]
    classes: Annotated[tuple[ConceptBlock, ...], Field(min_length=1, max_length=MOST_STRUCTURES)]
    score: Share
    box_key: str = "box"
    label_key: str = "label"
    score_key: str = "label_scores"


class RegressionBlock(MetadataBlock):
    """What a network's numbers mean."""

    kind: Literal[AnswerKind.REGRESSION]
    quantities: Annotated[tuple[QuantityBlock, ...], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if [item.value for item in self.quantities] != list(range(len(self.quantities))):
            raise ValueError("the values of quantities are not 0, 1, 2, ... in their order")
        return self


class LesionBlock(MetadataBlock):
    """Lesions in the head by a network that Candela reads slab after slab: fields of contract 1 (docs/bundles.md)."""

    kind: Literal[AnswerKind.LESION]
    classes: Annotated[tuple[Name, ...], Field(min_length=2, max_length=20)]
    none: Name
    codes: dict[Name, TermBlock] = Field(default_factory=dict)
    recipe: RecipeBlock
    thresholds: ThresholdsBlock
    temperature: Positive
    bf16_on_cpu: bool
    grad_cam_layer: str = "deep"
    anatomy: AnatomyBlock | None = None


AnswerBlock = Annotated[
    SegmentationBlock | ClassificationBlock | DetectionBlock | RegressionBlock | LesionBlock,
    Field(discriminator="kind"),
]


class ChannelBlock(MetadataBlock):
    """One channel of an input: the series it is filled from, where a study has several.

    ``weightings``: any of these; ``contrast``: with (true) or without contrast agent; ``description``: a regular
    expression that the Series Description must contain, case ignored. Of projections, ``views``: the image has any of
    these View Positions; ``laterality``: any of these sides. Absent fields admit any series.
    """

    name: Name
    weightings: tuple[Literal["T1", "T2", "PD", "T2*", "FLAIR"], ...] = ()
    contrast: bool | None = None
    description: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    views: tuple[CodeString, ...] = ()
    laterality: tuple[Literal["L", "R", "B", "U"], ...] = ()

    @field_validator("description")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"it is no regular expression ({error})") from None
        return value

    @property
    def has_rule(self) -> bool:
        """Whether anything says which series fills the channel."""
        named = self.weightings or self.views or self.laterality
        return bool(named) or self.contrast is not None or self.description is not None


class InputBlock(MetadataBlock):
    """One input: ``key`` in the bundle's transforms. ``repeat``: a single channel is given so often (grey as RGB)."""

    key: Annotated[str, StringConstraints(pattern=r"^\w{1,64}$")] = "image"
    kind: Literal["volume", "projection"] = "volume"
    channels: Annotated[tuple[ChannelBlock, ...], Field(min_length=1, max_length=16)]
    repeat: Annotated[int, Field(ge=1, le=16)] = 1

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.repeat > 1 and len(self.channels) > 1:
            raise ValueError("repeat is for an input of one channel")
        if self.kind == "volume" and any(channel.views or channel.laterality for channel in self.channels):
            raise ValueError("views and laterality are for projections")
        return self


class ScopeBlock(MetadataBlock):
    """Which series the bundle takes, by their headers. An empty list admits anything.

    ``body_parts`` are values of Body Part Examined, ``weightings`` those of MR, ``views`` View Positions of
    projections, ``intents`` their Presentation Intent Types (CR has none).
    """

    modalities: Annotated[tuple[CodeString, ...], Field(min_length=1)]
    body_parts: tuple[CodeString, ...] = ()
    weightings: tuple[Literal["T1", "T2", "PD", "T2*"], ...] = ()
    contrast_expected: bool = False
    views: tuple[CodeString, ...] = ()
    intents: Annotated[tuple[PresentationIntent, ...], Field(min_length=1)] = ("FOR PRESENTATION",)
    validated_protocol: Annotated[str, StringConstraints(max_length=500)] = ""
    coverage_mm: Annotated[float, Field(gt=0, le=2000, allow_inf_nan=False)] | None = None
    spacing_mm: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | None = None


class ReportBlock(MetadataBlock):
    """How results speak of the answer: what the model looks for, the procedure and body part of the report, and the
    image that it shows first (``largest``: the most of what was found; ``strongest``: the highest score).

    With a ``target`` a segmentation states whether it is present; without one it measures anatomy and states nothing of
    disease. Detections, multi-label classes, and classes with a ``none`` always look for something.
    """

    target: CodeBlock | None = None
    procedure: CodeBlock | None = None
    body_part: CodeBlock | None = None
    key_image: Literal["largest", "strongest", "middle"] = "largest"


class LoadedWeights(WeightsBlock):
    """A weights file, and the component of the configuration that it belongs to.

    ``.safetensors`` and ``.pt`` hold the parameters of that component; ``.ts`` is TorchScript and replaces it.
    """

    into: ComponentId = "network"

    @model_validator(mode="after")
    def _lies_inside(self) -> Self:
        path = Path(self.file)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError("the file lies outside of the bundle")
        if path.suffix not in (".safetensors", ".pt", ".ts"):
            raise ValueError("the file is none of .safetensors, .pt, .ts")
        return self


class Contract2(MetadataBlock):
    """The whole file; see docs/bundles.md. ``workflow``: a class, such as ``scripts.inference.Workflow``, that takes
    the place of inference.json (MONAI's PythonicWorkflow).
    """

    schema_: str | None = Field(default=None, alias="$schema")
    contract: Literal[2]
    title: Plain
    answer: AnswerBlock
    inputs: Annotated[tuple[InputBlock, ...], Field(min_length=1, max_length=8)]
    scope: ScopeBlock
    report: ReportBlock = ReportBlock()
    weights: Annotated[tuple[LoadedWeights, ...], Field(min_length=1, max_length=16)]
    workflow: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.\w+)+$", max_length=200)] | None = None

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        if len({item.key for item in self.inputs}) < len(self.inputs):
            raise ValueError("two inputs have one key")
        named = {
            "channels": [item.name for item in self.channels],
            "concepts": [item.name for item in concepts(self.answer)],
        }
        for what, names in named.items():
            if len(set(names)) < len(names):
                raise ValueError(f"two {what} have one name")
        values = [item.value for item in concepts(self.answer)]
        if len(set(values)) < len(values):
            raise ValueError("two concepts of the answer have one value")
        if len({item.into for item in self.weights}) < len(self.weights):
            raise ValueError("two files of weights are for one component")
        return self

    @property
    def channels(self) -> tuple[ChannelBlock, ...]:
        """Every channel of every input, those of the network's own input first: results refer to the first."""
        inputs = sorted(self.inputs, key=lambda item: item.key != self.main.key)
        return tuple(channel for item in inputs for channel in item.channels)

    @property
    def main(self) -> InputBlock:
        """The network's own input: ``image``, as MONAI's engines call it, else the first."""
        return next((item for item in self.inputs if item.key == IMAGE), self.inputs[0])


def concepts(answer: AnswerBlock) -> tuple[ConceptBlock, ...]:
    """The structures, classes or quantities of an answer."""
    match answer:
        case SegmentationBlock():
            return answer.structures
        case RegressionBlock():
            return answer.quantities
        case LesionBlock():
            return tuple(
                ConceptBlock(value=index, name=name, code=answer.codes.get(name))
                for index, name in enumerate(answer.classes)
            )
        case _:
            return answer.classes


def read_contract(path: Path) -> Contract2:
    """The checked content of ``configs/candela.json``.

    Raises
    ------
    BadModel
        naming the file and each field that is absent or wrong.
    """
    text, raw = read_json_text(path, TODO)
    found = raw.get("contract") if isinstance(raw, dict) else None
    if found != CONTRACT:
        raise BadModel(
            f"contract is {str(found)[:20]}; this Candela reads contract {CONTRACT} in candela.json.",
            where=str(path),
            todo="Use a bundle made for this version.",
        )
    try:
        return Contract2.model_validate_json(text)
    except ValidationError as error:
        raise BadModel(
            f"candela.json lacks or misstates a field: {field_problems(error)}.", where=str(path), todo=TODO
        ) from None


def json_schema() -> str:
    """The JSON Schema of ``configs/candela.json``, as docs/candela-block.schema.json holds it."""
    schema = Contract2.model_json_schema(by_alias=True)
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


def unfinished(block: Contract2) -> tuple[str, ...]:
    """What an administrator has still to fill in, a sentence each; empty where nothing is missing."""
    missing = []
    private = [item.name for item in concepts(block.answer) if item.code is None]
    if private:
        shown = ", ".join(private[:4]) + (f" and {len(private) - 4} more" if len(private) > 4 else "")
        missing.append(f"answer: a code for {shown}; until then a private 99CANDELA code stands for each.")
    if not block.scope.body_parts:
        missing.append("scope.body_parts: until then series of any body part are taken.")
    projections = [channel for item in block.inputs if item.kind == "projection" for channel in item.channels]
    if not block.scope.views and any(not channel.views for channel in projections):
        missing.append("scope.views: until then radiographs of any view are taken.")
    if not block.scope.validated_protocol:
        missing.append("scope.validated_protocol: on which images the model was validated.")
    if block.report.procedure is None:
        missing.append("report.procedure: the LOINC code of the report's procedure.")
    if block.report.target is None and block.answer.kind == AnswerKind.SEGMENTATION:
        missing.append("report.target: the code of what the model looks for; leave it out where it measures anatomy.")
    free = [channel.name for channel in block.channels if not channel.has_rule]
    if free and len(block.channels) > 1:
        what = "images" if projections else "series"
        missing.append(f"inputs: the rules by which the {what} of {', '.join(free)} are chosen.")
    return tuple(missing)


if __name__ == "__main__":
    print(json_schema(), end="")  # noqa: T201 - docs/candela-block.schema.json is made so
