"""The shapes that scanners give their images, made from the phantom: what a test needs and no clinic sends."""

from __future__ import annotations

import copy
import io
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, EnhancedMRImageStorage

from pipeline.findings.identity import derived_uid

ItemMaker = Callable[[int, Dataset], None]


def group(**values: object) -> list[Dataset]:
    """A functional group: a sequence of one item."""
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return [item]


def with_pixels(ds: Dataset, array: np.ndarray, **attributes: object) -> Dataset:
    """A copy of ``ds`` with ``array`` (rows, columns), written as it is, and ``attributes``."""
    made = copy.deepcopy(ds)
    made.Rows, made.Columns = array.shape
    made.BitsAllocated = made.BitsStored = array.dtype.itemsize * 8
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(array.dtype.kind == "i")
    made.add_new("PixelData", "OB" if array.dtype.itemsize == 1 else "OW", array.tobytes() + b"\0" * (array.nbytes % 2))
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def enhanced(
    series: Sequence[Dataset], *, sop_class: UID = EnhancedMRImageStorage, each: ItemMaker = lambda _index, _item: None
) -> Dataset:
    """The instances of ``series``, in the order given, as the frames of one enhanced object (PS3.3 A.36, A.38).

    Orientation, pixel measures, timing and contrast are shared; position, echo time and place in the stack are each
    frame's own. ``each`` may change the functional groups of a frame.
    """
    first = series[0]
    ds = copy.deepcopy(first)
    for keyword in (
        *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
        *("RepetitionTime", "EchoTime", "FlipAngle", "ScanningSequence", "SequenceVariant", "EchoTrainLength"),
        *(
            "WindowCenter",
            "WindowWidth",
            "BodyPartExamined",
            "ContrastBolusAgent",
            "AcquisitionDate",
            "AcquisitionTime",
        ),
    ):
        if keyword in ds:
            delattr(ds, keyword)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = derived_uid("enhanced", first.SOPInstanceUID)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.EchoPulseSequence, ds.EchoPlanarPulseSequence = "SPIN", "NO"
    ds.ContrastBolusAgentSequence = group(CodeValue="C-17800", CodingSchemeDesignator="SRT", CodeMeaning="Gadolinium")
    shared = Dataset()
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=list(first.ImageOrientationPatient))
    shared.PixelMeasuresSequence = group(
        PixelSpacing=list(first.PixelSpacing),
        SliceThickness=first.SliceThickness,
        SpacingBetweenSlices=first.SpacingBetweenSlices,
    )
    shared.MRTimingAndRelatedParametersSequence = group(RepetitionTime=500.0, FlipAngle=90.0, EchoTrainLength=1)
    brain = group(CodeValue="12738006", CodingSchemeDesignator="SCT", CodeMeaning="Brain")
    shared.FrameAnatomySequence = group(FrameLaterality="U", AnatomicRegionSequence=brain)
    shared.FrameVOILUTSequence = group(WindowCenter=600.0, WindowWidth=1200.0)
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.NumberOfFrames = len(series)
    ds.PerFrameFunctionalGroupsSequence = [_frame_item(index, source, each) for index, source in enumerate(series)]
    ds.PixelData = b"".join(source.PixelData for source in series)
    ds["PixelData"].VR = "OW"
    return ds


def _frame_item(index: int, source: Dataset, each: ItemMaker) -> Dataset:
    item = Dataset()
    item.PlanePositionSequence = group(ImagePositionPatient=list(source.ImagePositionPatient))
    item.FrameContentSequence = group(
        StackID="1",
        InStackPositionNumber=index + 1,
        TemporalPositionIndex=1,
        DimensionIndexValues=[1, index + 1],
        FrameAcquisitionNumber=7,
        FrameAcquisitionDateTime="20260105101500.250000",
    )
    item.MREchoSequence = group(EffectiveEchoTime=15.0)
    item.MRImageFrameTypeSequence = group(
        FrameType=["ORIGINAL", "PRIMARY", "T1", "NONE"], ComplexImageComponent="MAGNITUDE", AcquisitionContrast="T1"
    )
    item.PixelValueTransformationSequence = group(RescaleSlope=1.0, RescaleIntercept=0.0, RescaleType="US")
    each(index, item)
    return item


def mosaic(series: Sequence[Dataset], *, tell: str = "image type") -> Dataset:
    """The slices of ``series`` as tiles of one image, as Siemens writes EPI.

    ``tell``: what still says so: "image type", "element" (0019,100A), "csa" (the CSA header) or "nothing".
    """
    side = int(np.ceil(np.sqrt(len(series))))
    rows, columns = series[0].Rows, series[0].Columns
    sheet = np.zeros((side * rows, side * columns), np.uint16)
    for index, source in enumerate(series):
        row, column = divmod(index, side)
        tile = np.frombuffer(source.PixelData, np.uint16).reshape(rows, columns)
        sheet[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns] = tile
    ds = with_pixels(series[0], sheet)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", *(["MOSAIC"] if tell == "image type" else [])]
    if tell == "element":
        ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", len(series))
    if tell in {"csa", "nothing"}:
        csa = csa_header(b"NumberOfImagesInMosaic", b"%d" % len(series) if tell == "csa" else None)
        ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa)
    return ds


def csa_header(name: bytes, value: bytes | None) -> bytes:
    """A CSA2 header of one tag: name, VM, VR, SyngoDT, item count, check word, then items of four words and text."""
    text = b"" if value is None else value.ljust(4, b"\0")
    tag = name.ljust(64, b"\0") + struct.pack("<i4siii", 1, b"US", 9, 6, 77)
    item = struct.pack("<4i", len(text), len(text), 77, len(text)) + text
    return b"SV10\4\3\2\1" + struct.pack("<ii", 1, 77) + tag + item + struct.pack("<4i", 0, 0, 77, 0) * 5


def as_file(ds: Dataset) -> bytes:
    """``ds`` as the bytes of a DICOM file."""
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def reread(ds: Dataset) -> Dataset:
    """``ds`` written and read again: as it would arrive."""
    return pydicom.dcmread(io.BytesIO(as_file(ds)))


def recoded(ds: Dataset, command: Sequence[str], folder: Path) -> Dataset:
    """``ds`` as one of dcmtk's tools re-encodes it: ``command`` with its options."""
    source, target = folder / "source.dcm", folder / "target.dcm"
    source.write_bytes(as_file(ds))
    subprocess.run([*command, str(source), str(target)], check=True, capture_output=True, timeout=120)
    return pydicom.dcmread(target)
