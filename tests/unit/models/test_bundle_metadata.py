"""metadata.json is held to: each field to its range, MONAI's description to the contract, versions to what is there."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from models.agreement import VALUE_RANGE
from models.bundle import METADATA, Bundle, read_bundle
from models.installed import check_packages
from models.metadata import MOST_BYTES, read_metadata
from pipeline.errors import BadModel
from pipeline.findings.model import Needs
from pipeline.preprocess.intensity import CLIP
from tests.peers.tiny_bundle import bright_spots, classifying
from tests.unit.models.small import metadata, write_metadata

INPUT = "network_data_format.inputs.image"
OUTPUT = "network_data_format.outputs"


def changed(folder: Path, field: str, value: Any) -> Path:
    """The bundle with one field of its metadata changed, or taken away where ``value`` is None."""
    raw = metadata(folder)
    *path, last = field.split(".")
    place = raw
    for part in path:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    write_metadata(folder, raw)
    return folder


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (f"{INPUT}.num_channels", 3, "num_channels is 3"),
        (f"{INPUT}.spatial_shape", [64, 64], "candela.recipe.matrix 32"),
        (f"{INPUT}.spatial_shape", [32, 32, 32], "spatial_shape"),
        (f"{INPUT}.spatial_shape", ["24*n", "24*n"], "spatial_shape"),
        (f"{INPUT}.dtype", "uint8", "dtype"),
        (f"{INPUT}.value_range", [0, 1], "value_range"),
        (f"{INPUT}.value_range", [], "value_range"),
        (f"{INPUT}.modality", "CT", "modality is CT"),
        (f"{INPUT}.format", "hounsfield", "format is hounsfield"),
        (f"{INPUT}.type", "probabilities", "type is probabilities"),
        (f"{INPUT}.is_patch_data", True, "is_patch_data"),
        (f"{INPUT}.channel_def", {"1": "T1"}, "channel_def"),
        (f"{INPUT}.channel_def", {}, "channel_def"),
        ("network_data_format.inputs", {}, "one, called image"),
        ("network_data_format", {"inputs": {}}, "network_data_format.outputs"),
        (f"{OUTPUT}.classes.num_channels", 3, "classes.channel_def"),
        (f"{OUTPUT}.classes.channel_def", {"0": "none", "1": "lesion"}, "in their order"),
        (f"{OUTPUT}.classes.format", "segmentation", "not logits"),
        (f"{OUTPUT}.classes.value_range", [0, 1], "takes logits"),
        (f"{OUTPUT}.mask.num_channels", 2, "mask.num_channels is 2"),
        (f"{OUTPUT}.mask.spatial_shape", [16, 16], "mask.spatial_shape"),
        (f"{OUTPUT}.mask.dtype", "float16", "mask.dtype"),
        (f"{OUTPUT}.mask.is_patch_data", True, "whole slices"),
        (f"{OUTPUT}.mask", None, "classes and mask"),
        (f"{OUTPUT}.head", None, "candela.thresholds.head"),
        (f"{OUTPUT}.head.num_channels", 2, "one channel"),
        ("candela.thresholds.head", None, "output called head"),
        ("candela.thresholds.mask", 1.5, "candela.thresholds.mask"),
        ("candela.thresholds.finding", 0.4, "no_finding <= 0.5 <= finding"),
        ("candela.thresholds.lesion_mm3", -1, "lesion_mm3"),
        ("candela.thresholds.head_mm", [260, 90], "head_mm"),
        ("candela.thresholds.maks", 0.5, "no such field"),
        ("candela.coverage_mm", 0, "candela.coverage_mm"),
        ("candela.coverage_mm", "100", "candela.coverage_mm"),
        ("candela.coverage_mm", 5000, "candela.coverage_mm"),
        ("candela.spacing_mm", -1, "candela.spacing_mm"),
        ("candela.spacing_mm", float("nan"), "candela.spacing_mm"),
        ("candela.spacing_mm", [8], "candela.spacing_mm"),
        ("candela.temperature", 0, "temperature"),
        ("candela.temperature", "1", "temperature"),
        ("candela.contrast_expected", "false", "contrast_expected"),
        ("candela.recipe.matrix", 0, "matrix"),
        ("candela.recipe.pixel_mm", 0, "pixel_mm"),
        ("candela.recipe.pixel_mm", 1e300, "pixel_mm"),
        ("candela.recipe.slab_mm", -4, "slab_mm"),
        ("candela.modality", "CT", "candela.modality"),
        ("candela.body_parts", ["KNEE"], "body_parts"),
        ("candela.body_parts", [], "body_parts"),
        ("candela.weightings", ["DWI"], "weightings"),
        ("candela.validated_protocol", None, "validated_protocol"),
        ("candela.title", "Tiny\\\n", "title"),
        ("candela.classes", ["Patient's lesion", "none"], "classes"),
        ("candela.codes", {"tumour": {"scheme": "SCT", "value": "1", "meaning": "x"}}, "not among candela.classes"),
        ("candela.codes", {"lesion": {"scheme": "ICD", "value": "1", "meaning": "x"}}, "scheme"),
        ("candela.codes", {"lesion": {"scheme": "SCT", "value": "1" * 17, "meaning": "x"}}, "value"),
        ("candela.codes", {"lesion": {"scheme": "99CANDELA", "value": "none", "meaning": "x"}}, "have one code"),
        ("candela.weights", {"file": "models/model.ts", "sha256": "0" * 64}, "safetensors"),
        ("candela.weights", {"file": "/etc/passwd.pt", "sha256": "0" * 64}, "outside"),
        ("candela.weights", {"file": "models/model.pt", "sha256": "0"}, "sha256"),
        ("candela", None, "no candela block"),
        ("candela", [], "no candela block"),
        ("version", None, "version"),
        ("version", 1, "version"),
        ("monai_version", None, "monai_version"),
        ("monai_version", "99.0", "monai_version is 99.0"),
        ("pytorch_version", "newest", "no version"),
        ("required_packages_version", {"no-such-package": "1.0"}, "not installed"),
        ("required_packages_version", {"": "1.0"}, "not installed"),
        ("required_packages_version", {"safetensors": "999"}, "safetensors 999"),
    ],
)
def test_a_contradiction_is_refused_by_file_and_field(tmp_path: Path, field: str, value: Any, words: str) -> None:
    """Whatever in metadata.json cannot be, or contradicts the rest, is named with its file and field."""
    folder = changed(classifying(tmp_path), field, value)
    with pytest.raises(BadModel) as told:
        read_bundle(folder)
    assert words in str(told.value)
    assert str(folder / METADATA) == told.value.where


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (f"{OUTPUT}.pred.num_channels", 2, "pred.channel_def"),
        (f"{OUTPUT}.pred.channel_def", {"0": "other"}, "pred.channel_def"),
        (f"{OUTPUT}.pred.channel_def", {"0": "background"}, "pred.channel_def"),
        (f"{OUTPUT}.pred.format", "logits", "format segmentation"),
        (f"{OUTPUT}.pred.value_range", [0, 1], "takes logits"),
        (f"{OUTPUT}.pred.is_patch_data", True, "whole slices"),
        (f"{OUTPUT}.second", {}, "second"),
        ("candela.thresholds.head", 0.5, "output called head"),
    ],
)
def test_a_segmenting_bundle_is_held_to_the_same(tmp_path: Path, field: str, value: Any, words: str) -> None:
    """So are the fields of a bundle whose network only segments."""
    with pytest.raises(BadModel) as told:
        read_bundle(changed(bright_spots(tmp_path), field, value))
    assert words in str(told.value)


@pytest.mark.parametrize("shape", [["*", "*"], ["16*n", "16 * n"], [32, "*"]])
def test_a_network_that_takes_many_shapes_takes_the_recipes(tmp_path: Path, shape: list[Any]) -> None:
    """MONAI's ways to say "any" and "a multiple of" are understood."""
    assert read_bundle(changed(classifying(tmp_path), f"{INPUT}.spatial_shape", shape)).name == "tiny"


