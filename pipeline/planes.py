"""The slices of a series, one `Plane` each, whatever shape of object they came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from pipeline.errors import BadGeometry


@dataclass(frozen=True)
class Plane:
    """One slice as its header places it.

    Attributes
    ----------
    ds : the slice's header in classic form: SOP Instance UID, Rows, Columns, PixelSpacing, ImagePositionPatient,
        ImageOrientationPatient, sequence parameters and so on stand at the top level. For a single-frame instance it is
        the instance itself; for a frame of a multi-frame object the shared and the frame's own functional groups are
        laid over the instance's header (without pixel data).
    instance : the stored object that holds the pixels.
    frame : number of the frame within ``instance``, from 1 (PS3.3 C.7.6.16); None for a single-frame instance.
    """

    ds: Dataset
    instance: Dataset
    frame: int | None = None

    @property
    def where(self) -> str:
        """How an error names the slice."""
        number = "" if self.frame is None else f", frame {self.frame}"
        return f"instance {self.instance.SOPInstanceUID}{number}"


def planes_of(datasets: Sequence[Dataset]) -> tuple[Plane, ...]:
    """Every slice in ``datasets``, in their order and that of their frames.

    Raises
    ------
    BadGeometry
        where an instance holds slices in a form that is not read.
    """
    return tuple(_plane(ds) for ds in datasets)


def _plane(ds: Dataset) -> Plane:
    plane = Plane(ds, ds)
    if int(ds.get("NumberOfFrames") or 1) > 1:
        raise BadGeometry(
            f"The instance is a multi-frame {ds.SOPClassUID.name}; only single-frame images are read.",
            where=plane.where,
            todo="Send the series as classic single-frame images.",
        )
    if "MOSAIC" in (ds.get("ImageType") or ()):
        raise BadGeometry(
            "The instance is a Siemens mosaic: many slices in one image.",
            where=plane.where,
            todo="Send the series as single slices.",
        )
    return plane
