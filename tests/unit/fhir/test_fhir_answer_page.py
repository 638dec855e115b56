"""The HTML page of every kind of answer: its table, its colours and its scores, in the reader's language."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape

import pytest

from fhir.bundle import page
from pipeline.report.sentences import Language
from pipeline.results.provenance import ResultContext
from pipeline.results.reported import report_content
from tests.conformance.answers import ANSWERS, answer_context
from tests.conformance.crowded import CROWDED, crowded_context

RECORDED = datetime(2026, 1, 5, 11, 30, tzinfo=UTC)


def html_of(context: ResultContext, language: Language = Language.ENGLISH) -> str:
    return page.html(report_content(context, (), recorded=RECORDED), language).decode()


def text_of(html: str) -> str:
    """What a reader sees, on one line."""
    body = html[html.index("<body>") :]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


@pytest.mark.parametrize(
    ("name", "language", "expected"),
    [
        ("structures", Language.ENGLISH, ["11 structures outlined", "Volume Mean", "Structure 10 5.7 mL"]),
        ("structures", Language.GERMAN, ["11 Strukturen umrandet", "Volumen Mittelwert", "Structure 10 5,7 mL"]),
        ("boxes", Language.SPANISH, ["recuadro de IA Puntuación Tamaño", "1 Nodule 0,93", "2 Nodule 0,41 20 × 18 × 3"]),
        ("labels", Language.FRENCH, ["Score Pneumonia 0,81 Pleural effusion 0,62 Mass 0,10"]),
        ("estimates", Language.ENGLISH, ["Estimates Brain age 53.27 years Ejection fraction 0.553"]),
        ("separate", Language.ENGLISH, ["Long × short axis Mean", "1 Metastasis", "2 Metastasis"]),
        ("no box", Language.ENGLISH, ["No solitary nodule of lung suggested"]),
    ],
)
def test_the_page_holds_the_table_of_its_kind(name: str, language: Language, expected: list[str]) -> None:
    """Structures with volume and mean, boxes with score and size, classes with scores, numbers with units."""
    shown = text_of(html_of(answer_context(name), language))
    assert [text for text in expected if text not in shown] == [], shown


def test_each_structure_has_the_colour_of_its_outline() -> None:
    """The swatches are those of the pictures, in order."""
    swatches = re.findall(r'class="swatch" style="background: (#\w{6})"', html_of(answer_context("nested")))
    assert swatches == ["#00e5ff", "#ffb03b", "#7ed957"]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("104 structures", "and 76 more in the structured report"),
        ("30 boxes", "and 2 more in the structured report"),
        ("40 labels", "and 26 more with lower scores"),
        ("25 estimates", "and 11 more in the structured report"),
    ],
)
def test_what_the_tables_leave_out_is_counted(name: str, more: str) -> None:
    """As many rows as one printed sheet has room for."""
    assert more in text_of(html_of(crowded_context(name)))


@pytest.mark.parametrize("name", [*ANSWERS, *CROWDED])
def test_every_answer_has_a_page(name: str) -> None:
    """Each kind, each outcome, nothing found: a page without a table of lesions."""
    shown = text_of(html_of(answer_context(name) if name in ANSWERS else crowded_context(name)))
    assert "Probability by class" not in shown
    assert "not verified" in shown
