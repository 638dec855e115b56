"""A part of a series gets no negative answer, whatever shows that it is a part."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.caveats import Caveat, CaveatCode, free_text
from pipeline.findings import completeness
from pipeline.findings.completeness import judged, stated_instances
from pipeline.findings.identity import Predecessor, RunIdentity
from pipeline.findings.model import ClassProbability, Needs, Outcome, Prediction
from pipeline.geometry.build import build_volume
from pipeline.process import process
from pipeline.reading.files import Series
from pipeline.report.sentences import Language, caveat
from tests.conformance.synthetic import ANSWERS, MODEL

NEEDS = Needs(coverage_mm=100.0, spacing_mm=8.0)
RECORDED = datetime(2026, 1, 5, 11, 30, tzinfo=UTC)
OWN = free_text("The model's own caveat.")
NOT_REPORTED = Caveat(CaveatCode.NEGATIVE_NOT_REPORTED)
WHOLE = phantom.head_phantom(slices=24, matrix=16)
"""24 slices of 5 mm."""


def answered(datasets: Sequence[Dataset], outcome: Outcome = Outcome.NO_FINDING, **more: object) -> Prediction:
    volume = build_volume(datasets)
    name, shares = ANSWERS[outcome]
    nothing = np.zeros(volume.shape, dtype=bool)
    probabilities = tuple(ClassProbability(key, value) for key, value in shares.items())
    given = Prediction(outcome, name, probabilities, nothing, nothing.astype(np.float32), 0, (OWN,))
    return judged(given, volume, datasets, more.pop("needs", NEEDS), **more)  # type: ignore[arg-type]


def changed(datasets: Sequence[Dataset], **attributes: object) -> list[Dataset]:
    """Copies with each attribute set, or taken away where it is None."""
    copies = [copy.deepcopy(ds) for ds in datasets]
    for ds in copies:
        for name, value in attributes.items():
            if value is None:
                delattr(ds, name)
            else:
                setattr(ds, name, value)
    return copies


def numbered(datasets: Sequence[Dataset], keyword: str, number: Callable[[int], int]) -> list[Dataset]:
    copies = [copy.deepcopy(ds) for ds in datasets]
    for k, ds in enumerate(copies):
        setattr(ds, keyword, number(k))
    return copies


def private(group: int, creator: str, element: int, value: object, vr: str = "SL") -> list[Dataset]:
    copies = [copy.deepcopy(ds) for ds in WHOLE]
    for ds in copies:
        ds.private_block(group, creator, create=True).add_new(element, vr, value)
    return copies


UNSTATED = {"SliceThickness": None, "SpacingBetweenSlices": None}
PARTS: dict[str, tuple[list[Dataset], str]] = {
    "the first third": (list(WHOLE[:8]), "The slices cover 40 mm of the patient"),
    "the last third": (list(WHOLE[16:]), "The slices cover 40 mm of the patient"),
    "every third slice": (list(WHOLE[::3]), "The slices lie 15.0 mm apart; to say"),
    "every second slice": (list(WHOLE[::2]), "10.0 mm apart where the images state 5 mm"),
    "every second thin slice": (
        list(phantom.head_phantom(slices=60, matrix=16)[::2]),
        "4.0 mm apart where the images state 2 mm",
    ),
    "every second slice, thickness alone": (
        changed(WHOLE[::2], SpacingBetweenSlices=None),
        "10.0 mm apart where the images state 5 mm",
    ),
    "every second slice, the gap as its spacing": (
        changed(WHOLE[::2], SliceThickness=4, SpacingBetweenSlices=1),
        "10.0 mm apart where the images state 5 mm",
    ),
    "every second thin slice, nothing stated": (
        changed(phantom.head_phantom(slices=60, matrix=16)[::2], **UNSTATED),
        "Instance Number leaves numbers out between all images",
    ),
    "Images in Acquisition": (changed(WHOLE, ImagesInAcquisition=25), "at least 25 of them; 24 are here"),
    "Number of Series Related Instances": (changed(WHOLE, NumberOfSeriesRelatedInstances=48), "at least 48 of them"),
    "Images in Series of GE": (private(0x0025, "GEMS_SERS_01", 0x07, 60), "at least 60 of them; 24 are here"),
    "Number of Slices MR of Philips": (private(0x2001, "Philips Imaging DD 001", 0x18, 30), "at least 30 of them"),
    "temporal positions": (
        changed(WHOLE, NumberOfTemporalPositions=3, TemporalPositionIdentifier=1),
        "The images state 3 temporal positions; 1 are here.",
    ),
    "places in the stack": (
        numbered(WHOLE, "InStackPositionNumber", lambda k: k + 7),
        "The images state that their stack has at least 30 places; 24 are here.",
    ),
}
WHOLES: dict[str, list[Dataset]] = {
    "as made": list(WHOLE),
    "coronal": list(phantom.head_phantom(slices=20, matrix=16, plane="coronal")),
    "thin slices": list(phantom.head_phantom(slices=60, matrix=16)),
    "the gap as its spacing": changed(
        phantom.head_phantom(slices=17, matrix=16), SliceThickness=5, SpacingBetweenSlices=2
    ),
    "half a slice as gap": changed(WHOLE, SliceThickness=3.33, SpacingBetweenSlices=None),
    "overlapping slices": changed(WHOLE, SliceThickness=10, SpacingBetweenSlices=5),
    "its count reached": changed(WHOLE, ImagesInAcquisition=24),
    "an acquisition of one image each": changed(WHOLE, ImagesInAcquisition=1),
    "a count that is none": changed(WHOLE, ImagesInAcquisition=2_000_000_000),
    "derived images with their originals' count": changed(
        WHOLE, ImageType=["DERIVED", "SECONDARY", "M"], ImagesInAcquisition=160
    ),
    "a private element that is no number": private(0x0025, "GEMS_SERS_01", 0x07, "many", "LO"),
    "numbers in twos, spacing stated": numbered(WHOLE, "InstanceNumber", lambda k: 2 * k + 1),
    "one number for all": numbered(WHOLE, "InstanceNumber", lambda _: 1),
    "all temporal positions": changed(WHOLE, NumberOfTemporalPositions=1, TemporalPositionIdentifier=1),
    "temporal positions that are not numbered": changed(WHOLE, NumberOfTemporalPositions=3),
    "every place": numbered(WHOLE, "InStackPositionNumber", lambda k: k + 1),
    "one place for all": numbered(WHOLE, "InStackPositionNumber", lambda _: 30),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_gets_no_negative_answer(name: str) -> None:
    """It becomes indeterminate, and the reason stands before the model's own caveats, in every language."""
    datasets, said = PARTS[name]
    answer = answered(datasets)
    assert answer.outcome is Outcome.INDETERMINATE
    assert answer.caveats[0] == NOT_REPORTED
    assert answer.caveats[-1] == OWN
    assert any(said in caveat(item) for item in answer.caveats), answer.caveats
    for item in answer.caveats[:-1]:
        assert len({caveat(item, language) for language in Language}) == len(Language)


