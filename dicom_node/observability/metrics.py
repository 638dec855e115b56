"""The receiver's metrics for Prometheus, without patient data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from threading import Thread
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from dicom_node.observability.counters import Counters
from dicom_node.settings.access import Metrics

log = structlog.get_logger("candela.metrics")


class ReceiverFigures(Collector):
    """The present `Counters`, the ``gauges`` by name, and the expiry of each certificate."""

    def __init__(
        self,
        counters: Counters,
        gauges: Mapping[str, Callable[[], float]],
        expiries: Callable[[], Mapping[str, datetime]],
    ) -> None:
        self._counters, self._gauges, self._expiries = counters, gauges, expiries

    def collect(self) -> Iterator[Any]:
        """See `Collector`."""
        for name, value in self._counters.snapshot().items():
            yield CounterMetricFamily(f"candela_{name}", f"{name.replace('_', ' ')} since the start", value)
        denied = CounterMetricFamily("candela_associations_denied", "rejected callers by cause", labels=["cause"])
        for cause, number in dict(self._counters.denied).items():
            denied.add_metric([str(cause)], number)
        yield denied
        for name, read in self._gauges.items():
            yield GaugeMetricFamily(f"candela_{name}", name.replace("_", " "), read())
        ends = GaugeMetricFamily(
            "candela_certificate_expiry_timestamp_seconds", "expiry of a certificate", labels=["file"]
        )
        for file, instant in self._expiries().items():
            ends.add_metric([file], instant.timestamp())
        yield ends


class MetricsServer:
    """Serves ``figures`` at ``/metrics`` between `start` and `stop`, where the settings name a port."""

    def __init__(self, settings: Metrics, figures: Collector) -> None:
        self._settings = settings
        self._registry = CollectorRegistry()
        self._registry.register(figures)
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
