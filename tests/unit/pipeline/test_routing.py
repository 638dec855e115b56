"""Rules as data: the first that holds decides, and a refusal says rule by rule why none did."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from pipeline.errors import NotRouted
from pipeline.routing import Rule, When, route


@pytest.fixture
def series() -> Dataset:
    ds = Dataset()
    ds.Modality, ds.BodyPartExamined, ds.SeriesDescription = "MR", "BRAIN", "T1 AX POST"
    return ds


def rule(name: str, **when: tuple[str, ...]) -> Rule:
    return Rule(name=name, when=When(**when), model="m")


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


def test_no_rules_at_all_is_said(series: Dataset) -> None:
    with pytest.raises(NotRouted, match="there are no rules"):
        route((), series)
