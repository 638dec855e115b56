"""Classic MR instances as one Enhanced MR object (PS3.3 A.36), in whatever order of frames.

It has what readers of pixels and geometry look at, not every attribute of the IOD.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian

from pipeline.identity import derived_uid

DIMENSIONS = (("StackID", "FrameContentSequence"), ("InStackPositionNumber", "FrameContentSequence"))


def enhanced_mr(frames: Sequence[Dataset], *, key: str = "enhanced") -> Dataset:
    """The single-frame MR images ``frames``, of one stack, as the frames of one object in the order given.

    UIDs of study, series and frame of reference stay; the object's own UID is derived from ``key``.
    """
    first = frames[0]
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = EnhancedMRImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = derived_uid("made", "enhanced", key)
    for keyword in (
        *(
            "StudyInstanceUID",
            "SeriesInstanceUID",
            "FrameOfReferenceUID",
            "PatientName",
            "PatientID",
            "PatientBirthDate",
        ),
        *("PatientSex", "StudyDate", "StudyTime", "SeriesDate", "SeriesTime", "ContentDate", "ContentTime", "StudyID"),
        *("AccessionNumber", "ReferringPhysicianName", "StudyDescription", "SeriesDescription", "SeriesNumber"),
        *(
            "Modality",
            "Manufacturer",
            "ManufacturerModelName",
            "BodyPartExamined",
            "PatientPosition",
            "Rows",
            "Columns",
        ),
        *("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"),
        *("PixelRepresentation", "MagneticFieldStrength", "PositionReferenceIndicator"),
    ):
        if keyword in first:
            ds[keyword] = deepcopy(first[keyword])
    ds.InstanceNumber = 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "T1", "NONE"]
    ds.AcquisitionDateTime = f"{first.AcquisitionDate}{first.AcquisitionTime}"
    ds.AcquisitionDuration = 120.0
    ds.DeviceSerialNumber, ds.SoftwareVersions = "1", "1"
    ds.ResonantNucleus, ds.KSpaceFiltering, ds.ApplicableSafetyStandardAgency = "1H", "NONE", "IEC"
    ds.AcquisitionContrast, ds.VolumetricProperties, ds.VolumeBasedCalculationTechnique = "T1", "VOLUME", "NONE"
    ds.ComplexImageComponent, ds.ContentQualification = "MAGNITUDE", "RESEARCH"
    ds.PixelPresentation, ds.PresentationLUTShape = "MONOCHROME", "IDENTITY"
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    ds.PulseSequenceName, ds.MRAcquisitionType, ds.EchoPulseSequence = "SE", "2D", "SPIN"
    _set_dimensions(ds, key)
    ds.SharedFunctionalGroupsSequence = [_shared(first)]
    normal = np.cross(
        np.array(first.ImageOrientationPatient[:3], float), np.array(first.ImageOrientationPatient[3:], float)
    )
    along = [float(np.array(frame.ImagePositionPatient, float) @ normal) for frame in frames]
    ranks = np.argsort(np.argsort(along)) + 1
    ds.PerFrameFunctionalGroupsSequence = [
        _per_frame(frame, int(rank)) for frame, rank in zip(frames, ranks, strict=True)
    ]
    ds.NumberOfFrames = len(frames)
    ds.PixelData = b"".join(frame.PixelData for frame in frames)
    ds["PixelData"].VR = "OW"
    return ds


def _set_dimensions(ds: Dataset, key: str) -> None:
    organization = Dataset()
    organization.DimensionOrganizationUID = derived_uid("made", "enhanced", key, "dimensions")
    ds.DimensionOrganizationSequence = [organization]
    ds.DimensionIndexSequence = []
    for pointer, group in DIMENSIONS:
        item = Dataset()
        item.DimensionOrganizationUID = organization.DimensionOrganizationUID
        item.DimensionIndexPointer, item.FunctionalGroupPointer = pointer, group
        ds.DimensionIndexSequence.append(item)


def _shared(first: Dataset) -> Dataset:
    groups = Dataset()
    _add(
        groups,
        "PixelMeasuresSequence",
        PixelSpacing=first.PixelSpacing,
        SliceThickness=first.SliceThickness,
    )
    _add(groups, "PlaneOrientationSequence", ImageOrientationPatient=first.ImageOrientationPatient)
    _add(
        groups,
        "MRImageFrameTypeSequence",
        FrameType=["ORIGINAL", "PRIMARY", "T1", "NONE"],
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        ComplexImageComponent="MAGNITUDE",
        AcquisitionContrast="T1",
    )
    _add(
        groups,
        "MRTimingAndRelatedParametersSequence",
        RepetitionTime=first.RepetitionTime,
        FlipAngle=first.FlipAngle,
        EchoTrainLength=1,
    )
    _add(groups, "MREchoSequence", EffectiveEchoTime=float(first.EchoTime))
    _add(groups, "FrameVOILUTSequence", WindowCenter=first.WindowCenter, WindowWidth=first.WindowWidth)
    _add(
        groups,
        "PixelValueTransformationSequence",
        RescaleIntercept=first.get("RescaleIntercept", 0),
        RescaleSlope=first.get("RescaleSlope", 1),
        RescaleType="US",
    )
    return groups


def _per_frame(frame: Dataset, rank: int) -> Dataset:
    groups = Dataset()
    _add(
        groups,
        "FrameContentSequence",
        StackID="1",
        InStackPositionNumber=rank,
        DimensionIndexValues=[1, rank],
        FrameAcquisitionDateTime=f"{frame.AcquisitionDate}{frame.AcquisitionTime}",
        FrameReferenceDateTime=f"{frame.AcquisitionDate}{frame.AcquisitionTime}",
        FrameAcquisitionDuration=1000.0,
    )
    _add(groups, "PlanePositionSequence", ImagePositionPatient=frame.ImagePositionPatient)
    return groups


def _add(groups: Dataset, keyword: str, **values: object) -> None:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    setattr(groups, keyword, [item])
