"""A reader's assessment of an answer, as structured report and FHIR state it.

The verdicts are those that IHE Europe has announced for its profile AI Result Assessment for Imaging (AIRAI). PS3.16
has no codes for them, and the profile's were not at hand: the codes are private.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from pipeline.findings import codes
from pipeline.findings.codes import PRIVATE_SCHEME, Code
from pipeline.report.content import ReportContent

NONE: Final = "none"
"""A correct class: nothing of what the model looks for is there."""
OTHER: Final = "other"
"""A correct class: one that the model does not know."""


class Verdict(StrEnum):
    """What a reader says of an answer as a whole."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    SUPPLEMENTED = "supplemented"
    """The answer holds as far as it goes; the reader adds what it lacks."""


class Outline(StrEnum):
    """The quality of the outlined regions."""

    GOOD = "good"
    USABLE = "usable"
    WRONG = "wrong"
    NOT_APPLICABLE = "not_applicable"
    """The answer has no outline, or the reader has not judged it."""


ASSESSMENT: Final = Code("assessment", PRIVATE_SCHEME, "Assessment of AI result")
CORRECT_CLASS: Final = Code("correct-class", PRIVATE_SCHEME, "Class by the reader")
OUTLINE_QUALITY: Final = Code("outline-quality", PRIVATE_SCHEME, "Quality of the outline")
VERDICTS: Final[Mapping[Verdict, Code]] = {
    Verdict.ACCEPTED: Code("accepted", PRIVATE_SCHEME, "Accepted"),
    Verdict.REJECTED: Code("rejected", PRIVATE_SCHEME, "Rejected"),
    Verdict.SUPPLEMENTED: Code("supplemented", PRIVATE_SCHEME, "Supplemented"),
}
OUTLINES: Final[Mapping[Outline, Code]] = {
    Outline.GOOD: Code("outline-good", PRIVATE_SCHEME, "Good outline"),
    Outline.USABLE: Code("outline-usable", PRIVATE_SCHEME, "Usable outline"),
    Outline.WRONG: Code("outline-wrong", PRIVATE_SCHEME, "Wrong outline"),
}
NOTHING_THERE: Final = Code("nothing-there", PRIVATE_SCHEME, "Nothing of what the model looks for")
OTHER_CLASS: Final = Code("other-class", PRIVATE_SCHEME, "A class that the model does not know")


@dataclass(frozen=True)
class StatedAssessment:
    """One assessment of the answer that a `ReportContent` states.

    ``number`` is its number in the node, ``at`` when it was stored, with a time zone. ``correct_class`` is a class of
    the model, `NONE`, `OTHER`, or None; ``present`` whether, by the reader, what the model looks for is present, None
    where the assessment does not tell. ``corrects`` is the reader's assessment before this one, without its own
    ``corrects``.
    """

    number: int
    verdict: Verdict
    correct_class: str | None
    present: bool | None
    outline: Outline
    comment: str
    reader: str
    at: datetime
    corrects: StatedAssessment | None = None

    def uid(self, content: ReportContent) -> str:
        """The UID of the assessment of ``content``: SOP Instance UID of the document, identifier of the Observation."""
        return content.run.uid("assessment", str(self.number), self.at.astimezone(UTC).isoformat())

    def class_code(self, content: ReportContent) -> Code | None:
        """The code of the correct class; None where the reader names none."""
        if self.correct_class is None:
            return None
        if self.correct_class in (NONE, OTHER):
            return NOTHING_THERE if self.correct_class == NONE else OTHER_CLASS
        return content.findings.model.term(self.correct_class).code

    @property
    def presence(self) -> Code | None:
        """Whether what the model looks for is present, by the reader."""
        return None if self.present is None else codes.PRESENT if self.present else codes.ABSENT