def test_the_promised_value_range_is_what_the_preprocessing_gives() -> None:
    """The contract is read without torch, so it holds a copy of the range: the two are one."""
    assert VALUE_RANGE == (-CLIP, CLIP)


@pytest.mark.parametrize(
    "content",
    [
        b'{"version": ',
        b"\xff\xfe{}",
        b'{"version": "M\xfcller"}',
        b"",
        b"[" * 100_000,
        b'{"version": ' + b"9" * 5000 + b"}",
        b"null",
        b"[]",
        b'"candela"',
    ],
)
def test_what_is_no_metadata_is_refused(tmp_path: Path, content: bytes) -> None:
    """Cut off, not UTF-8, empty, nested without end, a number without end, or no object at all."""
    folder = classifying(tmp_path)
    (folder / METADATA).write_bytes(content)
    with pytest.raises(BadModel, match=r"metadata\.json"):
        read_bundle(folder)


def test_a_huge_metadata_is_not_read(tmp_path: Path) -> None:
    """A file of many megabytes is refused by its size."""
    folder = classifying(tmp_path)
    (folder / METADATA).write_bytes(b" " * (MOST_BYTES + 1))
    with pytest.raises(BadModel, match="larger than"):
        read_bundle(folder)


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    """Python's JSON lets NaN through; the contract does not."""
    folder = classifying(tmp_path)
    text = (folder / METADATA).read_text().replace('"lesion_mm3": 150.0', '"lesion_mm3": NaN')
    (folder / METADATA).write_text(text)
    with pytest.raises(BadModel, match="lesion_mm3"):
        read_bundle(folder)


