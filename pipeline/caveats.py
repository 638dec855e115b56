"""Caveats: what limits the answer of a run, or what was left out of it or repaired, as a code with values.

Every step of the pipeline may add some. `pipeline.report.sentences.caveat` puts one into words, in each language.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

Value = str | int | float | tuple[str, ...]


class CaveatCode(StrEnum):
    """The codes are stored with results: a code keeps its meaning, and its values their names (`VALUES`)."""

    REPLACES_EARLIER_RESULT = "REPLACES_EARLIER_RESULT"

    # Patient and study
    ATTRIBUTES_DIFFER = "ATTRIBUTES_DIFFER"
    ATTRIBUTES_FILLED_IN = "ATTRIBUTES_FILLED_IN"
    NAME_SPELLINGS_DIFFER = "NAME_SPELLINGS_DIFFER"
    IDENTITY_CHOSEN = "IDENTITY_CHOSEN"
    INVALID_VALUES_LEFT_OUT = "INVALID_VALUES_LEFT_OUT"
    IRREGULAR_VALUES_REPEATED = "IRREGULAR_VALUES_REPEATED"
    ACCESSION_NUMBER_TOO_LONG = "ACCESSION_NUMBER_TOO_LONG"

    # Files and headers
    UNREADABLE_VALUES_LEFT_OUT = "UNREADABLE_VALUES_LEFT_OUT"
    PICTURES_LEFT_OUT = "PICTURES_LEFT_OUT"
    INSTANCES_CORRECTED = "INSTANCES_CORRECTED"
    EARLIER_INSTANCES_UNREADABLE = "EARLIER_INSTANCES_UNREADABLE"
    SOP_INSTANCE_UIDS_SHARED = "SOP_INSTANCE_UIDS_SHARED"

    # Protocol
    BODY_PART_ABSENT = "BODY_PART_ABSENT"
    CONTRAST_AGENT_ABSENT = "CONTRAST_AGENT_ABSENT"
    WEIGHTING_INFERRED = "WEIGHTING_INFERRED"

    # Geometry
    STACKS_LEFT_OUT = "STACKS_LEFT_OUT"
    COPIES_LEFT_OUT = "COPIES_LEFT_OUT"
    ORIENTATION_NOT_PERPENDICULAR = "ORIENTATION_NOT_PERPENDICULAR"
    FRAME_OF_REFERENCE_ABSENT = "FRAME_OF_REFERENCE_ABSENT"
    GANTRY_TILTED = "GANTRY_TILTED"
    OTHER_SERIES_READ = "OTHER_SERIES_READ"
    SERIES_RESAMPLED = "SERIES_RESAMPLED"
    SERIES_REGISTERED = "SERIES_REGISTERED"

    # Whether the series is whole
    NEGATIVE_NOT_REPORTED = "NEGATIVE_NOT_REPORTED"
    COVERAGE_TOO_SMALL = "COVERAGE_TOO_SMALL"
    SLICES_TOO_FAR_APART = "SLICES_TOO_FAR_APART"
    SLICES_FARTHER_APART_THAN_STATED = "SLICES_FARTHER_APART_THAN_STATED"
    INSTANCE_NUMBERS_SKIPPED = "INSTANCE_NUMBERS_SKIPPED"
    FEWER_IMAGES_THAN_STATED = "FEWER_IMAGES_THAN_STATED"
    FEWER_IMAGES_THAN_ARCHIVED = "FEWER_IMAGES_THAN_ARCHIVED"
    FEWER_TIMES_THAN_STATED = "FEWER_TIMES_THAN_STATED"
    STACK_SHORTER_THAN_STATED = "STACK_SHORTER_THAN_STATED"

    # Projections
    VIEW_POSITION_ABSENT = "VIEW_POSITION_ABSENT"
    IMAGE_MIRRORED = "IMAGE_MIRRORED"
    IMAGES_LEFT_OUT = "IMAGES_LEFT_OUT"
    IMAGES_NOT_READ = "IMAGES_NOT_READ"
    OTHER_IMAGES_READ = "OTHER_IMAGES_READ"
    IMAGE_COPIES_LEFT_OUT = "IMAGE_COPIES_LEFT_OUT"
    LENGTHS_AT_DETECTOR = "LENGTHS_AT_DETECTOR"
    LENGTHS_CORRECTED = "LENGTHS_CORRECTED"
    LENGTHS_CALIBRATED = "LENGTHS_CALIBRATED"

    # The model's answer
    VALUES_NOT_NUMBERS = "VALUES_NOT_NUMBERS"
    OUTCOME_UNCERTAIN = "OUTCOME_UNCERTAIN"
    LESION_KIND_UNCERTAIN = "LESION_KIND_UNCERTAIN"
    PROBABILITIES_NOT_CALIBRATED = "PROBABILITIES_NOT_CALIBRATED"
    HEAD_NOT_CHECKED = "HEAD_NOT_CHECKED"
    STRUCTURES_NOT_FOUND = "STRUCTURES_NOT_FOUND"
    SCORES_NOT_CALIBRATED = "SCORES_NOT_CALIBRATED"
    HEAT_MAP_LEFT_OUT = "HEAT_MAP_LEFT_OUT"

    FREE_TEXT = "FREE_TEXT"
    """An English sentence of a model, or of a version of Candela that stored sentences: it has no translation."""


VALUES: Final[Mapping[CaveatCode, frozenset[str]]] = {
    CaveatCode.ATTRIBUTES_DIFFER: frozenset({"attributes"}),
    CaveatCode.ATTRIBUTES_FILLED_IN: frozenset({"attributes"}),
    CaveatCode.INVALID_VALUES_LEFT_OUT: frozenset({"names"}),
    CaveatCode.IRREGULAR_VALUES_REPEATED: frozenset({"names"}),
    CaveatCode.UNREADABLE_VALUES_LEFT_OUT: frozenset({"names"}),
    CaveatCode.PICTURES_LEFT_OUT: frozenset({"count", "kinds"}),
    CaveatCode.INSTANCES_CORRECTED: frozenset({"count", "names"}),
    CaveatCode.EARLIER_INSTANCES_UNREADABLE: frozenset({"count"}),
    CaveatCode.SOP_INSTANCE_UIDS_SHARED: frozenset({"count"}),
    CaveatCode.WEIGHTING_INFERRED: frozenset({"weighting", "attributes"}),
    CaveatCode.STACKS_LEFT_OUT: frozenset({"count", "read", "others"}),
    CaveatCode.COPIES_LEFT_OUT: frozenset({"count"}),
    CaveatCode.ORIENTATION_NOT_PERPENDICULAR: frozenset({"off"}),
    CaveatCode.GANTRY_TILTED: frozenset({"tilt"}),
    CaveatCode.SERIES_RESAMPLED: frozenset({"channel", "covered"}),
    CaveatCode.SERIES_REGISTERED: frozenset({"channel", "covered", "residual"}),
    CaveatCode.COVERAGE_TOO_SMALL: frozenset({"covered", "needed"}),
    CaveatCode.SLICES_TOO_FAR_APART: frozenset({"step", "most"}),
    CaveatCode.SLICES_FARTHER_APART_THAN_STATED: frozenset({"step", "stated"}),
    CaveatCode.FEWER_IMAGES_THAN_STATED: frozenset({"stated", "count"}),
    CaveatCode.FEWER_IMAGES_THAN_ARCHIVED: frozenset({"expected", "count"}),
    CaveatCode.FEWER_TIMES_THAN_STATED: frozenset({"stated", "count"}),
    CaveatCode.STACK_SHORTER_THAN_STATED: frozenset({"stated", "count"}),
    CaveatCode.IMAGES_LEFT_OUT: frozenset({"count", "read"}),
    CaveatCode.IMAGES_NOT_READ: frozenset({"count"}),
    CaveatCode.OTHER_IMAGES_READ: frozenset({"count"}),
    CaveatCode.OTHER_SERIES_READ: frozenset({"count"}),
    CaveatCode.IMAGE_COPIES_LEFT_OUT: frozenset({"count"}),
    CaveatCode.LENGTHS_CORRECTED: frozenset({"factor"}),
    CaveatCode.LENGTHS_CALIBRATED: frozenset({"kind"}),
    CaveatCode.VALUES_NOT_NUMBERS: frozenset({"some", "all"}),
    CaveatCode.STRUCTURES_NOT_FOUND: frozenset({"names"}),
    CaveatCode.FREE_TEXT: frozenset({"text"}),
}
"""The names of the values of each code; a code that is absent here has none."""


@dataclass(frozen=True)
class Caveat:
    """One caveat.

    ``values`` by name: counts are integers, lengths mm, angles degrees, lists tuples of DICOM keywords or short texts.
    Measured values are rounded to what a reader could use: they are stored.
    They never hold a value of the patient.

    Raises
    ------
    ValueError
        where ``values`` are not those that the code has.
    """

    code: CaveatCode
    values: Mapping[str, Value] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if set(self.values) != VALUES.get(self.code, frozenset()):
            raise ValueError(f"{self.code} has other values than {sorted(self.values)}")


def free_text(sentence: str) -> Caveat:
    """An English sentence as a caveat: the own words of a model, or those that an earlier version stored."""
    return Caveat(CaveatCode.FREE_TEXT, {"text": sentence})
