"""Which radiograph of a study fills which channel of a model: by view and side.

A screening mammogram has four images (two views of each breast), a chest examination one or two. A model that reads
several names the view of each of its channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import MissingSeries, SeveralCandidates, UnsupportedProtocol
from pipeline.geometry.projection import several
from pipeline.geometry.volume import Volume
from pipeline.reading.projection import ProjectionFacts, facts_of

TODO = "Send an image that the model takes."
HEAD_UP = frozenset(
    {
        *("ABDOMEN", "BREAST", "CHEST", "CSPINE", "HEAD", "HEART", "HIP", "LSPINE", "LUNG", "NECK", "PELVIS", "RIB"),
        *("SHOULDER", "SKULL", "SPINE", "SSPINE", "STERNUM", "THORAX", "TSPINE"),
    }
)
"""Body parts whose radiographs are shown with the head up. A hand is not one of them: its fingers point upwards."""
FRONTAL = frozenset({"AP", "PA", "FRONTAL"})


@dataclass(frozen=True)
class ViewRule:
    """Which image fills the channel ``name``: any of ``views``, any of ``laterality``; empty admits any.

    An image fits a rule only if it states what the rule asks for. A view with a modifier (magnification, spot
    compression) is another view: it fits no rule that names views.
    """

    name: str
    views: tuple[str, ...] = ()
    laterality: tuple[str, ...] = ()

    def fits(self, facts: ProjectionFacts) -> bool:
        """Whether an image with ``facts`` may fill the channel."""
        plain = bool(facts.views) and set(facts.views) <= set(self.views) and not facts.modifiers
        return (not self.views or plain) and (not self.laterality or facts.laterality in self.laterality)

    @property
    def words(self) -> str:
        """The rule in DICOM's terms: ``ImageLaterality L, ViewPosition CC or MLO``."""
        parts = (("ImageLaterality", self.laterality), ("ViewPosition", self.views))
        return ", ".join(f"{keyword} {' or '.join(values)}" for keyword, values in parts if values) or "any view"


def fill(rules: Sequence[ViewRule], images: Sequence[Volume]) -> dict[str, Volume]:
    """The image of a study for each channel, by its name. Of copies the first in ``images`` is taken.

    Parameters
    ----------
    rules : one a channel; names are distinct.
    images : projections, in any order (`pipeline.geometry.projection.projections_of`, of each series of the study).

    Raises
    ------
    MissingSeries
        where a channel has no image, naming what it needs.
    SeveralCandidates
        where two images that are no copies fit one channel, or one image fits two.
    """
    facts = [facts_of(image.sources[0]) for image in images]
    chosen: dict[str, Volume] = {}
    for rule in rules:
        fitting = [k for k, fact in enumerate(facts) if rule.fits(fact)]
        if not fitting:
            raise missing(rule, len(images))
        first = images[fitting[0]]
        if any(facts[k] != facts[fitting[0]] or not _same(images[k], first) for k in fitting[1:]):
            raise several([facts[k] for k in fitting], [_where(images[k]) for k in fitting])
        taken = next((name for name, image in chosen.items() if image is first), None)
        if taken is not None:
            raise SeveralCandidates(
                f"One image fits both {taken} and {rule.name}, which are to be filled by two.",
                where=_where(first),
                todo="Name views or laterality of these channels in the model's candela.json.",
            )
        chosen[rule.name] = first
    return chosen


def missing(rule: ViewRule, images: int) -> MissingSeries:
    """The refusal of a study of which none of so many ``images`` fits ``rule``."""
    return MissingSeries(
        f"There is no image for {rule.name} ({rule.words}) among the {images} of the study that the model takes.",
        todo="Send the image that the model needs, or correct the channel's rule in its candela.json.",
    )


def check_view(header: Dataset, views: Sequence[str], rules: Sequence[ViewRule], where: str) -> tuple[Caveat, ...]:
    """Caveats for a radiograph with this header, of which the model takes ``views`` (View Position; empty: any) and
    fills a channel by one of ``rules``.

    Raises
    ------
    UnsupportedProtocol
        naming the attribute that speaks against the image.
    """
    facts = facts_of(header)
    caveats = []
    if views and not facts.views:
        caveats.append(Caveat(CaveatCode.VIEW_POSITION_ABSENT))
    elif views and not ViewRule("", tuple(views)).fits(facts):
        raise UnsupportedProtocol(
            f"The image has {facts.words}; the model takes ViewPosition {' or '.join(views)}.", where=where, todo=TODO
        )
    if rules and not any(rule.fits(facts) for rule in rules):
        taken = "; ".join(rule.words for rule in rules)
        raise UnsupportedProtocol(f"The image has {facts.words}; the model takes {taken}.", where=where, todo=TODO)
    return tuple(caveats)


def check_orientation(facts: ProjectionFacts, body_parts: Sequence[str], where: str) -> tuple[Caveat, ...]:
    """The caveat that an image is mirrored, by Patient Orientation; it is read as it is stored.

    ``body_parts`` are those of the model, for an image that states none.

    Raises
    ------
    UnsupportedProtocol
        where the head does not lie at the top of an image of the trunk or the head.
    """
    if len(facts.orientation) != len(("row", "column")):
        return ()
    across, down = facts.orientation
    parts = {facts.body_part} if facts.body_part else set(body_parts)
    turned = down.startswith("H") or across[:1] in {"H", "F"}
    if turned and parts and parts <= HEAD_UP:
        raise UnsupportedProtocol(
            f"The image is turned: by PatientOrientation {across}\\{down} the head does not lie at its top.",
            where=where,
            todo="Turn the image at the modality, or correct PatientOrientation, then send it again.",
        )
    mirrored = facts.views and set(facts.views) <= FRONTAL and across[:1] == "R" and not turned
    return (Caveat(CaveatCode.IMAGE_MIRRORED),) if mirrored else ()


def _where(image: Volume) -> str:
    return f"instance {image.sources[0].SOPInstanceUID}"


def _same(one: Volume, other: Volume) -> bool:
    return np.array_equal(one.array, other.array) and np.allclose(one.affine, other.affine)
