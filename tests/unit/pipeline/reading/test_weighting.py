"""The weighting by all evidence of a header, over headers as vendors write them; and what only resembles T1."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import Refused, UnsupportedProtocol
from pipeline.geometry.build import build_volume
from pipeline.phantom import head_phantom
from pipeline.reading.weighting import judge, weighting
from pipeline.routing.protocol import ProtocolContract, check_protocol
from pipeline.routing.series_attributes import classic, describe
from tests import shapes
from tests.unit.pipeline.headers_of_t1 import T1
from tests.unit.pipeline.headers_unlike_t1 import NOT_T1

CONTRACT = ProtocolContract("MR", ("BRAIN", "HEAD"), ("T1",), contrast_expected=False)
PRIVATE = {"GEMS_ACQU_01": (0x0019, 0x9C), "Philips Imaging DD 001": (0x2001, 0x20)}
SHORT = {
    "seq": "ScanningSequence",
    "variant": "SequenceVariant",
    "options": "ScanOptions",
    "kind": "MRAcquisitionType",
    "tr": "RepetitionTime",
    "te": "EchoTime",
    "ti": "InversionTime",
    "flip": "FlipAngle",
    "etl": "EchoTrainLength",
    "name": "SequenceName",
    "pulse": "PulseSequenceName",
    "said": "SeriesDescription",
    "protocol": "ProtocolName",
    "contrast": "AcquisitionContrast",
    "angio": "AngioFlag",
}


def header(**values: Any) -> Dataset:
    """A header of an MR image with ``values`` by the names of `SHORT`, ``types`` (ImageType) and private names."""
    ds = Dataset()
    ds.SeriesInstanceUID, ds.Modality, ds.BodyPartExamined = "1.2.3", "MR", "BRAIN"
    ds.ImageType = values.pop("types", ["ORIGINAL", "PRIMARY", "M"])
    for key, value in values.items():
        if key in PRIVATE:
            group, element = PRIVATE[key]
            ds.private_block(group, key, create=True).add_new(element, "LO", value)
        else:
            setattr(ds, SHORT.get(key, key), value)
    return ds


@pytest.mark.parametrize("name", T1)
def test_what_vendors_write_for_t1_is_t1_and_what_it_was_taken_from_is_reported(name: str) -> None:
    values, evidence = T1[name]
    ds = header(**copy.deepcopy(values))
    assert weighting(ds) == "T1", judge(ds).reason
    assert judge(ds).evidence == evidence
    expected = (Caveat(CaveatCode.WEIGHTING_INFERRED, {"weighting": "T1", "attributes": evidence}),) if evidence else ()
    assert check_protocol(ds, CONTRACT) == expected


@pytest.mark.parametrize("name", NOT_T1)
def test_what_only_resembles_t1_is_refused_with_the_reason(name: str) -> None:
    values, reason = NOT_T1[name]
    ds = header(**copy.deepcopy(values))
    with pytest.raises(UnsupportedProtocol, match=reason) as error:
        check_protocol(ds, CONTRACT)
    said = values.get("said", "")
    assert len(said) < 10 or said not in str(error.value)


def test_rules_see_the_same_weighting() -> None:
    """`weighting` of a rule and the model's own check are one judgement."""
    for values, _ in (*T1.values(), *NOT_T1.values()):
        ds = header(**copy.deepcopy(values))
        assert describe(ds).weighting == weighting(ds)


def test_words_are_found_where_people_write_them() -> None:
    """A weighting within another word is none."""
    timing: dict[str, Any] = {"seq": "RM", "tr": 8, "te": 3}
    for said in ("3DT1", "sT1W_3D_TFE", "eT1W", "ax_t1_post", "T1", "SAG3DT1", "T1-w", "Ax T1 FSPGR", "cor bravo"):
        assert weighting(header(**timing, said=said)) == "T1", said
    for said in ("AT10 test", "post1", "STUDY", "T12 level", "T1rho", "sub_t1 SUB", "t1 t2"):
        assert weighting(header(**timing, said=said)) is None, said
    assert weighting(header(**timing, said="sub-01_T1w")) == "T1"  # a subject, not a subtraction


