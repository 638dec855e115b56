"""FLAIR told apart from T2: both have a long echo time, and FLAIR nulls cerebrospinal fluid by an inversion.

Routing rules count a FLAIR as T2 (`pipeline.reading.weighting`), as they always did. A model that reads several series
as channels needs to know which is which.
"""

from __future__ import annotations

import re
from typing import Literal

from pydicom.dataset import Dataset

from pipeline.reading import series_words
from pipeline.reading.attributes import text
from pipeline.reading.timing import Timing
from pipeline.reading.weighting import Weighting, weighting

TissueContrast = Weighting | Literal["FLAIR"]

LEAST_INVERSION_MS, MOST_INVERSION_MS = 1500.0, 3500.0
"""Fluid is nulled at 1,600 to 1,900 ms by 3D sequences of short repetition time, at 2,000 to 2,800 ms by 2D ones."""
LEAST_ECHO_MS = 60.0
"""As for T2 in `pipeline.reading.timing`."""
MOST_STIR_MS = 350.0
FLAIR_WORDS = re.compile(r"(?<![a-z0-9])(?:[a-z0-9]{0,6}flair|dark[\s_-]?fluid)(?![a-z0-9])")
DOUBLE_INVERSION = re.compile(r"(?<![a-z0-9])(?:[23]d)?dir(?![a-z0-9])|double[\s_-]?inversion")


def tissue_contrast(header: Dataset) -> TissueContrast | None:
    """T1, T2, PD, T2* or FLAIR for a series with this header in classic form; None where that is unknown.

    A T2 is a series without inversion: STIR and double inversion recovery are None. T1 FLAIR is T1. Never raises.
    """
    found = weighting(header)
    if found not in ("T2", None) or series_words.special(header) is not None:
        return found
    timing = Timing.of(header)
    said = _said(header)
    if DOUBLE_INVERSION.search(said) or _is_stir(header, timing):
        return None
    if _is_flair(header, timing, said):
        return "FLAIR"
    return None if timing.inverted else found


def _is_flair(header: Dataset, timing: Timing, said: str) -> bool:
    words = FLAIR_WORDS.search(said) is not None or _stated(header) == "FLUID_ATTENUATED"
    if timing.echo is None or timing.repetition is None:  # as conversions leave a header
        return words and "T1" not in series_words.contrasts(said)
    if timing.gradient_echo or timing.echo < LEAST_ECHO_MS:
        return False
    if timing.inversion is not None:
        return LEAST_INVERSION_MS <= timing.inversion <= MOST_INVERSION_MS
    return words


def _is_stir(header: Dataset, timing: Timing) -> bool:
    short = timing.inversion is not None and timing.inversion < MOST_STIR_MS
    return short or _stated(header) == "STIR" or "STIR" in series_words.described(header)


def _stated(header: Dataset) -> str:
    return text(header, "AcquisitionContrast").upper()


def _said(header: Dataset) -> str:
    return (text(header, "SeriesDescription") or text(header, "ProtocolName")).casefold()
