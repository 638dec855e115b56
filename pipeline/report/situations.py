"""The sentence for an answer, by its kind and outcome: keys of phrases, the classes that it names, its figure."""

from __future__ import annotations

from pipeline.findings.model import AnswerKind, Outcome
from pipeline.report.findings import ReportedFindings

ABSENT = "absent"
"""The key of the phrases that say that what the model looks for is not suggested."""


def headline_key(findings: ReportedFindings) -> str:
    """The key of the headline in the section ``headline`` of the phrases."""
    if findings.outcome is Outcome.MEASURED:
        return "structures" if findings.kind is AnswerKind.SEGMENTATION else "measured"
    if findings.outcome is Outcome.NO_FINDING and not named_classes(findings):
        return ABSENT
    return str(findings.outcome)


def answer_key(findings: ReportedFindings) -> str:
    """The key of the sentence in the section ``answer`` of the phrases."""
    match findings.outcome:
        case Outcome.FINDING:
            return _finding(findings)
        case Outcome.NO_FINDING if not named_classes(findings):
            return ABSENT
        case Outcome.NO_FINDING if findings.kind is AnswerKind.CLASSIFICATION:
            return "none_class"
        case Outcome.MEASURED:
            return _MEASURED[findings.kind]
    return str(findings.outcome)


_MEASURED = {
    AnswerKind.SEGMENTATION: "structures",
    AnswerKind.CLASSIFICATION: "class",
    AnswerKind.REGRESSION: "quantities",
}


def _finding(findings: ReportedFindings) -> str:
    match findings.kind:
        case AnswerKind.SEGMENTATION:
            return "outlined"
        case AnswerKind.DETECTION:
            return "marked"
        case AnswerKind.CLASSIFICATION:
            return "classes"
    return f"finding_{('no_region', 'one_region', 'several_regions')[min(len(findings.regions), 2)]}"


def named_classes(findings: ReportedFindings) -> tuple[str, ...]:
    """The classes that the sentences name: those that are suggested, those of the detected objects, else the predicted
    one, or of a negative about lesions the one for "no lesion". Empty where the answer is about no class.
    """
    if findings.outcome is Outcome.NO_FINDING and findings.kind is AnswerKind.LESION:
        return (findings.probabilities[-1].name,)
    if findings.kind is AnswerKind.DETECTION:
        return tuple(dict.fromkeys(region.label for region in findings.regions))
    return findings.suggested or tuple(filter(None, (findings.predicted_class,)))


def share(findings: ReportedFindings) -> float | None:
    """The probability of the predicted class, or the highest score of the detected objects; None without either."""
    if findings.predicted_class:
        return findings.share
    scores = [item.value("score") for item in findings.regions if item.has("score")]
    return max(scores, default=None)
