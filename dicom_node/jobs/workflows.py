"""The two durable workflows: one reads a series, the other sends one result to one destination.

A step returns a value even where it fails, so that the database records why and a replay is cheap. No workflow waits: a
retry is a new, delayed workflow, and its slot is free meanwhile. A step may run twice, which does no harm: names and
UIDs are deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
import structlog
from dbos import DBOS, PortableWorkflowError

from dicom_node.audit.trail import AuditRecord, open_trail
from dicom_node.backoff import delay
from dicom_node.deliver.audited import delivery_record
from dicom_node.deliver.deidentified import SOURCE_IMAGES, copies, is_document, source_images
from dicom_node.deliver.rejection import note_of
from dicom_node.deliver.senders import Closer, Sender, privacy, takes
from dicom_node.jobs import engine, holding
from dicom_node.jobs.closing import GIVEN_UP, closing_of
from dicom_node.jobs.delivery import DeliveryJob
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import CLOSING, WITHDRAWALS, Failure, ResultRef, SeriesResult, StepState
from dicom_node.jobs.withdrawn import WITHDRAWN, withdrawn
from dicom_node.observability.log import uid
from dicom_node.settings.destinations import Destination
from dicom_node.settings.tree import Settings
from dicom_node.store.layout import located
from dicom_node.store.manifest import read_manifest
from pipeline.errors import Broken, NotYet, OutOfResources, PeerBusy, PeerUnavailable, Rejected
from pipeline.findings.model import Outcome
from pipeline.report.withdrawal import withdrawal_in

log = structlog.get_logger("candela.jobs")

SERIES_CRASHES = 5
"""A series whose reading killed the process this often becomes a dead letter."""
DELIVERY_CRASHES = 20


class RunSeries(Protocol):
    """Reads one series, writes its results atomically under deterministic names, and returns their paths.

    Raises
    ------
    Retryable
        the job is tried again later; any other exception makes it a dead letter. A refusal is returned, not raised.
    """

    def __call__(self, job: SeriesJob) -> SeriesResult: ...


MakeSender = Callable[[str, Destination], Sender]
"""The sender for a destination, by the name that the settings give it."""


class CircuitBreaker(Protocol):
    """Records whether destinations can be reached; implemented by `dicom_node.jobs.circuits.Circuits`."""

    def failed(self, destination: str, code: str, /) -> None: ...

    def answered(self, destination: str, /) -> None: ...


def dead_letter(failure: Failure) -> PortableWorkflowError:
    """The error that ends a dead letter's workflow; the database stores all of ``failure`` with it."""
    return PortableWorkflowError(failure.text, "DeadLetter", failure.code, failure.to_dict())


def register_series(settings: Settings, run_series: RunSeries) -> None:
    """Register the workflow that reads series in this process."""

    def infer(job: dict[str, Any]) -> dict[str, Any]:
        what = SeriesJob.from_dict(job)
        try:
            result = run_series(what)
            # Decided within the step, so that a replay under changed settings enqueues the same deliveries.
            deliveries = [delivery.to_dict() for delivery in fan_out(what, result, settings)]
            wait = holding.remaining(what, result.outcome, settings)
            if wait > 0:
                holding.hold(what, settings)
            return {"result": result.to_dict(), "deliveries": deliveries, "hold": wait}
        except Exception as error:  # noqa: BLE001  (the boundary: every exception of a reading must become a value)
            return {"failure": Failure.of(error).to_dict()}

    @DBOS.workflow(name=engine.SERIES_WORKFLOW, max_recovery_attempts=SERIES_CRASHES)
    def series(job: dict[str, Any], attempt: int, last: int) -> dict[str, Any]:
        step = DBOS.run_step({"name": "infer"}, infer, job)
        what = SeriesJob.from_dict(job)
        if "failure" in step:
            failure = Failure.from_dict(step["failure"])
            if not failure.again or attempt >= last:
                log.error("series_dead", job=uid(what.job_id), attempt=attempt, code=failure.code)
                raise dead_letter(failure)
            wait = delay(attempt, what.job_id, settings.jobs, failure.retry_after)
            DBOS.enqueue_workflow_with_options(
                engine.series_options(what, attempt + 1, delay=wait), job, attempt + 1, last
            )
            log.warning("series_retry", job=uid(what.job_id), attempt=attempt, code=failure.code, wait_s=round(wait, 1))
            return {"state": StepState.RETRY.value, "failure": failure.to_dict()}
        hold = step.get("hold") or None  # a step of an earlier version has none
        for data in step["deliveries"]:
            item = DeliveryJob.from_dict(data)
            options = engine.delivery_options(
                what, item.result.name, item.destination, 1, settings.destinations, delay=hold
            )
            DBOS.enqueue_workflow_with_options(options, data, 1, settings.jobs.delivery_tries)
        outcome = step["result"]["outcome"]
        log.info("series_done", job=uid(what.job_id), attempt=attempt, outcome=outcome, held_s=round(hold or 0.0, 1))
        return {"state": StepState.DONE.value, "result": step["result"]}


