"""Withdraws the results of a job from every destination that may have them (docs/adr/0067-results-are-withdrawn.md).

The node first writes a record of the withdrawal to disk: from then on it sends no result of the job. Each destination
gets the withdrawal as a delivery of its own, with the queue, the retries and the audit lines of results. A second call
goes on where a first one stopped, and sends the same to the same destinations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from dicom_node.audit.trail import ActionCode, Activity, AuditRecord, OutcomeIndicator, Party, open_trail
from dicom_node.deliver.deidentified import SOURCE_IMAGES
from dicom_node.jobs.client import JobsClient
from dicom_node.jobs.delivery import DeliveryJob
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import REJECTION, WITHDRAWAL, WITHDRAWALS, ResultRef
from dicom_node.jobs.status import DeliveryRow, DeliveryState, JobDetail
from dicom_node.jobs.withdrawn import record_of, withdrawn
from dicom_node.settings.destinations import FolderDestination
from dicom_node.settings.tree import Settings
from dicom_node.store.durable import write_durably
from dicom_node.store.layout import located
from pipeline.errors import CandelaError
from pipeline.report.stored import EARLIER_FILENAME
from pipeline.report.stored import FILENAME as CONTENT
from pipeline.report.withdrawal import WHY_MOST, Reason, Withdrawal

BUNDLE: Final = "fhir-bundle.json"
"""The report of a run of version 0.1, which stored no content."""
WHAT: Final = "results withdrawn"
"""The name of the action in the audit trail."""
IN_FLIGHT_WAITS: Final = 2.0
"""Waits of a sender, of ``timeout`` seconds each, that a delivery in flight is given to end."""
NEVER: Final = frozenset({DeliveryState.HELD, DeliveryState.SUPERSEDED})


class NotWithdrawn(CandelaError):
    """The job has no results that could be withdrawn."""

    code = "NOT_WITHDRAWN"
    remedy = "See with `candela jobs show JOB` what was sent."


@dataclass(frozen=True)
class Withdrawing:
    """``before``: the results had been withdrawn by an earlier call, whose reason stays. ``told`` are the deliveries
    (result, destination) that tell it.
    """

    withdrawal: Withdrawal
    before: bool
    told: tuple[tuple[str, str], ...]


def one_line(why: str) -> str:
    """``why`` as it is passed on: printable characters, at most `WHY_MOST`.

    Raises
    ------
    NotWithdrawn
        where nothing is left, or it is too long.
    """
    text = " ".join("".join(mark if mark.isprintable() else " " for mark in why).split())
    if not text:
        raise NotWithdrawn("The withdrawal states no reason.", todo="Say why: --why TEXT.")
    if len(text) > WHY_MOST:
        raise NotWithdrawn(f"The reason has {len(text)} characters, at most {WHY_MOST} are passed on.", where="--why")
    return text


def withdraw(
    client: JobsClient, settings: Settings, job_id: str, *, reason: Reason, why: str, by: Party
) -> Withdrawing:
    """Withdraw the results of the job ``job_id``; durable when this returns, and safe to repeat.

    Raises
    ------
    NoSuchJob
        where there is no such job.
    NotWithdrawn
        where nothing of it can have reached a destination, or its results are no longer on this disk.
    OutOfResources
        where the record or the audit trail cannot be written: nothing is withdrawn then.
    """
    detail = client.show(job_id)
    before = withdrawn(detail.job, settings)
    if before is None:
        sent = _targets(detail, settings)
        if not sent:
            raise _nothing(detail)
        _refuse_missing(sent, detail, settings)
        withdrawal = Withdrawal(job_id, reason, one_line(why), datetime.now(UTC).replace(microsecond=0), by.name)
        _audit(detail.job, settings, reason, by)
        write_durably(record_of(detail.job, settings), withdrawal.to_json())
    else:
        withdrawal = before
    _stop(client, detail)
    # Again, since a delivery may have begun before the record was there.
    deliveries = _targets(client.show(job_id), settings)
    sending = {row.destination for row in detail.deliveries if row.state is DeliveryState.RUNNING}
    for item in deliveries:
        client.send(item, delay=_overtaken_by(item.destination, settings) if item.destination in sending else None)
    told = tuple((item.result.name, item.destination) for item in deliveries)
    return Withdrawing(withdrawal, before is not None, told)


def _overtaken_by(destination: str, settings: Settings) -> float:
    """Seconds after which a result that is being sent now has arrived: what withdraws it must not overtake it."""
    return IN_FLIGHT_WAITS * float(getattr(settings.destinations.get(destination), "timeout", 1.0))


def _stop(client: JobsClient, detail: JobDetail) -> None:
    """Cancel what is still to be sent, unless withdrawals are on their way already."""
    if not any(row.result in WITHDRAWALS for row in detail.deliveries):
        client.cancel(detail.job.job_id)


def _targets(detail: JobDetail, settings: Settings) -> tuple[DeliveryJob, ...]:
    """One delivery for each destination, and kind of result, that something of the job may have reached."""
    begun = [row for row in detail.deliveries if _may_have_arrived(row)]
    names = dict.fromkeys(row.destination for row in begun)
    return tuple(
        DeliveryJob(detail.job, result, name)
        for name in names
        for result in _results(detail, settings, name, {row.result for row in begun if row.destination == name})
    )


def _may_have_arrived(row: DeliveryRow) -> bool:
    return (
        row.result not in WITHDRAWALS
        and row.result != SOURCE_IMAGES
        and row.state not in NEVER
        and row.tries.attempts > 0
    )


def _results(detail: JobDetail, settings: Settings, destination: str, sent: set[str]) -> Iterator[ResultRef]:
    """What withdraws the results called ``sent`` from ``destination``."""
    record = str(record_of(detail.job, settings))
    results = [item for item in (detail.result.results if detail.result else ()) if item.name in sent]
    objects = tuple(file for item in results if item.kind == "dicom" for file in item.files)
    if objects:
        yield ResultRef(REJECTION, "dicom", (*objects, record))
    report = next((item for item in results if item.kind != "dicom"), None)
    if report is None:
        return
    if isinstance(settings.destinations.get(destination), FolderDestination):
        yield ResultRef(WITHDRAWAL, report.kind, (record,))
        return
    content = tuple(file for file in report.files if file.endswith((CONTENT, EARLIER_FILENAME, BUNDLE)))
    yield ResultRef(WITHDRAWAL, report.kind, (*content, record))


def _refuse_missing(deliveries: tuple[DeliveryJob, ...], detail: JobDetail, settings: Settings) -> None:
    """Refuse what retention has removed: nobody could say any more what the results were."""
    record = record_of(detail.job, settings)
    files = {located(name, settings.data_dir) for item in deliveries for name in item.result.files} - {record}
    gone = [path for path in files if not path.is_file()]
    if gone:
        raise NotWithdrawn(
            f"{len(gone)} of {len(files)} result files are no longer on this disk: the rejection cannot name them.",
            where=detail.job.job_id,
            todo="Reject the results at the PACS and the EHR, or send the series again and withdraw its new results.",
        )


def _nothing(detail: JobDetail) -> NotWithdrawn:
    waiting = any(row.state in (DeliveryState.PENDING, DeliveryState.HELD) for row in detail.deliveries)
    if waiting or detail.result is None:
        todo = "`candela jobs cancel JOB` stops what waits."
    else:
        todo = "There is nothing to do: the results never left this node."
    return NotWithdrawn("Nothing of this job was sent to any destination.", where=detail.job.job_id, todo=todo)


def _audit(job: SeriesJob, settings: Settings, reason: Reason, by: Party) -> None:
    open_trail(settings).record(
        AuditRecord(
            Activity.ACCESSED,
            ActionCode.UPDATE,
            OutcomeIndicator.SUCCESS,
            source=Party(settings.receive.ae_title, "node"),
            destination=by,
            what=f"{WHAT} ({reason})",
            studies=(job.study_instance_uid,),
            series=(job.series_instance_uid,),
            job=job.job_id,
        )
    )
