"""The candela block of contract 2: its JSON Schema, and what an administrator has to fill in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from models.contract import Contract2, json_schema, unfinished

ROOT = Path(__file__).parents[3]
WEIGHTS = [{"file": "models/model.pt", "sha256": "0" * 64}]
SPOT = {"kind": "segmentation", "form": "labels", "structures": [{"value": 1, "name": "spot"}]}
LEAST = {
    "contract": 2,
    "title": "Spots",
    "answer": SPOT,
    "inputs": [{"channels": [{"name": "image"}]}],
    "scope": {"modalities": ["CT"]},
    "weights": WEIGHTS,
}
SPLEEN = {"scheme": "SCT", "value": "78961009", "meaning": "Spleen"}


def read(**changes: Any) -> Contract2:
    return Contract2.model_validate_json(json.dumps({**LEAST, **changes}))


def test_the_published_schema_is_that_of_the_types() -> None:
    """Write it anew by `python -m models.contract > docs/candela-block.schema.json`."""
    assert (ROOT / "docs" / "candela-block.schema.json").read_text() == json_schema()


def test_the_schema_takes_what_the_types_take() -> None:
    validator = Draft202012Validator(json.loads(json_schema()))
    assert not list(validator.iter_errors(LEAST))
    assert list(validator.iter_errors({**LEAST, "unknown": 1}))
    assert list(validator.iter_errors({**LEAST, "answer": {**SPOT, "structures": []}}))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"answer": {**SPOT, "structures": [{"value": 0, "name": "spot"}]}}, "labels from 1 to 255"),
        ({"answer": {**SPOT, "form": "channels", "channels": 1}}, "channel 1 is named, and there are 1"),
        ({"answer": {**SPOT, "structures": SPOT["structures"] * 2}}, "one name"),
        ({"answer": {"kind": "classification", "exclusive": True, "classes": [{"value": 1, "name": "a"}]}}, "0, 1, 2"),
        ({"inputs": [{"repeat": 3, "channels": [{"name": "t1"}, {"name": "t2"}]}]}, "one channel"),
        ({"inputs": LEAST["inputs"] * 2}, "one key"),
        ({"inputs": [{"channels": [{"name": "image", "views": ["PA"]}]}]}, "views and laterality are for projections"),
        ({"inputs": [{"channels": [{"name": "image", "laterality": ["L"]}]}]}, "views and laterality are for"),
        ({"inputs": [{"kind": "projection", "channels": [{"name": "a", "laterality": ["left"]}]}]}, "laterality"),
        ({"inputs": [{"channels": [{"name": "t1", "description": "(t1"}]}]}, "no regular expression"),
        ({"scope": {"modalities": ["DX"], "intents": []}}, "intents"),
        ({"weights": WEIGHTS * 2}, "one component"),
        ({"scope": {"modalities": []}}, "modalities"),
        ({"scope": {"modalities": ["ct"]}}, "modalities"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        read(**changes)


def test_what_is_missing_is_said_until_it_is_there() -> None:
    said = " ".join(unfinished(read()))
    for field in ("a code for spot", "scope.body_parts", "validated_protocol", "report.procedure", "report.target"):
        assert field in said
    whole = read(
        answer={**SPOT, "structures": [{"value": 1, "name": "spleen", "code": SPLEEN}]},
        scope={"modalities": ["CT"], "body_parts": ["ABDOMEN"], "validated_protocol": "portal venous CT"},
        report={"target": SPLEEN, "procedure": {"scheme": "LN", "value": "24627-2", "meaning": "CT Chest"}},
    )
    assert unfinished(whole) == ()


def test_channels_without_a_rule_are_named() -> None:
    channels = [{"name": "t1", "weightings": ["T1"]}, {"name": "flair"}, {"name": "t1c", "contrast": True}]
    said = " ".join(unfinished(read(inputs=[{"channels": channels}])))
    assert "the series of flair are chosen" in said


def test_a_model_of_radiographs_names_its_views() -> None:
    free = [{"kind": "projection", "channels": [{"name": "pa"}, {"name": "lateral"}]}]
    said = " ".join(unfinished(read(inputs=free, scope={"modalities": ["DX"]})))
    assert "scope.views" in said
    assert "the images of pa, lateral are chosen" in said
    named = [
        {
            "kind": "projection",
            "channels": [{"name": "pa", "views": ["PA", "AP"]}, {"name": "left", "laterality": ["L"]}],
        }
    ]
    said = " ".join(unfinished(read(inputs=named, scope={"modalities": ["DX"], "views": ["PA"]})))
    assert "scope.views" not in said
    assert "are chosen" not in said
    alone = [{"kind": "projection", "channels": [{"name": "pa", "views": ["PA"]}]}]
    assert "scope.views" not in " ".join(unfinished(read(inputs=alone, scope={"modalities": ["DX"]})))


def test_inputs_of_one_channel_each_want_rules_too() -> None:
    """As those of a study's radiographs: without views nothing tells which image is which."""
    inputs = [{"key": key, "kind": "projection", "channels": [{"name": key}]} for key in ("image", "lateral")]
    wanted = "inputs: the rules by which the images of image, lateral are chosen."
    assert wanted in unfinished(read(inputs=inputs))
    assert not [item for item in unfinished(read(inputs=inputs[:1])) if item.startswith("inputs:")]


def test_the_networks_own_input_comes_first_whatever_its_place() -> None:
    """Results refer to the first channel, and the answer lies on the images of the network's own input."""
    inputs = [{"key": key, "channels": [{"name": f"{key}_{k}"} for k in range(2)]} for key in ("other", "image")]
    block = read(inputs=inputs)
    assert block.main.key == "image"
    assert [item.name for item in block.channels] == ["image_0", "image_1", "other_0", "other_1"]
    assert read(inputs=[{"key": "mr", "channels": [{"name": "mr"}]}, *inputs[:1]]).main.key == "mr"


@pytest.mark.parametrize(("scheme", "fits"), [("UCUM", True), ("99CANDELA", False)])
def test_a_quantity_has_a_ucum_unit(scheme: str, fits: bool) -> None:
    unit = {"scheme": scheme, "value": "mL", "meaning": "milliliter"}
    answer = {"kind": "regression", "quantities": [{"value": 0, "name": "volume", "unit": unit}]}
    if fits:
        read(answer=answer)
        return
    with pytest.raises(ValidationError, match="UCUM"):
        read(answer=answer)