def register_delivery(settings: Settings, make_sender: MakeSender, circuit: CircuitBreaker) -> None:
    """Register the workflow that sends results in this process."""
    trail = open_trail(settings)

    def send(delivery: dict[str, Any]) -> dict[str, Any]:
        item = DeliveryJob.from_dict(delivery)
        try:
            if unwanted := _unwanted(item, settings):
                return {"superseded": unwanted}
            receipt = _send(item, settings, make_sender, circuit)
            # If this fails, the result is sent again, which does no harm: its identifiers are deterministic.
            trail.record(_audit_record(item, settings))
        except NotYet as error:
            return {"failure": Failure.of(error).to_dict()}
        except Exception as error:  # noqa: BLE001  (the boundary: every exception of a sender must become a value)
            failure = Failure.of(error)
            try:
                trail.record(_audit_record(item, settings, failure))
            except OutOfResources as unrecorded:
                log.error("audit_failed", job=uid(item.job.job_id), code=unrecorded.code)  # noqa: TRY400
            return {"failure": failure.to_dict()}
        return {"receipt": receipt}

    @DBOS.workflow(name=engine.DELIVERY_WORKFLOW, max_recovery_attempts=DELIVERY_CRASHES)
    def delivery(what: dict[str, Any], attempt: int, last: int) -> dict[str, Any]:
        step = DBOS.run_step({"name": "send"}, send, what)
        item = DeliveryJob.from_dict(what)
        job, name, destination = item.job, item.result.name, item.destination
        about = {"job": uid(job.job_id), "result": name, "destination": destination, "attempt": attempt}
        if "superseded" in step:
            log.info("delivery_superseded", **about)
            return {"state": StepState.SUPERSEDED.value, "receipt": step["superseded"]}
        if "failure" not in step:
            log.info("delivered", **about, receipt=step["receipt"])
            _follow(item, settings)
            return {"state": StepState.DONE.value, "receipt": step["receipt"]}
        return _again(item, Failure.from_dict(step["failure"]), attempt, last, settings)


def _again(item: DeliveryJob, failure: Failure, attempt: int, last: int, settings: Settings) -> dict[str, Any]:
    """Queue, within the workflow of a failed delivery, the next attempt; its end where there is none.

    Raises
    ------
    PortableWorkflowError
        the dead letter.
    """
    job, name, destination = item.job, item.result.name, item.destination
    about = {"job": uid(job.job_id), "result": name, "destination": destination, "attempt": attempt}
    if failure.code == NotYet.code and attempt >= last:
        log.info("draft_stays", **about)
        return {"state": StepState.DONE.value, "receipt": GIVEN_UP}
    if not failure.again or attempt >= last:
        log.error("delivery_dead", **about, code=failure.code)
        raise dead_letter(failure)
    wait = delay(attempt, f"{job.job_id}|{name}|{destination}", settings.jobs, failure.retry_after)
    options = engine.delivery_options(job, name, destination, attempt + 1, settings.destinations, delay=wait)
    DBOS.enqueue_workflow_with_options(options, item.to_dict(), attempt + 1, last)
    log.warning("delivery_retry", **about, code=failure.code, wait_s=round(wait, 1))
    return {"state": StepState.RETRY.value, "failure": failure.to_dict()}


def _unwanted(item: DeliveryJob, settings: Settings) -> str | None:
    """Why a delivery must not be sent any more; None where it may be."""
    if item.result.name not in WITHDRAWALS and withdrawn(item.job, settings):
        return WITHDRAWN
    if item.provisional and not holding.may_leave(item.job, settings):
        return holding.SUPERSEDED
    return None


def _follow(item: DeliveryJob, settings: Settings) -> None:
    """Queue, within its workflow, what follows a delivery."""
    follows = closing_of(item, settings)
    if follows is None:
        return
    look, wait, tries = follows
    options = engine.delivery_options(
        look.job, look.result.name, look.destination, 1, settings.destinations, delay=wait
    )
    DBOS.enqueue_workflow_with_options(options, look.to_dict(), 1, tries)


