"""Whether the header of a series says that it is what a model was made for.

Headers are claims, not proof: this check refuses what is plainly something else; the model's own look at the pixels
comes after it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pydicom.dataset import Dataset

from pipeline.attributes import number, text, texts, values
from pipeline.errors import UnsupportedModality, UnsupportedProtocol

Weighting = Literal["T1", "T2", "PD", "T2*"]

NOT_ANATOMICAL = {"DIFFUSION", "ADC", "TRACE", "FA", "PERFUSION", "PHASE", "P", "MOSAIC", "MIP", "PROJECTION IMAGE"}
"""Values of ImageType that mark maps, phase images and projections (PS3.3 C.8.3.1.1.1, C.8.13.1)."""


@dataclass(frozen=True)
class ProtocolContract:
    """What a model takes, from its bundle.

    ``body_parts`` are values of BodyPartExamined (PS3.16 Annex L); ``weightings`` among T1, T2, PD, T2*;
    ``contrast_expected`` says that the model was validated on images with contrast agent only.
    """

    modality: str
    body_parts: tuple[str, ...]
    weightings: tuple[str, ...]
    contrast_expected: bool


def check_protocol(header: Dataset, contract: ProtocolContract) -> tuple[str, ...]:
    """Caveats for a series with this header (pixel data not needed).

    Raises
    ------
    UnsupportedModality, UnsupportedProtocol
        naming the attribute that speaks against the series.
    """
    modality = text(header, "Modality") or "absent"
    where = f"series {text(header, 'SeriesInstanceUID')}"
    if modality != contract.modality:
        raise UnsupportedModality(
            f"The modality is {modality}; the model takes {contract.modality}.",
            where=where,
            todo="Route only matching series to this model.",
        )
    caveats = []
    body_part = text(header, "BodyPartExamined").upper()
    if body_part and body_part not in contract.body_parts:
        raise UnsupportedProtocol(
            f"BodyPartExamined is {body_part}; the model takes {' or '.join(contract.body_parts)}.",
            where=where,
            todo="Route only matching series to this model.",
        )
    if not body_part:
        caveats.append("The body part is not stated in the images.")
    _refuse_special(header, where)
    found = weighting(header)
    if found not in contract.weightings:
        raise UnsupportedProtocol(
            f"The series is {f'{found}-weighted' if found else 'of a weighting that its header does not tell'}"
            f" (ScanningSequence {text(header, 'ScanningSequence') or 'absent'},"
            f" TR {text(header, 'RepetitionTime') or 'absent'} ms, TE {text(header, 'EchoTime') or 'absent'} ms);"
            f" the model takes {' or '.join(contract.weightings)}.",
            where=where,
            todo="Route a series that the model takes.",
        )
    if contract.contrast_expected and not texts(header, "ContrastBolusAgent"):
        caveats.append("No contrast agent is recorded: the model was validated on images with contrast only.")
    return tuple(caveats)


def weighting(header: Dataset) -> Weighting | None:
    """T1, T2, PD or T2* after the sequence parameters of a classic MR header; None where they do not tell.

    The limits are the field's customary ones for 1.5 and 3 T (e.g. spin echo: T1 below TR 1,000 and TE 30 ms, T2 above
    TE 60 ms); they sort, they do not measure.
    """
    sequences = set(texts(header, "ScanningSequence"))
    tr, te = number(header, "RepetitionTime"), number(header, "EchoTime")
    if te is None or tr is None or not sequences:
        words = f"{text(header, 'SeriesDescription')} {text(header, 'ProtocolName')}"
        named = set(re.findall(r"(?<![a-z0-9])(t1|t2)(?![0-9])", words.lower()))
        return "T1" if named == {"t1"} else "T2" if named == {"t2"} else None
    inverted = "IR" in sequences
    if "GR" in sequences or (inverted and "SE" not in sequences):
        if te >= 15:
            return "T2*"
        short = tr <= 800 and te <= 10
        return "T1" if short or (inverted and te <= 10) else None
    if te >= 60:
        return "T2"
    if te <= 40 and (tr <= 1000 or (inverted and tr <= 3500)):
        return "T1"
    return "PD" if tr > 1500 else None


def _refuse_special(header: Dataset, where: str) -> None:
    """Echo-planar, diffusion, perfusion, angiography, phase images and projections are no anatomical series."""
    reasons = []
    if "EP" in texts(header, "ScanningSequence"):
        reasons.append("echo-planar (ScanningSequence EP)")
    if text(header, "AngioFlag").upper() == "Y":
        reasons.append("an angiography (AngioFlag Y)")
    if any(values(header, "DiffusionBValue")):
        reasons.append("diffusion-weighted (DiffusionBValue)")
    special = NOT_ANATOMICAL.intersection(value.upper() for value in texts(header, "ImageType")[2:])
    if special:
        reasons.append(f"of ImageType {' and '.join(sorted(special))}")
    if reasons:
        raise UnsupportedProtocol(
            f"The series is {', '.join(reasons)}; the model takes anatomical images.",
            where=where,
            todo="Route a series that the model takes.",
        )