@pytest.mark.parametrize("name", WHOLES)
def test_a_whole_series_keeps_its_answer(name: str) -> None:
    """What vendors write of whole series is no sign of a part."""
    answer = answered(WHOLES[name])
    assert (answer.outcome, answer.caveats) == (Outcome.NO_FINDING, (OWN,))


def test_a_finding_in_a_part_is_a_finding() -> None:
    """The lesion is there whatever is missing; that something is missing is said all the same."""
    answer = answered(WHOLE[:8], Outcome.FINDING)
    assert answer.outcome is Outcome.FINDING
    assert answer.caveats[0] == OWN
    assert "cover 40 mm" in caveat(answer.caveats[1])
    assert NOT_REPORTED not in answer.caveats


def test_the_archives_count_is_believed_only_against_the_series() -> None:
    """More than is here: a part. As many, or fewer: no word on it."""
    assert answered(WHOLE, expected=25).outcome is Outcome.INDETERMINATE
    assert "counts 25 images of the series; 24 are here" in caveat(answered(WHOLE, expected=25).caveats[1])
    for expected in (None, 24, 3):
        assert answered(WHOLE, expected=expected).outcome is Outcome.NO_FINDING
    assert answered(WHOLE[:8], expected=8).outcome is Outcome.INDETERMINATE


def test_a_bundle_that_needs_nothing_leaves_the_images_own_word() -> None:
    """Bundles made before know no coverage; what the images state holds for every model."""
    assert answered(WHOLE[:8], needs=Needs()).outcome is Outcome.NO_FINDING
    assert answered(changed(WHOLE, ImagesInAcquisition=25), needs=Needs()).outcome is Outcome.INDETERMINATE


def test_exactly_what_is_needed_suffices() -> None:
    """Also where positions were rounded on the way."""
    assert answered(WHOLE[:20]).outcome is Outcome.NO_FINDING
    assert answered(WHOLE[:19]).outcome is Outcome.INDETERMINATE


