"""Which troubles there are now, without patient data."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from dicom_node.jobs.circuits import Circuit, CircuitState
from dicom_node.jobs.engine import INFER, deliver_queue
from dicom_node.jobs.measures import EndedReading, Measures
from dicom_node.network import certificates
from dicom_node.settings.notify import NotifyEvent, NotifyRule
from dicom_node.settings.tree import Settings
from dicom_node.store.disk import Disk
from dicom_node.store.layout import located
from pipeline.findings.model import Outcome

HYSTERESIS = 0.02
"""Fraction of the disk by which its level must fall below the mark before the trouble ends."""


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong now, or one finding.

    ``subject`` names the destination, queue, file, disk or job; ``text`` is one sentence; ``weight`` grows as the
    trouble does; ``path`` is that of the dashboard's page. ``model`` and ``answer`` (the predicted class) are of a
    finding.
    """

    event: NotifyEvent
    subject: str
    text: str
    weight: int = 1
    path: str = ""
    model: str = ""
    answer: str = ""

    @property
    def key(self) -> str:
        return f"{self.event}:{self.subject}"

    @property
    def lasts(self) -> bool:
        """Whether it ends some time; a finding does not."""
        return self.event is not NotifyEvent.FINDING

    def concerns(self, rule: NotifyRule) -> bool:
        """Whether ``rule`` takes it."""
        if self.event not in rule.events:
            return False
        if self.event is NotifyEvent.FINDING:
            return (not rule.models or self.model in rule.models) and (not rule.classes or self.answer in rule.classes)
        if self.event in (NotifyEvent.DESTINATION_DOWN, NotifyEvent.DEAD_LETTER) and rule.destinations:
            return self.subject in rule.destinations
        return True


def of_engine(measures: Measures, settings: Settings) -> Iterator[Trouble]:
    """Destinations that are down, and dead letters by destination. Raises PeerUnavailable."""
    for circuit in measures.circuits():
        if circuit.state is not CircuitState.CLOSED:
            yield _down(circuit)
    names = {deliver_queue(name): name for name in settings.destinations}
    for queue, codes in measures.dead_letters().items():
        subject = "inference" if queue == INFER else names.get(queue, queue.partition(":")[2])
        listed = ", ".join(f"{code} ({number})" for code, number in codes.most_common(5))
        text = f"{codes.total()} dead letter(s) wait for an operator at {subject}: {listed}."
        yield Trouble(NotifyEvent.DEAD_LETTER, subject, text, codes.total(), "/?state=failed")


def of_machine(settings: Settings, now: datetime, known: Collection[str]) -> Iterator[Trouble]:
    """The disk and the certificates; ``known`` are the keys of troubles that last."""
    notify = settings.notify
    disk = Trouble(NotifyEvent.DISK, "data_dir", "")
    try:
        used = Disk(settings.data_dir, settings.retention).used
    except OSError:
        used = 1.0
    if used > notify.disk_above - (HYSTERESIS if disk.key in known else 0.0):
        text = (
            f"The disk of data_dir is {used:.0%} full. The node rejects senders above"
            f" {settings.retention.refuse_above:.0%}."
        )
        yield Trouble(NotifyEvent.DISK, "data_dir", text)
    for file, end in certificates.expiries(settings).items():
        left = (end - now).total_seconds() / 86400
        if end.timestamp() == 0:
            yield Trouble(NotifyEvent.CERTIFICATE, file, f"The certificate {file} cannot be read.", weight=3)
        elif left < 0:
            yield Trouble(NotifyEvent.CERTIFICATE, file, f"The certificate {file} expired on {end:%Y-%m-%d}.", weight=2)
        elif left < notify.certificate_days:
            yield Trouble(NotifyEvent.CERTIFICATE, file, f"The certificate {file} expires on {end:%Y-%m-%d}.")


def finding(item: EndedReading, settings: Settings) -> Trouble | None:
    """The finding of a STAT study in ``item``; None where there is none."""
    job, result = item.job, item.result
    if job.priority != "stat" or result is None or result.outcome is not Outcome.FINDING:
        return None
    answer = ""
    if result.summary is not None:
        try:
            summary = json.loads(located(result.summary, settings.data_dir).read_bytes())
        except (OSError, ValueError):  # removed since
            summary = {}
        answer = str(summary.get("predicted_class") or "")
    what = f", {answer.replace('_', ' ')}" if answer else ""
    text = f"STAT job {job.job_id}: {job.model} answers finding{what}. Unverified, not for diagnosis."
    path = f"/studies/{job.study_instance_uid}"
    return Trouble(NotifyEvent.FINDING, job.job_id, text, path=path, model=job.model or "", answer=answer)


def _down(circuit: Circuit) -> Trouble:
    text = f"Destination {circuit.destination} cannot be reached ({circuit.code or 'no answer'}). Its results wait."
    return Trouble(NotifyEvent.DESTINATION_DOWN, circuit.destination, text, path="/destinations")
