"""The distance from heads, by an encoder that never saw one, and the words of a refusal; the network is not asked."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models import registry
from models.anatomy import Likeness, refuse_other_anatomy
from models.bundle import Anatomy, Bundle, read_bundle, sha256
from models.evaluation.runs import longest_run
from models.layers import Layers
from models.training.drawn.imaging import volume as imaged
from models.training.drawn.kinds import KINDS
from pipeline.errors import BadModel, OutOfScope
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import Volume
from pipeline.phantom import Plane, head_phantom
from pipeline.reading.files import read_path
from tests.unit.models.small import DATA, metadata, network_input, write_metadata

BUNDLE = registry.get("brain_mri_tumor").bundle
CPU = torch.device("cpu")


def contract() -> Anatomy:
    assert BUNDLE.contract.anatomy
    return BUNDLE.contract.anatomy


@pytest.fixture(scope="module")
def likeness() -> Likeness:
    return Likeness(BUNDLE, contract(), CPU)


def distance(likeness: Likeness, volume: Volume) -> float:
    return float(np.median(likeness.distances(network_input(volume, BUNDLE.contract.recipe))))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_computed_heads_are_near(likeness: Likeness, plane: Plane) -> None:
    """Thick and thin, coarse and fine, with a lesion and without."""
    for how in ({"slices": 8, "matrix": 128}, {"slices": 12, "matrix": 64}, {"slices": 3, "matrix": 256}):
        for lesion in (True, False):
            volume = build_volume(head_phantom(**how, plane=plane, lesion=lesion))  # type: ignore[arg-type]
            assert distance(likeness, volume) <= contract().distance


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_drawn_things_are_far(likeness: Likeness, kind: str) -> None:
    """Series of two drawn things of each kind, none of which the statistics were made with: none is read."""
    for seed in range(2):
        rng = np.random.default_rng([seed, 5])
        volume = imaged(KINDS[kind](rng), rng, plane=seed, slices=5, matrix=96)
        assert distance(likeness, volume) > contract().distance, (kind, seed)


@pytest.mark.parametrize(
    ("folder", "head"),
    [
        ("siemens_prisma_t1_sag_2d_HFS", True),
        pytest.param("siemens_trio_t1_sag", True, marks=pytest.mark.nightly),
        pytest.param("uih_umr770_t1_sag", True, marks=pytest.mark.nightly),
        ("NOTBRAIN_ge_pioneer_t1_ax_phantom", False),
        pytest.param("NOTBRAIN_ge_genesis_wrist_cor", False, marks=pytest.mark.nightly),
    ],
)
def test_real_series_are_near_and_far(likeness: Likeness, folder: str, head: bool) -> None:
    """Heads of three scanners; a phantom that says it is a brain, and a wrist."""
    if not (DATA / "dicom" / folder).is_dir():
        pytest.skip("../shared/data is not here")
    volume = longest_run(read_path(DATA / "dicom" / folder).datasets)[0]
    assert (distance(likeness, volume) <= contract().distance) is head


def test_the_same_slabs_lie_equally_far(likeness: Likeness) -> None:
    """The distance is a function of the slab alone: not of its batch, nor of the run."""
    volume = build_volume(head_phantom(slices=20, matrix=64))
    inputs = network_input(volume, BUNDLE.contract.recipe)
    assert np.array_equal(likeness.distances(inputs), likeness.distances(inputs))
    assert likeness.distances(inputs[3:4]) == pytest.approx(likeness.distances(inputs)[3:4], rel=1e-4)


def test_a_refusal_says_which_test_failed_and_the_figure() -> None:
    """Layers, structure, and a brain without skull by either of them; at the limits a series is read."""
    limits = Anatomy(Path("a"), "", skull=0.2, distance=1.5)

    def refused(share: float | None, distance: float, *, cut_out: bool = False) -> str:
        with pytest.raises(OutOfScope) as refusal:
            refuse_other_anatomy(Layers(share, cut_out), np.full(3, distance, dtype=np.float32), limits)
        return str(refusal.value)

    assert "scalp and skull surround 4% of the outline, of a head at least 20%" in refused(0.04, 1.0)
    assert "structure differs by 2.50, that of heads by 1.5 at most" in refused(0.8, 2.5)
    assert "structure differs by 2.50" in refused(None, 2.5)
    for share, distance in ((0.04, 1.0), (0.3, 2.5)):
        assert "brain without skull and scalp (brain-extracted images)" in refused(share, distance, cut_out=True)
    assert "structure differs" in refused(0.7, 2.5, cut_out=True)
    assert "structure differs" in refused(0.7, float("nan"))
    for share in (0.2, None):
        refuse_other_anatomy(Layers(share, cut_out=True), np.array([1.0, 1.5, 9.0], dtype=np.float32), limits)


def _copied(folder: Path) -> Path:
    shutil.copytree(BUNDLE.folder, folder / "copy", ignore=shutil.ignore_patterns("docs/plots"))
    return folder / "copy"


def test_what_scalp_and_skull_surround_all_around_may_differ_a_little_more() -> None:
    """15 % more, and no further; what they surround in part may not."""
    limits = registry.get("brain_mri_tumor").bundle.contract.anatomy
    assert limits
    more, far = (np.full(3, limits.distance * factor, dtype=np.float32) for factor in (1.1, 1.2))
    refuse_other_anatomy(Layers(0.95, cut_out=False), more, limits)
    for share, distances in ((0.95, far), (0.85, more), (None, more)):
        with pytest.raises(OutOfScope, match="structure differs"):
            refuse_other_anatomy(Layers(share, cut_out=False), distances, limits)


def test_a_bundle_with_other_anatomy_weights_is_broken(tmp_path: Path) -> None:
    """Missing, changed, outside of the bundle, and not fitting: each is named when the bundle is read or loaded."""
    folder = _copied(tmp_path)
    path = folder / contract().file
    whole = load_file(path)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BadModel, match="anatomy test are not those"):
        read_bundle(folder)
    path.unlink()
    with pytest.raises(BadModel, match="anatomy test are missing"):
        read_bundle(folder)
    whole.pop("mean")
    save_file(whole, path)
    bundle = _with(folder, file=str(contract().file), sha256=sha256(path))
    assert bundle.contract.anatomy
    with pytest.raises(BadModel, match="do not fit"):
        Likeness(bundle, bundle.contract.anatomy, CPU)
    with pytest.raises(BadModel, match="outside of the bundle"):
        _with(folder, file="../model.safetensors")


def test_the_limits_belong_to_the_models_identity(tmp_path: Path) -> None:
    """Another limit is another model: its digest differs; without the test there is none."""
    folder = _copied(tmp_path)
    before = read_bundle(folder)
    other = _with(folder, skull=0.3)
    assert other.digest != before.digest
    assert other.contract == replace(before.contract, anatomy=replace(contract(), skull=0.3))
    raw = metadata(folder)
    del raw["candela"]["anatomy"]
    write_metadata(folder, raw)
    assert read_bundle(folder).contract.anatomy is None


def _with(folder: Path, **changes: object) -> Bundle:
    raw = metadata(folder)
    raw["candela"]["anatomy"] |= changes
    write_metadata(folder, raw)
    return read_bundle(folder)
