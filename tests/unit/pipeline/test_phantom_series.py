"""Computed series in any orientation are read back as the volumes that they were made of."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline.geometry.build import build_volume
from pipeline.phantom import Header
from pipeline.phantom_series import FORMS, series_of
from tests.conformance.test_dciodvfy import tool
from tests.unit.models.workflow.placed import ORIENTATIONS, SHAPE, placed

HEADER = Header(key="computed", study_description="COMPUTED", body_part="ABDOMEN")


@pytest.mark.parametrize("modality", FORMS)
@pytest.mark.parametrize("orientation", sorted(set(ORIENTATIONS) - {"tilted gantry"}))
def test_a_series_is_read_back_as_its_volume(modality: str, orientation: str) -> None:
    values = np.random.default_rng(3).uniform(0, 1000, SHAPE).round()
    volume = placed(values, orientation)
    back = build_volume(series_of(volume.array, volume.affine, modality, HEADER))
    assert back.modality == modality
    assert np.abs(back.array - volume.array).max() <= FORMS[modality].slope / 2
    assert np.allclose(back.affine, volume.affine, atol=1e-4)


def test_two_series_share_study_and_frame_of_reference() -> None:
    volume = placed(np.zeros(SHAPE), "axial")
    (one, *_), (other, *_) = (series_of(volume.array, volume.affine, "MR", HEADER, series=name) for name in ("a", "b"))
    assert (one.StudyInstanceUID, one.FrameOfReferenceUID) == (other.StudyInstanceUID, other.FrameOfReferenceUID)
    assert one.SeriesInstanceUID != other.SeriesInstanceUID
    assert one.SOPInstanceUID != other.SOPInstanceUID


@pytest.mark.parametrize("modality", FORMS)
def test_no_value_is_wrong(modality: str, tmp_path: Path) -> None:
    """dciodvfy may miss what a scanner would say; nothing that stands there is wrong."""
    volume = placed(np.full(SHAPE, 100.0), "oblique")
    path = tmp_path / "image.dcm"
    series_of(volume.array, volume.affine, modality, HEADER)[0].save_as(path, enforce_file_format=True)
    done = subprocess.run([tool("dciodvfy"), "-new", str(path)], capture_output=True, text=True, check=False)
    wrong = [line for line in done.stderr.splitlines() if line.startswith("Error") and "Missing attribute" not in line]
    assert wrong == []
