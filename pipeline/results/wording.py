"""The words that results share: the same sentence in the picture, the report and its conclusion."""

from __future__ import annotations

import unicodedata

from pipeline.findings import Findings, Outcome

DISCLAIMER = "AI result, not verified, not for diagnosis"
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
    if findings.outcome is Outcome.NO_FINDING:
        return f"{_none(findings)} suggested"
    if findings.outcome is Outcome.INDETERMINATE:
        return "Indeterminate"
    return f"{findings.model.term(findings.predicted_class).title} suggested"


def conclusion(findings: Findings) -> str:
    """The answer in a sentence or two that neither overstates nor hides."""
    name = findings.model.term(findings.predicted_class).title
    share = f"model probability {findings.probability(findings.predicted_class):.2f}"
    if findings.outcome is Outcome.NO_FINDING:
        return f"The algorithm suggests {_none(findings).lower()} ({share}). This does not exclude disease."
    if findings.outcome is Outcome.INDETERMINATE:
        return f"The algorithm gives no reliable answer. Its most probable class is {name.lower()} ({share})."
    count = len(findings.lesions)
    outlined = f"{count} region{'s' if count != 1 else ''} outlined" if count else "no region outlined"
    return f"The algorithm suggests {name.lower()} ({share}), {outlined}."


def _none(findings: Findings) -> str:
    """What the class that says "no lesion" is called."""
    return findings.model.term(findings.probabilities[-1].name).title


def ascii_text(text: str, limit: int | None = None) -> str:
    """``text`` in ASCII, which every Specific Character Set contains, at most ``limit`` characters.

    Our own words must be readable in whatever character set the source's names are in.
    """
    plain_text = unicodedata.normalize("NFKD", text.translate(PLAIN)).encode("ascii", "ignore").decode()
    return plain_text[:limit].rstrip() if limit else plain_text
