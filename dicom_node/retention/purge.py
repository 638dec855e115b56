"""Removes delivered series, by age and by the fill level of the disk, and nothing else."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import structlog

from dicom_node.completion.monitor import SeriesMonitor
from dicom_node.observability.counters import Counters
from dicom_node.observability.log import uid
from dicom_node.retention.results_aside import ResultsAside
from dicom_node.settings.access import Retention
from dicom_node.store.disk import Disk
from dicom_node.store.instance_store import InstanceStore
from dicom_node.store.series_index import SeriesIndex, SeriesRecord, SeriesState
from pipeline.errors import CandelaError

log = structlog.get_logger("candela.retention")

DAY = 86400.0
ASK_AGAIN = 600.0
"""Seconds before an undelivered series is checked again."""


class Deliveries(Protocol):
    """Knows whether a series was delivered."""

    def __call__(self, series: SeriesRecord, /) -> tuple[Path, ...] | None:
        """The folders of all its results, once each was delivered or discarded by an operator; None before.

        Raises
        ------
        CandelaError
            where that cannot be determined now.
        """
        ...


class Purger:
    """Checks every ``check_every`` seconds between `start` and `stop`. ``results`` moves the folders that `Deliveries`
    names.
    """

    def __init__(
        self,
        retention: Retention,
        disk: Disk,
        store: InstanceStore,
        index: SeriesIndex,
        monitor: SeriesMonitor,
        deliveries: Deliveries,
        results: ResultsAside,
        counters: Counters,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._retention, self._disk = retention, disk
        self._store, self._index, self._monitor = store, index, monitor
        self._deliveries = deliveries
        self._results = results
        self._counters = counters
        self._clock, self._monotonic = clock, monotonic
        self._ask_at: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="purger", daemon=True)

    def start(self) -> None:
        """Check at once, then repeatedly; not at all without a policy in the settings."""
        if self._retention.keep_days is not None or self._retention.purge_above is not None:
            self._thread.start()

    def stop(self) -> None:
        """Stop checking."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.purge()
            except Exception as error:  # noqa: BLE001  (a failed check must not end the checks)
                log.error("purge_failed", error=type(error).__name__)  # noqa: TRY400  (a trace may quote values)
            self._stopping.wait(self._retention.check_every)

    def purge(self) -> int:
        """Remove what is old enough, and, while the disk is too full, the oldest; returns the number of series."""
        purged = sum(self._purge(series) for series in self._candidates(self._old_enough()))
        if self._disk.over_purge_mark():
            for series in self._candidates(math.inf):
                purged += self._purge(series)
                if not self._disk.over_purge_mark():
                    break
        return purged

    def _old_enough(self) -> float:
        keep = self._retention.keep_days
        return -math.inf if keep is None else self._clock() - keep * DAY

    def _candidates(self, before: float) -> Iterator[SeriesRecord]:
        """Series last received before ``before``, the oldest first, except those recently found undelivered."""
        if before == -math.inf:
            return
        now = self._monotonic()
        self._ask_at = {name: at for name, at in self._ask_at.items() if at > now}
        for series in self._index.settled(before):
            if self._stopping.is_set():
                return
            if series.series_instance_uid not in self._ask_at:
                yield series

    def _purge(self, series: SeriesRecord) -> bool:
        """Remove ``series`` if that is allowed; True where it was removed.

        Its results are moved aside first and deleted last, so that a series in the store always has its manifests
        (`dicom_node.retention.results_aside`).
        """
        name = series.series_instance_uid
        results = self._delivered(series)
        if results is None:
            self._ask_at[name] = self._monotonic() + ASK_AGAIN
            return False
        paths = self._index.paths(name)
        if self._index.series(name) != series:  # after the paths: an instance that arrived since changed it
            return False
        if not self._may_go(name):
            return False
        size = None
        try:
            self._results.move(name, results)
            # Checked again: an operator may have retried a job meanwhile, which then finds its manifest or fails for
            # good.
            if self._delivered(series) is not None:
                size = self._store.purge(
                    name, paths, committed_before=self._committed_before(), on_removed=lambda: self._gone(name, paths)
                )
        finally:
            if size is None:
                self._results.put_back(name)
        if size is None:
            return False
        self._results.delete()
        self._counters.add("series_purged")
        self._counters.add("bytes_purged", size)
        log.info("series_purged", series=uid(name), bytes=size)
        return True

    def _delivered(self, series: SeriesRecord) -> tuple[Path, ...] | None:
        try:
            return () if series.state is SeriesState.OWN else self._deliveries(series)
        except CandelaError as error:
            log.warning("purge_waits", code=error.code)
            return None

    def _gone(self, name: str, paths: tuple[str, ...]) -> None:
        """Record the removal from the store; no instance of the series can be placed before this returns."""
        self._monitor.purged(name, paths)
        self._results.commit(name)

    def _may_go(self, name: str) -> bool:
        """Whether no storage commitment protects the series; the store sees one that is given at this moment."""
        committed = self._store.committed_at(name)
        if committed is None or committed < self._committed_before():
            return True
        self._ask_at[name] = self._monotonic() + ASK_AGAIN
        return False

    def _committed_before(self) -> float:
        keep = self._retention.committed_days
        return -math.inf if keep is None else self._clock() - keep * DAY
