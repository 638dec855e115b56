"""What kind of object an instance is, after its SOP Class (PS3.4 B.5), and why some kinds are not read."""

from __future__ import annotations

from pydicom import uid
from pydicom.dataset import Dataset

from pipeline.errors import NotVolume

ENHANCED = frozenset(
    {
        uid.EnhancedCTImageStorage,
        uid.EnhancedMRImageStorage,
        uid.LegacyConvertedEnhancedCTImageStorage,
        uid.LegacyConvertedEnhancedMRImageStorage,
    }
)
"""Multi-frame objects whose frames are placed by functional groups (PS3.3 C.7.6.16) and read as slices."""

LABEL_MAP_SEGMENTATION = uid.UID("1.2.840.10008.5.1.4.1.1.66.7")
"""Label Map Segmentation Storage (Supplement 243), which pydicom 3.0 has no name for."""

PROJECTION = "a projection through the body, not a slice of it"
MOVING = "a moving or free-hand picture, whose frames have no regular place in the patient"
PHOTOGRAPH = "a photograph or video"
DERIVED = "made from images, not an image that a scanner took"
UNSUPPORTED = "a multi-frame image of a kind that Candela does not read yet"

NOT_VOLUMES = {
    uid.ComputedRadiographyImageStorage: PROJECTION,
    uid.DigitalXRayImageStorageForPresentation: PROJECTION,
    uid.DigitalXRayImageStorageForProcessing: PROJECTION,
    uid.DigitalMammographyXRayImageStorageForPresentation: PROJECTION,
    uid.DigitalMammographyXRayImageStorageForProcessing: PROJECTION,
    uid.DigitalIntraOralXRayImageStorageForPresentation: PROJECTION,
    uid.DigitalIntraOralXRayImageStorageForProcessing: PROJECTION,
    uid.BreastProjectionXRayImageStorageForPresentation: PROJECTION,
    uid.BreastProjectionXRayImageStorageForProcessing: PROJECTION,
    uid.XRayAngiographicImageStorage: PROJECTION,
    uid.EnhancedXAImageStorage: PROJECTION,
    uid.XRayRadiofluoroscopicImageStorage: PROJECTION,
    uid.EnhancedXRFImageStorage: PROJECTION,
    uid.RTImageStorage: PROJECTION,
    uid.EnhancedRTImageStorage: PROJECTION,
    uid.EnhancedContinuousRTImageStorage: PROJECTION,
    uid.UltrasoundImageStorage: MOVING,
    uid.UltrasoundMultiFrameImageStorage: MOVING,
    uid.EnhancedUSVolumeStorage: UNSUPPORTED,
    uid.IntravascularOpticalCoherenceTomographyImageStorageForPresentation: MOVING,
    uid.IntravascularOpticalCoherenceTomographyImageStorageForProcessing: MOVING,
    uid.VLEndoscopicImageStorage: PHOTOGRAPH,
    uid.VideoEndoscopicImageStorage: PHOTOGRAPH,
    uid.VLMicroscopicImageStorage: PHOTOGRAPH,
    uid.VideoMicroscopicImageStorage: PHOTOGRAPH,
    uid.VLSlideCoordinatesMicroscopicImageStorage: PHOTOGRAPH,
    uid.VLWholeSlideMicroscopyImageStorage: PHOTOGRAPH,
    uid.VLPhotographicImageStorage: PHOTOGRAPH,
    uid.VideoPhotographicImageStorage: PHOTOGRAPH,
    uid.DermoscopicPhotographyImageStorage: PHOTOGRAPH,
    uid.OphthalmicPhotography8BitImageStorage: PHOTOGRAPH,
    uid.OphthalmicPhotography16BitImageStorage: PHOTOGRAPH,
    uid.MultiFrameSingleBitSecondaryCaptureImageStorage: DERIVED,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage: DERIVED,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage: DERIVED,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage: DERIVED,
    uid.SegmentationStorage: DERIVED,
    LABEL_MAP_SEGMENTATION: DERIVED,
    uid.ParametricMapStorage: DERIVED,
    uid.RTDoseStorage: DERIVED,
    uid.EnhancedMRColorImageStorage: "a colour image, whose values are no signal",
    uid.EnhancedPETImageStorage: UNSUPPORTED,
    uid.LegacyConvertedEnhancedPETImageStorage: UNSUPPORTED,
    uid.NuclearMedicineImageStorage: UNSUPPORTED,
    uid.XRay3DAngiographicImageStorage: UNSUPPORTED,
    uid.XRay3DCraniofacialImageStorage: UNSUPPORTED,
    uid.BreastTomosynthesisImageStorage: UNSUPPORTED,
    uid.OphthalmicTomographyImageStorage: UNSUPPORTED,
}
"""Images that are not read as slices of a volume, each with what it is."""

PIXEL_ELEMENTS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def is_enhanced(ds: Dataset) -> bool:
    """Whether ``ds`` is a multi-frame object that is read frame by frame."""
    return ds.get("SOPClassUID") in ENHANCED


def is_without_image(ds: Dataset) -> bool:
    """Whether ``ds`` is no image at all: a report, a PDF, a presentation state, raw data, a plan, a waveform.

    An image object that has lost its pixels is an image still, and refused as a damaged one.
    """
    if any(keyword in ds for keyword in ("Rows", "Columns", *PIXEL_ELEMENTS)):
        return False
    return "Image Storage" not in class_name(ds)


def class_name(ds: Dataset) -> str:
    """The SOP Class as the standard names it; a private class by its UID."""
    known = uid.UID(str(ds.SOPClassUID))
    name = "Label Map Segmentation Storage" if known == LABEL_MAP_SEGMENTATION else known.name
    return f"private object of class {name}" if name == str(ds.SOPClassUID) else name


def refuse_other_kinds(ds: Dataset, where: str) -> None:
    """Raise `NotVolume` for an instance of a kind that holds no slices of a volume; ``where`` names it."""
    reason = NOT_VOLUMES.get(uid.UID(str(ds.SOPClassUID)))
    if reason is not None:
        raise NotVolume(
            f"The instance is a {class_name(ds)}: {reason}. Candela's models read volumes of CT or MR slices.",
            where=where,
            todo="Send the CT or MR series itself.",
        )
