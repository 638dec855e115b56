"""What leads a page beside the headline: the figure that the answer is about, in the reader's language."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.findings.model import AnswerKind, Outcome
from pipeline.report import sentences, situations, tables
from pipeline.report.findings import ReportedFindings
from pipeline.report.sentences import Language


@dataclass(frozen=True)
class Figure:
    """A ``value`` as it is written, and the ``label`` that says what it is of; ``counts``: a number of such things."""

    value: str
    label: str
    counts: bool = False


def title(findings: ReportedFindings, language: Language = Language.ENGLISH) -> str:
    """The headline; of estimated numbers the name of the first, whose value `figure` gives."""
    if findings.quantities:
        return sentences.title(findings.model, findings.quantities[0].name, language)
    return sentences.headline(findings, language)


def figure(findings: ReportedFindings, language: Language = Language.ENGLISH) -> Figure | None:
    """The figure that leads; None where no one number tells the answer, or where the answer is not reliable.

    A number of the networks' own is a score: only the probabilities of lesions are called so.
    """
    if findings.outcome is Outcome.INDETERMINATE:
        return None
    if findings.quantities:
        return Figure(sentences.amount(findings.quantities[0], language), "")
    if findings.kind is AnswerKind.SEGMENTATION:
        return _outlined(findings, language)
    share = situations.share(findings)
    if share is None:
        return None
    several = max(len(findings.suggested), len(findings.regions)) > 1
    label = sentences.label("highest_score" if several else "score", language)
    return Figure(sentences.number(share, language, digits=2), label)


def _outlined(findings: ReportedFindings, language: Language) -> Figure | None:
    """Volume or area of one region, or the number of several that the headline does not count."""
    for name in ("volume", "area") if len(findings.regions) == 1 else ():
        if size := tables.cell(findings.regions[0], name, language):
            return Figure(size, sentences.label(name, language))
    if findings.outcome is Outcome.FINDING and len(findings.regions) > 1:
        return Figure(str(len(findings.regions)), sentences.label("regions", language), counts=True)
    return None
