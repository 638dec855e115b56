"""Whose series it is, where its images or its study name two patients: what an operator sees, and what a choice makes.

Nothing here writes a log line: what the images say of their patients is for the operator's terminal alone.
"""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass, replace

from dicom_node.audit import Action, Activity, AuditRecord, AuditTrail, Outcome, Party
from dicom_node.durable import sync_folder, write_durably
from dicom_node.handover import read_header
from dicom_node.jobs.job import SeriesJob, StoredInstance, manifest_text, read_manifest
from dicom_node.jobs.status import JobDetail
from dicom_node.layout import located
from dicom_node.settings import Settings
from dicom_node.study_series import other_series
from models import registry
from pipeline.errors import CandelaError, MixedPatients, MixedStudies
from pipeline.identity import job_id
from pipeline.naming import named_by, text_of
from pipeline.subject import Group, contradiction, groups_of

VALUES = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber")
SHOWN, CHOSEN = "identities of a series shown", "identity of a series chosen"
"""What the audit trail calls them."""


class NoChoice(CandelaError):
    """No identity can be chosen for this job, or not this one."""

    code = "NO_CHOICE"


@dataclass(frozen=True)
class Identities:
    """How the images of a job's series differ in what they say of patient and study, and what its study says beside it.

    ``others`` are the study's other series that name another patient: Series Instance UID → why.
    """

    groups: tuple[Group, ...]
    others: dict[str, str]


def identities(detail: JobDetail, settings: Settings) -> Identities:
    """What the images of a job say.

    Raises
    ------
    NoChoice
        where they are no longer in the store.
    """
    job = detail.job
    headers = {
        item.sop_instance_uid: read_header(located(item.path, settings.data_dir)) for item in _stored(job, settings)
    }
    groups = groups_of(headers)
    paths = other_series(settings, job.study_instance_uid, job.series_instance_uid)
    compared = {
        series: next((why for group in groups if (why := contradiction(group.named, other))), "")
        for series, other in ((series, named_by(read_header(path))) for series, path in paths.items() if path.is_file())
    }
    return Identities(groups, {series: why for series, why in compared.items() if why})


def chosen(detail: JobDetail, sop_instance_uid: str, settings: Settings) -> SeriesJob:
    """The job that reads the series again under the identity of ``sop_instance_uid``; its manifest is on disk.

    The same choice makes the same job. What the first job was given (rule, destinations, priority) stays.

    Raises
    ------
    NoChoice
        where there is nothing to choose, no model to read it, or the instance is not of the series.
    BadModel
        where the model is gone.
    """
    job = detail.job
    instances = _stored(job, settings)
    _check(detail, instances, sop_instance_uid, settings)
    assert job.model is not None, "checked"
    digest = registry.get(job.model, settings.models.folders).digest
    name = job_id(job.series_instance_uid, (item.sop_instance_uid for item in instances), digest, sop_instance_uid)
    folder = settings.results_dir / name.replace(":", "_")
    folder.mkdir(parents=True, exist_ok=True)
    sync_folder(folder.parent)
    manifest = (folder / "manifest.json").absolute()
    if not manifest.exists():
        write_durably(manifest, manifest_text(instances).encode())
    return replace(
        job, job_id=name, manifest=str(manifest), refusal_code=None, refusal=None, identity_from=sop_instance_uid
    )


def audit(trail: AuditTrail, settings: Settings, job: SeriesJob, what: str, sop_instance_uid: str = "") -> None:
    """Record that the operator saw or chose whose series it is.

    Raises
    ------
    OutOfResources
        where it could not be written: it must then not be done.
    """
    trail.record(
        AuditRecord(
            Activity.ACCESSED,
            Action.UPDATE if sop_instance_uid else Action.READ,
            Outcome.SUCCESS,
            source=Party(settings.receive.ae_title, "node"),
            destination=Party(_user(), "user"),
            what=what,
            count=job.instances,
            studies=(job.study_instance_uid,),
            series=(job.series_instance_uid,),
            instances=(sop_instance_uid,) if sop_instance_uid else (),
            job=job.job_id,
        )
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a passwd entry for its user
        return f"uid {os.getuid()}"


def _stored(job: SeriesJob, settings: Settings) -> tuple[StoredInstance, ...]:
    manifest = located(job.manifest, settings.data_dir)
    instances = read_manifest(manifest) if manifest.is_file() else ()
    gone = [item for item in instances if not located(item.path, settings.data_dir).is_file()]
    if not instances or gone:
        raise NoChoice(
            "The images of this job are no longer in the store.", where=job.job_id, todo="Send the series again."
        )
    return instances


def _check(detail: JobDetail, instances: tuple[StoredInstance, ...], uid: str, settings: Settings) -> None:
    job = detail.job
    code = (detail.result and detail.result.refusal_code) or job.refusal_code
    if job.model is None:
        raise NoChoice("No model reads this series.", where=job.job_id, todo="`candela jobs show` says why.")
    if uid not in {item.sop_instance_uid for item in instances}:
        raise NoChoice(
            "The instance is not one of this job's series.",
            where=f"instance {uid}",
            todo="`candela jobs identity JOB` lists instances of it.",
        )
    if code == MixedStudies.code:
        raise NoChoice(
            "The images name two studies: no choice of a patient unites them.",
            where=job.job_id,
            todo="Correct the images at their source and send the series again.",
        )
    if code != MixedPatients.code and len(identities(detail, settings).groups) == 1:
        raise NoChoice("All images say the same of their patient.", where=job.job_id)


def values_of(job: SeriesJob, sop_instance_uid: str, settings: Settings) -> dict[str, str]:
    """What an instance says of patient and study, by DICOM keyword: for the operator's eyes alone."""
    item = next(item for item in _stored(job, settings) if item.sop_instance_uid == sop_instance_uid)
    header = read_header(located(item.path, settings.data_dir))
    return {keyword: text_of(header, keyword) for keyword in VALUES}
