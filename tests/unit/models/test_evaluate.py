"""Evaluation as a whole, on a data set and networks made here: each network is asked about its held-out fold only."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from dicom_node.cli import app
from models import registry
from models.bundle import Contract
from models.evaluation.card import BEGIN, END, put_in, tables
from models.evaluation.evaluate import evaluate, weights_in
from models.evaluation.figures import Cases, answers, figures, headline, measured, pooled
from models.evaluation.gallery import chosen
from models.evaluation.held_out import Set, every_picture, held_out, neighbours, stretches
from models.evaluation.members import members_of
from models.evaluation.operating import curve, operating_points
from models.evaluation.plots import write_plots
from models.networks import Committee
from models.registry import SHIPPED
from models.training.plan import read_plan
from pipeline.errors import BadModel, EmptyInput, Refused
from tests.unit.models.measured import Bright, four_classes, picture_folder, spots, write_weights

pytestmark = pytest.mark.slow

CLASSES = ("glioma", "meningioma", "pituitary_tumor", "no_tumor")


def some_cases(count: int = 60, *, folds: int = 2, seed: int = 0) -> Cases:
    """Cases of a network that is mostly right, with outlines that are mostly good."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % 4
    logits = rng.normal(0, 1, (count, 4)).astype(np.float32)
    logits[np.arange(count), truth] += 2.5
    tumour = truth < 3
    return Cases(
        truth=truth,
        fold=1 + (np.arange(count) * folds) // count,
        cluster=np.arange(count) // 2,
        plane=np.where(tumour, np.array(["axial", "coronal", "sagittal"])[np.arange(count) // 4 % 3], ""),
        name=np.array([f"images/{k}.png" for k in range(count)]),
        logits=logits,
        head=np.full(count, 3.0, dtype=np.float32),
        dice=np.where(tumour, rng.beta(8, 2, count), np.nan),
        hausdorff_mm=np.where(tumour, rng.gamma(2, 2, count), np.nan),
        size_mm2=np.where(tumour, rng.uniform(50, 2000, count), 0),
        found=np.ones((count, 4, 4), dtype=bool) & tumour[:, None, None],
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_folder(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    four_classes(folder)
    for fold in (1, 2):
        write_weights(folder / f"fold{fold}.safetensors", seed=fold)
    return folder


def test_each_network_is_asked_about_pictures_that_it_did_not_see(
    data: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of ``foldK.safetensors`` about the pictures of fold K alone, whatever is measured then."""
    asked: dict[int, bool] = {}

    class HeardEnough(Exception):
        pass

    def hear(_number: int, held: Set, network: nn.Module, _contract: Contract) -> None:
        (fold,) = set(held.pictures.folds.tolist())
        wanted = load_file(bundles / f"fold{fold}.safetensors")
        found = network.state_dict()
        asked[fold] = all(torch.equal(found[key], wanted[key]) for key in wanted)
        if len(asked) == 2:
            raise HeardEnough

    monkeypatch.setattr("models.evaluation.evaluate._fold", hear)
    with pytest.raises(HeardEnough):
        evaluate("four", data, folders=(bundles,), weights=weights_in(bundles))
    assert asked == {1: True, 2: True}


def test_the_members_of_a_model_are_named_by_the_fold_that_each_did_not_see(bundles: Path) -> None:
    plan = dataclasses.replace(read_plan(bundles / "four/configs/train.json"), members=(3, 1))
    committee = Committee(members=2, **vars(plan.network))
    found = members_of(committee, plan)
    assert found == {3: committee.members[0], 1: committee.members[1]}
    with pytest.raises(BadModel, match="has 1 networks and its recipe names 2"):
        members_of(nn.Identity(), plan)


@pytest.mark.nightly
def test_cross_validation_asks_each_network_about_its_own_fold(data: Path, bundles: Path, tmp_path: Path) -> None:
    """Two weights, two folds: figures of each and pooled, files, plots and gallery; progress ends at 1."""
    heard: list[tuple[str, float]] = []
    result = evaluate(
        "four",
        data,
        folders=(bundles,),
        weights=weights_in(bundles),
        out=tmp_path / "out",
        tell=lambda stage, done: heard.append((stage, done)),
    )
    assert result["folds"] == [1, 2]
    assert sum(result["slices"].values()) == 24 + 7
    assert set(result["by_fold"]) == set(result["weights"]) == {"1", "2"}
    assert result["across_folds"]["accuracy"][1] is not None
    assert result["explanation"]["1"]["pointing"]["pictures"] > 0
    assert result["scope"]["not_a_head"]["refused"] > 0
    assert json.loads((tmp_path / "out/evaluation.json").read_text()) == result
    made = (tmp_path / "out/figures.md").read_text()
    assert made == tables(result)
    assert f"| {100 * result['pooled']['accuracy'][0]:.1f} % (" in made
    assert {path.suffix for path in (tmp_path / "out/plots").iterdir()} == {".svg"}
    with Image.open(tmp_path / "out/gallery/worst-outlines.png") as sheet:
        assert sheet.width > 800
    assert heard[-1] == ("done", 1.0)
    assert [done for _, done in heard] == sorted(done for _, done in heard)


def test_figures_are_put_between_the_marks_of_a_card(tmp_path: Path) -> None:
    """What stands between the marks is replaced, the rest stays; a card without them is told."""
    result = json.loads((SHIPPED / "brain_mri_tumor/docs/evaluation.json").read_text())
    card = tmp_path / "README.md"
    card.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    put_in(card, result)
    assert card.read_text() == f"before\n{BEGIN}\n{tables(result)}{END}\nafter\n"
    card.write_text("no marks")
    with pytest.raises(BadModel, match="no place"):
        put_in(card, result)


def test_the_shipped_card_has_the_shipped_figures() -> None:
    """The tables in the brain model's card are those of its evaluation, which is of its weights.

    Where a later version of the bundle has the same weights, the card says whose figures they are.
    """
    folder = SHIPPED / "brain_mri_tumor"
    result, card = json.loads((folder / "docs/evaluation.json").read_text()), (folder / "docs/README.md").read_text()
    assert tables(result) in card
    bundle = registry.get("brain_mri_tumor").bundle
    assert result["model"]["weights_sha256"] == bundle.contract.sha256
    evaluated = result["model"]["version"]
    assert evaluated == bundle.contract.version or f"the networks of {evaluated}" in card


@pytest.mark.nightly
def test_candela_models_train_and_evaluate(data: Path, bundles: Path, tmp_path: Path) -> None:
    """By the command line: two steps of training with fold 1 held out, then the figures of those weights on fold 1."""
    settings = tmp_path / "candela.toml"
    settings.write_text(f'[models]\nfolders = ["{bundles}"]\n')
    common = ["four", "--data", str(data), "--config", str(settings), "--fold", "1"]
    trained = CliRunner().invoke(app, ["models", "train", *common, "--out", str(tmp_path / "run")])
    assert trained.exit_code == 0, trained.output
    (tmp_path / "weights").mkdir()
    shutil.copy(tmp_path / "run/fold1.safetensors", tmp_path / "weights/fold1.safetensors")
    write_weights(tmp_path / "weights/fold2.safetensors", seed=5)
    chosen_folds = ["--weights-dir", str(tmp_path / "weights"), "--out", str(tmp_path / "out")]
    evaluated = CliRunner().invoke(app, ["models", "evaluate", *common, *chosen_folds])
    assert evaluated.exit_code == 0, evaluated.output
    assert "tumour accuracy" in evaluated.output
    assert json.loads((tmp_path / "out/evaluation.json").read_text())["folds"] == [1]


def test_a_fold_that_was_trained_on_is_refused(data: Path, bundles: Path) -> None:
    """The bundle's own weights are asked about their validation fold, never about one they have seen."""
    with pytest.raises(Refused, match="trained without fold 1"):
        evaluate("four", data, folders=(bundles,), fold=1)


def test_missing_pictures_folds_and_weights_are_told(data: Path, bundles: Path, tmp_path: Path) -> None:
    """An empty folder, a fold that the data lack, a folder without weights, and weights that are gone: each named."""
    with pytest.raises(EmptyInput, match=r"index\.csv"):
        evaluate("four", tmp_path, folders=(bundles,))
    with pytest.raises(Refused, match="trained without fold 7"):
        evaluate("four", data, folders=(bundles,), fold=7)
    with pytest.raises(BadModel, match="no weights by fold"):
        weights_in(tmp_path)
    with pytest.raises(BadModel, match=r"gone\.safetensors"):
        evaluate("four", data, folders=(bundles,), weights={1: tmp_path / "gone.safetensors"})
    with pytest.raises(BadModel, match="fold 4"):
        evaluate("four", data, folders=(bundles,), weights=weights_in(bundles), fold=4)


def test_figures_of_known_cases() -> None:
    """Counts, recall, thirds of size and planes add up; every figure has its value inside its interval."""
    cases = some_cases()
    found = figures(cases, CLASSES)
    assert found["slices"] == dict.fromkeys(CLASSES, 15)
    assert np.array(found["confusion"]).sum() == 60
    assert np.array(found["confusion_tumours"]).sum() == 45
    assert sum(group["slices"] for group in found["segmentation"]["plane"].values()) == 45
    assert sum(found["segmentation"]["size"][name]["slices"] for name in ("small", "middle", "large")) == 45
    for value, low, high in found["pooled"].values():
        assert low <= value <= high
    right = np.mean(cases.called == cases.truth)
    assert found["pooled"]["accuracy"][0] == pytest.approx(right, abs=1e-4)
    json.dumps(found, allow_nan=False)


def test_wrong_outlines_are_told_apart_and_not_hidden() -> None:
    """Slices whose outline is known to be wrong stay in every figure; one more tells the overlap without them."""
    cases = some_cases()
    worst = int(np.nanargmin(cases.dice))
    found = figures(cases, CLASSES, wrong_outlines=[str(worst)])
    assert found["segmentation_of_right_outlines"]["left_out"] == 1
    others = np.delete(cases.dice, worst)
    assert found["segmentation_of_right_outlines"]["all"]["dice_mean"][0] == pytest.approx(np.nanmean(others), abs=1e-4)
    assert found["pooled"]["dice_mean"][0] == pytest.approx(np.nanmean(cases.dice), abs=1e-4)


def test_a_perfect_network_has_perfect_figures() -> None:
    """Every class right and every outline exact: ones everywhere."""
    cases = some_cases()
    sure = np.full((60, 4), -9, dtype=np.float32)
    sure[np.arange(60), cases.truth] = 9
    perfect = dataclasses.replace(cases, logits=sure, dice=np.where(cases.tumour, 1.0, np.nan))
    values = headline(perfect)
    assert [values[name] for name in ("accuracy", "tumour_accuracy", "none_accuracy", "dice_mean")] == [1, 1, 1, 1]
    assert figures(perfect, CLASSES)["by_class"]["glioma"]["auc"] == 1


def test_operating_points_count_what_reaches_a_limit() -> None:
    """Glioma 0.9, meningioma 0.6, pituitary tumour 0.3 at most; of the slices without a tumour one in five at 0.7."""
    cases = some_cases()
    share = np.select([cases.truth == 0, cases.truth == 1, cases.truth == 2], [0.9, 0.6, 0.3], 0.05)
    share[np.flatnonzero(cases.truth == 3)[:3]] = 0.7
    logits = np.full((60, 4), -30.0)
    logits[:, 0], logits[:, 3] = np.log(share), np.log(1 - share)
    points = operating_points(
        dataclasses.replace(cases, logits=logits.astype(np.float32)), CLASSES, {"finding from": 0.5}
    )
    by_limit = {point["limit"]: point for point in points["limits"]}
    assert by_limit[0.5]["name"] == "finding from"
    assert by_limit[0.5]["by_class"] == {CLASSES[0]: 1.0, CLASSES[1]: 1.0, CLASSES[2]: 0.0}
    assert by_limit[0.5]["false_alarms"] == 0.2
    assert by_limit[0.5]["sensitivity"] == pytest.approx(2 / 3, abs=1e-4)
    assert points["specificity"]["0.98"]["false_alarms"] == 0
    assert points["specificity"]["0.98"]["by_class"][CLASSES[1]] == 0
    alarms, found = curve(cases, cases.truth == 0)
    assert (np.diff(alarms) >= 0).all()
    assert (np.diff(found) >= 0).all()
    assert (alarms[-1], found[-1]) == (1, 1)


def test_one_fold_is_calibrated_by_its_halves() -> None:
    """Of a single fold no cluster lies in both halves, and both halves hold every class."""
    cases = some_cases(80, folds=1)
    for label in range(4):
        halves = cases.part[cases.truth == label]
        assert set(halves) == {0, 1}
        first, second = (set(cases.cluster[(cases.truth == label) & (cases.part == k)]) for k in (0, 1))
        assert not first & second


def test_folds_are_pooled_in_order() -> None:
    """Pooled cases are the parts one after the other."""
    first, second = some_cases(20), some_cases(12, seed=1)
    both = pooled([first, second])
    assert len(both.truth) == 32
    assert (both.dice[20:] == second.dice)[second.tumour].all()


def test_slices_are_measured_in_mm() -> None:
    """A network that outlines the disc is measured as such, its area in mm², and a head logit may be absent."""
    pictures = spots(6)
    said = answers(Bright(), pictures, bf16=False)
    held = Set(pictures, np.arange(6), np.full(6, "axial"), np.full(6, "x"))
    cases = measured(said, held, threshold=0.5, pixel_mm=2.0)
    assert (cases.dice > 0.8).all()
    assert (cases.hausdorff_mm <= 4).all()
    assert cases.size_mm2 == pytest.approx(pictures.masks.sum((1, 2)) * 4)


def test_stretches_end_where_fold_or_label_changes(data: Path, bundles: Path) -> None:
    """Pictures in a row of one label and fold are one cluster; near-duplicate groups of the others stay apart."""
    everything = every_picture(read_plan(registry.get("four", (bundles,)).folder / "configs/train.json"), data)
    tumour = everything.pictures.labels < 3
    for cluster in np.unique(everything.cluster):
        own = everything.cluster == cluster
        assert len({*zip(everything.pictures.labels[own], everything.pictures.folds[own], strict=True)}) == 1
    assert set(everything.cluster[tumour]) & set(everything.cluster[~tumour]) == set()
    assert len(set(stretches(everything.pictures.take(tumour)))) == 10
    assert set(held_out(everything, 2).pictures.folds) == {2}


def test_neighbours_look_alike() -> None:
    """Three equal pictures of one label are a run; an odd one ends it."""
    pictures = spots(6).take(np.array([0, 0, 0, 1, 0]))
    assert neighbours(pictures) == [[0, 1, 2]]


def test_plots_are_the_same_files_each_time(tmp_path: Path) -> None:
    """Seven plots; the same cases give the same bytes, so that the card's pictures change with its figures only."""
    for name in ("first", "second"):
        write_plots(some_cases(), CLASSES, tmp_path / name, {"finding from": 0.85})
    made = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert len(made) == 7
    for name in made:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_the_gallery_shows_the_worst_first() -> None:
    """Worst outlines rise in Dice; wrong classes are wrong; false alarms have no tumour; typical is near the median."""
    cases = some_cases()
    sheets = chosen(cases, CLASSES)
    worst = cases.dice[sheets["worst-outlines"][1]]
    assert (np.diff(worst) >= 0).all()
    assert worst[0] == np.nanmin(cases.dice)
    wrong = sheets["wrong-class"][1]
    assert (cases.called[wrong] != cases.truth[wrong]).all()
    assert cases.tumour[wrong].all()
    assert not cases.tumour[sheets["false-alarms"][1]].any()
    typical = sheets["typical-glioma"][1]
    median = np.median(cases.dice[cases.truth == 0])
    assert abs(cases.dice[typical[0]] - median) <= abs(cases.dice[typical[-1]] - median)
