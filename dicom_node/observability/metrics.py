"""The metrics page for Prometheus, and the receiver's part of it, without patient data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from threading import Thread
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from dicom_node.observability import catalogue
from dicom_node.observability.catalogue import Metric
from dicom_node.observability.counters import Counters
from dicom_node.settings.access import Metrics

log = structlog.get_logger("candela.metrics")


def gauge(metric: Metric, value: float | None = None) -> GaugeMetricFamily:
    """The family of ``metric``, with ``value`` where it has no labels."""
    return GaugeMetricFamily(metric.name, metric.meaning, value, labels=metric.labels or None)


class ReceiverFigures(Collector):
    """The present `Counters`, the ``gauges``, the expiry of each certificate, and the node's ``version``."""

    def __init__(
        self,
        counters: Counters,
        gauges: Mapping[Metric, Callable[[], float]],
        expiries: Callable[[], Mapping[str, datetime]],
        version: str,
    ) -> None:
        self._counters, self._gauges, self._expiries, self._version = counters, gauges, expiries, version

    def collect(self) -> Iterator[Any]:
        """See `Collector`."""
        totals = self._counters.snapshot()
        for field, (name, meaning) in catalogue.RECEIVER_COUNTERS.items():
            yield CounterMetricFamily(name, meaning, totals[field])
        denied = CounterMetricFamily(catalogue.DENIED.name, catalogue.DENIED.meaning, labels=catalogue.DENIED.labels)
        for cause, number in dict(self._counters.denied).items():
            denied.add_metric([str(cause)], number)
        yield denied
        for metric, read in self._gauges.items():
            yield gauge(metric, read())
        ends = gauge(catalogue.CERTIFICATE)
        for file, instant in self._expiries().items():
            ends.add_metric([file], instant.timestamp())
        yield ends
        build = gauge(catalogue.BUILD)
        build.add_metric([self._version], 1.0)
        yield build


class MetricsServer:
    """Serves ``figures`` at ``/metrics`` between `start` and `stop`, where the settings name a port."""

    def __init__(self, settings: Metrics, *figures: Collector) -> None:
        self._settings = settings
        self._registry = CollectorRegistry()
        for item in figures:
            self._registry.register(item)
        self._running: tuple[Any, Thread] | None = None

    def start(self) -> None:
        """Listen.

        Raises
        ------
        OSError
            where the port is taken.
        """
        if self._settings.port is None:
            return
        self._running = start_http_server(self._settings.port, self._settings.host, self._registry)
        log.info("metrics_listening", host=self._settings.host, port=self._settings.port)

    def stop(self) -> None:
        if self._running is not None:
            server, thread = self._running
            self._running = None
            server.shutdown()
            server.server_close()
            thread.join()
