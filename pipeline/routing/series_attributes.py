"""The attributes of a series that routing rules see, read from the header of its representative instance.

Reading never raises: what a header lacks, or states in an unreadable form, is None or empty.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset

from pipeline.errors import Refused
from pipeline.reading.attributes import number, numbers, text, texts, values
from pipeline.reading.files import UNREADABLE
from pipeline.reading.series_words import is_localizer
from pipeline.reading.slices import header_of
from pipeline.reading.weighting import Weighting, weighting

Orientation = Literal["axial", "coronal", "sagittal", "oblique"]
Acquisition = Literal["2D", "3D"]
Contrast = Literal["stated", "described"]

NORMALS: tuple[Orientation, ...] = ("sagittal", "coronal", "axial")
"""The plane whose normal is the patient's x, y and z axis (LPS)."""
OBLIQUE_FROM = 30.0
"""Degrees between normal and nearest axis from which a plane is oblique. Axial slices tilted to the skull base or to
the line between the commissures (up to some 25°) still count as axial in clinical language."""

NO_AGENT = {"NO", "NONE", "N", "NIL", "0", "OHNE", "WITHOUT", "NEGATIVE", "PRE", "NATIVE", "NATIV"}
"""Values of ContrastBolusAgent by which technologists say that no agent was given."""
WITHOUT_CONTRAST = re.compile(r"(?<![a-z0-9])(pre|w/o|wo|without|non?|ohne|sans|nativ|native|unenhanced)(?![a-z0-9])")
WITH_CONTRAST = re.compile(
    r"\+\s?(?:c|gd|gad|km)(?![a-z0-9])"
    r"|(?<![a-z0-9])(?:(?:t1)?c\+|(?:t1)?(?:gd|ce)|t1c|gad|gado[a-z]*|km|contrast|post(?:contrast)?(?![\s_-]?op))"
    r"(?![a-z0-9])"
)


@dataclass(frozen=True)
class SeriesAttributes:
    """The attributes of one series that rules compare.

    Attributes
    ----------
    modality, body_part, manufacturer, station : as in the header, "" where absent.
    sop_class : SOP Class UID.
    image_type, scanning_sequence : the values of ImageType (for a frame of an enhanced object its FrameType) and
        ScanningSequence, in capitals.
    descriptions : SeriesDescription and ProtocolName. Free text that may name a patient: compared, never repeated.
    orientation : after ImageOrientationPatient; see `OBLIQUE_FROM`.
    weighting : after `pipeline.reading.weighting.weighting`.
    acquisition : MRAcquisitionType.
    contrast : "stated" where ContrastBolusAgent (or its sequence) names an agent, "described" where only
        SeriesDescription mentions it, None otherwise.
    derived : value 1 of ImageType is DERIVED (PS3.3 C.7.6.1.1.2).
    localizer : a value of ImageType is LOCALIZER, or SeriesDescription names one: MR scanners seldom set the former.
    echo_time, repetition_time, inversion_time : ms. flip_angle : degrees. slice_thickness : mm.
    magnetic_field_strength : tesla.
    number_of_slices : instances, or frames of multi-frame instances.
    series_number : SeriesNumber.
    calling_ae, called_ae : the association's; "" where there was none.
    """

    modality: str = ""
    body_part: str = ""
    sop_class: str = ""
    image_type: tuple[str, ...] = ()
    scanning_sequence: tuple[str, ...] = ()
    manufacturer: str = ""
    station: str = ""
    descriptions: tuple[str, ...] = ()
    orientation: Orientation | None = None
    weighting: Weighting | None = None
    acquisition: Acquisition | None = None
    contrast: Contrast | None = None
    derived: bool = False
    localizer: bool = False
    echo_time: float | None = None
    repetition_time: float | None = None
    inversion_time: float | None = None
    flip_angle: float | None = None
    slice_thickness: float | None = None
    magnetic_field_strength: float | None = None
    number_of_slices: int = 1
    series_number: float | None = None
    calling_ae: str = ""
    called_ae: str = ""


def describe(header: Dataset, *, instances: int = 1, calling_ae: str = "", called_ae: str = "") -> SeriesAttributes:
    """The attributes of a series of ``instances`` instances; ``header`` is its representative's (no
    pixel data needed).
    """
    frames = number(header, "NumberOfFrames")
    header = classic(header)
    image_type = tuple(item.upper() for item in texts(header, "ImageType"))
    description = text(header, "SeriesDescription")
    return SeriesAttributes(
        modality=text(header, "Modality"),
        body_part=text(header, "BodyPartExamined"),
        sop_class=text(header, "SOPClassUID"),
        image_type=image_type,
        scanning_sequence=tuple(item.upper() for item in texts(header, "ScanningSequence")),
        manufacturer=text(header, "Manufacturer"),
        station=text(header, "StationName"),
        descriptions=tuple(filter(None, (description, text(header, "ProtocolName")))),
        orientation=orientation(header),
        weighting=weighting(header),
        acquisition=_acquisition(header),
        contrast=contrast(header),
        derived=image_type[:1] == ("DERIVED",),
        localizer=is_localizer(header),
        echo_time=number(header, "EchoTime"),
        repetition_time=number(header, "RepetitionTime"),
        inversion_time=number(header, "InversionTime"),
        flip_angle=number(header, "FlipAngle"),
        slice_thickness=number(header, "SliceThickness"),
        magnetic_field_strength=number(header, "MagneticFieldStrength"),
        number_of_slices=instances * max(1, int(frames or 1)),
        series_number=number(header, "SeriesNumber"),
        calling_ae=calling_ae.strip(),
        called_ae=called_ae.strip(),
    )


def classic(header: Dataset) -> Dataset:
    """``header``, or the classic form of an enhanced object's first frame where it has one. Needs no pixel data."""
    try:
        return header_of(header)
    except (Refused, IndexError, *UNREADABLE):
        return header


def orientation(header: Dataset) -> Orientation | None:
    """The plane by ImageOrientationPatient (PS3.3 C.7.6.2.1.1); None where that is absent or unusable."""
    cosines = numbers(header, "ImageOrientationPatient", 6)
    if cosines is None:
        return None
    normal = np.cross(np.clip(cosines[:3], -1e3, 1e3), np.clip(cosines[3:], -1e3, 1e3))
    length = float(np.linalg.norm(normal))
    if length < 1e-6:
        return None
    axis = int(np.argmax(np.abs(normal)))
    tilt = np.degrees(np.arccos(min(1.0, abs(float(normal[axis])) / length)))
    return "oblique" if tilt >= OBLIQUE_FROM else NORMALS[axis]


def contrast(header: Dataset) -> Contrast | None:
    """Whether and where the header says that a contrast agent was given.

    ContrastBolusAgent decides where it names an agent. Many scanners leave it empty, so a word of SeriesDescription
    counts too, unless another word denies it ("T1 pre contrast"). ProtocolName does not count: it often names the whole
    examination ("brain with and without contrast").
    """
    agents = [agent for agent in texts(header, "ContrastBolusAgent") if agent.upper() not in NO_AGENT]
    if agents or values(header, "ContrastBolusAgentSequence"):
        return "stated"
    description = text(header, "SeriesDescription").casefold()
    said = WITH_CONTRAST.search(description) and not WITHOUT_CONTRAST.search(description)
    return "described" if said else None


def _acquisition(header: Dataset) -> Acquisition | None:
    stated = text(header, "MRAcquisitionType").upper()
    return "2D" if stated == "2D" else "3D" if stated == "3D" else None
