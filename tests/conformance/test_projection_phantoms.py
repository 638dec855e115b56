"""The computed radiographs are what DICOM says that CR, DX and MG objects are."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import uid

from pipeline.phantom_projection import Film, chest_film, mammogram
from tests.conformance.test_dciodvfy import errors

CR = uid.ComputedRadiographyImageStorage
MADE = {
    "DX, PA": lambda: chest_film("PA"),
    "DX, lateral": lambda: chest_film("LL", Film((301, 223))),
    "DX, MONOCHROME1": lambda: chest_film("PA", Film(photometric="MONOCHROME1")),
    "DX for processing": lambda: chest_film("PA", Film(sop_class=uid.DigitalXRayImageStorageForProcessing)),
    "CR": lambda: chest_film("AP", Film(sop_class=CR)),
    "CR, MONOCHROME1": lambda: chest_film("AP", Film(sop_class=CR, photometric="MONOCHROME1")),
    "MG for processing": lambda: mammogram(film=Film(sop_class=uid.DigitalMammographyXRayImageStorageForProcessing)),
    **{
        f"MG, {side} {view}": lambda side=side, view=view: mammogram(side, view)
        for side in "LR"
        for view in ("CC", "MLO")
    },
}


@pytest.mark.parametrize("name", MADE)
def test_no_errors_in_a_computed_radiograph(name: str, tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    MADE[name]().save_as(path, enforce_file_format=True)
    assert errors(path) == []


def test_an_absent_spacing_is_an_error_of_a_mammogram(tmp_path: Path) -> None:
    """The silence above means something."""
    ds = mammogram()
    del ds.ImagerPixelSpacing
    path = tmp_path / "image.dcm"
    ds.save_as(path, enforce_file_format=True)
    assert any("ImagerPixelSpacing" in line for line in errors(path))
