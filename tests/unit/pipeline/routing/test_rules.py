"""Rules as data: what each condition asks, which rule decides, and a refusal that says rule by rule why none did."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from pydicom.dataset import Dataset

from pipeline.errors import NotRouted
from pipeline.routing.rules import Rule, When, judge
from pipeline.routing.series_attributes import SeriesAttributes, describe


@pytest.fixture
def series() -> Dataset:
    ds = Dataset()
    ds.Modality, ds.BodyPartExamined, ds.SeriesDescription = "MR", "BRAIN", "T1 AX POST"
    return ds


T1 = SeriesAttributes(
    modality="MR",
    body_part="BRAIN",
    sop_class="1.2.840.10008.5.1.4.1.1.4",
    image_type=("ORIGINAL", "PRIMARY", "M", "SE"),
    scanning_sequence=("SE", "IR"),
    manufacturer="SIEMENS",
    station="MR1",
    descriptions=("T1 AX POST",),
    orientation="axial",
    weighting="T1",
    acquisition="2D",
    contrast="described",
    echo_time=15.0,
    repetition_time=500.0,
    inversion_time=None,
    flip_angle=90.0,
    slice_thickness=5.0,
    magnetic_field_strength=1.5,
    number_of_slices=24,
    calling_ae="MR1",
    called_ae="CANDELA",
)


def route(rules: tuple[Rule, ...], header: Dataset, calling_ae: str = "") -> Rule:
    """The first rule that takes the series; NotRouted where none does."""
    routing = judge(rules, describe(header, calling_ae=calling_ae))
    if not routing.taken:
        raise routing.refusal()
    return routing.taken[0]


def rule(name: str, **when: Any) -> Rule:
    return Rule.model_validate({"name": name, "when": when, "model": "m"})


def test_the_first_rule_that_holds_decides(series: Dataset) -> None:
    rules = (rule("ct", modality=("CT",)), rule("brain", modality=("mr",), body_part=("HEAD", "brain")), rule("all"))
    assert route(rules, series).name == "brain"


def test_descriptions_match_by_pattern_and_case_does_not_matter(series: Dataset) -> None:
    assert route((rule("post", description=("*t1*post*",)),), series).name == "post"
    with pytest.raises(NotRouted, match="series description"):
        route((rule("flair", description=("*flair*",)),), series)


def test_calling_ae_is_a_condition(series: Dataset) -> None:
    rules = (rule("from the scanner", calling_ae=("MR1",)),)
    assert route(rules, series, "MR1").name == "from the scanner"
    with pytest.raises(NotRouted, match="calling AE title is PACS, not MR1"):
        route(rules, series, "PACS")


def test_a_series_that_no_rule_takes_is_refused_with_each_reason(series: Dataset) -> None:
    with pytest.raises(
        NotRouted, match=r"rule 'ct': modality is MR, not CT; rule 'knee': body part is BRAIN, not KNEE"
    ):
        route((rule("ct", modality=("CT",)), rule("knee", body_part=("KNEE",))), series)


def test_the_refusal_does_not_repeat_the_description(series: Dataset) -> None:
    """Descriptions are free text and may name a patient."""
    series.SeriesDescription = "Mr Miller's follow-up"
    with pytest.raises(NotRouted) as caught:
        route((rule("flair", description=("*flair*",)),), series)
    assert "Miller" not in str(caught.value)


def test_a_value_that_is_no_code_is_not_repeated(series: Dataset) -> None:
    """A sender may write anything into Modality: neither names nor escape sequences reach a log or a terminal."""
    for value in ("MÜLLER^HANS (born 1950)", "\x1b[31mMR", "M" * 100):
        series.Modality = value
        with pytest.raises(NotRouted, match="modality is unprintable, not CT"):
            route((rule("ct", modality="CT"),), series)


def test_no_rules_at_all_is_said(series: Dataset) -> None:
    with pytest.raises(NotRouted, match="there are no rules"):
        route((), series)


@pytest.mark.parametrize(
    ("holds", "fails", "reason"),
    [
        ({"modality": "mr"}, {"modality": ["CT", "PT"]}, "modality is MR, not CT or PT"),
        ({"body_part": ["HEAD", "brain"]}, {"body_part": "KNEE"}, "body part is BRAIN, not KNEE"),
        ({"sop_class": "MRImageStorage"}, {"sop_class": "CTImageStorage"}, "is MRImageStorage, not CTImageStorage"),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.4"}, {"sop_class": "1.2.3"}, "SOP class is MRImageStorage, not 1.2.3"),
        ({"image_type": {"contains": ["m", "SE"]}}, {"image_type": {"contains": ["M", "MPR"]}}, "not with MPR"),
        ({"image_type": {"excludes": ["MIP"]}}, {"image_type": {"excludes": ["SE"]}}, "not without SE"),
        ({"scanning_sequence": "ir"}, {"scanning_sequence": ["GR", "EP"]}, r"sequence is SE\\IR, not GR or EP"),
        ({"orientation": "Axial"}, {"orientation": ["sagittal", "oblique"]}, "orientation is axial, not sagittal or"),
        ({"weighting": "t1"}, {"weighting": ["T2", "T2*"]}, r"weighting is T1, not T2 or T2\*"),
        ({"acquisition": "2d"}, {"acquisition": "3D"}, "acquisition is 2D, not 3D"),
        (
            {"contrast": True},
            {"contrast": False},
            "contrast agent is named in the description, and the rule wants none",
        ),
        ({"manufacturer": "Siemens"}, {"manufacturer": "GE"}, "manufacturer is SIEMENS, not GE"),
        ({"station": "mr1"}, {"station": "MR2"}, "station is MR1, not MR2"),
        ({"called_ae": "candela"}, {"called_ae": "STAT"}, "called AE title is CANDELA, not STAT"),
        ({"description": "*T1*"}, {"description": ["*flair*"]}, r"matches \*flair\*"),
        ({"echo_time": {"max": 15}}, {"echo_time": {"min": 15.1}}, "echo time is 15 ms, not at least 15.1 ms"),
        ({"repetition_time": {"min": 1, "max": 500}}, {"repetition_time": {"max": 499}}, "is 500 ms, not at most 499"),
        ({"flip_angle": {"min": 90}}, {"flip_angle": {"max": 89}}, "flip angle is 90°, not at most 89°"),
        ({"slice_thickness": {"max": 5}}, {"slice_thickness": {"max": 3}}, "slice thickness is 5 mm, not at most 3 mm"),
        (
            {"magnetic_field_strength": {"min": 1}},
            {"magnetic_field_strength": {"min": 2, "max": 4}},
            "field strength is 1.5 T, not at least 2 and at most 4 T",
        ),
        ({"number_of_slices": {"min": 24}}, {"number_of_slices": {"min": 25}}, "slices is 24, not at least 25"),
        ({}, {"inversion_time": {"max": 9e9}}, "inversion time is absent, not at most"),  # not stated: never in a range
        (
            {"any_of": [{"modality": "CT"}, {"weighting": "T1"}]},
            {"any_of": [{"modality": "CT"}]},
            "modality is MR, not",
        ),
        (
            {"none_of": [{"modality": "CT"}]},
            {"none_of": [{"modality": "CT"}, {"station": "MR1"}]},
            "none_of group 2 holds",
        ),
    ],
)
def test_each_condition_holds_and_fails_with_its_reason(holds, fails, reason: str) -> None:
    assert judge((rule("r", **holds),), T1).taken
    routing = judge((rule("r", **fails),), T1)
    assert not routing.taken
    with pytest.raises(NotRouted, match=reason):
        raise routing.refusal()


@pytest.mark.parametrize("kind", ["derived", "localizer"])
def test_derived_images_and_localisers_are_left_out_unless_asked_for(kind: str) -> None:
    other = SeriesAttributes(modality="MR", **{kind: True})
    assert not judge((rule("r"),), other).taken
    assert not judge((rule("r", **{kind: "only"}),), T1).taken
    for policy in ("include", "only"):
        assert judge((rule("r", **{kind: policy}),), other).taken
    assert judge((rule("r", **{kind: "include"}),), T1).taken
    with pytest.raises(NotRouted, match=r"it is a (derived image|localiser)"):
        raise judge((rule("r"),), other).refusal()


def test_a_group_does_not_bring_the_defaults_of_a_rule() -> None:
    """`none_of = [{description = ...}]` means that description, of derived images too."""
    derived = SeriesAttributes(modality="MR", derived=True, descriptions=("MPR",))
    assert not judge((rule("r", derived="include", none_of=[{"description": "*mpr*"}]),), derived).taken


def test_all_matches_give_a_series_to_several_models_each_once() -> None:
    rules = (
        Rule(name="a", model="tumour"),
        Rule(name="b", model="stroke"),
        Rule(name="c", model="tumour", destinations=("elsewhere",)),
        Rule(name="d", model="bleed", when=When(modality=("CT",))),
    )
    routing = judge(rules, T1, "all")
    assert [item.name for item in routing.taken] == ["a", "b"]
    assert [item.reason for item in routing.verdicts] == ["", "", "rule 'a' decided before", "modality is MR, not CT"]
    assert [item.name for item in judge(rules, T1, "first").taken] == ["a"]


def test_every_condition_is_judged_so_that_all_that_is_wrong_is_seen_at_once() -> None:
    (verdict,) = judge((rule("r", modality="CT", body_part="KNEE", station="MR1"),), T1).verdicts
    assert [(check.condition, check.holds) for check in verdict.checks if "image" not in check.condition] == [
        ("modality", False),
        ("body part", False),
        ("station", True),
        ("localiser", True),
    ]


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"modalty": "MR"}, "Extra inputs"),
        ({"any_of": [{"modalty": "MR"}]}, "Extra inputs"),
        ({"any_of": [{}]}, "empty"),
        ({"none_of": [{"any_of": [{"modality": "MR"}]}]}, "Extra inputs"),  # one level, on purpose
        ({"sop_class": "MRImage"}, "neither a SOP Class's keyword"),
        ({"orientation": "transverse"}, "axial"),
        ({"weighting": "FLAIR"}, "T1"),
        ({"scanning_sequence": "TSE"}, "SE"),
        ({"derived": True}, "exclude"),
        ({"modality": ""}, "at least 1 character"),
        ({"echo_time": {}}, "min, max or both"),
        ({"echo_time": {"min": 30, "max": 5}}, "min 30 is above max 5"),
        ({"echo_time": {"min": -1}}, "greater than or equal to 0"),
        ({"echo_time": {"max": float("nan")}}, "greater than|finite"),
        ({"echo_time": {"max": float("inf")}}, "finite"),
        ({"echo_time": 15}, "valid dictionary"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_an_error_when_it_is_read(when, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        rule("r", **when)


def test_a_hostile_header_is_not_routed_and_raises_nothing_else() -> None:
    ds = Dataset()
    ds.Modality = ["MR", "CT"]
    ds.ImageType = ["", "", ""]
    ds.ImageOrientationPatient = ["1", "2"]
    ds.EchoTime = ["1", "2"]
    with pytest.raises(NotRouted, match=r"modality is MR\\CT, not MR"):
        route((rule("r", modality="MR", orientation="axial", echo_time={"max": 5}),), ds)
    assert describe(ds).echo_time is None
