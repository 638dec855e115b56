"""Every metric that the node exposes: name, type, labels, meaning. docs/metrics.md is written from this table.

Names follow Prometheus' convention: base units as suffix, ``_total`` on counters (added by the client). No label holds
patient data or a UID, and each label has a bounded number of values (`MOST_VALUES`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

MOST_VALUES: Final = 50
"""Values of one label that a model or a peer may bring; further ones count as `OTHER`."""
OTHER: Final = "other"

DURATIONS: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0)
"""Bounds of buckets in seconds: from a count by an archive to a destination that is down for a day."""
SHARES: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)

Kind = Literal["counter", "gauge", "histogram"]
Source = Literal["receiver", "installation"]
"""``receiver``: counted in the receiver's process. ``installation``: read from the engine's database, the index and the
notes on disk, and so about every role on every machine.
"""


@dataclass(frozen=True)
class Metric:
    """One metric. ``name`` is without ``_total``; ``buckets`` are upper bounds of a histogram."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    source: Source = "installation"

    @property
    def exposed(self) -> str:
        """The name under which Prometheus stores it; of a histogram without ``_bucket``, ``_sum`` and ``_count``."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    @property
    def samples(self) -> tuple[str, ...]:
        """The names that a query may use."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.exposed,)


RECEIVER_COUNTERS: Final[dict[str, tuple[str, str]]] = {
    "associations_accepted": ("candela_associations_accepted", "associations accepted"),
    "associations_rejected": ("candela_associations_rejected", "associations rejected, for any cause"),
    "associations_aborted": (
        "candela_associations_aborted",
        "associations that ended by an abort or a lost connection",
    ),
    "connections_refused": ("candela_connections_refused", "connections closed at once, above the rate of an address"),
    "connections_failed": ("candela_connections_failed", "connections that ended before a valid association request"),
    "tls_handshakes_failed": ("candela_tls_handshakes_failed", "TLS handshakes that failed"),
    "requests_accepted": ("candela_requests_accepted", "STOW-RS requests accepted"),
    "instances_stored": ("candela_instances_stored", "instances stored, by C-STORE and STOW-RS"),
    "instances_repeated": ("candela_instances_repeated", "instances that were stored before, with the same content"),
    "instances_replaced": ("candela_instances_replaced", "instances that were stored before, with another content"),
    "instances_refused": ("candela_instances_refused", "instances answered with a failure status"),
    "instances_damaged": ("candela_instances_damaged", "stored files whose digest does not match"),
    "bytes_stored": ("candela_stored_bytes", "bytes of stored instances"),
    "series_completed": ("candela_series_completed", "series that became complete"),
    "series_reopened": ("candela_series_reopened", "complete series that got a further instance"),
    "dispatch_failures": ("candela_dispatch_failures", "failures to queue the job of a complete series; tried again"),
    "study_decision_failures": ("candela_study_decision_failures", "failures to choose among a study's series"),
    "index_failures": ("candela_index_failures", "failures to write the index of the store"),
    "commitments_requested": ("candela_commitments_requested", "storage commitment requests of modalities"),
    "commitments_reported": ("candela_commitments_reported", "storage commitment reports delivered"),
    "commitments_unreported": ("candela_commitments_unreported", "storage commitment reports given up"),
    "series_purged": ("candela_series_purged", "series removed by retention"),
    "bytes_purged": ("candela_purged_bytes", "bytes removed by retention"),
    "reloads": ("candela_reloads", "reloads of peers and certificates"),
    "reloads_refused": ("candela_reloads_refused", "reloads refused because certificates cannot be used"),
}
"""By field of `dicom_node.observability.counters.Counters`: name and meaning."""


def _receiver(name: str, kind: Kind, meaning: str, *labels: str) -> Metric:
    return Metric(f"candela_{name}", kind, meaning, labels, source="receiver")


DENIED = _receiver("associations_denied", "counter", "rejected callers by cause", "cause")
ASSOCIATIONS_OPEN = _receiver("associations_open", "gauge", "associations open now")
COMMITMENTS_WAITING = _receiver(
    "commitments_waiting", "gauge", "storage commitment requests that wait for their report"
)
REFUSING = _receiver("refusing_associations", "gauge", "1 while new associations are rejected because the disk is full")
DISK_USED = _receiver("disk_used_ratio", "gauge", "part of the disk of `data_dir` in use, 0 to 1")
DISK_SIZE = _receiver("disk_size_bytes", "gauge", "size of the disk of `data_dir`")
DISK_AVAILABLE = _receiver("disk_available_bytes", "gauge", "bytes that the node may still write to the disk")
DISK_MARK = _receiver("disk_refuse_above_ratio", "gauge", "`retention.refuse_above`, 0 to 1")
CERTIFICATE = _receiver(
    "certificate_expiry_timestamp_seconds",
    "gauge",
    "when a certificate of the settings expires, seconds since the epoch; 0 where the file cannot be read. Days left:"
    " `(candela_certificate_expiry_timestamp_seconds - time()) / 86400`",
    "file",
)
BUILD = _receiver("build_info", "gauge", "1; the label holds the node's version", "version")

