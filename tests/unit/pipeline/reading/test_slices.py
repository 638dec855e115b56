"""Every shape of object as planes: frames of enhanced objects with classic headers; what is refused as no slices."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.errors import BadGeometry, BadPixels, InvalidHeader, MissingSlices, NotVolume, Refused
from pipeline.pixels.values import pixel_values
from pipeline.reading.files import read_files, read_parts
from pipeline.reading.functional_groups import BODY_PARTS, RENAMED, UNFOLDED
from pipeline.reading.slices import slices_of
from pipeline.reading.weighting import weighting
from tests.shapes import as_file, enhanced, group, mosaic, reread, with_pixels


@pytest.fixture(scope="module")
def small() -> tuple[Dataset, ...]:
    return phantom.head_phantom(slices=5, matrix=16)


def read(*datasets: Dataset) -> tuple[Dataset, ...]:
    return read_parts([(f"{n}.dcm", as_file(ds)) for n, ds in enumerate(datasets)], where="here").datasets


def test_frames_of_an_enhanced_object_are_its_slices_with_classic_headers(small: tuple[Dataset, ...]) -> None:
    """Pixels, positions and sequence parameters equal those of the same slices sent one by one."""
    planes = slices_of(read(enhanced(small)))
    assert [plane.frame for plane in planes] == [1, 2, 3, 4, 5]
    for plane, classic in zip(planes, small, strict=True):
        np.testing.assert_array_equal(pixel_values(plane), pixel_values(slices_of([classic])[0]))
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            assert list(plane.ds[keyword].value) == [float(value) for value in classic[keyword].value]
        for keyword in ("SliceThickness", "SpacingBetweenSlices", "RepetitionTime", "EchoTime", "FlipAngle"):
            assert float(plane.ds[keyword].value) == float(classic[keyword].value)
        assert plane.ds.WindowCenter == 600
        assert weighting(plane.ds) == "T1"
    first = planes[0].ds
    assert list(first.ImageType) == ["ORIGINAL", "PRIMARY", "T1", "NONE"]
    assert first.ScanningSequence == "SE"
    assert first.BodyPartExamined == "BRAIN"
    assert first.ContrastBolusAgent == "Gadolinium"
    assert (first.AcquisitionNumber, first.AcquisitionDate, first.AcquisitionTime) == (7, "20260105", "101500.250000")
    assert (first.StackID, planes[3].ds.InStackPositionNumber, first.TemporalPositionIndex) == ("1", 4, 1)
    assert "PixelData" not in first
    assert "NumberOfFrames" not in first
    assert "PerFrameFunctionalGroupsSequence" not in first


def test_a_frames_header_leaves_the_instance_as_it_was(small: tuple[Dataset, ...]) -> None:
    """Elements are shared between frames; renaming one must not reach the object, nor its neighbour."""
    instance = reread(enhanced(small))
    before = as_file(instance)
    planes = slices_of([instance])
    assert as_file(instance) == before
    assert list(instance.ImageType) == ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    assert list(planes[0].ds.ImagePositionPatient) != list(planes[1].ds.ImagePositionPatient)


def test_the_series_header_of_an_enhanced_object_is_classic(small: tuple[Dataset, ...]) -> None:
    """Protocol checks and routing read it as they read any other."""
    header = read_parts([("a.dcm", as_file(enhanced(small)))], where="here").header
    assert (header.EchoTime, header.ScanningSequence, header.BodyPartExamined) == (15, "SE", "BRAIN")


def test_echoes_b_values_and_phase_images_stay_told_apart(small: tuple[Dataset, ...]) -> None:
    """What distinguishes stacks in one object stands on each frame's header, under its classic name."""

    def each(index: int, item: Dataset) -> None:
        item.MREchoSequence = group(EffectiveEchoTime=10.0 * (index + 1))
        item.MRDiffusionSequence = group(DiffusionBValue=float(500 * (index % 2)), DiffusionDirectionality="ISOTROPIC")
        item.FrameContentSequence[0].StackID = "1" if index < 3 else "2"
        item.FrameContentSequence[0].TemporalPositionIndex = index + 1
        item.CardiacSynchronizationSequence = group(NominalCardiacTriggerDelayTime=33.3 * index)
        if index == 4:
            item.MRImageFrameTypeSequence[0].ComplexImageComponent = "PHASE"

    headers = [plane.ds for plane in slices_of(read(enhanced(small, each=each)))]
    assert [float(ds.EchoTime) for ds in headers] == [10, 20, 30, 40, 50]
    assert [ds.DiffusionBValue for ds in headers] == [0, 500, 0, 500, 0]
    assert [ds.StackID for ds in headers] == ["1", "1", "1", "2", "2"]
    assert [ds.TemporalPositionIdentifier for ds in headers] == [1, 2, 3, 4, 5]
    assert float(headers[2].TriggerTime) == pytest.approx(66.6)
    assert ["PHASE" in ds.ImageType for ds in headers] == [False] * 4 + [True]