def test_coverage_goes_along_the_normal() -> None:
    """A sheared stack is longer along its own line than through the patient."""
    tilted = [copy.deepcopy(ds) for ds in WHOLE[:20]]
    for k, ds in enumerate(tilted):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y + k * 5 * np.tan(np.radians(25)), z]
    assert answered(tilted).outcome is Outcome.NO_FINDING
    assert answered(tilted[:-1]).outcome is Outcome.INDETERMINATE


@pytest.mark.parametrize("size", [2, 3])
def test_no_regular_part_of_a_series_is_negative(size: int) -> None:
    """Every split into ``size`` parts, interleaved or contiguous, with spacing stated or not."""
    for datasets in (list(WHOLE), changed(WHOLE, **UNSTATED)):
        length = len(datasets) // size
        interleaved = [datasets[k::size] for k in range(size)]
        contiguous = [datasets[k * length : (k + 1) * length] for k in range(size)]
        for part in (*interleaved, *contiguous):
            assert answered(part).outcome is Outcome.INDETERMINATE
        assert answered(datasets).outcome is Outcome.NO_FINDING


def test_a_concatenation_states_how_many_it_has() -> None:
    """Its parts hold frames: their number is not that of the images."""
    ds = Dataset()
    ds.NumberOfFrames, ds.ImagesInAcquisition, ds.InConcatenationTotalNumber = 40, 120, 3
    assert stated_instances(ds) == 3
    assert stated_instances(Dataset()) == 1


class Negative:
    """A model that sees nothing; its identity says what it needs."""

    classes = tuple(ANSWERS[Outcome.NO_FINDING][1])

    def __init__(self, needs: Needs) -> None:
        self.identity = MODEL.__class__(**{**vars(MODEL), "needs": needs})

    def check(self, header: Dataset) -> tuple[str, ...]:
        return ()

    def predict(self, volume: completeness.Volume) -> Prediction:
        name, shares = ANSWERS[Outcome.NO_FINDING]
        nothing = np.zeros(volume.shape, dtype=bool)
        probabilities = tuple(ClassProbability(key, value) for key, value in shares.items())
        return Prediction(Outcome.NO_FINDING, name, probabilities, nothing, nothing.astype(np.float32), 0)


@pytest.mark.parametrize(
    ("datasets", "needs", "expected", "outcome"),
    [
        (WHOLE, NEEDS, None, Outcome.NO_FINDING),
        (WHOLE, NEEDS, 30, Outcome.INDETERMINATE),
        (WHOLE[:8], NEEDS, None, Outcome.INDETERMINATE),
        (WHOLE[:8], Needs(), None, Outcome.NO_FINDING),
    ],
)
def test_the_pipeline_judges(
    datasets: tuple[Dataset, ...], needs: Needs, expected: int | None, outcome: Outcome
) -> None:
    """Every object and report of the run has the judged answer, not the model's."""
    made = process(
        Series(datasets),
        Negative(needs),
        now=lambda: 0.0,
        recorded=RECORDED,
        expected=expected,
    )
    assert made.findings.outcome is outcome
    assert made.content.findings.outcome is outcome
    assert (NOT_REPORTED in made.content.findings.caveats) == (outcome is Outcome.INDETERMINATE)


def test_results_that_name_a_count_have_uids_of_their_own() -> None:
    """One UID never stands for two contents: a count that results repeat is part of theirs; one that is reached is not.

    A later run that replaces them derives the same UIDs.
    """
    plain = RunIdentity("1.2.3", "a" * 64, "b" * 64)
    short = replace(plain, expected=30)
    assert short.uid("instance", "report", "1") != plain.uid("instance", "report", "1")
    assert short.lineage_uid("series", "report") == plain.lineage_uid("series", "report")
    later = replace(plain, instances="c" * 64, predecessors=(Predecessor("a" * 64, expected=30),))
    assert later.previous == short
    other = replace(later, predecessors=(Predecessor("a" * 64),))
    assert later.uid("instance", "report", "1") != other.uid("instance", "report", "1")

    def uids(expected: int | None) -> set[str]:
        more = {"now": lambda: 0.0, "recorded": RECORDED, "expected": expected}
        made = process(Series(WHOLE), Negative(NEEDS), **more)
        return {str(item.dataset.SOPInstanceUID) for item in made.objects}

    plain_uids = uids(None)
    assert plain_uids == uids(24) == uids(3)
    assert not plain_uids & uids(30)
