"""Head outputs and the statistics of heads are trained apart, repeatably, and see only what they may."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from models import registry
from models.anatomy import Likeness
from models.bundle import Anatomy, sha256
from models.training import head_features
from models.training.anatomy import FIGURES as DISTANCES
from models.training.anatomy import train_anatomy
from models.training.drawn.imaging import volume
from models.training.drawn.kinds import KINDS, drawn
from models.training.head import FIGURES, LEFT_OUT, Seen, fit, may_see, train_heads
from models.training.head_features import CUT, FRAMES, HEADS, Part
from models.training.plan import HeadPlan, Plan, read_plan
from pipeline.geometry.build import build_volume
from pipeline.phantom import head_phantom
from pipeline.preprocess.recipe import Recipe
from tests.unit.models.measured import four_classes, picture_folder
from tests.unit.models.small import network_input

SMALL = Recipe(matrix=48, pixel_mm=5.0, slab_mm=20.0)
HEAD = HeadPlan(
    every=1, drawn=2, cut=4, strength=0.5, epochs=4, batch=16, rate=0.01, weight_decay=0.0, dropout=0.1, seed=1
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle ``four``, ``data``, and what both trainings left in ``out``."""
    folder = tmp_path_factory.mktemp("trained")
    bundle = four_classes(folder)
    path = bundle / "configs/train.json"
    raw = json.loads(path.read_text())
    raw |= {"head": vars(HEAD), "anatomy": {"every": 1, "shrink": 0.05}}
    path.write_text(json.dumps(raw))
    train_heads("four", picture_folder(folder), folder / "out", folders=(folder,))
    train_anatomy("four", folder / "data", folder / "out", folders=(folder,))
    return folder


def test_only_the_head_outputs_change(trained: Path) -> None:
    """Every other weight is the same to the bit, so classes and outlines are."""
    before, after = load_file(trained / "four/models/model.safetensors"), load_file(trained / "out/model.safetensors")
    assert before.keys() == after.keys()
    heads = {key for key in before if key.startswith("head.")}
    assert len(heads) == 4
    for key, value in before.items():
        assert torch.equal(value, after[key]) is (key not in heads)


def test_a_second_run_takes_the_features_that_are_there(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drawn or computed anew, and the weights are the same bytes."""
    before = sha256(trained / "out/model.safetensors")
    (trained / "out/model.safetensors").unlink()

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(head_features, "_pictures", never)
    assert sha256(train_heads("four", trained / "data", trained / "out", folders=(trained,))) == before
    assert json.loads((trained / "out" / FIGURES).read_text())["sha256"] == before


def test_the_figures_are_of_what_was_not_seen(trained: Path) -> None:
    """Heads of the member's own fold and series, and each drawn kind by an output that was trained without it."""
    (member,) = json.loads((trained / "out" / FIGURES).read_text())["members"].values()
    assert set(member) == {"tumour", "no tumour", "healthy", *KINDS}
    assert member["tumour"]["after"]["pictures"] == 12
    assert member["kiwi"]["after"]["pictures"] == HEAD.drawn
    assert set(KINDS) == {kind for group in LEFT_OUT for kind in group}
    distances = json.loads((trained / "out" / DISTANCES).read_text())
    assert distances["tumour, fold 2"]["pictures"] == 12


def test_no_network_is_shown_its_own_fold() -> None:
    """Pictures of the fold, and heads cut up that come from it, stay unseen, and so do the series kept from it."""
    plan = shipped()
    folds = np.array([1, 2, 3, 4])
    for name in ("tumour", "no tumour", CUT):
        assert may_see(part(name, folds), 2, plan).tolist() == [True, False, True, True]
    series = np.arange(len(plan.healthy_series) + 1)  # the last are the computed heads
    kept = [
        name
        for name, may in zip(plan.healthy_series, may_see(part("healthy", series), 4, plan), strict=False)
        if not may
    ]
    assert kept == sorted(plan.unseen_series[4], key=plan.healthy_series.index)
    for name in (FRAMES, "kiwi"):
        assert may_see(part(name, np.array([-1, -1])), 2, plan).all()


def test_fitting_tells_apart_what_features_tell_apart() -> None:
    """From weights that know nothing, in features of quite different scales, and the same again for the same input."""
    torch.manual_seed(0)
    truth = torch.tensor([1.0, 0.0]).repeat(200)
    features = torch.randn(400, 6) * torch.tensor([1, 1, 1, 50, 1, 1.0]) + 20
    features[:, 0] += 4 * truth
    start = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 1))
    before = [value.clone() for value in start.state_dict().values()]
    net = fit(Seen(features, truth), start, replace(HEAD, epochs=20))
    with torch.no_grad():
        right = ((net(features).squeeze(1) > 0) == truth.bool()).float().mean()
        again = fit(Seen(features, truth), start, replace(HEAD, epochs=20))(features)
        assert torch.equal(again, net(features))
    assert float(right) > 0.95
    assert all(torch.equal(old, new) for old, new in zip(before, start.state_dict().values(), strict=True))


def test_distances_by_new_statistics_tell_heads_from_drawn_things(trained: Path) -> None:
    """The file that training writes is the one that the test reads: heads are nearer than kiwis and bottles."""
    path = trained / "out/anatomy.safetensors"
    bundle = registry.get("four", (trained,)).bundle
    anatomy = Anatomy(Path("../out/anatomy.safetensors"), sha256(path), 0.2, 1.0)
    likeness = Likeness(bundle, anatomy, torch.device("cpu"))
    head = build_volume(head_phantom(slices=6, matrix=64))
    near = np.median(likeness.distances(network_input(head, SMALL)))
    for kind in ("kiwi", "bottles"):
        rng = np.random.default_rng(3)
        thing = volume(KINDS[kind](rng), rng, slices=4, matrix=64)
        assert np.median(likeness.distances(network_input(thing, SMALL))) > near


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_draws_something_new_each_time(kind: str) -> None:
    """Pictures of a kind differ, show something with air around or beside it, and are the same for the same seed."""
    pictures = drawn(kind, 2, SMALL, seed=3)
    assert pictures.shape == (2, 48, 48)
    assert pictures.dtype == np.uint8
    assert (pictures > 63).mean(axis=(1, 2)).min() > 0.04
    assert not np.array_equal(pictures[0], pictures[1])
    assert np.array_equal(drawn(kind, 1, SMALL, seed=3)[0], pictures[0])
    assert not np.array_equal(drawn(kind, 1, SMALL, seed=4)[0], pictures[0])


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_a_drawn_volume_lies_as_a_heads_series_does(plane: int) -> None:
    """Slices run along the plane's normal with right-handed axes, and rows of upright planes from the head down."""
    rng = np.random.default_rng(2)
    made = volume(KINDS["bottles"](rng), rng, plane=plane, slices=5, matrix=32)
    assert made.shape == (5, 32, 32)
    assert made.spacing == pytest.approx((26.0, 7.5, 7.5))
    assert np.isfinite(made.array).all()
    assert made.array.min() >= 0
    assert int(np.abs(made.affine[:3, 0]).argmax()) == (2, 1, 0)[plane]
    if plane:
        assert made.affine[2, 1] < 0


def part(name: str, groups: np.ndarray) -> Part:  # type: ignore[type-arg]
    nothing = np.zeros((4, len(groups), 2), dtype=np.float16)
    assert name in HEADS or name in KINDS or name in {CUT, FRAMES}
    return Part(name, groups, nothing, nothing)


def shipped() -> Plan:
    return read_plan(registry.get("brain_mri_tumor").folder / "configs/train.json")
