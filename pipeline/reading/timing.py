"""The weightings that the timing of an MR sequence allows, by the customary limits for 1.5 and 3 T.

The limits sort series; they measure nothing. Times in ms, angles in degrees.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from pydicom.dataset import Dataset

from pipeline.reading import series_words
from pipeline.reading.attributes import number, numbers, text, texts

Needs = Literal["nothing", "inversion", "any", "words"]
Weighting = Literal["T1", "T2", "PD", "T2*"]

FAMILIES = {
    "GR": {"GR", "FE", "FFE", "TFE", "GRE", "FGRE", "GE", "SPGR", "FSPGR"},
    "SE": {"SE", "FSE", "TSE", "RARE"},
}
"""Values of ScanningSequence: those of the standard (PS3.3 C.8.3.1.1.2), and names that some vendors write instead."""
SPIN_ECHO_NAMES = re.compile(
    r"(?:^|[*_\s])(?:t?se|tir|spc|spcir|h)[23]?d|(?:^|[*_\s])(?:t1)?(?:tse|fse|frfse|cube|space)"
)
GRADIENT_ECHO_NAMES = re.compile(r"(?:^|[*_\s])(?:t?fl|fi|tfi)[23]d|mp-?rage|bravo|f?spgr|t1[tf]fe|rssg|gre_")

WHITE_MATTER_T1_MS = 900.0
"""At 3 T; 600 to 650 at 1.5 T."""
T1_FLIP_SHARE = 0.6
"""Of the Ernst angle at that T1: a spoiled gradient echo below it is weighted by proton density."""
SHOT_FROM_MS = 800.0
"""From this RepetitionTime on, that of a gradient echo is the time between inversions, not between excitations.
Siemens, Canon and some GE releases write the former, Philips, UIH and other GE releases the latter."""
LONGEST_MPRAGE_TR_MS = 3500.0
"""An MP2RAGE has 4,000 ms and more: its inversion images are not T1-weighted, its uniform image is."""
SHORTEST_MPRAGE_TI_MS, LONGEST_MPRAGE_TI_MS = 550.0, 1600.0
"""Where RepetitionTime is that of a shot: 700 to 1,100 ms are usual; below, white matter is dark (FGATIR)."""
COARSEST_MM = 2.5
"""Gradient echoes with a larger pixel spacing serve for shimming, field maps or registration, not for reading."""


@dataclass(frozen=True)
class Timing:
    """The sequence parameters that a header states; None where it states none.

    ``named_by``: the attributes that name a gradient or spin echo if ScanningSequence does not. ``uniform``: the
    images are the UNI images of an MP2RAGE. ``balanced``: a steady-state sequence that is not spoiled.
    """

    repetition: float | None
    echo: float | None
    inversion: float | None
    flip: float | None
    gradient_echo: bool
    spin_echo: bool
    stated_inverted: bool
    inverted: bool
    echo_planar: bool
    balanced: bool
    volume: bool
    coarse: bool
    uniform: bool
    named_by: tuple[str, ...] = ()

    @classmethod
    def of(cls, header: Dataset) -> Timing:
        """The timing in ``header``, which has classic form. Never raises."""
        sequences = {
            part.upper() for value in texts(header, "ScanningSequence") for part in re.split(r"[\s/+]+", value)
        }
        variants = {value.upper() for value in texts(header, "SequenceVariant")}
        options = {value.upper() for value in texts(header, "ScanOptions")}
        gradient, spin = (bool(sequences & FAMILIES[family]) for family in ("GR", "SE"))
        named_by: tuple[str, ...] = ()
        if not (gradient or spin or "IR" in sequences or "EP" in sequences):
            named_by, gradient, spin = _named_family(header)
        inversion = number(header, "InversionTime")
        if inversion is None:
            inversion = number(header, "InversionTimes")
        inversion = inversion if inversion and inversion > 0 else None
        stated = "IR" in sequences
        prepared = (
            bool(options & {"IR", "IR_GEMS", "IRPREP_GEMS"}) or text(header, "InversionRecovery").upper() == "YES"
        )
        inverted = stated or prepared or inversion is not None
        spacing = numbers(header, "PixelSpacing", 2)
        return cls(
            repetition=number(header, "RepetitionTime"),
            echo=number(header, "EchoTime"),
            inversion=inversion,
            flip=number(header, "FlipAngle"),
            gradient_echo=gradient,
            spin_echo=spin,
            stated_inverted=stated,
            inverted=inverted,
            echo_planar="EP" in sequences,
            balanced=gradient and "SS" in variants and not variants & {"SP", "MP"} and not inverted,
            volume=text(header, "MRAcquisitionType").upper() == "3D",
            coarse=spacing is not None and min(spacing) > COARSEST_MM,
            uniform=series_words.is_uni(header),
            named_by=named_by,
        )


def _named_family(header: Dataset) -> tuple[tuple[str, ...], bool, bool]:
    """The attributes whose sequence name is that of a gradient echo or of a spin echo, and which of the two it is."""
    names = series_words.sequence_names(header)
    gradient = tuple(attribute for attribute, name in names.items() if GRADIENT_ECHO_NAMES.search(name))
    spin = tuple(attribute for attribute, name in names.items() if SPIN_ECHO_NAMES.search(name))
    return gradient or spin, bool(gradient), bool(spin) and not gradient


@dataclass(frozen=True)
class Allowed:
    """The weighting that the timing allows, and for T1 the confirmation that it needs.

    ``needs``: "nothing" where ScanningSequence, RepetitionTime and EchoTime prove it; "inversion" where the inversion
    time does; "any" for a name, AcquisitionContrast or word; "words" for a name or word. ``reason``: why the weighting
    is unknown or not confirmed.
    """

    weighting: Weighting | None
    needs: Needs = "nothing"
    reason: str = ""


def by_timing(timing: Timing) -> Allowed:
    """The weighting that ``timing`` allows; its repetition and echo times must be stated."""
    assert timing.repetition is not None
    assert timing.echo is not None
    if timing.gradient_echo and not timing.spin_echo:
        return _gradient_echo(timing, timing.repetition, timing.echo)
    if timing.spin_echo:
        return _spin_echo(timing, timing.repetition, timing.echo)
    if timing.echo_planar:
        return Allowed(None, reason="the sequence is echo-planar")
    return _unstated(timing, timing.repetition, timing.echo)


def _gradient_echo(timing: Timing, repetition: float, echo: float) -> Allowed:
    long_repetition = repetition > SHOT_FROM_MS
    weak_flip = timing.flip is not None and timing.flip < T1_FLIP_SHARE * _ernst_angle(repetition)
    # No volume sequence waits a second between excitations: this one has a preparation that the header does not name.
    unnamed = long_repetition and timing.volume and echo <= 10 and repetition <= LONGEST_MPRAGE_TR_MS
    if echo >= 15:
        return Allowed("T2*")
    if timing.inverted:
        return _prepared(timing, repetition, echo)
    if unnamed:
        return Allowed("T1", "any", "the gradient echo has a preparation that the header does not name")
    if weak_flip:
        return Allowed("PD")
    return _spoiled(timing, echo, long_repetition=long_repetition)


def _spoiled(timing: Timing, echo: float, *, long_repetition: bool) -> Allowed:
    """A gradient echo without inversion: FLASH, SPGR, VIBE, T1 FFE."""
    if long_repetition:
        return Allowed(None, reason="the repetition time is too long for a T1 gradient echo without inversion")
    if timing.coarse:
        return Allowed("T1", "words", "no name or description says T1, and the pixels are too coarse to read")
    if echo > 10:
        return Allowed("T1", "words", "no name or description says T1, and the echo time is long for it")
    return Allowed("T1")


def _prepared(timing: Timing, repetition: float, echo: float) -> Allowed:
    """A gradient echo after an inversion: MPRAGE, BRAVO, 3D TFE. RepetitionTime is that of a shot, or of an echo."""
    shot, inversion = repetition > SHOT_FROM_MS, timing.inversion
    unlike_t1 = (
        (echo > 10, "the echo time is too long for an MPRAGE"),
        (
            repetition > LONGEST_MPRAGE_TR_MS and not timing.uniform,
            "the repetition time is that of an MP2RAGE, and the images are not said to be UNI",
        ),
        (
            inversion is not None and inversion > LONGEST_MPRAGE_TI_MS and not timing.uniform,
            "the inversion time is too long for T1",
        ),
        (
            shot and inversion is not None and inversion < SHORTEST_MPRAGE_TI_MS,
            "the inversion time nulls white matter, which an MPRAGE does not",
        ),
    )
    reason = next((reason for holds, reason in unlike_t1 if holds), None)
    if reason is not None:
        return Allowed(None, reason=reason)
    if timing.uniform:
        return Allowed("T1", "words")
    if not shot or timing.stated_inverted:
        return Allowed("T1")
    if inversion is not None:
        return Allowed("T1", "inversion")
    return Allowed("T1", "any", "the inversion time is not stated")


def _spin_echo(timing: Timing, repetition: float, echo: float) -> Allowed:
    if echo >= 60:
        return Allowed("T2")
    if timing.inverted and repetition > 1000:
        return _inversion_recovery(timing, repetition, echo)
    if echo <= 40 and repetition <= 1000:
        return Allowed("T1")
    if echo <= 30 and repetition <= 1500:
        return Allowed("T1", "any", "the repetition time is long for a T1 spin echo")
    if repetition > 1500:
        return Allowed("PD")
    return Allowed(None, reason="the echo time and repetition time are those of no usual weighting")


def _inversion_recovery(timing: Timing, repetition: float, echo: float) -> Allowed:
    """A spin echo after an inversion: T1 FLAIR, STIR, FLAIR."""
    inversion = timing.inversion
    if inversion is not None and inversion < 350:
        return Allowed(None, reason="the inversion time is that of a STIR")
    if inversion is not None and inversion > 1500:
        return Allowed(None, reason="the inversion time is that of a FLAIR")
    if echo > 40 or repetition > 3500:
        return Allowed(None, reason="the echo time or repetition time is too long for a T1 inversion recovery")
    if inversion is None:
        return Allowed("T1", "any", "the inversion time is not stated: it may be a STIR")
    return Allowed("T1") if timing.stated_inverted else Allowed("T1", "inversion")


def _unstated(timing: Timing, repetition: float, echo: float) -> Allowed:
    """The weighting that both kinds allow, where neither spin nor gradient echo is stated (IR or RM
    alone, or nothing).
    """
    spin, gradient = _spin_echo(timing, repetition, echo), _gradient_echo(timing, repetition, echo)
    if timing.stated_inverted:
        if echo >= 60:
            return spin
        found = gradient if gradient.weighting == "T1" else spin
        return found if found.weighting == "T1" else Allowed(None, reason=spin.reason or gradient.reason)
    if "T1" in {spin.weighting, gradient.weighting}:
        return Allowed("T1", "words", "ScanningSequence names neither a spin nor a gradient echo")
    return Allowed(None, reason="ScanningSequence names neither a spin nor a gradient echo")


def _ernst_angle(repetition: float) -> float:
    """The flip angle, in degrees, of the most signal of white matter: beyond it T1 weights, below it proton density."""
    return math.degrees(math.acos(math.exp(-repetition / WHITE_MATTER_T1_MS)))
