"""What results say by code of the lesions that a model suggests: the class, a suspected target, or no diagnosis.

Segmentation, structured report, FHIR and HL7 v2 take their codes from here, so that none of them says more than the
text beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.caveats import Caveat, CaveatCode
from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.findings.model import AnswerKind, ClassProbability, ModelIdentity, Outcome

LEAST = 0.5
"""Probability that there is a lesion of any class, below which a lesion gets no diagnosis by code."""


class Answer(Protocol):
    """Findings with or without pixels (`pipeline.findings.model`, `pipeline.report.findings`)."""

    @property
    def outcome(self) -> Outcome: ...
    @property
    def model(self) -> ModelIdentity: ...
    @property
    def probabilities(self) -> Sequence[ClassProbability]: ...
    @property
    def caveats(self) -> Sequence[Caveat]: ...


@dataclass(frozen=True)
class Diagnosis:
    """``code`` and ``site`` (None where the bundle states none) of what is suggested.

    ``suspected``: the code needs the qualifier Suspected, since it is known neither which class nor whether.
    ``withheld``: the code says what was outlined and is no diagnosis.
    """

    code: Code
    site: Code | None
    suspected: bool = False
    withheld: bool = False


def diagnosis(answer: Answer, name: str) -> Diagnosis:
    """What ``answer`` suggests where it names class ``name``.

    A bundle that gives no lesions has thresholds of its own: its classes stand. Of lesions, the class stands if the
    answer is a finding and the kind is certain. If the kind is uncertain, the model's target is suspected. If "no
    lesion" is the more probable, or the answer is no finding, there is no diagnosis.
    """
    model, term = answer.model, answer.model.term(name)
    if model.kind is not AnswerKind.LESION:
        return Diagnosis(term.code, term.site)
    site = next((item.site for item in model.terms if item.site is not None), term.site)
    lesion = 1 - answer.probabilities[-1].probability if answer.probabilities else 1.0
    if answer.outcome is not Outcome.FINDING or lesion < LEAST:
        return Diagnosis(codes.LESION, site, withheld=True)
    if any(item.code is CaveatCode.LESION_KIND_UNCERTAIN for item in answer.caveats):
        return Diagnosis(model.target or codes.NEOPLASM, site, suspected=True)
    return Diagnosis(term.code, term.site)
