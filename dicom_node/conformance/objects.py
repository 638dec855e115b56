"""The DICOM objects of a run: the SOP class and the modules of each kind. A test compares them with built objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydicom import uid
from pydicom.uid import UID

COMMON: Final = ("Patient", "General Study", "General Equipment", "SOP Common")
"""Modules of every result."""
LABELMAP: Final = UID("1.2.840.10008.5.1.4.1.1.66.7")
"""Label Map Segmentation Storage; of 2024, which pydicom's dictionary lacks."""


@dataclass(frozen=True)
class ObjectClass:
    """One kind of result. ``modules`` are those besides `COMMON`, ``name`` is that of PS3.6."""

    sop_class: UID
    name: str
    modality: str
    content: str
    modules: tuple[str, ...]


IMAGE: Final = ("General Series", "General Acquisition", "General Image", "General Reference", "Image Pixel")
FRAMES: Final = (
    "Enhanced General Equipment",
    "Frame of Reference",
    "Multi-frame Dimension",
    "Common Instance Reference",
)
PICTURE: Final = (*IMAGE, "SC Equipment", "SC Image")
SEGMENTATION: Final = (
    *(*IMAGE, *FRAMES),
    *("Segmentation Series", "Segmentation Image", "Segmentation Multi-frame Functional Groups"),
)

OBJECTS: Final[Mapping[str, ObjectClass]] = {
    "overlay": ObjectClass(
        uid.SecondaryCaptureImageStorage,
        "Secondary Capture Image Storage",
        "OT",
        "pages in colour: a summary, and slices with outlines and heat map",
        (*PICTURE, "Common Instance Reference"),
    ),
    "segmentation": ObjectClass(
        uid.SegmentationStorage,
        "Segmentation Storage",
        "SEG",
        "the outlined regions, BINARY or FRACTIONAL",
        SEGMENTATION,
    ),
    "segmentation, LABELMAP": ObjectClass(
        LABELMAP,
        "Label Map Segmentation Storage",
        "SEG",
        "the outlined regions as labels, where the profile asks for it",
        SEGMENTATION,
    ),
    "report": ObjectClass(
        uid.Comprehensive3DSRStorage,
        "Comprehensive 3D SR Storage",
        "SR",
        "TID 1500 Measurement Report with TID 1410, 1411, 1501, 1502, 1600, 4019; UNVERIFIED",
        ("SR Document Series", "SR Document General", "SR Document Content"),
    ),
    "presentation": ObjectClass(
        uid.GrayscaleSoftcopyPresentationStateStorage,
        "Grayscale Softcopy Presentation State Storage",
        "PR",
        "outlines on the original images",
        (
            *("General Series", "Presentation Series", "Presentation State Identification"),
            *("Presentation State Relationship", "Presentation State Shutter", "Presentation State Mask"),
            *("Displayed Area", "Graphic Annotation", "Graphic Layer", "Softcopy VOI LUT"),
            "Softcopy Presentation LUT",
        ),
    ),
    "heatmap": ObjectClass(
        uid.ParametricMapStorage,
        "Parametric Map Storage",
        "OT",
        "the heat map, 32-bit floating point",
        (
            *("General Series", "General Image", "General Reference", *FRAMES, "Parametric Map Series"),
            *("Parametric Map Image", "Parametric Map Multi-frame Functional Groups"),
            *("Floating Point Image Pixel", "Acquisition Context"),
        ),
    ),
    "document": ObjectClass(
        uid.EncapsulatedPDFStorage,
        "Encapsulated PDF Storage",
        "DOC",
        "the report as one page",
        ("Encapsulated Document Series", "Encapsulated Document", "SC Equipment"),
    ),
    "keyobjects": ObjectClass(
        uid.KeyObjectSelectionDocumentStorage,
        "Key Object Selection Document Storage",
        "KO",
        "TID 2010: the key images; also a rejection note of withdrawn results",
        ("Key Object Document Series", "Key Object Document", "SR Document Content"),
    ),
    "refusal": ObjectClass(
        uid.SecondaryCaptureImageStorage,
        "Secondary Capture Image Storage",
        "OT",
        "one page with the reason, where the destination sets `refusals`",
        PICTURE,
    ),
    "assessment": ObjectClass(
        uid.ComprehensiveSRStorage,
        "Comprehensive SR Storage",
        "SR",
        "TID 1500 with TID 1003, 1204: a reader's assessment, where `web.send_assessments` is set; UNVERIFIED",
        ("SR Document Series", "SR Document General", "SR Document Content"),
    ),
}
"""By kind as in `pipeline.results.profile.KINDS`; a form with a SOP class of its own stands after a comma."""
