"""Odd values in the header of a radiograph: it is read, or refused in words; nothing else happens."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from pipeline.errors import Refused
from pipeline.geometry.projection import build_projection
from pipeline.phantom_projection import Film, mammogram
from pipeline.reading.files import read_parts
from pipeline.reading.projection import facts_of
from pipeline.routing.scope import Scope, check_scope
from tests.odd_values import element
from tests.shapes import as_file

SCOPE = Scope(("MG",), body_parts=("BREAST",), views=("CC", "MLO"), projection=True)
KEYWORDS = (
    *("BodyPartExamined", "EstimatedRadiographicMagnificationFactor", "ImageLaterality"),
    *("ImageType", "ImagerPixelSpacing", "InstanceNumber", "Laterality", "PatientOrientation", "PixelSpacing"),
    *("PixelSpacingCalibrationType", "PresentationIntentType", "PresentationLUTShape", "RescaleType", "Rows"),
    *("ViewPosition", "WindowCenter", "NumberOfFrames"),
)
ODD = {
    "text": b"abc ",
    "many": b"1\\2\\3\\4\\5 ",
    "pair": b"0,2\\0,1 ",
    "infinite": b"inf\\nan ",
    "binary": b"\xff\xfe\x00\x01",
    "long": b"9" * 300,
    "backslashes": b"\\\\\\ ",
}


@pytest.fixture(scope="module")
def film() -> Dataset:
    return mammogram(film=Film((20, 15)))


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("keyword", KEYWORDS)
@pytest.mark.filterwarnings("ignore")
def test_a_radiograph_with_an_odd_value_is_read_or_refused(film: Dataset, keyword: str, value: str) -> None:
    read_or_refused(film, keyword, element(keyword, ODD[value]))


@pytest.mark.parametrize("keyword", ["AnatomicRegionSequence", "ViewCodeSequence", "VOILUTSequence"])
@pytest.mark.parametrize("value", ["text", [Dataset()], []])
@pytest.mark.filterwarnings("ignore")
def test_a_radiograph_with_an_odd_sequence_is_read_or_refused(film: Dataset, keyword: str, value: Any) -> None:
    read_or_refused(film, keyword, DataElement(Tag(keyword), "LO" if value == "text" else "SQ", value))


def read_or_refused(film: Dataset, keyword: str, odd: DataElement | RawDataElement) -> None:
    ds = copy.deepcopy(film)
    if keyword == "VOILUTSequence":
        del ds.WindowCenter, ds.WindowWidth
    ds._dict[Tag(keyword)] = odd
    ds.set_original_encoding(is_implicit_vr=False, is_little_endian=True, character_encoding=ds._character_set)
    written = as_file(ds)
    facts_of(ds)
    try:
        series = read_parts([("a.dcm", written)], where="here")
        check_scope(series.header, SCOPE)
        volume = build_projection(series.datasets)
    except Refused:
        return
    assert volume.shape == (1, 20, 15)
    assert min(volume.spacing) > 0


def test_a_value_that_no_step_needs_is_left_out(film: Dataset) -> None:
    ds = copy.deepcopy(film)
    ds[Tag("EstimatedRadiographicMagnificationFactor")] = element("EstimatedRadiographicMagnificationFactor", b"abc ")
    series = read_parts([("a.dcm", as_file(ds))], where="here")
    assert build_projection(series.datasets).spacing == build_projection([film]).spacing
