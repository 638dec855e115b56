"""The loop that follows what arrives: writes the index, asks for expected counts, hands complete series over.

It sleeps until something happens or the next series falls due; nothing is polled. All of its state belongs to its own
thread: other threads only put events into its queue.
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
from dicom_node.store.series_index import Arrival, SeriesIndex, SeriesRecord, State
from pipeline.errors import CandelaError
from pipeline.findings.identity import instances_digest

log = structlog.get_logger("candela.monitor")

GATHER = 0.05
"""How long arrivals are gathered before they are written to the index in one transaction, seconds."""
COUNTERS_AT_ONCE = 4

Submit = Callable[[CompleteSeries], None]
"""Takes over a complete series; durable when it returns. Called again with the same series where it raised, or where
the process died before the dispatch was recorded, so it must be idempotent."""


class ExpectedCount(Protocol):
    """Asks a peer how many instances a series has. Returns in bounded time."""

    def __call__(self, series_instance_uid: str, study_instance_uid: str, /) -> int | None:
        """The number, or None where the peer does not know the series.

        Raises
        ------
        CandelaError
            where the peer cannot be asked: the series completes by silence.
        """
        ...


@dataclass(frozen=True)
class CountSource:
    """Whom to ask for the series of one calling AE; ``name`` stands in the recorded reason."""

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
    """Is reached when all that came before it stands in the index."""

    reached: threading.Event = field(default_factory=threading.Event)


_Told = _Arrived | _Ended | _Counted | _Purged | _Marker
_Event = _Told | None
"""None only wakes the loop."""


class SeriesMonitor:
    """Follows the series of one store. `arrived` and `association_ended` may be called from any thread.

    ``clock`` gives seconds since the epoch, for the record; ``monotonic`` measures silence. ``studies`` is told when
    all series of a study that it waits for are complete and the study is quiet.
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
        self._waiting: list[_Told] = []
        self._open: dict[str, OpenSeries] = {}
        self._latest_association = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="series-monitor", daemon=True)
        self._askers = ThreadPoolExecutor(COUNTERS_AT_ONCE, thread_name_prefix="expected-count")

    def start(self) -> None:
        """Take up the series that an earlier process left, then follow events until `stop`."""
        self.take_up()
        self._thread.start()

    def take_up(self) -> None:
        """Go on with the series that an earlier process left.

        Their silence is measured from now: a sender that lost us must have time to come back.
        """
        now = self._monotonic()
        for record in self._index.unfinished():
            series = self._take_up(record, now)
            series.sample = next(iter(self._index.paths(record.series_instance_uid)), None)
            series.look(self._store.folder)

    def stop(self) -> None:
        """Write what has arrived to the index and end. Series that are not complete wait for the next start."""
        self._stopping.set()
        self._events.put(None)
        if self._thread.ident is not None:
            self._thread.join()
        self._askers.shutdown(wait=False, cancel_futures=True)
        self._drain()
        self._absorb()

    def arrived(self, arrival: Arrival) -> None:
        """An instance was stored, or came again."""
        self._events.put(_Arrived(arrival, self._monotonic()))

    def association_ended(self, association: int, *, released: bool) -> None:
        """An association is over: ``released`` by its requestor, or aborted or lost."""
        self._events.put(_Ended(association, released, self._monotonic()))

    def purged(self, series_instance_uid: str, paths: tuple[str, ...]) -> None:
        """These files were removed from the store."""
        self._events.put(_Purged(series_instance_uid, paths))

    def caught_up(self, within: float) -> bool:
        """Wait until all that has arrived so far stands in the index; False where it does not ``within`` seconds."""
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
        """Do what is due; seconds until the next thing falls due, None where nothing will by itself."""
        self._drain()
        if not self._absorb():
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
        """Studies with a series on its way. One that was complete and could not be dispatched holds up no other."""
        return {series.study_instance_uid for series in self._open.values() if not series.failures}

    def _drain(self) -> None:
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return
            if event is not None:
                self._waiting.append(event)

    def _absorb(self) -> bool:
        """Take in what waits, index first. False where the index cannot be written now: all of it waits on."""
        try:
            for events in _between_purges(self._waiting):
                new = [event.arrival for event in events if isinstance(event, _Arrived) and event.arrival.stored.new]
                if new:
                    self._index.add(new)
                for event in events:
                    self._take_in(event)
        except DatabaseError as error:
            self._counters.add("index_failures")
            log.error("index_not_written", reason=type(error.orig).__name__)  # noqa: TRY400  (SQL quotes values)
            return False
        self._waiting.clear()
        return True

    def _take_in(self, event: _Told) -> None:
        """Note one event. Taking the same in again, after a failure further on, changes nothing."""
        match event:
            case _Arrived():
                self._take_in_arrival(event)
            case _Ended():
                self._take_in_end(event)
            case _Marker(reached):
                reached.set()
            case _Purged(series_instance_uid, paths):
                self._index.forget(series_instance_uid, paths)
                if (series := self._open.get(series_instance_uid)) is not None:  # an instance has come since
                    series.received = self._index.count(series_instance_uid)
            case _Counted(series_instance_uid, expected):
                series = self._open.get(series_instance_uid)
                if series is not None:
                    series.counted(expected)
                    self._index.set_series(series_instance_uid, expected=series.expected)

    def _take_in_arrival(self, event: _Arrived) -> None:
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
        self._heard_of(series, event.at)
        series.calling_ae = arrival.stored.calling_ae if arrival.stored.new else series.calling_ae
        series.received = self._index.count(name) if arrival.stored.new else series.received
        if series.arrived(number, arrival.stored.path, event.at):
            self._index.set_series(name, associations=series.carried_by, released=False)

    def _reopen(self, series_instance_uid: str, at: float) -> OpenSeries | None:
        """The series, unless the jobs have these very instances already."""
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
        self._index.set_series(series_instance_uid, state=State.RECEIVING)
        return self._take_up(record, at)

    def _take_up(self, record: SeriesRecord, at: float) -> OpenSeries:
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

    def _take_in_end(self, event: _Ended) -> None:
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
        """Ask once after each burst: at the end of the associations, or when an open one falls silent."""
        paused = now >= series.last_received + self._policy.quiet_after_release
        if not self._may_ask(series) or (series.carrying and not paused):
            return
        series.asked_for, series.count_pending = series.received, True
        self._askers.submit(self._ask, self._counts[series.calling_ae], series_instance_uid, series.study_instance_uid)

    def _ask(self, source: CountSource, series_instance_uid: str, study_instance_uid: str) -> None:
        expected: int | None = None
        try:
            expected = source.ask(series_instance_uid, study_instance_uid)
        except CandelaError as error:
            log.warning("count_unknown", source=source.name, code=error.code)
        finally:  # whatever it raised, the series must not wait for this answer
            self._events.put(_Counted(series_instance_uid, expected))

    def _complete(self, series_instance_uid: str, series: OpenSeries, reason: str) -> bool:
        """Hand the series over. False where it was not taken: it stays and is tried again later."""
        try:
            self._dispatch(series_instance_uid, series, reason)
        except Exception as error:  # noqa: BLE001  (the port is foreign: whatever it raises, the series must stay)
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
        self._heard_of(series, self._monotonic())
        return True

    def _heard_of(self, series: OpenSeries, at: float) -> None:
        if self._studies is not None:
            self._studies.heard(series.study_instance_uid, at)

    def _dispatch(self, series_instance_uid: str, series: OpenSeries, reason: str) -> None:
        evidence = self._evidence(series)
        record = self._index.series(series_instance_uid)
        instances = self._index.instances(series_instance_uid, self._store.folder)
        if record is None or not instances:
            return
        digest = instances_digest(item.sop_instance_uid for item in instances)
        completed_at = datetime.fromtimestamp(self._clock(), UTC)
        self._index.set_series(series_instance_uid, state=State.COMPLETE, reason=reason)
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


def _between_purges(events: Sequence[_Told]) -> Iterator[list[_Told]]:
    """``events`` in order, cut behind each purge: what came after one may have its paths, and is added after it."""
    part: list[_Told] = []
    for event in events:
        part.append(event)
        if isinstance(event, _Purged):
            yield part
            part = []
    yield part
