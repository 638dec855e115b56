"""Training: pictures, random changes, resuming, and that it learns at all."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional

from models.encoder import GREY_SCALE, Encoder
from models.networks import Committee, PretrainedRegionNet, SliceAnswer, together
from models.registry import SHIPPED
from models.training.augment import (
    Batch,
    change_look,
    change_shape,
    cover_lesions,
    mirror_over_lesion,
    outliers,
    paste_lesions,
)
from models.training.batches import Batches
from models.training.plan import Cycle, Mixture, Plan, Stage, read_plan
from models.training.train import Run, imagenet_weights, member_path, objective, train, workers_for
from pipeline.errors import BadModel, EmptyInput, Refused
from tests.unit.models.measured import WIDTHS

MIXTURE = {"tumour": 3, "no_tumour": 1, "healthy": 1, "outlier": 1}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six made slices with a bright lesion and three without, in two folds, and a computed head as DICOM."""
    from pipeline.phantom import head_phantom, save

    rng = np.random.default_rng(0)
    folder = tmp_path / "data"
    for part in ("brain_t1ce/images", "brain_t1ce/masks", "brain_notumor/images"):
        (folder / part).mkdir(parents=True)
    y, x = np.mgrid[-1:1:224j, -1:1:224j]
    head = 90.0 * ((y / 0.8) ** 2 + (x / 0.7) ** 2 < 1)
    rows, free = [], []
    for k in range(9):
        spot = (y - rng.uniform(-0.4, 0.4)) ** 2 + (x - 0.4) ** 2 < 0.03
        picture = head + 110 * spot * (k < 6) + rng.normal(0, 3, head.shape)
        image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
        if k < 6:
            image.save(folder / f"brain_t1ce/images/{k}.png")
            Image.fromarray((255 * spot).astype(np.uint8)).save(folder / f"brain_t1ce/masks/{k}.png")
            label = ("glioma", "meningioma", "pituitary")[k % 3]
            rows.append([f"images/{k}.png", f"masks/{k}.png", label, 1 + k % 2])
        else:
            image.save(folder / f"brain_notumor/images/{k}.png")
            free.append([f"images/{k}.png", k, 1 + k % 2])
    _index(folder / "brain_t1ce/index.csv", ["image", "mask", "label", "fold5"], rows)
    _index(folder / "brain_notumor/index.csv", ["image", "group", "fold5"], free)
    save(head_phantom(slices=8, matrix=64, lesion=False), folder / "dicom" / "head")
    _mosaic(folder / "dicom" / "mosaic")
    return folder


def _mosaic(folder: Path) -> None:
    """Three frames and an empty tile in one image, as Siemens writes them, with a text beside it."""
    from pipeline.phantom import Header, save, series_from_arrays

    tile = 1500.0 * np.add.outer(np.arange(32) > 8, np.arange(32) > 8)
    picture = np.block([[tile, tile], [tile, np.zeros_like(tile)]])
    header = Header(key="mosaic")
    datasets = series_from_arrays(picture[None], plane="axial", pixel_spacing=3.0, slice_spacing=5.0, header=header)
    datasets[0].add_new(0x00190010, "LO", "SIEMENS MR HEADER")
    datasets[0].add_new(0x0019100A, "US", 3)
    save(datasets, folder)
    (folder / "LICENSE").write_text("no image")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The shipped recipe cut down to a minute's work for a mouse."""
    raw = json.loads((SHIPPED / "brain_mri_tumor/configs/train.json").read_text())
    raw |= {
        "recipe": {"matrix": 32, "pixel_mm": 7.84, "slab_mm": 20.0},
        "network": {"classes": 4, "widths": WIDTHS, "dropout": 0.0},
        "folds": [1, 2],
        "members": [2],
        "healthy_series": ["head"],
        "unseen_series": {},
        "echo_planar_series": ["mosaic"],
        "excluded_groups": [8],
        "excluded_outlines": [],
        "cycles": [
            {"peak": 0.001, "stages": [{"steps": 2, "matrix": 32}, {"steps": 2, "matrix": 64}], "batch": MIXTURE}
        ],
        "save_every": 2,
    }
    path = tmp_path / "train.json"
    path.write_text(json.dumps(raw))
    return path


