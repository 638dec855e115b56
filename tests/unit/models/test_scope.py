"""What is no whole head is drawn, cut and counted; series that cannot be read are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import registry
from models.evaluation import scope
from models.evaluation.runs import longest_run
from models.evaluation.scope import SLICES, drawn_cases, drawn_things, outcome, real_cases, real_series, synthetic
from models.runtime import ResidentModel, choose_device
from models.training.drawn.kinds import KINDS
from pipeline.findings.model import Outcome
from pipeline.geometry.build import build_volume
from pipeline.phantom import head_phantom
from tests.unit.models.measured import four_classes, picture_folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ResidentModel:
    """A model with random weights: its answers mean nothing, that it gives them is what counts."""
    folder = tmp_path_factory.mktemp("bundles")
    four_classes(folder)
    return ResidentModel(registry.get("four", (folder,)).bundle, choose_device("cpu", cuda=False))


def test_every_drawn_case_can_be_read() -> None:
    """Volumes are finite, not negative, of a head's extent; there are heads among them and what is none."""
    cases = list(drawn_cases())
    assert len({case.name for case in cases}) >= 12
    assert {case.head for case in cases} == {True, False}
    for case in cases:
        assert np.isfinite(case.volume.array).all()
        assert case.volume.array.min() >= 0
        assert len(case.volume.array) == SLICES
        assert case.volume.shape[1] * case.volume.spacing[1] == pytest.approx(240)


def test_every_kind_of_thing_is_drawn_as_series() -> None:
    """Fruit, phantoms and bodies as wide as a head at most, in all three planes, none of them a head."""
    cases = list(drawn_things())
    assert {case.name for case in cases} == set(KINDS)
    assert not any(case.head for case in cases)
    assert {int(np.abs(case.volume.affine[:3, 0]).argmax()) for case in cases} == {0, 1, 2}
    assert all(np.isfinite(case.volume.array).all() for case in cases)


def test_heads_are_cut_as_their_name_says() -> None:
    """Of a head whose rim is left at most a quarter remains; a head cut up has the same voxels in other places."""
    whole = build_volume(head_phantom(slices=SLICES, matrix=128, lesion=False)).array
    for case in drawn_cases():
        if "rim" in case.name:
            assert 0 < (case.volume.array > 0).sum() <= 0.3 * whole.size
        if "cut up" in case.name:
            assert not np.array_equal(case.volume.array, whole)
            assert np.sort(case.volume.array, axis=None) == pytest.approx(np.sort(whole, axis=None))


def test_refusals_are_counted_over_what_is_no_head(monkeypatch: pytest.MonkeyPatch, tiny: ResidentModel) -> None:
    """Two refusals and an answer without a head, by kind too; the answer to a head is not among them."""
    cases = {case.name: case for case in drawn_cases() if case.name in {"nothing", "noise"}}
    drawn = [cases["nothing"], cases["nothing"], cases["noise"], replace(cases["noise"], name="head", head=True)]
    monkeypatch.setattr(scope, "drawn_cases", lambda: drawn)
    monkeypatch.setattr(scope, "drawn_things", list)
    said = iter(["OUT_OF_SCOPE", "TRUNCATED", "no_finding", "finding"])
    monkeypatch.setattr(scope, "outcome", lambda _model, _volume: next(said))
    assert synthetic(tiny) == {
        "kinds": {
            "nothing": {"head": False, "OUT_OF_SCOPE": 1, "TRUNCATED": 1},
            "noise": {"head": False, "no_finding": 1},
            "head": {"head": True, "finding": 1},
        },
        "not_a_head": {"refused": 2, "answered": 1},
    }


def test_an_empty_volume_is_refused_whatever_the_network_is(tiny: ResidentModel) -> None:
    (nothing,) = (case for case in drawn_cases() if case.name == "nothing")
    assert outcome(tiny, nothing.volume) == "OUT_OF_SCOPE"


@pytest.mark.nightly
def test_counts_are_of_what_is_no_head(tiny: ResidentModel) -> None:
    """Refused and answered add up to the cases without a head; an empty volume is refused whatever the network is."""
    result = synthetic(tiny)
    without = sum(not case.head for case in (*drawn_cases(), *drawn_things()))
    assert sum(result["not_a_head"].values()) == without
    assert result["kinds"]["nothing"] == {"head": False, "OUT_OF_SCOPE": 1}


def test_a_refusal_is_an_outcome_and_so_is_an_answer(tiny: ResidentModel) -> None:
    """The code of the refusal, or the outcome's own name."""
    volume = build_volume(head_phantom(slices=6, matrix=64))
    assert outcome(tiny, volume) in {str(known) for known in Outcome} | {"OUT_OF_SCOPE"}


def test_series_are_tabled_by_folder(tiny: ResidentModel, tmp_path: Path) -> None:
    """A readable series has the verdict of header and pixels, an empty folder the code of its refusal."""
    table = real_series(tiny, picture_folder(tmp_path))
    assert table["empty"] == {"volume": "EMPTY_INPUT"}
    assert table["head"]["header"] == "taken"
    assert "pixels" in table["head"]


def test_without_real_series_there_are_no_cases_of_them(tmp_path: Path) -> None:
    """A folder without the known series gives none, and no error."""
    assert not list(real_cases(tmp_path))


def test_a_series_with_a_gap_is_read_by_its_longest_run() -> None:
    """Slices 1 to 4 of 10, then 6 to 10: the five are read."""
    datasets = head_phantom(slices=10, matrix=32)
    volume, kept = longest_run([ds for k, ds in enumerate(datasets) if k != 4])
    assert kept == 5
    assert len(volume.array) == 5
    assert longest_run(datasets)[1] == 10