def enhanced_mprage(**shared: Any) -> Dataset:
    """An enhanced object of a gradient echo with its parameters in functional groups."""
    made = shapes.enhanced(head_phantom(slices=4, matrix=16))
    made.EchoPulseSequence, made.MRAcquisitionType, made.PulseSequenceName = "GRADIENT", "3D", "*tfl3d1_16ns"
    groups = made.SharedFunctionalGroupsSequence[0]
    groups.MRTimingAndRelatedParametersSequence[0].RepetitionTime = shared.get("tr", 1800.0)
    groups.MRTimingAndRelatedParametersSequence[0].FlipAngle = 9.0
    groups.MRModifierSequence = shapes.group(
        InversionRecovery=shared.get("inverted", "YES"), InversionTimes=shared["ti"]
    )
    for frame in made.PerFrameFunctionalGroupsSequence:
        frame.MREchoSequence[0].EffectiveEchoTime = 2.4
        frame.MRImageFrameTypeSequence[0].AcquisitionContrast = shared.get("contrast", "T1")
        if "echo" in shared:
            frame.MREchoSequence[0].EffectiveEchoTime = shared["echo"]
    return shapes.reread(made)


def test_enhanced_objects_are_judged_by_their_functional_groups() -> None:
    """Inversion time, sequence name and acquisition contrast lie in functional groups there."""
    assert judge(classic(enhanced_mprage(ti=900.0))).weighting == "T1"
    not_stated = classic(enhanced_mprage(ti=900.0, inverted="NO"))
    assert judge(not_stated).evidence[:2] == ("InversionTime", "SequenceName")
    assert describe(not_stated).inversion_time == 900
    assert weighting(classic(enhanced_mprage(ti=2500.0))) is None
    assert weighting(classic(enhanced_mprage(ti=900.0, contrast="T2"))) is None
    assert weighting(classic(enhanced_mprage(ti=[700.0, 2500.0], tr=5000.0))) is None


def two_echoes(first: float, second: float, **values: Any) -> list[Dataset]:
    """A gradient-echo series with each slice at two echo times, as magnitude images."""
    made = []
    for echo, time in enumerate((first, second)):
        for ds in head_phantom(slices=6, matrix=112):
            ds.ScanningSequence, ds.SequenceVariant, ds.MRAcquisitionType = "GR", "SP", "2D"
            ds.RepetitionTime, ds.FlipAngle, ds.EchoTime, ds.EchoNumbers = "500", "60", str(time), echo + 1
            ds.SeriesDescription = "GRE"
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID[:50]}.{echo + 1}"
            ds.PixelData = (np.frombuffer(ds.PixelData, np.uint16) // (echo + 1)).astype(np.uint16).tobytes()
            for keyword, value in values.items():
                setattr(ds, keyword, value)
            made.append(ds)
    return made


def suits(ds: Dataset) -> float:
    try:
        return -float(len(check_protocol(ds, CONTRACT)))
    except Refused:
        return -np.inf


@pytest.mark.parametrize(("first", "second"), [(10, 12.46), (4.92, 7.38), (9, 18), (1.2, 2.4)])
def test_of_two_gradient_echoes_a_few_ms_apart_none_is_read(first: float, second: float) -> None:
    """A field map, or a fat-water pair; one echo of it was read as T1 where the other is too long to be."""
    with pytest.raises(UnsupportedProtocol, match="gradient echoes a few ms apart") as error:
        build_volume(two_echoes(first, second), prefer=suits)
    assert f"EchoTime {first:g}" in str(error.value)
    assert f"EchoTime {second:g}" in str(error.value)


def test_an_echo_that_lies_far_off_is_another_image() -> None:
    """T1 and T2* of one acquisition, and the echoes of a spin echo, are what they were: one is read."""
    assert "EchoTime 4" in str(build_volume(two_echoes(4, 20), prefer=suits).caveats[0].values["read"])
    spin = two_echoes(15, 90, ScanningSequence="SE")
    assert "EchoTime 15" in str(build_volume(spin, prefer=suits).caveats[0].values["read"])


EXPECTED = {
    "NOTBRAIN_ge_genesis_wrist_cor": {None},
    "NOTBRAIN_ge_pioneer_t1_ax_phantom": {"T1"},
    "ge_ct_head_tilt": {None},
    "ge_signa_pd_ax": {"PD"},
    "siemens_prisma_t1_sag_2d_HFS": {"T1"},
    "siemens_trio_t1_sag": {"T1"},
    "siemens_trio_t2_ax": {"T2"},
    "uih_umr770_t1_sag": {"T1"},
    "mixed_ts_trio_epi": {None},
    "siemens_mosaic_orientation": {None},
    "philips_enhanced_elition": {None},
}


def test_every_real_series(real_data) -> None:
    """Each folder's images, by every header."""
    for folder in sorted((real_data / "dicom").iterdir()):
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.read_bytes()[128:132] == b"DICM"]
        headers = [pydicom.dcmread(path) for path in paths]
        found = {weighting(classic(ds)) for ds in headers if "Rows" in ds}
        assert found == EXPECTED[folder.name], folder.name
