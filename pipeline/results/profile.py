"""The profile: which results of a run a destination gets, and in which form.

A form changes what an object holds (whether a segmentation has empty frames, how a report describes a lesion), so an
object of another form is another object: `Profile.form` enters its UIDs. A transfer syntax without loss changes bytes
only, and no UID (PS3.5 10).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydicom import uid

from pipeline.report.sentences import Language

ObjectKind = Literal["overlay", "segmentation", "report", "presentation", "heatmap", "document", "keyobjects"]
KINDS: tuple[ObjectKind, ...] = get_args(ObjectKind)
"""Every kind of DICOM object, in the order in which they are built: each refers to earlier ones only."""
SegmentationType = Literal["BINARY", "FRACTIONAL", "LABELMAP"]
ReportFlavour = Literal["volumetric", "planar", "both"]
ReportTitle = Literal["automatic", "imaging", "oncology"]
FrameOrder = Literal["ascending", "descending"]
HeatmapPlanes = Literal["shown", "all"]
TransferSyntax = Literal[
    "ExplicitVRLittleEndian",
    "ImplicitVRLittleEndian",
    "RLELossless",
    "JPEGLSLossless",
    "JPEG2000Lossless",
]
OverlaySlices = Annotated[int, Field(ge=0, le=40)]
OVERLAY_SLICES = 4
DEFAULT_PRESET = "generic-pacs"


class Profile(BaseModel):
    """What one destination gets.

    Attributes
    ----------
    objects : the kinds of DICOM objects that are built.
    transfer_syntax : by DICOM keyword. Compression applies to whole bytes of pixels: to overlays, and to FRACTIONAL and
        LABELMAP segmentations; all else is then Explicit VR Little Endian. None of them loses anything.
    segmentation_type : BINARY, the only one that every reader of segmentations takes; FRACTIONAL (an occupancy of 0 or
        1); LABELMAP (PS3.3 A.51, since 2024).
    overlay_slices : most slice pages of an overlay beside its summary page, evenly over what was found; 3 MB each.
    omit_empty_frames : leave out the frames of a segmentation in which a lesion has no pixel.
    report_flavour : a lesion as ``volumetric`` group (TID 1411, on a segment of the segmentation), as ``planar`` group
        (TID 1410, an outline in the report itself, on the plane where the lesion is longest), or ``both``.
    report_title : the report's coded title (PS3.16 CID 7021): ``imaging`` "Imaging Measurement Report", ``oncology``
        "Oncology Measurement Report", or ``automatic``: the second for a model that looks for a neoplasm, "Diagnostic
        imaging study" for others. OHIF lays a report of the first title over images, which it can only where every
        group has coordinates, and shows one of any other title as text, which it always can.
    heatmap_frame_order : frames of the parametric map along the slice normal, or against it.
    language : language of the presentation state's texts and of the PDF: ``en``, ``de``, ``es`` or ``fr``. All else is
        English. Where the source's character set lacks a letter, the presentation state has its plain spelling.
    heatmap_planes : the parametric map has the planes that show something (and those between), or all of the series,
        which a viewer needs that takes the frames as they come.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    objects: Annotated[tuple[ObjectKind, ...], Field(min_length=1)] = (
        "overlay",
        "segmentation",
        "report",
        "presentation",
        "document",
        "keyobjects",
    )
    transfer_syntax: TransferSyntax = "ExplicitVRLittleEndian"
    overlay_slices: OverlaySlices = OVERLAY_SLICES
    segmentation_type: SegmentationType = "BINARY"
    omit_empty_frames: bool = True
    report_flavour: ReportFlavour = "volumetric"
    report_title: ReportTitle = "automatic"
    language: Language = Language.ENGLISH
    heatmap_frame_order: FrameOrder = "ascending"
    heatmap_planes: HeatmapPlanes = "shown"

    @model_validator(mode="after")
    def _is_coherent(self) -> Profile:
        twice = next((kind for kind in self.objects if self.objects.count(kind) > 1), None)
        if twice is not None:
            raise ValueError(f"objects names {twice!r} twice")
        if self.gets("report") and self.report_flavour != "planar" and not self.gets("segmentation"):
            raise ValueError(
                f"a report of flavour {self.report_flavour!r} refers to the segmentation:"
                " add 'segmentation' to objects, or set report_flavour = \"planar\""
            )
        return self

    def gets(self, kind: ObjectKind) -> bool:
        return kind in self.objects

    def form(self, kind: str) -> tuple[str, ...]:
        """The words that distinguish an object of ``kind`` under this profile from the usual form, which has none."""
        words: tuple[str, ...] = ()
        match kind:
            case "overlay":
                words = () if self.overlay_slices == OVERLAY_SLICES else (f"{self.overlay_slices} slices",)
            case "presentation" | "document":
                words = () if self.language is Language.ENGLISH else (str(self.language),)
            case "segmentation":
                name = () if self.segmentation_type == "BINARY" else (self.segmentation_type,)
                words = (*name, *(() if self.omit_empty_frames else ("with empty frames",)))
            case "heatmap":
                order = () if self.heatmap_frame_order == "ascending" else (self.heatmap_frame_order,)
                words = (*order, *(() if self.heatmap_planes == "shown" else ("all planes",)))
            case "report":
                words = self._form_of_report()
            case "keyobjects":
                left_out = sorted({*Profile().objects} ^ {*self.objects} - {"keyobjects"})
                others = (other for other in KINDS if other != "keyobjects" and self.gets(other))
                words = (*left_out, *(word for other in others for word in self.form(other)))
        return words

    def _form_of_report(self) -> tuple[str, ...]:
        flavour = () if self.report_flavour == "volumetric" else (self.report_flavour,)
        title = () if self.report_title == "automatic" else (self.report_title,)
        pictures = self.form("overlay") if self.gets("overlay") else ("without overlay",)
        segments = () if self.report_flavour == "planar" else self.form("segmentation")
        return (*flavour, *title, *pictures, *segments)

    @property
    def transfer_syntax_uid(self) -> uid.UID:
        found: uid.UID = getattr(uid, self.transfer_syntax)
        return found


PRESETS: Mapping[str, Profile] = MappingProxyType(
    {
        DEFAULT_PRESET: Profile(),
        "orthanc-ohif": Profile(
            objects=("overlay", "segmentation", "report", "document", "keyobjects"),
            omit_empty_frames=False,
            report_flavour="both",
            heatmap_planes="all",
        ),
        "archive": Profile(
            transfer_syntax="RLELossless",
            report_flavour="both",
        ),
    }
)
"""Profiles that need no table in candela.toml, by name."""
USUAL: Mapping[str, Profile] = MappingProxyType({DEFAULT_PRESET: PRESETS[DEFAULT_PRESET]})
"""The profile of a run for which no profile is named."""
