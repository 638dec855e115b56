"""The page that states why a series was not read."""

from __future__ import annotations

from pipeline.errors import OwnResult, Refused
from pipeline.findings.model import ModelIdentity
from pipeline.reading.files import Series
from pipeline.results.result_object import ResultObject


def refusal_page(
    series: Series, model: ModelIdentity, refusal: Refused, uid_root: str | None, identity_from: str | None = None
) -> tuple[ResultObject, ...]:
    """The page for ``series``. Candela makes no page for its own results, for images without a Study Instance UID,
    and for images that name two patients or studies. highdicom is loaded only for a page.
    """
    if isinstance(refusal, OwnResult) or not series.datasets[0].get("StudyInstanceUID"):
        return ()
    from pipeline.results.sc.refusal import build  # noqa: PLC0415 - a page alone needs highdicom

    return build(series.datasets, refusal, model, uid_root, identity_from)
