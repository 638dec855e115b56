"""The series of each channel of a model: what fills it, what is refused, and that no text of a header is repeated."""

from __future__ import annotations

import itertools

import pytest
from pydicom.dataset import Dataset

from pipeline.errors import MissingSeries, SeveralCandidates
from pipeline.findings.own_results import CREATOR_UID
from pipeline.routing.channels import Channel, choose_channels
from pipeline.routing.scope import Scope, check_scope
from pipeline.routing.selection import Candidate
from pipeline.routing.series_attributes import describe

FOUR = (
    Channel("t1", ("T1",), contrast=False),
    Channel("t1c", ("T1",), contrast=True),
    Channel("t2", ("T2",)),
    Channel("flair", ("FLAIR",)),
)
TIMES = {
    "T1": {"RepetitionTime": "500", "EchoTime": "15"},
    "T2": {"RepetitionTime": "4000", "EchoTime": "100"},
    "FLAIR": {"RepetitionTime": "9000", "EchoTime": "120", "InversionTime": "2500", "ScanningSequence": ["SE", "IR"]},
}


def check(header: Dataset) -> tuple[()]:
    check_scope(header, Scope(("MR",), ("BRAIN",)))
    return ()


def series(uid: str, kind: str = "T1", *, slices: int = 20, **values: object) -> Candidate:
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    ds.SeriesInstanceUID, ds.Modality, ds.BodyPartExamined = uid, "MR", "BRAIN"
    ds.ImageType, ds.ScanningSequence = ["ORIGINAL", "PRIMARY", "M"], "SE"
    ds.FrameOfReferenceUID, ds.SeriesNumber = "1.2.1", "4"
    for keyword, value in {**TIMES[kind], **values}.items():
        setattr(ds, keyword, value)
    return Candidate(uid, ds, describe(ds, instances=slices))


def study() -> list[Candidate]:
    return [
        series("1.1", "T1"),
        series("1.2", "T1", ContrastBolusAgent="Gadovist"),
        series("1.3", "T2"),
        series("1.4", "FLAIR"),
    ]


def chosen(candidates: list[Candidate], channels: tuple[Channel, ...] = FOUR) -> dict[str, str]:
    return {
        item.channel.name: item.candidate.series_instance_uid for item in choose_channels(candidates, channels, check)
    }


ALL = {"t1": "1.1", "t1c": "1.2", "t2": "1.3", "flair": "1.4"}


def test_the_four_series_of_a_brain_study_fill_their_channels_in_any_order() -> None:
    for order in itertools.permutations(study()):
        assert chosen(list(order)) == ALL
    assert [item.channel.name for item in choose_channels(study(), FOUR, check)] == list(ALL)


@pytest.mark.parametrize(
    "more",
    [
        series("1.9", "T1", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        series("1.9", "T2", SeriesDescription="Survey"),
        series("1.9", "T2", slices=2),
        series("1.9", "T2", Modality="CT"),
        series("1.9", "T2", BodyPartExamined="KNEE"),
        series("1.9", "T2", ScanningSequence=["SE", "EP"]),
        series("1.9", "T2", SeriesDescription="ADC"),
        series("1.9", "T2", InversionTime="160"),
        series("1.9", "T1", SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4"),
        series("1.9", "T1", SOPClassUID="1.2.840.10008.5.1.4.1.1.7"),
        series("1.9", "T1", InstanceCreatorUID=CREATOR_UID),
        series("1.9", "T2", ImageType=["DERIVED", "SECONDARY"]),
        series("1.9", "T2", FrameOfReferenceUID="1.2.9"),
    ],
)
def test_what_is_no_candidate_or_plainly_worse_is_passed_over(more: Candidate) -> None:
    assert chosen([more, *study()]) == ALL


def test_contrast_is_read_from_the_description_where_the_tag_is_empty() -> None:
    others = [item for item in study() if item.series_instance_uid != "1.2"]
    assert chosen([*others, series("1.2", "T1", SeriesDescription="AX T1 +C")]) == ALL


def test_a_derived_series_fills_a_channel_that_no_original_fits() -> None:
    others = [item for item in study() if item.series_instance_uid != "1.3"]
    assert chosen([*others, series("1.3", "T2", ImageType=["DERIVED", "PRIMARY"])]) == ALL


def test_a_description_of_the_rule_decides_where_case_does_not_count() -> None:
    two = [series("1.1", "T2", SeriesDescription="AX t2"), series("1.2", "T2", SeriesDescription="COR T2")]
    assert chosen(two, (Channel("t2", ("T2",), description=r"^ax\b"),)) == {"t2": "1.1"}


def test_a_localiser_fills_no_channel_whatever_its_rule() -> None:
    two = [series("1.1", "T2", SeriesDescription="AX"), series("1.2", "T2", SeriesDescription="AX localizer")]
    assert chosen(two, (Channel("any", description="AX"),)) == {"any": "1.1"}


def test_the_reason_is_given_for_each_choice() -> None:
    extra = [
        series("1.8", "T2", ImageType=["DERIVED", "SECONDARY"]),
        series("1.9", "FLAIR", FrameOfReferenceUID="1.2.9"),
    ]
    assert {item.channel.name: item.reason for item in choose_channels([*study(), *extra], FOUR, check)} == {
        "t1": "the only one that fits",
        "t1c": "the only one that fits",
        "t2": "the only original one that fits",
        "flair": "the only one that fits in the frame of reference of the other channels",
    }


def test_a_missing_series_is_refused_with_the_channel_and_what_it_takes() -> None:
    with pytest.raises(MissingSeries) as error:
        chosen(study()[2:])
    assert error.value.what == (
        "No series of the study fits: channel t1 takes a T1 series without contrast agent;"
        " channel t1c takes a T1 series with contrast agent."
    )


def test_two_candidates_are_refused_by_uid_and_number_without_their_description() -> None:
    other = series("1.5", "T2", SeriesDescription="Mustermann T2", SeriesNumber="7")
    with pytest.raises(SeveralCandidates) as error:
        chosen([*study(), other])
    assert "Channel t2 takes a T2 series, and 2 series of the study fit: 1.3 (number 4), 1.5 (number 7)." in str(
        error.value
    )
    assert "Mustermann" not in str(error.value)


def test_one_series_never_fills_two_channels() -> None:
    any_t1 = (Channel("any", ("T1",)), Channel("t1c", ("T1",), contrast=True))
    assert chosen(study(), any_t1) == {"any": "1.1", "t1c": "1.2"}
    with pytest.raises(MissingSeries, match=r"only series 1\.2 fits both"):
        chosen(study()[1:], any_t1)


def test_two_channels_that_want_the_same_are_not_guessed() -> None:
    twins = (Channel("a", ("T1",)), Channel("b", ("T1",)))
    with pytest.raises(SeveralCandidates, match="Channel a takes"):
        chosen(study(), twins)
