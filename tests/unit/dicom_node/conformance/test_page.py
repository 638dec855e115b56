"""docs/conformance.md is what the code's tables make, and those say what the code does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import highdicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from dicom_node.conformance import tables
from dicom_node.conformance.markdown import ranges, stated
from dicom_node.conformance.objects import COMMON, OBJECTS
from dicom_node.conformance.page import page
from dicom_node.receive import refusals
from dicom_node.receive.listener import Listener
from dicom_node.receive.policy import FAULTY, LIMIT_EXCEEDED, NOT_ADMITTED
from pipeline.errors import NotVolume
from pipeline.report.assessment import Outline, StatedAssessment, Verdict
from pipeline.results.build import build
from pipeline.results.profile import KINDS, PRESETS, Profile
from pipeline.results.provenance import SERIES_NUMBERS, ResultContext
from pipeline.results.reported import report_content
from pipeline.results.sc import refusal
from pipeline.results.sr import assessment
from tests.conformance.synthetic import EVERYTHING, MODEL, phantom_context
from tests.conftest import ROOT

STANDARD = Path(highdicom.__file__).parent / "_standard"
LABELMAP = Profile(objects=("segmentation",), segmentation_type="LABELMAP")


def standard(name: str) -> Any:
    """A table of PS3.3, as highdicom has it."""
    return json.loads((STANDARD / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def context() -> ResultContext:
    return phantom_context(slices=6, matrix=48)


@pytest.fixture(scope="module")
def built(context: ResultContext) -> Mapping[str, tuple[Dataset, ...]]:
    """Objects of every kind, by the names of `OBJECTS`."""
    every = build(context, {"made": EVERYTHING})
    made = {kind: tuple(item.dataset for item in every if item.role == kind) for kind in KINDS}
    labels = tuple(item.dataset for item in build(context, {"made": LABELMAP}))
    page = refusal.build(context.volume.sources, NotVolume("It is no volume.", todo="None."), MODEL)
    said = StatedAssessment(
        1, Verdict.REJECTED, "none", False, Outline.WRONG, "Nothing.", "anna", datetime(2026, 11, 30, tzinfo=UTC)
    )
    content = report_content(context, every, recorded=said.at)
    return {
        **made,
        "segmentation, LABELMAP": labels,
        "refusal": tuple(item.dataset for item in page),
        "assessment": (assessment.build(content, every[0].dataset, said),),
    }


def test_the_page_is_up_to_date() -> None:
    """`python -m dicom_node.conformance.page` writes it."""
    assert page() == (ROOT / "docs" / "conformance.md").read_text()


def test_every_kind_of_result_has_the_sop_class_that_is_stated(built: Mapping[str, tuple[Dataset, ...]]) -> None:
    assert set(OBJECTS) == set(built)
    for kind, item in OBJECTS.items():
        assert built[kind], kind
        numbers = SERIES_NUMBERS[kind.split(",")[0]]
        for ds in built[kind]:
            assert (ds.SOPClassUID, ds.Modality, ds.SeriesNumber) == (item.sop_class, item.modality, numbers), kind
            assert item.sop_class.name in (item.name, item.sop_class)  # the second: not in pydicom's dictionary


def test_results_have_no_private_attributes(built: Mapping[str, tuple[Dataset, ...]]) -> None:
    assert [e.tag for sets in built.values() for ds in sets for e in ds.iterall() if e.tag.is_private] == []


@pytest.mark.parametrize("kind", OBJECTS)
def test_the_modules_stated_are_those_of_the_iod(kind: str, built: Mapping[str, tuple[Dataset, ...]]) -> None:
    """Every mandatory module is stated, none that the IOD lacks, and what is stated has its type 1 attributes."""
    iods, attributes = standard("iod_module_map"), standard("module_attribute_map")
    usages = {item["key"]: item["usage"] for item in iods[standard("sop_class_iod_map")[OBJECTS[kind].sop_class]]}
    claimed = {name.lower().replace(" ", "-") for name in (*COMMON, *OBJECTS[kind].modules)}
    if kind in ("segmentation", "segmentation, LABELMAP", "heatmap"):
        claimed |= {"general-series"}  # which the module of the kind specialises
    assert {key for key, usage in usages.items() if usage == "M"} <= claimed
    assert claimed <= set(usages)
    for key in claimed - {"sr-document-content"}:  # whose type 1 attributes depend on the value type
        needed = {item["keyword"] for item in attributes[key] if not item["path"] and item["type"] == "1"}
        missing = [(key, name) for ds in built[kind] for name in needed if name not in ds]
        assert missing == []


@pytest.mark.parametrize("preset", PRESETS)
def test_results_are_proposed_in_their_own_transfer_syntax(preset: str, context: ResultContext) -> None:
    """Each object that a preset makes, as it lies on disk."""
    profile = PRESETS[preset]
    made = {(item.role, item.dataset.file_meta.TransferSyntaxUID) for item in build(context, {preset: profile})}
    assert made == {(kind, tables.encoded_as(kind, profile)) for kind in profile.objects}
    for kind, own in made:
        offered = [syntax for _, syntax in tables.proposed(kind, profile)]
        assert offered[0] == own
        assert {uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian} <= set(offered)


def test_the_statuses_stated_are_those_that_are_given() -> None:
    given = {code for name, code in vars(refusals).items() if name.isupper() and isinstance(code, int)}
    given -= {refusals.COMMENT_MOST}
    assert {int(code, 16) for code, _ in stated(Listener._store_instance)} == given
    rejections = {NOT_ADMITTED, LIMIT_EXCEEDED, *FAULTY.values()}
    texts = {f"{item.result}, {item.source}, {item.reason}" for item in rejections}
    assert {text for text, _ in stated(Listener._requested)} == texts


def test_a_docstring_without_a_table_is_told() -> None:
    with pytest.raises(ValueError, match="no table"):
        stated(ranges)


def test_codes_are_written_as_ranges() -> None:
    def codes() -> Iterator[int]:
        yield 0x0110
        yield from range(0xA700, 0xA800)

    assert ranges(codes()) == "0x0110, 0xA700–0xA7FF"
