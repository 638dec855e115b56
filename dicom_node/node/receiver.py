"""The receiver, assembled from its parts, with start and stop."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata

import structlog
from prometheus_client.registry import Collector
from pydicom.dataset import Dataset

from dicom_node.audit.trail import Party, open_trail
from dicom_node.commitment.scp import StorageCommitment
from dicom_node.completion.monitor import CountSource, ExpectedCount, SeriesMonitor, Submit
from dicom_node.completion.study_watch import StudyDecisions
from dicom_node.network import certificates
from dicom_node.observability import catalogue
from dicom_node.observability.counters import Counters
from dicom_node.observability.metrics import MetricsServer, ReceiverFigures
from dicom_node.receive.admission import Admission
from dicom_node.receive.audited import ReceptionAudit
from dicom_node.receive.ingest import Ingest
from dicom_node.receive.listener import Listener
from dicom_node.receive.stow.server import HttpServer
from dicom_node.receive.stow.service import StowContext, stow_app
from dicom_node.retention.purge import Deliveries, Purger
from dicom_node.retention.results_aside import ResultsAside
from dicom_node.settings.tree import Settings
from dicom_node.store import layout
from dicom_node.store.disk import Disk
from dicom_node.store.instance_store import InstanceStore
from dicom_node.store.series_index import SeriesIndex
from pipeline.errors import BadSettings

log = structlog.get_logger("candela.receiver")

SOURCES = {"orthanc": "Orthanc", "c-find": "C-FIND"}
"""The name of an expected count's source in the recorded reason."""


