"""An operator's choice of patient for a series whose images, or whose study, name two patients.

This module writes no log line: the identities in the images are for the operator's terminal alone.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

from dicom_node.audit.trail import ActionCode, Activity, AuditRecord, AuditTrail, OutcomeIndicator, Party
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.status import JobDetail
from dicom_node.jobs.withdrawn import withdrawn
from dicom_node.settings.tree import Settings
from dicom_node.store.durable import sync_folder, write_durably
from dicom_node.store.layout import located
from dicom_node.store.manifest import Manifest, StoredInstance, manifest_text, read_manifest, read_versions
from dicom_node.store.series_header import read_identity
from dicom_node.store.study_series import current_instances, other_series
from models import registry
from pipeline.errors import CandelaError, MixedPatients, MixedStudies
from pipeline.findings.identity import job_id
from pipeline.patient.naming import named_by, text_of
from pipeline.patient.subject import Group, contradiction, groups_of

VALUES = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber")
SHOWN, CHOSEN = "identities of a series shown", "identity of a series chosen"
AGAIN = "corrected series read again"
"""The names of these actions in the audit trail."""
ACTIONS = {SHOWN: ActionCode.READ, CHOSEN: ActionCode.UPDATE, AGAIN: ActionCode.EXECUTE}


class NoChoice(CandelaError):
    """No identity, or not this one, can be chosen for the job."""

    code = "NO_CHOICE"
    remedy = "See with `candela jobs identity JOB` which images there are, and choose one of them."


@dataclass(frozen=True)
class Identities:
    """How the images of a job's series differ in patient and study, and how the study's other series differ from them.

    ``others`` are the study's other series that name another patient: Series Instance UID → reason.
    """

    groups: tuple[Group, ...]
    others: dict[str, str]


def identities(detail: JobDetail, settings: Settings) -> Identities:
    """The identities in the images of a job, of every series that it reads.

    Raises
    ------
    NoChoice
        where the images are no longer in the store.
    """
    return identities_of(_stored(detail.job, settings, every=True), detail.job, settings)


def identities_of(instances: tuple[StoredInstance, ...], job: SeriesJob, settings: Settings) -> Identities:
    """The identities in ``instances``, of all series that the job reads."""
    places = {item.sop_instance_uid: located(item.path, settings.data_dir) for item in instances}
    headers = {sop_instance_uid: read_identity(path) for sop_instance_uid, path in places.items()}
    groups = groups_of(headers)
    paths = other_series(settings, job.study_instance_uid, job.series_instance_uid)
    read = {path.parent for path in places.values()}  # a companion is no other series
    others = {
        series: named_by(read_identity(path))
        for series, path in paths.items()
        if path.is_file() and path.parent not in read
    }
    compared = {
        series: next((why for group in groups if (why := contradiction(group.named, other))), "")
        for series, other in others.items()
    }
    return Identities(groups, {series: why for series, why in compared.items() if why})


def chosen(detail: JobDetail, sop_instance_uid: str, settings: Settings) -> SeriesJob:
    """The job that reads the series again under the identity of ``sop_instance_uid``; its manifest is on disk.

    The same choice makes the same job. Rule, destinations and priority stay those of the first job.

    Raises
    ------
    NoChoice
        where there is nothing to choose, no model reads the series, or the instance is not of the series.
    BadModel
        where the model is not installed.
    """
    job = detail.job
    instances = _stored(job, settings)
    _check(detail, instances, sop_instance_uid, settings)
    again = _job(job, instances, settings, identity_from=sop_instance_uid)
    return replace(again, identity_from=sop_instance_uid)


def corrected(detail: JobDetail, all_jobs: Iterable[JobDetail], settings: Settings) -> SeriesJob:
    """The job that reads a series again in its last received versions, after it was refused or its results were
    withdrawn; its manifest is on disk.

    A PACS corrects a patient, an order or a study under the same SOP Instance UIDs, which alone makes no new revision
    (ADR 3). ``all_jobs`` are those of the series.

    Raises
    ------
    NoChoice
        where the series was not refused for its patient or study and its results stand, it was read since, is gone,
        has not changed, or its study still names two patients.
    BadModel
        where the model is not installed.
    """
    job = detail.job
    refused = _code(detail) in (MixedPatients.code, MixedStudies.code)
    if not refused and withdrawn(job, settings) is None:
        raise NoChoice(
            "The series was not refused for its patient or study, and its results stand.",
            where=job.job_id,
            todo="If they are wrong, withdraw them first: `candela results withdraw JOB`.",
        )
    _refuse_several(job, settings)
    instances = current_instances(settings, job.series_instance_uid)
    if not instances:
        raise NoChoice("The series is no longer in the store.", where=job.job_id, todo="Send it again.")
    now = identities_of(instances, job, settings)
    if now.others:
        raise NoChoice(
            f"Other series of the study still name another patient: {', '.join(sorted(now.others))}.",
            where=job.job_id,
            todo="Correct them too, or state the patient of this one: `candela jobs identity JOB --right UID`.",
        )
    # A result's SOP Instance UID never has two contents: a series that was read is not read again, unless the results
    # were withdrawn: those of the next reading have other UIDs (`RunIdentity.withdrawn`).
    standing = [item for item in all_jobs if withdrawn(item.job, settings) is None]
    if any(_may_have_results(item, instances, settings) for item in standing):
        raise NoChoice(
            "The series was read since it was refused.", where=job.job_id, todo="`candela jobs list` shows the job."
        )
    before = {item.sha256 for item in _listed(job, settings)}
    changed = [item.sha256 for item in instances if item.sha256 not in before]
    if not refused and not changed:
        raise NoChoice(
            "No image of the series has changed since it was read.",
            where=job.job_id,
            todo="Correct the images at their source and send them again.",
        )
    header = read_identity(located(instances[0].path, settings.data_dir))
    again = _job(job, instances, settings, *changed)
    return replace(again, study_instance_uid=text_of(header, "StudyInstanceUID") or job.study_instance_uid)


def _may_have_results(detail: JobDetail, instances: tuple[StoredInstance, ...], settings: Settings) -> bool:
    """Whether this job made, or may still make, results with other content under the UIDs that follow from
    ``instances``.
    """
    if detail.job.identity_from is not None or detail.job.model is None or _code(detail) is not None:
        return False
    listed = {item.sop_instance_uid: item.sha256 for item in _listed(detail.job, settings)}
    wanted = {item.sop_instance_uid: item.sha256 for item in instances}
    return listed.keys() == wanted.keys() and listed != wanted


def _listed(job: SeriesJob, settings: Settings, *, every: bool = False) -> tuple[StoredInstance, ...]:
    """The instances that the job's manifest lists, or those of ``every`` series that it reads; none where a manifest
    was purged.
    """
    manifests = [located(path, settings.data_dir) for path in (job.manifests if every else (job.manifest,))]
    if not all(path.is_file() for path in manifests):
        return ()
    return tuple(item for path in manifests for item in read_manifest(path))


def _job(
    job: SeriesJob,
    instances: tuple[StoredInstance, ...],
    settings: Settings,
    *more: str,
    identity_from: str | None = None,
) -> SeriesJob:
    """``job`` for ``instances``, under an id of its own that includes ``more``; its manifest is on disk."""
    if job.model is None:
        raise NoChoice("No model reads this series.", where=job.job_id, todo="`candela jobs show` says why.")
    digest = registry.get(job.model, settings.models.folders).digest
    uids = (*(item.sop_instance_uid for item in instances), *more)
    name = job_id(job.series_instance_uid, uids, digest, identity_from)
    folder = settings.results_dir / name.replace(":", "_")
    folder.mkdir(parents=True, exist_ok=True)
    sync_folder(folder.parent)
    manifest = (folder / "manifest.json").absolute()
    if not manifest.exists():
        listed = located(job.manifest, settings.data_dir)
        before = read_versions(listed) if listed.is_file() else Manifest(())
        taken = {item.sha256 for item in instances}
        earlier = tuple(item for item in (*before.earlier, *before.instances) if item.sha256 not in taken)
        write_durably(manifest, manifest_text(instances, earlier, before.shared).encode())
    return replace(job, job_id=name, manifest=str(manifest), instances=len(instances), refusal_code=None, refusal=None)


def audit(trail: AuditTrail, settings: Settings, job: SeriesJob, what: str, sop_instance_uid: str = "") -> None:
    """Record that the operator saw the identities of a series, chose one, or had the series read again.

    Raises
    ------
    OutOfResources
        where the record could not be written: the action must then not take place.
    """
    trail.record(
        AuditRecord(
            Activity.ACCESSED,
            ACTIONS[what],
            OutcomeIndicator.SUCCESS,
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
    except (KeyError, OSError):  # in a container the user may have no passwd entry
        return f"uid {os.getuid()}"


def _stored(job: SeriesJob, settings: Settings, *, every: bool = False) -> tuple[StoredInstance, ...]:
    instances = _listed(job, settings, every=every)
    gone = [item for item in instances if not located(item.path, settings.data_dir).is_file()]
    if not instances or gone:
        raise NoChoice(
            "The images of this job are no longer in the store.", where=job.job_id, todo="Send the series again."
        )
    return instances


def _code(detail: JobDetail) -> str | None:
    """The refusal's code, from the dispatch or the worker."""
    return detail.job.refusal_code or (detail.result.refusal_code if detail.result else None)


