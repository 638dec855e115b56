"""What a header says of a series, and whether a model made for brain T1 takes it."""

from __future__ import annotations

import pydicom
import pytest
from pydicom.dataset import Dataset

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import UnsupportedModality, UnsupportedProtocol
from pipeline.reading.weighting import weighting
from pipeline.routing.protocol import ProtocolContract, check_protocol

CONTRACT = ProtocolContract("MR", ("BRAIN", "HEAD"), ("T1",), contrast_expected=True)


def header(**changes: object) -> Dataset:
    ds = Dataset()
    values = {
        "SeriesInstanceUID": "1.2.3",
        "Modality": "MR",
        "BodyPartExamined": "BRAIN",
        "ScanningSequence": "SE",
        "RepetitionTime": "500",
        "EchoTime": "15",
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "ContrastBolusAgent": "Gd",
    }
    for keyword, value in {**values, **changes}.items():
        if value is not None:
            setattr(ds, keyword, value)
    return ds


def test_brain_t1_with_contrast_is_taken_without_caveats() -> None:
    assert check_protocol(header(), CONTRACT) == ()


def test_missing_contrast_and_body_part_are_caveats() -> None:
    """Taken, but every result will say what the header left open."""
    caveats = check_protocol(header(ContrastBolusAgent=None, BodyPartExamined=None), CONTRACT)
    assert caveats == (Caveat(CaveatCode.BODY_PART_ABSENT), Caveat(CaveatCode.CONTRAST_AGENT_ABSENT))


def test_another_modality_is_refused() -> None:
    with pytest.raises(UnsupportedModality, match="CT; the model takes MR"):
        check_protocol(header(Modality="CT"), CONTRACT)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"BodyPartExamined": "WRIST"}, "WRIST"),
        ({"ScanningSequence": "EP"}, "echo-planar"),
        ({"AngioFlag": "Y"}, "angiography"),
        ({"DiffusionBValue": 1000.0}, "diffusion"),
        ({"ImageType": ["DERIVED", "PRIMARY", "ADC"]}, "ADC"),
        ({"EchoTime": "91", "RepetitionTime": "11730"}, "T2-weighted"),
        ({"EchoTime": "22", "RepetitionTime": "2300"}, "PD-weighted"),
        ({"ScanningSequence": "GR", "EchoTime": "20"}, r"T2\*-weighted"),
        ({"ScanningSequence": None}, "does not tell"),
    ],
)
def test_what_is_plainly_something_else_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(UnsupportedProtocol, match=reason):
        check_protocol(header(**changes), CONTRACT)


def test_a_bare_header_is_judged_by_its_description() -> None:
    """Converted series often lost their timing; a description that names one weighting may stand in, two may not."""
    bare = {"ScanningSequence": None, "RepetitionTime": None, "EchoTime": None}
    assert weighting(header(**bare, SeriesDescription="AX T1 POST")) == "T1"
    assert weighting(header(**bare, SeriesDescription="T2 TSE")) == "T2"
    assert weighting(header(**bare, SeriesDescription="T1 and T2")) is None
    assert weighting(header(**bare, SeriesDescription="AT10 test")) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("uih_umr770_t1_sag", "T1"),
        ("siemens_prisma_t1_sag_2d_HFS", "T1"),
        ("siemens_trio_t1_sag", "T1"),
        ("siemens_trio_t2_ax", "T2"),
        ("ge_signa_pd_ax", "PD"),
    ],
)
def test_weightings_of_real_series(real_data, name: str, expected: str) -> None:
    path = next(item for item in sorted((real_data / "dicom" / name).rglob("*")) if item.is_file())
    assert weighting(pydicom.dcmread(path, stop_before_pixels=True)) == expected
