"""The roles: the parts of each process."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from dicom_node.node.supervisor import Role, supervise
from dicom_node.settings.destinations import DicomWebDestination, FhirDestination
from dicom_node.settings.peers import OrthancCount
from dicom_node.settings.tree import Settings
from dicom_node.start_up import without_collection
from dicom_node.store import layout
from pipeline.errors import BadSettings

if TYPE_CHECKING:
    from dicom_node.completion.monitor import ExpectedCount

log = structlog.get_logger("candela.node")


def check_models(settings: Settings) -> None:
    """Check that every rule names a model that is installed, valid, and fit for the rule.

    Raises
    ------
    BadSettings
        naming the rule, and the installed models.
    BadModel
        where a bundle is broken.
    """
    from models import registry

    known = {entry.name: entry for entry in registry.entries(settings.models.folders)}
    for rule in (rule for rule in settings.rules if rule.enabled):
        if rule.model not in known:
            raise BadSettings(
                f"Rule {rule.name!r} names the unknown model {rule.model!r}.",
                todo=f"Known models: {', '.join(sorted(known))}.",
            )
        known[rule.model].refuse_unfit_for(rule)


def check_destinations(settings: Settings) -> None:
    """Check each destination's address, certificates and secrets, as far as possible without contacting it.

    Raises
    ------
    BadSettings
        naming the file or address.
    """
    from dicom_node.deliver.senders import sender_for

    for name, destination in settings.destinations.items():
        if not destination.enabled:
            continue
        sender_for(name, destination, settings)
        if isinstance(destination, FhirDestination):
            from dicom_node.deliver.fhir import check_secrets

            check_secrets(destination)
        elif isinstance(destination, DicomWebDestination):
            from dicom_node.deliver import dicomweb_http

            dicomweb_http.check_secrets(destination)


def serve(settings: Settings, config: Path | None) -> int:
    """Run every role on this machine as child processes; returns the exit status."""
    from dicom_node.jobs import engine

    check_models(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    layout.check(settings.data_dir)
    engine.prepare(settings)
    options = ("--config", str(config)) if config else ()
    command = (sys.executable, "-m", "dicom_node.cli")
    roles = [
        Role("receiver", (*command, "receiver", *options), reloads=True),
        Role("infer", (*command, "worker", "--queues", "infer", *options)),
        Role("deliver", (*command, "worker", "--queues", "deliver", *options)),
    ]
    if settings.web.enabled:
        roles.append(Role("web", (*command, "web", *options), essential=False))
    if settings.notify.rules:
        roles.append(Role("notify", (*command, "notify", "run", *options)))
    return supervise(roles)


def receive(settings: Settings, config: Path | None = None) -> int:
    """Run the receiver until SIGTERM or SIGINT; returns the exit status. SIGHUP or a change of
    ``config`` reloads it.
    """
    with without_collection():
        from dicom_node.completion.dispatch import Dispatch
        from dicom_node.jobs import engine
        from dicom_node.jobs.client import JobsClient
        from dicom_node.jobs.measures import Measures
        from dicom_node.jobs.rejections import Rejections
        from dicom_node.monitoring.figures import InstallationFigures
        from dicom_node.node.receiver import Receiver
        from dicom_node.node.reload import Reloader
        from dicom_node.retention.deliveries import DeliveredSeries
        from pipeline.findings.own_results import is_own_result

    gc.freeze()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    layout.check(settings.data_dir)
    engine.prepare(settings)
    with ExitStack() as opened:
        client = opened.enter_context(JobsClient(settings))
        figures: tuple[InstallationFigures, ...] = ()
        if settings.metrics.port is not None:
            measures = opened.enter_context(Measures(settings, time.time()))
            figures = (InstallationFigures(settings, measures),)
        dispatch = Dispatch(settings, client.submit, Rejections(settings, client))
        receiver = Receiver(
            settings,
            submit=dispatch,
            studies=dispatch,
            expected_counts=expected_counts(settings),
            is_own_result=is_own_result,
            clock=time.time,
            deliveries=DeliveredSeries(settings, client, dispatch.undecided),
            figures=figures,
        )
        reloader = Reloader(config, settings, receiver.reload)
        signal.signal(signal.SIGHUP, lambda *_: reloader.ask())
        receiver.start()
        reloader.start()
        stop.wait()
        reloader.stop()
        receiver.stop()
    return 0


def expected_counts(settings: Settings) -> dict[str, ExpectedCount]:
    """By calling AE title, the peer that counts the instances of a series."""
    from dicom_node.completion.expected_count import FindCounter

    counters: dict[str, ExpectedCount] = {}
    for peer in settings.receive.allow:
        source = peer.expected_count
        if isinstance(source, OrthancCount):
            counters[peer.ae_title] = _orthanc_counter(source)
        elif source is not None:
            counters[peer.ae_title] = FindCounter(source, settings.receive.ae_title)
    return counters


def _orthanc_counter(source: OrthancCount) -> ExpectedCount:
    from orthanc.client import OrthancClient

    client = OrthancClient(source.url, source.username, source.password.get_secret_value())

    def count(series_instance_uid: str, study_instance_uid: str, /) -> int | None:  # noqa: ARG001  (Orthanc needs one)
        return client.instances_of_series(series_instance_uid)

    return count


def work(settings: Settings, queues: tuple[str, ...]) -> int:
    """Run a worker until SIGTERM or SIGINT. The process ends within `run_worker`."""
    with without_collection():
        from dicom_node.jobs import engine
        from dicom_node.jobs.worker import run_worker

    layout.check(settings.data_dir)
    if engine.DELIVER in queues:
        from dicom_node.audit import forward as audit_forward

        audit_forward.start(settings)
    if engine.INFER not in queues:
        run_worker(settings, queues)
    with without_collection():
        from dicom_node.inference.runner import SeriesRunner

    gc.freeze()
    runner = SeriesRunner(settings)
    runner.warm_up()
    run_worker(settings, queues, run_series=runner)
