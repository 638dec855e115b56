"""From the instances of a series of radiographs to the one image that a model reads. docs/intake.md states the rules.

A radiograph has no place in the patient: each pixel is a sum along a ray. Its spacing is that of the detector, where
what lies in front of it is enlarged (PS3.3 10.7.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydicom.dataset import Dataset

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadPixels, SeveralCandidates, UnknownSpacing
from pipeline.geometry.stacks import Prefer
from pipeline.geometry.volume import Volume
from pipeline.pixels.values import pixel_values
from pipeline.reading.attributes import number, numbers, text
from pipeline.reading.projection import MOST_MAGNIFIED, ProjectionFacts, facts_of
from pipeline.reading.slices import Slice, slices_of

SAME_SPACING = 1e-3
"""Share by which Pixel Spacing and Imager Pixel Spacing may differ and still be the same value, rounded."""
ASPECT = 0.01
"""Share by which the shape of a pixel may differ between the two: a magnification enlarges both sides alike."""
LEAST_MAGNIFIED = 0.9
"""Nothing is imaged smaller than it is; a calibration by an object of known size may be off by this much."""
CALIBRATIONS = ("GEOMETRY", "FIDUCIAL")
"""Values of Pixel Spacing Calibration Type (0028,0A02)."""
MOST_NAMED = 4


@dataclass(frozen=True)
class ImageSpacing:
    """mm between rows and between columns, and the caveat that says of what plane these lengths are."""

    rows: float
    columns: float
    caveat: Caveat


def build_projection(datasets: Sequence[Dataset], *, prefer: Prefer | None = None) -> Volume:
    """The one image of a series of radiographs that is read.

    ``prefer`` scores an image by its header, as `pipeline.geometry.build.build_volume` has it for stacks. Of the images
    that it does not exclude, those with the highest score count. If these are copies of one another, the first by
    Instance Number is read.

    Returns
    -------
    Volume
        of one slice, a ``projection``; modality values, where large is bright.

    Raises
    ------
    NotProjection
        where an instance is no radiograph of one frame.
    SeveralCandidates
        where two images that are no copies have the highest score, naming both.
    UnknownSpacing
        where the size of the pixels is not known.
    BadPixels
        where the pixels cannot be read, or it is not known which values are bright.
    """
    images = slices_of(datasets, projections=True)
    scores = [prefer(one.ds) if prefer else 0.0 for one in images]
    top = max(scores)
    best = sorted((one for one, score in zip(images, scores, strict=True) if score == top), key=_number)
    volume = volume_of(best[0])
    copies = [one for one in best[1:] if _is_copy(one, best[0], volume)]
    if len(copies) + 1 < len(best):
        raise several([facts_of(one.ds) for one in best], [one.where for one in best])
    return _with_caveats(volume, images, best[0], len(copies))


def projections_of(datasets: Sequence[Dataset]) -> tuple[Volume, ...]:
    """Every radiograph in ``datasets`` as a volume of one slice, by Instance Number: for models that read several.

    Raises as `build_projection`, except `SeveralCandidates`.
    """
    return tuple(map(volume_of, sorted(slices_of(datasets, projections=True), key=_number)))


def volume_of(image: Slice) -> Volume:
    """The radiograph ``image`` as a volume of one slice. Raises UnknownSpacing and BadPixels as `build_projection`."""
    _refuse_unclear_polarity(image)
    spacing = spacing_of(image.ds, image.where)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 1.0, spacing.rows, spacing.columns, 1.0
    return Volume(
        array=pixel_values(image)[None],
        affine=affine,
        sources=(image.ds,),
        frames=(image.frame,),
        caveats=(spacing.caveat,),
        projection=True,
    )


def several(facts: Sequence[ProjectionFacts], where: Sequence[str]) -> SeveralCandidates:
    """The refusal of images that fit equally well."""
    named = [f"{place} ({fact.words})" for fact, place in zip(facts, where, strict=True)]
    return SeveralCandidates(
        f"{len(facts)} images fit the model's input equally well, and they differ.",
        where="; ".join(named[:MOST_NAMED]) + ("; ..." if len(named) > MOST_NAMED else ""),
        todo="Send the one that is meant as a series of its own.",
    )


def spacing_of(header: Dataset, where: str) -> ImageSpacing:
    """The spacing of the pixels of the radiograph with this header; ``where`` names it.

    1. Pixel Spacing where Pixel Spacing Calibration Type says how it was corrected or calibrated.
    2. Otherwise Imager Pixel Spacing, divided by Estimated Radiographic Magnification Factor where that is stated.

    Raises
    ------
    UnknownSpacing
        where the header states neither, or the two cannot both be true.
    """
    imager, pixel = (_spacing(header, keyword, where) for keyword in ("ImagerPixelSpacing", "PixelSpacing"))
    kind = text(header, "PixelSpacingCalibrationType")
    if imager is not None and pixel is not None:
        _refuse_contradiction(imager, pixel, where)
    if pixel is not None and kind in CALIBRATIONS:
        return ImageSpacing(*pixel, Caveat(CaveatCode.LENGTHS_CALIBRATED, {"kind": kind}))
    if imager is None:
        aside = " It has PixelSpacing, which does not say whether it holds at the detector." if pixel else ""
        raise UnknownSpacing(
            f"The radiograph states no ImagerPixelSpacing: the size of its pixels is not known.{aside}",
            where=where,
            todo="Have the modality write ImagerPixelSpacing, or PixelSpacing with PixelSpacingCalibrationType.",
        )
    factor = facts_of(header).magnification
    if factor is None:
        return ImageSpacing(*imager, Caveat(CaveatCode.LENGTHS_AT_DETECTOR))
    corrected = Caveat(CaveatCode.LENGTHS_CORRECTED, {"factor": round(factor, 3)})
    return ImageSpacing(imager[0] / factor, imager[1] / factor, corrected)


def _spacing(header: Dataset, keyword: str, where: str) -> tuple[float, float] | None:
    found = numbers(header, keyword, 2)
    if found is None:
        return None
    if min(found) <= 0:
        raise UnknownSpacing(
            f"{keyword} is {found[0]:g} by {found[1]:g} mm; both must be above zero.",
            where=where,
            todo="Send the original images.",
        )
    return found[0], found[1]


def _refuse_contradiction(imager: tuple[float, float], pixel: tuple[float, float], where: str) -> None:
    ratios = [at_detector / in_patient for at_detector, in_patient in zip(imager, pixel, strict=True)]
    if all(math.isclose(ratio, 1, rel_tol=SAME_SPACING) for ratio in ratios):
        return
    if not math.isclose(*ratios, rel_tol=ASPECT) or not LEAST_MAGNIFIED <= min(ratios) <= MOST_MAGNIFIED:
        raise UnknownSpacing(
            f"PixelSpacing ({pixel[0]:g} by {pixel[1]:g} mm) contradicts ImagerPixelSpacing ({imager[0]:g} by"
            f" {imager[1]:g} mm): no magnification makes one of the other.",
            where=where,
            todo="Have the modality or the PACS correct them, then send the image again.",
        )


def _refuse_unclear_polarity(image: Slice) -> None:
    """Refuse a Presentation LUT Shape that contradicts Photometric Interpretation (PS3.3 C.8.11.3.1.2): viewers differ
    in which of them they follow.
    """
    photometric, shape = (text(image.instance, name) for name in ("PhotometricInterpretation", "PresentationLUTShape"))
    if (photometric, shape) in {("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")}:
        raise BadPixels(
            f"The image is {photometric}, and PresentationLUTShape is {shape}: it is unknown which values are bright.",
            where=image.where,
            todo="Have the modality correct one of the two, then send the image again.",
        )


def _number(image: Slice) -> tuple[float, str]:
    found = number(image.instance, "InstanceNumber")
    return math.inf if found is None else found, str(image.instance.SOPInstanceUID)


def _is_copy(image: Slice, first: Slice, read: Volume) -> bool:
    """Whether ``image`` was taken as ``first`` was, whose values are those of ``read``, and shows the same."""
    if facts_of(image.ds) != facts_of(first.ds) or (image.ds.Rows, image.ds.Columns) != read.shape[1:]:
        return False
    other = volume_of(image)
    return np.allclose(other.affine, read.affine) and np.array_equal(other.array, read.array)


def _with_caveats(volume: Volume, images: Sequence[Slice], read: Slice, copies: int) -> Volume:
    """``volume`` with notes of the images of the series that were not read."""
    found = list(volume.caveats)
    if copies:
        found.append(Caveat(CaveatCode.IMAGE_COPIES_LEFT_OUT, {"count": copies}))
    if len(images) > copies + 1:
        left = len(images) - copies - 1
        found.append(Caveat(CaveatCode.IMAGES_LEFT_OUT, {"count": left, "read": facts_of(read.ds).words}))
    return replace(volume, caveats=tuple(found))
