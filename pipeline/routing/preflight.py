"""What the headers of a series alone speak against, before a model is loaded and a pixel decoded.

Nothing here needs torch, MONAI, scipy or highdicom: an ultrasound is refused in the time that its files take to read.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pydicom.dataset import Dataset

from pipeline.errors import OwnResult, Refused
from pipeline.findings.own_results import is_own_result
from pipeline.patient.subject import Subject, reconcile
from pipeline.reading.files import Series
from pipeline.reading.slices import slices_of
from pipeline.reading.sop_classes import refuse_other_kinds

Check = Callable[[Dataset], tuple[str, ...]]
"""`pipeline.ports.SeriesModel.check`: the caveats for a series with this header, or a refusal."""


def preflight(series: Series, check: Check, identity_from: str | None = None) -> Subject:
    """The patient and study of ``series``, where its headers do not speak against reading it.

    Asked in this order: Candela's own result, modality and protocol (``check``), SOP class, patient and study
    (``identity_from``: see `pipeline.patient.subject.reconcile`).

    Raises
    ------
    Refused
        with the first reason that holds.
    """
    header = series.header
    if is_own_result(header):
        raise OwnResult(
            "Candela made this series; it is kept and never processed.", where=f"series {header.SeriesInstanceUID}"
        )
    _refuse_untaken(series, check)
    for ds in series.datasets:
        refuse_other_kinds(ds, f"instance {ds.SOPInstanceUID}")
    return reconcile(series.datasets, identity_from)


def _refuse_untaken(series: Series, check: Check) -> None:
    """Refuse early what the model takes no part of; the header of one instance may be that of a localiser."""
    try:
        check(series.header)
    except Refused:
        if all(suits(check, header) == -math.inf for header in _headers(series)):
            raise


def _headers(series: Series) -> tuple[Dataset, ...]:
    """Of every plane; of none where the planes cannot be told."""
    try:
        return tuple(plane.ds for plane in slices_of(series.datasets))
    except Refused:
        return ()


def suits(check: Check, header: Dataset) -> float:
    """How well the model takes a stack with this header: the fewer caveats, the better (`pipeline.geometry.stacks`)."""
    try:
        return -float(len(check(header)))
    except Refused:
        return -math.inf
