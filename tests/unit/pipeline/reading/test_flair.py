"""FLAIR, T2, STIR and T1 FLAIR told apart by timing, attributes and words."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydicom.dataset import Dataset

from pipeline.reading.flair import tissue_contrast
from pipeline.reading.weighting import weighting
from tests.unit.pipeline.headers_of_t1 import T1
from tests.unit.pipeline.reading.test_weighting import header as vendor_header

T2 = {"ScanningSequence": "SE", "RepetitionTime": "4000", "EchoTime": "100"}
FLAIR = {"ScanningSequence": ["SE", "IR"], "RepetitionTime": "9000", "EchoTime": "120", "InversionTime": "2500"}
BARE = {"InversionTime": None}


def header(*parts: dict[str, Any], **values: Any) -> Dataset:
    ds = Dataset()
    ds.Modality, ds.ImageType = "MR", ["ORIGINAL", "PRIMARY", "M"]
    for part in (*parts, values):
        for keyword, value in part.items():
            setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (header(T2), "T2"),
        (header(T2, SeriesDescription="T2 TSE"), "T2"),
        (header(FLAIR), "FLAIR"),
        (header(FLAIR, SeriesDescription="t2_tirm_dark-fluid_tra"), "FLAIR"),
        (header(FLAIR, InversionTime="1650", RepetitionTime="4800", EchoTime="390"), "FLAIR"),  # 3D at 3 T
        (header(FLAIR, ScanningSequence="IR"), "FLAIR"),
        (header(FLAIR, BARE, SeriesDescription="AX T2 FLAIR"), "FLAIR"),
        (header(FLAIR, BARE, SeriesDescription="sag3DFLAIR"), "FLAIR"),
        (header(T2, AcquisitionContrast="FLUID_ATTENUATED"), "FLAIR"),
        (header(FLAIR, BARE), None),  # an inversion of unknown time: FLAIR or STIR
        (header(FLAIR, InversionTime="160"), None),  # STIR
        (header(FLAIR, BARE, SeriesDescription="STIR"), None),
        (header(FLAIR, SeriesDescription="3D DIR"), None),
        (header(FLAIR, InversionTime="4500"), None),
        (header(FLAIR, InversionTime="900"), None),
        (header(SeriesDescription="FLAIR"), "FLAIR"),  # a conversion
        (header(SeriesDescription="T2 FLAIR"), "FLAIR"),
        (header(SeriesDescription="T1 FLAIR"), "T1"),
        (header(SeriesDescription="T2"), "T2"),
        (header(SeriesDescription="flairy"), None),
        (header(FLAIR, EchoTime="10", InversionTime="860", RepetitionTime="2000", SeriesDescription="T1 FLAIR"), "T1"),
        (header(T2, SeriesDescription="ADC"), None),
    ],
)
def test_flair_is_told_from_t2_stir_and_t1_flair(made: Dataset, expected: str | None) -> None:
    assert tissue_contrast(made) == expected


@pytest.mark.parametrize("name", T1)
def test_what_is_t1_stays_t1(name: str) -> None:
    values, _ = T1[name]
    assert tissue_contrast(vendor_header(**copy.deepcopy(values))) == "T1"


def test_rules_count_a_flair_as_t2_as_before() -> None:
    assert weighting(header(FLAIR)) == "T2"
