"""Runs the pipeline over a series, and for the workers over stored series.

`candela process` enters at `dicom_node.inference.process_path`, which checks the headers before it imports this module.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from dicom_node.inference.lineage import NO_LINEAGE, Lineage, lineage_of
from dicom_node.inference.output import SUMMARY, write_refusal, write_results
from dicom_node.inference.reading_time import first_reading
from dicom_node.inference.refusals import refusal_page
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import REFUSAL, ResultRef, SeriesResult
from dicom_node.observability.log import uid
from dicom_node.settings.tree import Settings
from dicom_node.store.durable import write_durably
from dicom_node.store.layout import located
from dicom_node.store.manifest import StoredInstance, read_versions
from models import registry
from models.residents import Residents
from models.runtime import load_model
from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import Broken, Refused
from pipeline.findings.identity import RunIdentity, instances_digest
from pipeline.findings.model import Outcome
from pipeline.ports import ChannelModel, Progress, SeriesModel
from pipeline.process import Processed, process
from pipeline.reading.files import Series, read_parts
from pipeline.report.content import ReportContent, content_of_refusal, whole_seconds
from pipeline.report.findings import Refusal
from pipeline.report.sentences import Language
from pipeline.report.stored import FILENAME, page_filename, to_json
from pipeline.results.profile import Profile
from pipeline.results.result_object import ResultObject
from pipeline.summary import refusal_summary

log = structlog.get_logger("candela.inference")

HL7V2 = "hl7v2-report"
"""The result from which HL7 v2 messages are built."""


class SeriesRunner:
    """The work of an inference worker on a job: read the stored series, run the model, write the results to disk.

    Models are loaded when first needed and stay resident within ``models.memory``. A job whose worker died runs again
    from its manifest: the results get the same UIDs, bytes and time of reading, and replace what the dead worker wrote.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], datetime] | None = None) -> None:
        self._settings = settings
        self._clock = clock or settings.now
        self._model = Residents(self._load, self._weights, int(settings.models.memory))

    def warm_up(self) -> None:
        """Load the models that the rules name, as many as fit, so that the first series does not wait for a model."""
        for name in sorted({rule.model for rule in self._settings.rules if rule.enabled}):
            if self._model.fits(name):
                self._model(name)

    def __call__(self, job: SeriesJob) -> SeriesResult:
        """Run ``job`` and return its results; a refusal is a result.

        Raises
        ------
        Retryable
            where this machine lacks resources.
        Broken
            where a stored file is not what was acknowledged, or the model or a result failed.
        """
        manifest = located(job.manifest, self._settings.data_dir)
        out = manifest.parent
        bound = log.bind(series=uid(job.series_instance_uid), revision=job.revision)
        start = time.monotonic()
        if job.model is None or job.refusal_code is not None:
            result = _refused(job.refusal_code or "NOT_ROUTED", job.refusal or "", out, job)
            bound.info("series_not_read", code=result.refusal_code)
            return result
        series, companions = None, {}
        began = first_reading(out, self._clock)
        try:
            series = self._read(manifest)
            companions = {
                channel: self._read(located(path, self._settings.data_dir)) for channel, path in job.companions
            }
            model = self._model(job.model)
            profiles = self._settings.profiles_of(job.destinations)
            lineage = NO_LINEAGE if job.identity_from else lineage_of(job, out)
            summary = run(
                series,
                model,
                out,
                self._settings,
                began,
                _silent,
                profiles,
                pacs=self._settings.pacs_of(job.destinations),
                lineage=lineage,
                identity_from=job.identity_from,
                revision=job.revision,
                expected=job.expected,
                companions=companions,
                channels=_channels(model, series, companions),
                assess_at=self._settings.web.assessment_url(job.job_id),
            )
        except Refused as refusal:
            bound.info("series_refused", code=refusal.code)
            return self._refused(refusal, series, out, job, tuple(companions.values()), began)
        bound.info("series_read", outcome=summary["outcome"], seconds=round(time.monotonic() - start, 2))
        return SeriesResult(Outcome(summary["outcome"]), str(out / SUMMARY), _results(summary, out))

    def _refused(
        self,
        refusal: Refused,
        series: Series | None,
        out: Path,
        job: SeriesJob,
        companions: tuple[Series, ...],
        began: datetime,
    ) -> SeriesResult:
        """The refusal, with its page for destinations that want refusals; no page where the series cannot be read."""
        wanted = {name for name in job.destinations if self._settings.wants_refusals(name)}
        kinds = {self._settings.destinations[name].kind for name in wanted}
        page: tuple[ResultObject, ...] = ()
        if series is not None and kinds - {"fhir"}:
            page = refusal_page(
                series,
                self._model(str(job.model)).identity,
                refusal,
                self._settings.uid_root,
                job.identity_from,
                companions,
                began=began,
            )
        result = _refused(refusal.code, str(refusal), out, job, page)
        content = (
            self._content_of(refusal, series, job, companions, began)
            if series is not None and "fhir" in kinds
            else None
        )
        if content is None:
            return result
        write_durably(out / FILENAME, to_json(content))
        files = (str(out / FILENAME),)
        reports = (ResultRef("fhir-bundle", "fhir", files), ResultRef(HL7V2, "hl7v2", files))
        return replace(result, results=(*result.results, *reports))

    def _content_of(
        self, refusal: Refused, series: Series, job: SeriesJob, companions: tuple[Series, ...], began: datetime
    ) -> ReportContent | None:
        """None where the header does not name the study, or the images name two patients or studies."""
        assert job.model is not None, "a rule gave the series to a model"
        model = self._model(job.model).identity
        run = RunIdentity(
            job.series_instance_uid,
            instances_digest(uid for one in (series, *companions) for uid in one.sop_instance_uids),
            model.digest,
            self._settings.uid_root,
            identity_from=job.identity_from,
            began=whole_seconds(began).isoformat(),
        )
        try:
            return content_of_refusal(
                series,
                Refusal(refusal.code, str(refusal)),
                model,
                run,
                recorded=began,
                revision=job.revision,
                companions=companions,
            )
        except (Refused, AttributeError, ValueError):
            return None

    def _weights(self, name: str) -> int:
        entry = registry.get(name, self._settings.models.folders)
        return sum(path.stat().st_size for path in entry.weights)

    def _load(self, name: str) -> SeriesModel:
        models = self._settings.models
        return load_model(name, folders=models.folders, device=models.device, time_limit=models.time_limit)

    def _read(self, path: Path) -> Series:
        manifest = read_versions(path)
        series = read_parts(
            map(self._content, manifest.instances),
            where=str(path.parent),
            earlier=map(self._content, manifest.earlier),
        )
        return replace(series, caveats=(*series.caveats, *_shared(manifest.shared)))

    def _content(self, item: StoredInstance) -> tuple[str, bytes]:
        path = located(item.path, self._settings.data_dir)
        if not path.is_file():
            raise Broken("A received instance is gone from the store.", where=item.path, todo="Restore it.")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != item.sha256:
            raise Broken(
                "A stored file differs from what was acknowledged: the disk damaged it.",
                where=item.path,
                todo="Check the disk, then have the sender send the instance again, or restore the file.",
            )
        return item.path, data


