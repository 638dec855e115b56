"""Which series of a study hold the radiographs that fill a model's channels, by their headers alone.

A series may hold one of the images or all of them. Which image fills which channel is decided once their pixels are
read (`pipeline.routing.views.fill`): a copy is told from a repeated exposure by them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from pipeline.errors import Refused
from pipeline.findings.own_results import is_own_result
from pipeline.geometry.projection import several
from pipeline.reading.projection import facts_of
from pipeline.reading.sop_classes import refuse_other_sop_classes
from pipeline.routing.channels import Channel, Choice
from pipeline.routing.preflight import Check
from pipeline.routing.selection import Candidate
from pipeline.routing.views import ViewRule, missing

REASON = "no other series has an image that fits"
Held = tuple[Candidate, Sequence[Dataset]]
"""A series of a study, and the header of each of its instances."""


def choose_views(series: Sequence[Held], rules: Sequence[ViewRule], check: Check) -> tuple[Choice, ...]:
    """A choice for each series that holds images of channels, named after these; first that of the first rule.

    Left out: Candela's own results, objects that are no radiographs, and images that ``check`` refuses.

    Raises
    ------
    MissingSeries
        where a channel has no image, naming what it needs.
    SeveralCandidates
        where two series hold an image for one channel.
    """
    able = [(candidate, header) for candidate, headers in series for header in _able(headers, check)]
    held: dict[str, tuple[Candidate, list[str]]] = {}
    for rule in rules:
        fitting = [(candidate, header) for candidate, header in able if rule.fits(facts_of(header))]
        if not fitting:
            raise missing(rule, len(able))
        if len({candidate.series_instance_uid for candidate, _ in fitting}) > 1:
            facts, where = zip(
                *((facts_of(header), f"instance {header.SOPInstanceUID}") for _, header in fitting), strict=True
            )
            raise several(facts, where)
        candidate = fitting[0][0]
        held.setdefault(candidate.series_instance_uid, (candidate, []))[1].append(rule.name)
    return tuple(Choice(Channel(" and ".join(names)), candidate, REASON) for candidate, names in held.values())


def _able(headers: Sequence[Dataset], check: Check) -> Iterator[Dataset]:
    for header in headers:
        try:
            if not is_own_result(header):
                refuse_other_sop_classes(header, "", projections=True)
                check(header)
                yield header
        except Refused:
            continue
