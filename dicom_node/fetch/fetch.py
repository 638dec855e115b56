"""Fetching a study on demand: find it, list its series, and bring each into a sink."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from dicom_node.fetch.outcome import SeriesOutcome
from dicom_node.fetch.sinks import Sink
from dicom_node.network.found import FoundSeries, FoundStudy, StudyQuery
from pipeline.errors import CandelaError, EmptyInput, MixedSeries


class Source(Protocol):
    """An archive, implemented by `DimseSource` and `DicomWebSource`. Methods raise the errors of peers in
    `pipeline.errors`.
    """

    def studies(self, query: StudyQuery) -> tuple[FoundStudy, ...]: ...

    def series(self, study_instance_uid: str, series_instance_uid: str = "") -> tuple[FoundSeries, ...]: ...

    def retrieve(self, series: FoundSeries, sink: Sink) -> SeriesOutcome: ...


def find_study(source: Source, query: StudyQuery) -> FoundStudy:
    """The one study that ``query`` finds.

    Raises
    ------
    EmptyInput
        where it finds none.
    MixedSeries
        where it finds several: Candela does not guess.
    """
    found = source.studies(query)
    if not found:
        raise EmptyInput("The archive has no such study.", todo="Check the number; `candela find` lists what there is.")
    if len(found) > 1:
        named = "; ".join(f"{study.study_instance_uid} of {study.study_date or 'no date'}" for study in found[:10])
        raise MixedSeries(f"{len(found)} studies match.", where=named, todo="Name one by its StudyInstanceUID.")
    return found[0]


def fetch(
    source: Source,
    study_instance_uid: str,
    sink: Sink,
    *,
    series_instance_uid: str = "",
    report: Callable[[SeriesOutcome], None] = lambda _: None,
) -> tuple[SeriesOutcome, ...]:
    """Bring a study, or one series of it, into ``sink``. ``report`` is called with the outcome of each series.

    A series that fails does not stop the others.

    Raises
    ------
    EmptyInput
        where the archive has no such series.
    CandelaError
        where the archive cannot be asked, or the sink stores nothing.
    """
    sink.check()
    found = source.series(study_instance_uid, series_instance_uid)
    if not found:
        raise EmptyInput("The archive has no such series.", todo="`candela find` lists the series of a study.")
    outcomes = []
    for series in found:
        try:
            outcome = source.retrieve(series, sink)
        except CandelaError as error:
            outcome = _failed(series, error)
        outcomes.append(outcome)
        report(outcome)
    return tuple(outcomes)


def _failed(series: FoundSeries, error: CandelaError) -> SeriesOutcome:
    nothing = SeriesOutcome(
        series.study_instance_uid, series.series_instance_uid, series.modality, "none", series.instances, 0
    )
    return replace(nothing, reasons=(str(error),))
