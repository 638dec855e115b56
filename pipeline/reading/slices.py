"""The slices of a series, from single-frame and multi-frame objects alike; and its radiographs, an image each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from pipeline.errors import BadGeometry, BadPixels, InvalidHeader, MissingSlices, NotProjection
from pipeline.pixels.decoding import StoredPixels
from pipeline.pixels.modality_lut import mirror
from pipeline.pixels.voi_lut import with_window
from pipeline.reading.functional_groups import classic_header, number_of_frames, without_pixels
from pipeline.reading.mosaic import refuse_mosaic
from pipeline.reading.sop_classes import class_name, is_enhanced, refuse_other_sop_classes
from pipeline.reading.validation import UNREADABLE, leave_out_odd

MOST_VOXELS = 1 << 30
"""A thousand slices of 1024²: 4 GiB as float32, more than any series that a model here reads."""


@dataclass(frozen=True)
class Slice:
    """A single-frame image (a radiograph too), or one frame of a multi-frame object.

    Attributes
    ----------
    ds : the slice's header in classic form: SOP Instance UID, Rows, Columns, PixelSpacing, ImagePositionPatient,
        ImageOrientationPatient, sequence parameters and so on are at the top level. For a single-frame instance it is
        the instance itself. For a frame of a multi-frame object, the shared and the per-frame functional groups are
        merged into the instance's header (without pixel data). Where `pixel_values` mirrors a MONOCHROME1 slice, this
        is a header without pixels that says MONOCHROME2 and whose window is mirrored too. A radiograph whose VOI LUT is
        a table has a window in its place (`pipeline.pixels.voi_lut`).
    instance : the stored object that holds the pixels.
    frame : number of the frame within ``instance``, from 1 (PS3.3 C.7.6.16); None for a single-frame instance.
    pixels : the decoder of ``instance``, shared by all its frames; None where there is no decoder yet.
    left_out : keywords of the frame's unreadable values, which ``ds`` lacks.
    """

    ds: Dataset
    instance: Dataset
    frame: int | None = None
    pixels: StoredPixels | None = field(default=None, repr=False, compare=False)
    left_out: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The slice's name in an error message."""
        number = "" if self.frame is None else f", frame {self.frame}"
        return f"instance {self.instance.SOPInstanceUID}{number}"


def slices_of(datasets: Sequence[Dataset], *, projections: bool = False) -> tuple[Slice, ...]:
    """Every slice in ``datasets``, in their order and that of their frames. No pixel is decoded.

    With ``projections`` the radiographs in ``datasets`` instead; no other object is then taken.

    Raises
    ------
    NotVolume, NotProjection
        where an instance is a radiograph, an ultrasound image, a video or another object that holds no slices; with
        ``projections``, where it is no radiograph of one frame.
    BadGeometry, MissingSlices
        where an instance holds slices in a form that Candela does not read, or a part of a concatenation is missing.
    BadPixels
        where what the header states about the pixels is impossible.
    InvalidHeader
        where the header is damaged.
    """
    _check_concatenations(datasets)
    slices: list[Slice] = []
    voxels = 0
    for ds in datasets:
        try:
            found = tuple(_projection(ds) if projections else _slices(ds))
        except UNREADABLE as error:
            raise InvalidHeader(
                f"The header is damaged ({type(error).__name__}).",
                where=f"instance {ds.SOPInstanceUID}",
                todo="Send or export it again.",
            ) from error
        voxels += len(found) * int(ds.Rows) * int(ds.Columns)
        if voxels > MOST_VOXELS:
            raise BadPixels(
                f"The series claims more than {MOST_VOXELS} voxels.",
                where=f"series {ds.SeriesInstanceUID}",
                todo="Send one stack of slices at a time.",
            )
        slices.extend(found)
    return tuple(slices)


def header_of(ds: Dataset) -> Dataset:
    """The header of ``ds`` in classic form; of an enhanced object that of its first frame.

    Raises
    ------
    BadGeometry, InvalidHeader
        where an enhanced object's functional groups cannot be read.
    """
    if not is_enhanced(ds):
        return ds
    try:
        number_of_frames(ds)
        header, _ = _frame_header(ds, 1)
    except UNREADABLE as error:
        raise InvalidHeader(
            f"The functional groups are damaged ({type(error).__name__}).",
            where=f"instance {ds.SOPInstanceUID}",
            todo="Send or export it again.",
        ) from error
    return header


