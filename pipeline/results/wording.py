"""The words that DICOM results share, in English: the same sentence in the picture, the report and its conclusion."""

from __future__ import annotations

import unicodedata

from pipeline.findings.model import Findings
from pipeline.report import sentences
from pipeline.report.answer import Answer

DISCLAIMER = sentences.disclaimer()
PLAIN = str.maketrans(
    {
        **dict.fromkeys("–—−‐‑", "-"),
        **dict.fromkeys("‘’", "'"),
        **dict.fromkeys("“”", '"'),
        "×": "x",
        "²": "^2",
        "³": "^3",
        "µ": "u",
        "μ": "u",
        "°": " deg",
        "±": "+/-",
        "≤": "<=",
        "≥": ">=",
        "≈": "~",
        "·": "-",
        "\\": "/",
        "ß": "ss",
        "æ": "ae",
        "ø": "o",
        "ł": "l",
    }
)
"""Characters that have a plain spelling but no decomposition, or one that would change the meaning (224² is not 2242).
The backslash separates values in DICOM text."""


def headline(findings: Findings) -> str:
    """The answer in a few words."""
    return sentences.headline(Answer.of(findings))


def conclusion(findings: Findings) -> str:
    """The answer in a sentence or two that neither overstates nor hides."""
    return sentences.statement(Answer.of(findings))


def ascii_text(text: str, limit: int | None = None) -> str:
    """``text`` in ASCII, which every Specific Character Set contains, at most ``limit`` characters.

    Our own words must be readable in whatever character set the source's names are in.
    """
    plain_text = unicodedata.normalize("NFKD", text.translate(PLAIN)).encode("ascii", "ignore").decode()
    return plain_text[:limit].rstrip() if limit else plain_text
