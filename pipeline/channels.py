"""The series of a study that one model reads as channels: their volumes, on the grid of the first."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadSettings, MissingSeries
from pipeline.findings.answers import Answered
from pipeline.findings.completeness import judged
from pipeline.findings.model import Findings, Needs
from pipeline.geometry.build import build_volume
from pipeline.geometry.common_grid import onto_one_grid
from pipeline.geometry.volume import Volume
from pipeline.patient.source_values import cleaned_volume
from pipeline.ports import ChannelModel, SeriesModel
from pipeline.reading.files import Series
from pipeline.routing.channels import check_of
from pipeline.routing.preflight import suits


@dataclass(frozen=True)
class Companions:
    """The series of the channels beside the first.

    ``series`` as they were received; ``sources`` their volumes with cleaned headers, each on its own grid; ``predict``
    runs the model on all channels; ``caveats`` concern the series and how they came onto one grid.
    """

    series: tuple[Series, ...]
    sources: tuple[Volume, ...]
    predict: Callable[[], Answered]
    caveats: tuple[Caveat, ...]

    def judged(self, findings: Findings, needs: Needs) -> Findings:
        """``findings``, no longer negative where a companion is a part of its series."""
        for series, volume in zip(self.series, self.sources, strict=True):
            findings = judged(findings, volume, series.datasets, needs)
        return findings


def read_companions(model: SeriesModel, first: Volume, companions: Mapping[str, Series]) -> Companions:
    """The volumes of ``companions``, by channel, beside ``first``, the volume of the model's first channel.

    Raises
    ------
    BadSettings
        where the model reads one series.
    MissingSeries
        where ``companions`` are not the channels beside the first.
    SeriesDoNotMatch
        where they cannot be brought onto the grid of ``first``; also the errors of `build_volume`.
    """
    if not isinstance(model, ChannelModel):
        raise BadSettings(
            f"The model {model.identity.name} reads one series.", todo="Give one, or name a model of several channels."
        )
    reference, *others = model.channels
    if sorted(companions) != sorted(channel.name for channel in others):
        raise MissingSeries(
            f"The series are of channels {', '.join(sorted(companions))}; the model takes"
            f" {', '.join(channel.name for channel in others)} beside {reference.name}.",
            todo="Send a series for each channel.",
        )
    volumes = {reference.name: first}
    caveats: list[Caveat] = []
    for channel in others:
        check = check_of(channel, model.check)
        made = build_volume(companions[channel.name].datasets, prefer=functools.partial(suits, check))
        volumes[channel.name] = replace(made, subject=first.subject)
        caveats += [*companions[channel.name].caveats, *check(made.sources[0])]
    placed = onto_one_grid(volumes)
    cleaned = tuple(cleaned_volume(volumes[channel.name]) for channel in others)
    return Companions(
        series=tuple(companions[channel.name] for channel in others),
        sources=tuple(cleaned),
        predict=functools.partial(model.predict_channels, placed.volumes),
        caveats=(
            Caveat(CaveatCode.OTHER_SERIES_READ, {"count": len(others)}),
            *placed.caveats,
            *_of(cleaned),
            *caveats,
        ),
    )


def _of(volumes: Sequence[Volume]) -> tuple[Caveat, ...]:
    return tuple(caveat for volume in volumes for caveat in volume.caveats)
