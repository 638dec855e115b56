"""From a complete series to a queued job: routing, the manifest on disk, the job's identity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
import structlog
from pydicom.dataset import Dataset

from dicom_node.durable import sync_folder, write_durably
from dicom_node.jobs.job import SeriesJob, manifest_text
from dicom_node.observability import uid
from dicom_node.receive.completion import CompleteSeries
from dicom_node.settings import Settings
from models import registry
from pipeline.errors import NotRouted
from pipeline.identity import job_id
from pipeline.routing import Rule, route

log = structlog.get_logger("candela.handover")
UNROUTED = "none"
"""Stands in a job's id in place of a model's digest where no rule takes the series."""


class HandOver:
    """Gives each complete series to the jobs. Idempotent: the same revision handed over twice is one job.

    ``submit`` is `JobsClient.submit`. Runs in the receiver, which knows models by name and digest only.
    """

    def __init__(self, settings: Settings, submit: Callable[[SeriesJob], bool]) -> None:
        self._settings = settings
        self._submit = submit

    def __call__(self, series: CompleteSeries) -> None:
        """Queue ``series``; durable when this returns.

        Raises
        ------
        CandelaError, OSError
            where the database or disk cannot take it now, or the rule's model is unknown; call again later.
        """
        header = pydicom.dcmread(series.instances[0].path, stop_before_pixels=True)
        rule, refusal = self._route(header, series.calling_ae)
        digest = registry.get(rule.model, self._settings.models.folders).digest if rule else UNROUTED
        name = job_id(series.series_instance_uid, (item.sop_instance_uid for item in series.instances), digest)
        folder = self._settings.results_dir / name.replace(":", "_")
        job = SeriesJob(
            job_id=name,
            series_instance_uid=series.series_instance_uid,
            study_instance_uid=series.study_instance_uid,
            revision=series.revision,
            manifest=str(self._write_manifest(folder, series)),
            instances=len(series.instances),
            calling_ae=series.calling_ae,
            completion=series.reason,
            completed_at=series.completed_at.isoformat(),
            rule=rule.name if rule else None,
            model=rule.model if rule else None,
            destinations=rule.destinations if rule else (),
            priority=rule.priority if rule else "routine",
            refusal_code=refusal.code if refusal else None,
            refusal=str(refusal) if refusal else None,
        )
        new = self._submit(job)
        log.info(
            "series_handed_over",
            series=uid(series.series_instance_uid),
            revision=series.revision,
            instances=len(series.instances),
            rule=job.rule or "none",
            new=new,
        )

    def _route(self, header: Dataset, calling_ae: str) -> tuple[Rule | None, NotRouted | None]:
        try:
            return route(self._settings.rules, header, calling_ae), None
        except NotRouted as refusal:
            return None, refusal

    @staticmethod
    def _write_manifest(folder: Path, series: CompleteSeries) -> Path:
        """The list of the revision's files, beside which the results will stand."""
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
        path = (folder / "manifest.json").absolute()
        if not path.exists():
            write_durably(path, manifest_text(series.instances).encode())
        return path
