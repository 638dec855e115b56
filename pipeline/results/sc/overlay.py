"""Grad-CAM overlay (SC): pictures for every viewer, also without support for SEG or SR.

A series of single-frame Secondary Capture images (PS3.3 A.8.1) rather than one multi-frame object: there is no PACS
that does not show it, and each page carries the geometry that is true of it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from pipeline.findings import codes
from pipeline.findings.model import AnswerKind, Findings, Outcome
from pipeline.geometry.volume import Volume
from pipeline.results.drawing.canvas import Pixels, Placement
from pipeline.results.drawing.multiplanar import Reformat
from pipeline.results.drawing.pages import Page, Story, caveat_page, shows_heatmap, slice_page, summary_page
from pipeline.results.provenance import (
    ResultContext,
    code_item,
    decimal,
    finish,
    set_body_part,
    set_lossy_compression,
)
from pipeline.results.result_object import ResultObject
from pipeline.results.source_images import image_reference, instance_reference
from pipeline.results.wording import DISCLAIMER, conclusion

KIND = "overlay"


def build(context: ResultContext) -> tuple[ResultObject, ...]:
    """The summary page, then the slices of what was found from one end to the other; else the summary alone. Caveats
    that the summary has no room for follow on a last page.
    """
    story = Story(context.volume, context.findings)
    planes = pages_for(context.findings, context.profile.overlay_slices)
    last = len(planes) + 2
    caveats = caveat_page(story, page=last, pages=last)
    count = last if caveats else last - 1
    pages = [summary_page(story, pages=count)]
    pages += [slice_page(story, k, page=n, pages=count) for n, k in enumerate(planes, start=2)]
    pages += [caveats] if caveats else []
    return tuple(
        ResultObject(
            role=KIND,
            filename=f"overlay-{number:03d}.dcm",
            dataset=_secondary_capture(page, number, context),
            preview=page.pixels,
        )
        for number, page in enumerate(pages, start=1)
    )


def pages_for(findings: Findings, most: int) -> tuple[int, ...]:
    """Planes that get a page, ascending: those that a region touches, at most ``most``, evenly chosen.

    The key slice comes first among them, then the plane of the first region's diameter, or the planes in the middle of
    the likeliest detected objects. A finding without an outline has its key slice where a heat map explains it.
    """
    touched = sorted({k for region in findings.regions for k in region.slices})
    if not touched:
        explained = findings.model.kind is AnswerKind.LESION or shows_heatmap(findings)
        return (findings.key_slice,)[:most] if findings.outcome is Outcome.FINDING and explained else ()
    if len(touched) <= most:
        return tuple(touched)
    first = findings.regions[: most - 1 if findings.model.kind is AnswerKind.DETECTION else 1]
    planes = (findings.key_slice, *(region.measured_slice for region in first))
    chosen = [k for k in dict.fromkeys(planes) if k in touched][:most]
    while len(chosen) < most:  # the plane that is furthest from those chosen so far
        chosen.append(max(touched, key=lambda plane: min((abs(plane - k) for k in chosen), default=0)))
    return tuple(sorted(chosen))


def _secondary_capture(page: Page, number: int, context: ResultContext) -> Dataset:
    """``page`` as an 8-bit RGB Secondary Capture image.

    No rescale or window attributes: viewers that apply them to colour show black. Burned In Annotation is YES
    because the pixels hold text, so that a de-identifier checks them; the text names no patient.
    """
    source = context.volume.sources[page.slice_index]
    findings = context.findings
    ds = Dataset()
    ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.Modality = "OT"
    ds.ConversionType = "WSD"
    ds.ImageType = ["DERIVED", "SECONDARY"]
    set_body_part(ds, context)
    ds.PatientOrientation = None
    ds.BurnedInAnnotation = "YES"
    set_lossy_compression(ds, context)
    ds.DerivationDescription = _derivation(findings)
    ds.ImageComments = f"{DISCLAIMER}. {conclusion(findings)}"
    ds.SourceImageSequence = [_source_item(context.volume, page.slice_index)]
    ds.ReferencedSeriesSequence = [series_item(source)]
    if page.placement is not None and page.plane is not None and not context.volume.projection:
        _set_geometry(ds, context, page.plane, page.placement)
    rgb_image(ds, page.pixels)
    return finish(ds, context, kind=KIND, number=number, description="overlay")


def rgb_image(ds: Dataset, pixels: Pixels) -> None:
    """Image Pixel module (PS3.3 C.7.6.3) of ``pixels``: 8-bit RGB by pixel, which every viewer displays."""
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns, _ = pixels.shape
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OB"


def _derivation(findings: Findings) -> str:
    return f"{_shown(findings)} the source image, by {findings.model.name} {findings.model.version}. {DISCLAIMER}."


def _shown(findings: Findings) -> str:
    if shows_heatmap(findings):
        named = "Gradient-weighted class activation (Grad-CAM)"
        return f"{named if findings.technique == codes.GRAD_CAM else findings.technique.meaning} and outline over"
    if findings.model.kind is AnswerKind.LESION or not findings.regions:
        return "Text beside"
    return "Boxes over" if findings.regions[0].boxed else "Outlines over"


def _source_item(volume: Volume, index: int) -> Dataset:
    item = image_reference(volume, index)
    item.PurposeOfReferenceCodeSequence = [code_item(codes.SOURCE_IMAGE)]
    return item


def series_item(source: Dataset) -> Dataset:
    """Common Instance Reference (PS3.3 C.12.2): the series that the source image is in."""
    item = Dataset()
    item.SeriesInstanceUID = source.SeriesInstanceUID
    item.ReferencedInstanceSequence = [instance_reference(source)]
    return item


def _set_geometry(ds: Dataset, context: ResultContext, plane: Reformat, placement: Placement) -> None:
    """Frame of reference, plane and spacing of the page, which extends the source ``plane`` beyond its edges.

    The page lies in the source's plane at `Placement.pixels_per_mm`, so that viewers link, scroll and measure on it as
    on the source; what is written beside the picture lies outside of the source's field of view.
    """
    ds.FrameOfReferenceUID = context.frame_of_reference_uid
    ds.PositionReferenceIndicator = None
    ds.ImageOrientationPatient = [decimal(value) for value in (*plane.across, *plane.down)]
    ds.ImagePositionPatient = [decimal(value) for value in page_position(plane, placement)]
    spacing = decimal(1 / placement.pixels_per_mm)
    ds.PixelSpacing = [spacing, spacing]


def page_position(plane: Reformat, placement: Placement) -> npt.NDArray[np.float64]:
    """Patient coordinates (mm, LPS) of the centre of the page's first pixel, which lies in ``plane``."""
    row, column = placement.to_plane(0.5, 0.5)
    return plane.origin + plane.down * plane.spacing[0] * row + plane.across * plane.spacing[1] * column
