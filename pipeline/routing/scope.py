"""Whether the header of a series says that it is what a MONAI bundle takes: its candela block's scope.

As with `pipeline.routing.protocol`, headers are claims, not proof: what is plainly something else is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import UnsupportedModality, UnsupportedProtocol
from pipeline.reading.attributes import text, texts
from pipeline.reading.projection import PresentationIntent, facts_of
from pipeline.reading.weighting import judge
from pipeline.routing.views import ViewRule, check_orientation, check_view

TODO = "Send a series that the model takes."


@dataclass(frozen=True)
class Scope:
    """What a bundle takes; an empty tuple admits anything.

    ``modalities`` are values of Modality, ``body_parts`` of Body Part Examined, ``views`` of View Position;
    ``weightings`` among T1, T2, PD, T2* (MR).

    ``projection``: it reads radiographs, of Presentation Intent Types ``intents``; ``rules`` say which image fills each
    channel, and an image must fit one of them.
    """

    modalities: tuple[str, ...]
    body_parts: tuple[str, ...] = ()
    weightings: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    contrast_expected: bool = False
    projection: bool = False
    intents: tuple[PresentationIntent, ...] = ("FOR PRESENTATION",)
    rules: tuple[ViewRule, ...] = ()

    def check(self, header: Dataset) -> tuple[Caveat, ...]:
        """As `check_scope`."""
        return check_scope(header, self)


def check_scope(header: Dataset, scope: Scope) -> tuple[Caveat, ...]:
    """Caveats for a series with this header (pixel data not needed).

    Raises
    ------
    UnsupportedModality, UnsupportedProtocol
        naming the attribute that speaks against the series.
    """
    where = f"series {text(header, 'SeriesInstanceUID')}"
    modality = text(header, "Modality").upper() or "absent"
    if modality not in scope.modalities:
        raise UnsupportedModality(
            f"The modality is {modality}; the model takes {' or '.join(scope.modalities)}.", where=where, todo=TODO
        )
    caveats = []
    facts = facts_of(header)
    body_part = facts.body_part if scope.projection else text(header, "BodyPartExamined").upper()
    if scope.body_parts and body_part and body_part not in scope.body_parts:
        raise UnsupportedProtocol(
            f"BodyPartExamined is {body_part}; the model takes {' or '.join(scope.body_parts)}.", where=where, todo=TODO
        )
    if scope.body_parts and not body_part:
        caveats.append(Caveat(CaveatCode.BODY_PART_ABSENT))
    caveats += check_view(header, scope.views, scope.rules, where)
    if scope.projection:
        caveats += _check_projection(header, scope, where)
    if scope.weightings:
        judged = judge(header)
        if judged.weighting not in scope.weightings:
            stated = f"is {judged.weighting}-weighted" if judged.weighting else "states no weighting"
            raise UnsupportedProtocol(
                f"The series {stated}; the model takes {' or '.join(scope.weightings)}.", where=where, todo=TODO
            )
    if scope.contrast_expected and not texts(header, "ContrastBolusAgent"):
        caveats.append(Caveat(CaveatCode.CONTRAST_AGENT_ABSENT))
    return tuple(caveats)


def _check_projection(header: Dataset, scope: Scope, where: str) -> tuple[Caveat, ...]:
    facts = facts_of(header)
    if facts.intent and facts.intent not in scope.intents:
        raise UnsupportedProtocol(
            f"The image is {facts.intent}; the model takes images {' or '.join(scope.intents)}.", where=where, todo=TODO
        )
    return check_orientation(facts, scope.body_parts, where)
