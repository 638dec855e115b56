"""Presentation state (GSPS): outline, diameters and label on the original images, where a viewer shows no segmentation.

Grayscale Softcopy Presentation State (PS3.3 A.33.1). It refers to every image of the volume, so that a reader who
applies it scrolls through the whole series; only images that a lesion touches have an outline.
"""

from __future__ import annotations

from collections.abc import Iterator

import highdicom as hd
import numpy as np

from pipeline.findings.contours import outlines, pieces
from pipeline.findings.diagnosis import diagnosis
from pipeline.findings.model import AnswerKind, Diameter, Findings, Region
from pipeline.findings.own_results import MANUFACTURER
from pipeline.report import sentences, tables
from pipeline.report.phrasebook import phrase
from pipeline.results.colours import STRUCTURES, colour_index
from pipeline.results.pr.grayscale import Grayscale, grayscale_of
from pipeline.results.provenance import ResultContext, decimal, finish, set_body_part
from pipeline.results.result_object import ResultObject
from pipeline.results.wording import DISCLAIMER, ascii_text, text_in

KIND = "presentation"
TEXT_RGB = (255, 214, 0)
PIXEL = hd.pr.AnnotationUnitsValues.PIXEL
DISPLAY = hd.pr.AnnotationUnitsValues.DISPLAY
ASPECT = 1000
"""Presentation Pixel Aspect Ratio is a fraction of whole numbers: in thousandths."""
LABEL_SHARE = (0.45, 0.035)
"""Width of a label's box, and its height for each line, as shares of the image; viewers fit the text into it."""


def build(context: ResultContext) -> tuple[ResultObject, ...]:
    """One presentation state for the series, none without regions."""
    if not context.findings.regions:
        return ()
    model = context.findings.model
    grey = grayscale_of(context.volume, context.findings.key_slice)
    images = [context.references[k] for k in grey.planes]
    layers = _layers(context.findings)
    made = hd.pr.GrayscaleSoftcopyPresentationState(
        referenced_images=images,
        series_instance_uid=context.series_uid(KIND),
        series_number=1,
        sop_instance_uid=context.instance_uid(KIND),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=ascii_text(model.title, 64),
        software_versions=ascii_text(model.version, 64),
        device_serial_number=model.digest[:16],
        content_label="AI_OUTLINE",
        content_description=DISCLAIMER,
        content_creator_name="Candela^AI",
        graphic_layers=list(layers.values()),
        graphic_annotations=[
            hd.pr.GraphicAnnotation(images, layers["AI_LABEL"], text_objects=[_notice(context)]),
            *_annotations(context, grey, layers),
        ],
        voi_lut_transformations=_windows(grey, context),
        modality_lut_transformation=grey.modality_lut,
        presentation_lut_transformation=hd.PresentationLUTTransformation(
            presentation_lut_shape="INVERSE" if grey.inverse else "IDENTITY"
        ),
    )
    set_body_part(made, context)
    # highdicom (0.28.2) states square pixels whatever they are, which would show an oblong image squeezed.
    (area,) = made.DisplayedAreaSelectionSequence
    del area.PresentationPixelAspectRatio
    rows, columns = context.volume.spacing[1:]
    if context.volume.projection:  # a length on it is that of the detector, which a viewer must not take for true
        area.PresentationPixelAspectRatio = [round(rows / columns * ASPECT), ASPECT]
    else:
        area.PresentationPixelSpacing = [decimal(rows), decimal(columns)]
    ds = finish(made, context, kind=KIND, number=1, description="outline")
    return (ResultObject(role=KIND, filename="presentation.dcm", dataset=ds),)


def _layers(findings: Findings) -> dict[str, hd.pr.GraphicLayer]:
    """A layer for the outlines of each colour, since a layer has one colour; diameters and labels above them."""
    numbers = range(1, len(findings.regions) + 1)
    colours = sorted({colour_index(findings, number) for number in numbers})
    outlined = [(_outline_layer(index), _OUTLINES[findings.model.kind], STRUCTURES[index]) for index in colours]
    named = (("AI_DIAMETER", "AI: long and short axis", TEXT_RGB), ("AI_LABEL", "AI: labels", TEXT_RGB))
    return {
        name: hd.pr.GraphicLayer(name, order, description, hd.color.CIELabColor.from_rgb(*rgb))
        for order, (name, description, rgb) in enumerate((*outlined, *named), start=1)
    }


_OUTLINES = {
    AnswerKind.LESION: "AI: outline of each lesion",
    AnswerKind.SEGMENTATION: "AI: outline of each structure",
    AnswerKind.DETECTION: "AI: box of each object",
}


def _outline_layer(colour: int) -> str:
    return "AI_OUTLINE" if colour == 0 else f"AI_OUTLINE_{colour + 1}"


