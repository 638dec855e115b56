"""The series monitor: a loop that writes arrivals to the index, asks for expected counts and dispatches complete
series.

It sleeps until an event comes or the next series falls due, and polls nothing. All its state belongs to its own thread:
other threads only put events into its queue.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import structlog
from sqlalchemy.exc import DatabaseError

from dicom_node.backoff import RETRY_FIRST, receiver_wait
from dicom_node.completion.open_series import OpenSeries
from dicom_node.completion.rules import CompleteSeries, Evidence, decide, wake_at
from dicom_node.completion.study_watch import StudyDecisions, StudyWatch
from dicom_node.observability.counters import Counters
from dicom_node.observability.log import uid
from dicom_node.settings.receive import Completion
from dicom_node.store.instance_store import Dispatched, InstanceStore
from dicom_node.store.series_index import Arrival, SeriesIndex, SeriesRecord, SeriesState
from pipeline.errors import CandelaError
from pipeline.findings.identity import instances_digest

log = structlog.get_logger("candela.monitor")

GATHER = 0.05
"""Seconds for which arrivals are collected before one transaction writes them to the index."""
COUNTERS_AT_ONCE = 4

Submit = Callable[[CompleteSeries], None]
"""Dispatches a complete series; durable when it returns. It is called again with the same series after an exception, or
after the process died before the dispatch was recorded, so it must be idempotent."""


class ExpectedCount(Protocol):
    """Asks a peer how many instances a series has. Returns in bounded time."""

    def __call__(self, series_instance_uid: str, study_instance_uid: str, /) -> int | None:
        """The number, or None where the peer does not know the series.

        Raises
        ------
        CandelaError
            where the peer cannot be asked: the series then completes by silence.
        """
        ...


@dataclass(frozen=True)
class CountSource:
    """The peer that counts the series of one calling AE; the recorded reason contains ``name``."""

    name: str
    ask: ExpectedCount


@dataclass(frozen=True)
class _Arrived:
    arrival: Arrival
    at: float


@dataclass(frozen=True)
class _Ended:
    association: int
    released: bool
    at: float


@dataclass(frozen=True)
class _Counted:
    series_instance_uid: str
    expected: int | None


@dataclass(frozen=True)
class _Purged:
    series_instance_uid: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class _Marker:
    """Its event is set when the index contains everything that came before it."""

    reached: threading.Event = field(default_factory=threading.Event)


_Report = _Arrived | _Ended | _Counted | _Purged | _Marker
_Event = _Report | None
"""None wakes the loop without an event."""


class SeriesMonitor:
    """Follows the series of one store. `arrived` and `association_ended` may be called from any thread.

    ``clock`` gives seconds since the epoch, for the record; ``monotonic`` measures silence. ``studies`` is called once
    all series of a study that awaits selection are complete and the study is quiet.
    """

    def __init__(
        self,
        index: SeriesIndex,
        store: InstanceStore,
        policy: Completion,
        submit: Submit,
        counts: Mapping[str, CountSource],
        counters: Counters,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        studies: StudyDecisions | None = None,
    ) -> None:
        self._index = index
        self._store = store
        self._policy = policy
        self._submit = submit
        self._counts = counts
        self._counters = counters
        self._clock = clock
        self._monotonic = monotonic
        self._studies = StudyWatch(studies, policy.study_quiet, counters, monotonic) if studies is not None else None
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._waiting: list[_Report] = []
        self._open: dict[str, OpenSeries] = {}
        self._latest_association = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="series-monitor", daemon=True)
        self._counting = ThreadPoolExecutor(COUNTERS_AT_ONCE, thread_name_prefix="expected-count")

    def start(self) -> None:
        """Resume the series that an earlier process left, then process events until `stop`."""
        self.resume()
        self._thread.start()

    def resume(self) -> None:
        """Resume the series that an earlier process left.

        Their silence is measured from now on, so that a sender that lost us has time to come back.
        """
        now = self._monotonic()
        for record in self._index.unfinished():
            series = self._track(record, now)
            series.sample = next(iter(self._index.paths(record.series_instance_uid)), None)
            series.read_sample(self._store.folder)

    def stop(self) -> None:
        """Write all arrivals to the index and end. Incomplete series wait for the next start."""
        self._stopping.set()
        self._events.put(None)
        if self._thread.ident is not None:
            self._thread.join()
        self._counting.shutdown(wait=False, cancel_futures=True)
        self._drain()
        self._process_events()

    def arrived(self, arrival: Arrival) -> None:
        """Report an instance that was stored, or came again."""
        self._events.put(_Arrived(arrival, self._monotonic()))

    def association_ended(self, association: int, *, released: bool) -> None:
        """Report the end of an association: ``released`` by its requestor, or aborted or lost."""
        self._events.put(_Ended(association, released, self._monotonic()))

    def purged(self, series_instance_uid: str, paths: tuple[str, ...]) -> None:
        """Report files that were removed from the store."""
        self._events.put(_Purged(series_instance_uid, paths))

    def caught_up(self, within: float) -> bool:
        """Wait until the index contains everything that has arrived so far; False where that takes longer than
        ``within`` seconds.
        """
        marker = _Marker()
        self._events.put(marker)
        return marker.reached.wait(within)

    def _run(self) -> None:
        while not self._stopping.is_set():
            delay = self.step()
            try:
                event = self._events.get(timeout=delay)
            except queue.Empty:
                continue
            if event is not None:
                self._waiting.append(event)
            self._stopping.wait(GATHER)

    def step(self) -> float | None:
        """Do what is due. Returns the seconds until the next thing falls due; None where nothing
        will without an event.
        """
        self._drain()
        if not self._process_events():
            return RETRY_FIRST
        now = self._monotonic()
        wakes = []
        for series_instance_uid, series in list(self._open.items()):
            self._ask_count(series_instance_uid, series, now)
            evidence = self._evidence(series)
            reason = decide(evidence, self._policy, now) if now >= series.retry_at else None
            if reason is None or not self._complete(series_instance_uid, series, reason):
                wakes.append(max(wake_at(evidence, self._policy, now), series.retry_at))
                if self._may_ask(series):
                    wakes.append(series.last_received + self._policy.quiet_after_release)
        if self._studies is not None and (wake := self._studies.step(self._receiving_studies())) is not None:
            wakes.append(wake)
        return max(0.0, min(wakes) - self._monotonic()) if wakes else None

    def _receiving_studies(self) -> set[str]:
        """Studies with a series that is still arriving. A complete series whose dispatch failed does not count."""
        return {series.study_instance_uid for series in self._open.values() if not series.failures}

    def _drain(self) -> None:
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return
            if event is not None:
                self._waiting.append(event)

    def _process_events(self) -> bool:
        """Process the waiting events, index first. False where the index cannot be written: all of
        them keep waiting.
        """
        try:
            for events in _between_purges(self._waiting):
                new = [event.arrival for event in events if isinstance(event, _Arrived) and event.arrival.stored.new]
                if new:
                    self._index.add(new)
                for event in events:
                    self._process(event)
        except DatabaseError as error:
            self._counters.add("index_failures")
            log.error("index_not_written", reason=type(error.orig).__name__)  # noqa: TRY400  (SQL quotes values)
            return False
        self._waiting.clear()
        return True

    def _process(self, event: _Report) -> None:
        """Process one event. Processing it again, after a failure at a later one, changes nothing."""
        match event:
            case _Arrived():
                self._process_arrival(event)
            case _Ended():
                self._process_end(event)
            case _Marker(reached):
                reached.set()
            case _Purged(series_instance_uid, paths):
                self._index.forget(series_instance_uid, paths)
                if (series := self._open.get(series_instance_uid)) is not None:  # an instance arrived since
                    series.received = self._index.count(series_instance_uid)
            case _Counted(series_instance_uid, expected):
                series = self._open.get(series_instance_uid)
                if series is not None:
                    series.counted(expected)
                    self._index.set_series(series_instance_uid, expected=series.expected)

    def _process_arrival(self, event: _Arrived) -> None:
        arrival = event.arrival
        number = arrival.association
        self._latest_association = max(self._latest_association, number)
        if arrival.own:
            return
        name = arrival.stored.header.series_instance_uid
        series = self._open.get(name)
        if series is None and arrival.stored.new:
            series = self._reopen(name, event.at)
        if series is None:
            return
        self._note_activity(series, event.at)
        series.calling_ae = arrival.stored.calling_ae if arrival.stored.new else series.calling_ae
        series.received = self._index.count(name) if arrival.stored.new else series.received
        if series.arrived(number, arrival.stored.path, event.at):
            self._index.set_series(name, associations=series.carried_by, released=False)

    def _reopen(self, series_instance_uid: str, at: float) -> OpenSeries | None:
        """Reopen the series, unless the jobs already have exactly these instances."""
        record = self._index.series(series_instance_uid)
        if record is None:
            return None
        if record.revision:
            digest = instances_digest(
                item.sop_instance_uid for item in self._index.instances(series_instance_uid, self._store.folder)
            )
            if record.handed_digest == digest:
                log.warning("instance_changed_after_dispatch", series=uid(series_instance_uid))
                return None
            self._counters.add("series_reopened")
            log.info("series_reopened", series=uid(series_instance_uid), revision=record.revision + 1)
        self._index.set_series(series_instance_uid, state=SeriesState.RECEIVING)
        return self._track(record, at)

    def _track(self, record: SeriesRecord, at: float) -> OpenSeries:
        series = OpenSeries(
            study_instance_uid=record.study_instance_uid,
            calling_ae=record.calling_ae,
            received=record.instances,
            last_received=at,
            plausible_part=self._policy.plausible_part,
            reopened=record.revision,
            released_at=at if record.released else None,
            carried_by=record.associations,
            plausible=record.released,
        )
        self._open[record.series_instance_uid] = series
        return series

    def _process_end(self, event: _Ended) -> None:
        self._latest_association = max(self._latest_association, event.association)
        for name, series in self._open.items():
            if event.association not in series.carrying:
                continue
            series.ended(event.association, self._store.folder)
            if not event.released:
                series.cut_before = self._latest_association
            elif not series.carrying and event.association > series.cut_before:
                series.cut_before = 0
                series.released_at = event.at
                self._index.set_series(name, released=series.plausible)

    def _evidence(self, series: OpenSeries) -> Evidence:
        source = self._counts.get(series.calling_ae)
        return series.evidence(source.name if source else "")

    def _may_ask(self, series: OpenSeries) -> bool:
        known = series.calling_ae in self._counts
        return known and not series.count_pending and series.asked_for != series.received

    def _ask_count(self, series_instance_uid: str, series: OpenSeries, now: float) -> None:
        """Ask once after each burst: at the end of the associations, or when an open one becomes silent."""
        paused = now >= series.last_received + self._policy.quiet_after_release
        if not self._may_ask(series) or (series.carrying and not paused):
            return
        series.asked_for, series.count_pending = series.received, True
        self._counting.submit(
            self._ask, self._counts[series.calling_ae], series_instance_uid, series.study_instance_uid
        )

    def _ask(self, source: CountSource, series_instance_uid: str, study_instance_uid: str) -> None:
        expected: int | None = None
        try:
            expected = source.ask(series_instance_uid, study_instance_uid)
        except CandelaError as error:
            log.warning("count_unknown", source=source.name, code=error.code)
        finally:  # after any exception, the series must not wait for this answer
            self._events.put(_Counted(series_instance_uid, expected))

    def _complete(self, series_instance_uid: str, series: OpenSeries, reason: str) -> bool:
        """Dispatch the series. False where that failed: the series stays and is retried later."""
        try:
            self._dispatch(series_instance_uid, series, reason)
        except Exception as error:  # noqa: BLE001  (the callback is foreign code: after any exception the series must stay)
            series.failures += 1
            wait = receiver_wait(series.failures)
            series.retry_at = self._monotonic() + wait
            self._counters.add("dispatch_failures")
            code = error.code if isinstance(error, CandelaError) else type(error).__name__
            log.error(  # noqa: TRY400  (a trace may quote values)
                "dispatch_failed", series=uid(series_instance_uid), code=code, tries=series.failures, retry_in=wait
            )
            return False
        del self._open[series_instance_uid]
        self._note_activity(series, self._monotonic())
        return True

    def _note_activity(self, series: OpenSeries, at: float) -> None:
        if self._studies is not None:
            self._studies.active(series.study_instance_uid, at)

    def _dispatch(self, series_instance_uid: str, series: OpenSeries, reason: str) -> None:
        evidence = self._evidence(series)
        record = self._index.series(series_instance_uid)
        instances = self._index.instances(series_instance_uid, self._store.folder)
        if record is None or not instances:
            return
        digest = instances_digest(item.sop_instance_uid for item in instances)
        completed_at = datetime.fromtimestamp(self._clock(), UTC)
        self._index.set_series(series_instance_uid, state=SeriesState.COMPLETE, reason=reason)
        revision = record.revision + 1
        self._submit(
            CompleteSeries(
                series_instance_uid=series_instance_uid,
                study_instance_uid=record.study_instance_uid,
                revision=revision,
                instances=instances,
                calling_ae=record.calling_ae,
                reason=reason,
                completed_at=completed_at,
                expected=evidence.expected if evidence.confirmed or evidence.incomplete else None,
                silence=max(0.0, self._monotonic() - evidence.last_received),
                earlier=self._index.earlier(series_instance_uid, self._store.folder),
                shared=self._index.shared(series_instance_uid),
            )
        )
        dispatched = Dispatched(revision, digest, reason, completed_at.isoformat())
        self._store.record_dispatch(series_instance_uid, dispatched)
        self._index.set_dispatched(series_instance_uid, dispatched)
        self._counters.add("series_completed")
        log.info("series_complete", series=uid(series_instance_uid), revision=revision, reason=reason)


def _between_purges(events: Sequence[_Report]) -> Iterator[list[_Report]]:
    """``events`` in order, split after each purge: later arrivals may reuse its paths and must be added after it."""
    part: list[_Report] = []
    for event in events:
        part.append(event)
        if isinstance(event, _Purged):
            yield part
            part = []
    yield part
