"""What limits the answer, on pages: below the pictures of a summary, and whole on a page of its own where need be."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.findings.model import Findings
from pipeline.report import sentences
from pipeline.results.drawing.canvas import WARNING, Box, Canvas
from pipeline.results.drawing.fonts import width, wrap
from pipeline.results.drawing.page_parts import BASE, FOOT, HEAD, INNER, MARGIN, frame, shown

STANDING = "Computed, not read by anyone: compare with the original images."
NAME = "Caveats"
LEAD = 1.35
SIZES = (24, 21, 18, 16, 14)
"""Of the page of caveats: the largest at which all are whole."""


def fit(findings: Findings, box: Box, size: int) -> bool:
    """Whether every caveat is whole in ``box``."""
    return len(_whole(_sentences(findings), box, size)) == len(findings.caveats)


def below(canvas: Canvas, findings: Findings, box: Box, size: int, *, page: int) -> None:
    """The caveats, one after the other: as many as are whole in ``box``, then how many more ``page`` lists."""
    said = _sentences(findings)
    whole = _whole(said, box, size)
    if len(whole) < len(said):
        text = " ".join((*whole, _more(len(said) - len(whole), page)))
    else:
        text = " ".join((*said, STANDING))
        if _lines(text, box, size) > _room(box, size):
            text = " ".join(said)
    begun = _begun(size) if said else 0
    if said:
        canvas.text((box.x, box.y), NAME, size=size, colour=WARNING)
    canvas.paragraph((box.x + begun, box.y), text, most=box.width - begun, lines=_room(box, size), size=size)


def draw_page(canvas: Canvas, findings: Findings, *, page: int, pages: int) -> None:
    """Every caveat as a paragraph, as large as the page allows; what no size has room for is counted."""
    frame(canvas, findings.model, page=page, pages=pages)
    canvas.text((MARGIN, BASE), NAME, size=34, colour=WARNING, anchor="ls")
    said, top = _sentences(findings), HEAD + 70
    size = next((size for size in SIZES if _height(said, size) <= FOOT - top), SIZES[-1])
    y = float(top)
    for number, sentence in enumerate(said):
        left = FOOT - y - round(size * LEAD)
        if _height([sentence], size) > left and number < len(said) - 1:
            canvas.text((MARGIN, y), f"{len(said) - number} more in the report.", size=size, colour=WARNING)
            return
        lines = max(1, int((FOOT - y) // round(size * LEAD)))
        y = canvas.paragraph((MARGIN, y), sentence, most=INNER, lines=lines, size=size) + round(size * 0.5)


def _sentences(findings: Findings) -> list[str]:
    said = [shown(sentences.caveat(item), "A caveat in another script is in the report.") for item in findings.caveats]
    return [f"{sentence.rstrip('.')}." for sentence in said]


def _whole(said: Sequence[str], box: Box, size: int) -> Sequence[str]:
    """The first of ``said`` that are whole in ``box``, with room for the count of the others where there are any."""
    for count in range(len(said), 0, -1):
        rest = len(said) - count
        text = " ".join((*said[:count], *((_more(rest, 99),) if rest else ())))
        if _lines(text, box, size) <= _room(box, size):
            return said[:count]
    return ()


def _more(count: int, page: int) -> str:
    return f"{count} more on page {page}."


def _begun(size: int) -> int:
    """Where the text begins, beside its name."""
    return round(width(NAME, size)) + 12


def _room(box: Box, size: int) -> int:
    return max(1, box.height // round(size * LEAD))


def _lines(text: str, box: Box, size: int) -> int:
    return len(wrap(text, box.width - _begun(size), 10_000, size))


def _height(said: Sequence[str], size: int) -> int:
    return sum(len(wrap(one, INNER, 10_000, size)) * round(size * LEAD) + round(size * 0.5) for one in said)
