"""Several series on one grid: what stays as it is, what is interpolated, what is registered, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from pipeline.caveats import CaveatCode
from pipeline.errors import SeriesDoNotMatch
from pipeline.geometry import common_grid, rigid
from pipeline.geometry.common_grid import onto_one_grid
from pipeline.geometry.resample import resample
from pipeline.geometry.rigid import Match
from pipeline.geometry.volume import Volume
from tests.peers import heads

SHAPE, SPACING = (30, 44, 44), (6.0, 5.0, 5.0)
MOTION = heads.motion(8.0, [6.0, -5.0, 6.2])


def ramp(shape: tuple[int, int, int], spacing: tuple[float, float, float], frame: str = "1.2.1") -> Volume:
    """A volume whose value is x + 2 y + 3 z + 1000 in mm, which linear interpolation gives back exactly."""
    made = heads.volume(shape, spacing, frame=frame)
    points = made.to_patient(np.moveaxis(np.indices(shape), 0, -1))
    return replace(made, array=(points @ np.array([1.0, 2.0, 3.0]) + 1000).astype(np.float32))


def test_a_series_on_the_same_grid_stays_bit_by_bit() -> None:
    one, other = heads.volume(SHAPE, SPACING), heads.volume(SHAPE, SPACING, contrast="t2", uid="1.2.4")
    made = onto_one_grid({"t1": one, "t2": other})
    assert made.volumes["t1"] is one
    assert made.volumes["t2"] is other
    assert made.caveats == ()


def test_another_grid_in_one_frame_of_reference_is_interpolated_linearly_and_said() -> None:
    reference, moving = ramp(SHAPE, SPACING), ramp((50, 60, 61), (4.0, 4.1, 3.9))
    made = onto_one_grid({"t1": reference, "t2": moving})
    np.testing.assert_allclose(made.volumes["t2"].array, reference.array, atol=0.02)
    np.testing.assert_array_equal(made.volumes["t2"].affine, reference.affine)
    (caveat,) = made.caveats
    assert caveat.code is CaveatCode.SERIES_RESAMPLED
    assert caveat.values == {"channel": "t2", "covered": 100}


def test_a_tilted_gantry_is_interpolated_in_its_true_place() -> None:
    reference = ramp(SHAPE, SPACING)
    sheared = ramp((50, 70, 70), (4.0, 4.0, 4.0))
    affine = sheared.affine.copy()
    affine[1, 0] += 1.2  # each slice lies further back
    points = np.moveaxis(np.indices(sheared.shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    sheared = replace(sheared, affine=affine, array=(points @ np.array([1.0, 2.0, 3.0]) + 1000).astype(np.float32))
    values, inside = resample(sheared, reference.shape, reference.affine)
    assert inside.mean() > 0.9
    core = binary_erosion(inside)
    np.testing.assert_allclose(values[core], reference.array[core], atol=0.05)


def test_outside_of_the_field_of_view_stands_the_least_value_and_too_little_overlap_is_refused() -> None:
    reference = heads.volume(SHAPE, SPACING)
    part = heads.volume((8, 44, 44), SPACING, contrast="t2")  # 48 of 180 mm
    array, inside = resample(part, reference.shape, reference.affine)
    assert np.all(array[~inside] == part.array.min())
    with pytest.raises(SeriesDoNotMatch, match=r"shows [34]\d% of what that of channel t1 shows; the model needs 50%"):
        onto_one_grid({"t1": reference, "t2": part})


def test_no_overlap_at_all_is_refused() -> None:
    reference = heads.volume(SHAPE, SPACING)
    far = heads.volume(SHAPE, SPACING, contrast="t2")
    far = replace(far, affine=heads.motion(0, [0, 0, 900.0]) @ far.affine)
    with pytest.raises(SeriesDoNotMatch, match="shows 0% of"):
        onto_one_grid({"t1": reference, "t2": far})


@cache
def matched(contrast: str, seed: int) -> Match:
    """A T1 of head 1 and a moved series of head ``seed``, registered."""
    found = rigid.register(heads.volume(), _moved(contrast, seed))
    assert found is not None
    return found


def _moved(contrast: str, seed: int) -> Volume:
    pose = MOTION if seed == 1 else None
    return heads.volume(contrast=contrast, seed=seed, pose=pose, frame="1.2.2", uid="1.2.5")


@pytest.mark.slow
def test_a_known_motion_is_recovered_with_another_contrast_and_the_residual_is_said() -> None:
    reference = heads.volume()
    match = matched("t2", 1)
    head = reference.to_patient(np.argwhere(reference.array > 300)[::50])
    found, true = (head @ matrix[:3, :3].T + matrix[:3, 3] for matrix in (match.to_moving, MOTION))
    assert np.linalg.norm(found - true, axis=1).max() < 1.0
    made = _placed_with(match, reference, _moved("t2", 1))
    (caveat,) = made.caveats
    assert caveat.code is CaveatCode.SERIES_REGISTERED
    assert caveat.values["residual"] == round(match.residual_mm, 1) <= 1.0


def test_the_mirror_image_and_the_way_back_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """With searches that end at known places: a mirrored head is like the mirror image, and 3 mm lost on the way back
    are the residual.
    """
    ways = iter([np.eye(4), heads.motion(0, [3.0, 0.0, 0.0]), np.eye(4)] * 2)  # there, back, to the mirror image
    monkeypatch.setattr(rigid, "_search", lambda _fixed, _moving: next(ways))
    fixed, moving = heads.volume(SHAPE, SPACING), heads.volume(SHAPE, SPACING, uid="1.2.4")
    mirrored = replace(moving, affine=np.diag([-1.0, 1.0, 1.0, 1.0]) @ moving.affine)
    true, turned = rigid.register(fixed, moving), rigid.register(fixed, mirrored)
    assert true is not None
    assert turned is not None
    assert true.residual_mm == pytest.approx(3.0)
    assert true.edges == pytest.approx(turned.mirrored_edges, abs=0.03)
    assert true.mirrored_edges == pytest.approx(turned.edges, abs=0.03)
    assert true.edges > common_grid.LEAST_EDGES
    assert any("mirror image matches as well" in reason for reason in common_grid._unproven(turned))
    assert [reason[:13] for reason in common_grid._unproven(true)] == ["the registrat"]


@pytest.mark.nightly
@pytest.mark.slow
def test_another_head_is_refused() -> None:
    with pytest.raises(SeriesDoNotMatch, match=r"do not provably show the same head: .*mirror image matches as well"):
        _placed_with(matched("t2", 4), heads.volume(), _moved("t2", 4))


@pytest.mark.nightly
@pytest.mark.slow
def test_a_mirrored_head_is_refused() -> None:
    moving = _moved("t2", 1)
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirrored = replace(moving, affine=flip @ moving.affine)
    with pytest.raises(SeriesDoNotMatch, match="mirror image matches as well"):
        onto_one_grid({"t1": heads.volume(), "t2": mirrored})


@pytest.mark.nightly
@pytest.mark.slow
def test_the_same_volumes_give_the_same_bits() -> None:
    again = rigid.register(heads.volume(), _moved("t2", 1))
    assert again is not None
    assert again.to_moving.tobytes() == matched("t2", 1).to_moving.tobytes()
    assert again == replace(matched("t2", 1), to_moving=again.to_moving)


@pytest.mark.parametrize(
    ("match", "reason"),
    [
        (Match(np.eye(4), 0.74, 0.5, 0.1), "edges agree by 0.74, at least 0.75"),
        (Match(np.eye(4), 0.9, 0.85, 0.1), "mirror image matches as well"),
        (Match(np.eye(4), 0.9, 0.5, 2.1), r"differ by 2\.1 mm, at most 2 mm"),
    ],
)
def test_each_measure_refuses_by_itself(match: Match, reason: str) -> None:
    reference = heads.volume(SHAPE, SPACING)
    with pytest.raises(SeriesDoNotMatch, match=reason):
        _placed_with(match, reference, replace(reference, sources=heads.volume(SHAPE, SPACING, frame="1.9").sources))


def test_what_is_no_head_is_not_registered_and_a_missing_frame_of_reference_counts_as_another() -> None:
    reference = heads.volume(SHAPE, SPACING, frame="", BodyPartExamined="ABDOMEN")
    with pytest.raises(SeriesDoNotMatch, match="BodyPartExamined is ABDOMEN: Candela registers heads only"):
        onto_one_grid({"t1": reference, "t2": reference})


def test_series_that_never_overlap_are_refused() -> None:
    reference = heads.volume(SHAPE, SPACING)
    with pytest.raises(SeriesDoNotMatch, match="and do not overlap"):
        _placed_with(None, reference, heads.volume(SHAPE, SPACING, frame="1.9"))


def _placed_with(match: Match | None, reference: Volume, moving: Volume) -> common_grid.OnOneGrid:
    """As `onto_one_grid`, with a registration that was made before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common_grid, "register", lambda _fixed, _moving: match)
        return onto_one_grid({"t1": reference, "t2": moving})
