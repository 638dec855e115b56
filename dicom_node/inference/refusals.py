"""The page that states why a series was not read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pipeline.errors import OwnResult, Refused
from pipeline.findings.model import ModelIdentity
from pipeline.reading.files import Series
from pipeline.results.result_object import ResultObject


def refusal_page(
    series: Series,
    model: ModelIdentity,
    refusal: Refused,
    uid_root: str | None,
    identity_from: str | None = None,
    companions: Sequence[Series] = (),
    *,
    began: datetime,
) -> tuple[ResultObject, ...]:
    """The page for ``series``, and for the ``companions`` of its model's other channels. Candela makes no page for its
    own results, for images without a Study Instance UID, and for images that name two patients or studies. highdicom is
    loaded only for a page.
    """
    if isinstance(refusal, OwnResult) or not series.datasets[0].get("StudyInstanceUID"):
        return ()
    from pipeline.results.sc.refusal import build  # noqa: PLC0415 - a page alone needs highdicom

    others = [one.datasets for one in companions]
    return build(series.datasets, refusal, model, uid_root, identity_from, companions=others, began=began)