@pytest.mark.parametrize(
    ("attributes", "scanning"),
    [
        ({"EchoPulseSequence": "GRADIENT"}, ["GR"]),
        ({"EchoPulseSequence": "SPIN", "EchoPlanarPulseSequence": "YES"}, ["SE", "EP"]),
        ({"EchoPulseSequence": "BOTH", "InversionRecovery": "YES"}, ["SE", "GR", "IR"]),
    ],
)
def test_the_pulse_sequence_reads_as_scanning_sequence(
    small: tuple[Dataset, ...], attributes: dict[str, str], scanning: list[str]
) -> None:
    ds = enhanced(small)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    found = slices_of([ds])[0].ds.ScanningSequence
    assert ([found] if isinstance(found, str) else list(found)) == scanning


def test_a_frame_without_contrast_says_nothing_of_an_agent(small: tuple[Dataset, ...]) -> None:
    """The object lists the agent of the study; the frame says that it was not given yet."""
    ds = enhanced(
        small,
        each=lambda index, item: setattr(
            item, "ContrastBolusUsageSequence", group(ContrastBolusAgentAdministered="NO" if index < 2 else "YES")
        ),
    )
    assert ["ContrastBolusAgent" in plane.ds for plane in slices_of([ds])] == [False, False, True, True, True]


def test_rescale_differs_from_frame_to_frame(small: tuple[Dataset, ...]) -> None:
    ds = enhanced(
        small,
        each=lambda index, item: setattr(
            item, "PixelValueTransformationSequence", group(RescaleSlope=index + 1.0, RescaleIntercept=-10.0)
        ),
    )
    for index, plane in enumerate(slices_of([ds])):
        expected = pixel_values(slices_of([small[index]])[0]) * (index + 1) - 10
        np.testing.assert_allclose(pixel_values(plane), expected)


def test_a_legacy_converted_object_gives_back_its_classic_attributes(small: tuple[Dataset, ...]) -> None:
    """Attributes that had no place in a functional group travel in the unassigned ones (PS3.3 C.7.6.16.2.25)."""

    def each(index: int, item: Dataset) -> None:
        del item.MREchoSequence
        item.UnassignedPerFrameConvertedAttributesSequence = group(
            EchoTime=str(15 + index), ScanningSequence="SE", RepetitionTime="500"
        )

    ds = enhanced(small, sop_class=uid.LegacyConvertedEnhancedMRImageStorage, each=each)
    del ds.EchoPulseSequence
    headers = [plane.ds for plane in slices_of(read(ds))]
    assert [float(header.EchoTime) for header in headers] == [15, 16, 17, 18, 19]
    assert headers[0].ScanningSequence == "SE"


