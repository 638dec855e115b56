"""Metrics of the whole installation, read from the engine's database, the index and the results.

They cover every role on every machine, whichever process did the work. What is counted is what ended since this process
started; Prometheus handles a counter that starts again at zero.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.registry import Collector

from dicom_node.jobs.circuits import CircuitState
from dicom_node.jobs.measures import EndedDelivery, EndedReading, Measures
from dicom_node.observability import catalogue
from dicom_node.observability.catalogue import Metric
from dicom_node.observability.metrics import gauge
from dicom_node.settings.tree import Settings
from dicom_node.store.layout import located
from dicom_node.store.study_series import INDEX
from pipeline.errors import NotChosen, PeerUnavailable
from pipeline.findings.model import Outcome

log = structlog.get_logger("candela.metrics")

QUEUE_STATES = ("queued", "delayed", "running")
NO_MODEL = "none"


class InstallationFigures(Collector):
    """Figures of one installation. Where the engine's database does not answer, `catalogue.ENGINE_UP` is 0 and the
    figures that need it are missing until it does.
    """

    def __init__(self, settings: Settings, measures: Measures, clock: Callable[[], float] = time.time) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a time for each series of samples, which nothing here uses
        self._settings, self._measures, self._clock = settings, measures, clock
        registry = CollectorRegistry()
        self._made = {metric.name: _make(metric, registry) for metric in catalogue.ENDED_METRICS}
        self._bounded: dict[tuple[str, str], set[str]] = defaultdict(set)

    def collect(self) -> Iterator[Any]:
        """See `Collector`."""
        yield self._series()
        up = gauge(catalogue.ENGINE_UP, 1.0)
        try:
            present = list(self._present(self._clock()))
            for item in self._measures.ended(self._clock()):
                self._count(item)
        except PeerUnavailable as error:
            log.warning("metrics_without_engine", code=error.code)
            up, present = gauge(catalogue.ENGINE_UP, 0.0), []
        yield up
        yield from present
        for metric in self._made.values():
            yield from metric.collect()

    def _present(self, now: float) -> Iterator[Any]:
        items, ages, dead = gauge(catalogue.QUEUE), gauge(catalogue.QUEUE_AGE), gauge(catalogue.DEAD)
        letters = self._measures.dead_letters()
        queues = self._measures.queues(now)
        for queue in queues:
            for state in QUEUE_STATES:
                items.add_metric([queue.name, state], queue.items[state])
            ages.add_metric([queue.name], queue.oldest)
        for name in dict.fromkeys([*(queue.name for queue in queues), *letters]):
            dead.add_metric([name], letters[name].total() if name in letters else 0)
        states, failures = gauge(catalogue.CIRCUIT), gauge(catalogue.CIRCUIT_FAILURES)
        for circuit in self._measures.circuits():
            for state in CircuitState:
                states.add_metric([circuit.destination, str(state)], float(circuit.state is state))
            failures.add_metric([circuit.destination], circuit.failures)
        yield from (items, ages, dead, states, failures)

    def _series(self) -> Any:
        family = gauge(catalogue.SERIES)
        for state, number in self._index("select state, count(*) from series group by state"):
            family.add_metric([state], number)
        return family

    def _index(self, query: str, *values: str) -> list[Any]:
        """Rows of the index; none where there is no index or it cannot be read now."""
        path = self._settings.data_dir.absolute() / INDEX
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
                return connection.execute(query, values).fetchall()
        except sqlite3.Error:
            return []

    def _count(self, item: EndedReading | EndedDelivery) -> None:
        if isinstance(item, EndedDelivery):
            self._count_delivery(item)
        elif item.job.refusal_code != NotChosen.code:
            self._count_reading(item)

    def _count_reading(self, item: EndedReading) -> None:
        job, times = item.job, item.times
        model = job.model or NO_MODEL
        if item.failure is not None:
            self._add(catalogue.READING_FAILED, model, item.failure.code)
        if item.first:
            complete = datetime.fromisoformat(job.completed_at).timestamp()
            if received := self._received(job.series_instance_uid, complete):
                self._took("reception", job.priority, received[1] - received[0])
                self._took("completion", job.priority, complete - received[1])
            self._took("routing", job.priority, times.queued - complete)
            self._took("queue", job.priority, times.began - times.queued)
        if item.result is None:
            return
        self._took("inference", job.priority, times.ended - times.began)
        self._add(catalogue.OUTCOMES, model, str(item.result.outcome))
        if item.result.outcome is Outcome.REFUSED:
            self._add(catalogue.REFUSED, model, item.result.refusal_code or "")
        elif item.result.summary is not None:
            self._count_answer(model, located(item.result.summary, self._settings.data_dir))

    def _count_answer(self, model: str, summary: Path) -> None:
        """Count the classes and probabilities of an answer; none where its file was removed since."""
        try:
            answer = json.loads(summary.read_bytes())
        except (OSError, ValueError):
            return
        self._add(catalogue.CLASSES, model, answer.get("predicted_class") or NO_MODEL)
        for name, share in answer.get("probabilities", {}).items():
            self._observe(catalogue.PROBABILITY, share, model, name)

    def _count_delivery(self, item: EndedDelivery) -> None:
        job, destination = item.item.job, item.item.destination
        self._add(catalogue.DELIVERIES, destination, item.outcome)
        if item.failure is not None:
            self._add(catalogue.DELIVERY_FAILED, destination, item.failure.code)
        if item.outcome != "delivered":
            return
        self._took("delivery", job.priority, item.times.ended - item.wanted_since)
        complete = datetime.fromisoformat(job.completed_at).timestamp()
        received = self._received(job.series_instance_uid, complete)
        begun = received[1] if received else complete
        self._observe(catalogue.TURNAROUND, max(0.0, item.times.ended - begun), destination, job.priority)

    def _received(self, series: str, complete: float) -> tuple[float, float] | None:
        """When the first and the last instance of a series came; None where it was removed, or has grown since."""
        query = "select first_received, last_received from series where series_instance_uid = ?"
        found: list[tuple[float, float]] = self._index(query, series)
        return found[0] if found and found[0][1] <= complete + 1 else None

    def _took(self, stage: str, priority: str, seconds: float) -> None:
        # Two clocks may differ by some milliseconds.
        self._observe(catalogue.STAGE, max(0.0, seconds), stage, priority)

    def _add(self, metric: Metric, *values: str) -> None:
        self._made[metric.name].labels(*self._few(metric, values)).inc()

    def _observe(self, metric: Metric, amount: float, *values: str) -> None:
        self._made[metric.name].labels(*self._few(metric, values)).observe(amount)

    def _few(self, metric: Metric, values: Iterable[str]) -> tuple[str, ...]:
        """``values`` with `catalogue.OTHER` in place of those beyond the most that a label may have."""
        kept = []
        for label, value in zip(metric.labels, values, strict=True):
            known = self._bounded[metric.name, label]
            if value in known or len(known) < catalogue.MOST_VALUES:
                known.add(value)
                kept.append(value)
            else:
                kept.append(catalogue.OTHER)
        return tuple(kept)


def _make(metric: Metric, registry: CollectorRegistry) -> Any:
    if metric.kind == "histogram":
        return Histogram(metric.name, metric.meaning, metric.labels, registry=registry, buckets=metric.buckets)
    return Counter(metric.name, metric.meaning, metric.labels, registry=registry)
