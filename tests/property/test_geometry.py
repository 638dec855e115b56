"""Any orientation, order and spacing: voxels come out in order and at their place."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from pipeline.findings.identity import derived_uid, job_id
from pipeline.geometry.build import build_volume
from tests.strategies import oblique_series


@settings(deadline=None)
@given(oblique_series())
def test_any_series_comes_back_in_order_and_at_its_place(made: tuple[list[Dataset], np.ndarray]) -> None:
    """The volume's planes are sorted along the normal, and its affine is the true one to a micrometre."""
    datasets, affine = made
    volume = build_volume(datasets)
    assert [int(plane[0, 0]) for plane in volume.array] == list(range(len(datasets)))
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)
    corner = np.array(volume.shape) - 1
    np.testing.assert_allclose(volume.to_patient(corner), (affine @ [*corner, 1])[:3], atol=1e-5)
    np.testing.assert_allclose(volume.voxel_mm3, np.prod(volume.spacing), rtol=1e-6)


uids = st.lists(st.from_regex(r"1(\.[1-9][0-9]{0,8}){3,6}", fullmatch=True), min_size=1, max_size=8, unique=True)


@given(uids, st.randoms(use_true_random=False))
def test_a_resend_in_another_order_is_the_same_job(instances: list[str], random: object) -> None:
    """The job id depends on which instances there are, not on their order or repetition; one more makes another job."""
    shuffled = list(instances)
    random.shuffle(shuffled)
    first = job_id("1.2.3", instances, "a" * 64)
    assert first == job_id("1.2.3", [*shuffled, shuffled[0]], "a" * 64)
    assert first != job_id("1.2.3", [*instances, "1.99.1"], "a" * 64)
    assert first != job_id("1.2.3", instances, "b" * 64)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4), st.sampled_from([None, "1.2.826.0.1.3680043.10.999"]))
def test_derived_uids_are_valid_and_stable(parts: list[str], root: str | None) -> None:
    """Whatever they are derived from, UIDs obey PS3.5 9.1 and come out the same again."""
    value = derived_uid(*parts, root=root)
    assert value == derived_uid(*parts, root=root)
    assert len(value) <= 64
    assert all(part.isdigit() and (part == "0" or part[0] != "0") for part in value.split("."))
    assert value != derived_uid(*parts, "more", root=root)