def _index(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def batch(count: int = 3, side: int = 64) -> Batch:
    """Round heads with a lesion right of the middle, of class 0 of 4."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    head = ((y**2 + x**2) < 0.7).float() * 0.5
    lesion = ((y**2 + (x - 0.4) ** 2) < 0.02).float()
    images = (head + 0.4 * lesion).expand(count, 1, side, side).clone()
    allowed = torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1)
    return Batch(images, lesion.expand(count, 1, side, side).clone(), allowed, torch.ones(count))


def test_a_run_that_was_cut_off_goes_on(data: Path, config: Path, tmp_path: Path) -> None:
    """A run that is started again after a checkpoint takes only the steps that are left, and leaves weights and log."""
    out = tmp_path / "run"
    weights = train("brain_mri_tumor", data, out, config=config)
    own = Run(read_plan(config), data, out, 2).net.state_dict()
    assert set(load_file(weights)) == {f"members.0.{name}" for name in own}
    assert torch.load(out / "fold2.checkpoint", weights_only=True)["step"] == 4
    raw = json.loads(config.read_text())
    raw["cycles"].append({"peak": 0.0005, "stages": [{"steps": 2, "matrix": 32}], "batch": MIXTURE})
    config.write_text(json.dumps(raw))
    member_path(out, 2).unlink()
    train("brain_mri_tumor", data, out, config=config)
    with (out / "fold2.csv").open() as stream:
        steps = [float(row["step"]) for row in csv.DictReader(stream)]
    assert steps == [2, 4, 6]
    raw["weight_decay"] = 0.5
    config.write_text(json.dumps(raw))
    member_path(out, 2).unlink()
    with pytest.raises(Refused, match="another recipe"):
        train("brain_mri_tumor", data, out, config=config)


def test_with_a_fold_one_network_is_trained_and_once(
    data: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a run does: that of the fold is begun alone, and not again once its weights are there."""
    trained: list[int] = []

    class Brief:
        def __init__(self, _plan: Plan, _data: Path, out: Path, fold: int) -> None:
            self.fold, self.path = fold, member_path(out, fold)

        def resume(self) -> None:
            assert not self.path.exists()

        def finish(self) -> None:
            trained.append(self.fold)
            self.path.touch()

    monkeypatch.setattr("models.training.train.Run", Brief)
    for _ in range(2):
        assert train("brain_mri_tumor", data, tmp_path, config=config, fold=1) == member_path(tmp_path, 1)
    assert trained == [1]
    with pytest.raises(Refused, match="no fold 9"):
        train("brain_mri_tumor", data, tmp_path, config=config, fold=9)


@pytest.mark.nightly
def test_one_fold_is_trained_alone_and_kept(data: Path, config: Path, tmp_path: Path) -> None:
    """With a fold, only the network that does not see it is trained; what is finished is not trained again."""
    out = tmp_path / "run"
    path = train("brain_mri_tumor", data, out, config=config, fold=1)
    assert path == member_path(out, 1)
    assert not member_path(out, 2).exists()
    written = path.stat().st_mtime_ns
    assert train("brain_mri_tumor", data, out, config=config, fold=1).stat().st_mtime_ns == written
    with pytest.raises(Refused, match="no fold 9"):
        train("brain_mri_tumor", data, out, config=config, fold=9)


def test_training_starts_from_imagenet(data: Path, config: Path, tmp_path: Path) -> None:
    """The encoder holds the published weights, the stem's colours added up, and its first blocks stay as they are; in a
    cycle without them so do the depthwise convolutions, which move in the next.
    """
    raw = json.loads(config.read_text())
    (cycle,) = raw["cycles"]
    cycle["stages"] = [{"steps": 1, "matrix": 32}]
    raw["cycles"] = [cycle | {"depthwise": False}, cycle]
    config.write_text(json.dumps(raw))
    run = Run(read_plan(config), data, tmp_path / "run", 2)
    before = {name: value.clone() for name, value in run.net.encoder.state_dict().items()}

    def moved(part: str) -> bool:
        return not torch.equal(run.net.encoder.state_dict()[part], before[part])

    run.advance(run.batches[0])
    assert not moved("_conv_stem.weight")
    assert moved("_blocks.9._expand_conv.weight")
    assert not moved("_blocks.9._depthwise_conv.weight")
    run.advance(run.batches[1])
    assert not moved("_conv_stem.weight")
    assert moved("_blocks.9._depthwise_conv.weight")


def test_the_encoder_gives_what_the_published_network_gives() -> None:
    """With its batch norms folded in and its colours added up, the first block answers as the published weights say."""
    published, encoder = imagenet_weights(), Encoder()
    encoder.load_imagenet(published)
    images = torch.randn(1, 1, 32, 32)

    def normed(values: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance, scale, shift = (
            published[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(values, mean, variance, scale, shift, eps=1e-3)

    colours = functional.pad((images * GREY_SCALE).expand(-1, 3, -1, -1), (0, 1, 0, 1))
    x = functional.relu6(normed(functional.conv2d(colours, published["_conv_stem.weight"], stride=2), "_bn0"))
    x = functional.conv2d(x, published["_blocks.0._depthwise_conv.weight"], padding=1, groups=32)
    x = functional.relu6(normed(x, "_blocks.0._bn1"))
    x = normed(functional.conv2d(x, published["_blocks.0._project_conv.weight"]), "_blocks.0._bn2")
    torch.testing.assert_close(encoder(images)[0], x, rtol=1e-3, atol=1e-3)


def test_other_weights_are_no_encoder() -> None:
    """Weights of another network are refused before anything is trained."""
    with pytest.raises(RuntimeError, match="EfficientNet-Lite0"):
        Encoder().load_imagenet({"conv.weight": torch.zeros(3)})


def test_a_committee_averages_its_members() -> None:
    """Two equal members say what one says; two that differ say the mean of their probabilities."""
    torch.manual_seed(3)
    one, other = (PretrainedRegionNet(widths=WIDTHS).eval() for _ in range(2))
    images = torch.randn(2, 1, 64, 64)
    twice = Committee(members=2, widths=WIDTHS).eval()
    twice.load_state_dict(together([one.state_dict(), one.state_dict()]))
    torch.testing.assert_close(twice(images).classes.softmax(1), one(images).classes.softmax(1))
    torch.testing.assert_close(twice(images).mask, one(images).mask, rtol=1e-3, atol=1e-3)
    both = Committee(members=2, widths=WIDTHS).eval()
    both.load_state_dict(together([one.state_dict(), other.state_dict()]))
    mean = (one(images).classes.softmax(1) + other(images).classes.softmax(1)) / 2
    torch.testing.assert_close(both(images).classes.softmax(1), mean)
    heads = (torch.sigmoid(one(images).head) + torch.sigmoid(other(images).head)) / 2
    torch.testing.assert_close(torch.sigmoid(both(images).head), heads)


def test_a_run_is_seeded(data: Path, config: Path) -> None:
    """Two runs draw the same batch at a step; another step or fold draws another."""
    first, second = (Batches(read_plan(config), data, 2) for _ in range(2))
    for one, other in zip(vars(first[3]).values(), vars(second[3]).values(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(first[2].images, first[3].images)
    assert not torch.equal(Batches(read_plan(config), data, 1)[3].images[-1:], first[3].images[-1:])


def test_batches_made_ahead_are_those_of_their_steps(data: Path, config: Path) -> None:
    """Other processes make the same batches in the same order, from the step on that a run goes on at."""
    batches = Batches(read_plan(config), data, 2)
    ahead = list(batches.ahead(1, workers=2))
    assert len(ahead) == 3
    for step, batch in enumerate(ahead, start=1):
        assert torch.equal(batch.images, batches[step].images)
        assert torch.equal(batch.masks, batches[step].masks)


def test_a_cpu_makes_its_own_batches() -> None:
    """Beside a CPU that trains no other process takes its cores; for a GPU others make what it waits for."""
    assert workers_for(torch.device("cpu")) == 0
    assert workers_for(torch.device("cuda")) >= 1


def test_a_batch_has_the_resolution_of_its_stage(data: Path, config: Path) -> None:
    """The same field of view on as many pixels as the stage says, mask and image alike."""
    batches = Batches(read_plan(config), data, 2)
    assert batches[0].images.shape[-2:] == (32, 32)
    assert batches[2].images.shape == batches[2].masks.shape == (6, 1, 64, 64)


def test_a_cycle_has_its_own_mixture(data: Path, config: Path) -> None:
    """The batches of the second cycle are made of what the second cycle says."""
    raw = json.loads(config.read_text())
    more = {"tumour": 2, "no_tumour": 2, "healthy": 3, "outlier": 0}
    raw["cycles"].append({"peak": 0.0005, "stages": [{"steps": 2, "matrix": 32}], "batch": more})
    config.write_text(json.dumps(raw))
    batches = Batches(read_plan(config), data, 2)
    assert len(batches[0].images) == sum(MIXTURE.values())
    assert len(batches[4].images) == 7
    assert batches[4].head.all()


@pytest.mark.nightly
@pytest.mark.parametrize("trained", [True, False])
def test_a_cycle_can_leave_depthwise_convolutions_alone(
    data: Path, config: Path, tmp_path: Path, *, trained: bool
) -> None:
    """In bfloat16 and without them, all else moves; the frozen blocks stay in both."""
    raw = json.loads(config.read_text())
    raw["cycles"] = [{**raw["cycles"][0], "depthwise": trained, "bf16": True}]
    config.write_text(json.dumps(raw))
    run = Run(read_plan(config), data, tmp_path, 2)
    before = {name: value.clone() for name, value in run.net.encoder.named_parameters()}
    run.finish()
    moved = {name for name, value in run.net.encoder.named_parameters() if not torch.equal(value, before[name])}
    frozen = {name for name in before if name.startswith(("_conv_stem", "_blocks.0.", "_blocks.1.", "_blocks.2."))}
    depthwise = {name for name in before if "_depthwise_conv" in name}
    assert moved == set(before) - frozen - (set() if trained else depthwise)
    assert all(value.isfinite().all() for value in run.net.state_dict().values())


def test_wrong_outlines_are_not_trained_on(data: Path, config: Path) -> None:
    """A picture whose outline is excluded is not among those to train on; held out it stays."""
    raw = json.loads(config.read_text())
    config.write_text(json.dumps(raw | {"excluded_outlines": ["0", "1"]}))
    batches = Batches(read_plan(config), data, 2)
    assert len(batches.tumour) == 2
    assert int((batches.validation.labels != 3).sum()) == 3


def test_folds_are_kept_apart_and_groups_left_out(data: Path, config: Path) -> None:
    """Training pictures are of the other folds only; groups that were excluded by looking are nowhere."""
    batches = Batches(read_plan(config), data, 2)
    assert set(batches.tumour.folds) == {1}
    assert set(batches.validation.folds) == {2}
    assert len(batches.none) + int((batches.validation.labels == 3).sum()) == 2


def test_no_data_is_told(tmp_path: Path, config: Path) -> None:
    """A folder without the pictures is named."""
    with pytest.raises(EmptyInput, match=str(tmp_path)):
        train("brain_mri_tumor", tmp_path, tmp_path / "run", config=config)


def test_a_broken_configuration_is_told(tmp_path: Path) -> None:
    """A training configuration that lacks a field, or is absent, is a bad model with the file's name."""
    path = tmp_path / "train.json"
    with pytest.raises(BadModel, match=r"train\.json"):
        read_plan(path)
    path.write_text("{}")
    with pytest.raises(BadModel, match="not complete"):
        read_plan(path)


def test_the_learning_rate_rises_and_falls() -> None:
    """A cycle begins and ends near zero and peaks after a twentieth."""
    cycle = Cycle(peak=0.002, stages=(Stage(30, 32), Stage(50, 64)), batch=Mixture(1, 1, 1, 1))
    rates = [cycle.rate(step) for step in range(80)]
    assert max(rates) == rates[4] == pytest.approx(0.002)
    assert rates[0] < 1e-5
    assert rates[79] < 1e-5


def test_mirroring_takes_the_lesion_away() -> None:
    """The healthy half over the lesion makes a negative: no mask, only the last class allowed, and no bright spot."""
    made = batch()
    before = made.images.amax()
    mirror_over_lesion(made, torch.ones(3, dtype=torch.bool), 1.0, torch.Generator().manual_seed(0))
    assert made.masks.sum() == 0
    assert (made.allowed == torch.tensor([0.0, 0, 0, 1])).all()
    assert made.images.amax() < before - 0.3


def test_a_look_alikes_tissue_takes_the_lesion_away() -> None:
    """Of the donors alike, one without a lesion at the place gives its tissue; the slice is a negative then."""
    made, free = batch(2), batch(1)
    before = made.images.clone()
    free.images, free.masks = free.images.flip(-1) * 1.2, free.masks.flip(-1)  # its lesion lies on the other side
    same, nothing = batch(1), Batch(torch.rand(1, 1, 64, 64), torch.zeros(1, 1, 64, 64), free.allowed, free.head)
    donors = torch.cat([same.images, nothing.images, free.images])
    masks = torch.cat([same.masks, nothing.masks, free.masks])
    cover_lesions(made, donors, masks, 1.0, torch.Generator().manual_seed(0))
    assert made.masks.sum() == 0
    assert (made.allowed == torch.tensor([0.0, 0, 0, 1])).all()
    assert (made.images - 0.5)[before > 0.7].abs().max() < 0.02  # brightness is that around the lesion
    assert torch.equal(made.images[..., :32], before[..., :32])


def test_a_lesion_stays_where_no_donor_is_alike() -> None:
    """Neither a donor with its own lesion there nor one that looks otherwise covers anything."""
    made, same = batch(2), batch(1)
    before = made.images.clone()
    donors = torch.cat([same.images, torch.rand(1, 1, 64, 64)])
    cover_lesions(made, donors, torch.cat([same.masks, 0 * same.masks]), 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(made.images, before)
    assert made.masks.flatten(1).any(1).all()
    assert (made.allowed[:, 0] == 1).all()


def test_pasting_makes_a_tumour_of_unknown_kind() -> None:
    """A lesion pasted into a healthy head brings its mask, and any class but "none" is allowed."""
    donor = batch()
    made = batch()
    mirror_over_lesion(made, torch.ones(3, dtype=torch.bool), 1.0, torch.Generator().manual_seed(0))
    paste_lesions(made, donor.images, donor.masks, 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(made.masks, donor.masks)
    assert (made.allowed == torch.tensor([1.0, 1, 1, 0])).all()
    assert made.images.amax() > 0.7


def test_shape_changes_move_image_and_mask_together() -> None:
    """After turning, scaling and bending, the bright spot is still under the mask."""
    made = batch(8)
    change_shape(made, torch.Generator().manual_seed(0))
    for image, mask in zip(made.images, made.masks, strict=True):
        assert image[mask > 0].mean() > 0.75
        assert image[mask == 0].max() < 0.95


def test_weaker_changes_leave_more_as_it_is() -> None:
    """Without strength shapes are mirrored at most and no look is changed; with half of it half the looks are."""
    made, still = batch(40), batch(40)
    change_shape(made, torch.Generator().manual_seed(0), 0.0)
    for image, mask in zip(made.images, made.masks, strict=True):
        flips = [(still.images[0].flip(-1), still.masks[0].flip(-1)), (still.images[0], still.masks[0])]
        assert any(torch.allclose(image, a, atol=1e-3) and (mask != b).sum() == 0 for a, b in flips)
    change_look(still, torch.Generator().manual_seed(0), 0.0)
    assert torch.equal(still.images, batch(40).images)
    change_look(still, torch.Generator().manual_seed(0), 0.5)
    changed = (still.images != batch(40).images).flatten(1).any(1)
    assert 10 < int(changed.sum()) < 30


def test_looks_change_and_cut_borders_have_no_mask() -> None:
    """Appearance changes leave finite, non-negative images, and no mask where the border was cut away."""
    made = batch(16)
    made.masks[:] = 1
    change_look(made, torch.Generator().manual_seed(0))
    assert torch.isfinite(made.images).all()
    assert made.images.min() >= 0
    assert made.images[made.masks == 0].sum() == 0
    assert (made.masks == 0).any()


def test_outliers_are_drawn_anew() -> None:
    """What is no head is finite, not empty, and differs from the heads that were given."""
    heads = batch(12).images
    drawn = outliers(heads, torch.Generator().manual_seed(3))
    assert drawn.shape == heads.shape
    assert torch.isfinite(drawn).all()
    assert all(not torch.equal(a, b) and a.std() > 0 for a, b in zip(drawn, heads, strict=True))


def test_the_loss_takes_any_allowed_class_as_right() -> None:
    """Being sure of one allowed class costs nothing, for the picture and its pixels; of the forbidden one it does."""
    made = batch(1)
    made.allowed = torch.tensor([[1.0, 1, 1, 0]])
    head = torch.full((1,), 5.0)

    def loss(kind: int) -> float:
        sure = torch.full((1, 4, 64, 64), -9.0)
        sure[:, 3:] = torch.where(made.masks > 0, -9.0, 9.0)
        sure[:, kind : kind + 1] = torch.where(made.masks > 0, 9.0, sure[:, kind : kind + 1])
        mask = sure[:, :-1].logsumexp(1, keepdim=True) - sure[:, -1:]
        classes = functional.one_hot(torch.tensor([kind]), 4).float() * 9
        return float(objective(SliceAnswer(classes, mask, head), sure, made))

    assert loss(0) == pytest.approx(loss(2))
    assert loss(3) > loss(0) + 5


def test_pixels_of_a_known_kind_must_be_told_it() -> None:
    """Where a picture's tumour is known, its pixels called another kind cost; a picture without one has finite loss."""
    made = batch(1)
    right, wrong = (torch.zeros(1, 4, 64, 64) for _ in range(2))
    right[:, 0], wrong[:, 1] = 5.0, 5.0
    answer = SliceAnswer(torch.tensor([[9.0, 0, 0, 0]]), (made.masks * 2 - 1) * 9, torch.full((1,), 5.0))
    assert objective(answer, wrong, made) > objective(answer, right, made)
    mirror_over_lesion(made, torch.ones(1, dtype=torch.bool), 1.0, torch.Generator().manual_seed(0))
    assert torch.isfinite(objective(answer, right, made))


def test_series_are_kept_from_the_networks_that_are_asked_about_them(data: Path, config: Path) -> None:
    """A series that a member does not see is not among its healthy pictures; the computed heads always are."""
    raw = json.loads(config.read_text())
    raw["unseen_series"] = {"2": ["head"]}
    config.write_text(json.dumps(raw))
    with_it, without = (Batches(read_plan(config), data, fold) for fold in (1, 2))
    assert set(with_it.healthy.folds) == {0, 1}
    assert set(without.healthy.folds) == {0}


def test_echo_planar_frames_are_shown_as_out_of_scope(data: Path, config: Path) -> None:
    """The tiles of a mosaic are pictures of their own, and other files in the folder are passed over."""
    batches = Batches(read_plan(config), data, 2)
    assert len(batches.echo_planar) == 3
    assert all(picture.std() > 10 for picture in batches.echo_planar.images)