def fan_out(job: SeriesJob, result: SeriesResult, settings: Settings) -> tuple[DeliveryJob, ...]:
    """One delivery for each result and each destination of the job that takes it.

    A destination that the settings no longer name gets all results: its deliveries become dead letters, which an
    operator sees. A destination for research that asks for the source images gets them with the results.
    """
    refused = result.outcome is Outcome.REFUSED
    known = settings.destinations
    images = ResultRef(SOURCE_IMAGES, "dicom", job.manifests)
    return tuple(
        DeliveryJob(job, item, name, provisional=result.outcome in holding.HELD)
        for name in job.destinations
        for item in (*result.results, *([images] if not refused and _wants_images(name, settings) else []))
        if name not in known
        or (takes(known[name], item.kind, item.profiles) and (not refused or settings.wants_refusals(name)))
    )


def _wants_images(name: str, settings: Settings) -> bool:
    destination = settings.destinations.get(name)
    asked = privacy(destination) if destination else None
    return asked is not None and asked.source_images


def _audit_record(item: DeliveryJob, settings: Settings, failure: Failure | None = None) -> AuditRecord:
    return delivery_record(
        settings.receive.ae_title,
        item.destination,
        settings.destinations.get(item.destination),
        what=item.result.name,
        count=_count(item, settings),
        study=item.job.study_instance_uid,
        series=item.job.series_instance_uid,
        job=item.job.job_id,
        failure=(failure.code, failure.again) if failure else None,
    )


def _count(item: DeliveryJob, settings: Settings) -> int:
    """Number of instances or reports in a delivery."""
    if item.result.name == SOURCE_IMAGES:
        manifests = (located(path, settings.data_dir) for _, path in item.job.companions)
        return item.job.instances + sum(len(read_manifest(path)) for path in manifests if path.is_file())
    return len(item.result.files) if item.result.kind == "dicom" and item.result.name not in WITHDRAWALS else 1


def _send(delivery: DeliveryJob, settings: Settings, make_sender: MakeSender, circuit: CircuitBreaker) -> str:
    destination = settings.destinations.get(delivery.destination)
    if destination is None:
        raise Rejected(
            "There is no such destination.",
            where=f"destinations.{delivery.destination}",
            todo="Put it back into candela.toml, restart the workers, then `candela jobs retry`.",
        )
    if not takes(destination, delivery.result.kind):
        return f"nothing sent: a {destination.kind} destination does not take {delivery.result.kind} results"
    files = tuple(located(name, settings.data_dir) for name in delivery.result.files)
    gone = [path for path in files if not path.is_file()]
    if gone and delivery.result.name == CLOSING:
        return "nothing closed: the results are no longer on this disk"
    if gone:
        raise Broken(f"{len(gone)} of {len(files)} result files are gone.", where=str(Path(gone[0])))
    asked = privacy(destination)
    withdrawal = withdrawal_in(files)
    if withdrawal is not None and delivery.result.kind == "dicom":
        files = (note_of(files, withdrawal, delivery.destination, settings.uid_root, with_why=asked is None),)
    if asked is not None:
        manifest = located(delivery.job.manifest, settings.data_dir)
        if delivery.result.name == SOURCE_IMAGES:
            files = tuple(path for listed in files for path in source_images(listed, settings.data_dir))
        if any(is_document(path) for path in files):
            return "nothing sent: the pages of a document may name the patient"
        key = asked.key.get_secret_value().encode()
        files = copies(files, manifest, settings.data_dir, key, delivery.job.identity_from)
    with _noted(delivery.destination, circuit):
        sender = make_sender(delivery.destination, destination)
        if delivery.result.name != CLOSING:
            return sender.send(files)
        return (
            sender.close(files) if isinstance(sender, Closer) else "nothing closed: the destination is no FHIR server"
        )


@contextmanager
def _noted(destination: str, circuit: CircuitBreaker) -> Iterator[None]:
    """Tell the circuit breaker whether the destination answered. A failure on our side says nothing about it."""
    try:
        yield
    except PeerUnavailable as error:
        _tell(circuit.failed, destination, error.code)
        raise
    except (PeerBusy, NotYet, Rejected):
        _tell(circuit.answered, destination)
        raise
    _tell(circuit.answered, destination)


def _tell(tell: Callable[..., None], *about: str) -> None:
    try:
        tell(*about)
    except sa.exc.DBAPIError as error:  # the delivery itself succeeded; the next one will tell the circuit breaker
        log.warning("circuit_not_noted", error=type(error).__name__)