def _frame_header(ds: Dataset, frame: int) -> tuple[Dataset, tuple[str, ...]]:
    """The frame's header in classic form, and the keywords of the unreadable values that it lacks."""
    header, unread = classic_header(ds, frame)
    return header, (*unread, *leave_out_odd(header))


def _slices(ds: Dataset) -> Iterator[Slice]:
    where = f"instance {ds.SOPInstanceUID}"
    refuse_other_sop_classes(ds, where)
    refuse_mosaic(ds, where)
    if is_enhanced(ds):
        pixels = StoredPixels(ds)
        for frame in range(1, number_of_frames(ds) + 1):
            header, left_out = _frame_header(ds, frame)
            yield Slice(_as_shown(header, pixels, where), ds, frame, pixels, left_out)
        return
    frames = _frames(ds, where)
    if frames > 1:
        raise BadGeometry(
            f"The instance is a multi-frame {class_name(ds)} of {frames} frames: their positions are unknown.",
            where=where,
            todo="Send the series as classic single-frame images or as Enhanced MR or CT.",
        )
    if ds.get("PixelAspectRatio") and not ds.get("PixelSpacing"):
        raise BadGeometry(
            "The image has a PixelAspectRatio and no PixelSpacing: its size is not known.",
            where=where,
            todo="Send the original images.",
        )
    pixels = StoredPixels(ds)
    yield Slice(_as_shown(ds, pixels, where), ds, None, pixels)


def _projection(ds: Dataset) -> Iterator[Slice]:
    where = f"instance {ds.SOPInstanceUID}"
    refuse_other_sop_classes(ds, where, projections=True)
    frames = _frames(ds, where)
    if frames > 1:
        raise NotProjection(
            f"The instance is a multi-frame {class_name(ds)} of {frames} frames: which one to read is not known.",
            where=where,
            todo="Send each image as an object of one frame.",
        )
    pixels = StoredPixels(ds)
    yield Slice(_as_shown(with_window(ds), pixels, where), ds, None, pixels)


def _frames(ds: Dataset, where: str) -> int:
    """NumberOfFrames of a classic object; 1 where it is absent."""
    frames = ds.get("NumberOfFrames")
    if frames in (None, ""):
        return 1
    if not isinstance(frames, int):
        raise InvalidHeader("NumberOfFrames is not a whole number.", where=where, todo="Send or export it again.")
    return int(frames) or 1


def _as_shown(header: Dataset, pixels: StoredPixels, where: str) -> Dataset:
    """``header``; where `pixel_values` mirrors the values, a copy that describes the mirrored ones."""
    mirrored = mirror(header, pixels.layout, where)
    if mirrored is None:
        return header
    shown = without_pixels(header)
    shown.add_new("PhotometricInterpretation", "CS", "MONOCHROME2")
    shown.add_new("PresentationLUTShape", "CS", "INVERSE")  # what a presentation state of the stored pixels must do
    centre = header.get("WindowCenter")
    if centre not in (None, ""):
        centres = [centre] if isinstance(centre, int | float) else list(centre)
        shown.add_new("WindowCenter", "DS", [round(mirrored - float(value), 6) for value in centres])
    shown.pop("VOILUTSequence", None)
    return shown


def _check_concatenations(datasets: Sequence[Dataset]) -> None:
    """Refuse a concatenation that lacks a part (PS3.3 C.7.6.16.2.2.4)."""
    parts: dict[str, set[int]] = {}
    totals: dict[str, int] = {}
    for ds in datasets:
        uid, number, total = (
            ds.get(name) for name in ("ConcatenationUID", "InConcatenationNumber", "InConcatenationTotalNumber")
        )
        if not isinstance(uid, str) or not isinstance(number, int):
            continue
        parts.setdefault(uid, set()).add(number)
        totals[uid] = max(totals.get(uid, 0), total if isinstance(total, int) else 0, number)
    for uid, total in totals.items():
        if len(parts[uid]) < total:
            raise MissingSlices(
                f"{total - len(parts[uid])} of {total} parts of a concatenation are missing.",
                where=f"concatenation {uid}",
                todo="Send all its parts; the series is then read again.",
            )
