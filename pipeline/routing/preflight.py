"""Refusals that need only the headers of a series, before a model is loaded or a pixel decoded.

This module needs no torch, MONAI, scipy or highdicom: an ultrasound is refused in the time that reading its files
takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pydicom.dataset import Dataset

from pipeline.caveats import Caveat
from pipeline.errors import OwnResult, Refused
from pipeline.findings.own_results import is_own_result
from pipeline.patient.subject import Subject, reconcile
from pipeline.reading.files import Series
from pipeline.reading.slices import slices_of
from pipeline.reading.sop_classes import refuse_other_sop_classes

Check = Callable[[Dataset], tuple[Caveat, ...]]
"""`pipeline.ports.SeriesModel.check`: the caveats for a series with this header, or a refusal."""


def preflight(
    series: Series,
    check: Check,
    identity_from: str | None = None,
    *,
    projections: bool = False,
    companions: Sequence[Series] = (),
) -> Subject:
    """The patient and study of ``series``, unless its headers are a reason to refuse it.

    The checks, in this order: Candela's own result, modality and protocol (``check``), SOP class, patient and study
    (``identity_from``: see `pipeline.patient.subject.reconcile`). ``projections``: the model reads radiographs.
    ``companions`` are the other series that it reads as channels: all must be of one patient and study.

    Raises
    ------
    Refused
        with the first reason that holds.
    """
    read = (series, *companions)
    for one in read:
        if is_own_result(one.header):
            raise OwnResult(
                "Candela made this series; it is kept and never processed.",
                where=f"series {one.header.SeriesInstanceUID}",
            )
        _refuse_untaken(one, check, projections=projections)
        for ds in one.datasets:
            refuse_other_sop_classes(ds, f"instance {ds.SOPInstanceUID}", projections=projections)
    return reconcile([ds for one in read for ds in one.datasets], identity_from)


def _refuse_untaken(series: Series, check: Check, *, projections: bool) -> None:
    """Refuse a series of which the model reads no stack and no radiograph. One instance is not enough: it may be a
    localiser.
    """
    try:
        check(series.header)
    except Refused:
        if all(suits(check, header) == -math.inf for header in _headers(series, projections=projections)):
            raise


def _headers(series: Series, *, projections: bool) -> tuple[Dataset, ...]:
    """The header of every slice or radiograph; none where they cannot be read."""
    try:
        return tuple(one.ds for one in slices_of(series.datasets, projections=projections))
    except Refused:
        return ()


def suits(check: Check, header: Dataset) -> float:
    """Score of a stack with this header: the fewer caveats, the higher (see `pipeline.geometry.stacks.Prefer`)."""
    try:
        return -float(len(check(header)))
    except Refused:
        return -math.inf
