"""`candela process`: reads one series and writes its results, or its refusal, to a folder. Uses no network.

A refusal by the headers comes before torch, MONAI, scipy and highdicom are loaded: they are imported with the model.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_node.deliver.fhir_file import fhir_file
from dicom_node.inference.output import SUMMARY, write_refusal
from dicom_node.inference.refusals import refusal_page
from dicom_node.inference.study_channels import ChosenStudy, pick_channels
from dicom_node.inference.study_folder import Pick, pick_series
from dicom_node.settings.tree import Settings
from dicom_node.start_up import without_collection
from models import registry
from pipeline.errors import BadSettings, Refused
from pipeline.ports import Progress
from pipeline.report.sentences import Language
from pipeline.results.profile import DEFAULT_PRESET
from pipeline.results.result_object import ResultObject
from pipeline.routing.preflight import preflight
from pipeline.summary import refusal_summary

if TYPE_CHECKING:
    from pipeline.process import Processed


def process_path(
    path: Path,
    out: Path,
    settings: Settings,
    *,
    model: str | None,
    progress: Progress,
    nifti: bool = False,
    with_page: bool = False,
    pick: Pick | None = None,
    profile: str = DEFAULT_PRESET,
    identity_from: str | None = None,
    began: datetime | None = None,
) -> dict[str, Any]:
    """Read the series at ``path`` and write its results, or its refusal, to ``out``. Returns the summary.

    Of a study at ``path``, a ``model`` that reads several series or radiographs as channels gets one for each; the
    summary names them under ``channels``.

    ``profile`` names the profile (`Settings.profile`) that decides which results are written, and in which form.

    Without ``model`` the rules choose; without rules, the brain model that ships. ``nifti`` adds volume, mask and heat
    map as NIfTI, ``with_page`` a page with the reason of a refusal. ``pick`` selects one of several series at ``path``.
    ``identity_from`` is the instance whose patient is right, where the images name several. ``began``, with its time
    zone, is the instant that every result states, by default now. The same series, model and instant give the same
    bytes.
    """
    began = began or settings.now()
    _refuse_foreign_folder(out)
    profiles = {profile: settings.profile(profile)}
    series, entry = None, None
    study: ChosenStudy | None = None
    try:
        progress("reading")
        named = registry.get(model, settings.models.folders) if model is not None else None
        if named is not None and named.channel_names:
            name, study = named.name, pick_channels(path, named, identity_chosen=(pick or Pick()).identity_chosen)
            series = study.first
        else:
            series, name = pick_series(path, settings, model, pick or Pick())
        entry = registry.get(name, settings.models.folders)
        entry.refuse_unread_inputs()
        companions = study.companions if study else {}
        preflight(
            series,
            entry.check,
            identity_from,
            projections=entry.identity.projection,
            companions=tuple(companions.values()),
        )
        progress("loading the model")
        with without_collection():
            from dicom_node.inference.runner import run  # noqa: PLC0415 - not before the headers were asked
            from models.runtime import load_model  # noqa: PLC0415 - the same

        models = settings.models
        loaded = load_model(name, folders=models.folders, device=models.device, time_limit=models.time_limit)
        return run(
            series,
            loaded,
            out,
            settings,
            began,
            progress,
            profiles,
            identity_from=identity_from,
            companions=companions,
            channels=study.content if study and not entry.view_rules else None,
            nifti=nifti,
            bundle=_bundle,
        )
    except Refused as refusal:
        page: tuple[ResultObject, ...] = ()
        if with_page and series and entry:
            others = tuple(study.companions.values()) if study else ()
            page = refusal_page(series, entry.identity, refusal, settings.uid_root, identity_from, others, began=began)
        series_uid = str(series.datasets[0].SeriesInstanceUID) if series else None
        return write_refusal(refusal_summary(series_uid, refusal.code, str(refusal), page), page, out)


def _bundle(processed: Processed) -> bytes:
    return fhir_file(processed.content, processed.pages.get(Language.ENGLISH))


def _refuse_foreign_folder(out: Path) -> None:
    """Refuse a folder that holds other files than an earlier run's results."""
    if out.exists() and not out.is_dir():
        raise BadSettings("This is not a folder.", where=str(out), todo="Give --out a folder.")
    if out.is_dir() and any(out.iterdir()) and not (out / SUMMARY).is_file():
        raise BadSettings(
            "The folder holds files that are not an earlier run's results.",
            where=str(out),
            todo="Give --out an empty one.",
        )