def _channels(model: SeriesModel, first: Series, companions: Mapping[str, Series]) -> list[dict[str, str]] | None:
    """Which series fills which channel, for the summary; None for a model of one series, or of radiographs."""
    if not companions or not isinstance(model, ChannelModel) or not model.channels:
        return None
    filled = {model.channels[0].name: first, **companions}
    return [
        {"channel": name, "series_instance_uid": str(series.header.SeriesInstanceUID)}
        for name, series in filled.items()
    ]


def _shared(count: int) -> tuple[Caveat, ...]:
    """The caveat that ``count`` images have their SOP Instance UID in another series too."""
    return (Caveat(CaveatCode.SOP_INSTANCE_UIDS_SHARED, {"count": count}),) if count else ()


def run(
    series: Series,
    model: SeriesModel,
    out: Path,
    settings: Settings,
    recorded: datetime,
    progress: Progress,
    profiles: Mapping[str, Profile],
    *,
    pacs: Mapping[str, str] | None = None,
    lineage: Lineage = NO_LINEAGE,
    identity_from: str | None = None,
    revision: int = 1,
    expected: int | None = None,
    companions: Mapping[str, Series] | None = None,
    channels: list[dict[str, str]] | None = None,
    nifti: bool = False,
    bundle: Callable[[Processed], bytes] | None = None,
    assess_at: str = "",
) -> dict[str, Any]:
    """Read ``series`` with ``model`` (see `pipeline.process.process`) and write its results; the summary.

    ``channels``: how the series of a study were chosen, for the summary. ``bundle`` makes the FHIR Bundle that is
    written with them. Without it none is written: deliveries build their own.
    """
    processed = process(
        series,
        model,
        now=time.monotonic,
        recorded=recorded,
        revision=revision,
        uid_root=settings.uid_root,
        predecessors=lineage.predecessors,
        withdrawn=lineage.withdrawn,
        identity_from=identity_from,
        expected=expected,
        companions=companions,
        profiles=profiles,
        pacs=pacs,
        languages=settings.report_languages,
        assess_at=assess_at,
        progress=progress,
    )
    progress("writing")
    filled = channels or [
        {"channel": name, "series_instance_uid": series_uid, "sop_instance_uid": sop_uid}
        for name, (series_uid, sop_uid) in processed.images.items()
    ]
    return write_results(processed, out, bundle=bundle(processed) if bundle else None, nifti=nifti, channels=filled)


def _results(summary: dict[str, Any], out: Path) -> tuple[ResultRef, ...]:
    """The results of a run as units of delivery: the objects of one role for the same profiles are delivered together.

    Where profiles want different forms of a role, the names of the later results include their profiles.
    """
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for item in summary["objects"]:
        groups[item["role"], tuple(item["profiles"])].append(str(out / item["file"]))
    results: dict[str, ResultRef] = {}
    for (role, profiles), files in groups.items():
        name = f"{role} for {', '.join(profiles)}" if role in results else role
        results[name] = ResultRef(name, "dicom", tuple(files), profiles)
    content = str(out / FILENAME)
    pages = tuple(str(path) for path in (out / page_filename(language) for language in Language) if path.is_file())
    told = (content, *pages)
    return (*results.values(), ResultRef("fhir-bundle", "fhir", told), ResultRef(HL7V2, "hl7v2", told))


def _refused(code: str, reason: str, out: Path, job: SeriesJob, page: tuple[ResultObject, ...] = ()) -> SeriesResult:
    write_refusal(refusal_summary(job.series_instance_uid, code, reason, page), page, out)
    results = (ResultRef(REFUSAL, "dicom", tuple(str(out / item.filename) for item in page)),) if page else ()
    return SeriesResult(Outcome.REFUSED, str(out / SUMMARY), results, refusal_code=code, refusal=reason)


def _silent(_stage: str) -> None:
    """Progress callback of a worker, which shows no progress."""
