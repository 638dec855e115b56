"""The weighting of an MR series by all the evidence in its header: T1, T2, PD, T2*, or unknown.

Three kinds of evidence are weighed. *Timing*: ScanningSequence, RepetitionTime and EchoTime with InversionTime and
FlipAngle. *Names*: SequenceName, PulseSequenceName and private names, AcquisitionContrast (enhanced MR). *Words* of
SeriesDescription. Clear timing decides, unless another kind contradicts it. Where timing allows T1 without
proving it, names or words must confirm it. docs/intake.md lists the rules, docs/adr/0052 the reasons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydicom.dataset import Dataset

from pipeline.reading import series_words
from pipeline.reading.attributes import text
from pipeline.reading.timing import Allowed, Timing, by_timing
from pipeline.reading.timing import Weighting as Weighting  # noqa: PLC0414 - part of this interface

WEIGHTINGS: tuple[Weighting, ...] = ("T1", "T2", "PD", "T2*")

CONTRADICTING = {
    "T2": "T2",
    "T2_STAR": "T2*",
    "PROTON_DENSITY": "PD",
    "FLUID_ATTENUATED": "FLAIR",
    "STIR": "STIR",
    "SUSCEPTIBILITY": "T2*",
}
"""AcquisitionContrast (PS3.3 C.8.13.1.1.5) → the named contrast. UNKNOWN, MIXED and similar values name none."""

MOST_ECHO_SPACING_MS = 10.0
"""Field maps have 1 to 5 ms between their echoes (2.46 at 3 T), fat-water pairs 1 to 2.5; a T2* echo beside a T1 echo
lies further off."""


@dataclass(frozen=True)
class Judgement:
    """The weighting by the header, with its evidence.

    ``evidence``: keywords of the attributes that decided, where ScanningSequence, RepetitionTime and EchoTime alone did
    not. ``reason``: where ``weighting`` is None, why, as a clause; it repeats no free text.
    """

    weighting: Weighting | None
    evidence: tuple[str, ...] = ()
    reason: str = ""


def weighting(header: Dataset) -> Weighting | None:
    """T1, T2, PD or T2* for a series with this header in classic form; None where that is unknown."""
    return judge(header).weighting


def judge(header: Dataset) -> Judgement:
    """The weighting of a series with this header in classic form, with its evidence. Never raises."""
    special = series_words.special(header)
    if special is not None:
        return Judgement(None, reason=f"{special[1]} names {special[0]}")
    timing = Timing.of(header)
    described = series_words.described(header)
    if timing.repetition is None or timing.echo is None:
        return _by_words(header)
    allowed = by_timing(timing)
    if allowed.weighting == "T1":
        return _confirmed_t1(header, timing, allowed, described)
    if (
        allowed.weighting is None and described == {"T2"} and timing.echo >= 60
    ):  # the header does not state the kind of sequence
        return Judgement("T2", ("SeriesDescription",))
    if allowed.weighting is not None and described == {"T1"}:
        return Judgement(None, (), f"its timing is {allowed.weighting}-weighted and SeriesDescription says T1")
    return Judgement(allowed.weighting, (), allowed.reason)


def _confirmed_t1(header: Dataset, timing: Timing, allowed: Allowed, described: frozenset[str]) -> Judgement:
    """T1, unless a name or word contradicts the timing, or a needed confirmation is missing."""
    other = _contradiction(header, described)
    if other is not None:
        attribute, contrast = other
        return Judgement(None, (), f"its timing is T1-weighted and {attribute} says {contrast}")
    names = _t1_names(header, timing)
    words = _worded_t1(header, described)
    stated = ("AcquisitionContrast",) if text(header, "AcquisitionContrast").upper() == "T1" else ()
    balanced = timing.balanced or _named_balanced(header)
    if balanced and not (words or names):
        return Judgement(None, (), "the sequence is a balanced steady-state one")
    if allowed.needs == "nothing" and not balanced:
        return Judgement("T1", timing.named_by)
    if allowed.needs == "inversion":  # the inversion time proves it; further agreeing evidence is reported too
        found = ("InversionTime", *_turbo_flash(header), *names, *stated, *words)
    else:
        found = (*names, *(() if balanced or allowed.needs == "words" else stated), *words)
        found = (*_turbo_flash(header), *found) if found else ()
    if not found:
        return Judgement(None, (), allowed.reason)
    return Judgement("T1", tuple(dict.fromkeys((*timing.named_by, *found))))


def _by_words(header: Dataset) -> Judgement:
    """The weighting of a header without timing, as conversions leave it: by its description, if
    that names exactly one.
    """
    both = f"{text(header, 'SeriesDescription')} {text(header, 'ProtocolName')}"
    named = series_words.contrasts(both)
    other = _contradiction(header, frozenset())
    if len(named) == 1 and other is None:
        source = "SeriesDescription" if text(header, "SeriesDescription") else "ProtocolName"
        for one in WEIGHTINGS:
            if named == {one}:
                return Judgement(one, (source,))
    return Judgement(None, (), "there is no RepetitionTime and EchoTime, and no description that names one weighting")


def _contradiction(header: Dataset, described: frozenset[str]) -> tuple[str, str] | None:
    """An attribute that names another contrast than T1, and the contrast. A description with T1 in it names none."""
    stated = CONTRADICTING.get(text(header, "AcquisitionContrast").upper())
    if stated is not None:
        return "AcquisitionContrast", stated
    if described and "T1" not in described:
        return "SeriesDescription", " and ".join(sorted(described))
    if "STIR" in described:
        return "SeriesDescription", "STIR"
    return None


def _worded_t1(header: Dataset, described: frozenset[str]) -> tuple[str, ...]:
    if described == {"T1"}:
        return ("SeriesDescription",) if text(header, "SeriesDescription") else ("ProtocolName",)
    return ("ImageType",) if series_words.is_uni(header) else ()


def _t1_names(header: Dataset, timing: Timing) -> tuple[str, ...]:
    found = series_words.sequence_names(header)
    return tuple(
        attribute for attribute, name in found.items() if series_words.T1_NAMES.search(name) and not timing.spin_echo
    )


def _turbo_flash(header: Dataset) -> tuple[str, ...]:
    found = series_words.sequence_names(header)
    return tuple(attribute for attribute, name in found.items() if series_words.TURBO_FLASH.search(name))


def _named_balanced(header: Dataset) -> bool:
    return any(series_words.BALANCED.search(name) for name in series_words.sequence_names(header).values())


def is_further_gradient_echo(chosen: Dataset, other: Dataset) -> bool:
    """Whether ``other`` is another gradient echo of the acquisition of ``chosen``, a few ms apart, without inversion.

    A pair of such echoes at the same places is a field map, or the in-phase and out-of-phase images of a fat-water
    separation (Dixon). Neither echo alone is an anatomical T1 series by its header.
    """
    here, there = Timing.of(chosen), Timing.of(other)
    if not (here.gradient_echo and there.gradient_echo) or here.inverted or there.inverted:
        return False
    if here.echo is None or there.echo is None or here.repetition != there.repetition:
        return False
    return 0 < math.fabs(here.echo - there.echo) <= MOST_ECHO_SPACING_MS
