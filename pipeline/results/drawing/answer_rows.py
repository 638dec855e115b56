"""The row of a page that holds the answer, large: the headline, and the figure that goes with it."""

from __future__ import annotations

from pipeline.findings.model import AnswerKind, Findings, Outcome
from pipeline.report import leading
from pipeline.report.findings import ReportedFindings
from pipeline.report.leading import Figure
from pipeline.results.drawing.canvas import DIM, SIDE, TEXT, Canvas
from pipeline.results.drawing.page_parts import BASE, INNER, MARGIN, PROBABILITY, in_sentence, shown

UNAIDED = "read the images without it"
"""What an answer that is not reliable asks of the reader: it names no class, whose figure stands in the table."""


def answer_row(canvas: Canvas, findings: Findings) -> None:
    """The answer and its figure, large; where the answer is not reliable no figure claims that it is."""
    right = SIDE - MARGIN
    wide = 0.0
    if findings.outcome is Outcome.INDETERMINATE:
        wide = canvas.text((right, BASE), UNAIDED, size=20, least=16, colour=DIM, anchor="rs", most=INNER / 2)
    elif figure := leading_figure(findings):
        wide = _figure(canvas, figure)
    text = answer_title(findings)
    text += ": no reliable answer" if findings.outcome is Outcome.INDETERMINATE else ""
    canvas.text((MARGIN, BASE), text, size=40, least=26, anchor="ls", most=INNER - wide - 24)


def answer_title(findings: Findings) -> str:
    """The answer in a few words."""
    return shown(leading.title(ReportedFindings.of(findings)), str(findings.outcome))


def answer_note(findings: Findings) -> str:
    """The figure on a slice page, small: what it is of, and its value; empty without a reliable one."""
    if findings.outcome is Outcome.INDETERMINATE:
        return ""
    if findings.model.kind is AnswerKind.LESION:
        return f"{PROBABILITY.lower()} {findings.probability(findings.predicted_class):.2f}"
    figure = leading_figure(findings)
    if figure is None:
        return ""
    return " ".join((figure.value, figure.label) if figure.counts else filter(None, (figure.label, figure.value)))


def leading_figure(findings: Findings) -> Figure | None:
    """The figure that leads the page, its label as written within a line; None without one."""
    if findings.model.kind is AnswerKind.LESION:
        return Figure(f"{findings.probability(findings.predicted_class):.2f}", PROBABILITY.lower())
    figure = leading.figure(ReportedFindings.of(findings))
    return figure and Figure(shown(figure.value, ""), in_sentence(figure.label), figure.counts)


def _figure(canvas: Canvas, figure: Figure) -> float:
    """The figure at the right end of the row, its label before it, or behind it where it counts; returns the width."""
    value, label = (figure.value, 40, TEXT), (figure.label, 20, DIM)
    ends = [SIDE - MARGIN + 12.0]
    for text, size, colour in (label, value) if figure.counts else (value, label):
        if text:
            end = ends[-1] - 12
            ends.append(
                end - canvas.text((end, BASE), text, size=size, least=16, colour=colour, anchor="rs", most=INNER / 2)
            )
    return SIDE - MARGIN - ends[-1]
