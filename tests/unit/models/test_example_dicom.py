"""Drawings as DICOM: the same voxels at the same places, and headers by which the channels are told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from models.training.examples import dicom
from models.training.examples.brains import WEIGHTINGS, study
from models.training.examples.chests import SIDE_MM, chest
from pipeline.geometry.build import build_volume
from pipeline.reading.weighting import weighting

SERIES = [
    pytest.param("tumour_regions", 4, marks=pytest.mark.nightly),
    ("chest_findings", 1),
    pytest.param("chest_objects", 1, marks=pytest.mark.nightly),
]


def test_four_series_of_one_study_keep_their_voxels_and_places() -> None:
    seed = dicom.HELD_OUT + 1
    drawn, made = study(seed, tumour=True), dicom.head_series(seed)
    assert tuple(made) == WEIGHTINGS
    for name, instances in made.items():
        volume = build_volume(instances)
        wanted = drawn.series[name]
        assert volume.array.shape == wanted.array.shape
        np.testing.assert_allclose(volume.affine, wanted.affine, atol=1e-3)
        assert np.abs(volume.array - wanted.array.clip(0, 4095)).max() <= 0.5
    first = [instances[0] for instances in made.values()]
    assert len({ds.StudyInstanceUID for ds in first}) == len({ds.FrameOfReferenceUID for ds in first}) == 1
    assert len({ds.SeriesInstanceUID for ds in first}) == 4
    assert len({ds.SOPInstanceUID for instances in made.values() for ds in instances}) == 4 * len(made["t1"])


def test_the_headers_say_weighting_and_contrast() -> None:
    made = {name: instances[0] for name, instances in dicom.head_series(3).items()}
    assert [weighting(made[name]) for name in ("t1", "t1c", "t2")] == ["T1", "T1", "T2"]
    assert [name for name, ds in made.items() if "ContrastBolusAgent" in ds] == ["t1c"]
    assert [name for name, ds in made.items() if "InversionTime" in ds] == ["flair"]


@pytest.mark.parametrize(("name", "count"), SERIES)
def test_the_command_writes_files(
    name: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["dicom", name, "--out", str(tmp_path), "--seed", "7"])
    dicom.main()
    found = [dcmread(path) for path in sorted(tmp_path.rglob("*.dcm"))]
    assert f"{len(found)} instances" in capsys.readouterr().out
    assert len({ds.SeriesInstanceUID for ds in found}) == count
    assert len({ds.StudyInstanceUID for ds in found}) == 1
    assert {ds.PatientID for ds in found} == {"DRAWN-7"}
    assert {ds.QualityControlImage for ds in found} == {"YES"}


def test_a_chest_keeps_its_pixels_and_spacing() -> None:
    ds = dicom.chest_image(4, objects=True)
    assert (ds.pixel_array == chest(4, objects=True).image).all()
    assert float(ds.ImagerPixelSpacing[0]) * ds.Rows == pytest.approx(SIDE_MM)
    assert ds.SOPInstanceUID != dicom.chest_image(4, objects=False).SOPInstanceUID
