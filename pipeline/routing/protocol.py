"""Whether a series, by its header, has the protocol that a model was made for.

Headers can be wrong: this check refuses what is plainly something else, and the model checks the pixels later.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import UnsupportedModality, UnsupportedProtocol
from pipeline.reading import series_words
from pipeline.reading.attributes import text, texts, values
from pipeline.reading.weighting import Judgement, judge


@dataclass(frozen=True)
class ProtocolContract:
    """The series that a model reads, from its bundle.

    ``body_parts`` are values of BodyPartExamined (PS3.16 Annex L); ``weightings`` among T1, T2, PD, T2*;
    ``contrast_expected`` says that the model was validated on images with contrast agent only.
    """

    modality: str
    body_parts: tuple[str, ...]
    weightings: tuple[str, ...]
    contrast_expected: bool

    def check(self, header: Dataset) -> tuple[Caveat, ...]:
        """As `check_protocol`."""
        return check_protocol(header, self)


def check_protocol(header: Dataset, contract: ProtocolContract) -> tuple[Caveat, ...]:
    """Caveats for a series with this header (pixel data not needed).

    Raises
    ------
    UnsupportedModality, UnsupportedProtocol
        naming the attribute that rules the series out.
    """
    modality = text(header, "Modality").upper() or "absent"
    where = f"series {text(header, 'SeriesInstanceUID')}"
    if modality != contract.modality:
        raise UnsupportedModality(
            f"The modality is {modality}; the model takes {contract.modality}.",
            where=where,
            todo="Send a series that the model takes.",
        )
    caveats = []
    body_part = text(header, "BodyPartExamined").upper()
    if body_part and body_part not in contract.body_parts:
        raise UnsupportedProtocol(
            f"BodyPartExamined is {body_part}; the model takes {' or '.join(contract.body_parts)}.",
            where=where,
            todo="Send a series that the model takes.",
        )
    if not body_part:
        caveats.append(Caveat(CaveatCode.BODY_PART_ABSENT))
    _refuse_special(header, where)
    judged = judge(header)
    if judged.weighting not in contract.weightings:
        inversion = text(header, "InversionTime")
        raise UnsupportedProtocol(
            f"{_weighting_in_words(judged)}"
            f" (ScanningSequence {text(header, 'ScanningSequence') or 'absent'},"
            f" TR {text(header, 'RepetitionTime') or 'absent'} ms, TE {text(header, 'EchoTime') or 'absent'} ms"
            f"{f', TI {inversion} ms' if inversion else ''});"
            f" the model takes {' or '.join(contract.weightings)}.",
            where=where,
            todo="Send a series that the model takes.",
        )
    if judged.evidence:
        caveats.append(
            Caveat(
                CaveatCode.WEIGHTING_INFERRED,
                {"weighting": str(judged.weighting), "attributes": tuple(judged.evidence)},
            )
        )
    if contract.contrast_expected and not texts(header, "ContrastBolusAgent"):
        caveats.append(Caveat(CaveatCode.CONTRAST_AGENT_ABSENT))
    return tuple(caveats)


def _weighting_in_words(judged: Judgement) -> str:
    if judged.weighting is not None:
        return f"The series is {judged.weighting}-weighted"
    return f"The header does not tell the weighting of the series: {judged.reason}"


def _refuse_special(header: Dataset, where: str) -> None:
    reasons = unlike_anatomy(header)
    if reasons:
        raise UnsupportedProtocol(
            f"The series is {', '.join(reasons)}; the model takes anatomical images.",
            where=where,
            todo="Send a series that the model takes.",
        )


def unlike_anatomy(header: Dataset) -> list[str]:
    """What marks a series as echo-planar, diffusion, angiography, field map, projection or localiser; empty for others.

    No text from the header is repeated.
    """
    reasons = []
    if "EP" in {value.upper() for value in texts(header, "ScanningSequence")}:
        reasons.append("echo-planar (ScanningSequence EP)")
    if text(header, "AngioFlag").upper() == "Y":
        reasons.append("an angiography (AngioFlag Y)")
    if any(values(header, "DiffusionBValue")):
        reasons.append("diffusion-weighted (DiffusionBValue)")
    reasons += [f"{what} (ImageType {value})" for value, what in series_words.special_image_types(header).items()]
    special = series_words.special(header)
    if special is not None and special[1] != "ImageType":
        reasons.append(f"{special[0]} ({special[1]})")
    if not reasons and series_words.is_localizer(header):
        reasons.append("a localiser (ImageType or SeriesDescription)")
    return reasons