class Receiver:
    """Listener, STOW-RS where the settings have it, store, index and monitor of one node.

    Parameters
    ----------
    settings : the whole tree; ``receive``, ``completion`` and the folders are used.
    submit : dispatches complete series; see `dicom_node.completion.monitor.Submit`.
    expected_counts : by calling AE title, the peer that counts the instances of a series.
    is_own_result : the loop guard, called with a data set up to and including Series Instance UID: Candela's own
        results are stored and never dispatched.
    clock : seconds since the epoch, for records.
    monotonic : seconds that never jump, for waits.
    studies : selects among the series of a study, for rules with ``per_study``; see
        `dicom_node.completion.study_watch`.
    deliveries : knows whether a series was delivered; without it nothing is ever purged.
    figures : what the metrics page shows beside the receiver's own figures.
    """

    def __init__(
        self,
        settings: Settings,
        submit: Submit,
        expected_counts: Mapping[str, ExpectedCount],
        is_own_result: Callable[[Dataset], bool],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        studies: StudyDecisions | None = None,
        deliveries: Deliveries | None = None,
        figures: Sequence[Collector] = (),
    ) -> None:
        self._settings = settings
        self._further_figures = figures
        self._deliveries = deliveries
        self._results = ResultsAside(settings.results_dir)
        self._submit = submit
        self._studies = studies
        self._counts = {ae: CountSource(_source(settings, ae), ask) for ae, ask in expected_counts.items()}
        self._is_own = is_own_result
        self._clock = clock
        self._monotonic = monotonic
        self.counters = Counters()
        self._store: InstanceStore | None = None
        self._index: SeriesIndex | None = None
        self._monitor: SeriesMonitor | None = None
        self._listener: Listener | None = None
        self._stow: HttpServer | None = None
        self._admission: Admission | None = None
        self._commitment: StorageCommitment | None = None
        self._purger: Purger | None = None
        self._metrics: MetricsServer | None = None

    def start(self) -> None:
        """Bring the index in line with the files, resume what an earlier process left, and listen.

        Raises
        ------
        BadSettings
            where another receiver writes to the same store, a newer version of Candela wrote it, or the certificates
            cannot be used.
        OSError
            where a port is taken or the folder cannot be written.
        """
        store = InstanceStore(self._settings.store_dir, self._clock)
        try:
            layout.stamp(self._settings.data_dir)
            self._results.sweep(store.has)
            index = SeriesIndex(self._settings.data_dir / "index.sqlite")
        except BadSettings:
            store.close()
            raise
        missed = index.reconcile(store, self._is_own)
        self.counters.add("instances_damaged", store.damaged)
        log.info("index_ready", missed=missed, damaged=store.damaged)
        monitor = SeriesMonitor(
            index,
            store,
            self._settings.completion,
            self._submit,
            self._counts,
            self.counters,
            clock=self._clock,
            monotonic=self._monotonic,
            studies=self._studies,
        )
        ingest = Ingest(store, monitor, self.counters, self._is_own)
        self._store, self._index, self._monitor = store, index, monitor
        try:
            self._open(store, index, monitor, ingest)
        except (OSError, BadSettings):
            self.stop(grace=0)
            raise

    def _open(self, store: InstanceStore, index: SeriesIndex, monitor: SeriesMonitor, ingest: Ingest) -> None:
        """Start the services that others call first, and the listeners last."""
        settings, counters = self._settings, self.counters
        disk = Disk(settings.data_dir, settings.retention)
        warn_days = settings.tls.warn_days if settings.tls else 0.0
        audit = ReceptionAudit(open_trail(settings), Party(settings.receive.ae_title, "node"))
        admission = self._admission = Admission(settings.receive, counters, lambda: disk.has_room, warn_days, audit)
        self._commitment = StorageCommitment(
            settings.commitments_dir, admission, store, index, monitor, counters, clock=self._clock
        )
        numbers = itertools.count(1)
        self._listener = Listener(
            admission,
            ingest,
            counters,
            numbers,
            incoming=store.incoming,
            identity=settings.tls,
            commitment=self._commitment,
        )
        stow = settings.receive.stow
        if stow is not None:
            way = StowContext(settings.receive, stow, store, ingest, counters, numbers, lambda: disk.has_room, audit)
            self._stow = HttpServer(stow_app(way), stow.host, stow.port, connections=stow.maximum_requests)
        self._metrics = MetricsServer(
            settings.metrics, self._figures(admission, disk, self._commitment), *self._further_figures
        )
        monitor.start()
        self._commitment.start()
        if self._deliveries is not None:
            self._purger = Purger(
                settings.retention,
                disk,
                store,
                index,
                monitor,
                self._deliveries,
                self._results,
                counters,
                clock=self._clock,
                monotonic=self._monotonic,
            )
            self._purger.start()
        self._listener.start()
        if self._stow is not None:
            self._stow.start()
        self._metrics.start()

    def _figures(self, admission: Admission, disk: Disk, commitment: StorageCommitment) -> ReceiverFigures:
        gauges: dict[catalogue.Metric, Callable[[], float]] = {
            catalogue.ASSOCIATIONS_OPEN: lambda: float(admission.open_associations),
            catalogue.COMMITMENTS_WAITING: lambda: float(commitment.waiting),
            catalogue.REFUSING: lambda: float(not disk.has_room),
            catalogue.DISK_USED: lambda: disk.used,
            catalogue.DISK_SIZE: lambda: float(disk.size),
            catalogue.DISK_AVAILABLE: lambda: float(disk.available),
            catalogue.DISK_MARK: lambda: self._settings.retention.refuse_above,
        }
        return ReceiverFigures(
            self.counters, gauges, lambda: certificates.expiries(self._settings), metadata.version("candela")
        )

    def reload(self, settings: Settings) -> None:
        """Apply new peers and certificates; running associations continue.

        Raises
        ------
        BadSettings
            where the certificates cannot be used; nothing changes then.
        """
        if self._listener is None or self._admission is None:
            return
        try:
            if settings.tls is not None and self._settings.receive.tls_port is not None:
                self._listener.secure_with(settings.tls)
        except BadSettings:
            self.counters.add("reloads_refused")
            raise
        self._admission.settings = settings.receive
        self.counters.add("reloads")

    @property
    def index(self) -> SeriesIndex:
        """The index of the store, for reading, between `start` and `stop`."""
        assert self._index is not None, "the receiver is not started"
        return self._index

    def stop(self, grace: float = 10.0) -> None:
        """Accept no more, give running associations ``grace`` seconds to finish, write the index, close the store.

        Incomplete series are resumed at the next start.
        """
        if self._listener is not None:
            self._listener.stop(grace)
        if self._stow is not None:
            self._stow.stop(grace)
        for part in (self._metrics, self._purger, self._commitment):
            if part is not None:
                part.stop()
        if self._monitor is not None:
            self._monitor.stop()
        if self._index is not None:
            self._index.close()
        if self._store is not None:
            self._store.close()
        self._store = self._index = self._monitor = self._listener = self._stow = None
        self._metrics = self._purger = self._commitment = self._admission = None


def _source(settings: Settings, ae_title: str) -> str:
    peer = settings.receive.peer(ae_title)
    if peer is None or peer.expected_count is None:
        return "peer"
    return SOURCES[peer.expected_count.kind]