def _check(detail: JobDetail, instances: tuple[StoredInstance, ...], uid: str, settings: Settings) -> None:
    job = detail.job
    code = _code(detail)
    _refuse_several(job, settings)
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
            "The images name two studies: no choice of patient makes them one.",
            where=job.job_id,
            todo="Correct the images at their source and send the series again.",
        )
    if code != MixedPatients.code and len(identities(detail, settings).groups) == 1:
        raise NoChoice("All images name the same patient.", where=job.job_id)


def _refuse_several(job: SeriesJob, settings: Settings) -> None:
    """Refuse a job over several series, and one that was refused before the model's series were chosen."""
    model = job.model
    if model is None and job.refusal_code == MixedPatients.code:
        rule = next((rule for rule in settings.rules if rule.name == job.rule), None)
        model = rule.model if rule and registry.get(rule.model, settings.models.folders).channel_names else None
    elif not job.companions:
        return
    if model is not None:
        raise NoChoice(
            f"The model {model} reads several series of the study.",
            where=job.job_id,
            todo=f"`candela process STUDY --out DIR --model {model} --identity UID` reads the study under one patient.",
        )


def values_of(job: SeriesJob, sop_instance_uid: str, settings: Settings) -> dict[str, str]:
    """The patient and study of an instance, by DICOM keyword; only for the operator's eyes."""
    item = next(item for item in _stored(job, settings, every=True) if item.sop_instance_uid == sop_instance_uid)
    header = read_identity(located(item.path, settings.data_dir))
    return {keyword: text_of(header, keyword) for keyword in VALUES}
