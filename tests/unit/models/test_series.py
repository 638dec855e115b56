"""From slices to a series: neighbours must agree, thresholds are kept, probabilities add up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models import registry
from models.series import SeriesAnswer, SlabAnswers, aggregate
from pipeline.findings.model import Outcome
from tests.unit.watched import watched_labels

CONTRACT = registry.get("brain_mri_tumor").bundle.contract
GLIOMA, MENINGIOMA, PITUITARY, NONE = range(4)


def slabs(tumour: list[float], kind: int = MENINGIOMA, side: int = 12) -> SlabAnswers:
    """Slabs with these tumour probabilities; where one is above a half, a square of ``side`` pixels is marked."""
    count = len(tumour)
    probabilities = np.full((count, 4), 1e-3, dtype=np.float32)
    probabilities[:, kind] = tumour
    probabilities[:, NONE] = 1 - np.array(tumour)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    mask = np.zeros((count, 160, 160), dtype=np.float32)
    for k, value in enumerate(tumour):
        if value > 0.5:
            mask[k, 60 : 60 + side, 70 : 70 + side] = 0.9
    return SlabAnswers(probabilities, mask, np.ones(count, dtype=np.float32))


def answer(tumour: list[float], **how: int) -> SeriesAnswer:
    return aggregate(slabs(tumour, **how), CONTRACT, 6.0)


def test_neighbours_that_agree_are_a_finding() -> None:
    """Three neighbouring slices with one region: a finding of their class, outlined on those slices."""
    found = answer([0.02, 0.02, 0.97, 0.99, 0.97, 0.02])
    assert found.outcome is Outcome.FINDING
    assert found.predicted == MENINGIOMA
    assert np.flatnonzero(found.region.any(axis=(1, 2))).tolist() == [2, 3, 4]
    assert found.slab in {2, 3, 4}


def test_one_odd_slice_is_no_tumour() -> None:
    """A slice that is certain while its neighbours see nothing does not make a finding, nor a mask."""
    found = answer([0.02, 0.02, 0.99, 0.02, 0.02])
    assert found.outcome is Outcome.NO_FINDING
    assert found.predicted == NONE
    assert not found.region.any()


def test_two_odd_slices_apart_are_no_tumour() -> None:
    """Two certain slices that do not touch bear each other out no more than one."""
    assert answer([0.02, 0.99, 0.02, 0.99, 0.02]).outcome is Outcome.NO_FINDING


def test_a_single_slice_speaks_for_itself() -> None:
    """A series of one slice has no neighbours to ask."""
    assert answer([0.97]).outcome is Outcome.FINDING
    assert answer([0.02]).outcome is Outcome.NO_FINDING


def test_a_speck_is_no_lesion() -> None:
    """A region below the smallest volume does not count, and without a region there is no finding."""
    found = answer([0.02, 0.97, 0.97, 0.02], side=2)
    assert found.outcome is Outcome.INDETERMINATE
    assert not found.region.any()


def test_between_the_thresholds_the_answer_is_indeterminate() -> None:
    """A tumour probability between the two thresholds of the contract is neither a finding nor none."""
    limits = CONTRACT.thresholds
    middle = (limits.finding + limits.no_finding) / 2
    found = answer([middle] * 4)
    assert found.outcome is Outcome.INDETERMINATE
    assert not found.region.any()  # an outline would say more than the answer does


def test_raising_the_threshold_withdraws_the_finding() -> None:
    """The thresholds of the contract are what decides."""
    strict = replace(CONTRACT, thresholds=replace(CONTRACT.thresholds, finding=0.995))
    assert aggregate(slabs([0.97] * 4), strict, 6.0).outcome is Outcome.INDETERMINATE


@pytest.mark.parametrize("tumour", [[0.0] * 5, [1.0] * 5, [0.3, 0.9, 0.8, 0.2], [0.6]])
def test_probabilities_add_up(tumour: list[float]) -> None:
    """The classes' probabilities are in 0..1 and add up to one."""
    found = answer(tumour)
    assert found.probabilities.sum() == pytest.approx(1)
    assert (found.probabilities >= 0).all()


def test_the_kind_is_that_of_the_region() -> None:
    """Slices outside of the region have no say in the lesion's kind."""
    mixed = slabs([0.02, 0.95, 0.95, 0.95, 0.02, 0.45, 0.45, 0.45], kind=PITUITARY)
    mixed.probabilities[5:, PITUITARY], mixed.probabilities[5:, GLIOMA] = 0.0, 0.45
    assert aggregate(mixed, CONTRACT, 6.0).predicted == PITUITARY


def test_many_regions_cost_no_scan_of_the_volume_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 400 regions the slabs are read a few times in all, not once for each, and the largest region decides."""
    mask = np.zeros((6, 160, 160), dtype=np.float32)
    mask[0:2, 1::8, 1::8] = 0.9
    mask[3:5, 60:80, 71:91] = 0.9
    probabilities = np.tile(np.array([[0.01, 0.01, 0.01, 0.97]], dtype=np.float32), (6, 1))
    probabilities[3:5] = [0.01, 0.97, 0.01, 0.01]
    seen = watched_labels(monkeypatch, "models.series")
    found = aggregate(SlabAnswers(probabilities, mask, np.ones(6, dtype=np.float32)), CONTRACT, 6.0)
    assert seen.elements < 10 * mask.size
    assert found.outcome is Outcome.FINDING
    assert found.predicted == MENINGIOMA
    assert found.slab in {3, 4}
    assert np.flatnonzero(found.region.any(axis=(1, 2))).tolist() == [3, 4]
