"""Computed volumes as classic series of CT, MR or PET, in any orientation, for checks of models without a patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage

from pipeline.findings.identity import derived_uid
from pipeline.geometry.volume import Affine, FloatArray
from pipeline.phantom import Header, instance_of

MR_ALONE = (
    "ScanningSequence",
    "SequenceVariant",
    "ScanOptions",
    "MRAcquisitionType",
    "RepetitionTime",
    "EchoTime",
    "EchoTrainLength",
    "MagneticFieldStrength",
    "FlipAngle",
    "ContrastBolusAgent",
)
"""Attributes of the head phantom's MR instances that other modalities do not have."""


@dataclass(frozen=True)
class Form:
    """How instances of a modality are stored: ``slope`` and ``intercept`` give modality values (PS3.3 C.11.1)."""

    sop_class: UID
    slope: float
    intercept: float
    bits: int = 12
    image_type: tuple[str, ...] = ()


FORMS = {
    "MR": Form(MRImageStorage, 1.0, 0.0, image_type=("M", "SE")),
    "CT": Form(CTImageStorage, 1.0, -1024.0, image_type=("AXIAL",)),
    "PT": Form(PositronEmissionTomographyImageStorage, 1.0, 0.0, bits=16),
}
"""By Modality. What these forms cannot store is cut."""


def series_of(
    array: FloatArray, affine: Affine, modality: str, header: Header, *, series: str = "series"
) -> tuple[Dataset, ...]:
    """Classic instances around ``array`` (slices, rows, columns; modality values) with ``affine`` (index to mm, LPS).

    ``series`` tells apart the series of one study. Every header says that the images are computed.

    Raises
    ------
    KeyError
        for a modality that `FORMS` lacks.
    """
    form = FORMS[modality]
    slice_mm, row_mm, column_mm = np.linalg.norm(affine[:3, :3], axis=0)
    down, across = affine[:3, 1] / row_mm, affine[:3, 2] / column_mm
    study, frame = (derived_uid("made", header.key, what) for what in ("study", "frame"))
    made = []
    for index, plane in enumerate(array):
        ds = instance_of(header)
        if modality != "MR":
            for keyword in MR_ALONE:
                del ds[keyword]
        ds.Modality = modality
        ds.ImageType = ["ORIGINAL", "PRIMARY", *form.image_type]
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = form.sop_class
        ds.StudyInstanceUID, ds.FrameOfReferenceUID = study, frame
        ds.SeriesInstanceUID = derived_uid("made", header.key, series)
        ds.SOPInstanceUID = derived_uid("made", header.key, series, f"{index}")
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.InstanceNumber = index + 1
        ds.ImageOrientationPatient = [round(float(value), 9) for value in (*across, *down)]
        ds.ImagePositionPatient = [round(float(value), 6) for value in (affine @ (index, 0, 0, 1))[:3]]
        ds.SliceThickness = round(float(slice_mm), 6)
        ds.PixelSpacing = [round(float(row_mm), 6), round(float(column_mm), 6)]
        ds.RescaleSlope, ds.RescaleIntercept = form.slope, form.intercept
        ds.RescaleType = {"CT": "HU", "PT": "BQML"}.get(modality, "US")
        ds.Rows, ds.Columns = plane.shape
        ds.BitsStored, ds.HighBit = form.bits, form.bits - 1
        stored = np.clip((plane - form.intercept) / form.slope, 0, 2**form.bits - 1).round()
        ds.PixelData = stored.astype("<u2").tobytes()
        ds["PixelData"].VR = "OW"
        made.append(ds)
    return tuple(made)
