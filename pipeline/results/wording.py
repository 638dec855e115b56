"""English sentences that all DICOM results share: picture, report and conclusion say the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from pydicom.charset import python_encoding

from pipeline.findings.model import Findings
from pipeline.report import sentences
from pipeline.report.findings import ReportedFindings

DISCLAIMER = sentences.disclaimer()
SIGNS = str.maketrans(
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
    }
)
"""Signs that have a plain spelling but no decomposition, or one that would change the meaning (224² is not 2242). The
backslash separates values in DICOM text."""
LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "ø": "o", "ł": "l"})
"""Letters of the same kind."""


def headline(findings: Findings) -> str:
    """The findings in a few words."""
    return sentences.headline(ReportedFindings.of(findings))


def conclusion(findings: Findings) -> str:
    """The findings in one or two sentences."""
    return sentences.statement(ReportedFindings.of(findings))


def text_in(text: str, character_set: str | Sequence[str] | None) -> str:
    """``text`` with plain signs if ``character_set``, a value of Specific Character Set (PS3.3 C.12.1.1.2), has all of
    its letters, else `ascii_text`. Character sets that switch by escape sequences count as ASCII.
    """
    written = text.translate(SIGNS)
    single = character_set if isinstance(character_set, str) else next(iter(character_set or ()), None)
    several = not isinstance(character_set, str) and len(character_set or ()) > 1
    encoding = python_encoding.get(single or "", "ascii")
    try:
        written.encode("ascii" if several or single in (None, "", "ISO_IR 6") else encoding)
    except UnicodeEncodeError:
        return ascii_text(text)
    return written


def ascii_text(text: str, limit: int | None = None) -> str:
    """``text`` in ASCII, which every Specific Character Set contains, at most ``limit`` characters.

    The text must be readable in any character set that the source's names use.
    """
    plain_text = unicodedata.normalize("NFKD", text.translate(SIGNS | LETTERS)).encode("ascii", "ignore").decode()
    return plain_text[:limit].rstrip() if limit else plain_text