def test_no_more_than_four_problems_are_told(tmp_path: Path) -> None:
    """An error is a sentence, not a page."""
    folder = classifying(tmp_path)
    (folder / METADATA).write_text(json.dumps({"candela": {"contract": 1}}))
    with pytest.raises(BadModel, match=r"and \d+ more"):
        read_bundle(folder)


def test_fields_that_are_monais_alone_may_be_anything(tmp_path: Path) -> None:
    """Authors, references, evaluation figures and the like are not Candela's to judge."""
    folder = changed(classifying(tmp_path), "eval_metrics", {"mean_dice": 0.8})
    assert isinstance(read_bundle(changed(folder, "optional_packages_version", {"no-such": "x"})), Bundle)


def test_versions_are_judged_by_the_rule(tmp_path: Path) -> None:
    """Older or absent is refused, the same or newer goes, a newer major version goes with a note."""
    path = classifying(tmp_path) / METADATA
    read = read_metadata(path)  # monai 1.5.0, torch 2.6.0, numpy 2.0.2, safetensors 0.4
    there = {"monai": "1.5.0", "torch": "2.6.0+cpu", "numpy": "2.0.2", "safetensors": "0.4.0"}
    assert check_packages(read, path, there.__getitem__) == ()
    notes = check_packages(read, path, ({**there, "monai": "2.0.0"}).__getitem__)
    assert notes == ("The bundle was made with monai 1.5.0; 2.0.0 is installed.",)
    with pytest.raises(BadModel, match=r"pytorch_version is 2\.6\.0, and torch 2\.5\.9 is installed"):
        check_packages(read, path, ({**there, "torch": "2.5.9"}).__getitem__)

    def nothing(name: str) -> str:
        raise PackageNotFoundError(name)

    with pytest.raises(BadModel, match="not installed"):
        check_packages(read, path, nothing)


def test_a_bundle_says_what_its_classes_are_called(tmp_path: Path) -> None:
    """Names, codes, sites and what is looked for come from the metadata; a class without a code gets a private one."""
    identity = read_bundle(bright_spots(tmp_path)).identity
    assert identity.term("bright_lesion").title == "Enhancing lesion"
    assert identity.term("bright_lesion").code.value == identity.target.value == "52988006"
    assert identity.term("bright_lesion").site.meaning == "Cerebrum"
    plain = read_bundle(classifying(tmp_path)).identity
    assert plain.term("lesion").code.scheme == "99CANDELA"
    assert plain.term("lesion").title == "Lesion"


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({}, Needs()),
        ({"coverage_mm": 100}, Needs(coverage_mm=100.0)),
        ({"coverage_mm": 92.5, "spacing_mm": 8}, Needs(92.5, 8.0)),
    ],
)
def test_a_bundle_says_what_a_negative_answer_needs(tmp_path: Path, fields: dict[str, float], needs: Needs) -> None:
    """Bundles without these fields, as all were once, need nothing."""
    assert read_bundle(classifying(tmp_path, **fields)).identity.needs == needs
