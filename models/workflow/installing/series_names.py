"""The rule by which a channel's series is chosen, from the name that the field gives to the channel, as in BraTS.

A name is read whole, or not at all: "T1 map" is no T1, and what "channel 3" or "b1000" takes is for the administrator.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

T1 = r"t1(?:w|weighted)?"
AGENT = r"(?:c|ce|gd|gad|gadolinium|wce|km|post|postcontrast|postgd|contrast|contrastenhanced|withcontrast)"
NAMES: dict[re.Pattern[str], dict[str, Any]] = {
    re.compile(T1): {"weightings": ["T1"]},
    re.compile(rf"{T1}(?:n|native|pre|precontrast|withoutcontrast)|(?:native|pre|precontrast){T1}"): {
        "weightings": ["T1"],
        "contrast": False,
    },
    re.compile(rf"{T1}{AGENT}|(?:ce|gd|contrastenhanced|post|postcontrast){T1}"): {
        "weightings": ["T1"],
        "contrast": True,
    },
    re.compile(r"t2(?:w|weighted)?"): {"weightings": ["T2"]},
    re.compile(r"(?:t2(?:w|weighted)?)?flair|flairt2|t2f|fluidattenuatedinversionrecovery"): {"weightings": ["FLAIR"]},
    re.compile(r"pd(?:w|weighted)?|protondensity(?:weighted)?"): {"weightings": ["PD"]},
}
"""Names without case, spaces and punctuation, and the rule that each stands for (`models.contract.ChannelBlock`)."""
EXAMINATION = re.compile(r"^(?:mri?|mr imaging)\s*[-_:]?\s*|\s*(?:images?|series|mri?|scans?)$")
"""Words around a name that do not tell one series of MR from another."""


def series_rules(names: Sequence[str]) -> list[dict[str, Any]]:
    """The rule of each of the channels ``names`` of an MR bundle; empty where its name does not tell one.

    "T1" is the series without contrast agent where a channel with it stands beside. Two channels to whose names the
    same rule belongs have none: something else tells their series apart.
    """
    rules = [_rule(name) for name in names]
    if {"weightings": ["T1"], "contrast": True} in rules:
        rules = [{**rule, "contrast": False} if rule == {"weightings": ["T1"]} else rule for rule in rules]
    return [rule if rules.count(rule) == 1 else {} for rule in rules]


def _rule(name: str) -> dict[str, Any]:
    plain = EXAMINATION.sub("", name.casefold().strip())
    if "*" in plain:  # T2* is no T2
        return {}
    plain = re.sub(r"[\s_.()/+-]", "", plain)
    return next((dict(rule) for pattern, rule in NAMES.items() if pattern.fullmatch(plain)), {})
