"""Routing rules as data: which model reads a series and where its results go. Nothing is evaluated as code."""

from __future__ import annotations

import fnmatch
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydicom.dataset import Dataset

from pipeline.errors import NotRouted

Priority = Literal["stat", "routine"]


class When(BaseModel):
    """Conditions on a series; all that are set must hold, an empty tuple always does.

    ``modality``, ``body_part`` and ``calling_ae`` compare whole values, ignoring case; ``description`` are shell
    patterns (``*t1*``) against SeriesDescription and ProtocolName, ignoring case.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    calling_ae: tuple[str, ...] = ()
    description: tuple[str, ...] = ()


class Rule(BaseModel):
    """One ``[[rules]]`` table of candela.toml. The first rule whose conditions hold decides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    when: When = When()
    model: Annotated[str, Field(min_length=1)]
    destinations: tuple[str, ...] = ()
    priority: Priority = "routine"


def mismatch(when: When, header: Dataset, calling_ae: str = "") -> str | None:
    """Why ``when`` does not hold for ``header``, in words, or None where it holds."""
    exact = (
        ("modality", when.modality, header.get("Modality")),
        ("body part", when.body_part, header.get("BodyPartExamined")),
        ("calling AE title", when.calling_ae, calling_ae),
    )
    for what, wanted, value in exact:
        if wanted and str(value or "").casefold() not in {item.casefold() for item in wanted}:
            return f"{what} is {value or 'absent'}, not {' or '.join(wanted)}"
    texts = [str(header.get(keyword) or "").casefold() for keyword in ("SeriesDescription", "ProtocolName")]
    if when.description and not any(
        fnmatch.fnmatchcase(text, pattern.casefold()) for text in texts for pattern in when.description
    ):
        return f"neither series description nor protocol name matches {' or '.join(when.description)}"
    return None


def route(rules: tuple[Rule, ...], header: Dataset, calling_ae: str = "") -> Rule:
    """The first rule that takes a series with this header.

    Raises
    ------
    NotRouted
        naming, for each rule, why it did not take the series.
    """
    reasons = []
    for rule in rules:
        reason = mismatch(rule.when, header, calling_ae)
        if reason is None:
            return rule
        reasons.append(f"rule {rule.name!r}: {reason}")
    raise NotRouted(
        "No rule takes this series" + (f" ({'; '.join(reasons)})." if reasons else ": there are no rules."),
        todo="Add a [[rules]] table for it to candela.toml, or stop sending such series.",
    )