ENGINE_UP = Metric("candela_engine_up", "gauge", "1 where the engine's database answers; else what follows is missing")
SERIES = Metric(
    "candela_series", "gauge", "series in the store by state: receiving, complete, handed_over, own", ("state",)
)
QUEUE = Metric(
    "candela_queue_items",
    "gauge",
    "work in a queue: `infer`, or `deliver:` and the destination. States: queued (could begin now), delayed (held, or"
    " waits for its next try), running",
    ("queue", "state"),
)
QUEUE_AGE = Metric(
    "candela_queue_oldest_seconds",
    "gauge",
    "how long the oldest work of a queue could have begun; 0 where none",
    ("queue",),
)
DEAD = Metric("candela_dead_letters", "gauge", "dead letters that wait for an operator, by queue", ("queue",))
CIRCUIT = Metric(
    "candela_circuit_state",
    "gauge",
    "1 for the present state of a destination's circuit, else 0",
    ("destination", "state"),
)
CIRCUIT_FAILURES = Metric(
    "candela_circuit_failures", "gauge", "failures in a row to reach a destination", ("destination",)
)
OUTCOMES = Metric(
    "candela_series_read",
    "counter",
    "jobs ended by their reading: outcome finding, no_finding, indeterminate, measured or refused",
    ("model", "outcome"),
)
REFUSED = Metric("candela_series_refused", "counter", "series refused, by code (`candela errors`)", ("model", "code"))
READING_FAILED = Metric(
    "candela_reading_failures", "counter", "attempts at reading a series that failed, by code", ("model", "code")
)
CLASSES = Metric(
    "candela_predicted_classes",
    "counter",
    "answers by predicted class; `none` where the model names none",
    ("model", "class"),
)
PROBABILITY = Metric(
    "candela_class_probability_ratio",
    "histogram",
    "probability that the model gave each of its classes, 0 to 1",
    ("model", "class"),
    SHARES,
)
STAGE = Metric(
    "candela_stage_duration_seconds",
    "histogram",
    "time of a series in each stage: reception (first to last instance), completion (to the decision that it is"
    " complete), routing (to its job), queue (to the beginning of the reading), inference (to its end), delivery (of"
    " one result, to its acceptance by the destination, with holds and retries). On SQLite the engine notes the"
    " beginning of work to the second",
    ("stage", "priority"),
    DURATIONS,
)
TURNAROUND = Metric(
    "candela_turnaround_seconds",
    "histogram",
    "time from the last instance of a series to the acceptance of a result by the destination",
    ("destination", "priority"),
    DURATIONS,
)
DELIVERIES = Metric(
    "candela_deliveries",
    "counter",
    "attempts at deliveries that ended: outcome delivered, retried, dead, superseded or cancelled",
    ("destination", "outcome"),
)
DELIVERY_FAILED = Metric(
    "candela_delivery_failures", "counter", "attempts at deliveries that failed, by code", ("destination", "code")
)
RECEIVER_METRICS: Final = (
    *(Metric(name, "counter", meaning, source="receiver") for name, meaning in RECEIVER_COUNTERS.values()),
    DENIED,
    ASSOCIATIONS_OPEN,
    COMMITMENTS_WAITING,
    REFUSING,
    DISK_USED,
    DISK_SIZE,
    DISK_AVAILABLE,
    DISK_MARK,
    CERTIFICATE,
    BUILD,
)
ENDED_METRICS: Final = (
    OUTCOMES,
    REFUSED,
    READING_FAILED,
    CLASSES,
    PROBABILITY,
    STAGE,
    TURNAROUND,
    DELIVERIES,
    DELIVERY_FAILED,
)
"""Counted from work that ended since the receiver started."""
PRESENT_METRICS: Final = (ENGINE_UP, SERIES, QUEUE, QUEUE_AGE, DEAD, CIRCUIT, CIRCUIT_FAILURES)
"""Read anew for each scrape."""


def metrics() -> Iterator[Metric]:
    """Every metric, in the order of the page."""
    yield from RECEIVER_METRICS
    yield from PRESENT_METRICS
    yield from ENDED_METRICS
