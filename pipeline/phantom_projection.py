"""Computed radiographs: a chest (CR, DX) and a breast (mammography), with a landmark that no symmetry hides.

Thickness of soft tissue, lung and bone along parallel rays, and what is left of the beam behind them. Not a patient,
and every header says so (QualityControlImage YES; the description ends in "phantom").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian
from scipy.ndimage import gaussian_filter

from pipeline.findings.identity import derived_uid

Grid = npt.NDArray[np.float64]
Side = Literal["L", "R"]
ChestView = Literal["PA", "AP", "LL"]
BreastView = Literal["CC", "MLO"]

CHEST_MM = (360.0, 320.0)
BREAST_MM = (240.0, 180.0)
"""Height and width of what is imaged, at the detector."""
NODULE_MM = 12.0
"""Radius of the landmark."""
VIEW_CODES = {
    "PA": Code("272479007", "SCT", "postero-anterior"),
    "AP": Code("399348003", "SCT", "antero-posterior"),
    "LL": Code("399173006", "SCT", "left lateral"),
    "CC": Code("399162004", "SCT", "cranio-caudal"),
    "MLO": Code("399368009", "SCT", "medio-lateral oblique"),
}
BITS = 12


@dataclass(frozen=True)
class Film:
    """How a radiograph is stored.

    ``shape`` is rows and columns. Spacing follows from it and from what is imaged; an odd ``shape`` gives pixels that
    are not square. ``sop_class`` None: that of a DX or MG image for presentation. ``key``: UIDs are derived from it and
    the view; images of one key are one study. ``series``: images of one name are one series.
    """

    shape: tuple[int, int] = (300, 260)
    sop_class: UID | None = None
    photometric: Literal["MONOCHROME1", "MONOCHROME2"] = "MONOCHROME2"
    key: str = "projection"
    series: str = "1"
    number: int = 1
    landmark: bool = True


def chest_film(view: ChestView = "PA", film: Film | None = None) -> Dataset:
    """A chest: spine, ribs, lungs, a heart to the patient's left, and a nodule in the upper right lung.

    Frontal views are shown as usual, the patient's left at the right; a lateral faces left.
    """
    film = film or Film()
    x, y = _plane(film.shape, CHEST_MM)
    thickness = _lateral(x, y) if view == "LL" else _frontal(x, y)
    ds = _instance(film, view, _exposed(thickness + _nodule(x, y, film, nodule_of(view)), film))
    digital = ds.SOPClassUID != uid.ComputedRadiographyImageStorage
    ds.Modality = "DX" if digital else "CR"
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = view
    ds.PatientOrientation = ["P", "F"] if view == "LL" else ["L", "F"]
    ds.SeriesDescription = f"Chest {view} phantom"
    spacing = [round(size / side, 6) for size, side in zip(CHEST_MM, film.shape, strict=True)]
    ds.ImagerPixelSpacing = spacing
    if digital:
        _add_digital(ds, view, Code("43799004", "SCT", "Thoracic cavity structure"), "U")
    return ds


def mammogram(side: Side = "L", view: BreastView = "CC", film: Film | None = None) -> Dataset:
    """A breast with the nipple away from the chest wall, a pectoral muscle in the oblique view, and a nodule.

    Shown as usual: the chest wall of a left breast is at the left of the image, that of a right one at its right.
    """
    film = film or Film(shape=(320, 240))
    x, y = _plane(film.shape, BREAST_MM)
    thickness = _breast(x, y, side, view) + _nodule(x, y, film, nodule_of(view, side))
    ds = _instance(film, f"{side}-{view}", _exposed(thickness, film))
    ds.Modality = "MG"
    ds.BodyPartExamined = "BREAST"
    across = "A" if side == "L" else "P"
    down = {"CC": {"L": "R", "R": "L"}, "MLO": {"L": "FR", "R": "FL"}}[view][side]
    ds.PatientOrientation = [across, down]
    ds.SeriesDescription = f"{side} {view} phantom"
    ds.ImagerPixelSpacing = [round(size / pixels, 6) for size, pixels in zip(BREAST_MM, film.shape, strict=True)]
    _add_digital(ds, view, Code("76752008", "SCT", "Breast structure"), side)
    _add_mammography(ds, view)
    return ds


def nodule_of(view: ChestView | BreastView, side: Side = "L") -> tuple[float, float]:
    """Where the nodule's centre lies in the image, in mm from the image's centre: to the right, then downwards."""
    if view in ("CC", "MLO"):
        return (-35.0 if side == "L" else 35.0), (-20.0 if view == "CC" else 25.0)
    return {"LL": (20.0, -55.0)}.get(view, (-62.0, -50.0))


def nodule_mask(ds: Dataset, centre: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """The nodule on the pixels of ``ds``, (rows, columns); ``centre`` as `nodule_of` gives it."""
    size = tuple(float(step) * side for step, side in zip(ds.ImagerPixelSpacing, (ds.Rows, ds.Columns), strict=True))
    x, y = _plane((ds.Rows, ds.Columns), (size[0], size[1]))
    return np.asarray(np.hypot(x - centre[0], y - centre[1]) < NODULE_MM)


def _plane(shape: tuple[int, int], size: tuple[float, float]) -> tuple[Grid, Grid]:
    """Each pixel's centre in mm, to the right and downwards, from the image's centre."""
    y, x = (
        (np.arange(side) - (side - 1) / 2) * millimetres / side for side, millimetres in zip(shape, size, strict=True)
    )
    across, down = np.meshgrid(x, y)
    return across, down


def _nodule(x: Grid, y: Grid, film: Film, centre: tuple[float, float]) -> Grid:
    ball = _ellipse(x, y, centre, (NODULE_MM, NODULE_MM))
    return 2.5 * ball if film.landmark else np.zeros_like(ball)


def _exposed(thickness: Grid, film: Film) -> npt.NDArray[np.uint16]:
    """Stored values of ``thickness``, in cm of water: bright where much of the beam is taken away."""
    blurred = gaussian_filter(thickness, 0.7)
    noise = np.random.default_rng(0).normal(0, 0.05, thickness.shape)
    top = (1 << BITS) - 1
    grey = np.clip((blurred + noise) / (1.15 * thickness.max()), 0, 1)
    stored = np.asarray(grey * top, dtype=np.uint16)
    return top - stored if film.photometric == "MONOCHROME1" else stored


def _ellipse(x: Grid, y: Grid, centre: tuple[float, float], radii: tuple[float, float]) -> Grid:
    """1 in the middle of an ellipse, falling as the thickness of an ellipsoid to 0 at its edge."""
    return np.sqrt(np.clip(1 - ((x - centre[0]) / radii[0]) ** 2 - ((y - centre[1]) / radii[1]) ** 2, 0, None))


def _frontal(x: Grid, y: Grid) -> Grid:
    body = 20 * _ellipse(x, y, (0, 60), (150, 260))
    lungs = sum(_ellipse(x, y, (side * 62, -5), (52, 110)) for side in (-1, 1))
    heart = 9 * _ellipse(x, y, (26, 45), (52, 48))  # to the patient's left, at the right of the image
    spine = np.where(np.abs(x) < 16, 6.0, 0.0)
    ribs = np.where(np.sin((y + 0.12 * np.abs(x)) / 5.2) > 0.75, 1.2, 0.0) * (np.abs(x) < 125) * (body > 5)
    collar = np.where(np.abs(y + 120 + 0.15 * np.abs(x)) < 5, 1.5, 0.0) * (np.abs(x) < 110)
    return np.asarray(body - 9 * np.clip(lungs, 0, 1) + heart + spine + ribs + collar).clip(0)


def _lateral(x: Grid, y: Grid) -> Grid:
    body = 24 * _ellipse(x, y, (0, 60), (125, 260))
    lung = 11 * _ellipse(x, y, (-5, -10), (80, 115))
    heart = 7 * _ellipse(x, y, (-40, 50), (45, 45))  # in front, at the left of the image
    spine = np.where(np.abs(x - 75 - y / 15) < 18, 6.0, 0.0) * (body > 3)
    return np.asarray(body - lung + heart + spine).clip(0)


def _breast(x: Grid, y: Grid, side: Side, view: BreastView) -> Grid:
    out = x + BREAST_MM[1] / 2 if side == "L" else BREAST_MM[1] / 2 - x  # mm from the chest wall
    breast = 4.5 * np.clip(_ellipse(out, y, (0, 0), (120, 95)) * 1.6, 0, 1)
    glands = 1.5 * _ellipse(out, y, (55, 0), (45, 55))
    nipple = 0.8 * _ellipse(out, y, (120, 0), (7, 6))
    muscle = np.where(out < 45 - 0.45 * (y + BREAST_MM[0] / 2), 2.5, 0.0) if view == "MLO" else 0.0
    return np.asarray(breast + glands + nipple + muscle)


def _instance(film: Film, view: str, stored: npt.NDArray[np.uint16]) -> Dataset:
    """An image with its pixels, without what a modality's own modules add."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    breast, chest = uid.DigitalMammographyXRayImageStorageForPresentation, uid.DigitalXRayImageStorageForPresentation
    usual = breast if "-" in view else chest
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = film.sop_class or usual
    made = ("projection", film.key, view, film.series, str(film.number), film.photometric, str(film.shape))
    ds.SOPInstanceUID = derived_uid(*made)
    ds.file_meta.MediaStorageSOPInstanceUID = UID(ds.SOPInstanceUID)
    ds.StudyInstanceUID = derived_uid("projection", film.key, "study")
    ds.SeriesInstanceUID = derived_uid("projection", film.key, "series", film.series)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260105"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
    ds.AccessionNumber = "PHANTOM-2"
    ds.Manufacturer, ds.ManufacturerModelName = "Phantom", "Computed radiograph"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "1", "1"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "RADIOGRAPH PHANTOM"
    ds.PatientName, ds.PatientID = "Phantom^Candela", "CANDELA-PHANTOM"
    ds.PatientBirthDate, ds.PatientSex = "", "O"
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", 1, film.number
    ds.QualityControlImage = "YES"
    ds.KVP = ""
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, film.photometric
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, BITS, BITS - 1, 0
    ds.WindowCenter, ds.WindowWidth = "2048", "4096"
    ds.BurnedInAnnotation = "NO"
    ds.PixelData = stored.astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def _add_digital(ds: Dataset, view: str, region: Code, laterality: str) -> None:
    """What the modules of a DX image add (PS3.3 A.26)."""
    processing = str(ds.SOPClassUID) in (
        uid.DigitalXRayImageStorageForProcessing,
        uid.DigitalMammographyXRayImageStorageForProcessing,
    )
    ds.PresentationIntentType = "FOR PROCESSING" if processing else "FOR PRESENTATION"
    ds.ImageLaterality = laterality
    ds.AnatomicRegionSequence = _coded(region)
    ds.ViewCodeSequence = _coded(VIEW_CODES[view])
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = []
    ds.PixelIntensityRelationship = "LOG"
    ds.PixelIntensityRelationshipSign = 1 if ds.PhotometricInterpretation == "MONOCHROME1" else -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    ds.PresentationLUTShape = "INVERSE" if ds.PhotometricInterpretation == "MONOCHROME1" else "IDENTITY"
    ds.LossyImageCompression = "00"
    ds.DetectorType = "DIRECT"
    ds.PositionerType = "NONE"
    ds.AcquisitionContextSequence = []
    ds.FieldOfViewOrigin = ["0", "0"]
    ds.FieldOfViewRotation, ds.FieldOfViewHorizontalFlip = "0", "NO"
    if processing:
        del ds.WindowCenter, ds.WindowWidth


def _add_mammography(ds: Dataset, view: str) -> None:
    """What the modules of a mammogram add (PS3.3 A.27, C.8.11.7). Its view is a code; it has no View Position."""
    ds.PositionerType = "MAMMOGRAPHIC"
    ds.PositionerPrimaryAngle = "0" if view == "CC" else "45"
    ds.PositionerSecondaryAngle = "0"
    ds.OrganExposed = "BREAST"
    ds.BreastImplantPresent = "NO"
    ds.PartialView = "NO"
    ds.PatientSex = "F"


def _coded(code: Code) -> Sequence[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return [item]
