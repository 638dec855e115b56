"""The series in one folder: `candela config explain` lists them, `candela process` reads one of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_node.settings.tree import Settings
from models import registry
from pipeline.errors import EmptyInput, MixedSeries, NotRouted, Refused, UnsupportedProtocol
from pipeline.findings.own_results import is_own_result
from pipeline.patient.subject import refuse_mixed_study
from pipeline.reading.attributes import number, text
from pipeline.reading.files import UNREADABLE, Series, read_files, read_path
from pipeline.reading.representative import count_images, representative
from pipeline.routing.rules import judge
from pipeline.routing.selection import Candidate, choose
from pipeline.routing.series_attributes import describe

DEFAULT_MODEL = "brain_mri_tumor"
"""The model that ships, for use without rules and without a named model."""
SHOWN_MOST = 5
"""Number of series that an error names; more would hide the message."""


@dataclass(frozen=True)
class FolderSeries:
    """One series: its files, the header of its representative instance (`pipeline.reading.representative`), and its
    number of images.
    """

    series_instance_uid: str
    paths: tuple[Path, ...]
    header: Dataset
    instances: int

    def candidate(self, calling_ae: str = "", called_ae: str = "") -> Candidate:
        attributes = describe(self.header, instances=self.instances, calling_ae=calling_ae, called_ae=called_ae)
        return Candidate(self.series_instance_uid, self.header, attributes)


def find_series(path: Path) -> tuple[FolderSeries, ...]:
    """Every series in the folder ``path`` by SeriesNumber, or the one in a file or archive.

    Unreadable files are left out here: reading the series reports them.

    Raises
    ------
    FileNotFoundError
        where ``path`` does not exist.
    EmptyInput
        where the folder holds no DICOM file; for a file or archive, the errors of `read_path`.
    """
    if not path.is_dir():
        series = read_path(path)
        uid = str(series.header.SeriesInstanceUID)
        return (FolderSeries(uid, (path,), series.representative, count_images(series.datasets)),)
    by_series: dict[str, list[tuple[Path, Dataset]]] = defaultdict(list)
    for file in sorted(item for item in path.rglob("*") if item.is_file()):
        header = _header(file)
        if header is not None and (uid := text(header, "SeriesInstanceUID")):
            by_series[uid].append((file, header))
    if not by_series:
        raise EmptyInput(
            "There is no DICOM file here.", where=str(path), todo="Pass the folder that holds the series or the study."
        )
    found = (_found(uid, items) for uid, items in by_series.items())
    return tuple(sorted(found, key=lambda item: (number(item.header, "SeriesNumber") or 0, item.series_instance_uid)))


def headers_of(series: FolderSeries) -> tuple[Dataset, ...]:
    """The header of each readable instance of ``series``, by Instance UID."""
    if len(series.paths) == 1 and not (header := _header(series.paths[0])):
        return tuple(read_path(series.paths[0]).datasets)  # an archive
    headers = (header for path in series.paths if (header := _header(path)) is not None)
    return tuple({text(header, "SOPInstanceUID"): header for header in headers}.values())


@dataclass(frozen=True)
class Pick:
    """Selects one of several series: the one with this UID, or the one that suits the model best.

    ``identity_chosen``: an operator has stated the patient, whatever the study's other series say
    (`pipeline.patient.subject`).
    """

    series_instance_uid: str | None = None
    best: bool = False
    identity_chosen: bool = False


def pick_series(path: Path, settings: Settings, model: str | None, pick: Pick) -> tuple[Series, str]:
    """The series at ``path`` to read, and the model that reads it: ``model``, else that of the rules, else the default.

    Raises
    ------
    MixedSeries
        where ``path`` holds several and ``pick`` does not select one.
    MixedPatients
        where another series of the same study at ``path`` names another patient.
    NotRouted, UnsupportedProtocol
        where no rule takes a series, or none suits the model; also the errors of `pipeline.reading.files.read_path`.
    """
    if pick.best:
        name = model or (_first_model(path, settings) if settings.rules else DEFAULT_MODEL)
        return _read_best(path, settings, name, identity_chosen=pick.identity_chosen), name
    if pick.series_instance_uid is None:
        series = _read_one(path)
    else:
        series = read_series(path, pick.series_instance_uid, identity_chosen=pick.identity_chosen)
    return series, model or _model_for(series, settings)


def read_series(path: Path, series_instance_uid: str, *, identity_chosen: bool = True) -> Series:
    """Read one series of the folder ``path``. Unless ``identity_chosen``, the series of its study there must name one
    patient.

    Raises
    ------
    EmptyInput
        where the folder does not hold it.
    MixedPatients
        where another series of its study names another patient; also the errors of `pipeline.reading.files.read_path`.
    """
    found = find_series(path)
    wanted = next((item for item in found if item.series_instance_uid == series_instance_uid), None)
    if wanted is None:
        raise EmptyInput(
            f"There is no such series here, among {len(found)}.",
            where=str(path),
            todo="`candela config explain` lists the series of a folder.",
        )
    if not identity_chosen:
        _refuse_mixed_study(wanted, found)
    return read_files(wanted.paths, path) if path.is_dir() else read_path(path)


def _refuse_mixed_study(wanted: FolderSeries, found: tuple[FolderSeries, ...]) -> None:
    study = text(wanted.header, "StudyInstanceUID")
    others = {
        item.series_instance_uid: item.header
        for item in found
        if item is not wanted and text(item.header, "StudyInstanceUID") == study and not is_own_result(item.header)
    }
    refuse_mixed_study(wanted.header, others)


def _read_one(path: Path) -> Series:
    try:
        return read_path(path)
    except MixedSeries as error:
        todo = f"{error.todo} Or choose: --series UID, or --best for the one that suits the model best."
        raise MixedSeries(error.what, where=error.where, todo=todo) from None


def _read_best(path: Path, settings: Settings, model: str, *, identity_chosen: bool) -> Series:
    """The series of the study in ``path`` that suits ``model`` best; where none does, a refusal with the reason for
    each.
    """
    found = find_series(path)
    contract = registry.get(model, settings.models.folders).takes
    choice = choose([item.candidate() for item in found], contract)
    if choice.chosen is None:
        reasons = [f"series {item.candidate.series_instance_uid}: {item.reason}" for item in choice.passed_over]
        more = "; ..." if len(reasons) > SHOWN_MOST else ""
        raise UnsupportedProtocol(
            f"None of the {len(found)} series here suits model {model} ({'; '.join(reasons[:SHOWN_MOST])}{more}).",
            where=str(path),
            todo="Pass a study with a series that the model takes.",
        )
    return read_series(path, choice.chosen.series_instance_uid, identity_chosen=identity_chosen)


def _model_for(series: Series, settings: Settings) -> str:
    if not settings.rules:
        return DEFAULT_MODEL
    attributes = describe(series.representative, instances=count_images(series.datasets))
    routing = judge(settings.rules, attributes, settings.routing.match)
    if not routing.taken:
        raise routing.refusal()
    return routing.taken[0].model


def _first_model(path: Path, settings: Settings) -> str:
    """The model of the first rule that takes any series in ``path``."""
    found = find_series(path)
    routings = [judge(settings.rules, item.candidate().attributes, settings.routing.match) for item in found]
    taken = {rule.name for routing in routings for rule in routing.taken}
    rule = next((rule for rule in settings.rules if rule.name in taken), None)
    if rule is None:
        raise NotRouted(
            f"No rule takes any of the {len(found)} series here.",
            where=str(path),
            todo="`candela config explain` says why; add a [[rules]] table to candela.toml, or give --model.",
        )
    return rule.model


def _found(uid: str, items: list[tuple[Path, Dataset]]) -> FolderSeries:
    """Count copies of one instance once."""
    headers = {text(header, "SOPInstanceUID"): header for _, header in items}
    chosen = representative(headers.values())
    return FolderSeries(uid, tuple(file for file, _ in items), chosen, count_images(headers.values()))


def _header(file: Path) -> Dataset | None:
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True)
    except (InvalidDicomError, Refused, *UNREADABLE):
        return None
    is_directory = text(header.file_meta, "MediaStorageSOPClassUID") == "1.2.840.10008.1.3.10"
    return None if is_directory else header