def _annotations(
    context: ResultContext, grey: Grayscale, layers: dict[str, hd.pr.GraphicLayer]
) -> Iterator[hd.pr.GraphicAnnotation]:
    """Image by image: the outlines, the diameters that lie in it, and a label for each region."""
    findings = context.findings
    for k in grey.planes:
        numbered = [(number, region) for number, region in enumerate(findings.regions, start=1) if k in region.slices]
        if not numbered:
            continue
        image = [context.references[k]]
        regions = [region for _, region in numbered]
        for colour in sorted({colour_index(findings, number) for number, _ in numbered}):
            mine = [region for number, region in numbered if colour_index(findings, number) == colour]
            drawn = [item for region in mine for item in _outline(region, k)]
            yield hd.pr.GraphicAnnotation(image, layers[_outline_layer(colour)], graphic_objects=drawn)
        here = [_line(axis, region) for region in regions for axis in region.axes if axis.slice_index == k]
        if here:
            yield hd.pr.GraphicAnnotation(image, layers["AI_DIAMETER"], graphic_objects=here)
        labels = [_label(number - 1, k, context) for number, _ in numbered]
        yield hd.pr.GraphicAnnotation(image, layers["AI_LABEL"], text_objects=labels)


def _outline(region: Region, k: int) -> Iterator[hd.pr.GraphicObject]:
    for polygon in outlines(region.voxels.plane(k)):
        for points in pieces(polygon):
            yield _polyline(points, region)


def _line(axis: Diameter, region: Region) -> hd.pr.GraphicObject:
    ends = np.array([axis.start, axis.end])[:, ::-1] + 0.5  # from pixel centres at integers to corners
    return _polyline(ends, region)


def _polyline(points: np.ndarray, region: Region) -> hd.pr.GraphicObject:
    return hd.pr.GraphicObject(
        "POLYLINE",
        points,
        PIXEL,
        tracking_id=ascii_text(region.tracking_id, 64),
        tracking_uid=region.tracking_uid,
    )


def _label(index: int, k: int, context: ResultContext) -> hd.pr.TextObject:
    """What region ``index`` is, and its size, below it on plane ``k``, or above it if there is no room."""
    region = context.findings.regions[index]
    lines = (_name(index, context), _size(index, k, context))
    rows, columns = context.volume.shape[1:]
    touched_rows, touched_columns = np.nonzero(region.voxels.plane(k))
    width, height = max(1.0, LABEL_SHARE[0] * columns), max(1.0, LABEL_SHARE[1] * rows * len(lines))
    below = float(touched_rows.max()) + 1 + height / 2
    top = below if below + height <= rows else max(0.0, float(touched_rows.min()) - 1.5 * height)
    left = max(0.0, min(float(touched_columns.min()), columns - width))
    return hd.pr.TextObject(
        _written("\r\n".join(lines), context),
        PIXEL,
        bounding_box=(left, top, left + width, top + height),
        text_justification="LEFT",
        tracking_id=ascii_text(region.tracking_id, 64),
        tracking_uid=region.tracking_uid,
    )


def _name(index: int, context: ResultContext) -> str:
    """Number of a lesion and the class that is suggested, as far as `pipeline.findings.diagnosis` goes; the title of
    any other region.
    """
    findings, language = context.findings, context.profile.language
    name = f"{sentences.region_name(context.reported, index, language)} ({sentences.label('ai', language)})"
    found = diagnosis(findings, findings.regions[index].label)
    if findings.model.kind is not AnswerKind.LESION or found.withheld:
        return name
    if found.suspected:
        return f"{name}: {sentences.label('suspected', language, name=sentences.name_of(found.code, language))}"
    suggested = sentences.title(findings.model, findings.regions[index].label, language)
    return f"{name}: {phrase('headline', 'finding', language, name=suggested)}"


def _size(index: int, k: int, context: ResultContext) -> str:
    """The region's size: sides and score of a box, volume or area of an outline, with the axes where they lie."""
    region, language = context.reported.regions[index], context.profile.language
    measured = k == context.findings.regions[index].measured_slice
    shown = ("size", "score") if region.has("score") else ("axes", "volume", "area") if measured else ("volume", "area")
    parts = [tables.cell(region, name, language) for name in shown]
    if region.has("score"):
        parts[1] = f"{sentences.label('score', language)} {parts[1]}"
    return ", ".join(filter(None, parts))


def _notice(context: ResultContext) -> hd.pr.TextObject:
    """The notice at the lower edge of every image: the algorithm that drew the outline, and that it is unverified."""
    model = context.findings.model
    text = _written(f"{sentences.disclaimer(context.profile.language)}. {model.title} {model.version}", context)
    return hd.pr.TextObject(text, DISPLAY, bounding_box=(0.01, 0.955, 0.99, 0.99), text_justification="LEFT")


def _written(text: str, context: ResultContext) -> str:
    """``text`` as the character set of the object, which is the source's, can write it."""
    return text_in(text, context.volume.identity.get("SpecificCharacterSet"))


def _windows(grey: Grayscale, context: ResultContext) -> list[hd.pr.SoftcopyVOILUTTransformation]:
    """One window for all images, or one for each group of images whose stored values mean different things."""
    return [
        hd.pr.SoftcopyVOILUTTransformation(
            window_center=decimal(window.center),
            window_width=decimal(window.width),
            referenced_images=(
                hd.ReferencedImageSequence([context.references[k] for k in window.planes])
                if len(grey.windows) > 1
                else None
            ),
        )
        for window in grey.windows
    ]
