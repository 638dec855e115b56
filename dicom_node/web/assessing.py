"""From what a reader sends to a stored assessment: which classes there are, what contradicts itself."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dicom_node.jobs.assessments import Assessment
from dicom_node.jobs.outcome import WITHDRAWALS
from dicom_node.jobs.status import JobDetail
from dicom_node.web.api.problems import Problem
from dicom_node.web.context import Context
from models import registry
from pipeline.errors import BadModel
from pipeline.findings.model import SEEKS, Outcome
from pipeline.report.assessment import NONE, OTHER, Outline, Verdict

COMMENT_MOST: Final = 2000
"""Characters of a comment."""
CONTROL: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's categories of characters that a comment must not have, line feeds apart."""


def _plain(text: str) -> str:
    found = text.replace("\r\n", "\n").strip()
    if any(unicodedata.category(item) in CONTROL for item in found.replace("\n", "")):
        raise ValueError("a comment has no control characters, but for line feeds")
    return found


class NewAssessment(BaseModel):
    """What a reader says of an answer."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    verdict: Verdict
    correct_class: Annotated[str | None, Field(max_length=64)] = None
    """A class of the model, `none` or `other`; null where the reader names none. An accepted answer needs none."""
    outline: Outline = Outline.NOT_APPLICABLE
    comment: Annotated[str, Field(max_length=COMMENT_MOST), AfterValidator(_plain)] = ""
    """Free text. It may identify the patient: only those who may see identity read it."""


def choices(summary: dict[str, Any], negative: str | None) -> tuple[str, ...]:
    """The classes that a reader may call correct: the model's, by descending probability, then `NONE`, unless the class
    ``negative`` says the same, and `OTHER`.
    """
    shares = summary.get("probabilities", {})
    regions = [item["label"] for item in summary.get("regions", summary.get("lesions", ()))]
    named = (*sorted(shares, key=shares.__getitem__, reverse=True), *regions, *summary.get("suggested", ()))
    known = tuple(dict.fromkeys(filter(None, (*named, summary.get("predicted_class")))))
    return (*known, OTHER) if negative in known else (*known, NONE, OTHER)


def negative_class(here: Context, summary: dict[str, Any]) -> str | None:
    """The class of the model that says that nothing was found; None where it has none, or is installed no more."""
    try:
        return registry.get(summary["model"]["name"], here.settings.models.folders).none
    except BadModel:
        return None


def answered(summary: dict[str, Any]) -> str:
    """The class that the answer names; empty for an indeterminate answer, and where there is none."""
    return "" if summary["outcome"] == Outcome.INDETERMINATE else summary.get("predicted_class") or ""


def assessment(here: Context, detail: JobDetail, said: NewAssessment, *, reader: str, at: datetime) -> Assessment:
    """``said`` with the answer that it is about; without its comment.

    Raises
    ------
    Problem
        404 where the job has no answer; 409 where it was withdrawn; 422 where the class is none of the model's, or
        contradicts the verdict.
    """
    summary = here.reader.summaries.of(detail)
    if "statement" not in summary:
        raise Problem(404, "The job has no findings.", code="NO_FINDINGS", todo="The job's state says why.")
    if any(row.result in WITHDRAWALS for row in detail.deliveries):
        raise Problem(409, "The results were withdrawn: there is no answer to assess.", code="WITHDRAWN")
    model = summary["model"]
    given, outcome = answered(summary), Outcome(summary["outcome"])
    negative = negative_class(here, summary)
    correct = _correct(said, given, choices(summary, negative), negative)
    share = summary.get("probabilities", {}).get(given)
    return Assessment(
        job_id=detail.job.job_id,
        study_instance_uid=detail.job.study_instance_uid,
        series_instance_uid=detail.job.series_instance_uid,
        model=model["name"],
        model_version=model["version"],
        analysed_at=detail.submitted_at.timestamp(),
        outcome=outcome,
        answered=given,
        probability=share,
        verdict=said.verdict,
        correct_class=correct,
        present=_present(outcome, said.verdict, given, correct, negative),
        outline=said.outline,
        comment=None,
        reader=reader,
        at=at.timestamp(),
    )


def _correct(said: NewAssessment, given: str, known: tuple[str, ...], negative: str | None) -> str | None:
    named = said.correct_class or None
    if named == NONE and NONE not in known:
        named = negative
    if named is not None and named not in known:
        raise Problem(422, f"The correct class is one of: {', '.join(known)}.", code="NO_SUCH_CLASS")
    if said.verdict is not Verdict.ACCEPTED:
        return named
    if named is not None and named != given:
        raise Problem(
            422,
            "An accepted answer has no other correct class than its own.",
            code="CONTRADICTION",
            todo="Reject the answer, supplement it, or leave the class out.",
        )
    return given or None


def _present(outcome: Outcome, verdict: Verdict, given: str, correct: str | None, negative: str | None) -> bool | None:
    """Whether, by the reader, what the model looks for is present; None where nothing says so."""
    if outcome not in SEEKS:
        return None
    if correct is None:
        return True if outcome is Outcome.FINDING and verdict is not Verdict.REJECTED else None
    if correct == given:
        return outcome is Outcome.FINDING
    return correct not in (NONE, negative)
