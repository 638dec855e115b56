"""The series of a folder for each channel of a model that reads several: `candela process`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.inference.study_folder import FolderSeries, find_series, headers_of
from models.registry import RegisteredModel
from pipeline.errors import MixedStudies
from pipeline.findings.own_results import is_own_result
from pipeline.patient.subject import refuse_mixed_study
from pipeline.reading.attributes import text
from pipeline.reading.files import Series, read_files
from pipeline.routing.channels import Choice, choose_channels
from pipeline.routing.study_views import choose_views

SHOWN_MOST = 5


@dataclass(frozen=True)
class ChosenStudy:
    """The series by channel, and how each was chosen."""

    series: dict[str, Series]
    choices: tuple[Choice, ...]

    @property
    def first(self) -> Series:
        """The series whose images the results refer to."""
        return next(iter(self.series.values()))

    @property
    def companions(self) -> dict[str, Series]:
        """The others, by channel."""
        return dict(list(self.series.items())[1:])

    @property
    def content(self) -> list[dict[str, str]]:
        """The choices as summary.json holds them."""
        return [
            {
                "channel": choice.channel.name,
                "series_instance_uid": choice.candidate.series_instance_uid,
                "reason": choice.reason,
            }
            for choice in self.choices
        ]


def choices_of(found: Sequence[FolderSeries], model: RegisteredModel) -> tuple[Choice, ...]:
    """The series of ``found`` that fill the channels of ``model``; raises as `choose_channels` and `choose_views`."""
    if not model.view_rules:
        return choose_channels([item.candidate() for item in found], model.channels, model.check)
    return choose_views([(item.candidate(), headers_of(item)) for item in found], model.view_rules, model.check)


def pick_channels(path: Path, model: RegisteredModel, *, identity_chosen: bool = False) -> ChosenStudy:
    """Read the series at ``path`` that fill the channels of ``model``. Unless ``identity_chosen``, all series of the
    study there must name one patient.

    Raises
    ------
    MixedStudies
        where ``path`` holds series of several studies.
    MissingSeries, SeveralCandidates
        as `pipeline.routing.channels.choose_channels` and `pipeline.routing.study_views.choose_views`.
    MixedPatients
        where another series of the study names another patient; also the errors of `find_series` and `read_files`.
    """
    found = find_series(path)
    studies = sorted({text(item.header, "StudyInstanceUID") for item in found})
    if len(studies) > 1:
        raise MixedStudies(
            f"There are series of {len(studies)} studies here: {', '.join(studies[:SHOWN_MOST])}.",
            where=str(path),
            todo=f"Give the folder of one study: the model {model.name} reads several series of it.",
        )
    choices = choices_of(found, model)
    by_uid = {item.series_instance_uid: item for item in found}
    chosen = {choice.channel.name: by_uid[choice.candidate.series_instance_uid] for choice in choices}
    if not identity_chosen:
        first = next(iter(chosen.values()))
        others = {
            item.series_instance_uid: item.header
            for item in found
            if item is not first and not is_own_result(item.header)
        }
        refuse_mixed_study(first.header, others)
    return ChosenStudy({name: read_files(item.paths, path) for name, item in chosen.items()}, choices)
