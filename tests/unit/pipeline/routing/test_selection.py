"""The series of a study that suits a model best, and the reason for each of the others."""

from __future__ import annotations

import itertools

import pytest
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.errors import BadGeometry
from pipeline.geometry.build import build_volume
from pipeline.routing.protocol import ProtocolContract
from pipeline.routing.selection import LEAST_SLICES, Candidate, choose
from pipeline.routing.series_attributes import describe
from tests.peers.study import brain_study, uid_of

BRAIN = ProtocolContract("MR", ("BRAIN", "HEAD"), ("T1",), contrast_expected=True)
ANY = ProtocolContract("MR", ("BRAIN", "HEAD"), ("T1", "T2"), contrast_expected=False)
PLANES = {"axial": [1, 0, 0, 0, 1, 0], "coronal": [1, 0, 0, 0, 0, -1], "sagittal": [0, 1, 0, 0, 0, -1]}
PLANES["oblique"] = [0.707107, 0.707107, 0, 0, 0, -1]


def candidate(uid: str, *, plane: str = "axial", slices: int = 20, **values: object) -> Candidate:
    """A T1 spin echo with contrast, unless ``values`` say otherwise."""
    ds = Dataset()
    ds.SeriesInstanceUID, ds.Modality, ds.BodyPartExamined = uid, "MR", "BRAIN"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    ds.ScanningSequence, ds.RepetitionTime, ds.EchoTime, ds.MRAcquisitionType = "SE", "500", "15", "2D"
    ds.ContrastBolusAgent, ds.SliceThickness, ds.SeriesNumber = "Gadovist", "5", "4"
    ds.ImageOrientationPatient = PLANES[plane]
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return Candidate(uid, ds, describe(ds, instances=slices))


def test_of_a_brain_study_the_axial_series_with_contrast_is_read() -> None:
    study = brain_study()
    candidates = [Candidate(uid_of(made), made[0], describe(made[0], instances=len(made))) for made in study.values()]
    choice = choose(candidates, BRAIN)
    assert choice.chosen is not None
    assert choice.chosen.series_instance_uid == uid_of(study["t1c"])
    assert choice.reason == "suits the model best of 5 series, by plane: axial"
    best = uid_of(study["t1c"])
    reasons = {item.candidate.series_instance_uid: item.reason for item in choice.passed_over}
    assert reasons == {
        uid_of(study["t1c_sag"]): f"series {best} suits the model better, by plane: axial against sagittal",
        uid_of(study["t1"]): (
            f"series {best} suits the model better, by contrast agent: stated by the tags against not mentioned"
        ),
        uid_of(study["localizer"]): (
            "the model does not take it: The series is a localiser (ImageType or SeriesDescription);"
            " the model takes anatomical images."
        ),
        uid_of(study["t2"]): (
            "the model does not take it: The series is T2-weighted (ScanningSequence SE, TR 4000 ms, TE 100 ms);"
            " the model takes T1."
        ),
    }


@pytest.mark.parametrize(
    ("better", "worse", "by"),
    [
        ({}, {"ContrastBolusAgent": ""}, "contrast agent"),
        ({"ContrastBolusAgent": "", "SeriesDescription": "T1 post"}, {"ContrastBolusAgent": ""}, "contrast agent"),
        ({}, {"ContrastBolusAgent": "", "SeriesDescription": "T1 post"}, "contrast agent"),
        ({}, {"ImageType": ["DERIVED", "SECONDARY"]}, "image type"),
        ({}, {"plane": "coronal"}, "plane"),
        ({"plane": "sagittal", "MRAcquisitionType": "3D"}, {"plane": "coronal"}, "plane"),
        ({"plane": "sagittal"}, {"plane": "oblique"}, "plane"),
        ({"plane": "oblique"}, {"ImageOrientationPatient": None}, "plane"),
        ({"slices": 30}, {"slices": 20}, "number of slices"),
        ({"SliceThickness": "3"}, {}, "slice thickness"),
        ({}, {"SliceThickness": ""}, "slice thickness"),
        ({"SeriesNumber": "9"}, {}, "series number"),
        # what is weightier outweighs all that is lighter
        ({"plane": "sagittal", "slices": 5}, {"ContrastBolusAgent": "", "slices": 99}, "contrast agent"),
        ({"slices": 5, "SliceThickness": "9"}, {"plane": "coronal", "slices": 99}, "plane"),
    ],
)
def test_each_criterion_decides_and_is_named(better: dict, worse: dict, by: str) -> None:
    good, bad = candidate("1.2", **better), candidate("1.1", **worse)
    for order in ((good, bad), (bad, good)):
        choice = choose(order, BRAIN)
        assert choice.chosen is good
        assert f"by {by}" in choice.passed_over[0].reason
        assert f"by {by}" in choice.reason


def test_contrast_does_not_count_for_a_model_that_was_not_validated_on_it() -> None:
    plain, contrast = candidate("1.1", ContrastBolusAgent=""), candidate("1.2", slices=10)
    assert choose((plain, contrast), ANY).chosen is plain
    assert choose((plain, contrast), BRAIN).chosen is contrast


def test_the_contracts_first_weighting_is_preferred() -> None:
    t1, t2 = candidate("1.1", slices=5), candidate("1.2", RepetitionTime="4000", EchoTime="100")
    choice = choose((t1, t2), ANY)
    assert choice.chosen is t1
    assert "by weighting: T1 against T2" in choice.passed_over[0].reason


def test_equals_are_told_apart_by_uid_and_said_to_be_equal() -> None:
    first, second = candidate("1.1"), candidate("1.2")
    choice = choose((second, first), BRAIN)
    assert choice.chosen is first
    assert "all else being equal" in choice.passed_over[0].reason


def test_the_only_series_is_read_and_the_only_one_that_suits_as_well() -> None:
    alone = candidate("1.1")
    assert choose((alone,), BRAIN).reason == "the study's only series for this model"
    wrist = candidate("1.2", BodyPartExamined="WRIST")
    choice = choose((alone, wrist), BRAIN)
    assert choice.reason == "the only one of 2 series that the model takes"
    assert choice.passed_over[0].code == "UNSUPPORTED_PROTOCOL"


def test_where_none_suits_each_has_the_contracts_reason() -> None:
    choice = choose((candidate("1.1", BodyPartExamined="WRIST"), candidate("1.2", Modality="CT")), BRAIN)
    assert choice.chosen is None
    assert [item.code for item in choice.passed_over] == ["UNSUPPORTED_PROTOCOL", "UNSUPPORTED_MODALITY"]
    assert choose((), BRAIN).chosen is None


def test_too_few_slices_for_a_volume_do_not_suit() -> None:
    choice = choose((candidate("1.1", slices=2), candidate("1.2", slices=3, ContrastBolusAgent="")), BRAIN)
    assert choice.chosen is not None
    assert choice.chosen.series_instance_uid == "1.2"
    assert "at least 3" in choice.passed_over[0].reason
    build_volume(phantom.head_phantom(slices=LEAST_SLICES, matrix=16))
    with pytest.raises(BadGeometry):
        build_volume(phantom.head_phantom(slices=LEAST_SLICES - 1, matrix=16))


def test_the_order_in_which_series_came_does_not_matter() -> None:
    series = [
        candidate("1.1", ContrastBolusAgent=""),
        candidate("1.2", plane="coronal"),
        candidate("1.3", BodyPartExamined="WRIST"),
        candidate("1.4"),
        candidate("1.5", slices=20),
    ]
    choices = [choose(order, BRAIN) for order in itertools.permutations(series)]
    assert all(choice == choices[0] for choice in choices)
