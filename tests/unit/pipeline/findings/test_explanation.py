"""When a heat map may stand beside an outline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline import phantom
from pipeline.caveats import CaveatCode
from pipeline.findings.explanation import middle_of_body, points_at, within_body
from pipeline.findings.identity import RunIdentity
from pipeline.findings.measure import to_findings
from pipeline.findings.model import ClassProbability, FloatArray, Outcome, Prediction
from pipeline.geometry.build import build_volume
from tests.conformance.synthetic import MODEL, phantom_context

RUN = RunIdentity("1.2.3", "instances", "model")
CONTEXT = phantom_context()
VOLUME, (LESION,) = CONTEXT.volume, CONTEXT.findings.regions
HEAD = VOLUME.array > 0.2 * np.percentile(VOLUME.array, 99)


def even() -> FloatArray:
    return HEAD.astype(np.float32)


def in_the_lesion() -> FloatArray:
    return (0.2 * HEAD + 0.8 * LESION.mask).astype(np.float32)


def all_but_the_lesion() -> FloatArray:
    return (HEAD & ~LESION.mask).astype(np.float32)


@pytest.mark.parametrize(("heat", "shown"), [(in_the_lesion, True), (even, False), (all_but_the_lesion, False)])
def test_a_map_must_point_at_the_lesion_more_than_by_chance(heat, shown: bool) -> None:
    assert points_at(heat(), (LESION,), VOLUME) is shown


def test_air_does_not_count_as_chance() -> None:
    """An even map over the head is no evidence, though the lesion takes a smaller share of the whole picture."""
    share = LESION.mask.sum() / LESION.mask.size
    heat = even()
    assert heat[LESION.mask].sum() / heat.sum() > 1.5 * share
    assert not points_at(heat, (LESION,), VOLUME)


def test_nothing_contradicts_a_map_without_regions_or_energy() -> None:
    assert points_at(even(), (), VOLUME)
    assert points_at(np.zeros(VOLUME.shape, np.float32), (LESION,), VOLUME)


@pytest.mark.parametrize("contradicts", [False, True])
def test_findings_leave_out_a_map_that_points_elsewhere_and_say_so(contradicts: bool) -> None:
    datasets = phantom.head_phantom(slices=16, matrix=64)
    volume, mask = build_volume(datasets), phantom.lesion_mask(datasets)
    heat = all_but_the_lesion() if contradicts else in_the_lesion()
    shares = (ClassProbability("glioma", 0.9), ClassProbability("no_tumor", 0.1))
    prediction = Prediction(Outcome.FINDING, "glioma", shares, mask, heat, 8)
    findings = to_findings(prediction, volume, RUN, MODEL)
    assert (findings.heatmap is None) is contradicts
    assert [item.code for item in findings.caveats] == ([CaveatCode.HEAT_MAP_LEFT_OUT] if contradicts else [])
    other = to_findings(replace(prediction, heatmap=in_the_lesion()), volume, RUN, MODEL)
    assert [item.measurements for item in findings.regions] == [item.measurements for item in other.regions]


def test_a_map_ends_where_the_body_does() -> None:
    """What lies in the air around the head is cut off, dark places within it stay; the strongest left is 1."""
    volume = build_volume(phantom.head_phantom(slices=8, matrix=64))
    heat = np.zeros(volume.shape, np.float32)
    heat[3] = 0.5
    heat[3, 0, 0] = 1.0
    cut = within_body(heat, volume)
    assert cut[3, 0, 0] == 0
    assert cut[3, 32, 32] == cut.max() == 1
    assert 0.2 < (cut[3] > 0).mean() < 0.9
    assert not cut[[0, 1, 2, 4, 5, 6, 7]].any()
    assert heat[3, 0, 0] == 1.0, "the model's own map is left as it is"


def test_the_key_slice_of_a_negative_is_the_middle_of_the_body() -> None:
    """Empty planes at one end do not count, and the plane that the model looked at most does not matter."""
    volume = build_volume(phantom.head_phantom(slices=12, matrix=64))
    array = volume.array.copy()
    array[:6] = 0
    lower = replace(volume, array=array)
    assert 8 <= middle_of_body(lower) <= 9
    nothing = np.zeros(volume.shape)
    shares = (ClassProbability("glioma", 0.1), ClassProbability("no_tumor", 0.9))
    given = Prediction(Outcome.NO_FINDING, "no_tumor", shares, nothing > 0, nothing.astype(np.float32), 0)
    assert to_findings(given, lower, RUN, MODEL).key_slice == middle_of_body(lower)
