"""One series in, its results out: the whole pipeline, a step a line. The command line and the workflow call this."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from pipeline.caveats import Caveat, CaveatCode, Value
from pipeline.channels import Companions, read_companions
from pipeline.findings.completeness import judged
from pipeline.findings.from_answer import findings_of
from pipeline.findings.identity import Predecessor, RunIdentity, instances_digest
from pipeline.findings.measure import to_findings
from pipeline.findings.model import Findings, Prediction
from pipeline.findings.places import with_places
from pipeline.geometry.build import build_volume
from pipeline.geometry.projection import build_projection
from pipeline.geometry.volume import Volume
from pipeline.patient.source_values import cleaned_volume
from pipeline.ports import Progress, SeriesModel, ViewModel
from pipeline.radiographs import read_radiographs
from pipeline.reading.files import Series
from pipeline.reading.value_forms import printable
from pipeline.report.content import ReportContent, whole_seconds
from pipeline.report.sentences import Language
from pipeline.results.build import build as build_results
from pipeline.results.pdf import document
from pipeline.results.profile import USUAL, Profile
from pipeline.results.provenance import ResultContext
from pipeline.results.reported import report_content
from pipeline.results.result_object import ResultObject
from pipeline.routing.preflight import preflight, suits


@dataclass(frozen=True)
class Processed:
    """Everything that one run made.

    ``content`` is that of reports, ``pages`` the report as PDF by language, ``timings`` seconds by stage. ``images``:
    Series and SOP Instance UID of the radiograph of each channel, where the model reads several.
    """

    series_instance_uid: str
    volume: Volume
    findings: Findings
    objects: tuple[ResultObject, ...]
    content: ReportContent
    pages: dict[Language, bytes]
    timings: dict[str, float]
    run: RunIdentity
    images: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass
class Stopwatch:
    """Seconds by stage. ``now`` is a monotonic clock; ``progress`` hears of each stage as it starts."""

    now: Callable[[], float]
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.progress(name)
        start = self.now()
        yield
        self.seconds[name] = round(self.now() - start, 3)


def process(
    series: Series,
    model: SeriesModel,
    *,
    now: Callable[[], float],
    recorded: datetime,
    revision: int = 1,
    uid_root: str | None = None,
    predecessors: tuple[Predecessor, ...] = (),
    identity_from: str | None = None,
    expected: int | None = None,
    withdrawn: str | None = None,
    companions: Mapping[str, Series] | None = None,
    profiles: Mapping[str, Profile] = USUAL,
    pacs: Mapping[str, str] | None = None,
    languages: Iterable[Language] = (),
    assess_at: str = "",
    progress: Progress = lambda _stage: None,
) -> Processed:
    """Read ``series`` with ``model`` and build every result, in the form of each of ``profiles`` (by name).

    ``pacs`` names the profile of each PACS that gets results, in the rule's order: a FHIR report lists the objects of
    the first of them (`ReportContent.listed_for`); without ``pacs`` those of the first profile.

    ``predecessors`` are the earlier runs over the series whose results these replace (`RunIdentity`). ``identity_from``
    is the instance whose patient an operator has chosen (`pipeline.patient.subject.reconcile`). ``expected``
    is the number of instances that a peer counts, if one was asked: an incomplete series gets no negative answer
    (`pipeline.findings.completeness`). ``withdrawn`` as in `RunIdentity`.

    ``companions``: for a model that reads several series of a study (`pipeline.ports.ChannelModel`), the series of each
    channel but the first, by the channel's name; ``series`` is the first channel's. Regions and images of the results
    are those of ``series``. For a model that reads several radiographs (`pipeline.ports.ViewModel`), the other series
    that hold images of its channels, by any name; ``series`` holds the first channel's.

    ``recorded`` is the instant, with its time zone, at which the analysis began: every result states it, and its UIDs
    depend on it (ADR 70). ``revision`` counts the revisions of the series from 1. ``languages`` are those of the PDF
    reports. ``assess_at`` is the URL where readers assess the answer, which PDF reports then end with.

    Raises
    ------
    Refused
        with its reason, where the series cannot be read: Candela's own result, images that name two patients, a series
        that the model does not accept, no regular volume, or pixels that do not show what they should.
    Broken
        where the model or a result object failed.
    """
    watch = Stopwatch(now, progress)
    if expected is not None and expected <= len(set(series.sop_instance_uids)):
        expected = None  # nothing is missing by that count, and nothing depends on it
    projections = model.identity.projection
    others = dict(companions or {})
    subject = preflight(series, model.check, identity_from, projections=projections, companions=tuple(others.values()))
    with watch.stage("volume"):
        filled: dict[str, Volume] = {}
        beside: Companions | None
        if isinstance(model, ViewModel) and model.view_rules:
            views = read_radiographs(model, (series, *others.values()), subject.header)
            volume, beside, filled = views.first, views.beside, views.filled
        else:
            build = build_projection if projections else build_volume
            volume = build(series.datasets, prefer=functools.partial(suits, model.check))
            volume = replace(volume, subject=subject.header)
            beside = read_companions(model, volume, others) if others else None
    caveats = model.check(volume.sources[0])
    repeatable = cleaned_volume(volume)
    with watch.stage("predict"):
        predicted = beside.predict() if beside else model.predict(volume)
    volume = repeatable  # later steps read only cleaned headers
    run = RunIdentity(
        series_instance_uid=volume.series_instance_uid,
        instances=instances_digest(uid for one in (series, *others.values()) for uid in one.sop_instance_uids),
        model_digest=model.identity.digest,
        root=uid_root,
        predecessors=predecessors,
        identity_from=identity_from,
        expected=expected,
        withdrawn=withdrawn,
        began=whole_seconds(recorded).isoformat(),
    )
    with watch.stage("measure"):
        if isinstance(predicted, Prediction):
            measured = to_findings(predicted, volume, run, model.identity)
        else:
            measured = findings_of(predicted, volume, run, model.identity)
        findings = judged(with_places(measured, volume), volume, series.datasets, model.identity.needs, expected)
        if beside:
            findings = beside.judged(findings, model.identity.needs)
        replaces = (Caveat(CaveatCode.REPLACES_EARLIER_RESULT),) if predecessors else ()
        every = (*replaces, *subject.caveats, *series.caveats, *caveats, *findings.caveats, *volume.caveats)
        every = (*every, *(item for item in (beside.caveats if beside else ()) if item not in every))
        findings = replace(findings, caveats=tuple(map(_printable, every)))
    sources = beside.sources if beside else ()
    context = ResultContext(volume=volume, findings=findings, run=run, companions=sources, assess_at=assess_at)
    with watch.stage("results"):
        objects = build_results(context, profiles)
    with watch.stage("report"):
        first = next(iter(profiles))
        reported = tuple(item for item in objects if pacs is not None or first in item.profiles)
        content = report_content(context, reported, recorded=recorded, revision=revision, pacs=pacs)
        pages = _pages(context, objects, profiles, languages)
    images = {name: (one.series_instance_uid, str(one.sources[0].SOPInstanceUID)) for name, one in filled.items()}
    return Processed(volume.series_instance_uid, volume, findings, objects, content, pages, watch.seconds, run, images)


def _printable(caveat: Caveat) -> Caveat:
    """``caveat`` without the control characters that a header may hold, which some formats of results forbid."""

    def cleaned(value: Value) -> Value:
        if isinstance(value, tuple):
            return tuple(map(printable, value))
        return printable(value) if isinstance(value, str) else value

    return replace(caveat, values={name: cleaned(value) for name, value in caveat.values.items()})


def _pages(
    context: ResultContext,
    objects: tuple[ResultObject, ...],
    profiles: Mapping[str, Profile],
    languages: Iterable[Language],
) -> dict[Language, bytes]:
    """The report as PDF in each of ``languages``, and in those in which the run made it anyway."""
    printed = (item for item in objects if item.role == document.KIND)
    made = {profiles[item.profiles[0]].language: document.pdf_of((item,)) for item in printed}
    pages = {language: pdf for language, pdf in made.items() if pdf is not None}
    return pages | {one: document.pdf_page(context, one) for one in languages if one not in pages}
