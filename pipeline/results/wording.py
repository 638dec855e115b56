"""English sentences that all DICOM results share: picture, report and conclusion say the same."""

from __future__ import annotations

import unicodedata

from pipeline.findings.model import Findings
from pipeline.report import sentences
from pipeline.report.findings import ReportedFindings

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
    """The findings in a few words."""
    return sentences.headline(ReportedFindings.of(findings))


def conclusion(findings: Findings) -> str:
    """The findings in one or two sentences."""
    return sentences.statement(ReportedFindings.of(findings))


def ascii_text(text: str, limit: int | None = None) -> str:
    """``text`` in ASCII, which every Specific Character Set contains, at most ``limit`` characters.

    The text must be readable in any character set that the source's names use.
    """
    plain_text = unicodedata.normalize("NFKD", text.translate(PLAIN)).encode("ascii", "ignore").decode()
    return plain_text[:limit].rstrip() if limit else plain_text
