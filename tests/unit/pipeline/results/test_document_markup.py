"""Names and descriptions are text on the PDF page, whatever they look like."""

from __future__ import annotations

import pytest

from pipeline.results.pdf.document import pdf_page
from tests.unit.pipeline.results.pdf.test_document import named, read


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "<b>Bold</b>&amp;<",
        "**Bold**__u__--s--",
        ") Tj ET /JS (app.alert(1)",
        "{{7*7}}%PDF",
    ],
)
def test_markup_in_a_name_is_printed_and_never_obeyed(name: str) -> None:
    """HTML, Markdown, templates and PDF syntax stand on the page as they came; no action gets into the file."""
    page = pdf_page(named(name, StudyDescription="<img src=x onerror=alert(1)>"))
    shown = read(page).replace(" ", "")
    assert name.replace(" ", "") in shown
    assert not any(word in page for word in (b"/JavaScript", b"/JS ", b"/URI", b"/Launch"))
