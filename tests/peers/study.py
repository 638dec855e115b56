"""A brain study of five small series, as a scanner makes them: localiser, T2, plain T1, T1 with contrast twice."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.findings.identity import derived_uid

Series = tuple[Dataset, ...]


def brain_study(key: str = "brain study", *, slices: int = 6, matrix: int = 32) -> dict[str, Series]:
    """The series by name: localizer, t2, t1, t1c (axial) and t1c_sag. The best for the brain model is t1c."""
    return {
        "localizer": series(key, "localizer", "LOCALIZER 3 PLANE", number=1, slices=3, ContrastBolusAgent=""),
        "t2": series(key, "t2", "T2 AX", number=2, EchoTime="100", RepetitionTime="4000", ContrastBolusAgent=""),
        "t1": series(key, "t1", "T1 AX", number=3, ContrastBolusAgent=""),
        "t1c": series(key, "t1c", "T1 AX POST", number=4, slices=slices, matrix=matrix),
        "t1c_sag": series(key, "t1c_sag", "T1 SAG POST", plane="sagittal", number=5),
    }


def series(
    key: str,
    name: str,
    description: str,
    *,
    number: int,
    plane: phantom.Plane = "axial",
    slices: int = 6,
    matrix: int = 32,
    **values: object,
) -> Series:
    """One series of the study ``key``; ``values`` are set in every header. T1 spin echo with contrast by default."""
    header = phantom.Header(key=f"{key}/{name}", series_description=description)
    datasets = phantom.head_phantom(slices=slices, matrix=matrix, plane=plane, header=header)
    for ds in datasets:
        ds.StudyInstanceUID = derived_uid("made", key, "study")
        ds.SeriesNumber = number
        for keyword, value in values.items():
            setattr(ds, keyword, value)
    return datasets


def uid_of(datasets: Iterable[Dataset]) -> str:
    """The series' UID."""
    return str(next(iter(datasets)).SeriesInstanceUID)
