"""Several radiographs of a study for one model: which image fills which channel, each in its own plane."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from pipeline.caveats import Caveat, CaveatCode
from pipeline.channels import Companions
from pipeline.geometry.projection import volume_of
from pipeline.geometry.volume import Volume
from pipeline.patient.source_values import cleaned_volume
from pipeline.ports import ViewModel
from pipeline.reading.files import Series
from pipeline.reading.slices import slices_of
from pipeline.routing.preflight import suits
from pipeline.routing.views import fill

LENGTHS = (CaveatCode.LENGTHS_AT_DETECTOR, CaveatCode.LENGTHS_CORRECTED, CaveatCode.LENGTHS_CALIBRATED)
"""What these say of an image concerns lengths that results give, which are on the first one."""


@dataclass(frozen=True)
class Radiographs:
    """The image of the first channel, which results refer to, and the others. ``filled``: every image, by channel."""

    first: Volume
    beside: Companions
    filled: dict[str, Volume]


def read_radiographs(model: ViewModel, read: Sequence[Series], subject: Dataset | None) -> Radiographs:
    """The images of the series ``read`` that fill the channels of ``model``; ``subject`` as `Volume.subject`.

    Raises
    ------
    MissingSeries, SeveralCandidates
        as `pipeline.routing.views.fill`; also the errors of `pipeline.geometry.projection.volume_of`.
    """
    images = [
        replace(volume_of(image), subject=subject)
        for series in read
        for image in sorted(slices_of(series.datasets, projections=True), key=lambda one: one.where)
        if suits(model.check, image.ds) > -math.inf
    ]
    filled = fill(model.view_rules, images)
    first, *others = filled.values()
    cleaned = tuple(map(cleaned_volume, others))
    caveats = [Caveat(CaveatCode.OTHER_IMAGES_READ, {"count": len(others)})]
    caveats += [caveat for series in read[1:] for caveat in series.caveats]
    for volume, stored in zip(cleaned, others, strict=True):
        found = (*volume.caveats, *model.check(stored.sources[0]))
        caveats += [caveat for caveat in found if caveat.code not in LENGTHS and caveat not in caveats]
    unread = sum(len(series.datasets) for series in read) - len(filled)
    if unread:
        caveats.append(Caveat(CaveatCode.IMAGES_NOT_READ, {"count": unread}))
    by_uid = {str(series.datasets[0].SeriesInstanceUID): series for series in read}
    beside = Companions(
        series=tuple(by_uid[volume.series_instance_uid] for volume in others),
        sources=cleaned,
        predict=functools.partial(model.predict_channels, filled),
        caveats=tuple(caveats),
    )
    return Radiographs(first, beside, filled)