def test_enhanced_ct_reads_in_hounsfield_units(small: tuple[Dataset, ...]) -> None:
    def each(_index: int, item: Dataset) -> None:
        del item.MREchoSequence, item.MRImageFrameTypeSequence
        item.CTImageFrameTypeSequence = group(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
        item.CTExposureSequence = group(ExposureTimeInms=500.4, XRayTubeCurrentInmA=200.0)
        item.CTAcquisitionDetailsSequence = group(GantryDetectorTilt=-12.0)
        item.CTXRayDetailsSequence = group(KVP="120")
        item.PixelValueTransformationSequence = group(RescaleSlope=1.0, RescaleIntercept=-1024.0, RescaleType="HU")

    ds = enhanced(small, sop_class=uid.EnhancedCTImageStorage, each=each)
    ds.Modality = "CT"
    plane = slices_of(read(ds))[2]
    np.testing.assert_allclose(pixel_values(plane), pixel_values(slices_of([small[2]])[0]) - 1024)
    assert (plane.ds.ExposureTime, plane.ds.XRayTubeCurrent, plane.ds.KVP) == (500, 200, 120)
    assert plane.ds.GantryDetectorTilt == -12


def test_an_enhanced_object_of_one_frame_is_one_slice(small: tuple[Dataset, ...]) -> None:
    (plane,) = slices_of(read(enhanced(small[:1])))
    assert plane.frame == 1


def test_a_compressed_enhanced_object_is_decoded_frame_by_frame(small: tuple[Dataset, ...]) -> None:
    ds = enhanced(small)
    ds.compress(uid.RLELossless, generate_instance_uid=False)
    for plane, classic in zip(slices_of(read(ds)), small, strict=True):
        np.testing.assert_array_equal(pixel_values(plane), pixel_values(slices_of([classic])[0]))


@pytest.mark.parametrize("claimed", [1, 4, 6, 2**31 - 1])
def test_a_frame_number_that_does_not_fit_is_refused(small: tuple[Dataset, ...], claimed: int) -> None:
    """Two thousand million frames cost nothing: they are counted against what describes them, or against the bytes."""
    ds = enhanced(small)
    ds.NumberOfFrames = claimed
    with pytest.raises((BadGeometry, BadPixels), match=r"claims|holds more"):
        slices_of(read(ds))


def test_a_missing_part_of_a_concatenation_is_refused(small: tuple[Dataset, ...]) -> None:
    """An object sent in parts is whole, or refused: the end of a stack would else be missing unnoticed."""
    parts = [enhanced(small[:2]), enhanced(small[2:4]), enhanced(small[4:])]
    for number, part in enumerate(parts, start=1):
        part.ConcatenationUID, part.InConcatenationNumber, part.InConcatenationTotalNumber = "1.2.3", number, 3
    assert len(slices_of(parts)) == 5
    with pytest.raises(MissingSlices, match=r"1 of 3 parts .*concatenation 1\.2\.3"):
        slices_of(parts[:2])


@pytest.mark.parametrize("tell", ["image type", "element", "csa"])
def test_a_mosaic_is_refused_whatever_still_tells_it(small: tuple[Dataset, ...], tell: str) -> None:
    """Also where ImageType was rewritten on the way: the private elements of Siemens say it too."""
    with pytest.raises(BadGeometry, match=r"mosaic.*Switch Mosaic off"):
        slices_of(read(mosaic(small, tell=tell)))


def test_a_siemens_image_that_is_no_mosaic_is_read(small: tuple[Dataset, ...]) -> None:
    """Its CSA header names NumberOfImagesInMosaic too, without a value."""
    assert len(slices_of(read(mosaic(small, tell="nothing")))) == 1


@pytest.mark.parametrize(
    ("sop_class", "says"),
    [
        (uid.ComputedRadiographyImageStorage, "Computed Radiography.*a projection through the body"),
        (uid.DigitalXRayImageStorageForPresentation, "Digital X-Ray.*a projection"),
        (uid.DigitalMammographyXRayImageStorageForPresentation, "Mammography.*a projection"),
        (uid.XRayAngiographicImageStorage, "Angiographic.*a projection"),
        (uid.UltrasoundMultiFrameImageStorage, "Ultrasound.*no regular place"),
        (uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage, "Secondary Capture.*made from images"),
        (uid.VideoEndoscopicImageStorage, "Endoscopic.*video"),
        (uid.EnhancedMRColorImageStorage, "Color.*no signal"),
        (uid.EnhancedPETImageStorage, "PET.*not read yet"),
        (uid.SegmentationStorage, "Segmentation.*made from images"),
        (uid.RTDoseStorage, "Dose.*made from images"),
    ],
)
def test_images_that_are_no_slices_are_refused_by_name(
    small: tuple[Dataset, ...], sop_class: uid.UID, says: str
) -> None:
    ds = copy.deepcopy(small[0])
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    with pytest.raises(NotVolume, match=rf"(?s){says}.*volumes of CT or MR slices.*Send the CT or MR"):
        slices_of(read(ds))


def test_a_multi_frame_object_without_places_is_refused(small: tuple[Dataset, ...]) -> None:
    ds = copy.deepcopy(small[0])
    ds.NumberOfFrames = 4
    with pytest.raises(BadGeometry, match="multi-frame MR Image Storage of 4 frames"):
        slices_of([ds])


def test_an_aspect_ratio_is_no_spacing(small: tuple[Dataset, ...]) -> None:
    ds = copy.deepcopy(small[0])
    del ds.PixelSpacing
    ds.PixelAspectRatio = [2, 1]
    with pytest.raises(BadGeometry, match="PixelAspectRatio and no PixelSpacing"):
        slices_of([ds])


def test_a_series_beyond_bounds_is_refused_before_a_pixel_is_decoded(
    small: tuple[Dataset, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.reading.slices.MOST_VOXELS", 4 * 16 * 16)
    with pytest.raises(BadPixels, match="more than 1024 voxels"):
        slices_of(small)


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("SharedFunctionalGroupsSequence", "LO", "not a sequence"),
        ("PerFrameFunctionalGroupsSequence", "OB", b"\0\1"),
        ("NumberOfFrames", "LO", "five"),
        ("SeriesInstanceUID", "LO", ["1.2", "1.3"]),
    ],
)
def test_a_value_of_another_kind_is_refused_where_a_step_needs_it(
    small: tuple[Dataset, ...], keyword: str, vr: str, value: object
) -> None:
    """What no step needs is left out instead: test_odd_values.py."""
    ds = enhanced(small)
    ds.add_new(keyword, vr, value)

    def whole_way() -> None:
        series = read_parts([("a.dcm", as_file(ds))], where="here")
        _ = series.header
        slices_of(series.datasets)

    with pytest.raises(Refused) as caught:
        whole_way()
    assert isinstance(caught.value, InvalidHeader | BadGeometry)


def test_a_functional_group_that_is_no_sequence_is_refused(small: tuple[Dataset, ...]) -> None:
    ds = enhanced(small, each=lambda _i, item: item.add_new("PlanePositionSequence", "LO", "somewhere"))
    with pytest.raises(InvalidHeader, match="PlanePositionSequence is not a sequence"):
        slices_of(read(ds))


def test_every_name_of_the_tables_is_dicoms() -> None:
    """A keyword with a slip of the pen would silently never match."""
    from pydicom.datadict import tag_for_keyword
    from pydicom.sr.codedict import codes

    assert all(tag_for_keyword(keyword) for keyword in (*UNFOLDED, *RENAMED, *RENAMED.values()))
    named = {str(codes.SCT.Brain.value): "BRAIN", str(codes.SCT.Head.value): "HEAD", str(codes.SCT.Knee.value): "KNEE"}
    named |= {str(codes.SCT.Chest.value): "CHEST", str(codes.SCT.Liver.value): "LIVER"}
    assert named.items() <= BODY_PARTS.items()


def test_private_elements_stay_as_they_came(small: tuple[Dataset, ...]) -> None:
    ds = enhanced(small)
    ds.private_block(0x0029, "SOMEBODY", create=True).add_new(0x01, "UN", b"\1\2\3\4")
    plane = slices_of(read(ds))[0]
    assert plane.ds.private_block(0x0029, "SOMEBODY")[0x01].value == b"\1\2\3\4"
    assert plane.instance.private_block(0x0029, "SOMEBODY")[0x01].value == b"\1\2\3\4"


def test_nothing_of_the_big_arrays_is_copied_into_headers(small: tuple[Dataset, ...]) -> None:
    """Every frame's header shares its elements with the instance: a thousand frames cost their own groups only."""
    instance = reread(enhanced(small))
    planes = slices_of([instance])
    raw = instance.get_item("PatientName")
    assert planes[0].ds.get_item("PatientName") is planes[4].ds.get_item("PatientName") is raw
    assert planes[0].pixels is planes[4].pixels
    assert with_pixels(small[0], np.zeros((4, 4), np.uint8)).PixelData == bytes(16)


def test_real_enhanced_objects_are_read_frame_by_frame(real_data: Path) -> None:
    """A Philips 3D perfusion series: one enhanced object of forty frames, and raw data in the same series."""
    folder = real_data / "dicom" / "philips_enhanced_elition"
    series = read_files(sorted(folder.glob("1901_*")), folder)
    assert [Path(name).name for name in series.skipped] == ["1901_WIP_3DpCASL_Raw.dcm"]
    planes = slices_of(series.datasets)
    assert len(planes) == 40
    assert len({tuple(plane.ds.ImagePositionPatient) for plane in planes}) == 40
    assert {plane.ds.BodyPartExamined for plane in planes} == {"BRAIN"}
    assert list(series.header.ImageType)[2:] == ["PERFUSION", "NONE", "REAL"]
    assert pixel_values(planes[20]).max() > 100
