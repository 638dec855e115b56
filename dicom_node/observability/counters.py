"""The receiver's counters, which the metrics page shows."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Counters:
    """Totals since the process started. `add` is safe from any thread; the fields may be read without a lock."""

    associations_accepted: int = 0
    associations_rejected: int = 0
    associations_aborted: int = 0
    connections_refused: int = 0
    connections_failed: int = 0
    tls_handshakes_failed: int = 0
    requests_accepted: int = 0
    instances_stored: int = 0
    instances_repeated: int = 0
    instances_replaced: int = 0
    instances_refused: int = 0
    instances_damaged: int = 0
    bytes_stored: int = 0
    series_completed: int = 0
    series_reopened: int = 0
    dispatch_failures: int = 0
    study_decision_failures: int = 0
    index_failures: int = 0
    commitments_requested: int = 0
    commitments_reported: int = 0
    commitments_unreported: int = 0
    series_purged: int = 0
    bytes_purged: int = 0
    reloads: int = 0
    reloads_refused: int = 0
    denied: Counter[str] = field(default_factory=Counter)
    """Rejected associations by `dicom_node.receive.policy.Cause`."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, name: str, amount: int = 1) -> None:
        """Add ``amount`` to the field ``name``."""
        with self._lock:
            setattr(self, name, getattr(self, name) + amount)

    def snapshot(self) -> dict[str, int]:
        """The totals by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}
