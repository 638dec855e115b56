"""The comparison of what each step against the shortcut brings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from models import registry
from models.evaluation.ablation import VARIANTS, WholeImageNet, ablation, shortened
from models.training.plan import read_plan
from tests.unit.models.measured import WIDTHS, four_classes, picture_folder


def test_each_variant_leaves_something_else_out() -> None:
    """No two variants are the same recipe and network, and the first is the recipe itself."""
    plan = shortened(read_plan(registry.SHIPPED / "brain_mri_tumor" / "configs" / "train.json"))
    made = [(repr(variant.change(plan)), variant.network) for variant in VARIANTS]
    assert len(set(made)) == len(VARIANTS)
    assert made[0][0] == repr(plan)
    assert plan.healthy_series == ("uih_umr770_t1_sag",)


def test_the_open_way_sees_the_whole_image() -> None:
    """Brightness far from the marked region moves the class of the network with the way to the shortcut open."""
    torch.manual_seed(0)
    net = WholeImageNet(classes=4, widths=WIDTHS, dropout=0.0).eval()
    features = net.encode(torch.randn(1, 1, 64, 64))
    pixels = torch.full((1, 4, 64, 64), -20.0)
    pixels[:, 3] = 20
    pixels[:, 0, :8, :8], pixels[:, 3, :8, :8] = 20, -20
    far = features.seen.clone()
    far[..., 4:, 4:] += 3
    moved = features._replace(seen=far)
    assert not torch.allclose(net.answer(features, pixels).classes, net.answer(moved, pixels).classes, atol=1e-3)
    plain = super(WholeImageNet, net).region(features, pixels)[1]
    torch.testing.assert_close(super(WholeImageNet, net).region(moved, pixels)[1], plain, rtol=1e-3, atol=1e-3)


@pytest.mark.nightly
def test_every_variant_has_a_row_and_is_not_trained_twice(tmp_path: Path) -> None:
    """Figures by variant are written; a second call goes on from what is there."""
    data, bundles = picture_folder(tmp_path), tmp_path / "bundles"
    four_classes(bundles)
    out = tmp_path / "out"
    rows = ablation("four", data, out, folders=(bundles,), steps=1, matrix=32)
    assert list(rows) == [variant.name for variant in VARIANTS]
    assert all(0 <= row["held_out"]["accuracy"] <= 1 for row in rows.values())
    written = [path.stat().st_mtime_ns for path in sorted(out.glob("variant*/*.safetensors"))]
    assert ablation("four", data, out, folders=(bundles,), steps=1, matrix=32) == rows
    assert [path.stat().st_mtime_ns for path in sorted(out.glob("variant*/*.csv"))]
    assert json.loads((out / "ablation.json").read_text()) == json.loads(json.dumps(rows))
    assert len(written) == len(VARIANTS)
