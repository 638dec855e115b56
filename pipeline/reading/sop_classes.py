"""The kind of an object by its SOP Class (PS3.4 B.5), and the kinds that are not read."""

from __future__ import annotations

from pydicom import uid
from pydicom.dataset import Dataset

from pipeline.errors import NotProjection, NotVolume
from pipeline.reading.attributes import number, text, texts, values

ENHANCED = frozenset(
    {
        uid.EnhancedCTImageStorage,
        uid.EnhancedMRImageStorage,
        uid.LegacyConvertedEnhancedCTImageStorage,
        uid.LegacyConvertedEnhancedMRImageStorage,
    }
)
"""Multi-frame objects whose functional groups position the frames (PS3.3 C.7.6.16), which are read as slices."""

LABEL_MAP_SEGMENTATION = uid.UID("1.2.840.10008.5.1.4.1.1.66.7")
"""Label Map Segmentation Storage (Supplement 243), for which pydicom 3.0 has no name."""

PROJECTIONS = frozenset(
    {
        uid.ComputedRadiographyImageStorage,
        uid.DigitalXRayImageStorageForPresentation,
        uid.DigitalXRayImageStorageForProcessing,
        uid.DigitalMammographyXRayImageStorageForPresentation,
        uid.DigitalMammographyXRayImageStorageForProcessing,
    }
)
"""Radiographs, which are read for models that take projections, and for no others."""

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
    uid.UID("1.2.840.10008.5.1.4.1.1.12.3"): PROJECTION,  # X-ray angiographic bi-plane (retired)
    uid.XRayRadiofluoroscopicImageStorage: PROJECTION,
    uid.EnhancedXRFImageStorage: PROJECTION,
    uid.RTImageStorage: PROJECTION,
    uid.EnhancedRTImageStorage: PROJECTION,
    uid.EnhancedContinuousRTImageStorage: PROJECTION,
    uid.UltrasoundImageStorage: MOVING,
    uid.UltrasoundMultiFrameImageStorage: MOVING,
    uid.UID("1.2.840.10008.5.1.4.1.1.3"): MOVING,  # ultrasound, multi-frame (retired)
    uid.UID("1.2.840.10008.5.1.4.1.1.6"): MOVING,  # ultrasound (retired)
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
    uid.UID("1.2.840.10008.5.1.4.1.1.5"): UNSUPPORTED,  # nuclear medicine (retired)
    uid.NuclearMedicineImageStorage: UNSUPPORTED,
    uid.XRay3DAngiographicImageStorage: UNSUPPORTED,
    uid.XRay3DCraniofacialImageStorage: UNSUPPORTED,
    uid.BreastTomosynthesisImageStorage: UNSUPPORTED,
    uid.OphthalmicTomographyImageStorage: UNSUPPORTED,
}
"""Images that are not read as slices of a volume, each with a description; among them `PROJECTIONS`."""

SLICES = frozenset(
    {
        uid.CTImageStorage,
        uid.MRImageStorage,
        uid.PositronEmissionTomographyImageStorage,
        uid.SecondaryCaptureImageStorage,
    }
)
"""Single-frame objects that are read as one slice each, if they have a position in the patient."""
UNKNOWN = "of a class that Candela does not know, so what its pixels mean is not known either"

PIXEL_ELEMENTS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def is_enhanced(ds: Dataset) -> bool:
    """Whether ``ds`` is a multi-frame object that is read frame by frame."""
    return ds.get("SOPClassUID") in ENHANCED


def is_without_image(ds: Dataset) -> bool:
    """Whether ``ds`` is an object without an image: a report, a PDF, a presentation state, raw data, a plan, a
    waveform.

    An image object that has lost its pixels still counts as an image, and is refused as damaged.
    """
    if any(keyword in ds for keyword in ("Rows", "Columns", *PIXEL_ELEMENTS)):
        return False
    return "Image Storage" not in class_name(ds)


CAPTURES = frozenset(
    {
        uid.SecondaryCaptureImageStorage,
        uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)
"""Pictures of images: screenshots, pages of a report, scanned paper. Some of them are slices with a position."""


def is_picture(ds: Dataset) -> bool:
    """Whether ``ds`` is a picture beside the slices of a series: it has no position in the patient, and is a secondary
    capture, a photograph or video, in colour, or a screen save by its Image Type.

    An object with a position, or a grey image of a scanner, may be a slice and is not a picture. Needs no pixel data.
    """
    if _has_place(ds):
        return False
    kind = uid.UID(text(ds, "SOPClassUID"))
    is_captured = kind in CAPTURES or NOT_VOLUMES.get(kind) == PHOTOGRAPH or "SCREEN SAVE" in texts(ds, "ImageType")
    return is_captured or is_colour(ds)


def is_colour(ds: Dataset) -> bool:
    """Whether the pixels of ``ds`` are colours and so not a signal."""
    photometric = text(ds, "PhotometricInterpretation")
    return (number(ds, "SamplesPerPixel") or 1) > 1 or photometric.startswith(("RGB", "YBR", "PALETTE"))


def _has_place(ds: Dataset) -> bool:
    """Whether an attribute, of the object or of its frames, states the position in the patient."""
    if any(values(ds, keyword) for keyword in ("ImagePositionPatient", "ImageOrientationPatient")):
        return True
    groups = (*values(ds, "SharedFunctionalGroupsSequence"), *values(ds, "PerFrameFunctionalGroupsSequence")[:1])
    placing = ("PlanePositionSequence", "PlaneOrientationSequence")
    return any(keyword in item for item in groups if isinstance(item, Dataset) for keyword in placing)


def class_name(ds: Dataset) -> str:
    """The standard's name of the SOP Class; the UID of a private class."""
    known = uid.UID(str(ds.SOPClassUID))
    name = "Label Map Segmentation Storage" if known == LABEL_MAP_SEGMENTATION else known.name
    return f"private object of class {name}" if name == str(ds.SOPClassUID) else name


def refuse_other_sop_classes(ds: Dataset, where: str, *, projections: bool = False) -> None:
    """Refuse an instance that holds no slices of a volume, or, with ``projections``, no radiograph; ``where`` names it.

    Raises
    ------
    NotVolume, NotProjection
        with what it is instead.
    """
    kind = uid.UID(str(ds.SOPClassUID))
    if projections:
        _refuse_other_than_projections(ds, kind, where)
    elif kind not in SLICES and kind not in ENHANCED:
        raise NotVolume(
            f"The instance is a {class_name(ds)}: {NOT_VOLUMES.get(kind, UNKNOWN)}. Candela's models read volumes of CT"
            " or MR slices.",
            where=where,
            todo="Send the CT or MR series itself.",
        )


def _refuse_other_than_projections(ds: Dataset, kind: uid.UID, where: str) -> None:
    if kind in PROJECTIONS:
        return
    what = NOT_VOLUMES.get(kind, UNKNOWN)
    if kind in CAPTURES:
        what = DERIVED
    elif kind in SLICES or kind in ENHANCED:
        what = "a slice of a volume, not a projection"
    elif what == PROJECTION:
        what = "a projection of a kind that Candela does not read"
    raise NotProjection(
        f"The instance is a {class_name(ds)}: {what}. The model reads radiographs: CR, DX or mammography.",
        where=where,
        todo="Send the radiograph itself, not a picture of it.",
    )
